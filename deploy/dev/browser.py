"""A step of `./dev test`, and `./dev browser`: Chromium uses `examples/web`, of another origin, with the real service.

`browser/walk.mjs` drives it and says what must be seen. What is beyond a browser (parts that go and come back, mails)
it wishes for: a line of JSON each way. Screenshots are in `.dev/browser/screens`.
"""

import email
import email.policy
import json
import os
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace

import attack
import parts
import processes
import service
import toolchain
from console import ROOT, Failure, heading, note, shown
from processes import Part

STATE = ROOT / ".dev" / "browser"
SERVICE_PORTS = {"revio-sim": 31090, "octoco": 31080, "operations": 31081, "page": 31173}  # if free
PORTS = {"postgres": 31432, "redis": 31379, "tigerbeetle": 31000, **SERVICE_PORTS}
HOME = ROOT / "deploy" / "dev" / "browser"
EXAMPLE = ROOT / "examples" / "web"
PATIENCE = 15  # seconds that a mail may take
SECONDS = 90  # that all of it may take


def run(filters):
    tools = find_tools()
    with parts.private(STATE, PORTS, "./dev browser") as instances:
        service.build(instances)
        failed, _ = walk(instances, tools, filters)
    return 1 if failed else 0


def in_test(run, instances):
    """On the parts that `./dev test` has running."""
    began = time.monotonic()
    try:
        tools = find_tools()
    except Failure as failure:
        return run.skip("browser", failure.cause.partition("\n")[0])
    try:
        failed, summary = walk(instances, tools)
    except Failure as failure:
        return run.fail("browser", f"{failure.step}: {failure.cause}")
    run.count(summary)
    seconds = time.monotonic() - began
    if seconds > 2 * SECONDS:
        note(f"that took long: {seconds:.0f} s, usually {SECONDS} s at most")
    return run.note("browser", "failed" if failed else "ok", seconds)


@dataclass
class Tools:
    browser: str
    driver: object
    packages: object  # of the example


def find_tools():
    """What it is done with, or a Failure that says what cannot be had here."""
    if shutil.which("npm") is None:
        raise Failure("find npm", "npm missing", "install Node.js 20.19 or newer")
    found = {"driver": toolchain.from_npm("browser", HOME), "packages": toolchain.from_npm("example-web", EXAMPLE)}
    problem = next((problem for _, problem in found.values() if problem), None)
    if problem:
        raise Failure("install npm packages", problem, f"read {shown(toolchain.log('browser'))}")
    return Tools(toolchain.ensure_browser(), **{name: home for name, (home, _) in found.items()})


# -- the page and what is behind it -----------------------------------------------------------------------------------


@contextmanager
def running(instances, tools):
    """The service, the simulator and the built page, which is of another origin but of the same site."""
    heading("Service and page")
    STATE.mkdir(parents=True, exist_ok=True)
    ports = {name: processes.free_port(port) for name, port in SERVICE_PORTS.items()}
    up = replace(instances, state=STATE, ports={**instances.ports, **ports})
    stop_all()
    for kept in service.mail_folder(up).glob("*"):
        kept.unlink()
    try:
        service.prepare(up)
        parts.sql(up, attack.QUIET, "octoco")
        processes.ensure(STATE, serve(up))
        build_page(up, tools)
        processes.ensure(STATE, page(up, tools))
        note(", ".join(f"{name} on {port}" for name, port in ports.items()))
        yield up
    finally:
        stop_all()


def stop_all():
    for name in ("page", "octoco", "revio-sim"):
        processes.stop(STATE, name)


def origin(up, host="127.0.0.1"):
    return f"http://{host}:{up.ports['page']}"


def serve(up, **more):
    """`localhost` is a known origin too, so that only its being another site can be why it is refused."""
    ours = {"CORS_ORIGINS": f"{origin(up)},{origin(up, 'localhost')}", "FRONTEND_URL": origin(up)}
    return service.serve(up, **ours, **more)


def work():
    return STATE / "web"


def build_page(up, tools):
    """As `npm run build` does, with types made of the document of this very program."""
    copied = shutil.ignore_patterns("node_modules", "dist", "schema.d.ts")
    shutil.rmtree(work(), ignore_errors=True)
    shutil.copytree(EXAMPLE, work(), ignore=copied)
    (work() / "node_modules").symlink_to(tools.packages / "node_modules")
    document = subprocess.run([service.binary(up, "octoco"), "openapi"], capture_output=True, text=True, check=True)
    (work() / "openapi.json").write_text(document.stdout)
    for words in (["openapi-typescript", "openapi.json", "--output", "src/schema.d.ts"], ["tsc"], ["vite", "build"]):
        in_page(up, words)


