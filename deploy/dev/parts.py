"""The parts that hold state: PostgreSQL, Redis and TigerBeetle, as private instances on ports of their own."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from console import ROOT, Failure, heading, note, shown
from processes import (
    Part,
    answers,
    as_user,
    end,
    ensure,
    find,
    free_port,
    holder,
    is_free,
    only_one,
    start_time,
    stop,
)
from toolchain import TIGERBEETLE, ensure_all, fresh_folder, postgres_bin, system_path, tigerbeetle

PORT_VARIABLES = {
    "octoco": "OCTOCO_API_PORT",
    "operations": "OCTOCO_OPS_PORT",
    "revio-sim": "OCTOCO_SIM_PORT",
    "postgres": "OCTOCO_POSTGRES_PORT",
    "redis": "OCTOCO_REDIS_PORT",
    "tigerbeetle": "OCTOCO_TIGERBEETLE_PORT",
    "prometheus": "OCTOCO_PROMETHEUS_PORT",
    "alertmanager": "OCTOCO_ALERTMANAGER_PORT",
    "alert-inbox": "OCTOCO_ALERT_INBOX_PORT",
    "alert-mail": "OCTOCO_ALERT_MAIL_PORT",
}

OWNERS = {"operations": "octoco", "alert-mail": "alert-inbox"}  # who listens on a port that is no part's main one
SERVICE_ROLE = "octoco_service"
READER_ROLE = "grafana"

POSTGRES_SETTINGS = {
    "development": [],
    # The databases of tests may be lost, so nothing waits for the disk.
    "tests": ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"],
    "measuring": ["shared_buffers=2GB", "max_wal_size=8GB"],
}


@dataclass(frozen=True)
class Instances:
    """One set of parts: where its state is, on which ports it answers, what it is for, which programs of ours run."""

    state: Path
    ports: dict[str, int]
    purpose: str
    programs: Optional[Path] = None

    def measures(self):
        """Then everything is as in production but for the one replica: built for release, every write on disk."""
        return self.purpose == "measuring"

    def demand_free_ports(self):
        """Says who is in the way before anything starts."""
        for name, port in self.ports.items():
            if find(self.state, OWNERS.get(name, name)) is None and not is_free(port):
                raise Failure(
                    f"start {name}",
                    f"port {port} is taken by {holder(port)}",
                    f"stop it, or choose another port: {PORT_VARIABLES[name]}=… ./dev up",
                )

    def database_url(self, database, role="octoco"):
        return f"postgres://{role}@127.0.0.1:{self.ports['postgres']}/{database}"

    def redis_url(self):
        return f"redis://127.0.0.1:{self.ports['redis']}"

    def tigerbeetle_address(self):
        return f"127.0.0.1:{self.ports['tigerbeetle']}"


def stop_all(state, names):
    """Stops parts, the last one first, and returns the names of those that ran."""
    stopped = [name for name in reversed(list(names)) if stop(state, name)]
    end_orphaned_sessions((state / "postgres").resolve() / "data")
    return stopped


def forget_data(state):
    """Deletes what the stopped parts of a test set have stored."""
    shutil.rmtree((state / "postgres").resolve(), ignore_errors=True)
    for data in state.glob("*.tigerbeetle"):
        data.unlink()


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


def postgres(instances):
    port, data = instances.ports["postgres"], postgres_data(instances.state)
    settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "timezone=UTC"]
    settings += POSTGRES_SETTINGS[instances.purpose]
    options = [word for setting in settings for word in ("-c", setting)]
    return Part(
        name="postgres",
        command=[postgres_bin() / "postgres", "-D", data, *options],
        healthy=lambda: postgres_answers(port),
        env=postgres_env(),
        user=postgres_user(),
        stop_signal=signal.SIGINT,  # PostgreSQL's "fast": ends sessions instead of waiting for them
    )


def postgres_answers(port):
    return postgres_tool("pg_isready", "-q", "-h", "127.0.0.1", "-p", port).returncode == 0


def postgres_user():
    """PostgreSQL refuses to run as root; its package brings a user for this."""
    return "postgres" if os.geteuid() == 0 else None


def postgres_env():
    without_settings = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**without_settings, "LC_ALL": "C.UTF-8"}


def postgres_tool(tool, *arguments, user=None):
    command = [str(word) for word in (postgres_bin() / tool, *arguments)]
    return subprocess.run(
        command,
        env=postgres_env(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **as_user(user),
    )


def postgres_data(state):
    """The data folder, made and initialised when it is not there."""
    home = state / "postgres"
    if not home.exists():
        make_postgres_home(home)
    data = home.resolve() / "data"
    if not data.exists():
        new = data.with_name("data.new")
        if new.exists():
            shutil.rmtree(new)
        options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        made = postgres_tool("initdb", "-D", new, *options, user=postgres_user())
        if made.returncode != 0:
            raise Failure("create the PostgreSQL instance", made.stderr, f"look at {new.parent}")
        new.rename(data)
    forget_dead_postmaster(data)
    return data


def make_postgres_home(home):
    """A folder that PostgreSQL's user may reach: in `.dev/`, or in /var/tmp if the checkout is closed to it."""
    home.unlink(missing_ok=True)  # a link whose target is gone
    home.mkdir(parents=True)
    if postgres_user() is None:
        home.chmod(0o700)
        return
    if reachable(home):
        own_by_postgres(home)
        return
    home.rmdir()
    prefix = f"octoco-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}-"
    for left_over in Path("/var/tmp").glob(f"{prefix}*"):
        shutil.rmtree(left_over)
    elsewhere = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp"))
    own_by_postgres(elsewhere)
    home.symlink_to(elsewhere)


