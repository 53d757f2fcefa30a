"""The boards as files: what the foundation SDK makes of them, and the traps that Grafana itself says nothing about."""

import json
import re
import sys
import warnings
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from console import ROOT

HOME = ROOT / "grafana"
FOLDERS = ("finance", "operations")
SOURCES = {"octoco-reporting": "grafana-postgresql-datasource", "octoco-prometheus": "prometheus"}
REPORTING = "octoco-reporting"
MONEY = "currency:financial:R "
# Of reporting: those without money, so without a currency. The rest must be asked for one currency, or for one payment.
WITHOUT_CURRENCY = {
    "accounts",
    "runs",
    "run_days",
    "statement_coverage",
    "periods",
    "webhooks",
    "payment_states",
    "payment_events",
}
ONE_PAYMENT = "payment_id = reporting.payment_id(${item:sqlstring})"
BY_GRAFANA = {"__url_time_range", "__interval", "__interval_ms", "__rate_interval"}
MACROS = {"__timeFilter", "__timeFrom", "__timeTo"}
LINKED_FROM = ("deploy/monitoring/**/*", "docs/**/*.md", "README.md", "grafana/README.md")
BOOKS = "Books complete up to"
IN_CELLS = ("table", "barchart", "timeseries", "state-timeline")


class Board:
    """One dashboard, and what it says wrongly."""

    def __init__(self, path, document=None):
        self.path = path
        self.name = str(path.relative_to(HOME / "dashboards"))
        self.json = document or json.loads(path.read_text())
        self.uid, self.title = self.json.get("uid"), self.json.get("title")
        self.panels = [panel for panel in self.json.get("panels", []) if panel["type"] != "row"]
        self.variables = {variable["name"]: variable for variable in self.json["templating"]["list"]}
        self.is_finance = path.parent.name == "finance"


def boards():
    return [Board(path) for folder in FOLDERS for path in sorted((HOME / "dashboards" / folder).glob("*.json"))]


def targets(board):
    """Each query of each panel."""
    return [(panel, target) for panel in board.panels for target in panel.get("targets", [])]


# -- the foundation SDK -----------------------------------------------------------------------------------------------


def unlike_sdk(board, home):
    """What the SDK, which knows every key of a dashboard, does not give back as it stands in the file."""
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer schema, which Grafana 12 does not read from files
        from grafana_foundation_sdk.cog import encoder, plugins
        from grafana_foundation_sdk.models import dashboard

        plugins.register_default_plugins()
        try:
            read = dashboard.Dashboard.from_json(board.json)
            again = json.loads(encoder.JSONEncoder(sort_keys=True).encode(read))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return [f"the SDK cannot read it: {type(error).__name__}: {error}"]
    return list(different(board.json, again, ""))


