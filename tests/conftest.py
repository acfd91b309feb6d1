"""Fixtures that several test files share."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from onekey.app import App, create_app
from onekey.blobs import Blobs, DiskBlobs, MemoryBlobs
from onekey.settings import Settings
from tests.servers import Server
from tests.stores import Staged, Store

SKIP_IS_FAILURE = os.environ.get("ONEKEY_TEST_ALL") == "1"


def needs(program: str) -> None:
    """Skip the test where a program is not installed; fail it where everything has to be shown."""
    if shutil.which(program) is None:
        _not_shown(f"{program} is not installed")


def needs_root(what: str) -> None:
    """The same where only root may see `what`."""
    if os.geteuid() != 0:
        _not_shown(f"only root may see {what}")


def _not_shown(why: str) -> None:
    if SKIP_IS_FAILURE:
        pytest.fail(why)
    pytest.skip(f"not shown: {why}")


class Clock:
    """A clock that tests set: seconds since 1970."""

    def __init__(self, now: float = 1_800_000_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture(params=["disk", "memory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Store]]:
    """Makes a store of each kind."""
    made: list[Store] = []

    def make(**more: Any) -> Store:
        folder = tmp_path / f"store-{len(made)}"
        blobs: Blobs = DiskBlobs(folder / "blobs") if request.param == "disk" else MemoryBlobs(1 << 30)
        made.append(Store(blobs, folder, clock, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """A store of each kind, with small chunks."""
    return make_store()


@pytest.fixture
def disk(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store on disk, with small chunks; its blobs can be staged."""
    with closing(Store(Staged(DiskBlobs(tmp_path / "blobs")), tmp_path, clock)) as made:
        yield made


@pytest.fixture
def stage(disk: Store) -> Staged:
    """The blobs of the store on disk."""
    assert isinstance(disk.blobs, Staged)
    return disk.blobs


@pytest.fixture
def make_app(tmp_path: Path, clock: Clock) -> Callable[..., App]:
    """Makes an application on a CONTENT_DIR of its own, with settings given as their variables."""

    def make(**settings: str) -> App:
        defaults = {"CONTENT_DIR": str(tmp_path / "content"), "MIN_FREE_SPACE": "0"}
        return create_app(Settings.read({**defaults, **settings}), clock)

    return make


@pytest.fixture
def client(make_app: Callable[..., App]) -> FlaskClient:
    """A client of an application with no settings."""
    return make_app().test_client()


@pytest.fixture(scope="session")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of one application with small chunks, shared by property tests and others that only add to it."""
    folder = tmp_path_factory.mktemp("shared")
    settings = {"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0", "CHUNK_SIZE": "4096"}
    return create_app(Settings.read(settings), Clock()).test_client()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with no settings, shared by all tests that do not change it."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts real servers with settings of their own, and ends them after the test."""
    running: list[Server] = []

    def make(**settings: str) -> Server:
        running.append(Server(tmp_path / f"server-{len(running)}", **settings))
        return running[-1]

    yield make
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {cert}"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key
