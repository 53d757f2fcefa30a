"""What rules and runbooks name is there: metrics, their labels, and routes. Asked of a service that has moved money.

A name is right when the running service exports it, when a rule records it, when `exporters.txt` lists it, or when
TigerBeetle itself says that it sends it. A word of a label that no series has would make an alert that never fires.
"""

import json
import re
import subprocess
import time
import urllib.request
from dataclasses import replace

import attack
import demo
import monitoring
import parts
import processes
import service
import toolchain

PATIENCE = 30  # seconds until gauges of state are there: the worker looks every 15
# Prometheus' own labels, and those whose words begin when something happens.
OPEN_LABELS = {"job", "instance", "status", "by"}
NO_NAMES = {"and", "or", "unless", "bool", "offset"}


def unknown(up, operations, rules, pages):
    """Problems, one a line."""
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    exporters = (monitoring.HOME / "exporters.txt").read_text().splitlines()
    listed = {line.strip() for line in exporters if not line.startswith("#")}
    elsewhere = recorded | listed | {f"tb_{name}" for name in tigerbeetles()}
    named = re.compile(r"\b(?:octoco_|tb_|node_(?!exporter)|redis_(?!exporter)|octoco:)[\w:]+")
    wanted = {(name, "") for page in pages for name in named.findall(page)}
    for rule in rules:
        wanted |= {(name, "") for name in names_in(rule["query"])} | set(selectors_in(rule["query"]))
    missing = not_exported(up, operations, {one for one in wanted if one[0] not in elsewhere})
    return [f"nobody exports {name}{{{labels}}}" for name, labels in sorted(missing)] + unknown_routes(up, pages)


def names_in(query):
    """The names in a query, as Prometheus prints it."""
    grouping = r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)"
    for what in (r'"[^"]*"', r"\{[^}]*\}", r"\[[^\]]*\]", r"\boffset \w+", grouping):
        query = re.sub(what, " ", query)
    return set(re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", query)) - NO_NAMES


def selectors_in(query):
    """Of the service's metrics: a name, and what a query demands of its labels."""
    for name, labels in re.findall(r"\b((?:octoco|process)_\w+)\{([^}]*)\}", query):
        matchers = re.findall(r'(\w+)(=~|=)"([^"]*)"', labels)
        yield name, ",".join(label + how + value for label, how, value in matchers if label not in OPEN_LABELS)


def tigerbeetles():
    command = [toolchain.tigerbeetle(), "inspect", "metrics"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.findall(r"^(?:gauge|count): (\w+)\(", said.stdout + said.stderr, flags=re.MULTILINE)


def not_exported(up, operations, wanted):
    """Those that the service lacks once money has come and gone and was reconciled."""
    up = replace(up, ports={**up.ports, "operations": processes.free_port(operations)})
    try:
        service.prepare(up)
        parts.sql(up, attack.QUIET, "octoco")
        processes.ensure(up.state, service.serve(up))
        demo.Demo(up).run()
        monitoring.show(up)
        return missing_at(f"http://127.0.0.1:{up.ports['operations']}/metrics", wanted)
    finally:
        parts.stop_all(up.state, ("revio-sim", "octoco"))


def missing_at(url, wanted):
    deadline = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", answer.read().decode(), flags=re.MULTILINE)
        series = [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in lines]
        missing = {one for one in wanted if not any(selects(one, *each) for each in series)}
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(0.5)


def selects(one, name, labels):
    return name in (one[0], f"{one[0]}_count") and all(
        chosen(matcher, labels) for matcher in one[1].split(",") if matcher
    )


def chosen(matcher, labels):
    label, how, value = re.match(r"(\w+)(=~|=)(.*)", matcher).groups()
    found = labels.get(label, "")
    return found == value if how == "=" else re.fullmatch(value, found) is not None


def unknown_routes(up, pages):
    """Routes that runbooks send people to and that the API does not have."""
    command = [service.binary(up, "octoco"), "openapi"]
    paths = set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["paths"])
    named = {path for page in pages for path in re.findall(r"/v1/[\w/{}-]+", page)}
    return [f"a runbook names {path}" for path in sorted(named - paths)]
