"""`./dev up --monitoring`: Prometheus and Alertmanager beside the rest, with rules and routes of `deploy/monitoring`.

    prometheus     reads /metrics of the service, evaluates the rules, tells Alertmanager
    alertmanager   groups, silences, sends
    alert-inbox    stands in for Slack and the mail server: each message is a file in `.dev/up/alerts`

The configuration is a copy of the one there, with this machine's addresses in the place of an installation's.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import parts
import processes
import service
import toolchain
from console import ROOT, Failure, heading, note
from processes import Part

HOME = ROOT / "deploy" / "monitoring"
PARTS = {"alert-inbox": 19094, "alertmanager": 19093, "prometheus": 19090}  # as they start
PORTS = {**PARTS, "alert-mail": 19025}
SECRETS = {"smtp_password": "the-password-of-the-mail-server", "watchdog_token": "the-token-of-the-watchdog"}
GRAFANA = "http://127.0.0.1:3000"  # as grafana/README.md starts it

PATIENCE = 180  # seconds that a run may take: it looks twice at what differs, a minute apart
NOT_FINISHED = 2  # exit status of `octoco reconcile`

POSITION = "currency, owed, unallocated, at_provider, in_transit, bank, held, own_funds, receivables, surplus"
OF_TODAY = "from reporting.position where day = (select max(day) from reporting.position) order by currency"


def added_to(up):
    """The same set with ports for these parts."""
    chosen = {name: int(os.environ.get(parts.PORT_VARIABLES[name]) or port) for name, port in PORTS.items()}
    return replace(up, ports={**chosen, **up.ports})


def runs_in(up):
    return "prometheus" in up.ports


def alerts_folder(up):
    return up.state / "alerts"


def all_parts(up, exchanged=None):
    """In the order in which they start. `exchanged`: what else of the configurations is another text here."""
    home = configure(up, exchanged or {})
    return inbox(up), alertmanager(up, home), prometheus(up, home)


# -- configuration ----------------------------------------------------------------------------------------------------


def configure(up, exchanged):
    home = up.state / "monitoring"
    for folder in ("rules", "templates"):
        shutil.rmtree(home / folder, ignore_errors=True)
        shutil.copytree(HOME / folder, home / folder)
    for folder in ("secrets", "targets"):
        (home / folder).mkdir(exist_ok=True)
    inbox_url = f"http://127.0.0.1:{up.ports['alert-inbox']}"
    for name, secret in {**SECRETS, "slack_url": f"{inbox_url}/slack"}.items():
        (home / "secrets" / name).write_text(secret)
    scraped = {"octoco": "operations", "prometheus": "prometheus", "alertmanager": "alertmanager"}
    for job, port in scraped.items():
        targets = [{"targets": [f"127.0.0.1:{up.ports[port]}"]}]
        (home / "targets" / f"{job}.json").write_text(json.dumps(targets))
    copied(home, "prometheus.yml", {**links(), **exchanged.get("prometheus.yml", {})})
    here = {
        "/etc/prometheus/secrets": str(home / "secrets"),
        "smtp.example.com:587": f"127.0.0.1:{up.ports['alert-mail']}",
        "smtp_require_tls: true": "smtp_require_tls: false",
        "https://watchdog.example.com/octoco": f"{inbox_url}/watchdog",
    }
    copied(home, "alertmanager.yml", {**here, **exchanged.get("alertmanager.yml", {})})
    return home


def links():
    return {
        "https://octoco.example.com/docs/runbooks": f"file://{ROOT}/docs/runbooks",
        "https://grafana.example.com": GRAFANA,
    }


def copied(home, name, exchanged):
    """A text that is not there any more would leave an installation's address in the copy."""
    text = (HOME / name).read_text()
    for old, new in exchanged.items():
        if old not in text:
            raise Failure(f"configure {name}", f"it does not say {old} any more", "correct deploy/dev/monitoring.py")
        text = text.replace(old, new)
    (home / name).write_text(text)


# -- parts ------------------------------------------------------------------------------------------------------------


def inbox(up):
    program = Path(__file__).with_name("alert_inbox.py")
    ports = (up.ports["alert-inbox"], up.ports["alert-mail"])
    return Part(
        name="alert-inbox",
        command=[sys.executable, program, alerts_folder(up), *ports],
        healthy=lambda: all(map(processes.answers, ports)),
    )


def alertmanager(up, home):
    port = up.ports["alertmanager"]
    options = [f"--config.file={home / 'alertmanager.yml'}", f"--storage.path={home / 'alertmanager'}"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    return Part("alertmanager", [toolchain.alertmanager(), *options], lambda: is_ready(port))


def prometheus(up, home):
    port = up.ports["prometheus"]
    options = [f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'prometheus'}"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=90d"]
    options += ["--rules.alert.resend-delay=2s"]  # what it sent before it had found Alertmanager is lost
    return Part("prometheus", ["prometheus", *options], lambda: is_ready(port))


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


# -- the demo ---------------------------------------------------------------------------------------------------------


def show(up):
    """What the demo has done, as finance sees it: a reconciliation, and whether we hold what we owe."""
    heading("Demo: a reconciliation, and the position")
    run = reconciled(up)
    if run.returncode not in (0, 1):  # 1: it has found something
        raise Failure("reconcile", run.stdout + run.stderr, "read the log: ./dev logs octoco")
    for line in run.stdout.splitlines():
        if not line.startswith("{"):  # which is its log
            note(line)
    for row in parts.sql(up, f"select {POSITION} {OF_TODAY}", "octoco").splitlines():
        note("")
        for name, value in zip(POSITION.split(", "), row.split("|")):
            note(f"{name:<14}{value:>16}")


def reconciled(up):
    """The service has just begun a run of its own, and there is one at a time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        command = [service.binary(up, "octoco"), "reconcile"]
        run = subprocess.run(command, env=service.service_env(up), capture_output=True, text=True, check=False)
        if run.returncode != NOT_FINISHED or time.monotonic() > deadline:
            return run
        time.sleep(1)
