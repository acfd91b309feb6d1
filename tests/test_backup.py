"""docs/running.md, "Backup", "Restore" and "Moving": the commands as they stand there, run on real servers.

One server is backed up while clients upload, open and delete; what was restored is served beside it and compared.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from onekey.app import App, sweep
from tests.conftest import Clock
from tests.sealing import Container, Door, HttpDoor, begin, finish, put, seal, store
from tests.servers import PATIENCE, ROOT, Server, wait_for
from tests.test_crash import app_of, rows, stored, sweep_to_the_end

PASSWORD = "correct horse"
PUBLIC_URL = "https://files.example.org"
LARGE = os.urandom(17 << 20)
HOUR = 3600


# The commands.


def section(title: str) -> str:
    """A section of docs/running.md."""
    return re.split(r"^## ", (ROOT / "docs" / "running.md").read_text(), flags=re.MULTILINE)[_titles().index(title) + 1]


def _titles() -> list[str]:
    return re.findall(r"^## (.*)$", (ROOT / "docs" / "running.md").read_text(), flags=re.MULTILINE)


def command(title: str) -> str:
    """The one command of a section, in its `sh` block."""
    (found,) = re.findall(r"^```sh\n(.*?)^```$", section(title), flags=re.MULTILINE | re.DOTALL)
    return str(found)


def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with a umask that is none of its business."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder)}
    shell = ["sh", "-eu", "-c", text]
    return subprocess.run(shell, cwd=folder, env=environment, umask=0o022, capture_output=True, text=True, timeout=120)


def run_well(text: str, folder: Path) -> None:
    """The same for one that has to do what it says, without a word."""
    done = run(text, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Shares, and the traffic around a backup.


@dataclass(frozen=True)
class Kept:
    """A share at the direct door: where it is, what is in it, and the address of its owner page."""

    path: str
    content: bytes = field(repr=False)
    owner: str = ""

    @property
    def id(self) -> str:
        """Its blob id."""
        return self.owner.split("/")[2]

    def read(self, server: Server) -> tuple[int, bytes]:
        """What a server answers to its link."""
        auth = ("", PASSWORD)
        got = requests.get(server.url + self.path, auth=auth, headers={"Host": "localhost"}, timeout=PATIENCE)
        return got.status_code, got.content


def upload(server: Server, content: bytes = b"content", **fields: str) -> Kept:
    """Upload a file at the direct door."""
    files = {"file": ("a.bin", content)}
    headers = {"Accept": "application/json"}
    got = requests.post(server.url, data=fields, files=files, headers=headers, timeout=PATIENCE)
    assert got.status_code == 201, got.text
    path, owner = (address.removeprefix(server.url) for address in (got.json()["url"], got.json()["owner_url"]))
    return Kept(path, content, owner)


def delete(server: Server, kept: Kept) -> None:
    """Delete a share, as its owner."""
    assert requests.post(f"{server.url}{kept.owner}/delete", timeout=PATIENCE).status_code == 200


def half(door: Door, **more: Any) -> Container:
    """Begin an upload, and put some of its parts."""
    made = seal(os.urandom(40_000), part_chunks=1, **more)
    answers = [begin(door, made), *(put(door, made, number) for number in range(len(made.parts) // 2))]
    assert {answer.status for answer in answers} == {200, 201}
    return made


class Traffic:
    """Clients that upload, open and delete, until told to stop."""

    def __init__(self, server: Server) -> None:
        self.server, self.door = server, HttpDoor(server.url)
        self.shares: list[Kept | Container] = [upload(server)]
        self.turns: dict[str, int] = dict.fromkeys(("upload", "seal", "delete", "open"), 0)
        self.failures: list[BaseException] = []
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run for the block; each client has had its turn when it begins, and another before it ends."""
        threads = [threading.Thread(target=self._run, args=(name,)) for name in self.turns]
        for thread in threads:
            thread.start()
        try:
            self.wait()
            yield
            self.wait()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert self.failures == []

    def wait(self) -> None:
        """Until each client has had another turn."""
        before = dict(self.turns)
        wait_for(lambda: self.failures or all(self.turns[name] > before[name] for name in before))

    def _run(self, name: str) -> None:
        turn = {"upload": self._upload, "seal": self._seal, "delete": self._delete, "open": self._open}[name]
        try:
            for _ in range(10_000):
                if self._stop.is_set():
                    break
                turn()
                self.turns[name] += 1
        except BaseException as error:
            self.failures.append(error)

    def _upload(self) -> None:
        self.shares.append(upload(self.server, os.urandom(300_000)))

    def _seal(self) -> None:
        self.shares.append(store(self.door, seal(os.urandom(30_000), part_chunks=1)))

    def _delete(self) -> None:
        delete(self.server, upload(self.server, os.urandom(50_000)))
        made = half(self.door)
        assert self.door.ask("DELETE", made.upload, made.by_owner).status == 204

    def _open(self) -> None:
        for made in self.shares[:5]:
            assert opens(self.server, made)