def different(ours, theirs, path):
    """What is in ours and not the same in theirs; they add defaults, which is no difference."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from different(value, theirs[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}: the SDK knows no such key"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs)):
            yield from different(one, other, f"{path}/{number}")
    elif ours != theirs:
        yield f"{path}: {ours!r} becomes {theirs!r}"


# -- our own lint -----------------------------------------------------------------------------------------------------


def faults(all_boards):
    """Every fault of every board, as `board: panel: fault`."""
    by_uid = {board.uid: board for board in all_boards}
    found = []
    for board in all_boards:
        found += [f"{board.name}: {fault}" for fault in board_faults(board)]
        for panel in board.panels:
            said = [*panel_faults(board, panel), *link_faults(board, panel, by_uid)]
            found += [f"{board.name}: {panel.get('title')}: {fault}" for fault in said]
    if len(by_uid) != len(all_boards):
        found.append("two boards have one uid")
    return [*found, *provisioning_faults(), *dead_links(by_uid)]


def provisioning_faults():
    """What Grafana reads first: the sources and the folders that the boards need, from variables that are explained."""
    text = "".join(path.read_text() for path in sorted((HOME / "provisioning").glob("*/*.yaml")))
    for uid, kind in SOURCES.items():
        if not re.search(rf"uid: {uid}\n +type: {kind}\n", text):
            yield f"provisioning: no source {uid} of the type {kind}"
    yield from (f"provisioning: no folder for {name}" for name in FOLDERS if f"}}/{name}\n" not in text)
    readme, development = ((HOME / name).read_text() for name in ("README.md", "development.env"))
    for name in sorted(set(re.findall(r"\$\{(\w+)\}", text))):
        if f"`{name}`" not in readme or (name != "OCTOCO_DASHBOARDS" and f"\n{name}=" not in development):
            yield f"provisioning: {name} is not explained in README.md, or not in development.env"


def board_faults(board):
    document = board.json
    wanted = {"timezone": "Africa/Johannesburg", "editable": False}
    yield from (f"{key} must be {value!r}" for key, value in wanted.items() if document.get(key) != value)
    if not re.fullmatch(r"octoco-[a-z-]+", board.uid or ""):
        yield "its uid must be fixed: octoco-…"
    if not re.fullmatch(r"[1-9]\d*[mh]", document.get("refresh") or ""):
        yield "it must refresh once a minute at most"
    if "elements" in document or document.get("schemaVersion", 0) < 36:
        yield "it must be of the classic schema, of a version that names data sources by uid"
    if not document.get("description"):
        yield "it does not say whom it answers what"
    ids = [panel["id"] for panel in document["panels"]]
    if len(set(ids)) != len(ids):
        yield "two panels have one id"
    yield from overlaps(document["panels"])
    if board.is_finance and (not board.panels or board.panels[0].get("title") != BOOKS):
        yield f"its first panel must be {BOOKS}"
    if board.is_finance and board.variables.get("currency", {}).get("multi") is not False:
        yield "it must have the variable currency, one at a time: sums of two are never added"
    for name, variable in board.variables.items():
        if variable["type"] == "query" and variable["datasource"].get("uid") not in SOURCES:
            yield f"the variable {name} names no data source of ours"


def overlaps(panels):
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken or x >= 24:
                    yield f"{panel['title']} lies on {taken.get((x, y), 'the edge')}"
                    return
                taken[x, y] = panel["title"]


def panel_faults(board, panel):
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if len(panel.get("description", "")) < 60:
        yield "its description must say what the figure means and what to do"
    if not defaults.get("noValue"):
        yield "it does not say what no value means (noValue)"
    if panel["type"] in IN_CELLS and not says_empty(panel):
        yield "each empty cell would say what the panel says when it has nothing: another noValue for fields"
    if panel["type"] in ("stat", "bargauge") and not defaults.get("thresholds", {}).get("steps"):
        yield "it has no thresholds"
    if not panel.get("targets"):
        yield "it asks for nothing"
    references = [target.get("refId") for target in panel.get("targets", [])]
    if len(set(references)) != len(references):
        yield "two of its queries have one refId"
    for source in [panel.get("datasource", {})] + [target.get("datasource", {}) for target in panel.get("targets", [])]:
        if SOURCES.get(source.get("uid")) != source.get("type"):
            yield f"its data source is none of ours: {source}"
    yield from unit_faults(panel, defaults)
    for target in panel.get("targets", []):
        yield from (sql_faults if "rawSql" in target else prom_faults)(board, target)


def says_empty(panel):
    """Its first override, of all fields, has a noValue of their own: Grafana shows the panel's in every empty cell."""
    first, *_ = [*panel["fieldConfig"]["overrides"], {"matcher": {}, "properties": []}]
    wanted = {"id": "byRegexp", "options": ".*"}
    return first["matcher"] == wanted and [each["id"] for each in first["properties"]] == ["noValue"]


def unit_faults(panel, defaults):
    """Money in one form only: others round it, and hide cents."""
    units = [defaults.get("unit")] + [property["value"] for property in overridden(panel, "unit")]
    yield from (
        f"its unit {unit!r} is not {MONEY!r}" for unit in units if unit and "currency" in unit and unit != MONEY
    )
    if defaults.get("unit") == MONEY and defaults.get("decimals") != 2:
        yield "money must show its cents (decimals 2)"


def overridden(panel, what):
    overrides = panel.get("fieldConfig", {}).get("overrides", [])
    return [property for one in overrides for property in one["properties"] if property["id"] == what]


