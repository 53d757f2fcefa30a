"""The demo: a new customer pays in R1500 and takes out R500, and the API and the ledger agree on what is left."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from html.parser import HTMLParser

import processes
import service
from console import Failure, heading

PATIENCE = 15  # seconds that one movement of money may take
DEPOSIT, WITHDRAWAL = 150_000, 50_000  # cents
HOLDER = "Demo Customer"


def run(up):
    heading("Demo: a deposit and a withdrawal")
    Demo(up).run()


class Customer:
    """Somebody who uses the API; a failure says at which step."""

    def __init__(self, up, name="demo"):
        self.up, self.name, self.step = up, name, "sign up"
        self.email, self.password = f"{name}-{uuid.uuid4().hex[:12]}@example.com", f"{name} {uuid.uuid4()}"
        self.token, self.accounts = None, 0

    def sign_up(self):
        login = {"email": self.email, "password": self.password}
        self.id = self.call("POST", "/v1/auth/register", {**login, "full_name": HOLDER})["id"]
        self.sign_in()

    def sign_in(self):
        login = {"email": self.email, "password": self.password}
        self.token = self.call("POST", "/v1/auth/login", login)["access_token"]

    def become(self, role):
        self.octoco("admin", "grant", "--email", self.email, "--role", role)
        self.sign_in()

    def add_bank_account(self):
        self.accounts += 1  # the same twice is refused
        number = {"account_number": str(62001234566 + self.accounts), "branch_code": "250655", "bank_name": "FNB"}
        return self.call("POST", "/v1/bank-accounts", {**number, "account_holder": HOLDER})["id"]

    def open_deposit(self):
        return self.call("POST", "/v1/deposits", {"amount": DEPOSIT, "currency": "ZAR"}, key=True)

    def withdraw(self, amount, bank_account):
        order = {"amount": amount, "currency": "ZAR", "bank_account_id": bank_account}
        return self.await_completed(self.call("POST", "/v1/withdrawals", order, key=True))

    def await_completed(self, transaction):
        deadline = time.monotonic() + PATIENCE
        while transaction["state"] != "completed":
            if time.monotonic() > deadline:
                raise self.failure(f"still {transaction['state']} after {PATIENCE} s: {json.dumps(transaction)}")
            if transaction["state"] in ("failed", "expired", "cancelled", "rejected"):
                raise self.failure(f"it ended as {transaction['state']}: {json.dumps(transaction)}")
            time.sleep(0.1)
            transaction = self.call("GET", f"/v1/transactions/{transaction['id']}")
        return transaction

    def call(self, method, path, body=None, key=False):
        try:
            with self.request(method, path, body, key) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            raise self.failure(f"{method} {path} answered {refusal.code}: {problem(refusal.read())}") from None
        except OSError as error:
            raise self.failure(f"{method} {path}: {error}") from None

    def request(self, method, path, body=None, key=False, timeout=PATIENCE, more=()):
        headers = {"Accept": "application/json", **dict(more)}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        url = f"http://127.0.0.1:{self.up.ports['octoco']}{path}"
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=timeout)

    def octoco(self, *words):
        command, env = [service.binary(self.up, "octoco"), *words], service.service_env(self.up)
        answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise self.failure(f"octoco {' '.join(words)}: {answer.stderr}")
        return answer.stdout

    def failure(self, cause):
        logs = " and ".join(str(processes.log_file(self.up.state, name)) for name in ("octoco", "revio-sim"))
        return Failure(f"{self.name}: {self.step}", cause, f"read {logs}\nor follow them: ./dev logs octoco -f")


class Demo(Customer):
    def run(self):
        print(f"   {'step':<46}{'posted':>12}{'pending':>12}{'available':>12}  ZAR", flush=True)
        self.step = "register and log in"
        self.sign_up()
        self.show(f"registered {self.email}", 0, 0)
        self.deposit()
        self.show("deposit paid at the simulator and booked", DEPOSIT, DEPOSIT)
        self.step = "withdraw to a new bank account"
        self.withdraw(WITHDRAWAL, self.add_bank_account())
        left = DEPOSIT - WITHDRAWAL
        self.show("withdrawal paid out", left, left)
        self.compare_with_ledger(left)

    def deposit(self):
        self.step = "deposit"
        deposit = self.open_deposit()
        self.show("deposit opened, waiting for payment", 0, 0)
        self.step = "pay the deposit at the simulator"
        pay_like_a_person(deposit["checkout_url"], self.failure)
        self.step = "book the deposit"
        self.await_completed(deposit)

    def compare_with_ledger(self, expected):
        self.step = "compare with TigerBeetle"
        answer = self.octoco("admin", "ledger-balances", "--email", self.email)
        lines = [json.loads(line) for line in answer.splitlines() if '"currency"' in line]
        self.print_line("the same, asked from TigerBeetle itself", self.checked(lines, expected, expected))

    def show(self, text, posted, available):
        balances = self.call("GET", "/v1/balances")["balances"]
        self.print_line(text, self.checked(balances, posted, available))

    def checked(self, balances, posted, available):
        """The ZAR balance, which must be as expected; no line for a currency means nothing was ever booked in it."""
        nothing = {"currency": "ZAR", "posted": 0, "pending": 0, "available": 0}
        balance = next((line for line in balances if line["currency"] == "ZAR"), nothing)
        if (balance["posted"], balance["available"]) != (posted, available):
            raise self.failure(f"expected posted {posted} and available {available} cents, found {balance}")
        return balance

    def print_line(self, text, balance):
        figures = (f"{balance[name] / 100:>12,.2f}" for name in ("posted", "pending", "available"))
        print(f"   {text:<46}{''.join(figures)}", flush=True)


def problem(body):
    """The words of a problem document (RFC 9457), or whatever the body is."""
    try:
        document = json.loads(body)
        return f"{document.get('code')}: {document.get('detail') or document.get('title')}"
    except ValueError:
        return body.decode(errors="replace")


class Forms(HTMLParser):
    """The buttons of a page: for each, where its form goes and which fields it sends."""

    def __init__(self):
        super().__init__()
        self.action, self.fields, self.buttons = None, {}, []

    def handle_starttag(self, tag, attributes):
        attribute = dict(attributes)
        if tag == "form":
            self.action, self.fields = attribute.get("action", ""), {}
        elif tag == "button" or (tag == "input" and attribute.get("type") == "submit"):
            own = {attribute["name"]: attribute.get("value", "")} if attribute.get("name") else {}
            self.buttons.append((self.action, {**self.fields, **own}))
        elif tag == "input" and attribute.get("name"):
            self.fields[attribute["name"]] = attribute.get("value", "")


class StayHere(urllib.request.HTTPRedirectHandler):
    """Does not follow a redirect: after the payment it leads to a page of the shop, which the demo has not."""

    def redirect_request(self, *_):
        return None


def pay_like_a_person(checkout_url, failure):
    """Opens the checkout page and presses its first button, "Pay"."""
    try:
        with urllib.request.urlopen(checkout_url, timeout=PATIENCE) as page:
            forms = Forms()
            forms.feed(page.read().decode())
        if not forms.buttons:
            raise failure(f"{checkout_url} shows no button to pay")
        action, fields = forms.buttons[0]
        target = urllib.parse.urljoin(checkout_url, action)
        press = urllib.request.Request(target, urllib.parse.urlencode(fields).encode())
        urllib.request.build_opener(StayHere).open(press, timeout=PATIENCE).close()
    except urllib.error.HTTPError as refusal:
        if 300 <= refusal.code < 400:
            return
        raise failure(f"{refusal.url} answered {refusal.code}: {refusal.read().decode(errors='replace')}") from None
    except OSError as error:
        raise failure(f"{checkout_url}: {error}") from None
