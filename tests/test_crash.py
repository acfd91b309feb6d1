"""A crash at any moment leaves a share that works, or what the sweep removes: the vault's rule 1.

Real servers are killed while a large upload runs. And every single step of an upload, a removal or a sweep is the last
one of some process: this file, run as a program, does that in forks of itself.
"""

import hashlib
import io
import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy.engine.default import DefaultDialect

from onekey import links
from onekey.app import App, create_app, sweep
from onekey.settings import Settings
from tests.conftest import Clock
from tests.servers import PATIENCE, ROOT, Server, clean_environment, wait_for
from tests.test_serve import MIB, answer, put

HOUR = 3600
STEP, STEPS = 20 * HOUR, 7
"""Sweeps less than a day apart, for longer than an upload may be idle and a dead one waits for its removal."""


# What is left of a CONTENT_DIR.


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database answers to a query."""
    with closing(sqlite3.connect(folder / "onekey.db")) as database:
        return database.execute(query).fetchall()


def stored(folder: Path) -> set[tuple[str, str]]:
    """Blob id and name of every file there is."""
    return {(path.parent.name, path.name) for path in (folder / "blobs").rglob("*") if path.is_file()}


def assert_all_recorded(folder: Path) -> None:
    """Fails unless every file and folder belongs to a record, and every part of a finished share is there."""
    known = {share for (share,) in rows(folder, "SELECT id FROM shares")}
    assert {path.name for path in (folder / "blobs").iterdir()} <= known
    parts = "SELECT share, name, sha256 FROM parts JOIN shares ON share = id WHERE state = 'live'"
    for share, name, digest in rows(folder, parts):
        assert hashlib.sha256((folder / "blobs" / share / name).read_bytes()).digest() == digest


def assert_only_finished(folder: Path) -> None:
    """Fails unless nothing is there but finished shares: records and parts, tombstones and the clock aside."""
    assert {state for (state,) in rows(folder, "SELECT state FROM shares")} <= {"live"}
    recorded = rows(folder, "SELECT share, name FROM parts JOIN shares ON share = id")
    assert stored(folder) == set(recorded)
    assert len(rows(folder, "SELECT * FROM parts")) == len(recorded)
    assert {path.name for path in (folder / "blobs").iterdir()} == {share for share, _ in recorded}


def app_of(folder: Path, clock: Clock, **more: str) -> App:
    """An application on a CONTENT_DIR."""
    return create_app(Settings.read({"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0", **more}), clock)


def sweep_to_the_end(folder: Path, clock: Clock) -> None:
    """Sweep until whatever is dead has been dead for long enough."""
    app = app_of(folder, clock)
    for _ in range(STEPS):
        clock.now += STEP
        sweep(app)


# Killed while an upload runs.

SIZE = 64 * MIB
PIECE = os.urandom(MIB)
MOMENTS = 20


def kill(server: Server) -> None:
    """Kill all processes of a server, none of them knowing of the others' end."""
    os.kill(server.process.pid, signal.SIGSTOP)
    workers = server.children()
    for pid in (*workers, server.process.pid):
        os.kill(pid, signal.SIGKILL)
    server.process.wait(PATIENCE)
    wait_for(lambda: not any(lives(pid) for pid in workers))


