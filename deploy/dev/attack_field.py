"""What the attacks of `./dev attack` are made with: calls, sockets, customers, a witness of sizes and states."""

import http.client
import json
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress

import demo
import parts
from console import Failure

THRESHOLD = 10_000  # cents; a withdrawal above it needs an approval

# What is under attack is as in production, but that proxies on this machine are believed: so callers have addresses.
# Staff need no second factor: a thief who has that, too, must still not get far alone. Nor has a new bank account to
# wait for a day: a thief has waited.
SETTINGS = {
    "RATE_LIMITS": "default",
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "APPROVAL_THRESHOLDS": f"ZAR:{THRESHOLD}",
    "STAFF_TOTP": "optional",
    "STAFF_STEP_UP": "off",
    "BANK_ACCOUNT_COOLING_HOURS": "off",
    "RUST_LOG": "info,sqlx=warn",
}


class Field:
    """What an attacker and a witness can do."""

    def __init__(self, up, small):
        self.up, self.small = up, small
        self.port = up.ports["octoco"]

    def times(self, small, whole):
        return small if self.small else whole

    def customer(self, name="customer"):
        person = Customer(self.up, name)
        person.sign_up()
        return person

    def customer_with(self, cents, name="customer"):
        """With money, and with a bank account."""
        person = self.customer(name)
        person.pay_in(cents)
        person.bank_account = person.add_bank_account()
        return person

    def call(self, method, path, body=None, token=None, address=None, headers=(), timeout=15):
        """One call over a connection of its own: the status (0: none came) and what came with it."""
        words = {"Content-Type": "application/json", **dict(headers)}
        if token:
            words["Authorization"] = f"Bearer {token}"
        if address:
            words["X-Forwarded-For"] = address
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            connection.request(method, path, data, words)
            answer = connection.getresponse()
            text = answer.read()
            with suppress(ValueError):
                return answer.status, json.loads(text)
            return answer.status, {}
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def sim(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.up.ports["revio-sim"], timeout=15)
        try:
            connection.request(method, f"/_sim/{path}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise Failure(f"{method} /_sim/{path}", f"{answer.status} {text.decode()}", "read revio-sim.log")
            return json.loads(text) if text else None
        finally:
            connection.close()

    def sql(self, statement):
        return parts.sql(self.up, statement, "octoco")

    def bytes_of_all_tables(self):
        """With indexes and what is stored beside the rows."""
        return int(self.sql("select coalesce(sum(pg_total_relation_size(relid)), 0) from pg_stat_user_tables"))

    def many(self, calls, threads=24):
        """Functions, so many at once; what each has answered, in their order."""
        waiting, answers, lock = list(enumerate(calls)), {}, threading.Lock()
        waiting.reverse()

        def work():
            while True:
                with lock:
                    if not waiting:
                        return
                    number, call = waiting.pop()
                answers[number] = call()

        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(waiting)))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return [answers[number] for number in sorted(answers)]


class Customer(demo.Customer):
    """Somebody who uses the service as it is meant, from an address of his own."""

    def __init__(self, up, name):
        super().__init__(up, name)
        number = uuid.uuid4().int
        self.address = f"10.{number % 200}.{number // 7 % 250}.{number // 1999 % 250 + 1}"

    def request(self, method, path, body=None, key=False, timeout=demo.PATIENCE):
        return super().request(method, path, body, key, timeout, {"X-Forwarded-For": self.address})

    def sign_up(self):
        """The id is asked for when signed in: registering tells nobody whether there is an account."""
        login = {"email": self.email, "password": self.password}
        self.call("POST", "/v1/auth/register", {**login, "full_name": demo.HOLDER})
        self.sign_in()
        self.id = self.call("GET", "/v1/me")["id"]

    def open_deposit(self, cents=demo.DEPOSIT):
        return self.call("POST", "/v1/deposits", {"amount": cents, "currency": "ZAR"}, key=True)

    def pay_in(self, cents):
        self.step = "have money"
        deposit = self.open_deposit(cents)
        demo.pay_like_a_person(deposit["checkout_url"], self.failure)
        return self.await_completed(deposit)

    def posted(self):
        lines = self.call("GET", "/v1/balances")["balances"]
        return sum(line["posted"] for line in lines if line["currency"] == "ZAR")


def counted(answers):
    """`12 x 201, 3 x 429`, of a list of statuses."""
    kinds = {status: answers.count(status) for status in answers}
    return ", ".join(f"{times} x {status or 'no answer'}" for status, times in sorted(kinds.items())) or "nothing"


@contextmanager
def half_sent(field, count, path, headers, address):
    """So many calls whose body has one byte and never more. How many sockets were opened."""
    sockets = []
    lines = [f"{name}: {value}" for name, value in headers.items()]
    try:
        for number in range(count):
            source = address.format(number % 250 + 1)
            words = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *lines]
            words += [f"X-Forwarded-For: {source}", "Content-Length: 400", "", "{"]
            try:
                opened = socket.create_connection(("127.0.0.1", field.port), timeout=2)
                opened.sendall("\r\n".join(words).encode())
                sockets.append(opened)
            except OSError:
                continue  # not let in
        time.sleep(0.5)
        yield len(sockets)
    finally:
        for opened in sockets:
            opened.close()


def idempotency():
    return {"Idempotency-Key": str(uuid.uuid4())}


def until(seconds, true):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