def reachable(folder):
    return subprocess.run(["test", "-x", folder], cwd="/", check=False, **as_user("postgres")).returncode == 0


def own_by_postgres(folder):
    shutil.chown(folder, "postgres", "postgres")
    folder.chmod(0o700)


def forget_dead_postmaster(data):
    """After kill -9 of the server its lock file and sessions in mid-query stay; neither may block a new start."""
    lock = data / "postmaster.pid"
    if lock.exists() and not is_postgres(lock.read_text().partition("\n")[0]):
        end_orphaned_sessions(data)
        lock.unlink()


def is_postgres(pid):
    try:
        return start_time(pid) is not None and Path("/proc", pid, "comm").read_text().strip() == "postgres"
    except FileNotFoundError:
        return False


def end_orphaned_sessions(data):
    """Every process of PostgreSQL works in its data folder, which is how to know those that outlived their server."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(link) == str(data) and is_postgres(link.parts[2]):
                end(int(link.parts[2]), signal.SIGKILL)
        except OSError:  # gone, or not ours to look at
            continue


def sql(instances, statement, database="postgres"):
    """Runs one statement as the instance's superuser and returns its plain output."""
    url = f"postgres://postgres@127.0.0.1:{instances.ports['postgres']}/{database}"
    answer = postgres_tool("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, url)
    if answer.returncode != 0:
        raise Failure("prepare the database", answer.stderr, f"the statement was: {statement}")
    return answer.stdout.strip()


def ensure_database(instances, name):
    """The role `octoco`, a database that it owns, and the roles of the service and of dashboards, which own nothing:
    `octoco migrate` gives them what they need. Tests make databases of their own, of `template1`, which is migrated for
    them (checks.py); these begin with nothing, so that the migrations themselves are run."""
    owner = ("octoco", "superuser" if instances.purpose == "tests" else "")
    for role, options in (owner, (SERVICE_ROLE, ""), (READER_ROLE, "")):
        if not sql(instances, f"select 1 from pg_roles where rolname = '{role}'"):
            sql(instances, f"create role {role} login {options}")
    if not sql(instances, f"select 1 from pg_database where datname = '{name}'"):
        sql(instances, f"create database {name} owner octoco template template0")


# -- Redis ------------------------------------------------------------------------------------------------------------


def redis(instances):
    port = instances.ports["redis"]
    program = shutil.which("redis-server", path=system_path())
    options = {"port": port, "bind": "127.0.0.1", "dir": instances.state, "save": "", "appendonly": "no"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Part(name="redis", command=[program, *words], healthy=lambda: redis_answers(port))


def redis_answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


# -- TigerBeetle ------------------------------------------------------------------------------------------------------


def tigerbeetle_part(instances):
    size = ["--cache-grid=512MiB"] if instances.measures() else ["--development"]
    data = tigerbeetle_data(instances.state, [] if instances.measures() else ["--development"])
    return Part(
        name="tigerbeetle",
        command=[tigerbeetle(), "start", f"--addresses={instances.tigerbeetle_address()}", *size, data],
        healthy=lambda: answers(instances.ports["tigerbeetle"]),
        explain=explain_tigerbeetle,
    )


def tigerbeetle_data(state, size):
    data = state / f"0_0-{TIGERBEETLE}.tigerbeetle"
    if data.exists():
        return data
    new = fresh_folder(state / "tigerbeetle.new") / data.name
    options = ["--cluster=0", "--replica=0", "--replica-count=1", *size]
    made = subprocess.run([tigerbeetle(), "format", *options, new], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        hint = explain_tigerbeetle(made.stderr) or f"2 GB must be free: df -h {shown(ROOT)}"
        raise Failure("create the TigerBeetle data file", made.stderr, hint)
    new.rename(data)
    new.parent.rmdir()
    return data


def explain_tigerbeetle(log):
    if "io_uring" in log:
        return (
            "TigerBeetle needs io_uring: a kernel of 5.6 or newer, and in a container a seccomp profile that\n"
            "allows it (docker run --security-opt seccomp=unconfined …); sysctl kernel.io_uring_disabled must be 0"
        )
    if "lock" in log and "another process" in log:
        return "another TigerBeetle holds the data file: ./dev down, then look at: pgrep -a tigerbeetle"
    return None


# -- a set of one's own -----------------------------------------------------------------------------------------------

STATEFUL = (postgres, redis, tigerbeetle_part)


@contextmanager
def private(state, wanted, what, purpose="tests", again=False, keep=False):
    """The three for one command, stopped and forgotten afterwards; they start empty, or `again` from what was kept."""
    heading("Parts")
    ensure_all()
    with only_one(state.with_suffix(".lock"), what):
        stop_all(state, wanted)
        if not again:
            forget_data(state)
            fresh_folder(state)
        state.mkdir(parents=True, exist_ok=True)
        up = Instances(state, {name: free_port(port) for name, port in wanted.items()}, purpose)
        try:
            for part in STATEFUL:
                ensure(state, part(up))
            note(", ".join(f"{name} on {port}" for name, port in up.ports.items()))
            yield up
        finally:
            stop_all(state, wanted)
            if not keep:
                forget_data(state)
