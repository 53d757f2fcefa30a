"""`./dev bench exports`: how fast the real service exports a million rows in each format, and how much memory that takes.

    seed      as `./dev bench history`, into the same private PostgreSQL
    stream    GET /v1/admin/transactions/export, over HTTP into a file, whose trailer is then verified
    work      POST /v1/admin/exports, until it is completed; then the download

The memory is the highest resident size of the whole process since the export began (VmHWM, reset before each).
"""

import hashlib
import json
import os
import re
import subprocess
import time
import urllib.request
import zipfile

import bench_history
import parts
import processes
import service
import toolchain
from console import Failure, heading, note
from processes import Part

STATE = bench_history.STATE
PORTS = {"postgres": 28432, "redis": 28479, "tigerbeetle": 28400, "octoco": 28480}
TRANSACTIONS = 1_000_000
ROWS_MIN = 100_000  # a second
RESIDENT_MAX = 100  # MB
FORMATS = ("csv", "jsonl", "xlsx")
PASSWORD = "bench of the exports 2026"


def run(arguments):
    transactions, keep = read(arguments)
    with processes.only_one(STATE.with_suffix(".lock"), "./dev bench"):
        parts.stop_all(STATE, PORTS)
        try:
            return measure(transactions)
        finally:
            parts.stop_all(STATE, PORTS)
            if not keep:
                parts.forget_data(STATE)


def read(arguments):
    words, transactions, keep = list(arguments), TRANSACTIONS, False
    while words:
        word = words.pop(0)
        if word == "--keep":
            keep = True
        elif word == "--transactions" and words and re.fullmatch(r"[1-9]\d*", words[0]):
            transactions = int(words.pop(0))
        else:
            raise Failure("read the command", f"cannot be used: {word}", "./dev bench exports [--transactions N] [--keep]")
    return transactions, keep


def measure(transactions):
    heading("Parts")
    toolchain.ensure_all()
    program = bench_history.build()
    STATE.mkdir(parents=True, exist_ok=True)
    up = parts.Instances(STATE, {name: processes.free_port(port) for name, port in PORTS.items()}, durable=True)
    for part in (parts.postgres(up), parts.redis(up), parts.tigerbeetle_part(up)):
        processes.ensure(STATE, part)
    parts.ensure_database(up, "octoco")
    address = f"127.0.0.1:{up.ports['octoco']}"
    env = {
        **bench_history.environment(up, program), "LISTEN_ADDR": address, "PUBLIC_URL": f"http://{address}",
        "TIGERBEETLE_ADDRESSES": up.tigerbeetle_address(), "REDIS_URL": up.redis_url(), "RATE_LIMITS": "off",
        "DATABASE_CONNECTIONS_MAX": "32",
    }
    bench_history.command(program, env, "migrate")
    seeded = bench_history.rows(up)
    if not seeded:
        bench_history.seed(program, env, transactions)
    elif seeded < transactions:
        raise Failure("seed", f"{seeded:,} rows are kept", f"delete {STATE}, or ask for as many")
    port = up.ports["octoco"]
    processes.ensure(STATE, Part("octoco", [program, "serve"], healthy=lambda: service.is_ready(port), env=env))
    running = Service(address, program, env)
    heading(f"Exports of {bench_history.rows(up):,} rows (machine load before: {os.getloadavg()[0]:.1f})")
    print(f"   {'':<28}{'rows/s':>10}{'MB/s':>8}{'seconds':>9}{'resident MB':>13}")
    results = [running.stream(form) for form in FORMATS] + [running.background(form) for form in FORMATS]
    too_slow = [name for name, rows, resident in results if rows < ROWS_MIN or resident > RESIDENT_MAX]
    note(f"wanted: {ROWS_MIN:,} rows/s within {RESIDENT_MAX} MB; missed by: {', '.join(too_slow) or 'none'}")
    return 1 if too_slow else 0


class Service:
    def __init__(self, address, program, env):
        self.url, self.pid = f"http://{address}", processes.find(STATE, "octoco")
        self.file = STATE / "export"
        email = f"bench-{time.time_ns()}@example.com"
        registration = {"email": email, "password": PASSWORD, "full_name": "Bench"}
        self.call("POST", "/v1/auth/register", registration)
        grant = [program, "admin", "grant", "--email", email, "--role", "finance"]
        subprocess.run(grant, env=env, check=True, capture_output=True)
        self.token = self.call("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})["access_token"]

    token = None

    def request(self, method, path, body=None, headers=None):
        url = path if path.startswith("http") else self.url + path
        headers = {"Content-Type": "application/json", **(headers or {})}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=900)

    def call(self, method, path, body=None, headers=None):
        with self.request(method, path, body, headers) as answer:
            return json.load(answer)

    def stream(self, form):
        self.forget_peak()
        began = time.monotonic()
        self.save(f"/v1/admin/transactions/export?format={form}")
        seconds = time.monotonic() - began
        return self.tell(f"{form} streamed", self.verified(form), seconds)

    def background(self, form):
        self.forget_peak()
        began = time.monotonic()
        key = {"Idempotency-Key": f"bench-{time.time_ns()}"}
        export = self.call("POST", "/v1/admin/exports", {"format": form}, key)
        while export["state"] in ("queued", "running"):
            time.sleep(0.1)
            export = self.call("GET", f"/v1/admin/exports/{export['id']}")
        seconds = time.monotonic() - began
        if export["state"] != "completed":
            raise Failure("export in the background", str(export), "read the service's log")
        result = self.tell(f"{form} in the background", export["rows_written"], seconds)
        began = time.monotonic()
        self.save(export["download_url"])
        note(f"download {self.file.stat().st_size / 1e6 / (time.monotonic() - began):.0f} MB/s, "
             f"{self.verified(form):,} rows verified, peak {self.peak():.0f} MB")
        return result

    def save(self, path):
        with self.request("GET", path) as answer, open(self.file, "wb") as file:
            while chunk := answer.read(1 << 20):
                file.write(chunk)

    def verified(self, form):
        """The rows of the file, once its hash is what its trailer says."""
        if form == "xlsx":
            with zipfile.ZipFile(self.file) as book:
                listing = book.read("xl/worksheets/trailer.xml").decode()
            texts = re.findall(r"<t[^>]*>([^<]*)</t>", listing)
            trailer = dict(zip(texts[0:6:2], texts[1:6:2]))
        else:
            with open(self.file, "rb") as file:
                file.seek(-65536, os.SEEK_END)
                line = file.read().decode(errors="replace").strip().splitlines()[-1]
            if form == "csv":
                trailer = json.loads(line.split(',"', 1)[1].rsplit('"', 1)[0].replace('""', '"'))
            else:
                trailer = json.loads(line)["trailer"]
        digest, left = hashlib.sha256(), int(trailer["bytes"])
        with open(self.file, "rb") as file:
            while left and (piece := file.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
        if digest.hexdigest() != trailer["sha256"]:
            raise Failure(f"verify the {form}", "its hash is another one", "this is a defect")
        return int(trailer["rows"])

    def tell(self, name, rows, seconds):
        speed, peak = rows / seconds, self.peak()
        size = self.file.stat().st_size / 1e6 / seconds if "streamed" in name else 0.0
        print(f"   {name:<28}{speed:>10,.0f}{size:>8.0f}{seconds:>9.1f}{peak:>13.0f}", flush=True)
        return name, speed, peak

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write("5")

    def peak(self):
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 1000
