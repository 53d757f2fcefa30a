"""`./dev storm`: thousands of deliveries while every part is restarted or killed; then nothing is lost or doubled.

    calm       deposits one after another: how fast the endpoint answers and how fast the effect is booked
    load       many at once, nothing is restarted: how fast the endpoint answers then
    storm      the same, while the service, PostgreSQL, Redis and TigerBeetle are stopped and killed in turn
    proof      when all is quiet: the simulator, the API and the ledger are compared from outside (storm_proof.py)

The simulated Revio is the only part that goes on all the time: it is the witness. It also sends some deliveries twice
and believes some answers lost. The rate limits are on, since without them nothing would ask Redis.
"""

import os
import shutil
import signal
import time
from dataclasses import replace

import parts
import processes
import service
import storm_figures
import storm_proof
from console import ROOT, Failure, heading, note, shown
from storm_traffic import Traffic

STATE = ROOT / ".dev" / "storm"
PORTS = {"postgres": 27432, "redis": 27379, "tigerbeetle": 27000, "revio-sim": 27090}  # if free
PORTS.update({"octoco": 27080, "operations": 27081})

DELIVERIES = 10_000
CALM_DEPOSITS = 300
LOAD_SHARE = 0.3  # of the deliveries, before the first restart
MINUTE_MS = 200  # one minute of Revio's schedule, so that its retries come back in seconds
FAULTS = [("duplicate", 0.02), ("ignore_answer", 0.01)]
QUIET_AFTER = 900  # seconds: the service's own retries come after 1, 5 and 15 minutes
PAUSE = 3.0  # between two restarts
AWAY = {"postgres": 8.0, "tigerbeetle": 3.0, "redis": 1.0}  # seconds; PostgreSQL longer than the service waits for it
ROUNDS_MIN = 2
RESTARTS = [
    ("octoco", signal.SIGTERM),
    ("postgres", signal.SIGINT),
    ("redis", signal.SIGKILL),
    ("tigerbeetle", signal.SIGKILL),
    ("octoco", signal.SIGKILL),
    ("postgres", signal.SIGKILL),
    ("redis", signal.SIGTERM),
    ("tigerbeetle", signal.SIGKILL),
]


def run(deliveries, restarts):
    with parts.private(STATE, PORTS, "./dev storm", "development") as up:
        return Storm(replace(up, programs=STATE / "bin"), deliveries, restarts).run()


