"""A step of `./dev test`: the alerts of `deploy/monitoring`, with the real Prometheus and the real Alertmanager.

    rules     each has its runbook, its dashboard and its cases (alert_cases.py), which `promtool test rules` runs
    routes    each pair of severity and team reaches its receiver
    delivery  what fires arrives at Slack and by mail with its links, in groups, and silences what follows from it
    metrics   what rules read is exported: by the running service, an exporter or TigerBeetle (monitoring_metrics.py)

The Prometheus of this step reads a page that the step writes, and looks every second instead of every 15.
"""

import json
import re
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import monitoring
import parts
import processes
import toolchain
from alert_cases_service import CASES
from console import ROOT, Failure, heading, note
from monitoring_metrics import unknown

PORTS = {"octoco": 23080, "operations": 23081, "revio-sim": 23090, "alert-inbox": 23094, "alert-mail": 23025}
PORTS |= {"alertmanager": 23093, "prometheus": 23099}
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARDS = ROOT / "grafana" / "dashboards"
PATIENCE = 30  # seconds until a message has arrived
QUICKLY = {
    "prometheus.yml": {
        "scrape_interval: 15s": "scrape_interval: 1s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
    },
    "alertmanager.yml": {
        "group_wait: 30s": "group_wait: 1s",
        "group_wait: 10s": "group_wait: 1s",
        "group_interval: 5m": "group_interval: 1s",
        "group_interval: 1m": "group_interval: 1s",
    },
}
RECEIVERS = {
    ("page", "ops"): "ops-page",
    ("page", "fin"): "fin-page",
    ("page", "all"): "fin-page,ops-page",
    ("ticket", "ops"): "ops-ticket",
    ("ticket", "fin"): "fin-ticket",
    ("none", "ops"): "watchdog",
}


def in_test(run, instances):
    try:
        toolchain.ensure_monitoring()
    except Failure as failure:
        return run.skip("monitoring", failure.cause.partition("\n")[0])
    heading("Monitoring")
    try:
        with watched(instances) as field:
            for step in (rules, routes, delivery, metrics):
                began = time.monotonic()
                problems = step(field)
                if problems:
                    run.fail(f"alerts: {step.__name__}", "\n   ".join(problems))
                else:
                    run.note(f"alerts: {step.__name__}", "ok", time.monotonic() - began)
    except Failure as failure:
        run.fail("monitoring", f"{failure.step}: {failure.cause}")
    return None


