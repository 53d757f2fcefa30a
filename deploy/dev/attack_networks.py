"""The attacks from the network: addresses without end, slowness, floods. Part of `./dev attack` (attack.py)."""

import os
import time
import uuid

import demo
import service
from attack_field import counted, half_sent, idempotency, until
from console import Failure
from storm_traffic import purchase_of

GUESSES_AT_ONCE = 100  # that one address has, of sign-ins
GUESSES_A_SECOND = 5
FORGED_BYTES = 3_400  # of one that is kept, with its indexes
FLOOD_BYTES_MAX = 9_000_000  # of a day's
REVIO_LIMIT = 20  # calls a second, from where the simulator says 429


def guesses_from_one_network(field):
    """Guesses at passwords from one IPv6 /64.

    signs in with wrong passwords, each time as somebody else and from another address of one /64
    """
    guesses = field.times(400, 1_000)
    network = f"2001:db8:{uuid.uuid4().int % 0xFFFF:x}:1"

    def guess(number):
        login = {"email": f"nobody-{uuid.uuid4().hex[:12]}@example.com", "password": f"wrong {number} horses"}
        address = f"{network}:{number:x}:{number * 7 % 0xFFFF:x}::{number + 1:x}"
        return lambda: field.call("POST", "/v1/auth/login", login, None, address)[0]

    began = time.monotonic()
    answers = field.many([guess(number) for number in range(guesses)])
    allowed = GUESSES_AT_ONCE + GUESSES_A_SECOND * (time.monotonic() - began) + 10
    heard = sum(status == 401 for status in answers)
    got = f"{counted(answers)}: {heard} guesses heard (one address: {allowed:.0f})"
    return got, 0 < heard <= allowed < guesses


def mails_to_one_mailbox(field):
    """Mails to one mailbox by +tags.

    registers, and forgets passwords, as owner+1@, owner+2@ …, each time from another network
    """
    tags = field.times(12, 60)
    owner = f"owner{uuid.uuid4().hex[:8]}"

    def ask(number):
        address = f"2001:db8:{number + 4096:x}::1"
        email = f"{owner}+{number}@example.com"
        new = {"email": email, "password": f"ordinary {uuid.uuid4()}", "full_name": "Owner"}

        def both():
            registered = field.call("POST", "/v1/auth/register", new, None, address)[0]
            forgotten = field.call("POST", "/v1/auth/password/forgot", {"email": email}, None, address)[0]
            return [registered, forgotten]

        return both

    answers = sum(field.many([ask(number) for number in range(tags)], threads=8), [])
    folder = service.mail_folder(field.up)

    def mails():
        return sum(f"{owner}+" in path.read_text(errors="replace") for path in folder.glob("*") if path.is_file())

    until(8, mails)
    time.sleep(5)  # whatever is owed is sent by then
    sent = mails()
    got = f"{counted(answers)}: {sent} mails to one mailbox (allowed: 1 to 6)"
    return got, 1 <= sent <= 6


