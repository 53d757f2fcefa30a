"""`./dev attack`: ten attacks by insiders and from the network on a service of its own; each must fail.

    insiders   attack_insiders.py: one admin alone, splitting below a threshold, an audit log to fill
    networks   attack_networks.py: networks of addresses, one mailbox, forged and slow bodies, deposits without end
    silence    attack_silence.py: PostgreSQL falls silent behind a proxy, for a second process of the service

Everything is bounded, stays on this machine and is judged from outside: by answers, by the simulated Revio's logs, and
by the sizes of tables. Each attack says what it tried, what it got, and whether the service stood. An attack that could
not be made is no pass.
"""

import resource
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

import attack_field
import attack_insiders
import attack_networks
import attack_silence
import parts
import processes
import service
from console import ROOT, Failure, heading, note, shown

STATE = ROOT / ".dev" / "attack"
SERVICE_PORTS = {"revio-sim": 26090, "octoco": 26080, "operations": 26081, attack_silence.NAME: 26180}  # if free
PORTS = {"postgres": 26432, "redis": 26379, "tigerbeetle": 26000, **SERVICE_PORTS}
OPEN_FILES = 4096  # of this process, and of those that it starts
SECONDS = 60  # that all ten may take in `./dev test`

ATTACKS = (
    attack_insiders.admin_alone,
    attack_insiders.splitting,
    attack_networks.guesses_from_one_network,
    attack_networks.mails_to_one_mailbox,
    attack_networks.forged_webhooks,
    attack_networks.slow_bodies,
    attack_networks.slow_customers,
    attack_networks.deposits_without_end,
    attack_silence.silent_postgres,
    attack_insiders.long_refusals,
)
ASIDE = attack_silence.silent_postgres  # it waits most of the time, on a process that the others do not touch
BESIDE = threading.Lock()  # one line at a time

# In `./dev test` others were here before, at another Revio: what they have left is not gone on with.
QUIET = """update transactions set due_at = null; update webhook_logs set due_at = null;
    delete from mails where state = 'pending'"""


@dataclass
class Verdict:
    title: str
    tried: str
    got: str = "nothing: it was not made"
    stood: bool = False
    seconds: float = 0.0


def run(small):
    with parts.private(STATE, PORTS, "./dev attack") as instances:
        service.build(instances)
        fallen = attack(instances, small)
    return 1 if fallen else 0


def in_test(run, instances):
    """The small one of `./dev test`, on the parts that it has running."""
    started = time.monotonic()
    try:
        fallen = attack(instances, small=True)
    except Failure as failure:
        return run.fail("attack", f"{failure.step}: {failure.cause}")
    seconds = time.monotonic() - started
    if fallen:
        return run.fail("attack", f"{fallen} of {len(ATTACKS)} attacks succeeded, above; ./dev attack runs them alone")
    if seconds > 2 * SECONDS:
        note(f"that took long: {seconds:.0f} s, usually {SECONDS} s")
    return run.note("attack", "ok", seconds)


def attack(instances, small):
    """All ten. How many succeeded, or could not be made."""
    allow_many_files()
    with running_service(instances) as up:
        heading("Attacks")
        aside = threading.Thread(target=make, args=(ASIDE, up, small, verdicts := {}), daemon=True)
        aside.start()
        for each in ATTACKS:
            if each is not ASIDE:
                make(each, up, small, verdicts)
        aside.join()
    fallen = [each for each in ATTACKS if not verdicts[each].stood]
    heading("Verdict")
    for number, each in enumerate(ATTACKS, 1):
        verdict = verdicts[each]
        word = "stood" if verdict.stood else "FELL"
        note(f"{number:>2}  {word:<6} {verdict.title:<44} {verdict.seconds:5.1f} s")
    if fallen:
        note(f"{len(fallen)} of {len(ATTACKS)} attacks succeeded; the logs are in {shown(STATE / 'logs')}")
    return len(fallen)


def make(one, up, small, verdicts):
    """One attack, whatever becomes of it."""
    title, tried = (" ".join(line.split()) for line in one.__doc__.split("\n\n"))
    verdict = verdicts[one] = Verdict(title.rstrip("."), tried)
    began = time.monotonic()
    try:
        verdict.got, verdict.stood = one(attack_field.Field(up, small))
    except Failure as failure:
        verdict.got = f"{failure.step}: {failure.cause.strip()}"
    except Exception as error:  # what an attack's own mistake leaves unproven is not proven
        verdict.got = f"the attack itself failed: {type(error).__name__}: {error}"
    verdict.seconds = time.monotonic() - began
    with BESIDE:
        note(f"{ATTACKS.index(one) + 1:>2}  {verdict.title}")
        note(f"    tried  {verdict.tried}")
        note(f"    got    {verdict.got}")
        note(f"    {'pass' if verdict.stood else 'FAIL':<6} {verdict.seconds:.1f} s")


def allow_many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def running_service(instances):
    """The service and the simulator on running parts, without what an earlier run has left there."""
    heading("Service")
    STATE.mkdir(parents=True, exist_ok=True)
    ports = {name: processes.free_port(port) for name, port in SERVICE_PORTS.items()}
    up = replace(instances, state=STATE, ports={**instances.ports, **ports})
    stop_service()
    for kept in service.mail_folder(up).glob("*"):
        kept.unlink()
    try:
        service.prepare(up)
        parts.sql(up, QUIET, "octoco")
        processes.ensure(STATE, service.serve(up, **attack_field.SETTINGS))
        note(", ".join(f"{name} on {port}" for name, port in ports.items()))
        yield up
    finally:
        stop_service()


def stop_service():
    for name in (attack_silence.NAME, "octoco", "revio-sim"):
        processes.stop(STATE, name)
