"""`./dev bench`: the service over HTTP beside PostgreSQL and TigerBeetle alone, in one run, on parts as in production.

    alone       pgbench before and after the service, of which the better figure counts, and `tigerbeetle benchmark`
    followed    webhooks until they are booked and withdrawals until they are completed, by one worker
    answered    what `octoco serve --without-worker` answers, by callers who wait for their answer (closed loop)
    on time     so many calls a second whatever becomes of those before (open loop), and 1,024 callers at once
    report      table, JSON and plot (bench_report.py)

The crate `bench` asks and checks: after each case the answers, the rows, the ledger and Revio must agree, or there is
no figure. With `--smoke` a few seconds, on the parts and the build of `./dev test`: wide ratios, and the books.
"""

import json
import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

import attack
import bench_alone
import bench_report
import parts
import processes
import service
from console import ROOT, Failure, heading, note

STATE = ROOT / ".dev" / "bench-load"
SERVICE_PORTS = {"revio-sim": 28590, "octoco": 28580, "operations": 28581, "worker": 28582}  # if free
SERVICE_PORTS.update({"second": 28583, "operations of second": 28584})
PORTS = {"postgres": 28532, "redis": 28579, "tigerbeetle": 28500, **SERVICE_PORTS}
CASES = "transfer,reserve,token,balances,list,one,statement,login,withdrawals,deposits,hot,zipf"
CASES += ",two,receipts,whole,overload"
CONNECTIONS = "1,16,64,256"
SENDERS = 64
OVERLOAD = 1_024  # connections
ON_TIME = 0.7  # of what closed callers reached, for those who do not wait
FOLLOWED = {"receipts": 2_000, "whole": 500}  # so many for each second of a case

# As an edge in front of it would say: each customer comes from an address of his own.
SETTINGS = {
    "RATE_LIMITS": "off",
    "APPROVAL_THRESHOLDS": "off",
    "WITHDRAWAL_LIMITS": "off",
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "CONNECTIONS_MAX": "1500",
    "OPEN_DEPOSITS_MAX": "100000",
    "REVIO_CALLS_PER_SECOND": "1000000",
}

# Ratios of one run that a debug build on a busy machine reaches with ease, where PostgreSQL does not wait for the disk.
SMOKE = {"withdrawals of row lock": 0.03, "hot of withdrawals": 0.25, "list of balances": 0.03}
SMOKE_SECONDS = 3
SMOKE_ORDERS = 200
# With examples, libraries have the features of the tests, and are not compiled once more.
BUILD = ("cargo", "build", "--workspace", "--locked", "--bin", "bench", "--examples")


@dataclass(frozen=True)
class Plan:
    """What is asked, for how long, by how many."""

    seconds: int
    warm_up: int
    cases: list
    connections: list

    def groups(self):
        """Cases that are asked by the same numbers of callers."""
        many = [n for n in self.connections if n >= SENDERS] or self.connections[-1:]
        yield "the ledger alone", self.only("transfer", "reserve"), self.connections
        yield "reading", self.only("token", "balances", "list", "one", "statement"), many[:1]
        yield "moving money", self.only("withdrawals", "deposits"), self.connections
        yield "unevenly", self.only("hot", "zipf"), many

    def only(self, *cases):
        return [case for case in cases if case in self.cases]


def measure(up, plan):
    heading(f"Alone (machine load before: {os.getloadavg()[0]:.1f})")
    bench_alone.prepare(up)
    alone = bench_alone.measure(up, plan.seconds)
    started = start(up)
    note(f"octoco answers {started['ready_ms']} ms after its start, and has {started['idle_mb']} MB")
    results = followed(up, plan)
    results += answered(up, plan)
    results += on_time(up, plan, results)
    heading("Alone, again")
    alone = bench_alone.better(alone, bench_alone.measure(up, plan.seconds, tigerbeetle=False))
    report = {"machine": bench_report.machine(), "settings": SETTINGS, "started": started}
    report.update(alone=alone, service=results)
    bench_report.write(STATE, report)
    bench_report.show(report)
    return 0


