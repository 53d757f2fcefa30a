"""`./dev bench load`: the service over HTTP beside PostgreSQL alone, in one run, on parts as in production.

    insert      pgbench: one durable row a transaction, prepared
    row lock    pgbench: a reservation the classic way: lock the balance, change it, insert a row, commit
    service     `octoco serve --without-worker`, asked by the crate `bench`; the books are checked after each case

The baselines run before and after the service and the better figure counts. A run whose books do not balance prints
no figure.
"""

import json
import os
import platform
import re
import subprocess
from dataclasses import replace

import parts
import processes
import service
from console import ROOT, Failure, heading, note

PORTS = {"postgres": 28532, "redis": 28579, "tigerbeetle": 28500, "revio-sim": 28590}  # if free
PORTS.update({"octoco": 28580, "operations": 28581})
STATE = ROOT / ".dev" / "bench-load"
CLIENTS = (1, 16, 64)
ACCOUNTS = 100
TABLES = f"""
    create table rows (id bigserial primary key, account int not null, amount bigint not null, at timestamptz not null);
    create table balances (account int primary key, balance bigint not null, reserved bigint not null);
    insert into balances select i, 1000000000000, 0 from generate_series(1, {ACCOUNTS}) i;
    grant all on all tables in schema public to public;
    grant all on all sequences in schema public to public;
"""
SCRIPTS = {
    "insert": f"\\set a random(1, {ACCOUNTS})\ninsert into rows (account, amount, at) values (:a, 100, now());\n",
    "row_lock": f"""\\set a random(1, {ACCOUNTS})
begin;
select balance - reserved from balances where account = :a for update;
update balances set reserved = reserved + 100 where account = :a;
insert into rows (account, amount, at) values (:a, 100, now());
commit;
""",
}


def measure(up, seconds, cases, connections):
    limits = {"RATE_LIMITS": "off", "REDIS_URL": up.redis_url()}
    serving = service.serve(up, **limits)
    processes.ensure(up.state, replace(serving, command=[*serving.command, "--without-worker"]))
    heading(f"PostgreSQL alone (machine load before: {os.getloadavg()[0]:.1f})")
    parts.ensure_database(up, "baseline")
    parts.sql(up, TABLES, "baseline")
    first = baselines(up, seconds)
    heading("The service")
    results = asked(up, seconds, cases, connections)
    heading("PostgreSQL alone, again")
    second = baselines(up, seconds)
    alone = {name: {n: max(first[name][n], second[name][n]) for n in first[name]} for name in first}
    report = {"machine": machine(), "postgresql_alone": alone, "service": results}
    (up.state.parent / "bench-load.json").write_text(json.dumps(report, indent=1))
    show(report)
    return 0


def baselines(up, seconds):
    return {name: {n: pgbench(up, name, n, seconds) for n in CLIENTS} for name in SCRIPTS}


def pgbench(up, name, clients, seconds):
    script = up.state / f"{name}.pgbench"
    script.write_text(SCRIPTS[name])
    script.chmod(0o644)
    options = ("-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", max(5, seconds // 3), "-f", script)
    answer = parts.postgres_tool("pgbench", *options, up.database_url("baseline"))
    found = re.search(r"tps = ([\d.]+)", answer.stdout)
    if answer.returncode != 0 or not found:
        raise Failure(f"pgbench {name}", answer.stderr or answer.stdout, "is the package postgresql whole?")
    return round(float(found[1]))


def asked(up, seconds, cases, connections):
    command = [service.binary(up, "bench"), "load", "--address", f"127.0.0.1:{up.ports['octoco']}"]
    command += ["--seconds", seconds, "--cases", cases, "--connections", connections]
    for name in ("octoco", "postgres", "tigerbeetle"):
        command += ["--process", f"{name}={processes.find(up.state, name)}"]
    env = {**service.service_env(up), "RUST_LOG": "error", "DATABASE_CONNECTIONS_MAX": "4"}
    answer = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = answer.stderr[-2000:] + answer.stdout[-2000:]
        raise Failure("load", said, "no figure: an answer or the books were wrong")
    return json.loads(answer.stdout[answer.stdout.index("[") :])


def machine():
    words = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    server = parts.postgres_tool("postgres", "--version").stdout.strip()
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "postgresql": server,
        "commit": commit.stdout.strip(),
    }


def show(report):
    alone = report["postgresql_alone"]
    best = {name: max(figures.values()) for name, figures in alone.items()}
    print(f"   {json.dumps(report['machine'])}")
    for name, figures in alone.items():
        print(f"   {name:<12}" + "".join(f"{n:>6} clients {figure:>7,}/s" for n, figure in figures.items()))
    columns = ("conns", "a second", "p50 ms", "p99 ms", "of row lock", "of insert")
    print(f"   {'case':<12}" + "".join(f"{column:>12}" for column in columns) + "   ms of processor, MB")
    for one in report["service"]:
        lock = one["per_second"] / (alone["row_lock"].get(one["connections"]) or best["row_lock"])
        insert = one["per_second"] / alone["insert"][16]
        figures = (one["connections"], f"{one['per_second']:,.0f}", f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}")
        words = "".join(f"{figure:>12}" for figure in (*figures, f"{lock:.2f}x", f"{insert:.2f}x"))
        print(f"   {one['case']:<12}{words}   {one['processor_ms']} {one['resident_mb']}")
    note("Ratios of one run count, never absolutes (docs/performance.md).")