class Storm:
    def __init__(self, up, deliveries, restarts):
        self.up, self.wanted, self.with_restarts = up, deliveries, restarts
        self.restarts = {}  # (part, signal) -> how often
        self.lives = 0
        self.complaints = []
        self.paid_while_away = []  # purchases that were paid while PostgreSQL was stopped

    def run(self):
        self.start()
        self.traffic = Traffic(self.up)
        self.figures = storm_figures.Figures(STATE)
        try:
            self.weather()
        finally:
            self.traffic.stop()
        self.await_quiet()
        proof = storm_proof.Proof(self.up, self.traffic)
        self.complaints += proof.run(self.paid_while_away)
        self.report()
        return self.verdict()

    # -- the parts ----------------------------------------------------------------------------------------------------

    def start(self):
        service.build(self.up)
        self.up.programs.mkdir()
        for name in ("octoco", "revio-sim"):  # copies: a build meanwhile must not change what is restarted
            shutil.copy2(service.binary(replace(self.up, programs=None), name), self.up.programs)
        service.prepare(self.up, "--minute-ms", MINUTE_MS)
        processes.ensure(STATE, self.part("octoco"))

    def part(self, name):
        makers = {"postgres": parts.postgres, "redis": parts.redis, "tigerbeetle": parts.tigerbeetle_part}
        return makers.get(name, self.octoco)(self.up)

    def octoco(self, up):
        """Each customer comes from an address of his own, so that the limits on an address count customers."""
        settings = {"RATE_LIMITS": "default", "TRUSTED_PROXIES": "127.0.0.1/32", "RUST_LOG": "info,sqlx=warn"}
        # A few customers, as fast as they can.
        many = {"REVIO_CALLS_PER_SECOND": "10000", "OPEN_DEPOSITS_MAX": "1000"}
        limits = {"APPROVAL_THRESHOLDS": "off", "WITHDRAWAL_LIMITS": "off"}
        return service.serve(up, **settings, **many, **limits)

    def restart(self, name, how):
        pid = processes.find(STATE, name)
        if pid is None:
            raise Failure(f"restart {name}", "it ended by itself", f"read {shown(processes.log_file(STATE, name))}")
        if not processes.end(pid, how, 40):
            self.complaints.append(f"{name} did not end within 40 s of {how.name}")
            processes.end(pid, signal.SIGKILL)
        self.keep_log(name)
        if name == "postgres":  # what Revio tells us now cannot be stored, so it must be refused and come again
            self.paid_while_away += self.traffic.pay_reserve()
        time.sleep(AWAY.get(name, 0.0))
        processes.ensure(STATE, self.part(name), seconds=120)
        self.restarts[name, how.name] = self.restarts.get((name, how.name), 0) + 1

    def keep_log(self, name):
        self.lives += 1
        log = processes.log_file(STATE, name)
        log.rename(log.with_name(f"{name}.{self.lives:03}.log"))

    # -- the weather --------------------------------------------------------------------------------------------------

    def weather(self):
        heading("Calm: one after another")
        self.traffic.sign_up()
        self.figures.begin("calm", self.up)
        self.traffic.calm(min(CALM_DEPOSITS, max(20, self.wanted // 10)))
        self.figures.end("calm", self.up)
        note(f"{self.delivered()} deliveries, load of the machine {os.getloadavg()[0]:.1f}")

        heading("Load: many at once")
        for kind, chance in FAULTS:
            self.traffic.sim("POST", "faults/", {"scope": "deliver", "when": {"chance": chance}, "kind": kind})
        self.figures.begin("load", self.up)
        self.traffic.start()
        self.watch(self.wanted * (LOAD_SHARE if self.with_restarts else 1.0))
        self.figures.end("load", self.up)

        if self.with_restarts:
            heading("Storm: every part is restarted in turn")
            self.blow()
        self.traffic.sim("DELETE", "faults/")

    def blow(self):
        rounds = 0
        while rounds < ROUNDS_MIN or self.delivered() < self.wanted:
            for name, how in RESTARTS:
                time.sleep(PAUSE)
                self.traffic.demand_health()
                began = time.monotonic()
                self.restart(name, how)
                note(f"{name:<12} {how.name:<8} away {time.monotonic() - began:4.1f} s   {self.delivered()} deliveries")
                self.traffic.collect_deliveries()
            rounds += 1

    def watch(self, wanted):
        told = time.monotonic()
        while self.delivered() < wanted:
            time.sleep(1)
            self.traffic.demand_health()
            self.traffic.collect_deliveries()
            if time.monotonic() - told > 15:
                told = time.monotonic()
                note(f"{self.delivered()} deliveries, load of the machine {os.getloadavg()[0]:.1f}")

    def delivered(self):
        """Deliveries that were stored, new or seen before."""
        return int(self.sql("select count(*) from webhook_logs where verdict in ('accepted', 'duplicate')"))

    def sql(self, statement):
        return parts.sql(self.up, statement, "octoco")

    # -- the end ------------------------------------------------------------------------------------------------------

    def await_quiet(self):
        heading("Quiet: what is under way comes to its end")
        began = told = time.monotonic()
        while True:
            waiting, not_final, pending = self.under_way()
            if not (waiting or not_final or pending):
                return note(f"all is final after {time.monotonic() - began:.0f} s")
            left = f"{waiting} deliveries wait, {not_final} transactions are not final, {pending} events are pending"
            if time.monotonic() - began > QUIET_AFTER:
                self.complaints.append(f"not quiet after {QUIET_AFTER} s: {left}")
                return None
            if time.monotonic() - told > 15:
                told = time.monotonic()
                note(left)
            time.sleep(1)

    def under_way(self):
        not_final = self.sql(
            "select count(*) from transactions where held_reason is null"
            " and state not in ('completed', 'failed', 'expired', 'cancelled', 'rejected')"
        )
        pending = self.sql("select count(*) from webhook_logs where state = 'pending'")
        return self.traffic.sim("GET", "status/")["deliveries_waiting"], int(not_final), int(pending)

    def report(self):
        heading("Figures")
        for line in self.figures.lines(self.up, self.traffic):
            note(line)
        done = ", ".join(f"{name} {how} {times}" for (name, how), times in sorted(self.restarts.items()))
        note(f"restarts               {done or 'none'}")

    def verdict(self):
        heading("Verdict")
        for complaint in self.complaints[:40]:
            note(f"DIFFERS  {complaint}")
        if self.complaints:
            note(f"{len(self.complaints)} differences; the logs are in {shown(STATE / 'logs')}")
            return 1
        note("nothing is lost, nothing is doubled")
        return 0
