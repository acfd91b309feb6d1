"""Slow clients cost memory and nothing else: however many idle, dribble or stall, another one is served."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.servers import Server, wait_for
from tests.test_serve import ESTABLISHED, KIB, MIB, Site, ask, files, put, state

THREADS = 8
SERVED = 5.0
"""Seconds in which a client that is quick is served; the slow ones stay for ten or more."""
LARGE = os.urandom(8 * MIB)
SMALL = os.urandom(300 * KIB)


class Crowd:
    """Connections of slow clients, held open."""

    def __init__(self, site: Site, path: str) -> None:
        self._site, self._path = site, path
        self._over, self._all = threading.Event(), ExitStack()
        self._dribblers: list[socket.socket] = []
        self.connections: list[socket.socket] = []

    def __enter__(self) -> "Crowd":
        threading.Thread(target=self._dribble, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._all.close()

    def idle(self, count: int) -> None:
        """Clients that say nothing."""
        for _ in range(count):
            self._held(self._site.server.connect())

    def dribbling(self, count: int) -> None:
        """Clients whose heads come byte by byte."""
        for _ in range(count):
            connection = self._held(self._site.connect())
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            self._dribblers.append(connection)

    def stalled_readers(self, count: int) -> None:
        """Clients that ask for a large file and do not read it."""
        for _ in range(count):
            self._held(self._site.download(self._path))

    def stalled_uploaders(self, count: int) -> None:
        """Clients that send half of a file and then nothing."""
        before = len(files(self._site.server))
        for _ in range(count):
            self._held(self._site.connect()).sendall(put(len(LARGE)) + LARGE[: len(LARGE) // 2])
        wait_for(lambda: len(files(self._site.server)) == before + count)

    def present(self) -> int:
        """How many are still connected."""
        return sum(state(connection) == ESTABLISHED for connection in self.connections)

    def _held(self, connection: socket.socket) -> socket.socket:
        self._all.enter_context(closing(connection))
        self.connections.append(connection)
        return connection

    def _dribble(self) -> None:
        while not self._over.wait(0.1):
            for connection in list(self._dribblers):
                with suppress(OSError):
                    connection.send(b"x")


@pytest.fixture(params=["1", "2"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A server with few threads, in one process or two."""
    with Server(tmp_path, THREADS=str(THREADS), WORKERS=request.param, STALL_TIME="10m") as running:
        yield Site(running)


def assert_served(site: Site) -> None:
    """Fails unless a client that is quick can store a file and have it back."""
    with closing(site.connect()) as connection:
        connection.settimeout(SERVED)
        stored = ask(connection, put(len(SMALL)) + SMALL)
        assert stored.status == 201
        link = "/" + stored.body.decode().strip().rpartition("/")[2]
        found = ask(connection, f"GET {link} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert found.body == SMALL


def test_another_client_is_served_while_as_many_as_there_are_threads_idle_dribble_and_stall(site: Site) -> None:
    with Crowd(site, site.upload(LARGE)) as crowd:
        crowd.stalled_uploaders(2 * THREADS)
        crowd.stalled_readers(2 * THREADS)
        crowd.dribbling(2 * THREADS)
        crowd.idle(2 * THREADS)
        assert_served(site)
        assert crowd.present() == len(crowd.connections) == 8 * THREADS


def test_another_client_is_served_while_three_hundred_idle(site: Site) -> None:
    with Crowd(site, "/") as crowd:
        crowd.idle(300)
        assert_served(site)
        assert crowd.present() == 300


def test_what_stalled_readers_were_promised_is_theirs_when_they_go_on(site: Site) -> None:
    with Crowd(site, site.upload(LARGE)) as crowd:
        crowd.stalled_readers(2 * THREADS)
        for connection in crowd.connections:
            with connection.makefile("rb") as stream:
                assert stream.read(len(LARGE)) == LARGE