def opens(server: Server, made: Kept | Container) -> bool:
    """Whether a share opens, with the bytes that were put into it."""
    if isinstance(made, Kept):
        return made.read(server) == (200, made.content)
    got = HttpDoor(server.url).ask("GET", f"{made.share}/content", made.by_access())
    return (got.status, got.body) == (200, made.whole)


@dataclass(frozen=True)
class Story:
    """What was done: `kept` was finished before the backup, `before` by the traffic that went on; then one was deleted,
    one uploaded, one open taken."""

    server: Server
    restored: Server
    backup: Path
    kept: dict[str, Kept | Container]
    before: list[Kept | Container]
    unfinished: Container
    limited: Container
    deleted: Kept
    later: Kept


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A backup of a server that runs, and a server on what was restored from it."""
    old, new = tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("new")
    with Server(old, CHUNK_SIZE="65536") as server:
        door, traffic = HttpDoor(server.url), Traffic(server)
        kept: dict[str, Kept | Container] = {
            "empty": upload(server, b""),
            "small": upload(server),
            "of two parts": upload(server, LARGE),
            "with a password": upload(server, b"said once", password=PASSWORD),
            "that expires": upload(server, b"not for ever", expires="7d"),
            "sealed": store(door, seal(os.urandom(90_000), part_chunks=1)),
            "sealed, with a password": store(door, seal(password=PASSWORD)),
            "sealed only": store(door, seal(sealed_only=True)),
        }
        deleted, unfinished = upload(server, b"deleted later"), half(door)
        limited = store(door, seal(opens=3))
        assert take(server, limited) == 200
        with traffic.running():
            before = list(traffic.shares)
            run_well(command("Backup"), old)
        delete(server, deleted)
        later = upload(server, b"uploaded later")
        assert take(server, limited) == 200
        run_well(f"cp -a {old}/backup backup", new)
        run_well(command("Restore"), new)
        with Server(new) as restored:
            yield Story(server, restored, old / "backup", kept, before, unfinished, limited, deleted, later)


def take(server: Server, made: Container) -> int:
    """Take one of a limited number of opens."""
    return HttpDoor(server.url).ask("POST", f"{made.share}/open", made.by_access()).status


NAMES = ("empty", "small", "of two parts", "with a password", "that expires")
SEALED = ("sealed", "sealed, with a password", "sealed only")


@pytest.mark.parametrize("name", [*NAMES, *SEALED])
def test_a_share_that_was_finished_before_the_backup_opens_with_the_same_bytes(story: Story, name: str) -> None:
    assert opens(story.server, story.kept[name])
    assert opens(story.restored, story.kept[name])


def test_so_does_every_share_that_was_uploaded_by_others_until_then(story: Story) -> None:
    assert len(story.before) >= 2
    assert [made for made in story.before if not opens(story.restored, made)] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_owner_link_goes_on_working_in_what_was_restored(story: Story, name: str) -> None:
    made = story.kept[name]
    assert isinstance(made, Kept)
    assert requests.get(story.restored.url + made.owner, timeout=PATIENCE).status_code == 200


def test_a_share_that_was_deleted_after_the_backup_is_back_only_in_what_was_restored(story: Story) -> None:
    assert (story.deleted.read(story.server)[0], opens(story.restored, story.deleted)) == (404, True)


def test_a_share_that_was_finished_after_the_backup_is_not_in_what_was_restored(story: Story) -> None:
    assert (opens(story.server, story.later), story.later.read(story.restored)[0]) == (True, 404)


def test_opens_that_were_taken_after_the_backup_can_be_taken_again(story: Story) -> None:
    door = HttpDoor(story.restored.url)
    seen = door.ask("GET", f"{story.limited.share}/owner", story.limited.by_owner).json
    found = [take(story.restored, story.limited) for _ in range(3)]
    assert (seen["opened"], found) == (1, [200, 200, 404])


def test_an_upload_that_was_unfinished_goes_on_in_what_was_restored(story: Story) -> None:
    door, made = HttpDoor(story.restored.url), story.unfinished
    there = {part["number"] for part in door.ask("GET", made.upload, made.by_owner).json["parts"]}
    answers = [put(door, made, number).status for number in range(len(made.parts)) if number not in there]
    assert len(there) == len(made.parts) // 2
    assert ({*answers}, finish(door, made).status, opens(story.restored, made)) == ({200}, 200, True)


def test_a_backup_is_the_database_and_the_parts_that_it_names_and_nothing_else(story: Story) -> None:
    assert {path.name for path in story.backup.iterdir()} == {"onekey.db", "blobs"}
    assert stored(story.backup) == set(rows(story.backup, "SELECT share, name FROM parts"))


def test_only_its_owner_may_read_a_backup_and_what_was_restored_from_it(story: Story) -> None:
    for folder in (story.backup, story.restored.content):
        found = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (folder, *folder.rglob("*"))}
        assert found == {(True, 0o700), (False, 0o600)}


def restored_to(folder: Path, backup: Path) -> Path:
    """Restore a backup once more; gives the CONTENT_DIR."""
    (folder / "backup").symlink_to(backup)
    run_well(command("Restore"), folder)
    return folder / "content"


def test_what_was_unfinished_is_swept_in_what_was_restored_and_nothing_else(story: Story, tmp_path: Path) -> None:
    content = restored_to(tmp_path, story.backup)
    live = set(rows(content, "SELECT id FROM shares WHERE state = 'live' AND expires IS NULL"))
    sweep_to_the_end(content, Clock(time.time()))
    assert set(rows(content, "SELECT id FROM shares WHERE expires IS NULL")) == live
    assert stored(content) == set(rows(content, "SELECT share, name FROM parts"))


def test_of_a_backup_that_is_older_than_a_day_nothing_is_swept_for_an_hour(story: Story, tmp_path: Path) -> None:
    content, clock = restored_to(tmp_path, story.backup), Clock(time.time() + 30 * 24 * HOUR)
    app = app_of(content, clock)
    early = sweep(app)
    clock.now += HOUR
    late = sweep(app)
    assert early is not None
    assert late is not None
    assert (early.clock_ahead, early.marked, late.clock_ahead) == (True, 0, False)
    assert late.marked >= 1


# A backup into the same folder again, and one that fails.


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A server with one share that has several parts."""
    made = make_server()
    store(HttpDoor(made.url), seal(part_chunks=1))
    return made