class Page(BaseHTTPRequestHandler):
    """What Prometheus reads."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.server.text.encode())

    def log_message(self, *_):
        pass


@dataclass
class Field:
    """What the steps work with: the running parts, the page, and the rules as Prometheus has read them."""

    up: parts.Instances
    page: ThreadingHTTPServer
    rules: list

    @property
    def alerts(self):
        return [rule for rule in self.rules if rule["type"] == "alerting"]

    def home(self, name):
        return self.up.state / "monitoring" / name

    def messages(self):
        return {file.name: file.read_text() for file in monitoring.alerts_folder(self.up).glob("*.txt")}

    def until(self, what, found):
        """Waits for it; a problem when it does not come."""
        deadline = time.monotonic() + PATIENCE
        while not found():
            if time.monotonic() > deadline:
                return [
                    f"{what}: not within {PATIENCE} s; {sorted(self.messages())} in {monitoring.alerts_folder(self.up)}"
                ]
            time.sleep(0.2)
        return []

    def alert(self, name, **labels):
        """As Prometheus would send it."""
        rule = next(
            rule for rule in self.alerts if rule["name"] == name and labels.items() >= picked(rule, labels).items()
        )
        annotations = linked({**rule["annotations"], "summary": f"{name} of {labels}"})
        return {"labels": {"alertname": name, **rule["labels"], **labels}, "annotations": annotations}

    def send(self, *alerts):
        url = f"http://127.0.0.1:{self.up.ports['alertmanager']}/api/v2/alerts"
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(alerts).encode(), headers), timeout=10).close()

    def states(self):
        """Of each alert that Alertmanager knows: active, or suppressed by another."""
        alerts = asked(self.up.ports["alertmanager"], "/api/v2/alerts")
        return {
            (alert["labels"]["alertname"], alert["labels"]["severity"]): alert["status"]["state"] for alert in alerts
        }


def picked(rule, labels):
    """Of two rules of one name, the labels that tell them apart."""
    return {name: value for name, value in rule["labels"].items() if name in labels}


def asked(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


class watched:
    """The parts of monitoring around a page, and the page."""

    def __init__(self, instances):
        self.page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.page.text = ""
        self.up = replace(instances, ports={**instances.ports, "operations": self.page.server_port})

    def __enter__(self):
        threading.Thread(target=self.page.serve_forever, daemon=True).start()
        for part in monitoring.all_parts(self.up, QUICKLY):
            processes.ensure(self.up.state, part)
        groups = asked(self.up.ports["prometheus"], "/api/v1/rules")["data"]["groups"]
        named = [{**rule, "file": group["file"], "group": group["name"]} for group in groups for rule in group["rules"]]
        return Field(self.up, self.page, named)

    def __exit__(self, *_):
        self.page.shutdown()
        parts.stop_all(self.up.state, monitoring.PARTS)


# -- rules ------------------------------------------------------------------------------------------------------------


def rules(field):
    problems = tool("promtool", "check", "config", field.home("prometheus.yml"))
    for rule in field.alerts:
        problems += malformed(rule)
    names, cases = {rule["name"] for rule in field.alerts}, {case.alert for case in CASES}
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\)", (RUNBOOKS / "README.md").read_text(), flags=re.MULTILINE)
    problems += differences("alerts", names, "cases", cases) + differences("alerts", names, "runbooks", pages)
    problems += differences("alerts", names, "docs/runbooks/README.md", {name for name, page in listed if name == page})
    problems += [f"{case.alert} has a case that changes nothing" for case in CASES if case.fires == case.quiet]
    fired = {(case.alert, severity) for case in CASES for severity in case.severities}
    problems += differences(
        "rules", {(rule["name"], rule["labels"]["severity"]) for rule in field.alerts}, "cases", fired
    )
    if problems:
        return problems
    return [problem for file in promtool_files(field) for problem in tool("promtool", "test", "rules", file)]


def malformed(rule):
    name, labels, annotations = rule["name"], rule["labels"], linked(rule["annotations"])
    pair = labels.get("severity"), labels.get("team")
    problems = [] if pair in RECEIVERS else [f"{name}: severity and team are {pair}"]
    if annotations.keys() != {"summary", "description", "runbook_url", "dashboard"}:
        return [*problems, f"{name}: annotations are {sorted(annotations)}"]
    board = annotations["dashboard"].removeprefix(f"{monitoring.GRAFANA}/d/")
    if board not in {json.loads(file.read_text())["uid"] for file in DASHBOARDS.rglob("*.json")}:
        problems.append(f"{name}: no dashboard has the uid {board}")
    if annotations["runbook_url"] != f"file://{RUNBOOKS}/{name}.md":
        problems.append(f"{name}: its runbook is {annotations['runbook_url']}")
    if "{{" in annotations["description"]:
        problems.append(f"{name}: what changes from alert to alert belongs into the summary")
    return problems


def linked(annotations):
    """With the links that Prometheus makes of its external labels."""
    runbooks, grafana = monitoring.links().values()
    made = (("{{ $externalLabels.runbooks }}", runbooks), ("{{ $externalLabels.grafana }}", grafana))
    for template, link in made:
        annotations = {name: text.replace(template, link) for name, text in annotations.items()}
    return annotations


def promtool_files(field):
    """One for each file of rules, and one more for cases of a day: those are looked at every ten minutes."""
    sets = {}
    for case in CASES:
        rules_of = [rule for rule in field.alerts if is_of(rule, case)]
        step = 10 if int(case.at[:-1]) > 1000 else 1
        sets.setdefault((rules_of[0]["file"], step), []).extend(promtool_tests(case, rules_of, step))
    for number, ((rule_file, step), tests) in enumerate(sets.items()):
        order = list(dict.fromkeys(rule["group"] for rule in field.rules if rule["file"] == rule_file))
        settings = {"rule_files": [rule_file], "evaluation_interval": f"{step}m", "group_eval_order": order}
        file = field.home(f"tests-{number}.json")
        file.write_text(json.dumps({**settings, "tests": tests}))
        yield file


def is_of(rule, case):
    return rule["name"] == case.alert and case.labels.items() >= own(rule).items()


def promtool_tests(case, rules_of, step):
    """It begins to fire at that look with these labels and texts, and of the other series it does not."""
    at = int(case.at[:-1])
    before = [promised(case, at - step, expected(case, rules_of, case.before))] if at else []
    yield promtool_test(case.fires, [*before, promised(case, at, expected(case, rules_of, case.severities))])
    if case.quiet:
        yield promtool_test(case.quiet, [promised(case, at, [])])


def expected(case, rules_of, severities):
    return [
        {
            "exp_labels": {**rule["labels"], **case.labels},
            "exp_annotations": linked({**rule["annotations"], "summary": case.summary}),
        }
        for rule in rules_of
        if rule["labels"]["severity"] in severities
    ]


def own(rule):
    """Labels of the rule that are no series' and tell it apart."""
    return {name: value for name, value in rule["labels"].items() if name not in ("severity", "team")}


