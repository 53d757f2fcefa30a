"""What schemathesis must know beyond the document: how to sign in, which objects there are, what our formats mean.

`../fuzz.py` says in the environment where the service is (FUZZ_URL), as whom to call (FUZZ_EMAIL, FUZZ_PASSWORD; empty:
as nobody), with which key to sign as Revio (FUZZ_SIGNING_KEY), and which objects are there (FUZZ_OBJECTS, JSON: how a
path starts -> ids).
"""

import base64
import datetime
import json
import os
import re
import string
import subprocess
import urllib.request
import uuid

import requests
import schemathesis
from hypothesis import strategies as st

URL, EMAIL, PASSWORD = (os.environ[name] for name in ("FUZZ_URL", "FUZZ_EMAIL", "FUZZ_PASSWORD"))
SIGNING_KEY = os.environ["FUZZ_SIGNING_KEY"]
OBJECTS = json.loads(os.environ["FUZZ_OBJECTS"])

MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])", re.ASCII)
HOST = re.compile(r"(https://(?::?@)?)(?:\[[^]]*\]|[^/?#:@\\]+)(?=[/?:]|$)", re.IGNORECASE)
LETTERS = string.ascii_lowercase + string.digits


# -- formats ----------------------------------------------------------------------------------------------------------


def addresses():
    """E-mail addresses as people have them: the service refuses quotes, comments and display names."""
    local = st.text(LETTERS, min_size=1, max_size=30)
    return st.builds("{}@{}.{}".format, local, local, st.sampled_from(["com", "co.za", "example"]))


def passwords():
    """Long enough and on no list of common ones: a shape cannot say the latter."""
    return st.text(string.ascii_letters + string.digits, min_size=12, max_size=40).map("kumquat-".__add__)


def cursors():
    """The lists that are ordered by id: any id is a place in them."""
    return st.uuids().map(lambda id: base64.urlsafe_b64encode(id.bytes).rstrip(b"=").decode())


KINDS = ("deposit", "withdrawal", "refund", "chargeback", "chargeback_reversal", "adjustment")
STATES = (
    "initiated",
    "awaiting_payment",
    "reserved",
    "awaiting_approval",
    "submitting",
    "submitted",
    "completed",
    "failed",
    "rejected",
    "expired",
    "cancelled",
)
ZONES = ("UTC", "Africa/Johannesburg", "Europe/Berlin", "Asia/Kolkata")
RANGES = ("bytes=0-9", "bytes=10-", "bytes=-5", "bytes=0-1,3-4", "bytes=9999999-")
COLUMNS = ("created_at", "updated_at", "completed_at", "amount", "kind", "state")


def lists_of(names, signs=("",)):
    """Some of the names with commas between, each with one of the signs before it."""
    chosen = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
    signed = chosen.flatmap(
        lambda some: st.tuples(*(st.sampled_from(signs).map(lambda sign, n=n: sign + n) for n in some))
    )
    return signed.map(",".join)


def moments():
    """Dates and times of the years that there can be something in."""
    years = {"min_value": datetime.datetime(2020, 1, 1), "max_value": datetime.datetime(2026, 1, 1)}
    times = st.datetimes(**years)
    return st.one_of(times.map(lambda at: at.date().isoformat()), times.map(lambda at: at.isoformat() + "Z"))


schemathesis.openapi.format("email", addresses())
schemathesis.openapi.format("password", passwords())
schemathesis.openapi.format("cursor", cursors())
schemathesis.openapi.format("iso-4217", st.just("ZAR"))
schemathesis.openapi.format("transaction-kinds", lists_of(KINDS))
schemathesis.openapi.format("transaction-states", lists_of(STATES))
schemathesis.openapi.format("transaction-sort", lists_of(COLUMNS, ("", "-")))
schemathesis.openapi.format("date-or-time", moments())
schemathesis.openapi.format("time-zone", st.sampled_from(ZONES))
schemathesis.openapi.format("range", st.sampled_from(RANGES))
schemathesis.openapi.format("etag", st.text(LETTERS, min_size=1, max_size=40).map('"{}"'.format))


