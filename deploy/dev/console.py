"""What the developer sees: headings, progress of long commands, and failures that say what to try next."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Failure(Exception):
    """A step that failed: which one, why, and what to try next."""

    def __init__(self, step, cause, try_next):
        super().__init__(step)
        self.step, self.cause, self.try_next = step, cause, try_next

    def show(self):
        print(f"\nFAILED  {self.step}", file=sys.stderr)
        print("  why   " + self.cause.strip().replace("\n", "\n        "), file=sys.stderr)
        print("  next  " + self.try_next.strip().replace("\n", "\n        "), file=sys.stderr, flush=True)


def heading(text):
    print(f"\n== {text}", flush=True)


def note(text):
    print(f"   {text}", flush=True)


def shown(path):
    """A path as the developer would type it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def duration(seconds):
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def tail(path, lines=15):
    """The last lines of a log, for a failure message."""
    try:
        text = Path(path).read_text(errors="replace").rstrip()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class Progress:
    """One line that counts seconds: live on a terminal, every 30 seconds elsewhere."""

    def __init__(self, title, usually=None, log=None):
        self.log = log
        self.text = title if usually is None else f"{title} (usually {usually})"
        self.started = time.monotonic()
        self.live = sys.stdout.isatty()
        self.next_report = 2 if usually or self.live else 30

    def seconds(self):
        return time.monotonic() - self.started

    def tick(self):
        if self.seconds() < self.next_report:
            return
        if self.live:
            latest = tail(self.log, 1).strip() if self.log else ""
            line = f"   {self.text} … {self.seconds():.0f} s  {latest}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r{line}", end="\033[K", flush=True)
            self.next_report = self.seconds() + 1
        else:
            note(f"{self.text} … {self.seconds():.0f} s")
            self.next_report += 30

    def end(self, result):
        if self.live:
            print("\r\033[K", end="")
        note(f"{self.text.split(' (usually')[0]}: {result}, {duration(self.seconds())}")


def run_long(title, command, log, usually=None, env=None, cwd=ROOT):
    """Runs a command with its output in a log and its progress on the screen; raises Failure with the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(title, usually, log)
    with open(log, "wb") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
        )
    try:
        wait_ticking(child, progress)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if child.returncode != 0:
        progress.end("failed")
        raise Failure(title, f"exit code {child.returncode}; the last lines:\n{tail(log)}", f"read {shown(log)}")
    progress.end("done")


def wait_ticking(child, progress):
    while True:
        progress.tick()
        try:
            child.wait(timeout=0.5)
            return
        except subprocess.TimeoutExpired:
            pass
