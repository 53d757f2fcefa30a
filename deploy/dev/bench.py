"""`./dev bench [NAME]`: measurements on private parts, built for release. The crate `bench` seeds, measures and judges.

    load        what `./dev bench` alone is: a running service asked over HTTP, beside its parts alone (bench_load.py)
    history     `bench seed` fills PostgreSQL, `bench lists` asks for each kind of page, each time with other values
    exports     as many rows, streamed by the service over HTTP in each format; the trailers are verified
    dashboards  the same rows with a ledger's copy and summaries (dashboards_bench.sql), each query of Grafana's boards
    projector   `bench projector` moves money, copies the ledger, compares, rebuilds, and copies under load
    waiting     the service with 5,000 long polls and 2,000 event streams open; `bench waiting` opens them
    reconciliation  `bench reconciliation` makes a daily run over a day of transfers and 100,000 open rows

The memory of an export is the highest resident size of the whole process since it began (VmHWM, reset before each).
"""

import hashlib
import json
import os
import re
import subprocess
import time
import zipfile
from contextlib import contextmanager

import bench_load
import dashboards_bench
import demo
import parts
import processes
import service
from console import ROOT, Failure, heading, note

STATE = ROOT / ".dev" / "bench"
PORTS = {"postgres": 28432, "redis": 28479, "tigerbeetle": 28400, "revio-sim": 28490}  # if free
PORTS.update({"octoco": 28480, "operations": 28481})
TRANSACTIONS, CALLS, TRANSFERS = 1_000_000, 200, 1_000_000
ROWS_MIN = 100_000  # a second
RESIDENT_MAX = 100  # MB
FORMATS = ("csv", "jsonl", "xlsx")
PATIENCE = 900  # seconds that one export may take


def history(transactions, calls, keep):
    with measuring(STATE, again=True, keep=keep) as up:
        seed(up, transactions)
        return bench(up, "lists", "--calls", calls)