# -- the service ------------------------------------------------------------------------------------------------------


def start(up):
    """How long it takes until it answers, and what memory it has then."""
    part = serving(up)
    began = time.monotonic()
    processes.spawn(up.state, part)
    while not processes.answers(up.ports["octoco"]) and time.monotonic() - began < 60:
        time.sleep(0.002)
    ready = time.monotonic() - began
    processes.ensure(up.state, part)
    return {"ready_ms": round(1000 * ready), "idle_mb": resident(processes.find(up.state, "octoco"))}


def serving(up):
    part = service.serve(up, **SETTINGS)
    return replace(part, command=[*part.command, "--without-worker"])


@contextmanager
def beside(up, name, port, words, **more):
    """One more process of the service, which tells operators on that port."""
    env = {**service.service_env(up), **SETTINGS, "OPS_ADDR": f"127.0.0.1:{port}", **more}
    part = processes.Part(name, [service.binary(up, "octoco"), *words], lambda: service.is_ready(port), env=env)
    processes.ensure(up.state, part)
    try:
        yield
    finally:
        processes.stop(up.state, name)


def working(up):
    return beside(up, "worker", up.ports["worker"], ["work"])


def serving_twice(up):
    listens = {"LISTEN_ADDR": f"127.0.0.1:{up.ports['second']}"}
    return beside(up, "second", up.ports["operations of second"], ["serve", "--without-worker"], **listens)


def both(up):
    return ",".join(f"127.0.0.1:{up.ports[name]}" for name in ("octoco", "second"))


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1000)


# -- cases ------------------------------------------------------------------------------------------------------------


def followed(up, plan):
    """To its end: first as fast as it goes, which leaves a backlog, then at a pace that leaves none."""
    results = []
    for case in plan.only(*FOLLOWED):
        heading(f"{case}, followed to the end")
        with working(up):
            first = asked(up, plan, [case], [SENDERS], orders=plan.seconds * FOLLOWED[case])
            pace = min(first[0]["per_second"], first[0]["effect"]["per_second"]) * ON_TIME
            orders = max(1, int(pace * plan.seconds))
            results += first + asked(up, plan, [case], [SENDERS], orders=orders, rate=pace)
    return results


def answered(up, plan):
    results = []
    for title, cases, connections in plan.groups():
        if cases:
            heading(title)
            results += asked(up, plan, cases, connections)
    return results


def on_time(up, plan, closed):
    results = []
    for case in plan.only("withdrawals", "deposits"):
        best = max(one["per_second"] for one in closed if one["case"] == case)
        heading(f"{case}, {ON_TIME * best:,.0f} a second")
        results += asked(up, plan, [case], [4 * SENDERS], rate=ON_TIME * best)
    if plan.only("overload"):
        heading(f"{OVERLOAD:,} at once")
        results += [{**one, "case": "overload"} for one in asked(up, plan, ["withdrawals"], [OVERLOAD])]
    if plan.only("two"):
        heading("Two processes that serve")
        with serving_twice(up):
            two = asked(up, plan, ["withdrawals"], [SENDERS, 4 * SENDERS], address=both(up))
        results += [{**one, "case": "two"} for one in two]
    if plan.only("login"):
        heading("Signing in")  # last: hashes take memory, which a process keeps
        results += asked(up, plan, ["login"], [min(16, plan.connections[-1])])
    return results


