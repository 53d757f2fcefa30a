"""`./dev fuzz`: calls the service as its OpenAPI document says, and as it says not to, as each role and as nobody.

schemathesis makes the calls and holds every answer against the document: no 5xx, no status, type or shape that is not
in it, nothing accepted that it forbids, nothing refused that it allows. `fuzz/` has its version, its configuration,
and what it must know beyond the document. The same seed makes the same calls.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import replace

import demo
import parts
import processes
import service
import toolchain
from console import ROOT, Failure, duration, heading, note, run_long, shown

STATE = ROOT / ".dev" / "fuzz"
PORTS = {"postgres": 29432, "redis": 29379, "tigerbeetle": 29000}  # if free
SERVICE_PORTS = {"revio-sim": 29090, "octoco": 29080, "operations": 29081}
HOME = ROOT / "deploy" / "dev" / "fuzz"

ROLES = ("user", "support", "finance", "admin", "nobody")
EXAMPLES = 20  # generated calls of each kind, operation and role; the systematic ones (phase `coverage`) come on top
PHASES = "examples,coverage,fuzzing,stateful"
EXAMPLES_IN_TEST = 2
# In `./dev test` the systematic calls, which are most of them, are made once: by the role that gets furthest.
PHASES_IN_TEST = {role: PHASES if role == "admin" else "examples,fuzzing" for role in ROLES}
SEED = 20_261_124
FINDINGS_SHOWN = 20
FINDING_LINES = 25  # of the first one, told again at the end of ./dev test
CLOSED = "2026-03"  # a month that waits for its checker
NO_LIMITS = {
    "RATE_LIMITS": "off",
    "REVIO_CALLS_PER_SECOND": "10000",
    "RECONCILIATION_CALLS_PER_SECOND": "10000",
    "OPEN_DEPOSITS_MAX": "100000",
}


def run(examples, role, seed):
    home, problem = install()
    if problem:
        raise Failure("install schemathesis", problem, f"read {shown(toolchain.log('schemathesis'))}")
    with parts.private(STATE, PORTS, "./dev fuzz") as instances:
        service.build(instances)
        found = fuzz(instances, home, {role: PHASES for role in ([role] if role else ROLES)}, examples, seed)
    return 1 if found else 0


def in_test(run, instances):
    """The bounded run of `./dev test`, on the parts that it has running."""
    home, problem = install()
    if problem:
        return run.skip("fuzz", problem)
    started = time.monotonic()
    try:
        found = fuzz(instances, home, PHASES_IN_TEST, EXAMPLES_IN_TEST, SEED)
    except Failure as failure:
        return run.fail("fuzz", f"{failure.step}: {failure.cause}")
    if found:
        first = "\n".join(found[0].splitlines()[:FINDING_LINES])
        return run.fail("fuzz", f"{len(found)} findings, above; ./dev fuzz runs it alone. The first:\n{first}")
    return run.note("fuzz", "ok", time.monotonic() - started)


# -- schemathesis -----------------------------------------------------------------------------------------------------


def install():
    """Where schemathesis is, and why it cannot be had here."""
    return toolchain.from_pypi("schemathesis", HOME / "requirements.txt", python=(3, 11))


def fuzz(instances, home, phases, examples, seed):
    """Every role in turn, in its phases. What was found."""
    with running_service(instances) as up:
        people = People(up)
        common = ["--max-examples", examples, "--seed", seed]
        reports = [fuzz_as(up, home, role, people, ["--phases", of_role, *common]) for role, of_role in phases.items()]
    heading("Fuzz")
    for report in reports:
        found = f"{report.calls:>6} calls {len(report.findings):>4} findings"
        note(f"{report.role:<8} {found}   {duration(report.seconds)}")
    findings = [f"as {report.role}: {finding}" for report in reports for finding in report.findings]
    for finding in findings[:FINDINGS_SHOWN]:
        print(f"\n-- {finding}", flush=True)
    if findings:
        note(f"{len(findings)} findings; all of it is in {shown(STATE / 'logs')}.")
        note("The calls can be repeated against ./dev up, with the access token of somebody with that role as TOKEN.")
    return findings


class Report:
    def __init__(self, role, told, findings, seconds):
        self.role, self.seconds, self.calls = role, seconds, told["test_cases"]["generated"]
        whole = told["complete"] and told["operations"]["tested"] == told["operations"]["total"]
        good = told["exit_code"] == 0 and whole
        self.findings = findings or ([] if good else ["schemathesis did not come to its end, or left operations out"])


def fuzz_as(up, home, role, people, options):
    heading(f"Fuzz as {role}")
    report, log = STATE / f"{role}.json", processes.log_file(STATE, f"fuzz-{role}")
    report.unlink(missing_ok=True)
    url = f"http://127.0.0.1:{up.ports['octoco']}"
    options = [*options, "--report", "json", "--report-json-path", report]
    program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command = [*program, "--config-file", HOME / "schemathesis.toml", "run", *options, f"{url}/openapi.json"]
    ours = {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "120", "FUZZ_URL": url}
    hooks = {"SCHEMATHESIS_HOOKS": str(HOME / "hooks.py"), **people.environment(role)}
    env = {**os.environ, **ours, **hooks}
    started = time.monotonic()
    try:
        run_long(f"calling as {role}", command, log, env=env, cwd=STATE)
    except Failure:
        if not report.exists():
            raise
    return Report(role, json.loads(report.read_text()), findings_of(log, up), time.monotonic() - started)


# -- the service and its people ---------------------------------------------------------------------------------------


@contextmanager
def running_service(instances):
    """The service and the simulator on running parts, without rate limits."""
    heading("Service")
    STATE.mkdir(parents=True, exist_ok=True)
    ports = {name: processes.free_port(port) for name, port in SERVICE_PORTS.items()}
    up = replace(instances, state=STATE, ports={**instances.ports, **ports})
    stop_service()
    try:
        service.prepare(up)
        processes.ensure(STATE, service.serve(up, **keys_of_revio(up), **NO_LIMITS))
        yield up
    finally:
        stop_service()


def keys_of_revio(up):
    """A second key that Revio may sign with, ours, to get past the signature; without openssl nothing does."""
    private, public = signing_key(), STATE / "signing.pub.pem"
    if shutil.which("openssl") is None:
        return {}
    for command in (["genrsa", "-out", private, "2048"], ["rsa", "-in", private, "-pubout", "-out", public]):
        subprocess.run(["openssl", *command], capture_output=True, check=True)
    both = STATE / "revio-keys.pem"
    both.write_text(service.webhook_key_file(up).read_text() + public.read_text())
    return {"REVIO_WEBHOOK_PUBLIC_KEYS_FILE": str(both), "REVIO_COMPANY_PUBLIC_KEYS_FILE": str(public)}


def signing_key():
    return STATE / "signing.pem"


def stop_service():
    for name in ("octoco", "revio-sim"):
        processes.stop(STATE, name)


class People:
    """One of each role, customers with money, and objects of theirs that the calls can be about."""

    def __init__(self, up):
        self.up = up
        self.victims = [self.sign_up("victim") for _ in range(2)]
        held = self.victims[0].open_deposit()
        hold = "held_code = 'gave_up', held_reason = 'to be looked at', held_at = now(), due_at = null"
        self.sql(f"update transactions set {hold} where id = '{held['id']}'")
        self.held = [held["id"]]
        self.packed = time.strftime("%Y-%m", time.gmtime(time.time() - 40 * 86400))
        self.make_dead_mails()
        maker = self.sign_up("finance")
        self.adjustments = [maker.propose(victim.id) for victim in self.victims for _ in range(3)]
        self.journals = [maker.propose_journal(kind) for kind in ("own_funds_in", "settlement") for _ in range(3)]
        self.requests = [maker.ask_to_unfreeze() for _ in range(3)]
        self.statements = [maker.import_statement(number) for number in (1, 2)]
        self.make_machines(self.sign_up("admin"))
        self.make_ready(CLOSED)
        self.months = [maker.close(CLOSED)]

    def sql(self, statement):
        return parts.sql(self.up, statement, "octoco")

    def make_dead_mails(self):
        """Some that did not go out, and one entry of a month that is over, to be packed."""
        mail = "gen_random_uuid(), 'new_device', id, 'dead', now(), now()"
        self.sql(f"insert into mails (id, kind, user_id, state, expires_at, created_at) select {mail} from users")
        entry = f"gen_random_uuid(), '{self.packed}-15', 'system', 'fuzz.planted', 'fuzz', 'planted'"
        self.sql(f"insert into audit_log (id, at, actor, action, object_kind, object_id) values ({entry})")

    def sign_up(self, role):
        person = Person(self.up, role)
        is_staff = role in ("support", "finance", "admin")
        person.begin(withdrawn=demo.DEPOSIT if is_staff else 100)
        if is_staff:
            person.become(role)
        return person

    def make_ready(self, month):
        """A run for each day, the last of which has compared the statements, so that the month can be closed."""
        days = f"generate_series(date '{month}-01', date '{month}-01' + interval '1 month - 1 day', '1 day') as day"
        what = "gen_random_uuid(), 'daily', '{a,b,c}', 'finished', 'epoch', day, day, 'system', day, day"
        columns = "id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at"
        self.sql(f"insert into reconciliation_runs ({columns}) select {what} from {days}")
        run = "(select id from reconciliation_runs where state = 'finished' order by accounting_day desc limit 1)"
        self.sql(f"update statement_files set compared_by = {run}")

    def make_machines(self, admin):
        """Endpoints of webhooks with deliveries, and service accounts with keys."""
        of = "/v1/admin/webhook-endpoints"
        endpoint = {"url": "https://hooks.example.invalid/", "event_types": ["balance.updated"]}
        endpoints = [admin.call("POST", of, endpoint)["id"] for _ in range(4)]
        deliveries = [admin.call("POST", f"{of}/{id}/test")["id"] for id in endpoints]
        of = "/v1/admin/service-accounts"
        account = {"name": "fuzzing", "scopes": ["users.read"]}
        accounts = [admin.call("POST", of, account)["id"] for _ in range(2)]
        keys = [admin.call("POST", f"{of}/{id}/keys", {})["id"] for id in accounts * 4]
        self.machines = {
            "/v1/admin/webhook-endpoints/": endpoints,
            "/v1/admin/webhook-deliveries/": deliveries,
            "/v1/admin/service-accounts/": accounts,
            "/v1/admin/service-account-keys/": keys,
        }

    def break_some(self):
        """Differences of nobody's, which no run looks at: some for each who calls, since what has ended stays so."""
        columns = (
            "id, fingerprint, type, severity, leg, state, currency, expected_minor, actual_minor, since, observed,"
            " first_seen_at, last_seen_at, opened_at, owner, first_run_id, last_run_id"
        )
        what = (
            "gen_random_uuid(), 'fuzzing ' || gen_random_uuid(), 'd1_late', 'high', 'b', 'open', 'ZAR', 100, 0, now(),"
            " 'fuzzing', now(), now(), now(), 'finance', run.id, run.id"
        )
        run = "(select id from reconciliation_runs order by id limit 1) as run"
        return self.sql(
            f"insert into breaks ({columns}) select {what} from {run}, generate_series(1, 6) returning id"
        ).split()

    def environment(self, role):
        """What hooks.py must know."""
        person = self.sign_up(role)
        webhooks = self.sql("select id from webhook_logs limit 20").split()
        runs = self.sql("select id from reconciliation_runs order by report is null limit 20").split()
        users = [victim.id for victim in self.victims]
        objects = {
            "/v1/transactions/": person.transactions,
            "/v1/auth/sessions/": person.other_sessions(),
            "/v1/admin/transactions/": [id for victim in self.victims for id in victim.transactions],
            "/v1/admin/withdrawals/": [victim.transactions[1] for victim in self.victims],
            "/v1/admin/adjustments/": self.adjustments,
            "/v1/admin/journals/": self.journals,
            "/v1/admin/requests/": self.requests,
            "/v1/admin/reconciliation/runs/": runs,
            "/v1/admin/reconciliation/breaks/": self.break_some(),
            "/v1/admin/reconciliation/statements/": self.statements,
            "/v1/admin/periods/": self.months,
            "/v1/deposits/": [person.called_off],
            "/v1/withdrawals/": person.transactions[1:],
            "/v1/bank-accounts/": [person.bank_account],
            "/v1/admin/users/": users,
            "/v1/admin/customers/": users,
            "/v1/admin/mails/": self.sql("select id from mails where state = 'dead' limit 20").split(),
            "/v1/admin/audit/packs/": [self.packed],
            "/v1/admin/webhooks/": webhooks,
            "/v1/admin/held/": self.held,
            **self.machines,
            "bank_account_id": [person.add_bank_account()],
        }
        email, password = ("", "") if role == "nobody" else (person.email, person.password)
        return {
            "FUZZ_EMAIL": email,
            "FUZZ_PASSWORD": password,
            "FUZZ_OBJECTS": json.dumps(objects),
            "FUZZ_SIGNING_KEY": str(signing_key()) if signing_key().exists() else "",
        }


