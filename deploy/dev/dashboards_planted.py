"""Faults planted into copies of the boards and of what they get: a check that finds none of them checks nothing."""

import copy
import re

import dashboards_lint as lint
import dashboards_queries as queries

MONEY, LEDGER, OPERATIONS = "octoco-money", "octoco-ledger", "octoco-service"


def sql(old, new):
    """Another text in every SQL query."""

    def plant(document):
        for panel in document["panels"]:
            for target in panel.get("targets", []):
                if "rawSql" in target:
                    target["rawSql"] = re.sub(old, new, target["rawSql"])

    return plant


def everywhere(place, **said):
    """Other words in every panel, or in its defaults or options."""

    def plant(document):
        for panel in document["panels"]:
            if panel["type"] != "row":
                found = panel
                for key in place:
                    found = found[key]
                found.update(said)

    return plant


def whole(**said):
    return lambda document: document.update(said)


def of_links(old, new):
    def plant(document):
        for panel in document["panels"]:
            for link in lint.links(panel) if panel["type"] != "row" else []:
                link["url"] = link["url"].replace(old, new)

    return plant


DEFAULTS = ("fieldConfig", "defaults")
IN_FILES = (
    ("another time zone", MONEY, whole(timezone="browser")),
    ("a refresh every ten seconds", MONEY, whole(refresh="10s")),
    ("a uid of Grafana's", MONEY, whole(uid="ddk2x8f")),
    ("the newest schema", MONEY, whole(elements={})),
    ("no description", MONEY, everywhere((), description="")),
    ("no word for no value", MONEY, everywhere(DEFAULTS, noValue="")),
    ("no word for empty cells", MONEY, everywhere(("fieldConfig",), overrides=[])),
    ("another data source", MONEY, everywhere(("datasource",), uid="P8E80F9AEF21F6940")),
    ("rounded money", LEDGER, everywhere(DEFAULTS, unit="currencyZAR")),
    ("nothing asked", MONEY, everywhere((), targets=[])),
    ("a panel on another", MONEY, everywhere(("gridPos",), x=0, y=0)),
    ("another first panel", MONEY, lambda document: document["panels"].reverse()),
    ("sums of all currencies", MONEY, sql(r"currency in \(\$\{currency:sqlstring\}\)", "true")),
    (
        "one payment in the chosen currency",
        MONEY,
        sql(r"(?=payment_id = )", "currency in (${currency:sqlstring}) and "),
    ),
    ("one payment's money without its currency", MONEY, sql(r'currency as "Currency", ', "")),
    ("an unquoted variable", MONEY, sql(r"\$\{currency:sqlstring\}", "${currency}")),
    ("an unknown variable", MONEY, sql(r"\$\{currency:sqlstring\}", "${cur:sqlstring}")),
    ("no limit", MONEY, sql(r" limit \d+$", "")),
    ("a limit of a thousand", MONEY, sql(r"limit 500$", "limit 1000")),
    ("days cut at UTC", MONEY, sql(r"\bslot,", "$__timeGroup(slot, '1d'),")),
    ("a parenthesis in a macro", MONEY, sql(r"\$__timeFilter\(slot\)", "$__timeFilter(date(slot))")),
    ("another schema", MONEY, sql(r"\breporting\.activity", "public.transactions")),
    ("a link to nowhere", LEDGER, of_links("/d/octoco-money", "/d/octoco-monney")),
    ("a link with an unknown variable", LEDGER, of_links("var-kind", "var-kinds")),
    ("a link that loses the period", LEDGER, of_links("${__url_time_range}&", "")),
)
IN_SDK = (
    ("a key that no panel has", MONEY, everywhere(("options",), colour="red")),
    ("a key that no field has", MONEY, everywhere(DEFAULTS, noValues="none")),
    ("a key that no target has", OPERATIONS, lambda document: document["panels"][0]["targets"][0].update(legend="up")),
)
IN_ANSWERS = (
    ("a raw uuid", "select gen_random_uuid() as id"),
    ("nanoseconds as a number", "select 1795680058032004000::bigint as at"),
    ("no row", "select code from reporting.accounts where code < 0"),
    ("an empty column", "select null::text as name"),
    ("too many rows", "select at from generate_series(1, 501) at"),
    ("all payments", "select id from reporting.payments where currency = 'ZAR' limit 500"),
)


def planted(boards, uid, plant):
    changed = []
    for board in boards:
        document = copy.deepcopy(board.json)
        if board.uid == uid:
            plant(document)
        changed.append(lint.Board(board.path, document))
    return changed


def unseen_in_files(boards, home):
    """Without the SDK (`home` is none) its own are left out."""
    known = set(lint.faults(boards))
    for title, uid, plant in IN_FILES:
        if not set(lint.faults(planted(boards, uid, plant))) - known:
            yield f"planted and not found: {title}"
    for title, uid, plant in IN_SDK if home else ():
        if not any(lint.unlike_sdk(board, home) for board in planted(boards, uid, plant)):
            yield f"planted and not found by the SDK: {title}"


def unseen_in_answers(asker):
    known = queries.indexes(asker.up)
    panel, target = {"title": "planted", "type": "table"}, {"format": "table"}
    for title, query in IN_ANSWERS:
        answer = asker.ask(query)
        said = [*queries.unlike_seed(panel, answer), *queries.shape_faults(panel, target, answer)]
        if not said + list(queries.plan_faults(answer.plan, known)):
            yield f"planted and not found: {title}"


def unseen_totals(up, answers, wallets):
    """A cent too many in what TigerBeetle says."""
    if not any("TigerBeetle says" in fault for fault in queries.wrong_totals(up, answers, wallets + 1)):
        yield "planted and not found: a cent that TigerBeetle has not"
