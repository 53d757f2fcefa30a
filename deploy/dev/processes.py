"""Keeping private processes: start, find again, stop, and the ports they use.

A process is remembered in `STATE/run/NAME.json` with its pid and its start time, so that a pid that the system
gave to somebody else meanwhile is never taken for ours, and `./dev down` works after a crash of `./dev` itself.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from console import Failure, Progress, shown, tail


@dataclass(frozen=True)
class Part:
    """One process of a running set."""

    name: str
    command: list
    healthy: Callable[[], bool]
    env: Optional[dict] = None
    user: Optional[str] = None  # run as this user instead of root
    stop_signal: int = signal.SIGTERM
    explain: Callable[[str], Optional[str]] = lambda log: None  # what to try next, from the log's end


def log_file(state, name):
    return state / "logs" / f"{name}.log"


def record_file(state, name):
    return state / "run" / f"{name}.json"


def start_time(pid):
    """When the kernel started this process, in clock ticks; None when it is gone (or only its corpse is left)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def find(state, name):
    """The pid of a part, or None when it does not run."""
    try:
        record = json.loads(record_file(state, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record["pid"] if start_time(record["pid"]) == record["started"] else None


def ensure(state, part, seconds=60):
    """Starts a part unless it runs, and waits until it is healthy. True when it had to be started."""
    started = find(state, part.name) is None
    if started:
        spawn(state, part)
    await_health(state, part, seconds)
    return started


def spawn(state, part):
    log = log_file(state, part.name)
    for folder in (log.parent, record_file(state, part.name).parent):
        folder.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.rename(log.with_suffix(".log.before"))
    with open(log, "wb") as output:
        child = subprocess.Popen(
            [str(word) for word in part.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=part.env,
            cwd="/",
            start_new_session=True,
            **as_user(part.user),
        )
    record = {"pid": child.pid, "started": start_time(child.pid), "stop_signal": int(part.stop_signal)}
    record_file(state, part.name).write_text(json.dumps(record))


def as_user(user):
    """Arguments of subprocess that drop root; nothing when there is nothing to drop."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def await_health(state, part, seconds):
    step, log = f"start {part.name}", log_file(state, part.name)
    progress = Progress(f"waiting for {part.name}")
    while not part.healthy():
        if find(state, part.name) is None:
            raise Failure(step, f"it ended at once; the last lines of its log:\n{tail(log)}", next_for(part, log))
        if progress.seconds() > seconds:
            cause = f"it runs, but gives no healthy answer after {seconds} s; the last lines of its log:\n{tail(log)}"
            raise Failure(step, cause, next_for(part, log))
        time.sleep(0.1)


def next_for(part, log):
    return part.explain(tail(log, 60)) or f"read {shown(log)}"


def stop(state, name, seconds=15):
    """Stops a part: asks first, then kills. True when there was something to stop."""
    pid, record = find(state, name), record_file(state, name)
    if pid is None:
        record.unlink(missing_ok=True)
        return False
    stop_signal = json.loads(record.read_text())["stop_signal"]
    record.rename(record.with_suffix(".stopping"))  # whoever watches can tell this from a crash
    if not end(pid, stop_signal, seconds):
        end(pid, signal.SIGKILL, seconds)
    record.with_suffix(".stopping").unlink(missing_ok=True)
    return True


def end(pid, stop_signal, seconds=15):
    """Signals a process and waits for its end. True when it ended in time."""
    deadline, started = time.monotonic() + seconds, start_time(pid)
    try:
        os.kill(pid, stop_signal)
    except ProcessLookupError:
        return True
    while started is not None and start_time(pid) == started:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def answers(port):
    """Whether something accepts connections on this port of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def free_port(wanted):
    """The wanted port, or any free one when it is taken."""
    if is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def holder(port):
    """Who listens on a port, as well as this user may know it."""
    sockets = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) in sockets:
                pid = descriptor.parts[2]
                return f"{Path('/proc', pid, 'comm').read_text().strip()}, pid {pid}"
        except OSError:
            continue
    return f"a process of another user (sudo ss -ltnp 'sport = :{port}' names it)"


def listening_inodes(port):
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for fields in map(str.split, rows):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


@contextmanager
def only_one(lock_file, what):
    """Holds a lock while one command works on a set; it goes with the process, even after kill -9."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with open(lock_file, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(what, "another one is at work in this checkout", "wait until it has ended") from None
        yield
