"""The boards' queries as Grafana sends them, macros and variables filled in, run as its role; their answers judged."""

import csv
import io
import json
import math
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import dashboards_lint as lint
import parts

ROWS_MAX = 500
EXACT_MAX = 2**53  # beyond it Grafana rounds
WIDTH = 1000  # points, where a panel names no number of its own
TYPES = {
    "text",
    "numeric",
    "double precision",
    "bigint",
    "integer",
    "boolean",
    "date",
    "timestamp with time zone",
    "timestamp without time zone",
}
MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")  # Grafana's own: the first parenthesis that closes ends it
# Tables that grow with the business: a board reads them by an index or not at all.
BIG = {
    "transactions",
    "ledger_transfers",
    "ledger_accounts",
    "webhook_logs",
    "provider_objects",
    "statement_lines",
    "users",
}
# Ways to read a whole table are taken away: so a plan says whether there is another, however few rows there are.
ONLY_BY_INDEX = """set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
\\pset format unaligned
\\pset tuples_only on"""
# Columns that say what most rows have not.
MAY_BE_EMPTY = {("One payment", "Held"), ("One payment", "Failure")}


@dataclass
class Answer:
    columns: list
    types: list
    rows: list
    plan: dict

    def column(self, name):
        return [row[self.columns.index(name)] for row in self.rows]


class Asker:
    """Who sends the queries of a board: the role, the period (that of the board, or so many days), the variables."""

    def __init__(self, up, item, days=None):
        self.up, self.item, self.days = up, item, days
        self.now = datetime.now(timezone.utc) + timedelta(seconds=1)
        self.chosen = {}

    def period(self, board):
        """`now-30d` to now, as the board opens."""
        if self.days:
            return self.now - timedelta(days=self.days), self.now
        number, unit = re.fullmatch(r"now-(\d+)([hd])", board.json["time"]["from"]).groups()
        return self.now - timedelta(**{"h": {"hours": int(number)}, "d": {"days": int(number)}}[unit]), self.now

    def values(self, board, name):
        """All that a variable may be; of a text, the seeded payment."""
        key = (board.uid, name)
        if key not in self.chosen:
            variable = board.variables[name]
            if variable["type"] == "textbox":
                self.chosen[key] = [self.item]
            elif variable["type"] == "custom":
                self.chosen[key] = [option["value"] for option in variable["options"] if option["value"] != "$__all"]
            else:
                answer = self.ask(variable["query"])
                column = "__value" if "__value" in answer.columns else answer.columns[0]
                self.chosen[key] = answer.column(column)
        return self.chosen[key]

    def expanded(self, board, panel, target, narrow):
        """The SQL as it reaches PostgreSQL; `narrow` leaves one value of a variable that may have several."""

        def variable(found):
            values = self.values(board, found[1])
            several = board.variables[found[1]].get("multi") and not narrow
            return ",".join("'" + value.replace("'", "''") + "'" for value in (values if several else values[:1]))

        since, until = (moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in self.period(board))
        macros = {
            "__timeFilter": lambda column: f"{column} BETWEEN '{since}' AND '{until}'",
            "__timeFrom": lambda _: f"'{since}'",
            "__timeTo": lambda _: f"'{until}'",
        }
        sql = re.sub(r"\$\{(\w+):sqlstring\}", variable, target["rawSql"])
        sql = sql.replace("$__interval_ms", str(self.interval_ms(board, panel)))
        return MACRO.sub(lambda found: macros[found[1]](found[2].strip()), sql)

    def interval_ms(self, board, panel):
        """The period over the number of points, where Grafana takes the nearest round number."""
        since, until = self.period(board)
        least = {"15m": 900_000}.get(panel.get("interval"), 1)
        return max(least, math.floor((until - since).total_seconds() * 1000 / panel.get("maxDataPoints", WIDTH)))

    def ask(self, sql):
        script = f"{sql}\n\\gdesc\n\\echo ==\n{sql};\n\\echo ==\n{ONLY_BY_INDEX}\nexplain (format json) {sql};"
        described, answered, plan = self.psql(script).split("==\n")
        names = list(csv.reader(io.StringIO(described)))[1:]
        rows = [row or [""] for row in csv.reader(io.StringIO(answered))][1:]  # nothing alone is an empty line
        return Answer([name for name, _ in names], [kind for _, kind in names], rows, json.loads(plan))

    def psql(self, script):
        url = self.up.database_url("octoco", parts.READER_ROLE)
        command = [parts.postgres_bin() / "psql", "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1", url]
        env = parts.postgres_env()
        done = subprocess.run(command, input=script, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())
        return done.stdout


# -- judged -----------------------------------------------------------------------------------------------------------


