"""Something of everything for the boards to show: made by the real service where it can be, else written by hand.

The service is stopped before anything is written: nobody takes it for something to act on.
"""

import subprocess
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import replace

import attack_field
import demo
import parts
import processes
import service
from console import Failure, heading, note

THRESHOLD = 60_000  # cents; what leaves within a day above it needs an approval
SETTINGS = {
    **attack_field.SETTINGS,
    "RATE_LIMITS": "off",
    "APPROVAL_THRESHOLDS": f"ZAR:{THRESHOLD}",
    "REVIO_CALLS_PER_SECOND": "10000",
}
FEE_BASIS_POINTS = 250
PATIENCE = 90  # seconds for the summaries to follow

ENDED = "state in ('completed', 'failed', 'expired', 'cancelled', 'rejected')"
# Whether the copy and the summaries are as far as the rows.
CAUGHT_UP = f"""select not exists (select kind, state, count(*) from transactions where {ENDED} group by 1, 2
        except select kind, state, sum(count)::bigint from transaction_slots where {ENDED} group by 1, 2)
    and exists (select from webhook_slots) and (select min(complete_at) from ledger_cursor) > now() - interval '10 s'"""


class Seed:
    """What was made: customers with what TigerBeetle says that they have, one payment, and what /metrics had."""

    def __init__(self, up):
        self.up, self.field = up, attack_field.Field(up, small=True)
        self.customers = []
        self.item = self.metrics = self.wallets = self.staff = self.run = None

    def customer(self, cents=0):
        person = self.field.customer_with(cents) if cents else self.field.customer()
        self.customers.append(person)
        return person

    # -- by the service -----------------------------------------------------------------------------------------------

    def live(self):
        """Deposits, withdrawals, what comes back, what does not fit and what is left open."""
        self.field.sim("PATCH", "settings/", {"fee_basis_points": FEE_BASIS_POINTS, "payout_fee": 500})
        self.pay_out()
        self.give_back()
        self.misfit()
        self.correct()
        self.leave_open()
        self.await_everything()

    def pay_out(self):
        person = self.customer(150_000)
        person.withdraw(50_000, person.bank_account)
        self.item = self.field.sql(f"select id from transactions where user_id = '{person.id}' and kind = 'withdrawal'")
        order = {"amount": 30_000, "currency": "ZAR", "bank_account_id": person.bank_account}
        self.call(person, "/v1/withdrawals", order)  # above the threshold: it waits for approval

    def give_back(self):
        """A refund, one that failed after all, a chargeback that was won, and one of money that is gone: it is owed."""
        self.reverse(self.customer(40_000), "refund", 10_000)
        self.undo_refund(self.customer(25_000))
        won = self.customer(20_000)
        self.reverse(won, "charge_back", None)
        self.reverse(won, "reverse_charge_back", None)
        gone = self.customer(30_000)
        gone.withdraw(30_000, gone.bank_account)
        self.reverse(gone, "charge_back", None)

    def undo_refund(self, person):
        purchase = self.reverse(person, "refund", 5_000)
        self.field.sim("PATCH", "settings/", {"payment_reads": True})
        (refund,) = self.field.sim("GET", f"purchases/{purchase}/")["payments"]
        self.field.sim("POST", f"payments/{refund['id']}/fail/", {})
        undone = f"user_id = '{person.id}' and states ~ 'completed failed' and due_at is null"
        self.until(f"select exists (select from transactions where {undone})", "undo the refund")

    def reverse(self, person, move, cents):
        """The purchase that gives it back."""
        purchase = f"user_id = '{person.id}' and kind = 'deposit'"
        purchase = self.field.sql(f"select provider_id from transactions where {purchase}")
        self.field.sim("POST", f"purchases/{purchase}/{move}/", {"amount": cents} if cents else {})
        kind = {"refund": "refund", "charge_back": "chargeback"}.get(move, "chargeback_reversal")
        done = f"select exists (select from transactions where user_id = '{person.id}' and kind = '{kind}'"
        self.until(f"{done} and state = 'completed')", f"book the {kind}")
        return purchase

    def misfit(self):
        """Another amount than was asked for; a link that nobody opened in time, and one that was paid all the same."""
        person = self.customer()
        paid, unpaid, late = (purchase_of(person.open_deposit(cents)) for cents in (10_000, 11_000, 12_000))
        self.field.sim("POST", f"purchases/{paid}/pay/", {"amount": 12_500, "force": True})
        for purchase in (unpaid, late):
            self.field.sim("POST", f"purchases/{purchase}/expire/", {})
        self.until("select exists (select from suspense_items where booked_at is not null)", "set the money aside")
        self.until("select count(*) = 2 from transactions where state = 'expired'", "let two deposits expire")
        self.field.sim("POST", f"purchases/{late}/pay/", {"force": True})
        self.until("select exists (select from transactions where states ~ 'expired completed')", "book what came late")

    def correct(self):
        """By two of staff, who have been that for long enough."""
        maker, checker = self.field.customer("maker"), self.field.customer("checker")
        for person in (maker, checker):
            person.become("finance")
        self.field.sql(
            f"update users set role_since = now() - interval '3 days' where id in ('{maker.id}', '{checker.id}')"
        )
        wish = {"user_id": self.customers[0].id, "direction": "credit", "amount": 2_500, "currency": "ZAR"}
        why = {"counterpart": "equity", "reason": "a courtesy"}
        proposed = self.call(maker, "/v1/admin/adjustments", {**wish, **why})
        seen = {name: value for name, value in proposed.items() if name.endswith("_hash")}
        self.call(checker, f"/v1/admin/adjustments/{proposed['id']}/approve", seen)
        self.until(
            "select exists (select from transactions where kind = 'adjustment' and state = 'completed')", "correct"
        )
        self.staff = maker.id

    def leave_open(self):
        """A payout that Revio takes its time for."""
        self.field.sim("PATCH", "settings/", {"payouts": "pend"})
        person = self.customer(60_000)
        order = {"amount": 20_000, "currency": "ZAR", "bank_account_id": person.bank_account}
        self.call(person, "/v1/withdrawals", order)
        self.until("select exists (select from transactions where state = 'submitted')", "submit a payout")

    def call(self, person, path, body):
        status, answer = self.field.call("POST", path, body, person.token, person.address, attack_field.idempotency())
        if status >= 300 or status == 0:
            raise Failure(f"POST {path}", f"answered {status} {answer}", "read .dev/dashboards/logs/octoco.log")
        return answer

    def until(self, statement, what):
        if not attack_field.until(PATIENCE, lambda: self.field.sql(statement) == "t"):
            raise Failure(what, f"not within {PATIENCE} s", "read .dev/dashboards/logs/octoco.log")

    def await_everything(self):
        """A new process sums up at once what this one would within a minute."""
        self.metrics = metrics(self.up)
        self.wallets = sum(person.posted() for person in self.customers)
        processes.stop(self.up.state, "octoco")
        serve(self.up)
        self.until(CAUGHT_UP, "copy and sum up all that was done")
        processes.stop(self.up.state, "octoco")
        verify(self.up)

    # -- by hand ------------------------------------------------------------------------------------------------------

    def written(self):
        """What takes days, or other people: journals on their way, statements, runs and breaks, closed months."""
        paid = "kind = 'deposit' and state = 'completed'"
        found = self.field.sql(f"select id, provider_id from transactions where {paid} order by id limit 1")
        self.deposit, self.purchase = found.split("|")
        self.journals()
        self.statements()
        self.runs()
        self.breaks()
        self.periods()
        # The deposits four days ago: then there were days before today.
        self.field.sql("update ledger_days set day = day - 4 where code in (10, 11) and kind = 'posted'")

    def insert(self, table, **values):
        """A row; what is no `Sql` is a value."""
        row = {name: value if isinstance(value, Sql) else literal(value) for name, value in values.items()}
        columns, said = ", ".join(row), ", ".join(row.values())
        self.field.sql(f"insert into {table} ({columns}) values ({said})")

    def journals(self):
        self.late = self.journal("settlement", "in_transit", sent=6, expected=3)
        self.journal("settlement", "completed", sent=4, expected=2, arrived=1)
        self.journal("float_top_up", "completed", sent=2, expected=1, arrived=1)
        self.journal("float_top_up", "in_transit", sent=1, expected=0)
        self.copied(61, "pending", 1000, 1100)
        self.journal("provider_invoice", "completed", account="provider_balance")
        self.copied(13, "posted", 5000, 1000)
        self.journal("own_funds_in", "awaiting_approval", account="bank")

    def copied(self, code, kind, debit, credit):
        """In the copy, too: what is invoiced, or on its way, is told by what the ledger has."""
        values = f"'ZAR', reporting.day(now()), {code}, '{kind}', {debit}, {credit}, {code}, 1, 40000, 0"
        self.field.sql(f"insert into ledger_days values ({values})")
        for account, side in ((debit, "debits"), (credit, "credits")):
            this = f"code = {account} and currency = 'ZAR'"
            opened = f"select gen_random_uuid(), code, name, 'ZAR', 1 from reporting.accounts where code = {account}"
            opened += f" and not exists (select from ledger_accounts where {this})"
            self.field.sql(f"insert into ledger_accounts (id, code, name, currency, opened_timestamp) {opened}")
            column = f"{side}_{kind}"
            self.field.sql(f"update ledger_accounts set {column} = {column} + 40000 where {this}")

    def journal(self, kind, state, account=None, sent=None, expected=None, arrived=None):
        row = new_id()[:-2] + "00"
        self.insert(
            "journals",
            **{"id": row, "kind": kind, "state": state, "account": account, "amount_minor": 40_000, "currency": "ZAR"},
            **{"evidence_kind": "note", "evidence_reference": "seed", "evidence_sha256": sha(row)},
            **{"evidence_date": day(0), "reason": "seed", "requested_by": self.staff, "idempotency_key": row},
            **{"request_hash": sha(row), "created_at": ago(6), "updated_at": ago(0), "sent_at": ago(sent)},
            **{"expected_on": day(expected), "arrival_date": day(arrived)},
            ended_at=ago(1 if state == "completed" else None),
        )
        return row

    def statements(self):
        for source in ("revio", "bank"):
            file = new_id()
            self.insert(
                "statement_files",
                **{"id": file, "source": source, "sha256": sha(file), "currency": "ZAR", "unit": "minor"},
                **{"from_day": day(4), "to_day": day(2), "opening_minor": 0, "closing_minor": 0},
                **{"lines": 2, "matched": 1, "unmatched": 1, "content": "", "key_id": "none"},
                **{"imported_by": "system", "imported_at": ago(0)},
            )
            self.insert(
                "statement_lines",
                **{"id": new_id(), "file_id": file, "number": 1, "provider_id": self.purchase, "product": "purchase"},
                **{"currency": "ZAR", "amount_minor": 150_000, "fee_minor": 3_750, "net_minor": 146_250},
                **{"day": day(3), "transaction_id": self.deposit, "matched_by": "id"},
            )

    def runs(self):
        """Three daily ones, the middle one did not finish; what Revio said of its balance in each."""
        for days, state in ((2, "finished"), (1, "failed"), (0, "finished")):
            self.run = new_id()
            self.insert(
                "reconciliation_runs",
                **{"id": self.run, "kind": "daily", "legs": "{a,b,c}", "state": state, "since": ago(days + 1)},
                **{"until": ago(days), "accounting_day": day(days), "requested_by": "system"},
                **{"started_at": ago(days), "finished_at": ago(days)},
                **{"report": "seed", "report_sha256": sha("seed")},
            )
            for field, cents in (("available_balance", 96_000 + days), ("pending_outgoing", 20_000)):
                balance = {"field": field, "amount_minor": cents, "expected_minor": 96_000, "asked_at": ago(days)}
                self.insert("provider_balances", run_id=self.run, currency="ZAR", **balance)

    def breaks(self):
        for kind, severity, leg, state, days, owner in (
            ("amount_provider", "critical", "b", "open", 0, "on_call"),
            ("settlement_late", "high", "c", "open", 40, "finance"),
            ("copy_line", "medium", "a", "open", 5, "engineering"),
            ("paid_at_provider", "info", "b", "healing", 0, "engineering"),
            ("provider_only", "high", "b", "timing", 0, "finance"),
            ("paid_at_provider", "info", "b", "healed", 1, "engineering"),
        ):
            row = new_id()
            self.insert(
                "breaks",
                **{"id": row, "fingerprint": row, "type": kind, "severity": severity, "leg": leg, "state": state},
                **{"currency": "ZAR", "expected_minor": 10_000, "actual_minor": 9_000, "observed": "seed"},
                **{"transaction_id": self.deposit, "journal_id": self.late, "provider_id": self.purchase},
                **{"since": ago(days), "first_seen_at": ago(days), "last_seen_at": ago(0), "opened_at": ago(days)},
                **{"ended_at": ago(0 if state == "healed" else None), "owner": owner},
                **{"assigned_to": self.staff if owner == "finance" else None},
                **{"first_run_id": self.run, "last_run_id": self.run},
            )
            if state != "timing":
                self.insert("break_days", day=day(days), break_id=row)

    def periods(self):
        approver = self.customers[0].id
        for months, state in ((2, "closed"), (1, "awaiting_approval")):
            closed = state == "closed"
            self.insert(
                "periods",
                month=Sql(f"(date_trunc('month', now()) - interval '{months} months')::date"),
                **{"state": state, "cut": 1, "pack": "", "pack_sha256": sha(months), "customers": "{}"},
                **{"customers_sha256": sha("customers"), "layout": 1, "previous_sha256": sha(months + 1)},
                **{"requested_by": self.staff, "requested_at": ago(0), "approved_by": approver if closed else None},
                closed_at=ago(0 if closed else None),
            )


