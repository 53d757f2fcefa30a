"""The customers of `./dev storm`: they deposit, pay at the simulator and withdraw, and repeat what got no answer.

A call that failed or was answered 5xx is made again with the same Idempotency-Key until it is answered: that is the
contract, and the only way in which a customer may notice a restart.
"""

import collections
import http.client
import json
import random
import threading
import time
import uuid

from console import Failure, note

CUSTOMERS = 40
THREADS = 16
PATIENCE = 420  # seconds for one answer, whatever is restarted meanwhile
RESERVE = 8  # unpaid purchases kept for the moments when PostgreSQL is away
COLLECT_EACH = 12  # seconds


class Customer:
    def __init__(self, number):
        self.email = f"storm-{number}-{uuid.uuid4().hex[:8]}@example.com"
        self.password = f"storm {uuid.uuid4()}"
        self.address = f"10.0.{number // 250}.{number % 250 + 1}"
        self.token = None
        self.bank_account_id = None
        self.orders = {}  # transaction id -> (kind, amount), as the API has answered


class Traffic:
    def __init__(self, up):
        self.ports = up.ports
        self.customers = [Customer(number) for number in range(CUSTOMERS)]
        self.local = threading.local()
        self.enough = threading.Event()
        self.threads = []
        self.failures = []
        self.unopened = collections.deque()  # deposits without a link to pay by: the service goes on with them later
        self.reserve = collections.deque()
        self.deliveries = {}  # the simulator's log, merged: it keeps only the newest 10,000
        self.overflowed = False
        self.collected_at = 0.0
        self.repeats = collections.Counter()

    # -- customers ----------------------------------------------------------------------------------------------------

    def sign_up(self):
        for customer in self.customers:
            login = {"email": customer.email, "password": customer.password}
            self.api(customer, "POST", "/v1/auth/register", {**login, "full_name": "Storm Customer"})
            number = {"account_number": "62001234567", "branch_code": "250655", "bank_name": "FNB"}
            account = self.api(customer, "POST", "/v1/bank-accounts", {**number, "account_holder": "Storm Customer"})
            customer.bank_account_id = account["id"]
        note(f"{len(self.customers)} customers")

    def calm(self, deposits):
        for number in range(deposits):
            customer = self.customers[number % len(self.customers)]
            deposit = self.open_deposit(customer, 10_000 + number)
            self.sim("POST", f"purchases/{purchase_of(deposit)}/pay/", {})
            while deposit["state"] != "completed":
                time.sleep(0.02)
                deposit = self.api(customer, "GET", f"/v1/transactions/{deposit['id']}")

    def start(self):
        self.threads = [threading.Thread(target=self.work, args=(seed,), daemon=True) for seed in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        """No new orders; what was opened is paid, so that every deposit can come to its end."""
        self.enough.set()
        for thread in self.threads:
            thread.join()
        self.demand_health()
        began = time.monotonic()
        while self.unopened and time.monotonic() - began < PATIENCE:
            time.sleep(0 if self.go_on_with_one(random) else 1)
        if self.unopened:
            self.failures.append(f"{len(self.unopened)} deposits got no link to pay by within {PATIENCE} s")
        self.pay_reserve()

    def demand_health(self):
        if self.failures:
            raise Failure("keep the traffic going", "\n".join(self.failures[:5]), "read .dev/storm/logs")

    def work(self, seed):
        chance = random.Random(seed)
        try:
            while not self.enough.is_set():
                if self.unopened and chance.random() < 0.3:
                    self.go_on_with_one(chance)
                elif chance.random() < 0.12:
                    self.withdraw(chance.choice(self.customers), chance.randint(100, 9_000))
                else:
                    self.deposit(chance)
        except Exception as failure:  # a thread's failure is the storm's
            self.failures.append(f"{type(failure).__name__}: {getattr(failure, 'cause', failure)}")

    def deposit(self, chance):
        customer = chance.choice(self.customers)
        deposit = self.open_deposit(customer, chance.randint(1_000, 100_000))
        self.pay_or_keep(customer, deposit, chance)

    def pay_or_keep(self, customer, deposit, chance):
        """True when there was something to pay."""
        if deposit["checkout_url"] is None:
            self.unopened.append((customer, deposit["id"]))
            return False
        if len(self.reserve) < RESERVE and not self.enough.is_set():
            self.reserve.append(purchase_of(deposit))
        else:
            self.pay(purchase_of(deposit), clumsy=chance.random() < 0.5)
        return True

    def go_on_with_one(self, chance):
        try:
            customer, deposit_id = self.unopened.popleft()
        except IndexError:
            return False
        return self.pay_or_keep(customer, self.api(customer, "GET", f"/v1/transactions/{deposit_id}"), chance)

    def open_deposit(self, customer, amount):
        deposit = self.api(customer, "POST", "/v1/deposits", {"amount": amount, "currency": "ZAR"}, uuid.uuid4())
        customer.orders[deposit["id"]] = ("deposit", amount)
        return deposit

    def withdraw(self, customer, amount):
        order = {"amount": amount, "currency": "ZAR", "bank_account_id": customer.bank_account_id}
        answer = self.api(customer, "POST", "/v1/withdrawals", order, uuid.uuid4(), refused="insufficient_funds")
        if answer is not None:
            customer.orders[answer["id"]] = ("withdrawal", amount)

    def pay(self, purchase_id, clumsy):
        """What a payer does: each step is an event of its own."""
        for step in ("view", "fail", "pay") if clumsy else ("view", "pay"):
            self.sim("POST", f"purchases/{purchase_id}/{step}/", {})

    def pay_reserve(self):
        paid = []
        while self.reserve:
            paid.append(self.reserve.popleft())
            self.sim("POST", f"purchases/{paid[-1]}/pay/", {})
        return paid

    # -- the simulator's log of deliveries ----------------------------------------------------------------------------

    def collect_deliveries(self, now=False):
        if not now and time.monotonic() - self.collected_at < COLLECT_EACH:
            return
        self.collected_at = time.monotonic()
        sent = self.sim("GET", "deliveries/")["sent"]
        seen, before = collections.Counter(), len(self.deliveries)
        for report in sent:
            what = (report["object_id"], report["event_type"], report["attempt"])
            seen[what] += 1
            self.deliveries[(*what, seen[what])] = outcome(report["status"])
        self.overflowed |= before > 0 and len(self.deliveries) - before >= len(sent)

    # -- calls --------------------------------------------------------------------------------------------------------

    def api(self, customer, method, path, body=None, key=None, refused=None):
        """The answer, asked for until there is one. None when it is the refusal that the caller expects."""
        deadline, last = time.monotonic() + PATIENCE, "nothing"
        while time.monotonic() < deadline:
            headers = {"X-Forwarded-For": customer.address, "Content-Type": "application/json"}
            if not path.startswith("/v1/auth/"):
                headers["Authorization"] = f"Bearer {customer.token}"
            if key is not None:
                headers["Idempotency-Key"] = str(key)
            try:
                status, wait, answer = self.call("octoco", method, path, body, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                last = f"{type(error).__name__}: {error}"
                self.repeats[type(error).__name__] += 1
                time.sleep(0.3)
                continue
            if status < 300:
                return answer
            last = f"{status} {answer}"
            if status == 401 and path != "/v1/auth/login":
                login = {"email": customer.email, "password": customer.password}
                customer.token = self.api(customer, "POST", "/v1/auth/login", login)["access_token"]
            elif status == 429 or status >= 500:
                self.repeats[str(status)] += 1
                time.sleep(min(wait, 5.0))
            elif refused is not None and answer.get("code") == refused:
                return None
            else:
                raise Failure(f"{method} {path}", f"answered {last}", "read .dev/storm/logs/octoco.log")
        raise Failure(f"{method} {path}", f"no answer within {PATIENCE} s, the last was {last}", "read .dev/storm/logs")

    def sim(self, method, path, body=None):
        status, _, answer = self.call("revio-sim", method, f"/_sim/{path}", body, {})
        if status >= 300:
            raise Failure(f"{method} /_sim/{path}", f"answered {status} {answer}", "read .dev/storm/logs/revio-sim.log")
        return answer

    def call(self, name, method, path, body, headers):
        """Over a connection that this thread keeps; after a failure the next call makes a new one."""
        connection = getattr(self.local, name, None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=60)
            setattr(self.local, name, connection)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            wait = float(response.headers.get("Retry-After") or 0.5)
            return response.status, wait, json.loads(text) if text else None
        except BaseException:
            connection.close()
            setattr(self.local, name, None)
            raise


def purchase_of(deposit):
    """Revio's id is the last word of the address that the payer opens."""
    return deposit["checkout_url"].rstrip("/").rpartition("/")[2]


def outcome(status):
    """The simulator writes down {"Ok": 200} or {"Err": why}."""
    return status.get("Ok")
