"""What must hold after `./dev storm`, asked from outside: the simulator, the API, the ledger and the metrics agree."""

import json
import re
import subprocess
import urllib.request

import parts
import service
from console import heading, note

SAMPLE = 5  # customers whose balance is asked from TigerBeetle too, in a process of its own
PAGE = 100


class Proof:
    def __init__(self, up, traffic):
        self.up, self.traffic = up, traffic
        self.complaints = []

    def run(self, paid_while_away):
        """The differences; none is what must hold."""
        heading("Proof")
        rows = {customer: self.transactions(customer) for customer in self.traffic.customers}
        self.orders(rows)
        self.deposits(rows)
        self.withdrawals(rows)
        self.totals(rows)
        self.balances(rows)
        self.queues()
        self.refused_while_away(paid_while_away)
        self.audit_log()
        return self.complaints

    def expect(self, what, found, wanted):
        if found != wanted:
            self.complaints.append(f"{what}: {found}, expected {wanted}")

    # -- transactions -------------------------------------------------------------------------------------------------

    def transactions(self, customer):
        found, cursor = [], ""
        while cursor is not None:
            following = f"&cursor={cursor}" if cursor else ""
            answer = self.traffic.api(customer, "GET", f"/v1/transactions?limit={PAGE}{following}")
            found += answer["data"]
            cursor = answer["page"]["next_cursor"]
        self.expect(f"{customer.email}: rows listed", len(found), answer["page"]["total"])
        return found

    def orders(self, rows):
        """Each order, however often it was repeated, is one row; and nobody has a row that he did not order."""
        for customer, listed in rows.items():
            ordered = {row["id"]: (row["kind"], row["amount"]) for row in listed if row["state"] != "rejected"}
            for order in customer.orders.keys() - ordered.keys():
                self.complaints.append(f"order {order} of {customer.email} is lost")
            for order in ordered.keys() - customer.orders.keys():
                self.complaints.append(f"{customer.email} has a row that was not ordered: {order} {ordered[order]}")
            for order in ordered.keys() & customer.orders.keys():
                self.expect(f"order {order}", ordered[order], customer.orders[order])
        note(f"compared with what was ordered: {sum(len(listed) for listed in rows.values())} transactions")

    def deposits(self, rows):
        paid = 0
        for row in of_kind(rows, "deposit"):
            purchases = self.traffic.sim("GET", f"purchases/?reference={row['id']}")
            paid_here = sum(purchase["status"] == "paid" for purchase in purchases)
            paid += paid_here
            self.expect(f"deposit {row['id']} is {row['state']}; paid purchases", paid_here, completed(row))
        note(f"compared with the deposits: {paid} paid purchases")

    def withdrawals(self, rows):
        paid = 0
        for row in of_kind(rows, "withdrawal"):
            payouts = self.traffic.sim("GET", f"payouts/?reference={row['id']}")
            paid_here = sum(payout["status"] in ("success", "executed") for payout in payouts)
            paid += paid_here
            self.expect(f"withdrawal {row['id']} is {row['state']}; paid payouts", paid_here, completed(row))
            if row["state"] not in ("completed", "rejected"):
                self.complaints.append(f"withdrawal {row['id']} ended as {row['state']}: {row['failure_reason']}")
        note(f"compared with the withdrawals: {paid} paid payouts")

    def totals(self, rows):
        totals = self.traffic.sim("GET", "totals/?currency=ZAR")
        for kind, amount in (("deposit", "paid_in"), ("withdrawal", "paid_out")):
            done = [row["amount"] for row in of_kind(rows, kind) if completed(row)]
            self.expect(f"Revio's {amount}", totals[amount], sum(done))
            self.expect(f"Revio's count of {amount}", totals[f"{amount}_count"], len(done))
        for nothing in ("payouts_pending", "refunded", "charged_back"):
            self.expect(f"Revio's {nothing}", totals[nothing], 0)
        note(f"compared with Revio's totals: in {totals['paid_in']}, out {totals['paid_out']} cents")
        self.expect("payouts executed twice and refused by Revio", totals["executions_refused"], 0)

    # -- balances -----------------------------------------------------------------------------------------------------

    def balances(self, rows):
        for number, (customer, listed) in enumerate(rows.items()):
            deposits = sum(row["amount"] for row in listed if row["kind"] == "deposit" and completed(row))
            withdrawals = sum(row["amount"] for row in listed if row["kind"] == "withdrawal" and completed(row))
            wanted = (deposits - withdrawals, 0, deposits - withdrawals)
            answer = self.traffic.api(customer, "GET", "/v1/balances")["balances"]
            self.expect(f"{customer.email}: balance by the API", figures(answer), wanted)
            if number < SAMPLE:
                self.expect(f"{customer.email}: balance by the ledger", figures(self.ledger_balances(customer)), wanted)
        note(f"compared with deposits less withdrawals: {len(rows)} balances, {SAMPLE} of them the ledger's own")

    def ledger_balances(self, customer):
        answer = self.octoco("admin", "ledger-balances", "--email", customer.email)
        return [json.loads(line) for line in answer.stdout.splitlines() if '"currency"' in line]

    def octoco(self, *words):
        command, env = [service.binary(self.up, "octoco"), *words], service.service_env(self.up)
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    # -- queues -------------------------------------------------------------------------------------------------------

    def queues(self):
        statements = {
            "events pending": "select count(*) from webhook_logs where state = 'pending'",
            "events dead": "select count(*) from webhook_logs where state = 'dead'",
            "transactions held": "select count(*) from transactions where held_reason is not null",
            "reversals": "select count(*) from transactions where kind not in ('deposit', 'withdrawal')",
            "forged calls": "select count(*) from webhook_logs where verdict not in ('accepted', 'duplicate')",
        }
        for what, statement in statements.items():
            self.expect(what, int(parts.sql(self.up, statement, "octoco")), 0)
        for queue, what, rows in self.gauges():
            self.expect(f"octoco_queue_rows of {queue} {what}", rows, 0)
        held = "select id || ' ' || kind || ' ' || held_reason from transactions where held_reason is not null"
        dead = "select id || ' ' || coalesce(last_error, '') from webhook_logs where state = 'dead'"
        self.complaints += parts.sql(self.up, f"{held} union all {dead}", "octoco").splitlines()
        note("counted: pending and dead events, held transactions")

    def gauges(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.up.ports['operations']}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        for line in lines:
            found = re.fullmatch(r'octoco_queue_rows\{queue="(\w+)",what="(dead|held)"\} (\d+)', line)
            if found:
                yield found[1], found[2], int(found[3])

    def refused_while_away(self, purchases):
        """Paid while PostgreSQL was stopped: refused with a 5xx, sent again by Revio, and taken then."""
        self.traffic.collect_deliveries(now=True)
        refused, taken = set(), set()
        for (object_id, event, _, _), status in self.traffic.deliveries.items():
            if object_id in purchases and event == "purchase.paid":
                if status is not None and status >= 500:
                    refused.add(object_id)
                elif status == 200:
                    taken.add(object_id)
        self.expect("paid while PostgreSQL was away and never taken", set(purchases) - taken, set())
        if purchases and not refused:
            self.complaints.append("no delivery was answered 5xx while PostgreSQL was away")
        outcomes = f"{len(refused)} answered 5xx, {len(taken)} taken in the end"
        note(f"{len(purchases)} paid while PostgreSQL was away: {outcomes}")

    def audit_log(self):
        answer = self.octoco("audit", "verify")
        self.expect(f"octoco audit verify ({answer.stderr.strip()[-200:]})", answer.returncode, 0)


def of_kind(rows, kind):
    return [row for listed in rows.values() for row in listed if row["kind"] == kind]


def completed(row):
    return int(row["state"] == "completed")


def figures(balances):
    """No line for a currency means that nothing was ever booked in it."""
    line = next((line for line in balances if line["currency"] == "ZAR"), {"posted": 0, "pending": 0, "available": 0})
    return line["posted"], line["pending"], line["available"]