def sql_faults(board, target):
    sql = target["rawSql"]
    if target["format"] not in ("table", "time_series"):
        yield f"its format {target['format']} is unknown"
    if "$__timeGroup" in sql:
        yield "$__timeGroup cuts days at UTC: use reporting.day()"
    for macro, arguments in re.findall(r"\$(__\w+)\(((?:[^()]|\([^()]*\))*)\)", sql):
        if "(" in arguments:
            yield f"a parenthesis inside ${macro}(): Grafana ends the macro at the first that closes"
        if macro not in MACROS:
            yield f"${macro} is no macro that is allowed here"
    limits = [int(limit) for limit in re.findall(r"\blimit (\d+)\b", sql)]
    if not re.search(r"\blimit \d+$", sql) or max(limits, default=501) > 500:
        yield "it must end in a limit of at most 500"
    views = set(re.findall(r"\breporting\.(\w+)\b(?!\()", sql))
    if not views or re.search(r"\b(?<!epoch )(from|join) (?!reporting\.|\()\w", sql):
        yield "it must read views of the schema reporting, by their full names, and nothing else"
    if views - WITHOUT_CURRENCY:
        yield from currency_faults(sql)
    for name, form in re.findall(r"\$\{(\w+)(?::(\w+))?\}", sql):
        if form != "sqlstring":
            yield f"${{{name}}} must be quoted: ${{{name}:sqlstring}}"
        if name not in board.variables:
            yield f"the variable {name} is none of the board's"
    for name in re.findall(r"\$(\w+)", sql):
        if name not in MACROS | BY_GRAFANA:
            yield f"${name} is neither a macro nor quoted"
    if re.search(r"\bday\b[^,]*\$__timeFilter", sql) and "$__timeFilter(day)" in sql:
        yield "days are compared as days: day between reporting.day($__timeFrom()) and reporting.day($__timeTo())"


def currency_faults(sql):
    """Of one payment another currency may have come than it was asked in, and than is chosen."""
    if ONE_PAYMENT not in sql:
        if "${currency:sqlstring}" not in sql:
            yield "it must ask for one currency: in (${currency:sqlstring})"
    elif "${currency:" in sql or 'currency as "Currency"' not in sql:
        yield "it must ask for one payment in whatever currency, and show which"


def prom_faults(_, target):
    expr = target.get("expr", "")
    if not expr:
        yield "an expression is empty"
    if re.search(r"(rate|increase)\([^)]*\[\d+[sm]\]", expr):
        yield "a rate over a fixed time misses points: use $__rate_interval"
    if target.get("instant") == target.get("range"):
        yield "a query is either instant or over a range"


# -- drill-downs ------------------------------------------------------------------------------------------------------


def links(panel):
    own = panel.get("fieldConfig", {}).get("defaults", {}).get("links", [])
    return (
        own + [link for property in overridden(panel, "links") for link in property["value"]] + panel.get("links", [])
    )


def link_faults(board, panel, by_uid):
    for link in links(panel):
        address = urlsplit(link["url"])
        target = by_uid.get(address.path.removeprefix("/d/"))
        if not link.get("title") or target is None:
            yield f"the link {link['url']} leads to no board of ours"
            continue
        if "${__url_time_range}" not in link["url"]:
            yield f"the link to {target.title} loses the period"
        names = [name.removeprefix("var-") for name, _ in parse_qsl(address.query) if name.startswith("var-")]
        names += re.findall(r"\$\{(\w+):queryparam\}", link["url"])
        yield from (f"{target.title} has no variable {name}" for name in names if name not in target.variables)
        passed = re.findall(r"\$\{(\w+):queryparam\}", link["url"])
        yield from (f"the board has no variable {name} to pass on" for name in passed if name not in board.variables)


def columns_of_links(panel):
    """The columns whose value a link of the panel passes on."""
    return {name for link in links(panel) for name in re.findall(r"\$\{__data\.fields\.(\w+)\}", link["url"])}


def dead_links(by_uid):
    """Alerts, runbooks and pages that name a board which is not there."""
    files = [path for pattern in LINKED_FROM for path in Path(ROOT).glob(pattern) if path.is_file()]
    for path in sorted(files):
        for uid in sorted(set(re.findall(r"/d/(octoco-[a-z-]+)", path.read_text(errors="replace"))) - by_uid.keys()):
            yield f"{path.relative_to(ROOT)} leads to /d/{uid}, which is no board"