def lives(pid: int) -> bool:
    """Whether a process is there, and not only its exit status."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def send(connection: socket.socket, count: int, folder: Path) -> None:
    """Send bytes of the upload, no faster than the server stores them; it reads a MiB, and a chunk, at a time."""
    for sent in range(0, count, MIB):
        connection.sendall(PIECE[: count - sent])
        wait_for(lambda sent=sent: size_of(folder) >= sent - 3 * MIB)  # type: ignore[misc]


def size_of(folder: Path) -> int:
    """Bytes that are stored; a file may be renamed while they are counted."""
    try:
        return sum(path.stat().st_size for path in (folder / "blobs").rglob("*-*"))
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=[] if moment in {9, MOMENTS - 1} else pytest.mark.slow) for moment in range(MOMENTS)],
)
def test_killed_during_an_upload_nothing_is_left_of_it(tmp_path: Path, moment: int) -> None:
    sent = SIZE * moment // (MOMENTS - 1)
    with Server(tmp_path) as server:
        assert requests.get(f"{server.url}/healthz", timeout=PATIENCE).status_code == 200
        with closing(server.connect()) as connection:
            connection.sendall(put(SIZE))
            send(connection, sent, server.content)
            kill(server)
        assert_all_recorded(server.content)
        with Server(tmp_path / "again", CONTENT_DIR=str(server.content), WORKERS="1") as again:
            assert requests.get(f"{again.url}/healthz", timeout=PATIENCE).status_code == 200
        sweep_to_the_end(server.content, Clock(time.time()))
        assert_only_finished(server.content)
        if sent < SIZE:
            assert rows(server.content, "SELECT id FROM shares") == []
            assert not any((server.content / "blobs").iterdir())


def test_killed_after_the_answer_the_link_works(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        with closing(server.connect()) as connection, connection.makefile("rb") as stream:
            connection.sendall(put(SIZE))
            send(connection, SIZE, server.content)
            told = answer(stream)
            kill(server)
        assert told.status == 201
        link = "/" + told.body.decode().strip().rpartition("/")[2]
        with Server(tmp_path / "again", CONTENT_DIR=str(server.content), WORKERS="1") as again:
            assert requests.get(again.url + link, timeout=PATIENCE).content == PIECE * (SIZE // MIB)
        clock = Clock(time.time())
        sweep_to_the_end(server.content, clock)
        assert app_of(server.content, clock).test_client().get(link).data == PIECE * (SIZE // MIB)


# Killed at each step. What follows runs in forks of this file as a program, once for each step.

CONTENT = os.urandom(9 * MIB) if __name__ == "__main__" else b""
_ENOUGH = 4
"""Sweeps after which nothing is left of an upload that was left alone."""
_SECOND_PART = 30
"""A step at which the first part of an upload is recorded, and the second is on its way."""
STEPPED = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir")


class Steps:
    """Counts what a process does to files and commits to the database; before or after the n-th it kills itself."""

    def __init__(self, last: int) -> None:
        self._last, self._count = last, 0

    def watch(self) -> None:
        """From here on, count."""
        for name in STEPPED:
            setattr(os, name, self._stepped(getattr(os, name)))
        DefaultDialect.do_commit = self._stepped(DefaultDialect.do_commit)  # type: ignore[method-assign]

    def _stepped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            self._step()
            try:
                return call(*arguments, **options)
            finally:
                self._step()

        return stepped

    def _step(self) -> None:
        self._count += 1
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class Deed:
    """What is done in a process that may be killed: first without, then with its steps being counted.

    The token of the last upload is kept in a file beside the CONTENT_DIR before the upload begins.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock, self.token = folder, clock, folder.with_name("token")

    def prepare(self) -> None:
        """What the deed is done to."""
        self.app = app_of(self.folder, self.clock, CHUNK_SIZE="4 MiB")
        make = links.new_seed

        def noted(entropy: Callable[[int], bytes] = os.urandom) -> bytes:
            seed = make(entropy)
            self.token.write_text(links.write_token(seed))
            return seed

        links.new_seed = noted

    def do(self) -> None:
        """The deed."""
        raise NotImplementedError

    def check(self, done: bool) -> None:
        """Fails unless what is there now is sound; `done`: the process came to its end."""
        assert_all_recorded(self.folder)
        before = self.opens()
        self.check_link(before, done)
        sweep_to_the_end(self.folder, self.clock)
        assert self.opens() == before
        assert_only_finished(self.folder)

    def check_link(self, opens: bool, done: bool) -> None:
        """Fails unless the link opens where it should."""
        assert not (done and opens)

    def opens(self) -> bool:
        """Whether the link opens, wholly; fails if it does in part."""
        if not self.token.exists():
            return False
        found = app_of(self.folder, self.clock).test_client().get(f"/{self.token.read_text()}")
        assert found.status_code in {200, 404}
        assert found.status_code == 404 or found.data == CONTENT
        return found.status_code == 200

    def upload(self) -> Any:
        """Upload in two parts."""
        answer = self.app.test_client().put("/a.bin", data=CONTENT, headers={"Accept": "application/json"})
        assert answer.status_code == 201
        return answer.json


class Start(Deed):
    """The first start on a CONTENT_DIR."""

    def prepare(self) -> None:
        pass

    def do(self) -> None:
        app_of(self.folder, self.clock)

    def check(self, done: bool) -> None:
        super().prepare()
        self.upload()
        super().check(done)

    def check_link(self, opens: bool, done: bool) -> None:
        assert opens


