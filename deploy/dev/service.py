"""The service and the Revio simulator on top of a set of parts: build, keys, variables, migration, webhook, start."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path

import parts
import processes
from console import ROOT, Failure, note, run_long, shown
from processes import Part
from toolchain import cargo_env

STATE = ROOT / ".dev" / "up"
PARTS = {"postgres": 15432, "redis": 16379, "tigerbeetle": 13000, "revio-sim": 8090, "octoco": 8080}  # as they start
PORTS = {**PARTS, "operations": 8081}

# The account at the simulated Revio. Not secrets: they open nothing but the simulator on this machine.
REVIO_API_KEY = "octoco-development-test-key"
REVIO_BRAND_ID = "0c70c0de-0000-4000-8000-000000000001"
READER_PASSWORD = "grafana-on-this-machine"  # of parts.READER_ROLE


def instances():
    """The development set; while it runs, on the ports it was started with."""
    return parts.Instances(STATE, chosen_ports(), "development")


def chosen_ports():
    saved = STATE / "ports.json"
    if saved.exists() and any(processes.find(STATE, name) for name in PARTS):
        return {**PORTS, **json.loads(saved.read_text())}  # more than those where it was started with more
    return {name: int(os.environ.get(parts.PORT_VARIABLES[name]) or port) for name, port in PORTS.items()}


def remember_ports(ports):
    STATE.mkdir(parents=True, exist_ok=True)
    (STATE / "ports.json").write_text(json.dumps(ports))


# What the demo and the checks do without; in the shell's environment each can be set as it is by default.
DEVELOPMENT = {
    "STAFF_TOTP": "optional",
    "STAFF_STEP_UP": "off",
    "STAFF_SESSION_HOURS": "off",
    "BANK_ACCOUNT_COOLING_HOURS": "off",
}


# -- build ------------------------------------------------------------------------------------------------------------


def build(up, *more):
    packages = [word for name in ("octoco", "revio-sim", *more) for word in ("-p", name)]
    command = ["cargo", "build", "--locked", "--bins", *packages, *(["--release"] if up.measures() else [])]
    log = processes.log_file(up.state, "build")
    env = {**os.environ, **cargo_env()}
    try:
        run_long("building octoco and revio-sim", command, log, usually="10 min the first time", env=env)
    except Failure as failure:
        if "SQLX_OFFLINE" in failure.cause:
            failure.try_next = "a query is new or changed: ./dev prepare"
        raise


def binary(up, name):
    return (up.programs or target_directory() / ("release" if up.measures() else "debug")) / name


@lru_cache
def target_directory():
    query = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    metadata = json.loads(subprocess.run(query, cwd=ROOT, capture_output=True, check=True).stdout)
    return Path(metadata["target_directory"])


def stop_outdated():
    """A process whose program file was rebuilt is stopped, so that it starts again as the new one."""
    for name in ("octoco", "revio-sim"):
        pid = processes.find(STATE, name)
        if pid and os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)"):
            note(f"{name} was rebuilt: restarting it")
            processes.stop(STATE, name)


# -- variables --------------------------------------------------------------------------------------------------------


def webhook_key_file(up):
    return up.state / "revio-webhook.pem"


def mail_folder(up):
    return up.state / "mail"


def another_revio(up):
    """Whether the shell names a Revio, and not the simulator of the development set as `./dev env` names it."""
    named, key = os.environ.get("REVIO_BASE_URL"), os.environ.get("REVIO_WEBHOOK_PUBLIC_KEYS_FILE")
    ours = named in (None, "", simulator_url(up)) or key == str(webhook_key_file(up))
    return up.purpose == "development" and not ours


def simulator_url(up):
    return f"http://127.0.0.1:{up.ports['revio-sim']}/api/v1/"


def revio(up):
    """The account at Revio: the simulator's; of another one all of it is the shell's."""
    if another_revio(up):
        ours = {name: value for name, value in os.environ.items() if name.startswith("REVIO_")}
        for name in ("REVIO_API_KEY", "REVIO_BRAND_ID", "REVIO_WEBHOOK_PUBLIC_KEYS"):
            if not (ours.get(name) or ours.get(f"{name}_FILE")):
                raise Failure("use the Revio of REVIO_BASE_URL", f"{name} is not set", "see docs/provider.md")
        return ours
    return {
        "REVIO_BASE_URL": simulator_url(up),
        "REVIO_API_KEY": REVIO_API_KEY,
        "REVIO_BRAND_ID": REVIO_BRAND_ID,
        "REVIO_TEST_MODE": "true",
        "REVIO_WEBHOOK_PUBLIC_KEYS_FILE": str(webhook_key_file(up)),
    }


def variables(up):
    """What a process of the service must be told to join this set."""
    api = f"127.0.0.1:{up.ports['octoco']}"
    return {
        "LISTEN_ADDR": api,
        "OPS_ADDR": f"127.0.0.1:{up.ports['operations']}",
        "PUBLIC_URL": f"http://{api}",
        "DATABASE_URL": up.database_url("octoco", parts.SERVICE_ROLE),
        "MIGRATION_DATABASE_URL": up.database_url("octoco"),
        "DATABASE_DURABILITY": "none" if up.purpose == "tests" else "local",
        "REDIS_URL": up.redis_url(),
        "TIGERBEETLE_ADDRESSES": up.tigerbeetle_address(),
        "TIGERBEETLE_CLUSTER_ID": "0",
        "LEDGER_BASE": "0",
        "CURRENCIES": "ZAR",
        **revio(up),
        "MAIL_FOLDER": str(mail_folder(up)),
        "LOG_FORMAT": "json",
        "ENVIRONMENT": "development",
        **{name: os.environ.get(name) or value for name, value in DEVELOPMENT.items()},
        **read_keys(up),
    }


def service_env(up):
    """The shell's environment, so that optional variables can be set there, without anything that contradicts ours."""
    ours = variables(up)
    taken = {name.removesuffix("_FILE") for name in ours}
    theirs = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in taken}
    return {**theirs, **ours}


