"""For every alert, series that make it fire and series that do not: `monitoring_checks.py` hands them to promtool.

A line is a series and its values a minute apart, as promtool writes them: `5x30` is 5 and thirty times 5 again,
`0+2x30` counts up by 2. The clock begins at 1970, so `time()` is the seconds since the first value.
"""

from dataclasses import dataclass, field

BALANCE = 'octoco_ledger_balance_minor{currency="%s",account="%s",side="%s"}'


@dataclass(frozen=True)
class Case:
    """`at`: when it begins to fire; a look before, only what `before` says does. `severities`: of its rules, those that
    fire then. `labels`: those that are not severity and team."""

    alert: str
    at: str
    fires: str
    quiet: str
    summary: str
    severities: tuple = ("page",)
    labels: dict = field(default_factory=dict)
    before: tuple = ()


def balances(provider, bank, wallets, suspense, currency="ZAR"):
    """Debits and credits of the four accounts that the position is made of."""
    figures = (
        ("provider_balance", *provider),
        ("bank", *bank),
        ("customer_wallet", *wallets),
        ("suspense", *suspense),
    )
    return "\n".join(
        f"{BALANCE % (currency, account, side)} {value}x60".replace("{", f'{{instance="{instance}",')
        for account, debits, credits in figures
        for side, value in (("debits", debits), ("credits", credits))
        for instance in ("worker-1", "worker-2")
    )


TICKET = ("ticket",)
ZAR = {"currency": "ZAR"}
BREAKS = 'octoco_reconciliation_breaks{type="%s",severity="%s"} %s'
OLDEST = 'octoco_open_item_oldest_seconds{what="%s"} %s'
RUN = 'octoco_reconciliation_last_success_timestamp_seconds{kind="%s"} %s'
QUEUE = 'octoco_queue_%s{queue="%s",what="%s"} %s'
STARTED = 'process_start_time_seconds{job="octoco"} %s'


