"""The attacks of insiders: of staff, and of customers who know the rules. Part of `./dev attack` (attack.py)."""

import time
import uuid

from attack_field import THRESHOLD, counted, idempotency, until
from console import Failure

PAID = "('reserved', 'submitting', 'submitted', 'completed')"  # what needs nobody any more


def admin_alone(field):
    """One admin alone against four eyes.

    gives a second account of his own finance and admin, proposes money for a third, approves it with the other and
    takes it out; two admins demote each other at once
    """
    thief, second = field.customer("admin"), field.customer("second")
    loot = field.customer("loot")
    loot.bank_account = loot.add_bank_account()
    thief.become("admin")
    steps = []

    def step(what, who, method, path, body=None):
        status, answer = field.call(method, path, body, who.token, who.address, idempotency())
        steps.append(f"{what} {status}{' ' + answer['code'] if 'code' in answer else ''}")
        return answer if status < 300 else {}

    for role in ("finance", "admin"):
        granted = step(f"grant {role}", thief, "PATCH", f"/v1/admin/users/{second.id}", {"role": role})
        for who in (thief, second):
            approve_whatever_it_is(field, step, who, granted)
        second.sign_in()
        for maker, checker in ((thief, second), (second, thief), (thief, thief)):
            wish = {"user_id": loot.id, "direction": "credit", "amount": 50_000, "currency": "ZAR"}
            why = {"counterpart": "equity", "reason": "as agreed"}
            proposed = step("propose", maker, "POST", "/v1/admin/adjustments", {**wish, **why})
            if "id" in proposed:
                path = f"/v1/admin/adjustments/{proposed['id']}/approve"
                step("approve", checker, "POST", path, version_of(proposed))
    order = {"amount": 5_000, "currency": "ZAR", "bank_account_id": loot.bank_account}
    step("withdraw", loot, "POST", "/v1/withdrawals", order)
    time.sleep(1)
    stolen = loot.posted()
    of_loot = f"from transactions where user_id = '{loot.id}' and kind = 'withdrawal' and state in {PAID}"
    taken = int(field.sql(f"select count(*) {of_loot}"))
    left = demote_each_other(field, steps)
    told = list(dict.fromkeys(steps))
    got = f"{'; '.join(told)}: {stolen} cents in the wallet, {taken} withdrawals go out, {left} admins left"
    return got, stolen == 0 and taken == 0 and left >= 1


def demote_each_other(field, steps):
    """Two admins, made by the operator, each takes the other's role away. How many are left of all."""
    pair = [field.customer("admin") for _ in range(2)]
    for admin in pair:
        admin.become("admin")
    others = f"role = 'admin' and id not in ('{pair[0].id}', '{pair[1].id}')"
    field.sql(f"update users set role = 'user' where {others}")  # these two are the last

    def demote(who, whom):
        return lambda: field.call(
            "PATCH", f"/v1/admin/users/{whom.id}", {"role": "user"}, who.token, who.address, idempotency()
        )[0]

    answers = field.many([demote(pair[0], pair[1]), demote(pair[1], pair[0])])
    steps.append(f"demote each other {counted(answers)}")
    return int(field.sql("select count(*) from users where role = 'admin'"))


def version_of(shown):
    """What an approval must name of what it approves: the hash that it was shown with."""
    return {name: value for name, value in shown.items() if name.endswith("_hash")}


def approve_whatever_it_is(field, step, who, shown):
    """Where a grant waits for a second person, he tries to be that one, by every route that approves something."""
    _, document = field.call("GET", "/openapi.json")
    for path, operations in document.get("paths", {}).items():
        if path.endswith("/approve") and "post" in operations and "id" in shown:
            step("approve it", who, "POST", path.replace("{id}", shown["id"]), version_of(shown))


def splitting(field):
    """Withdrawals of exactly the threshold, one after another.

    takes out the threshold many times within a minute, so that no single one is above it
    """
    wishes = field.times(12, 50)
    thief = field.customer_with(THRESHOLD * (wishes + 1), "splitter")
    order = {"amount": THRESHOLD, "currency": "ZAR", "bank_account_id": thief.bank_account}

    def withdraw():
        return field.call("POST", "/v1/withdrawals", order, thief.token, thief.address, idempotency())[0]

    answers = [withdraw()]
    of_thief = f"from transactions where user_id = '{thief.id}' and kind = 'withdrawal'"
    if not until(15, lambda: field.sql(f"select count(*) {of_thief} and state = 'completed'") == "1"):
        states = field.sql(f"select string_agg(state, ', ') {of_thief}")
        raise Failure(
            "take out the first", f"an ordinary withdrawal is not paid: {answers}, {states}", "read octoco.log"
        )
    answers += field.many([withdraw] * (wishes - 1), threads=8)
    time.sleep(3)
    paid = int(field.sql(f"select coalesce(sum(amount_minor), 0) {of_thief} and state in {PAID}"))
    waits = int(field.sql(f"select count(*) {of_thief} and state = 'awaiting_approval'"))
    unseen = f"{paid} cents go out unseen (threshold {THRESHOLD})"
    got = f"{counted(answers)}: {unseen}, {waits} wait for somebody"
    return got, paid <= THRESHOLD


def long_refusals(field):
    """Refused calls with long paths fill the audit log.

    a customer calls routes of staff, each time with a path of 6 kB
    """
    calls = field.times(400, 2_000)
    nosy = field.customer("nosy")
    before = field.bytes_of_all_tables(), int(field.sql("select count(*) from audit_log"))

    def refused(number):
        path = f"/v1/admin/users/{uuid.uuid4()}/statements?currency={number}{'x' * 6_000}"
        longer = f"/v1/admin/audit/{number}{'y' * 6_000}"
        return lambda: field.call("GET", longer if number % 4 == 0 else path, None, nosy.token, nosy.address)[0]

    began = time.monotonic()
    answers = field.many([refused(number) for number in range(calls)])
    path = f"/v1/admin/users/{'z' * 6_000}"
    answers += field.many([lambda: field.call("GET", path, None, nosy.token, nosy.address)[0]] * calls)
    minutes = 1 + (time.monotonic() - began) // 60 + 1
    time.sleep(3)  # what is gathered is written by then
    rows = int(field.sql("select count(*) from audit_log")) - before[1]
    grown = field.bytes_of_all_tables() - before[0]
    refusals = sum(status == 403 for status in answers)
    if refusals == 0:
        return f"{counted(answers)}: none of them was refused as it should be", False
    bound = 100 * minutes
    got = f"{counted(answers)}: {rows} rows, {grown / 1e6:.2f} MB (allowed: {bound:.0f} rows, 1 MB)"
    return got, rows <= bound and grown <= 1_000_000
