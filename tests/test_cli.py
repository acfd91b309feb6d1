"""The command line, as its own process: what it says, what it does, and how it refuses."""

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from onekey import __version__
from onekey.app import App, create_app, sweep
from onekey.locks import locked
from onekey.settings import Settings
from tests.conftest import Clock
from tests.servers import ONEKEY, PATIENCE, ROOT, Process, clean_environment, wait_for

HOUR = 3600
SCRIPT = Path(sys.executable).with_name("onekey")
COMMANDS = ("serve", "sweep")


def onekey(
    *arguments: str, folder: Path, settings: Mapping[str, str] | None = None, command: Sequence[str] = ONEKEY
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its exit status and what it printed."""
    return subprocess.run(
        [*command, *arguments],
        env=clean_environment(PYTHONPATH=str(ROOT), **(settings or {})),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# Help.


@pytest.mark.parametrize("command", [ONEKEY, [str(SCRIPT)]], ids=["python -m onekey", "onekey"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command_and_how_to_begin(tmp_path: Path, command: list[str], option: str) -> None:
    ran = onekey(option, folder=tmp_path, command=command)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: ")
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +[A-Z]", ran.stdout, re.MULTILINE)
    assert "curl -T cat.png http://127.0.0.1:8000/" in ran.stdout


def test_without_a_command_it_shows_its_help(tmp_path: Path) -> None:
    ran = onekey(folder=tmp_path)
    assert ran.returncode != 0
    assert ran.stdout + ran.stderr == onekey("--help", folder=tmp_path).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(tmp_path: Path, name: str) -> None:
    ran = onekey(name, "--help", folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"onekey {name} [OPTIONS]" in ran.stdout
    assert "--config FILE" in ran.stdout


def test_help_needs_no_settings_and_leaves_nothing(tmp_path: Path) -> None:
    assert onekey("serve", "--help", folder=tmp_path, settings={"WORKERS": "none"}).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_version(tmp_path: Path) -> None:
    ran = onekey("--version", folder=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"onekey, version {__version__}\n", "")


# Refusals.


@pytest.mark.parametrize("arguments", [["bake"], ["serve", "here"], ["sweep", "--all"], ["sweep", "--config"]])
def test_what_it_does_not_know_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    ran = onekey(*arguments, folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.search(r"^Error: [^\n]+\n\Z", ran.stderr, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("settings", "file", "said"),
    [
        ({"CHUNK_SIZE": "1000"}, None, r"CHUNK_SIZE cannot be '1000': what would do is [^\n]+\."),
        ({}, "CHUNK_SIZE=1000\n", r"CHUNK_SIZE cannot be '1000': what would do is [^\n]+\."),
        ({}, "CHUNKSIZE=4096\n", r"[^\n]+ sets 'CHUNKSIZE', which is no setting: one of [^\n]+ would do\."),
        ({"UPLOAD_SECRET": "two\nlines"}, None, r"UPLOAD_SECRET cannot be what is set: what would do is [^\n]+\."),
        ({"CONTENT_DIR": "/dev/null"}, None, r"CONTENT_DIR cannot be '/dev/null': what would do is [^\n]+\."),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(
    tmp_path: Path, name: str, settings: dict[str, str], file: str | None, said: str
) -> None:
    arguments = [name]
    if file is not None:
        (tmp_path / "settings").write_text(file)
        arguments += ["--config", "settings"]
    ran = onekey(*arguments, folder=tmp_path, settings=settings)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert re.fullmatch(rf"Error: {said}\n", ran.stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_settings_that_is_not_there_is_one_sentence(tmp_path: Path, name: str) -> None:
    ran = onekey(name, "--config", "nowhere", folder=tmp_path)
    assert ran.returncode != 0
    assert re.fullmatch(r"Error: [^\n]*'nowhere'[^\n]+\.\n", ran.stderr)


# sweep.


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """The CONTENT_DIR of `make_app`."""
    return tmp_path / "content"


def files(content: Path) -> list[Path]:
    """All files in which content is stored."""
    return [path for path in (content / "blobs").rglob("*") if path.is_file()]


def test_sweep_says_what_it_marked_and_removed(
    tmp_path: Path, content: Path, make_app: Callable[..., App], clock: Clock
) -> None:
    app, now = make_app(), time.time()
    clock.now = now - 50 * HOUR
    gone = app.test_client().put("/gone.txt?expires=1h", data=b"text")
    clock.now = now - 30 * HOUR
    assert sweep(app)
    clock.now = now - 10 * HOUR
    dead = app.test_client().put("/dead.txt?expires=1h", data=b"text")
    live = app.test_client().put("/live.txt?expires=11h", data=b"text")
    assert len(files(content)) == 3
    ran = onekey("sweep", folder=tmp_path, settings={"CONTENT_DIR": str(content)})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "Marked dead: 1. Removed: 1. Left for the next time: 0.\n"
    assert len(files(content)) == 2
    found = [app.test_client().get(sent.headers["Location"]).status_code for sent in (gone, dead, live)]
    assert found == [404, 404, 200]


def test_sweep_believes_no_clock_that_is_far_ahead(
    tmp_path: Path, content: Path, make_app: Callable[..., App], clock: Clock
) -> None:
    clock.now = time.time() - 25 * HOUR
    make_app().test_client().put("/a.txt?expires=1h", data=b"text")
    ran = onekey("sweep", folder=tmp_path, settings={"CONTENT_DIR": str(content)})
    assert ran.returncode == 1
    assert re.fullmatch(r"The clock is more than a day ahead [^\n]+\.\n", ran.stdout)
    assert len(files(content)) == 1


def test_sweep_leaves_it_to_another_that_is_at_it(tmp_path: Path) -> None:
    with locked(tmp_path / "sweep.lock"):
        ran = onekey("sweep", folder=tmp_path, settings={"CONTENT_DIR": str(tmp_path)})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Another process is sweeping.\n", "")


# --config.


def test_a_file_of_settings_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("# a comment\nCONTENT_DIR=from-file\nBIND=127.0.0.1:0\nWORKERS='1'\n")
    command = [*ONEKEY, "serve", "--config", str(tmp_path / "settings")]
    with Process(command, tmp_path / "run", CONTENT_DIR=str(tmp_path / "from-environment")) as server:
        wait_for(lambda: "It stores in" in server.log)
        assert re.search(r"listens on http://127\.0\.0\.1:[1-9][0-9]*\n", server.log)
        assert f"It stores in {tmp_path}/from-environment." in server.log
        wait_for(server.children)
        assert len(server.children()) == 1


def test_sweep_reads_a_file_of_settings_too(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("CONTENT_DIR=from-file\n")
    assert onekey("sweep", "--config", "settings", folder=tmp_path).returncode == 0
    assert (tmp_path / "from-file" / "onekey.db").is_file()


# serve.


def test_it_stores_below_where_it_is_run_unless_told_otherwise(tmp_path: Path) -> None:
    environment = clean_environment(PYTHONPATH=str(ROOT), BIND="127.0.0.1:0")
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([str(SCRIPT), "serve"], env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_for(lambda: "It stores in" in (tmp_path / "log").read_text())
        assert f"It stores in {tmp_path}/content." in (tmp_path / "log").read_text()
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0


def test_a_database_of_a_newer_onekey_is_refused_in_one_sentence(tmp_path: Path) -> None:
    create_app(Settings.read({"CONTENT_DIR": str(tmp_path / "content")}))
    with closing(sqlite3.connect(tmp_path / "content" / "onekey.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    ran = onekey("serve", folder=tmp_path, settings={"CONTENT_DIR": str(tmp_path / "content")})
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