def keys_file(up):
    return up.state / "keys.env"


def ensure_keys(up):
    """Makes this set's own keys, once: for the tokens it signs and the bank details it encrypts."""
    if keys_file(up).exists():
        return
    answer = subprocess.run([binary(up, "octoco"), "keys", "generate"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise Failure("generate keys", answer.stderr, f"run: {shown(binary(up, 'octoco'))} keys generate")
    new = keys_file(up).with_suffix(".new")
    with open(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(answer.stdout)
    new.rename(keys_file(up))


def read_keys(up):
    """The lines are NAME="value", the value quoted as JSON."""
    keys = {}
    for line in keys_file(up).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            keys[name] = json.loads(value) if value.startswith('"') else value
    return keys


# -- start ------------------------------------------------------------------------------------------------------------


def prepare(up, *options):
    """What the service needs around it: its keys, its database as the migrations say, and Revio."""
    ensure_keys(up)
    parts.ensure_database(up, "octoco")
    processes.ensure(up.state, simulator(up, *options))
    migrate(up)


def migrate(up):
    log = processes.log_file(up.state, "migrate")
    try:
        run_long("applying migrations", [binary(up, "octoco"), "migrate"], log, env=service_env(up))
    except Failure as failure:
        failure.try_next += "\nif the data is another branch's, start from nothing: ./dev down && rm -rf .dev"
        raise
    # As a superuser would, once: the owner of the tables makes no roles here (docs/reporting.md).
    parts.sql(up, f"select admit_reader('{parts.READER_ROLE}', '{READER_PASSWORD}')", "octoco")


def simulator(up, *options):
    """Revio, with our webhook registered; it writes down the key that signs its deliveries."""
    api, listen = (f"127.0.0.1:{up.ports[name]}" for name in ("octoco", "revio-sim"))
    account = ["--test-key", REVIO_API_KEY, "--brand-id", REVIO_BRAND_ID]
    webhook = ["--webhook", f"http://{api}/v1/webhooks/revio", "--public-key-out", webhook_key_file(up)]
    return Part(
        name="revio-sim",
        command=[binary(up, "revio-sim"), "--listen", listen, *account, *webhook, *options],
        healthy=lambda: webhook_key_file(up).exists() and processes.answers(up.ports["revio-sim"]),
    )


def serve(up, **more):
    port = up.ports["octoco"]
    command = [binary(up, "octoco"), "serve"]
    return Part(name="octoco", command=command, healthy=lambda: is_ready(port), env={**service_env(up), **more})


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:  # which HTTPError is, too
        return False
