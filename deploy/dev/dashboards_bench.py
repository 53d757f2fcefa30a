"""`./dev bench dashboards`: how long the queries of the boards take over a ledger of years (dashboards_bench.sql)."""

import json
import statistics
from pathlib import Path

import dashboards_lint as lint
import dashboards_queries as queries
import parts
from console import Failure, heading, note

SECONDS_MAX = 1.0
TIMES = 3
FILL = Path(__file__).with_suffix(".sql")
# Beside the period that a board opens with.
YEAR = 365
ITEM = "select id from transactions where kind = 'withdrawal' and state = 'completed' order by id desc limit 1"


def measure(up):
    fill(up)
    slow = []
    transfers = parts.sql(up, "select count(*) from ledger_transfers", "octoco")
    heading(f"Queries of the boards, {int(transfers):,} transfers")
    for days in (None, YEAR):
        asker = queries.Asker(up, parts.sql(up, ITEM, "octoco"), days)
        for board in lint.boards():
            asked = [(panel, target) for panel, target in lint.targets(board) if "rawSql" in target]
            took = {
                f"{panel['title']} {target['refId']}": seconds(asker, board, panel, target) for panel, target in asked
            }
            if took:
                worst = max(took, key=took.get)
                period = f"{days} days" if days else board.json["time"]["from"]
                note(f"{board.title:<34}{period:>9}: {sum(took.values()):6.2f} s in all, {took[worst]:5.2f} s {worst}")
            slow += [f"{board.title}: {what}, {each:.2f} s" for what, each in took.items() if each > SECONDS_MAX]
    for each in slow:
        note(f"slow: {each}")
    note(f"wanted: {SECONDS_MAX:.0f} s each; missed by {len(slow)}")
    return 1 if slow else 0


def seconds(asker, board, panel, target):
    """The median of a few times; five where the role's timeout ended it."""
    sql = asker.expanded(board, panel, target, narrow=False)
    explain = f"explain (analyze, timing off, format json) {sql};"
    try:
        plans = asker.psql("\\pset format unaligned\n\\pset tuples_only on\n" + "\n\\echo ==\n".join([explain] * TIMES))
    except ValueError as error:
        if "statement timeout" not in str(error):
            raise
        return 5.0
    times = [json.loads(plan)[0] for plan in plans.split("==\n")]
    return statistics.median((plan["Planning Time"] + plan["Execution Time"]) / 1000 for plan in times)


def fill(up):
    if parts.sql(up, "select exists (select from ledger_transfers)", "octoco") == "t":
        return
    heading("The ledger's copy and its summaries")
    url = f"postgres://postgres@127.0.0.1:{up.ports['postgres']}/octoco"
    done = parts.postgres_tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", FILL, url)
    if done.returncode != 0:
        raise Failure("fill the ledger's copy", done.stderr, f"correct {FILL.name}")
