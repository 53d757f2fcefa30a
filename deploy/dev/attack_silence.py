"""The attack on what the service stands on: PostgreSQL's peer falls silent. Part of `./dev attack` (attack.py).

A process of the service of its own reaches PostgreSQL through a proxy in this process. Then the proxy forwards nothing
more, in either direction, and closes nothing, as a network does that lost its way. What was connected then stays silent
for ever; when the way is back only new connections find it.
"""

import selectors
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import processes
import service
from attack_field import SETTINGS, Field, counted, until

NAME = "octoco-silent"
CALLS = 40  # more than a process has connections
NOTICED = 15  # seconds until /readyz has to say so
SILENT = 14  # seconds
BACK = 60  # seconds until everything is as before
STUCK = 30  # seconds that a statement of the service may go on at the most


def silent_postgres(field):
    """PostgreSQL falls silent in the middle of everything.

    40 statements are on their way when the network to PostgreSQL swallows everything; later it works again
    """
    proxy = Proxy(field.up.ports["postgres"])
    ports = {"octoco": field.up.ports[NAME], "operations": processes.free_port(26_181)}
    up = replace(field.up, ports={**field.up.ports, **ports})
    person = field.customer("patient")
    try:
        start(up, proxy, f"http://127.0.0.1:{field.port}")
        away = Field(up, field.small)
        here = [status for status, _ in away.many([lambda: me(away, person)] * 5)]
        waiting = threading.Thread(target=away.many, args=([lambda: me(away, person)] * CALLS, CALLS), daemon=True)
        with holding_up(field):
            waiting.start()
            time.sleep(0.7)
            proxy.silent.set()
        began = time.monotonic()
        noticed = until(NOTICED, lambda: not service.is_ready(up.ports["octoco"]))
        took = time.monotonic() - began
        time.sleep(max(0.0, SILENT - took))
        proxy.forget()
        came_back = time.monotonic()
        back = until(BACK, lambda: is_well(away, person, up))
        after = time.monotonic() - came_back
        waiting.join(timeout=20)
        stuck = int(field.sql(long_statements()))
    finally:
        processes.stop(field.up.state, NAME)
        proxy.close()
    got = (
        f"before: {counted(here)}; /readyz {'503' if noticed else 'still 200'} after {took:.1f} s; well again "
        f"{f'{after:.1f} s' if back else 'never, in ' + str(BACK) + ' s,'} after the network; {stuck} statements stuck"
    )
    return got, set(here) == {200} and noticed and back and stuck == 0 and not waiting.is_alive()


def start(up, proxy, known_as):
    """Without background tasks: what is due is the other process's, whose tokens it takes."""
    url = up.database_url("octoco").replace(f":{up.ports['postgres']}/", f":{proxy.port}/")
    part = service.serve(up, **SETTINGS, DATABASE_URL=url, PUBLIC_URL=known_as)
    processes.ensure(up.state, replace(part, name=NAME, command=[*part.command, "--without-worker"]))


@contextmanager
def holding_up(field):
    """For a moment nobody reads who anybody is: what asks meanwhile is on its way when it is cut off."""
    statement = "lock table users in access exclusive mode; select pg_sleep(1.5)"
    locked = threading.Thread(target=field.sql, args=(statement,), daemon=True)
    locked.start()
    time.sleep(0.3)
    try:
        yield
    finally:
        locked.join()


def me(field, person):
    return field.call("GET", "/v1/me", None, person.token, person.address, timeout=40)


def is_well(field, person, up):
    """Ready, and ten calls at once are answered as they were before."""
    if not service.is_ready(up.ports["octoco"]):
        return False
    return {status for status, _ in field.many([lambda: me(field, person)] * 10, threads=10)} == {200}


def long_statements():
    return (
        "select count(*) from pg_stat_activity where usename = 'octoco' and backend_type = 'client backend'"
        f" and state <> 'idle' and now() - query_start > interval '{STUCK} s'"
    )


class Proxy:
    """Forwards connections to PostgreSQL until it falls silent, and after that only those that are made later."""

    def __init__(self, target):
        self.target, self.silent, self.closed = target, threading.Event(), False
        self.lost = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.closed:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            if self.silent.is_set():
                self.lost.append(here)  # the handshake of TCP succeeds, and then nothing
                continue
            there = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            threading.Thread(target=self.forward, args=(here, there, self.silent), daemon=True).start()

    def forward(self, here, there, silent):
        """Both ways, until one side ends; in a silence that began in its time it forwards nothing ever again."""
        other = {here: there, there: here}
        with selectors.DefaultSelector() as selector:
            for side in (here, there):
                selector.register(side, selectors.EVENT_READ)
            with suppress(OSError):
                while not silent.is_set() and not self.closed:
                    for key, _ in selector.select(timeout=0.1):
                        data = key.fileobj.recv(65536)
                        if silent.is_set():
                            break
                        if not data:
                            return self.end(here, there)
                        other[key.fileobj].sendall(data)
        if silent.is_set():
            self.lost += [here, there]
            return None
        return self.end(here, there)

    def end(self, *sides):
        for side in sides:
            side.close()

    def forget(self):
        """The network is back, for new connections. Those of before stay as silent as they are."""
        self.silent = threading.Event()

    def close(self):
        self.closed = True
        self.end(self.listener, *self.lost)
