"""`./dev bench history`: how long each kind of page of transactions takes, on rows by the million.

    seed      `octoco seed-history` fills a private PostgreSQL, with the settings of its package but for the memory
    measure   `octoco measure-history` asks for each kind of page a few hundred times, each time with other values

Each page is read twice. Three times are taken: of both readings from outside (a transaction, the page, its rows), and of the
second the processor's time of PostgreSQL's processes alone. The last one decides: neither the disk nor other work disturbs it.
"""

import os
import re
import subprocess

import parts
import processes
import service
import toolchain
from console import ROOT, Failure, heading, note, run_long

STATE = ROOT / ".dev" / "bench"
PORTS = {"postgres": 28432}
TRANSACTIONS = 1_000_000
CALLS = 200
LIMIT_MS = 10.0
DEEP_MAX = 1.5  # times the first page
NOISE_MS = 1.0  # below this the quotient of two pages says nothing


def run(arguments):
    transactions, calls, keep = read(arguments)
    with processes.only_one(STATE.with_suffix(".lock"), "./dev bench"):
        parts.stop_all(STATE, PORTS)
        try:
            return measure(transactions, calls)
        finally:
            parts.stop_all(STATE, PORTS)
            if not keep:
                parts.forget_data(STATE)


def read(arguments):
    words, transactions, calls, keep = list(arguments), TRANSACTIONS, CALLS, False
    while words:
        word = words.pop(0)
        if word == "--keep":
            keep = True
        elif word in ("--transactions", "--calls") and words and re.fullmatch(r"[1-9]\d*", words[0]):
            number = int(words.pop(0))
            transactions, calls = (number, calls) if word == "--transactions" else (transactions, number)
        else:
            usage = "./dev bench history [--transactions N] [--calls N] [--keep]"
            raise Failure("read the command", f"cannot be used: {word}", usage)
    return transactions, calls, keep


def measure(transactions, calls):
    heading("Parts")
    toolchain.ensure_all()
    program = build()
    STATE.mkdir(parents=True, exist_ok=True)
    up = parts.Instances(STATE, {name: processes.free_port(port) for name, port in PORTS.items()}, durable=True)
    postgres = parts.postgres(up)
    postgres.command.extend(["-c", "shared_buffers=2GB", "-c", "max_wal_size=8GB"])
    processes.ensure(STATE, postgres)
    parts.ensure_database(up, "octoco")
    env = environment(up, program)
    command(program, env, "migrate")
    kept = rows(up)
    if kept not in (0, transactions):
        parts.sql(up, "drop database octoco")
        parts.ensure_database(up, "octoco")
        command(program, env, "migrate")
    if kept != transactions:
        seed(program, env, transactions)
    note(f"{rows(up):,} transactions; {sizes(up)}")
    heading(f"Pages, {calls} calls of each kind: milliseconds")
    words = [program, "measure-history", "--calls", str(calls)]
    log = processes.log_file(STATE, "measure-history")
    with log.open("w") as errors, subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=errors, text=True) as run:
        failed = verdict(line.rstrip("\n").split("\t") for line in run.stdout if "\t" in line)
    if run.returncode != 0:
        raise Failure("measure", "it broke off", f"look at {log}")
    return failed


def build():
    command = ["cargo", "build", "--release", "--locked", "-p", "octoco", "--bin", "octoco"]
    log = processes.log_file(STATE, "build")
    env = {**os.environ, **toolchain.cargo_env()}
    run_long("building octoco (release)", command, log, usually="15 min the first time", env=env)
    return service.target_directory() / "release" / "octoco"


def environment(up, program):
    """All settings are checked at start; of the parts only PostgreSQL is asked."""
    key = STATE / "webhook.pem"
    keys = subprocess.run([program, "keys", "generate"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["openssl", "genrsa", "-out", STATE / "webhook.key", "2048"], capture_output=True, check=True)
    public = ["openssl", "rsa", "-in", STATE / "webhook.key", "-pubout", "-out", key]
    subprocess.run(public, capture_output=True, check=True)
    generated = dict(re.findall(r'^(\w+)="(.*)"$', keys, re.MULTILINE))
    return {
        **os.environ, **generated, "DATABASE_URL": up.database_url("octoco"), "REDIS_URL": "redis://127.0.0.1:1",
        "TIGERBEETLE_ADDRESSES": "127.0.0.1:1", "REVIO_BASE_URL": "http://127.0.0.1:1/api/v1/",
        "REVIO_API_KEY": service.REVIO_API_KEY, "REVIO_BRAND_ID": service.REVIO_BRAND_ID, "REVIO_TEST_MODE": "true",
        "REVIO_WEBHOOK_PUBLIC_KEYS_FILE": str(key), "LOG_FORMAT": "text", "RUST_LOG": "error",
        "DATABASE_CONNECTIONS_MAX": "4",
    }


def seed(program, env, transactions):
    heading(f"Seeding {transactions:,} transactions")
    command(program, env, "seed-history", "--transactions", str(transactions))


def command(program, env, *words):
    log = processes.log_file(STATE, words[0])
    with log.open("w") as errors:
        if subprocess.run([program, *words], env=env, stderr=errors, check=False).returncode != 0:
            raise Failure(words[0], "it failed", f"look at {log}")


def rows(up):
    return int(parts.sql(up, "select count(*) from transactions", "octoco"))


def sizes(up):
    tables = ("transactions",)
    size = "pg_size_pretty(pg_table_size('{0}')) || ' + ' || pg_size_pretty(pg_indexes_size('{0}'))"
    return ", ".join(f"{table} {parts.sql(up, 'select ' + size.format(table), 'octoco')}" for table in tables)


def verdict(lines):
    """Prints the table as it comes; fails where a page costs PostgreSQL too much, or cannot be read."""
    medians, kinds, wrong = {}, 0, 0
    print(f"   {'':<80}{'the first time':^16}{'again':^16}{'processor':^16}")
    print(f"   {'':<80}{'     p50     p99' * 3}")
    for name, *values in lines:
        kinds += 1
        if len(values) != 6:
            wrong += 1
            print(f"   {name:<80}  could not be read: {' '.join(values)}")
            continue
        cost, cost99 = map(float, values[4:])
        medians[name] = cost
        first = medians.get(name.removesuffix("deep") + "first", 0)
        deeper = name.endswith("deep") and cost > max(DEEP_MAX * first, first + NOISE_MS)
        mark = " *" if cost99 > LIMIT_MS else " (deep)" if deeper else ""
        wrong += bool(mark)
        print(f"   {name:<80}{''.join(f'{float(value):>8.2f}' for value in values)}{mark}", flush=True)
    note(f"{kinds} kinds of page, {wrong} cost more than {LIMIT_MS:.0f} ms at the 99th percentile, or more than"
         f" {DEEP_MAX} times the first page, or could not be read")
    return 1 if wrong else 0
