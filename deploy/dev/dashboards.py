"""`./dev dashboards`: what Grafana will show, without Grafana.

    files      each board through the foundation SDK, which drops unknown keys; our own lint (dashboards_lint.py)
    queries    each SQL query as the role grafana over seeded data: rows, totals, plan (dashboards_queries.py)
    metrics    each PromQL query through promtool; every metric is exported by somebody

The data are made by a service of its own on parts of its own (dashboards_seed.py).
"""

import json
import re
import shutil
import subprocess
import time

import dashboards_lint as lint
import dashboards_planted as planted
import dashboards_queries as queries
import dashboards_seed as seeds
import parts
import service
import toolchain
from console import ROOT, Failure, duration, heading, note

STATE = ROOT / ".dev" / "dashboards"
SERVICE_PORTS = {"revio-sim": 30090, "octoco": 30080, "operations": 30081}  # if free
PORTS = {"postgres": 30432, "redis": 30379, "tigerbeetle": 30000, **SERVICE_PORTS}
REQUIREMENTS = ROOT / "deploy" / "dev" / "grafana.txt"
EXPORTERS = ROOT / "deploy" / "monitoring" / "exporters.txt"
RULES = ROOT / "deploy" / "monitoring" / "rules"
PLANTED = ("planted", "sum(rate(octoco_nothing_total[$__rate_interval])")
# What Grafana puts in place of its own words, for promtool.
INTERVALS = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "6h"}
WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "inf",
    "nan",
}


def run():
    faults = check_files()
    faults += check_live(build=True)
    return report(faults)


def in_test(run):
    """The steps of `./dev test`."""
    started = time.monotonic()
    heading("Dashboards")
    try:
        faults = check_files() + check_live(build=False)
    except Failure as failure:
        return run.fail("dashboards", f"{failure.step}: {failure.cause}")
    if report(faults):
        return run.fail("dashboards", f"{len(faults)} faults, above; ./dev dashboards runs this alone")
    return run.note("dashboards", "ok", time.monotonic() - started)


def report(faults):
    for fault in faults:
        note(fault)
    note(f"{len(faults)} faults" if faults else "the dashboards are as they should be")
    return 1 if faults else 0


# -- files ------------------------------------------------------------------------------------------------------------


def check_files():
    heading("Dashboards: files")
    boards = lint.boards()
    faults = lint.faults(boards)
    home, problem = toolchain.from_pypi("grafana", REQUIREMENTS, python=(3, 11))
    if problem:
        note(f"the foundation SDK does not read them: {problem}")
    else:
        faults += [f"{board.name}: {fault}" for board in boards for fault in lint.unlike_sdk(board, home)]
    faults += planted.unseen_in_files(boards, home)
    panels = sum(len(board.panels) for board in boards)
    note(f"{len(boards)} boards, {panels} panels{'' if problem else ', as the foundation SDK has them'}")
    return faults


# -- queries and metrics ----------------------------------------------------------------------------------------------


def check_live(build):
    boards = lint.boards()
    with parts.private(STATE, PORTS, "./dev dashboards") as instances:
        if build:
            service.build(instances)
        ports = {name: instances.ports[name] for name in SERVICE_PORTS}
        with seeds.seeded(instances, STATE, ports) as seed:
            heading("Dashboards: queries")
            began = time.monotonic()
            asker = queries.Asker(seed.up, seed.item)
            answers, faults, asked = queries.ask_all(boards, asker)
            faults += queries.wrong_totals(seed.up, answers, seed.wallets)
            faults += planted.unseen_in_answers(asker)
            faults += planted.unseen_totals(seed.up, answers, seed.wallets)
            took = duration(time.monotonic() - began)
            note(f"{asked} queries as {parts.READER_ROLE}, {len(queries.TOTALS)} totals: {took}")
    return faults + check_metrics(boards, seed.metrics)


def check_metrics(boards, exported):
    heading("Dashboards: metrics")
    known = exported | in_exporters() | of_tigerbeetle() | recorded()
    expressions = [
        (f"{board.name}: {panel['title']}", target["expr"])
        for board in boards
        for panel, target in lint.targets(board)
        if "expr" in target
    ]
    names = set().union(*(metrics_of(expr) for _, expr in expressions))
    note(f"{len(expressions)} expressions, {len(names)} metrics")
    faults = unknown_metrics(expressions, known) + syntax_faults(expressions)
    if not unknown_metrics([PLANTED], known) or not (shutil.which("promtool") is None or syntax_faults([PLANTED])):
        faults.append("planted and not found: a metric that nobody exports, in an expression that does not end")
    return faults


def unknown_metrics(expressions, known):
    of_each = ((where, sorted(metrics_of(expr) - known)) for where, expr in expressions)
    return [f"{where}: nobody exports {name}" for where, names in of_each for name in names]


def plain(expr):
    for word, interval in INTERVALS.items():
        expr = expr.replace(word, interval)
    return expr


def metrics_of(expr):
    """The metrics that an expression names: what is no label, no function, no word of the language."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", plain(expr))
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    names = re.findall(r"(?<![\w.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return {name for name in names if name.lower() not in WORDS and not re.fullmatch(r"e\d+", name)}


def syntax_faults(expressions):
    """Each expression as a rule, alone in its file if promtool does not read all of them."""
    promtool, file = shutil.which("promtool"), STATE / "expressions.yml"
    if promtool is None:
        note("promtool is not installed: the syntax of PromQL is not looked at")
        return []
    STATE.mkdir(parents=True, exist_ok=True)

    def refused(chosen):
        rules = [{"record": f"panel:{number}", "expr": plain(expr)} for number, (_, expr) in enumerate(chosen)]
        file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        answer = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        return (answer.stdout + answer.stderr).strip() if answer.returncode != 0 else None

    if refused(expressions) is None:
        return []
    return [f"{one[0]}: {why}" for one in expressions if (why := refused([one]))]


def in_exporters():
    lines = (line.strip() for line in EXPORTERS.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def recorded():
    """What the rules make of other metrics; those are looked at by `./dev test`'s metrics of the alerts."""
    texts = (file.read_text() for file in RULES.glob("*.yml"))
    return {name for text in texts for name in re.findall(r"^\s*- record: (\S+)$", text, re.MULTILINE)}


def of_tigerbeetle():
    """As statsd_exporter names them: `tb_` before, and of a timing five numbers."""
    answer = subprocess.run(
        [toolchain.tigerbeetle(), "inspect", "metrics"], capture_output=True, text=True, check=False
    )
    found = set()
    for kind, name in re.findall(r"^(gauge|timing): (\w+)\(", answer.stdout + answer.stderr, re.MULTILINE):
        endings = [""] if kind == "gauge" else [f"_us_{what}" for what in ("count", "sum", "min", "max", "avg")]
        found |= {f"tb_{name}{ending}" for ending in endings}
    return found