def promtool_test(lines, promises):
    series = [
        line.strip().rpartition("} ") if "} " in line else line.strip().partition(" ") for line in lines.splitlines()
    ]
    runbooks, grafana = monitoring.links().values()
    return {
        "interval": "1m",
        "external_labels": {"runbooks": runbooks, "grafana": grafana},
        "input_series": [{"series": (name + space).strip(), "values": values} for name, space, values in series],
        "alert_rule_test": promises,
    }


def promised(case, at, alerts):
    return {"eval_time": f"{at}m", "alertname": case.alert, "exp_alerts": alerts}


# -- routes -----------------------------------------------------------------------------------------------------------


def routes(field):
    config = field.home("alertmanager.yml")
    problems = tool("amtool", "check-config", config)
    for name, severity, team in sorted({(rule["name"], *pair_of(rule)) for rule in field.alerts}):
        words = [f"alertname={name}", f"severity={severity}", f"team={team}"]
        command = ["amtool", "config", "routes", "test", f"--config.file={config}"]
        receivers = f"--verify.receivers={RECEIVERS.get((severity, team))}"
        problems += tool(*command, receivers, *words)
    return problems


def pair_of(rule):
    return rule["labels"]["severity"], rule["labels"]["team"]


# -- delivery ---------------------------------------------------------------------------------------------------------


def delivery(field):
    return [problem for step in (by_prometheus, in_groups, tickets, silenced) for problem in step(field)]


def by_prometheus(field):
    """From a metric to what people read, and that it is over."""
    field.page.text = 'octoco_reconciliation_breaks{type="unbalanced",severity="critical"} 1\n'
    links = f"file://{RUNBOOKS}/CriticalBreak.md", f"{monitoring.GRAFANA}/d/octoco-reconciliation"
    told = ("1 critical breaks of type unbalanced are open", *links)
    login = f"user alerts@example.com with {monitoring.SECRETS['smtp_password']}"
    wanted = {
        "Slack, operations": ("to #octoco-ops", "[PAGE] CriticalBreak", "<!channel>", *told),
        "Slack, finance": ("to #octoco-finance", "[PAGE] CriticalBreak", *told),
        "mail, operations": (login, "to on-call@example.com", "subject [PAGE] CriticalBreak", *told),
        "mail, finance": (login, "to finance-on-call@example.com", *told),
        "dead man's switch": (f"Bearer {monitoring.SECRETS['watchdog_token']}",),
    }
    problems = [problem for what, texts in wanted.items() for problem in field.until(what, arrived(field, *texts))]
    field.page.text = ""
    return problems + field.until("the end", arrived(field, "to #octoco-ops", "[OVER] CriticalBreak", *told))


def arrived(field, *texts):
    return lambda: any(all(text in message for text in texts) for message in field.messages().values())