def test_a_backup_into_the_same_folder_copies_what_is_new_and_removes_what_was_deleted(server: Server) -> None:
    gone = upload(server, b"deleted")
    run_well(command("Backup"), server.folder)
    backup = server.folder / "backup"
    first = {path: path.stat().st_ino for path in backup.glob("blobs/*/*")}
    delete(server, gone)
    new = upload(server, b"new")
    run_well(command("Backup"), server.folder)
    second = {path: path.stat().st_ino for path in backup.glob("blobs/*/*")}
    assert {path.parent.name for path in first.keys() - second.keys()} == {gone.id}
    assert {path.parent.name for path in second.keys() - first.keys()} == {new.id}
    assert [path for path in first.keys() & second.keys() if first[path] != second[path]] == []
    assert not (backup / "blobs" / gone.id).exists()
    assert stored(backup) == set(rows(backup, "SELECT share, name FROM parts"))


def test_a_backup_that_cannot_be_whole_says_what_is_missing_and_has_the_rest(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    content, door = tmp_path / "content", Door(make_app())
    _, made = store(door, seal(part_chunks=1)), store(door, seal(b"small"))
    (part,) = (content / "blobs" / made.id).iterdir()
    part.unlink()
    done = run(command("Backup"), tmp_path)
    assert (done.returncode, done.stderr) == (1, f"These parts are not there: {made.id}/{part.name}\n")
    rest = {*rows(content, "SELECT share, name FROM parts")} - {(made.id, part.name)}
    assert stored(tmp_path / "backup") == rest


def test_a_backup_of_a_folder_that_is_none_fails_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    assert run(command("Backup"), tmp_path).returncode != 0
    assert [path.name for path in tmp_path.rglob("*")] == ["content"]


def test_a_backup_of_a_server_that_does_not_run_is_the_same(server: Server) -> None:
    server.stop()
    run_well(command("Backup"), server.folder)
    backup = server.folder / "backup"
    assert stored(backup) == stored(server.content) == set(rows(backup, "SELECT share, name FROM parts"))


def test_a_damaged_share_is_mended_by_its_folder_while_the_server_runs(server: Server) -> None:
    made = upload(server, b"damaged later")
    run_well(command("Backup"), server.folder)
    (part,) = (server.content / "blobs" / made.id).iterdir()
    part.write_bytes(bytes(part.stat().st_size))
    assert made.read(server)[0] == 500
    (line,) = re.findall(r"`(cp -a backup/blobs/<blob id> content/blobs/)`", section("Restore"))
    run_well(line.replace("<blob id>", made.id), server.folder)
    assert opens(server, made)


# Moving.


def move(content: Path, folder: Path) -> Path:
    """Copy a CONTENT_DIR as the document says; gives where it is now."""
    text = command("Moving")
    assert text == "cp -a content /mnt/new/content\n"
    folder.mkdir()
    run_well(text.replace("/mnt/new", str(folder)), content.parent)
    return folder / "content"


def test_after_a_move_links_owner_links_and_unfinished_uploads_go_on(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    old = make_server(PUBLIC_URL=PUBLIC_URL)
    door = HttpDoor(old.url)
    made, unfinished, limited = store(door, seal()), half(door), store(door, seal(opens=1))
    link = requests.put(f"{old.url}/a.txt", data=b"moved", timeout=PATIENCE)
    assert link.text.startswith(f"{PUBLIC_URL}/")
    path, owner = (text.strip().removeprefix(PUBLIC_URL) for text in (link.text, link.headers["X-Onekey-Owner-URL"]))
    lease = door.ask("POST", f"{limited.share}/open", limited.by_access()).json["lease"]
    old.stop()
    moved = move(old.content, tmp_path / "new")
    shutil.rmtree(old.content)
    new = make_server(PUBLIC_URL=PUBLIC_URL, CONTENT_DIR=str(moved))
    door = HttpDoor(new.url)
    for number in range(len(unfinished.parts) // 2, len(unfinished.parts)):
        put(door, unfinished, number)
    assert finish(door, unfinished).status == 200
    assert Kept(path, b"moved").read(new) == (200, b"moved")
    assert requests.get(new.url + owner, timeout=PATIENCE).status_code == 200
    assert opens(new, made)
    assert opens(new, unfinished)
    assert door.ask("GET", f"{limited.share}/content", limited.by_access(lease)).body == limited.whole
    assert requests.put(f"{new.url}/b.txt", data=b"x", timeout=PATIENCE).text.startswith(f"{PUBLIC_URL}/")


def test_a_move_keeps_the_rights_and_every_byte(server: Server, tmp_path: Path) -> None:
    server.stop()
    moved = move(server.content, tmp_path / "new")

    def found(folder: Path) -> dict[str, tuple[int, bytes]]:
        paths = (folder, *folder.rglob("*"))
        read = {path: path.read_bytes() if path.is_file() else b"" for path in paths}
        return {str(path.relative_to(folder)): (path.stat().st_mode, content) for path, content in read.items()}

    assert found(moved) == found(server.content)
    assert {stat.S_IMODE(mode) for mode, _ in found(moved).values()} == {0o700, 0o600}


# What need not be copied.


def test_what_is_neither_the_database_nor_a_part_is_made_again(server: Server) -> None:
    server.stop()
    kept = {"onekey.db", "blobs"}
    for path in server.content.iterdir():
        if path.name not in kept:
            path.unlink()
    with Server(server.folder / "again", CONTENT_DIR=str(server.content)) as again:
        assert opens(again, upload(again))
        assert kept < {path.name for path in server.content.iterdir()}


def guess(door: Door, made: Container, word: int) -> int:
    """A wrong password at the sealed door."""
    return door.ask("GET", f"{made.share}/index", made.by_access(access=word.to_bytes(32, "big"))).status


def test_without_clients_key_the_wrong_guesses_of_a_minute_count_no_more_and_those_of_an_hour_do(
    make_app: Callable[..., App], clock: Clock, tmp_path: Path
) -> None:
    words = iter(range(1000))
    door = Door(make_app())
    made = store(door, seal(password=PASSWORD))
    assert [guess(door, made, next(words)) for _ in range(11)] == [403] * 10 + [429]
    (tmp_path / "content" / "clients.key").unlink()
    door = Door(make_app())
    assert [guess(door, made, next(words)) for _ in range(11)] == [403] * 10 + [429]
    for _ in range(8):
        clock.now += 60
        assert [guess(door, made, next(words)) for _ in range(10)] == [403] * 10
    clock.now += 60
    (tmp_path / "content" / "clients.key").unlink()
    assert guess(Door(make_app()), made, next(words)) == 429


def test_without_clients_key_unfinished_uploads_go_on_and_are_counted_anew(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    door = Door(make_app())
    made = half(door)
    for _ in range(99):
        assert begin(door, seal(b"")).status == 201
    assert begin(door, seal(b"")).status == 429
    (tmp_path / "content" / "clients.key").unlink()
    door = Door(make_app())
    assert begin(door, seal(b"")).status == 201
    answers = [put(door, made, number).status for number in range(len(made.parts) // 2, len(made.parts))]
    assert ({*answers}, finish(door, made).status) == ({200}, 200)