class Upload(Deed):
    """An upload that is finished."""

    def do(self) -> None:
        self.upload()

    def check_link(self, opens: bool, done: bool) -> None:
        assert opens or not done


class Abandon(Deed):
    """An upload whose client vanishes."""

    def do(self) -> None:
        sent = {"wsgi.input": io.BytesIO(CONTENT), "CONTENT_LENGTH": str(len(CONTENT) + 1)}
        assert self.app.test_client().put("/a.bin", environ_overrides=sent).status_code == 400

    def check_link(self, opens: bool, done: bool) -> None:
        assert not opens


class Delete(Deed):
    """A share that its owner deletes."""

    def prepare(self) -> None:
        super().prepare()
        self.url = self.upload()["delete_url"]

    def do(self) -> None:
        assert self.app.test_client().post(self.url).status_code == 200


class Sweep(Deed):
    """Sweeps, of a share that has expired and an upload that was left alone."""

    def prepare(self) -> None:
        super().prepare()
        assert self.app.test_client().put("/a.bin?expires=1h", data=CONTENT).status_code == 201
        assert forked(self._leave) == -signal.SIGKILL

    def _leave(self) -> None:
        Steps(_SECOND_PART).watch()
        self.upload()

    def do(self) -> None:
        for _ in range(_ENOUGH):
            self.clock.now += STEP
            sweep(self.app)

    def check(self, done: bool) -> None:
        super().check(done)
        assert rows(self.folder, "SELECT id FROM shares") == []


class Open(Deed):
    """The one open of a share: taken, and used until the first byte is out."""

    def prepare(self) -> None:
        super().prepare()
        assert self.app.test_client().put("/a.bin?opens=1", data=CONTENT).status_code == 201

    @property
    def served(self) -> Path:
        """A file that is there once a byte was served."""
        return self.folder.with_name("served")

    def do(self) -> None:
        client = self.app.test_client()
        where = client.post(f"/{self.token.read_text()}").headers["Location"]
        with client.get(where, buffered=False) as answer:
            assert next(answer.iter_encoded())
            self.served.touch()

    def check(self, done: bool) -> None:
        assert_all_recorded(self.folder)
        assert self.served.exists() or not done
        self.clock.now += HOUR
        client = app_of(self.folder, self.clock).test_client()
        again = [client.post(f"/{self.token.read_text()}").status_code for _ in range(2)]
        assert again == ([404, 404] if self.served.exists() else [303, 404]) or (again == [404, 404] and not done)
        sweep_to_the_end(self.folder, self.clock)
        assert_only_finished(self.folder)


DEEDS: dict[str, type[Deed]] = {deed.__name__.lower(): deed for deed in (Start, Upload, Abandon, Delete, Sweep, Open)}


def forked(call: Callable[[], object]) -> int:
    """Call something in a process of its own; gives its exit status, or minus the signal that ended it."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        call()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def act(deed: Deed, last: int) -> None:
    """Do a deed, up to a step."""
    deed.prepare()
    Steps(last).watch()
    deed.do()


def main(name: str, folder: Path) -> None:
    """Do a deed again and again, killed at its first step, its second and so on, until it comes to its end."""
    for last in itertools.count(1):
        place = folder / str(last)
        place.mkdir()
        status = forked(lambda: act(DEEDS[name](place / "content", Clock()), last))  # noqa: B023 - called here
        if status not in {0, -signal.SIGKILL}:
            raise SystemExit(f"step {last} failed")
        if forked(lambda: DEEDS[name](place / "content", Clock()).check(status == 0)) != 0:  # noqa: B023 - as above
            raise SystemExit(f"after step {last} what is left is not sound")
        shutil.rmtree(place)
        if status == 0:
            print(last - 1)
            return


@pytest.mark.parametrize(
    ("deed", "at_least"), [("start", 10), ("upload", 40), ("abandon", 30), ("delete", 10), ("sweep", 30), ("open", 4)]
)
def test_killed_at_any_step_what_is_left_is_whole_or_swept(tmp_path: Path, deed: str, at_least: int) -> None:
    command = [sys.executable, "-m", "tests.test_crash", deed, str(tmp_path)]
    ran = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= at_least


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