def ask_all(boards, asker):
    """Each SQL query of each board, with all values and with one. The answers by board, panel and refId; the faults."""
    answers, faults, asked = {}, forgotten_currencies(asker.up), 0
    known = indexes(asker.up)
    for board in boards:
        for panel, target in lint.targets(board):
            if "rawSql" not in target:
                continue
            where = f"{board.name}: {panel['title']}"
            try:
                answer, narrow = (asker.ask(asker.expanded(board, panel, target, one)) for one in (False, True))
            except ValueError as error:
                faults.append(f"{where}: {error}")
                continue
            asked += 2
            answers[board.uid, panel["title"], target["refId"]] = answer
            said = [*unlike_seed(panel, answer), *shape_faults(panel, target, answer)]
            said += [*plan_faults(answer.plan, known), *plan_faults(narrow.plan, known)]
            if len(narrow.rows) > ROWS_MAX:
                said.append(f"{len(narrow.rows)} rows")
            faults += [f"{where}: {fault}" for fault in dict.fromkeys(said)]
        faults += column_faults(board, answers)
    return answers, faults, asked


def forgotten_currencies(up):
    """Views that the lint takes for views without money, and that have a currency."""
    having = "from information_schema.columns where table_schema = 'reporting' and column_name = 'currency'"
    views = parts.sql(up, f"select table_name {having}", "octoco").splitlines()
    return [f"reporting.{view} has a currency" for view in sorted(lint.WITHOUT_CURRENCY & set(views))]


def unlike_seed(panel, answer):
    """Everything was seeded, so nothing may be missing."""
    if not 0 < len(answer.rows) <= ROWS_MAX:
        yield f"{len(answer.rows)} rows"
        return
    for name in answer.columns:
        if not any(answer.column(name)) and (panel["title"], name) not in MAY_BE_EMPTY:
            yield f"its column {name} is empty"


def shape_faults(panel, target, answer):
    """Types and values that Grafana shows wrongly, or not at all."""
    for name, kind in zip(answer.columns, answer.types):
        if kind not in TYPES:
            yield f"its column {name} is {kind}: Grafana cannot show it, or rounds it"
        if kind in ("numeric", "bigint", "double precision", "integer"):
            big = [value for value in answer.column(name) if value and abs(float(value)) > EXACT_MAX]
            if big:
                yield f"its column {name} is too large for a number: {big[0]}"
    if target["format"] == "time_series":
        moments = answer.column(answer.columns[0])
        if answer.columns[0] != "time" or "time" not in answer.types[0]:
            yield "a series must begin with time"
        elif moments != sorted(moments):
            yield "its times do not rise"
    if panel["type"] == "state-timeline" and answer.columns[0] != "time":
        yield "a timeline must begin with time"


def column_faults(board, answers):
    """Overrides and links that name a column which no query of the panel gives."""
    for panel in board.panels:
        given = set()
        for (uid, title, _), answer in answers.items():
            if (uid, title) == (board.uid, panel["title"]):
                given |= set(answer.columns)
                given |= set(answer.column("metric") if "metric" in answer.columns else ())
        named = {
            one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"] if one["matcher"]["id"] == "byName"
        }
        if given:
            missing = (named | lint.columns_of_links(panel)) - given
            yield from (f"{board.name}: {panel['title']}: no column is called {name}" for name in sorted(missing))


def indexes(up):
    """Of each index of a large table what it begins with; nothing, of one that has a small part of the table only."""
    big = ", ".join(f"'{table}'::regclass" for table in sorted(BIG))
    what = "indexrelid::regclass, indrelid::regclass, indpred is not null, pg_get_indexdef(indexrelid, 1, true)"
    found = f"select {what} from pg_index where indrelid in ({big})"
    rows = [line.split("|") for line in parts.sql(up, found, "octoco").splitlines()]
    begins = {name: [] if partial == "t" else re.findall(r"\w+", first) for name, _, partial, first in rows}
    return {name: (table, begins[name]) for name, table, *_ in rows}


