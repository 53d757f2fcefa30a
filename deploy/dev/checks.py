"""`./dev test` and `./dev prepare`: what must hold before a change is good, against real parts that start empty."""

import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import attack
import bench_load
import browser
import dashboards
import fuzz
import monitoring_checks
import openapi
import parts
import toolchain
import typescript
from console import ROOT, Failure, duration, heading, note

STATE = ROOT / ".dev" / "test"
PORTS = {"postgres": 25432, "redis": 26379, "tigerbeetle": 23000, **monitoring_checks.PORTS}
QUERIES = ROOT / ".sqlx"
QUERIES_GOOD = ROOT / ".dev" / "queries.sha256"
PYTHON = ("dev", "deploy/dev", "bench")

TEST_RESULT = re.compile(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored")
TEST_FAILED = re.compile(r"^test .+ \.\.\. FAILED")


@dataclass
class Result:
    title: str
    outcome: str  # ok, failed, or why it was skipped
    seconds: float = 0.0


class Run:
    """The steps of one run; a failed one does not stop the others, so that a developer sees everything at once."""

    def __init__(self):
        self.results, self.reasons = [], []
        self.passed = self.failed = self.skipped = 0

    def step(self, title, *command, env=None):
        """Runs one command, showing what it prints and counting test results in it. True when it succeeded."""
        heading(title)
        failed_before, started = self.failed, time.monotonic()
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **toolchain.cargo_env(), **colour(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            for line in child.stdout:
                sys.stdout.write(line)
                self.count(line)
        except BaseException:
            child.terminate()
            child.wait()
            raise
        ok = child.wait() == 0
        if not ok and self.failed == failed_before:
            self.failed += 1
        self.note(title, "ok" if ok else "failed", time.monotonic() - started)
        return ok

    def count(self, line):
        found = TEST_RESULT.match(line)
        if found:
            passed, failed, ignored = map(int, found.groups())
            self.passed += passed
            self.failed += failed
            self.skipped += ignored
        if TEST_FAILED.match(line):
            self.reasons.append(line.strip())

    def note(self, title, outcome, seconds=0.0):
        self.results.append(Result(title, outcome, seconds))
        note(f"{title}: {outcome}, {duration(seconds)}" if seconds else f"{title}: {outcome}")

    def skip(self, title, why):
        heading(title)
        self.note(title, f"skipped: {why}")

    def fail(self, title, why):
        self.failed += 1
        self.note(title, "failed")
        note(why)
        self.reasons.append(f"{title}: {why}")

    def summary(self):
        """What failed, and why, again: whoever has only the end of a long output needs no more."""
        if self.reasons:
            heading("Failed")
            for reason in self.reasons:
                note(reason)
        heading("Summary")
        for result in self.results:
            print(f"   {result.title:<28}{result.outcome:<28}{duration(result.seconds) if result.seconds else '':>8}")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)


def colour():
    return {"CARGO_TERM_COLOR": "always"} if sys.stdout.isatty() else {}


# -- commands ---------------------------------------------------------------------------------------------------------


def test(filters):
    """All checks, or only the tests that match. The exit code."""
    run = Run()
    try:
        with parts.private(STATE, PORTS, "./dev test") as instances:
            parts.ensure_database(instances, "octoco_test")
            if not filters:
                check_all_but_tests(run, instances)
            cargo_test = ["cargo", "test", "--workspace", "--locked"]
            if run.step("build", *cargo_test, "--no-run"):
                migrate_template(instances)
                run.step("tests", *cargo_test, "--no-fail-fast", "--", *filters, env=test_env(instances))
                if not filters:
                    typescript.in_test(run)
                    openapi.in_test(run)
                    fuzz.in_test(run, instances)
                    attack.in_test(run, instances)
                    bench_load.in_test(run, instances)
                    browser.in_test(run, instances)
                    monitoring_checks.in_test(run, instances)
                    dashboards.in_test(run)
    except Failure as failure:
        failure.show()
        run.failed += 1
    run.summary()
    return 1 if run.failed else 0


def check_all_but_tests(run, instances):
    run.step("format", "cargo", "fmt", "--all", "--check")
    lint_and_compare_queries(run, instances)
    run.step("docs", "cargo", "doc", "--locked", *TO_DOCUMENT, env={"RUSTDOCFLAGS": "-D warnings"})
    check_python(run)
    check_dependencies(run)
    optional(run, "cargo-machete", "cargo", "machete")


# With examples, libraries have the features of the other steps; without, many would be compiled once more for this one.
TO_DOCUMENT = ("--workspace", "--lib", "--bin", "bench", "--examples", "--no-deps", "--document-private-items")
ALL_TARGETS = ("--workspace", "--all-targets", "--locked")
CLIPPY = ("--", "-D", "warnings")


def check_python(run):
    home, problem = toolchain.from_pypi("ruff", ROOT / "deploy" / "dev" / "ruff.txt")
    if problem:
        run.skip("ruff", problem)
    elif run.step("ruff", str(home / "bin" / "ruff"), "check", *PYTHON):
        run.step("ruff format", str(home / "bin" / "ruff"), "format", "--check", *PYTHON)


def prepare():
    """Writes `.sqlx` anew: what each SQL query takes and gives, so that a build needs no database."""
    with parts.private(STATE, PORTS, "./dev prepare") as instances:
        written = toolchain.fresh_folder(STATE / "sqlx")
        if not check_queries(Run(), instances, written, "check"):
            return 1
        shutil.rmtree(QUERIES, ignore_errors=True)
        shutil.copytree(written, QUERIES)
    note(f"wrote {len(names(QUERIES))} queries to .sqlx: commit them with your change")
    return 0


def check_dependencies(run):
    """The policy of deny.toml; known vulnerabilities only where RustSec's database can be had, which is on GitHub."""
    if optional(run, "cargo-deny", "cargo", "deny", "--locked", "check", "bans", "licenses", "sources"):
        fetch = ["cargo", "deny", "--locked", "fetch", "db"]
        if subprocess.run(fetch, cwd=ROOT, capture_output=True, check=False).returncode == 0:
            run.step("advisories", "cargo", "deny", "--locked", "check", "--disable-fetch", "advisories")
        else:
            run.skip("advisories", "no database")


def optional(run, tool, *command):
    """A check whose tool a developer may lack. Whether it is there."""
    if shutil.which(tool) is None:
        run.skip(tool, "not installed")
        return False
    run.step(tool, *command)
    return True


def test_env(instances):
    return {
        "DATABASE_URL": instances.database_url("octoco_test"),
        "TEST_REDIS_URL": instances.redis_url(),
        "TEST_TIGERBEETLE_ADDRESSES": instances.tigerbeetle_address(),
        "TIGERBEETLE_BIN": str(toolchain.tigerbeetle()),
    }


# -- queries ----------------------------------------------------------------------------------------------------------


def lint_and_compare_queries(run, instances):
    """Clippy compiles every query against a real, migrated database; what it learns must be what is committed."""
    state = state_of_queries()
    if QUERIES_GOOD.exists() and QUERIES_GOOD.read_text() == state:
        run.step("clippy", "cargo", "clippy", *ALL_TARGETS, *CLIPPY)
        return run.note("committed queries", "ok, as they were")
    written = toolchain.fresh_folder(STATE / "sqlx")
    try:
        compiled = check_queries(run, instances, written, "clippy", *CLIPPY)
    except Failure as failure:
        return run.fail("clippy", f"{failure.step}: {failure.cause}")
    different = differences(written, QUERIES) if compiled else []
    if different:
        return run.fail("committed queries", f"{len(different)} differ, e.g. {different[0]}: run ./dev prepare")
    if compiled:
        run.note("committed queries", "ok")
        QUERIES_GOOD.write_text(state)
    return None


def state_of_queries():
    """Whatever the descriptions of the queries come from, and they themselves."""
    patterns = ("Cargo.lock", "migrations/*.sql", ".sqlx/*.json", "src/**/*.rs", "tests/**/*.rs")
    digest = hashlib.sha256(str(toolchain.postgres_bin()).encode())
    for file in sorted(file for pattern in patterns for file in ROOT.glob(pattern)):
        digest.update(f"{file}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def check_queries(run, instances, written, cargo_command, *lints):
    """One compilation with a database, in which sqlx writes each query's description into a folder."""
    migrate(instances, "octoco_prepare")
    env = {
        "DATABASE_URL": instances.database_url("octoco_prepare"),
        "SQLX_OFFLINE": "false",
        "SQLX_OFFLINE_DIR": str(written),
    }
    with touched(crate_roots()):
        return run.step(cargo_command, "cargo", cargo_command, *ALL_TARGETS, *lints, env=env)


def migrate(instances, database):
    parts.ensure_database(instances, database)
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(migration)]
        answer = parts.postgres_tool("psql", *options, instances.database_url(database))
        if answer.returncode != 0:
            raise Failure("apply migrations", answer.stderr, f"correct {migration.relative_to(ROOT)}")


def migrate_template(instances):
    """`#[sqlx::test]` makes a database for each test, and PostgreSQL makes it of `template1`: that is migrated once,
    and not each of them. In the table, which is its own, sqlx finds that nothing is left to be done."""
    migrate(instances, "template1")
    statements = [
        """set role octoco;
           create table _sqlx_migrations (version bigint primary key, description text not null,
               installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
               execution_time bigint not null)"""
    ]
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        version, _, name = migration.stem.partition("_")
        checksum = hashlib.sha384(migration.read_bytes()).hexdigest()
        values = f"{int(version)}, '{name.replace('_', ' ')}', true, '\\x{checksum}', 0"
        columns = "version, description, success, checksum, execution_time"
        statements.append(f"insert into _sqlx_migrations ({columns}) values ({values})")
    parts.sql(instances, "; ".join(statements), "template1")


def crate_roots():
    """Cargo does not know that a query depends on the database, so these look changed for one compilation."""
    patterns = ("src/lib.rs", "src/main.rs", "tests/*.rs", "tests/*/main.rs")
    return [root for pattern in patterns for root in ROOT.glob(pattern)]


@contextmanager
def touched(files):
    before = [(file, file.stat()) for file in files]
    for file in files:
        file.touch()
    try:
        yield
    finally:
        for file, status in before:
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def names(folder):
    return {path.name for path in folder.glob("query-*.json")}


def differences(left, right):
    _, different, missing = filecmp.cmpfiles(left, right, names(left) | names(right), shallow=False)
    return sorted(different + missing)