def asked(up, plan, cases, connections, **options):
    """What the crate `bench` has measured, once its books balance."""
    parts.sql(up, "analyze", "octoco")  # as autovacuum does on tables that are older than a minute
    options = {"address": f"127.0.0.1:{up.ports['octoco']}", **options}
    command = [service.binary(up, "bench"), "load"]
    told = {"octoco": "operations", "second": "operations of second", "worker": "worker"}  # by whom, where
    told = [f"127.0.0.1:{up.ports[port]}" for name, port in told.items() if processes.find(up.state, name)]
    command += ["--operations", ",".join(told)]
    command += ["--seconds", plan.seconds, "--warm-up", plan.warm_up]
    command += ["--cases", ",".join(cases), "--connections", ",".join(map(str, connections))]
    for name, value in options.items():
        command += [f"--{name}", value]
    for name in ("octoco", "second", "worker", "postgres", "tigerbeetle", "revio-sim", "redis"):
        pid = processes.find(up.state, name)
        command += ["--process", f"{name}={pid}"] if pid else []
    env = {**service.service_env(up), **SETTINGS, "RUST_LOG": "error", "DATABASE_CONNECTIONS_MAX": "4"}
    words = [str(word) for word in command]
    answer = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    begin = answer.stdout.find("[")
    results = json.loads(answer.stdout[begin:]) if begin >= 0 else []
    if answer.returncode != 0:
        wrong = [f"{one['case']}: {one['complaint']} {one['books']}" for one in results if is_wrong(one)]
        said = "\n".join([answer.stderr[-2000:], *wrong])
        raise Failure(f"load: {', '.join(cases)}", said, "no figure: an answer or the books were wrong")
    for one in results:
        note(bench_report.line(one))
    return results


def is_wrong(one):
    return one["bad"] or any(left != right for left, right in one["books"].values())


# -- in ./dev test ----------------------------------------------------------------------------------------------------


def in_test(run, instances):
    """The small one, on the parts that it has running."""
    if not run.step("build of the bench", *BUILD):
        return None
    started = time.monotonic()
    try:
        missed = smoke(instances)
    except Failure as failure:
        return run.fail("bench", f"{failure.step}: {failure.cause}")
    if missed:
        return run.fail("bench", f"{'; '.join(missed)}: ./dev bench --smoke runs it alone")
    return run.note("bench", "ok", time.monotonic() - started)


def smoke(instances):
    """What is not as it must be."""
    heading("Bench")
    STATE.mkdir(parents=True, exist_ok=True)
    ports = {name: processes.free_port(port) for name, port in SERVICE_PORTS.items()}
    up = replace(instances, state=STATE, ports={**instances.ports, **ports})
    stop_service()
    try:
        service.prepare(up)
        parts.sql(up, attack.QUIET, "octoco")
        missed = smoked(up)
        stop_service()
        parts.sql(up, attack.QUIET, "octoco")  # for whoever comes next
        return missed
    finally:
        stop_service()


def smoked(up):
    plan = Plan(SMOKE_SECONDS, 1, CASES.split(","), [SENDERS])
    processes.ensure(up.state, serving(up))
    with working(up):
        for case in FOLLOWED:
            asked(up, plan, [case], [16], orders=SMOKE_ORDERS)
    bench_alone.prepare(up)
    # A machine that was busy with something else for a moment is asked once more.
    return compared(up, plan) and compared(up, plan)


def compared(up, plan):
    """The ratios that are not as wide as they must be."""
    results = asked(up, plan, ["balances", "list", "hot", "deposits", "withdrawals"], [SENDERS])
    of = {one["case"]: one["per_second"] for one in results}
    of["row lock"] = bench_alone.pgbench(up, "row lock", SENDERS, SMOKE_SECONDS)
    missed = []
    for ratio, least in SMOKE.items():
        one, other = ratio.split(" of ")
        note(f"{ratio:<26}{of[one] / of[other]:>7.3f}   at least {least}")
        if of[one] < least * of[other]:
            missed.append(f"{ratio} is {of[one] / of[other]:.3f}, must be {least}")
    return missed


def stop_service():
    for name in ("worker", "second", "octoco", "revio-sim"):
        processes.stop(STATE, name)