def plan_faults(plan, known):
    """A large table read whole, though its scan was forbidden: no index leads to what the query wants."""
    waiting = [plan[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG:
            yield f"its plan reads all of {node['Relation Name']}"
        if node.get("Index Name") in known:
            table, begins = known[node["Index Name"]]
            if not set(begins) <= set(re.findall(r"\w+", node.get("Index Cond", ""))):
                yield f"its plan reads all of {table} by {node['Index Name']}"


# -- totals -----------------------------------------------------------------------------------------------------------

LEDGER = "from ledger_accounts where currency = 'ZAR' and code < 9000"
NET = f"select sum(debits_posted - credits_posted) {LEDGER}"
OWED = f"select sum(credits_posted - debits_posted) {LEDGER}"
DEBITS, CREDITS = (f"select sum({side}_posted) {LEDGER}" for side in ("debits", "credits"))
RESERVED = f"select sum(debits_pending) {LEDGER} and code = 2000"
ROWS = "select sum(amount_minor) from transactions where currency = 'ZAR' and kind"
# By Revio: reserved in the ledger until it has ended, and gone from what is available.
EXECUTED = f"{ROWS} = 'withdrawal' and state ~ '^submit' and provider_status in ('pending', 'success', 'executed')"
# Each once, where it has ended by now; counted as if they were rands.
NOT_COMPLETED = """select 100 * count(*) from transactions
    where currency = 'ZAR' and state in ('failed', 'expired', 'cancelled', 'rejected')"""
W, L, M, R = "octoco-whole", "octoco-ledger", "octoco-money", "octoco-reconciliation"
FLOWS = "Deposits, withdrawals, refunds, chargebacks"

# What the columns of a panel must add up to: minor units, from the copy of the ledger and from the rows.
TOTALS = (
    (W, "Safeguarding position", ("Surplus",), f"{NET} and code in (1000, 1100, 2000, 2900)"),
    (W, "Where the money is", ("At Revio", "On its way", "In the bank"), f"{NET} and code in (1000, 1100)"),
    (W, "Held at Revio by age", ("In time", "Past D+1"), f"{NET} and code = 1000"),
    (W, "Float", ("Reserved",), f"select ({RESERVED}) - coalesce(({EXECUTED}), 0)"),
    (W, "Float", ("Waiting for approval",), f"{ROWS} = 'withdrawal' and state = 'awaiting_approval'"),
    (L, "Debits - credits", ("Debits - credits",), "select 0"),
    (L, "Account by day", ("Debits",), DEBITS),
    (L, "Account by day", ("Credits",), CREDITS),
    (L, "Movements by reason", ("Debits",), DEBITS),
    (L, "Movements by reason", ("Credits",), CREDITS),
    (L, "Reserved and in transit", ("Reserved by customers",), RESERVED),
    (L, "Reserved and in transit", ("Leaving Revio",), f"select sum(credits_pending) {LEDGER} and code = 1000"),
    (L, "Reserved and in transit", ("Leaving the bank",), f"select sum(credits_pending) {LEDGER} and code = 1100"),
    (L, "Reserved and in transit", ("Coming to Revio",), f"select sum(debits_pending) {LEDGER} and code = 1000"),
    (L, "Provider fees", ("Booked",), f"{NET} and code = 5000"),
    (M, "Why not completed", ("Payments",), NOT_COMPLETED),
    (M, FLOWS, ("Deposits",), f"{ROWS} = 'deposit' and state = 'completed'"),
    (M, FLOWS, ("Withdrawals",), f"{ROWS} = 'withdrawal' and state = 'completed'"),
    (M, FLOWS, ("Refunds",), f"{ROWS} = 'refund' and state = 'completed'"),
    (M, FLOWS, ("Chargebacks",), f"{ROWS} = 'chargeback' and state = 'completed'"),
    (M, FLOWS, ("Corrections",), f"{ROWS} = 'adjustment' and state = 'completed'"),
    (M, "Open reservations by age", ("Amount",), f"{ROWS} = 'withdrawal' and state ~ 'reserved|awaiting|submit'"),
    (R, "Unallocated receipts", ("Remaining",), f"{OWED} and code = 2900"),
    (R, "Unallocated receipts by age", ("Unallocated",), f"{OWED} and code = 2900"),
    (R, "Receivables", ("Amount",), f"{NET} and code = 1200"),
    (R, "Receivables by age", ("Owed to us",), f"{NET} and code = 1200"),
)


def wrong_totals(up, answers, wallets):
    """Panels that do not add up. `wallets`: what the customers have, as TigerBeetle itself has said."""

    def total(uid, panel, columns, rows=slice(None)):
        answer = answers[uid, panel, "A"]
        return sum(round(float(value or 0) * 100) for name in columns for value in answer.column(name)[rows])

    for uid, panel, columns, sql in TOTALS:
        if (uid, panel, "A") not in answers:
            continue  # it has failed already
        expected, got = int(parts.sql(up, sql, "octoco") or 0), total(uid, panel, columns)
        if got != expected:
            yield f"{panel}: {' + '.join(columns)} is {got} cents, and should be {expected}"
    balance = answers.get((L, "Trial balance", "A"))
    if balance:
        yield from wrong_balance(up, balance, wallets)


def wrong_balance(up, balance, wallets):
    for side, sign in (("Debit", ""), ("Credit", "-")):
        *accounts, in_all = (round(float(value) * 100) for value in balance.column(side))
        by_code = f"{NET} group by code"
        expected = parts.sql(up, f"select sum(greatest({sign}net, 0)) from ({by_code}) account (net)", "octoco")
        if {sum(accounts), int(expected)} != {in_all}:
            yield f"Trial balance: {side} is {sum(accounts)} cents in rows, {in_all} in all, and should be {expected}"
    owed = round(float(dict(zip(balance.column("Account"), balance.column("Credit")))["2000"]) * 100)
    if owed != wallets:
        yield f"Trial balance: customers are owed {owed} cents, TigerBeetle says {wallets}"
