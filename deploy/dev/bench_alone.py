"""PostgreSQL and TigerBeetle without the service: what `./dev bench` compares it with.

insert       pgbench: one durable row a transaction, prepared
row lock     pgbench: a reservation the classic way: lock the balance, change it, insert a row, commit
tigerbeetle  its own `tigerbeetle benchmark`: transfers in full batches, on a replica of its own
"""

import re
import subprocess

import parts
from console import Failure, note
from toolchain import tigerbeetle as tigerbeetle_program

CLIENTS = (1, 16, 64)
ACCOUNTS = 100
TRANSFERS = 50_000  # a second of the run
TABLES = f"""
    drop table if exists rows, balances;
    create table rows (id bigserial primary key, account int not null, amount bigint not null, at timestamptz not null);
    create table balances (account int primary key, balance bigint not null, reserved bigint not null);
    insert into balances select i, 1000000000000, 0 from generate_series(1, {ACCOUNTS}) i;
    grant all on all tables in schema public to public;
    grant all on all sequences in schema public to public;
"""
SCRIPTS = {
    "insert": f"\\set a random(1, {ACCOUNTS})\ninsert into rows (account, amount, at) values (:a, 100, now());\n",
    "row lock": f"""\\set a random(1, {ACCOUNTS})
begin;
select balance - reserved from balances where account = :a for update;
update balances set reserved = reserved + 100 where account = :a;
insert into rows (account, amount, at) values (:a, 100, now());
commit;
""",
}


def prepare(up):
    parts.ensure_database(up, "baseline")
    parts.sql(up, TABLES, "baseline")


def measure(up, seconds, tigerbeetle=True):
    """By name and number of clients, a second."""
    alone = {name: {n: pgbench(up, name, n, max(5, seconds // 3)) for n in CLIENTS} for name in SCRIPTS}
    if tigerbeetle:
        alone["tigerbeetle"] = {1: benchmark(up, seconds)}
    for name, figures in alone.items():
        note(f"{name:<12}" + "".join(f"{n:>6} clients {figure:>9,}/s" for n, figure in figures.items()))
    return alone


def better(first, second):
    """Of each figure: a machine is never too fast by chance."""
    other = {name: second.get(name, figures) for name, figures in first.items()}
    return {name: {n: max(first[name][n], other[name][n]) for n in first[name]} for name in first}


def pgbench(up, name, clients, seconds):
    script = up.state / f"{name.replace(' ', '-')}.pgbench"
    script.write_text(SCRIPTS[name])
    script.chmod(0o644)
    options = ("-n", "-M", "prepared", "-c", clients, "-j", min(2, clients), "-T", seconds, "-f", script)
    answer = parts.postgres_tool("pgbench", *options, up.database_url("baseline"))
    found = re.search(r"tps = ([\d.]+)", answer.stdout)
    if answer.returncode != 0 or not found:
        raise Failure(f"pgbench {name}", answer.stderr or answer.stdout, "is the package postgresql whole?")
    return round(float(found[1]))


def benchmark(up, seconds):
    file = up.state / "benchmark.tigerbeetle"
    options = [f"--transfer-count={TRANSFERS * seconds}", "--cache-grid=512MiB", f"--file={file}"]
    command = [str(tigerbeetle_program()), "benchmark", *options]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=up.state)
    finally:
        file.unlink(missing_ok=True)
    found = re.search(r"load accepted = (\d+) tx/s", answer.stdout + answer.stderr)
    if not found:
        raise Failure("tigerbeetle benchmark", (answer.stderr or answer.stdout)[-2000:], "is the disk full? df -h")
    return int(found[1])
