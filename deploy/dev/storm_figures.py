"""What `./dev storm` measures: from the service's access log, from the log of deliveries and from the simulator's."""

import collections
import json
import os
import time

import parts
import processes

ROUTE = "/v1/webhooks/revio"


class Phase:
    def __init__(self, began_at, log_from):
        self.began_at, self.log_from = began_at, log_from
        self.ended_at = self.log_until = self.machine_load = self.seconds = None


class Figures:
    """The phases that are measured end before the first restart: they share the first log of the service."""

    def __init__(self, state):
        self.state, self.phases, self.clock = state, {}, 0.0

    def begin(self, name, up):
        self.clock = time.monotonic()
        self.phases[name] = Phase(now(up), self.log_size())

    def end(self, name, up):
        phase = self.phases[name]
        phase.ended_at, phase.log_until, phase.machine_load = now(up), self.log_size(), os.getloadavg()[0]
        phase.seconds = time.monotonic() - self.clock

    def log_size(self):
        return processes.log_file(self.state, "octoco").stat().st_size

    def lines(self, up, traffic):
        """What is printed; everything has ended."""
        yield from self.deliveries(up, traffic)
        for name in self.phases:
            yield from self.latencies(name, up)
        yield from self.service_log()

    def deliveries(self, up, traffic):
        traffic.collect_deliveries(now=True)
        of = collections.Counter(kind_of(status) for status in traffic.deliveries.values())
        made = sum(of.values())
        by_kind = ", ".join(f"{times} {kind}" for kind, times in sorted(of.items()))
        yield f"deliveries made        {made}{' or more' if traffic.overflowed else ''}: {by_kind}"
        verdicts = parts.sql(
            up,
            "select string_agg(verdict || ' ' || n, ', ') from"
            " (select verdict, count(*) n from webhook_logs group by verdict order by verdict) v",
            "octoco",
        )
        yield f"deliveries stored      {verdicts}"
        yield f"calls repeated         {dict(traffic.repeats) or 'none'}"

    def latencies(self, name, up):
        phase = self.phases[name]
        answers = sorted(self.answers(phase))
        rate = f"{len(answers) / phase.seconds:.0f} deliveries/s, load of the machine {phase.machine_load:.1f}"
        yield f"{name:<6} endpoint answer {quantiles(answers)}   of {len(answers)}; {rate}"
        percentile = "percentile_disc({}) within group (order by extract(epoch from finished_at - received_at))"
        p50, p99, count = parts.sql(
            up,
            f"select {percentile.format(0.5)}, {percentile.format(0.99)}, count(*) from webhook_logs"
            f" where verdict = 'accepted' and event_type = 'purchase.paid'"
            f" and received_at between '{phase.began_at}' and '{phase.ended_at}'",
            "octoco",
        ).split("|")
        booked = f"p50 {float(p50 or 0) * 1000:.1f} ms   p99 {float(p99 or 0) * 1000:.1f} ms"
        yield f"{name:<6} receipt → booked {booked}   of {count}"

    def answers(self, phase):
        first = min((self.state / "logs").glob("octoco.*log"), key=order)
        with open(first, "rb") as log:
            log.seek(phase.log_from)
            for line in log.read(phase.log_until - phase.log_from).splitlines():
                entry = parsed(line)
                if entry.get("route") == ROUTE and entry.get("status") == 200:
                    yield entry["seconds"]

    def service_log(self):
        """Everything that the service called an error, by message; and its webhook answers by status."""
        errors, answers, slow = collections.Counter(), collections.Counter(), []
        for log in (self.state / "logs").glob("octoco.*log"):
            for line in log.read_text(errors="replace").splitlines():
                entry = parsed(line)
                if "panicked" in line:
                    errors[line[:160]] += 1
                if entry.get("route") == ROUTE:
                    answers[entry["status"]] += 1
                    slow += [entry["seconds"]] if entry["status"] == 200 else []
                if entry.get("level") == "ERROR":
                    words = (entry.get(name) for name in ("message", "status", "code", "route", "task"))
                    errors[" ".join(str(word) for word in words if word is not None)] += 1
        yield f"whole  endpoint answer {quantiles(sorted(slow))}   by status {dict(sorted(answers.items()))}"
        for message, times in errors.most_common(20):
            yield f"logged error           {times} x {message}"


def order(log):
    """octoco.004.log before octoco.log, which is the newest."""
    number = log.name.split(".")[1]
    return int(number) if number.isdigit() else 1_000_000


def now(up):
    return parts.sql(up, "select clock_timestamp()")


def quantiles(seconds):
    if not seconds:
        return "no answers"
    p50, p99, last = (seconds[min(len(seconds) - 1, int(share * len(seconds)))] * 1000 for share in (0.5, 0.99, 1.0))
    return f"p50 {p50:.1f} ms   p99 {p99:.1f} ms   max {last:.1f} ms"


def kind_of(status):
    return "without answer" if status is None else f"answered {status}"


def parsed(line):
    try:
        entry = json.loads(line)
        return entry if isinstance(entry, dict) else {}
    except ValueError:
        return {}