def exports(transactions, keep):
    with measuring(STATE, again=True, keep=keep) as up:
        seed(up, transactions)
        processes.ensure(STATE, service.serve(up, RATE_LIMITS="off", RUST_LOG="error"))
        staff = demo.Customer(up, "bench")
        staff.sign_up()
        staff.become("finance")
        heading(f"Exports of {rows(up):,} rows (machine load before: {os.getloadavg()[0]:.1f})")
        print(f"   {'':<8}{'rows/s':>10}{'MB/s':>8}{'seconds':>9}{'resident MB':>13}")
        missed = [form for form in FORMATS if not export(up, staff, form)]
    note(f"wanted: {ROWS_MIN:,} rows/s within {RESIDENT_MAX} MB; missed by: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


def dashboards(transactions, keep):
    with measuring(STATE.with_name("bench-dashboards"), again=True, keep=keep) as up:
        seed(up, transactions)
        return dashboards_bench.measure(up)


def load(seconds, cases, connections, transactions, smoke):
    purpose = "tests" if smoke else "measuring"
    with parts.private(bench_load.STATE, bench_load.PORTS, "./dev bench", purpose) as up:
        service.build(up, "bench")
        if smoke:
            missed = bench_load.smoke(up)
            note("; ".join(missed) or "ok")
            return 1 if missed else 0
        service.prepare(up)
        if transactions:
            seed(up, transactions)
        sizes = sorted(map(int, connections.split(",")))
        return bench_load.measure(up, bench_load.Plan(seconds, min(5, seconds), cases.split(","), sizes))


def projector(transfers):
    with measuring(STATE.with_name("bench-projector")) as up:
        return bench(up, "projector", "--transfers", transfers)


def reconciliation(transfers):
    with measuring(STATE.with_name("bench-reconciliation")) as up:
        return bench(up, "reconciliation", "--transfers", transfers)


def waiting():
    state = STATE.with_name("bench-waiting")
    with measuring(state) as up:
        limits = {"RATE_LIMITS": "off", "RUST_LOG": "error", "CONNECTIONS_MAX": "12000"}
        processes.ensure(state, service.serve(up, **limits))
        address = f"127.0.0.1:{up.ports['octoco']}"
        return bench(up, "waiting", "--address", address, "--pid", processes.find(state, "octoco"))


# -- parts ------------------------------------------------------------------------------------------------------------


@contextmanager
def measuring(state, **kept):
    with parts.private(state, PORTS, "./dev bench", "measuring", **kept) as up:
        service.build(up, "bench")
        service.prepare(up)
        yield up


def seed(up, transactions):
    """As many rows as are wanted: those that were kept, or new ones."""
    if rows(up) not in (0, transactions):
        parts.sql(up, "drop database octoco")
        parts.ensure_database(up, "octoco")
        service.migrate(up)
    if not rows(up) and bench(up, "seed", "--transactions", transactions):
        raise Failure("seed", "it broke off", "read what it said above")
    # Rows that came over years are on the disk: nobody who is measured waits for them to be written.
    parts.sql(up, "checkpoint")
    size = "concat_ws(' ', relname, pg_size_pretty(pg_table_size(oid)), '+', pg_size_pretty(pg_indexes_size(oid)))"
    tables = "from pg_class where relname like 'transaction%' and relkind = 'r'"
    sizes = f"select string_agg({size}, ', ') {tables}"
    note(f"{rows(up):,} transactions; {parts.sql(up, sizes, 'octoco')}")


def rows(up):
    return int(parts.sql(up, "select count(*) from transactions", "octoco"))


def bench(up, *words):
    """All connections are few, so that the processes behind them can be watched."""
    heading(" ".join(map(str, words)) + f" (machine load before: {os.getloadavg()[0]:.1f})")
    limits = {"APPROVAL_THRESHOLDS": "off", "WITHDRAWAL_LIMITS": "off", "RATE_LIMITS": "off"}
    env = {**service.service_env(up), **limits, "RUST_LOG": "error", "DATABASE_CONNECTIONS_MAX": "8"}
    if words[0] == "reconciliation":
        del env["RATE_LIMITS"]  # Revio's budget is counted in Redis, as it is in production
    if words[0] == "seed":
        env["DATABASE_URL"] = up.database_url("octoco")  # it takes indexes away, which only the owner may
    return subprocess.run([service.binary(up, "bench"), *map(str, words)], env=env, check=False).returncode


# -- exports ----------------------------------------------------------------------------------------------------------


def export(up, staff, form):
    """Whether it was fast and small enough."""
    file, process = STATE / "export", f"/proc/{processes.find(STATE, 'octoco')}"
    with open(f"{process}/clear_refs", "w") as clear:
        clear.write("5")
    began = time.monotonic()
    path = f"/v1/admin/transactions/export?format={form}"
    with staff.request("GET", path, timeout=PATIENCE) as answer, open(file, "wb") as copy:
        while chunk := answer.read(1 << 20):
            copy.write(chunk)
    seconds = time.monotonic() - began
    with open(f"{process}/status") as status:
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) / 1000
    count, size = verified(file, form), file.stat().st_size / 1e6
    print(f"   {form:<8}{count / seconds:>10,.0f}{size / seconds:>8.0f}{seconds:>9.1f}{peak:>13.0f}", flush=True)
    if count != rows(up):
        raise Failure(f"export as {form}", f"it has {count} rows of {rows(up)}", "this is a defect")
    return count / seconds >= ROWS_MIN and peak <= RESIDENT_MAX


def verified(file, form):
    """The rows of the file, once its hash is what its trailer says."""
    trailer = trailer_of(file, form)
    digest, left = hashlib.sha256(), int(trailer["bytes"])
    with open(file, "rb") as content:
        while left and (piece := content.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
    if digest.hexdigest() != trailer["sha256"]:
        raise Failure(f"verify the {form}", "its hash is another one", "this is a defect")
    return int(trailer["rows"])


def trailer_of(file, form):
    if form == "xlsx":
        with zipfile.ZipFile(file) as book:
            texts = re.findall(r"<t[^>]*>([^<]*)</t>", book.read("xl/worksheets/trailer.xml").decode())
        return dict(zip(texts[0:6:2], texts[1:6:2]))
    with open(file, "rb") as content:
        content.seek(-min(file.stat().st_size, 65536), os.SEEK_END)
        line = content.read().decode(errors="replace").strip().splitlines()[-1]
    if form == "csv":
        return json.loads(line.split(',"', 1)[1].rsplit('"', 1)[0].replace('""', '"'))
    return json.loads(line)["trailer"]
