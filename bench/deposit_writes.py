#!/usr/bin/env python3
"""What PostgreSQL pays for a deposit: its four writes (insert, link, claim, completion), in processor time and WAL.

    bench/deposit_writes.py postgres://… [--store src/money/transactions/store.rs] [--described SHARE]

The statements are read out of the store's source, prepared, and sent one by one, for 3,000 deposits of 3,000 customers,
nine times in one SQL transaction that is rolled back; told is the median of all times but the first. The database must
hold that many users and nothing due, be on this machine (the time is the one of its process, from /proc), have
full_page_writes and autovacuum off, and be vacuumed before: what an earlier run left is cleared away at the cost of the
next one.
"""

import argparse
import re
import secrets
import statistics
import subprocess
import time
from pathlib import Path

DEPOSITS = 3_000
ROUNDS = 9
CLAIMED_AT_ONCE = 500  # a worker takes 16; in one transaction each claim passes over all that were claimed before
STORE = Path(__file__).resolve().parent.parent / "src/money/transactions/store.rs"


class Psql:
    """One session of psql, and the process that serves it."""

    def __init__(self, url):
        words = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", url]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.backend = self.ask("select pg_backend_pid()")

    def ask(self, sql):
        self.process.stdin.write(f"{sql};\n\\o\n\\echo .\n")
        self.process.stdin.flush()
        lines = list(iter(self.process.stdout.readline, ".\n"))
        if self.process.poll() is not None:
            raise SystemExit("psql ended")
        return lines[-1].strip() if lines else ""

    def cost(self):
        """Nanoseconds of a processor, bytes of WAL."""
        wal = int(self.ask("select pg_current_wal_insert_lsn() - '0/0'"))
        return int(Path(f"/proc/{self.backend}/schedstat").read_text().split()[0]), wal


def statement(source, function):
    """The first SQL text in a function of the store; its columns stand in a macro, or, in older stores, the text."""
    body = source[source.index(f"async fn {function}(") :]
    parts = re.search(r'rows!\(\s*"(.*?)",\s*"(.*?)"', body, re.DOTALL)
    if parts is None:
        return re.search(r'query_as!\(\s*Row,\s*"(.*?)"', body, re.DOTALL).group(1)
    columns = re.search(r'\+ "(id, .*?)"', source, re.DOTALL).group(1).replace("\\\n", " ")
    return parts[1] + columns + parts[2]


def uuid(millis, tail=""):
    """As the service makes them; `tail` is the part that the ledger needs to be zero."""
    text = f"{millis:012x}7{secrets.token_hex(2)[1:]}8{secrets.token_hex(8)[1:]}"
    return text[: 32 - len(tail)] + tail


def text(value):
    return "null" if value is None else f"'{value}'"


def call(name, *values):
    return f"execute {name} ({', '.join(map(text, values))})"


def round_of(psql, users, described, day):
    """The calls of the service, in its order: a request inserts and links, workers claim, webhooks complete. Each round
    is of an earlier day, so that its claims do not come upon what others left."""
    now, millis = f"2036-06-{day:02}T12:00:00Z", int(time.time() * 1000)
    rows = [(uuid(millis + index, "00"), uuid(millis), user) for index, user in enumerate(users)]
    nothing = (None, None, None, None, None)
    calls = []
    for index, (row, provider, user) in enumerate(rows):
        words = f"rent for {secrets.token_hex(3)}" if index < described * len(rows) else None
        calls.append(
            call(
                "insert_once",
                row,
                user,
                "deposit",
                25_000,
                "ZAR",
                uuid(millis),
                "\\x" + secrets.token_hex(32),
                None,
                words,
                now,
                now,
            )
        )
        url = f"https://gate.example.com/p/{provider}/"
        calls.append(
            call(
                "advance",
                row,
                0,
                "awaiting_payment",
                now,
                now,
                None,
                True,
                provider,
                "created",
                url,
                *nothing[:2],
                None,
                None,
                None,
                None,
            )
        )
    for _ in range(0, len(rows), CLAIMED_AT_ONCE):
        calls.append(call("claim_due", "{deposit}", now, now.replace(":00:00Z", ":01:30Z"), CLAIMED_AT_ONCE))
    for row, provider, _ in rows:
        calls.append(
            call(
                "advance",
                row,
                1,
                "completed",
                "2036-07-01T12:00:00Z",
                now,
                None,
                True,
                provider,
                "paid",
                None,
                *nothing[:2],
                0,
                0,
                None,
                None,
            )
        )
    before = psql.cost()
    psql.ask("\\o /dev/null\n" + ";\n".join(calls))
    return [(after - at) / len(rows) for at, after in zip(before, psql.cost())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("--store", type=Path, default=STORE, help="whose statements; an older one for an older schema")
    parser.add_argument("--described", type=float, default=0.0, help="the share of deposits with a description")
    options = parser.parse_args()
    source = options.store.read_text()
    psql = Psql(options.database)
    if psql.ask("show full_page_writes") != "off":
        raise SystemExit("full_page_writes must be off: page images would hide what the writes cost")
    psql.ask("begin")
    for function in ("insert_once", "advance", "claim_due"):
        psql.ask(f"prepare {function} as {statement(source, function)}")
    users = psql.ask(
        f"select string_agg(id::text, ' ') from (select id from users order by md5(id::text) limit {DEPOSITS}) u"
    )
    users = users.split()
    if len(users) < DEPOSITS:
        raise SystemExit(f"there must be {DEPOSITS} users")
    costs = [round_of(psql, users, options.described, ROUNDS - number) for number in range(ROUNDS)][1:]
    psql.ask("rollback")
    micros, wal = (statistics.median(values) for values in zip(*costs))
    print(f"{micros / 1000:.0f} µs (least {min(costs)[0] / 1000:.0f}) and {wal:.0f} bytes of WAL a deposit")


if __name__ == "__main__":
    main()
