"""`./dev bench projector`: how fast the ledger is copied into PostgreSQL, and how far behind the copy is under load.

    seed      rows in PostgreSQL, and transfers for them in a TigerBeetle that is not in development mode
    copy      the projector, from nothing to the end
    verify    every transfer and account compared
    rebuild   beside the live copy, and swapped
    steady    1,000 transfers a second for a while, copied by `octoco work`; the lag is sampled every 50 ms

Everything is built for release, PostgreSQL is durable. examples/bench_projector.rs does the work.
"""

import os
import re
import subprocess
import time
from dataclasses import replace

import parts
import processes
import service
import toolchain
from console import ROOT, Failure, heading, note, run_long
from processes import Part

STATE = ROOT / ".dev" / "bench-projector"
PORTS = {"postgres": 28632, "redis": 28679, "tigerbeetle": 28600}
TRANSFERS = 1_000_000
RATE, SECONDS = 1_000, 30
COPIED_MIN = 20_000  # a second
LAG_MAX_MS = 1_000


def run(arguments):
    transfers = read(arguments)
    with processes.only_one(STATE.with_suffix(".lock"), "./dev bench projector"):
        parts.stop_all(STATE, [*PORTS, "octoco-work"])
        parts.forget_data(STATE)
        toolchain.fresh_folder(STATE)
        try:
            return measure(transfers)
        finally:
            parts.stop_all(STATE, [*PORTS, "octoco-work"])
            parts.forget_data(STATE)


def read(arguments):
    words, transfers = list(arguments), TRANSFERS
    while words:
        word = words.pop(0)
        if word == "--transfers" and words and re.fullmatch(r"[1-9]\d*", words[0]):
            transfers = int(words.pop(0))
        else:
            raise Failure("read the command", f"cannot be used: {word}", "./dev bench projector [--transfers N]")
    return transfers


def measure(transfers):
    heading("Parts")
    toolchain.ensure_all()
    octoco, program = build()
    up = parts.Instances(STATE, {name: processes.free_port(port) for name, port in PORTS.items()}, durable=True)
    for part in (parts.postgres(up), parts.redis(up), tigerbeetle(up)):
        processes.ensure(STATE, part)
    parts.ensure_database(up, "octoco")
    env = environment(up, octoco)
    call([octoco, "migrate"], env)
    heading(f"Projector, {transfers:,} transfers (machine load before: {os.getloadavg()[0]:.1f})")
    for words in (["seed", str(transfers)], ["copy"]):
        name, count, millis, speed = call([program, *words], env).split()
        told(name, int(count), int(millis) / 1000)
    for title, options in (("verified", ["--verify"]), ("rebuilt", []), ("verified", ["--verify"])):
        began = time.monotonic()
        call([octoco, "rebuild-read-model", *options], env)
        told(title, transfers, time.monotonic() - began)
    work = Part(name="octoco-work", command=[octoco, "work"], healthy=lambda: True, env=env)
    processes.ensure(STATE, work)
    steady, lag = call([program, "steady", str(RATE), str(SECONDS)], env).splitlines()
    _, count, millis, _ = steady.split()
    _, samples, half, most, worst = lag.split()
    told("steady", int(count), int(millis) / 1000)
    note(f"lag in ms: p50 {half}, p99 {most}, max {worst} of {samples} samples")
    note(f"machine load after: {os.getloadavg()[0]:.1f}")
    return 0 if int(speed) >= COPIED_MIN and int(worst) < LAG_MAX_MS else 1


def told(what, transfers, seconds):
    note(f"{what:<10}{transfers:>12,} transfers in {seconds:>7.1f} s{transfers / seconds:>10,.0f} a second")


def build():
    command = ["cargo", "build", "--release", "--locked", "-p", "octoco", "--bin", "octoco", "--example", "bench_projector"]
    log = processes.log_file(STATE, "build")
    env = {**os.environ, **toolchain.cargo_env()}
    run_long("building for release", command, log, usually="15 min the first time", env=env)
    release = service.target_directory() / "release"
    return release / "octoco", release / "examples" / "bench_projector"


def tigerbeetle(up):
    """As in production but for the one replica: large messages, every write on disk."""
    data = STATE / f"0_0-{toolchain.TIGERBEETLE}.tigerbeetle"
    program = toolchain.tigerbeetle()
    options = ["--cluster=0", "--replica=0", "--replica-count=1"]
    made = subprocess.run([program, "format", *options, data], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Failure("create the TigerBeetle data file", made.stderr, "2 GB must be free")
    start = [program, "start", f"--addresses={up.tigerbeetle_address()}", "--cache-grid=512MiB", data]
    return replace(parts.tigerbeetle_part(up), command=start)


def environment(up, octoco):
    """All settings are checked at start; of the parts only those of this benchmark are asked."""
    generated = subprocess.run([octoco, "keys", "generate"], capture_output=True, text=True, check=True).stdout
    keys = {name: value.replace("\\n", "\n") for name, value in re.findall(r'^(\w+)="(.*)"$', generated, re.MULTILINE)}
    private, public = STATE / "webhook.key", STATE / "webhook.pem"
    subprocess.run(["openssl", "genrsa", "-out", private, "2048"], capture_output=True, check=True)
    subprocess.run(["openssl", "rsa", "-in", private, "-pubout", "-out", public], capture_output=True, check=True)
    return {
        **os.environ, **keys, "DATABASE_URL": up.database_url("octoco"), "REDIS_URL": up.redis_url(),
        "TIGERBEETLE_ADDRESSES": up.tigerbeetle_address(), "REVIO_BASE_URL": "http://127.0.0.1:1/api/v1/",
        "REVIO_API_KEY": service.REVIO_API_KEY, "REVIO_BRAND_ID": service.REVIO_BRAND_ID, "REVIO_TEST_MODE": "true",
        "REVIO_WEBHOOK_PUBLIC_KEYS_FILE": str(public), "LOG_FORMAT": "text", "RUST_LOG": "warn",
    }


def call(command, env):
    answer = subprocess.run(
        [str(word) for word in command], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
    )
    if answer.returncode != 0:
        raise Failure(f"run {command[1]}", answer.stdout or "it says why above", "read what it said above")
    return answer.stdout.strip()