def in_groups(field):
    """One message for each alert and currency, however many of them there are."""
    rands = [field.alert("PositionShort", currency="ZAR", instance=instance) for instance in ("a", "b")]
    field.send(*rands, field.alert("PositionShort", currency="USD"))
    summaries = [alert["annotations"]["summary"] for alert in rands]
    slack = "to #octoco-finance"
    problems = field.until("one for rands", arrived(field, slack, "[PAGE] PositionShort ZAR (2)", *summaries))
    problems += field.until("one for dollars", arrived(field, slack, "[PAGE] PositionShort USD\n"))
    if arrived(field, "PositionShort ZAR", "PositionShort USD")():
        problems.append("one message tells of two currencies")
    return problems


def tickets(field):
    """To those whom nobody wakes; a page says all that the ticket of the same name would."""
    float_low, reuse = field.alert("FloatLow", currency="ZAR"), field.alert("RefreshReuse")
    burns = [field.alert("ApiBurn", severity=severity, slo="api") for severity in ("page", "ticket")]
    field.send(float_low, reuse, *burns)
    wanted = (
        ("to #octoco-finance", "[TICKET] FloatLow ZAR", float_low),
        ("to finance@example.com", "[TICKET] FloatLow ZAR", float_low),
        ("to #octoco-ops", "[TICKET] RefreshReuse", reuse),
        ("to ops@example.com", "[TICKET] RefreshReuse", reuse),
        ("to on-call@example.com", "[PAGE] ApiBurn", burns[0]),
    )
    problems = []
    for whom, subject, alert in wanted:
        texts = alert["annotations"].values()
        problems += field.until(f"{subject} {whom}", arrived(field, whom, subject, *texts))
    if any("<!channel>" in text for text in field.messages().values() if "[TICKET]" in text):
        problems.append("a ticket calls everybody")
    if field.states().get(("ApiBurn", "ticket")) != "suppressed":
        problems.append("the ticket of ApiBurn is told beside the page")
    return problems


def silenced(field):
    """What follows from something that is told already is not told."""
    problems = []
    causes = (field.alert("TargetDown", scope="all", job="octoco"), field.alert("LedgerUnknown", scope="all"))
    for cause in causes:
        name = cause["labels"]["alertname"]
        follows = [field.alert("StuckRows", queue=name), field.alert("DeadEvents", queue=name)]
        field.send(cause)
        problems += field.until(name, arrived(field, "to #octoco-ops", f"[PAGE] {name}"))
        # A machine or a part that is in a bad way may be why.
        told = [("PostgresDown", "page"), ("DiskFilling", "page"), ("ClockUnsynced", "ticket")]
        parts_of = [field.alert(alert, severity=severity, instance=name) for alert, severity in told]
        field.send(*follows, *parts_of, field.alert("CriticalBreak", type=name))
        problems += field.until("what is true all the same", arrived(field, "CriticalBreak", f"'type': '{name}'"))
        states = field.states()
        problems += [f"{name} silences {alert}" for alert in told if states.get(alert) == "suppressed"]
        consequences = (("StuckRows", "page"), ("DeadEvents", "ticket"))
        problems += [f"{name} does not silence {alert}" for alert in consequences if states.get(alert) != "suppressed"]
        problems += [
            f"{name} was told, and {alert['labels']['alertname']} too"
            for alert in follows
            if arrived(field, alert["annotations"]["summary"])()
        ]
        over = {"endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        field.send(*({**alert, **over} for alert in (*follows, *parts_of, cause)))
    return problems


def metrics(field):
    return unknown(field.up, PORTS["operations"], field.rules, [page.read_text() for page in RUNBOOKS.glob("*.md")])


# -- tools ------------------------------------------------------------------------------------------------------------


def tool(*command):
    """What it complains of."""
    answer = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return []
    note(" ".join(map(str, command)))
    return [answer.stdout + answer.stderr]


def differences(one, these, other, those):
    return [f"{name} is among the {one} and not the {other}" for name in sorted(map(str, these - those))] + [
        f"{name} is among the {other} and not the {one}" for name in sorted(map(str, those - these))
    ]