BOOKS = (
    Case(
        "CriticalBreak",
        "0m",
        BREAKS % ("duplicate_provider", "critical", "2x9") + "\n" + BREAKS % ("unbalanced", "critical", "0x9"),
        BREAKS % ("unbalanced", "critical", "0x9") + "\n" + BREAKS % ("bank_only", "high", "5x9"),
        "2 critical breaks of type duplicate_provider are open",
        labels={"type": "duplicate_provider"},
    ),
    Case(
        "PositionShort",
        "15m",
        balances((150_000, 53_000), (0, 0), (50_000, 150_000), (0, 0)),
        balances((150_000, 53_000), (3_000, 0), (50_000, 140_000), (0, 10_000)),
        "We hold 3000 minor units of ZAR less than we owe customers",
        labels=ZAR,
    ),
    Case(
        "FloatShort",
        "5m",
        """octoco_ledger_balance_minor{currency="ZAR",account="customer_wallet",side="pending_debits"} 12000x9
        octoco_payouts_under_way_minor{currency="ZAR"} 3000x9
        octoco_provider_balance_minor{currency="ZAR",field="available_balance"} 8000x9""",
        """octoco_ledger_balance_minor{currency="ZAR",account="customer_wallet",side="pending_debits"} 12000x9
        octoco_payouts_under_way_minor{currency="ZAR"} 4000x9
        octoco_provider_balance_minor{currency="ZAR",field="available_balance"} 8000x9""",
        "Revio lacks 1000 minor units of ZAR for the payouts that are reserved",
        labels=ZAR,
    ),
    Case(
        "FloatLow",
        "1500m",
        """octoco_ledger_balance_minor{currency="ZAR",account="customer_wallet",side="debits"} 0+10x1510
        octoco_provider_balance_minor{currency="ZAR",field="available_balance"} 14000x1510""",
        """octoco_ledger_balance_minor{currency="ZAR",account="customer_wallet",side="debits"} 0+9x1510
        octoco_ledger_balance_minor{currency="ZAR",account="provider_balance",side="credits"} 0+90x1510
        octoco_provider_balance_minor{currency="ZAR",field="available_balance"} 14000x1510""",
        "What Revio has available in ZAR is 400 minor units less than what left customers in a day",
        TICKET,
        ZAR,
    ),
    Case(
        "ReconciliationStale",
        "52m",
        RUN % ("quarter_hour", "0x60") + "\n" + RUN % ("manual", "3000x60") + "\n" + STARTED % "60x60",
        RUN % ("quarter_hour", "1200x60") + "\n" + STARTED % "60x60",
        "No reconciliation has finished for 51m 0s",
    ),
    Case(
        "DailyMissing",
        "1590m",
        RUN % ("daily", "600x1620"),
        RUN % ("daily", "4000x1620"),
        "The daily reconciliation has not finished for 1d 2h 20m 0s",
        TICKET,
    ),
    Case(
        "HighBreakOld",
        "15m",
        'octoco_reconciliation_breaks_oldest_seconds{type="bank_only",severity="high"} 14460x30',
        """octoco_reconciliation_breaks_oldest_seconds{type="bank_only",severity="high"} 14400x30
        octoco_reconciliation_breaks_oldest_seconds{type="copy_line",severity="medium"} 99999x30""",
        "A break of type bank_only has been open for 4h 1m 0s",
        TICKET,
        {"type": "bank_only"},
    ),
    Case(
        "StatementLate",
        "15m",
        OLDEST % ("statement", "172860x30"),
        OLDEST % ("statement", "172800x30") + "\n" + OLDEST % ("journal", "999999x30"),
        "A day has been without its statement for 2d 0h 1m 0s",
        TICKET,
    ),
    Case(
        "StatementFailed",
        "15m",
        QUEUE % ("rows", "statements", "failed", "2x30"),
        QUEUE % ("rows", "statements", "failed", "0x30") + "\n" + QUEUE % ("rows", "statements", "due", "7x30"),
        "Statements of 2 days could not be fetched from Revio",
        TICKET,
    ),
    Case(
        "SettlementLate",
        "15m",
        OLDEST % ("settlement", "345660x30"),
        OLDEST % ("settlement", "345600x30") + "\n" + OLDEST % ("suspense", "604800x30"),
        "A settlement or a top-up has been on its way for 4d 0h 1m 0s",
        TICKET,
    ),
    Case(
        "SuspenseOld",
        "15m",
        OLDEST % ("suspense", "604860x30"),
        OLDEST % ("suspense", "604800x30") + "\n" + OLDEST % ("receivable", "9999999x30"),
        "Money has been in suspense for 7d 0h 1m 0s",
        TICKET,
    ),
    Case(
        "HeldRows",
        "15m",
        QUEUE % ("rows", "withdrawal", "held", "1x30"),
        QUEUE % ("rows", "withdrawal", "held", "0x30") + "\n" + QUEUE % ("rows", "withdrawal", "due", "7x30"),
        "1 rows of kind withdrawal are on hold",
        TICKET,
        {"queue": "withdrawal"},
    ),
    Case(
        "ApprovalWaits",
        "15m",
        QUEUE % ("age_seconds", "adjustment", "awaiting_approval", "14460x30"),
        QUEUE % ("age_seconds", "adjustment", "awaiting_approval", "14400x30"),
        "Something of kind adjustment has waited 4h 1m 0s for a second person",
        TICKET,
        {"queue": "adjustment"},
    ),
    Case(
        "ProtectiveFreezeWaits",
        "15m",
        QUEUE % ("age_seconds", "restriction", "protective", "14460x30"),
        QUEUE % ("age_seconds", "restriction", "protective", "14400x30"),
        "A protective freeze has waited 4h 1m 0s for somebody who may lift it",
        TICKET,
    ),
    Case(
        "StatementMismatch",
        "6m",
        "octoco_statement_mismatches_total 0x5 1x9",
        "octoco_statement_mismatches_total 3x15",
        "A statement or a trial balance did not tie out and was not shown",
    ),
    Case(
        "PaidLate",
        "6m",
        "octoco_withdrawals_paid_late_total 0x5 1x9",
        "octoco_withdrawals_paid_late_total 3x15",
        "Revio paid a withdrawal after it had failed",
    ),
    Case(
        "PeriodReprintMismatch",
        "6m",
        "octoco_period_reprint_mismatches_total 0x5 1x9",
        "octoco_period_reprint_mismatches_total 3x15",
        "A closed month is not what was closed, or the books of one to be closed do not hold",
    ),
    Case(
        "SafeMode",
        "5m",
        'octoco_safe_mode{instance="worker"} 1x9\noctoco_safe_mode{instance="api"} 0x9',
        'octoco_safe_mode{instance="worker"} 1x4 0x9',
        "Safe mode, no payout begins",
    ),
    Case(
        "OrphanTransfers",
        "5m",
        'octoco_read_model_orphans{instance="worker"} 2x9\noctoco_read_model_orphans{instance="api"} 0x9',
        'octoco_read_model_orphans{instance="worker"} 0x9',
        "2 transfers in the ledger have no row",
    ),
)