def in_page(up, words):
    program = work() / "node_modules" / ".bin" / words[0]
    answer = subprocess.run([program, *words[1:]], cwd=work(), env=page_env(up), capture_output=True, text=True)
    if answer.returncode != 0:
        raise Failure(f"build examples/web: {words[0]}", answer.stdout + answer.stderr, "correct examples/web")


def page_env(up):
    return {**os.environ, "VITE_API_URL": f"http://127.0.0.1:{up.ports['octoco']}"}


def page(up, tools):
    port = str(up.ports["page"])
    command = ["node", tools.packages / "node_modules" / "vite" / "bin" / "vite.js", "preview", work(), "--port", port]
    return Part(name="page", command=command, healthy=lambda: processes.answers(int(port)), env=page_env(up))


# -- the walk ---------------------------------------------------------------------------------------------------------


def walk(instances, tools, filters=()):
    """How many things were not as they must be, and the line that tells all of it."""
    with running(instances, tools) as up:
        heading("Browser")
        hands = Hands(up, instances)
        told = {
            "api": f"http://127.0.0.1:{up.ports['octoco']}",
            "page": origin(up),
            "other_site": origin(up, "localhost"),
            "browser": tools.browser,
            "filters": list(filters),
            "screens": str(toolchain.fresh_folder(STATE / "screens")),
        }
        summary = "test result: FAILED. 0 passed; 1 failed; 0 ignored"
        for line in conversation(tools, told, hands):
            print(line, flush=True)
            summary = line if line.startswith("test result:") else summary
    return not summary.startswith("test result: ok"), summary


def conversation(tools, told, hands):
    """Every line of the walk that is not a wish."""
    script = shutil.copytree(HOME, STATE / "driver", dirs_exist_ok=True)
    modules = script / "node_modules"
    modules.unlink(missing_ok=True)
    modules.symlink_to(tools.driver / "node_modules")
    command = ["node", str(script / "walk.mjs"), json.dumps(told)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=STATE, **pipes) as child:
        try:
            for line in child.stdout:
                if not line.startswith("wish "):
                    yield line.rstrip()
                    continue
                wish = json.loads(line.removeprefix("wish "))
                child.stdin.write(json.dumps(hands.fulfil(wish)) + "\n")
                child.stdin.flush()
        finally:
            child.terminate()  # its browser goes with it


class Hands:
    """What the walk wishes for beyond the browser."""

    def __init__(self, up, instances):
        self.up, self.instances, self.keys = up, instances, {}

    def fulfil(self, wish):
        try:
            return {"granted": getattr(self, wish.pop("what"))(**wish)}
        except Failure as failure:
            return {"failed": f"{failure.step}: {failure.cause}"}

    def stop(self, part):
        processes.stop(self.state_of(part), part)

    def start(self, part, new_keys=False):
        """With new keys no access token of before is good any more, as if each had run out; sessions go on."""
        if part == "redis":
            new = parts.redis(self.instances)
        else:
            self.keys = self.other_signing_key() if new_keys else self.keys
            new = serve(self.up, **self.keys)
        processes.ensure(self.state_of(part), new)

    def state_of(self, part):
        return self.instances.state if part == "redis" else STATE

    def other_signing_key(self):
        answer = subprocess.run([service.binary(self.up, "octoco"), "keys", "generate"], capture_output=True, text=True)
        lines = dict(line.split("=", 1) for line in answer.stdout.splitlines() if line.startswith("JWT_PRIVATE_KEY="))
        return {name: json.loads(value) for name, value in lines.items()}

    def mail(self, to, about):
        """The text of a mail to somebody with these words in it; waits until there is one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for file in service.mail_folder(self.up).glob("*.eml"):
                mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                text = mail.get_body().get_content()
                if to in mail["To"] and about in text:
                    return text
            time.sleep(0.1)
        raise Failure("wait for a mail", f"none came to {to} in {PATIENCE} s", "look at the log of octoco")

    def metric(self, name):
        """The value of a metric with its labels, as `/metrics` writes it; 0 where it never counted."""
        url = f"http://127.0.0.1:{self.up.ports['operations']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)