class Sql(str):
    """An expression of SQL, not a value."""


def literal(value):
    return "null" if value is None else str(value) if isinstance(value, int) else f"'{value}'"


def sha(of):
    return Sql(f"sha256('{of}')")


def ago(days):
    return None if days is None else Sql(f"now() - interval '{days} days 1 minute'")


def day(ago):
    return None if ago is None else Sql(f"current_date - {ago}")


def new_id():
    return str(uuid.uuid4())


def purchase_of(deposit):
    return deposit["checkout_url"].rstrip("/").rpartition("/")[2]


def metrics(up):
    """The names of /metrics, as a query names them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{up.ports['operations']}/metrics", timeout=demo.PATIENCE) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    found = set()
    for words in lines:
        if words[:2] == ["#", "TYPE"]:
            endings = ("_bucket", "_sum", "_count") if words[3] == "histogram" else ("",)
            found |= {words[2] + ending for ending in endings}
    return found


@contextmanager
def seeded(instances, state, ports):
    """The parts with everything in them; the service has stopped."""
    heading("Seed")
    up = replace(instances, state=state, ports={**instances.ports, **ports})
    began = time.monotonic()
    try:
        service.prepare(up)
        serve(up)
        seed = Seed(up)
        seed.live()
        seed.written()
        parts.sql(up, "analyze", "octoco")
        note(f"seeded in {time.monotonic() - began:.0f} s")
        yield seed
    finally:
        for name in ("octoco", "revio-sim"):
            processes.stop(state, name)


def serve(up):
    processes.ensure(up.state, service.serve(up, **SETTINGS))


def verify(up):
    """The copy is the ledger's, transfer by transfer: so what the copy adds up to is what TigerBeetle does."""
    command = [service.binary(up, "octoco"), "rebuild-read-model", "--verify"]
    answer = subprocess.run(command, env=service.service_env(up), capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise Failure("compare the copy with TigerBeetle", answer.stdout + answer.stderr, "./dev dashboards")