class Person(demo.Customer):
    """Somebody with an account, a paid deposit and a withdrawal: of staff one of all, since they hold no money."""

    def begin(self, withdrawn):
        self.sign_up()
        self.step = "have money"
        deposit = self.open_deposit()
        demo.pay_like_a_person(deposit["checkout_url"], self.failure)
        self.await_completed(deposit)
        self.bank_account = self.add_bank_account()
        self.transactions = [deposit["id"], self.withdraw(withdrawn, self.bank_account)["id"]]
        self.called_off = self.open_deposit()["id"]
        self.call("POST", f"/v1/deposits/{self.called_off}/cancel")

    def other_sessions(self):
        """Ended by the calls, and not the one that they are made with."""
        for _ in range(3):
            self.sign_in()
        sessions = self.call("GET", "/v1/auth/sessions")["data"]
        return [session["id"] for session in sessions if not session["current"]]

    def propose(self, user_id):
        what = {"user_id": user_id, "direction": "credit", "amount": 100, "currency": "ZAR"}
        why = {"counterpart": "equity", "reason": "fuzzing"}
        return self.call("POST", "/v1/admin/adjustments", {**what, **why}, key=True)["id"]

    def propose_journal(self, kind):
        proof = "bank_statement" if kind == "own_funds_in" else "provider_statement"
        evidence = {"kind": proof, "reference": "fuzzing", "sha256": "0" * 64, "date": "2026-01-02"}
        what = {"kind": kind, "amount": 100, "currency": "ZAR", "evidence": evidence, "reason": "fuzzing"}
        return self.call("POST", "/v1/admin/journals", what, key=True)["id"]

    def import_statement(self, number):
        """Of a month that everything was over in; the payment is nobody's and never came: no run finds a break."""
        line = f"{uuid.uuid4()},purchases,expired,ZAR,{number}00.50,{CLOSED}-0{number}"
        lines = f"id,product,status,currency,amount,date\n{line}\n"
        path = f"/v1/admin/reconciliation/statements?source=revio&unit=major&from={CLOSED}-01&to={CLOSED}-31"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "text/csv"}
        url = f"http://127.0.0.1:{self.up.ports['octoco']}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, lines.encode(), headers), timeout=30) as answer:
            return json.load(answer)["id"]

    def close(self, month):
        return self.call("POST", "/v1/admin/periods/close", {"month": month})["month"]

    def ask_to_unfreeze(self):
        frozen = demo.Customer(self.up, "frozen")
        frozen.sign_up()
        self.call("POST", f"/v1/admin/users/{frozen.id}/freeze", {"reason": "fuzzing"})
        return self.call("POST", f"/v1/admin/users/{frozen.id}/unfreeze")["id"]


# -- the report -------------------------------------------------------------------------------------------------------


def findings_of(log, up):
    """The findings as schemathesis words them, each with the call that repeats it, against `./dev up`."""
    text = log.read_text(errors="replace").partition("= SUMMARY =")[0].partition("= WARNINGS =")[0]
    text = re.sub(r"Bearer [\w.-]+", "Bearer $TOKEN", text)
    text = text.replace(f"127.0.0.1:{up.ports['octoco']}", f"127.0.0.1:{service.PORTS['octoco']}")
    blocks = re.split(r"^_{3,} (.+?) _{3,}$", text, flags=re.MULTILINE)
    return [f"{title}\n{body.strip()}" for title, body in zip(blocks[1::2], blocks[2::2])]