def forged_webhooks(field):
    """A flood of forged webhooks.

    sends bodies that Revio did not sign, half of them from one /64, half from everywhere; then Revio has something
    to say
    """
    forged, seconds = field.times(6_000, 40_000), field.times(8, 30)
    payer = field.customer("payer")
    deposit = payer.open_deposit()
    before = field.bytes_of_all_tables()
    deadline = time.monotonic() + seconds

    def forge(number):
        everywhere = f"2001:db8:{number % 0xFFFF:x}:{number // 0xFFFF:x}::1"
        address = everywhere if number % 2 else f"2001:db8:1:2:{number % 0xFFFF:x}::1"
        what = f'"id": "{uuid.uuid4()}", "event_type": "purchase.paid", "filler": "{os.urandom(1_200).hex()}"'
        headers = {"X-Signature": "bm8gc2lnbmF0dXJlIGF0IGFsbA=="}

        def send():
            if time.monotonic() > deadline:
                return None
            return field.call("POST", "/v1/webhooks/revio", f"{{{what}}}".encode(), None, address, headers)[0]

        return send

    sent = field.many([forge(number) for number in range(forged)], threads=12)
    answers = [status for status in sent if status is not None]
    began = time.monotonic()
    demo.pay_like_a_person(deposit["checkout_url"], payer.failure)
    payer.await_completed(deposit)
    booked = time.monotonic() - began
    time.sleep(2)
    grown = field.bytes_of_all_tables() - before
    # Of those from one /64 hardly any is kept, of all of them so many a day.
    bound = min(FLOOD_BYTES_MAX, 1_000_000 + FORGED_BYTES * len(answers) * 6 // 10)
    refused = sum(status in (401, 403, 429) for status in answers)
    kept = f"{grown / 1e6:.1f} MB kept (allowed: {bound / 1e6:.1f})"
    got = f"{counted(answers)}: {kept}, a genuine one booked in {booked:.1f} s"
    return got, refused == len(answers) > 0 and grown <= bound and booked < 10


def slow_bodies(field):
    """Slow bodies shut Revio's webhooks out.

    opens 160 webhook calls and sends one byte of each body; then Revio has something to say
    """
    payer = field.customer("payer")
    deposits = [payer.open_deposit() for _ in range(field.times(3, 8))]
    purchases = {purchase_of(deposit) for deposit in deposits}
    with half_sent(field, 160, "/v1/webhooks/revio", {"X-Signature": "bm9uZQ=="}, "192.0.2.{}") as opened:
        began = time.monotonic()
        for deposit in deposits:
            demo.pay_like_a_person(deposit["checkout_url"], payer.failure)
        answered = until(12, lambda: len(delivered(field, purchases)) >= len(purchases))
        seconds = time.monotonic() - began
    tries = [report["status"] for report in deliveries(field, purchases)]
    late = sum(status != {"Ok": 200} for status in tries)
    taken = f"all taken in {seconds:.1f} s" if answered else f"not all taken in {seconds:.0f} s"
    got = f"{opened} sockets held; {len(tries)} deliveries of Revio's, {late} of them not taken, {taken}"
    return got, opened == 160 and answered and late == 0


def deliveries(field, purchases):
    return [report for report in field.sim("GET", "deliveries/")["sent"] if report["object_id"] in purchases]


def delivered(field, purchases):
    taken = [report for report in deliveries(field, purchases) if report["event_type"] == "purchase.paid"]
    return {report["object_id"] for report in taken if report["status"] == {"Ok": 200}}


def slow_customers(field):
    """Slow calls of two customers stop a third.

    two customers open 300 calls each and send one byte of each body; a third uses the service
    """
    pair, third = [field.customer("slow") for _ in range(2)], field.customer("third")
    headers = [{"Authorization": f"Bearer {slow.token}", "Idempotency-Key": "slow"} for slow in pair]
    with (
        half_sent(field, 300, "/v1/deposits", headers[0], pair[0].address) as first,
        half_sent(field, 300, "/v1/deposits", headers[1], pair[1].address) as second,
    ):
        order, answers, slowest = {"amount": 1_000, "currency": "ZAR"}, [], 0.0
        for number in range(10):
            began = time.monotonic()
            if number % 2:
                status = field.call("GET", "/v1/me", None, third.token, third.address, timeout=8)[0]
            else:
                path, key = "/v1/deposits", idempotency()
                status = field.call("POST", path, order, third.token, third.address, key, timeout=8)[0]
            answers.append(status)
            slowest = max(slowest, time.monotonic() - began)
    served = sum(status in (200, 201) for status in answers)
    got = f"{first + second} sockets wanted; the third got {counted(answers)}, slowest {slowest:.1f} s"
    # How many of the sockets are let in at all is the service's business.
    return got, served == len(answers) and slowest < 5 and first + second >= 100


def deposits_without_end(field):
    """One customer opens 700 deposits and pays none.

    wishes for 700 deposits while Revio bears 20 calls a second; others pay in and take out
    """
    wishes, others = 700, field.times(2, 6)
    greedy = field.customer("greedy")
    friends = [field.customer_with(20_000, "other") for _ in range(others)]
    order = {"amount": 1_000, "currency": "ZAR"}
    called_before = len(field.sim("GET", "calls/"))
    field.sim("PATCH", "settings/", {"calls_per_second": REVIO_LIMIT})
    try:
        answers = field.many(
            [
                lambda: field.call("POST", "/v1/deposits", order, greedy.token, greedy.address, idempotency())[0]
                for _ in range(wishes)
            ]
        )
        # Those that were opened come due for a look; with hundreds of them Revio would be asked for nothing else.
        field.sql(f"update transactions set due_at = now() where user_id = '{greedy.id}' and due_at is not null")
        kept_waiting = [others_go_on(field, friend) for friend in friends]
    finally:
        field.sim("PATCH", "settings/", {"calls_per_second": 0})
    called = field.sim("GET", "calls/")[called_before:]
    turned_away = sum(call["status"] == 429 for call in called)
    opened = sum(status == 201 for status in answers)
    failed = [why for found in kept_waiting for why in found]
    first = f": {failed[0]}" if failed else ""
    got = (
        f"{counted(answers)} (allowed: 10 x 201); of {6 * others} wishes of others {len(failed)} failed{first}; "
        f"Revio said 429 to {turned_away} of {len(called)} calls"
    )
    return got, 0 < opened <= 10 and not failed and turned_away == 0


def others_go_on(field, friend):
    """Five deposits and a withdrawal of an ordinary customer. What went wrong."""
    failed = []
    for _ in range(5):
        status, deposit = field.call(
            "POST", "/v1/deposits", {"amount": 1_000, "currency": "ZAR"}, friend.token, friend.address, idempotency()
        )
        if status != 201 or not deposit.get("checkout_url"):
            failed.append(f"deposit {status} {deposit.get('code') or deposit.get('state')}")
    order = {"amount": 500, "currency": "ZAR", "bank_account_id": friend.bank_account}
    try:
        friend.await_completed(friend.call("POST", "/v1/withdrawals", order, key=True))
    except Failure as failure:
        failed.append(failure.cause)
    return failed