# Files of Revio's and the bank's, in place of some of the texts that the document allows, which are no such file.
FILES = ("id,product,currency,amount,date\n", "Date;Description;Amount;Currency\r\n02/03/2026;x;1 500,00;ZAR\r\n")


@schemathesis.serializer("text/csv")
def csv(context, value):
    if not isinstance(value, str):
        return json.dumps(value).encode()
    which = len(value) % 4
    return (FILES[which] if which < len(FILES) else value).encode(errors="replace")


# -- who calls --------------------------------------------------------------------------------------------------------


def login():
    """The answer of a login and its cookies."""
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    request = urllib.request.Request(f"{URL}/v1/auth/login", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        cookies = [line.partition(";")[0].partition("=") for line in answer.headers.get_all("Set-Cookie")]
        return json.load(answer), {name: value for name, _, value in cookies}


class Session:
    """One access token for all calls; a new one when a call has ended its session."""

    token = None

    def get(self, case, context):
        if EMAIL and Session.token is None:
            Session.token = login()[0]["access_token"]
        return Session.token

    def set(self, case, token, context):
        if token:
            case.headers["Authorization"] = f"Bearer {token}"


class Cookie:
    """A refresh token works once, so each call gets one of its own."""

    def get(self, case, context):
        return login()[1]["refresh_token"] if EMAIL else None

    def set(self, case, cookie, context):
        if cookie:
            case.cookies["refresh_token"] = cookie


def has_scheme(name):
    def check(context):
        security = context.operation.definition.raw.get("security") or []
        return any(name in scheme for scheme in security)

    return check


schemathesis.auth(refresh_interval=None).apply_to(has_scheme("bearer"))(Session)
schemathesis.auth(refresh_interval=None).apply_to(has_scheme("refresh_cookie"))(Cookie)


class Signature(requests.auth.AuthBase):
    """As Revio signs: the bytes that are really sent."""

    def __call__(self, request):
        if SIGNING_KEY:
            body = request.body or b""
            body = body.encode() if isinstance(body, str) else body
            sign = ["openssl", "dgst", "-sha256", "-sign", SIGNING_KEY]
            signature = subprocess.run(sign, input=body, capture_output=True, check=True).stdout
            request.headers["X-Signature"] = base64.b64encode(signature).decode()
        return request


schemathesis.auth.set_from_requests(Signature()).apply_to(has_scheme("revio_signature"))


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code == 401 or case.path == "/v1/auth/logout":
        Session.token = None


# -- what a shape cannot say ------------------------------------------------------------------------------------------

# Refusals of what the document allows, that are meant. An amount is written without a fraction, since 725.0 is how
# rounding starts, and JSON Schema has no word for that; a cursor is only what an answer has given, and a token only
# what a mail, an export's link or an admin has.
MEANT = (
    "must be a whole number",
    # The books have no other days, and none that is to come.
    "must be a date from 2000 to 2100",
    "has not come yet",
    "must be a date as in 2026-03-01, and not to come",
    # What is named must be there.
    "must be somebody of staff",
    # What was booked is named, as one of two.
    "must name the finished journal",
    "must be a journal, or adjustment_id a correction,",
    # A word of an object's is its id.
    "must be the id of Revio's object",
    # Each filter has its length; together they may be too much for a link. Of a URL counts what it is kept as.
    "is too long",
    # So much is said in words: no pattern counts words or compares them.
    "names a column twice",
    "has more than 8 words",
    # Which passwords everybody tries stands on a list.
    "is one of the first that anybody would try",
    # What is held is not resolved in every way, and a break is accepted with the note that it was asked for with.
    "cannot be release",
    "cannot be dismiss",
    "is another one than it was asked for with",
    # Each account is right; one customer has so many.
    "you have 50 bank accounts",
    # An item in suspense is named where one is cleared, and it must be there.
    "must name the item in suspense",
    "is no item in suspense",
    # A month of the log that is over, and a day that its month has.
    "is not over yet",
    "must be a month as in 2026-03, or a day",
    # A transaction of the customer's whom the correction is for.
    "is no transaction of this customer",
    # A password with a new name: as below.
    "must be given with full_name",
    # Which code belongs to which bank stands in /v1/config.
    "is the universal branch code of another bank",
    "of a South African bank has six digits",
    # What a machine may hold at once, and how many endpoints there are.
    "there are 20 endpoints",
    "the machine that made it may not keep endpoints",
    "there are 100 service accounts",
    "the service account has 10 valid keys",
    # A password or a code: a schema could say so, and clients made from it would be worse.
    "or password must be given",
)


# One body serves every kind of journal: "is not for result", "must be bank or provider_balance for suspense_in".
OF_A_KIND = re.compile(r"(account|user_id|item_id|evidence\.kind): .* for [a-z_]+")


def is_meant(error):
    field, message = error["field"], error["message"]
    # Two fields that are each right: a schema cannot compare them.
    if error["code"] == "conflict":
        return True
    # A wait and what is waited for are given together.
    if field in ("wait", "state_not") and message == "is required":
        return True
    unknown = field in ("cursor", "token", "enrolment_token", "after")
    return unknown or message.startswith(MEANT) or OF_A_KIND.fullmatch(f"{field}: {message}") is not None


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if failure.code != "ST202":
        return True
    # The limits of calls are off; what is left is how many files one user may read at once.
    if response.status_code == 429:
        return False
    # No schema says what a file must hold.
    if b'"statement_unusable"' in response.content:
        return False
    try:
        errors = json.loads(response.content)["errors"]
    except (ValueError, KeyError):
        return True
    return not errors or not all(is_meant(error) for error in errors)


# -- what waits -----------------------------------------------------------------------------------------------------

send_whole = requests.adapters.HTTPAdapter.send


def send(adapter, request, **how):
    """What has no end is told by its beginning."""
    answer = send_whole(adapter, request, **how)
    if answer.headers.get("Content-Type") == "text/event-stream":
        answer._content = next(answer.iter_content(None), b"")
        answer._content_consumed = True
        answer.raw.close()
    return answer


requests.adapters.HTTPAdapter.send = send


@schemathesis.hook
def map_query(context, query):
    """A long poll that is right waits for a second."""
    if query and str(query.get("wait")) in map(str, range(2, 31)):
        query["wait"] = 1
    return query


# -- of every call, in each phase -------------------------------------------------------------------------------------


def example_key(operation):
    """The document's example of a key, where the operation takes one."""
    parameters = operation.definition.raw.get("parameters") or []
    key = next((parameter for parameter in parameters if parameter.get("name") == "Idempotency-Key"), None)
    return key and key["schema"].get("example")


@schemathesis.hook
def before_call(context, case, kwargs):
    # Each act has a key of its own: of one that came before with another body nothing else is looked at.
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if key is not None and key == example_key(case.operation):
        case.headers = case.headers.copy()
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    # Webhooks of ours go nowhere: nobody has this name.
    url = case.body.get("url") if isinstance(case.body, dict) else None
    if isinstance(url, str) and (host := HOST.match(url)):
        case.body = {**case.body, "url": f"{host[1]}hooks.example.invalid{url[host.end() :]}"}


# -- which objects ----------------------------------------------------------------------------------------------------


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Every other id that is one becomes the id of an object that is there, and so does every other month."""
    path = context.operation.path if context.operation and path_parameters else ""
    known = next((ids for start, ids in OBJECTS.items() if path.startswith(start)), None)
    if known and is_uuid(path_parameters.get("id")):
        number = uuid.UUID(path_parameters["id"]).int
        if number % 2:
            path_parameters["id"] = known[number // 2 % len(known)]
    month = path_parameters.get("month") if path_parameters else None
    if known and isinstance(month, str) and MONTH.fullmatch(month) and int(month[-1]) % 2:
        path_parameters["month"] = known[0]
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and is_uuid(body.get("bank_account_id")) and uuid.UUID(body["bank_account_id"]).int % 2:
        body["bank_account_id"] = OBJECTS["bank_account_id"][0]
    return body


def is_uuid(value):
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False
