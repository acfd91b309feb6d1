"""`onekey admin`, as its own process: what it lists, shows, deletes and counts, and what it never prints."""

import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from onekey import links
from onekey.admin import named_by
from onekey.app import App, create_app
from onekey.app import sweep as sweep_once
from onekey.cli import main
from onekey.errors import BadRequest
from onekey.settings import VARIABLES, Settings
from onekey.web.services import services_of
from tests.conftest import Clock
from tests.sealing import Container, Door, begin, put, seal, store
from tests.servers import ONEKEY, PATIENCE, ROOT, Server, clean_environment

DAY = 86_400
UNKNOWN = "0123456789abcdef" * 2
COMMANDS = ("list", "show", "delete", "stats")
TOKEN = links.write_token(bytes(range(50, 74)))
ID = links.blob_id(bytes(range(50, 74)))
OTHER = links.write_token(bytes(range(60, 84)))
OTHER_ID = links.blob_id(bytes(range(60, 84)))
OWNER = links.write_token(bytes(range(70, 94)))
HOST = "https://files.example.org"


class Place:
    """A server's folder, an application that stores there under a clock, and `onekey admin` on it."""

    def __init__(self, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.clock = folder, clock
        settings = {"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0", "METRICS_TOKEN": "geheim"}
        self.app: App = create_app(Settings.read(settings), clock)
        self.door = Door(self.app)
        for name in [*VARIABLES, "ONEKEY_CONFIG"]:
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    def upload(self, size: int = 1000, query: str = "") -> str:
        """Upload at the direct door; gives the link."""
        answer = self.app.test_client().put(f"/secret-name.bin{query}", data=bytes(size))
        assert answer.status_code == 201, answer.text
        return answer.text.strip()

    def store(self, **terms: Any) -> Container:
        """Upload at the sealed door."""
        return store(self.door, seal(bytes(30_000), **terms))

    def opens(self, link: str) -> bool:
        """Whether a link opens."""
        status = self.app.test_client().get(link.removeprefix("http://localhost")).status_code
        services_of(self.app.extensions).tally.flush()
        return status == 200

    def admin(self, *arguments: str, given: str = "") -> Result:
        """Run `onekey admin` in this process, with nobody at the terminal."""
        return CliRunner().invoke(main, ["admin", *arguments], input=given)

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What `list --json` tells."""
        ran = self.admin("list", "--json", *arguments)
        assert (ran.exit_code, ran.stderr) == (0, "")
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def shown(self, share: str) -> dict[str, str]:
        """What `show` tells, line by line; lines without a name are put together."""
        ran = self.admin("show", share)
        assert (ran.exit_code, ran.stderr) == (0, "")
        found: dict[str, str] = {}
        for line in ran.stdout.splitlines():
            name = line[:12].strip()
            found[name] = f"{found[name]} {line[13:]}" if name in found else line[13:]
        return found

    def ids(self) -> list[str]:
        """All ids that the database knows."""
        with closing(sqlite3.connect(self.folder / "onekey.db")) as raw:
            return [row[0] for row in raw.execute("SELECT id FROM shares")]

    def files(self, share: str) -> list[Path]:
        """The files of a share."""
        return sorted((self.folder / "blobs" / share).glob("*"))


@pytest.fixture
def place(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place."""
    return Place(tmp_path / "content", clock, monkeypatch)


def run(*arguments: str, folder: Path, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `onekey` as a process of its own."""
    return subprocess.run(
        [*ONEKEY, *arguments],
        env=clean_environment(PYTHONPATH=str(ROOT), **settings),
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def id_of(link: str) -> str:
    """The id of a direct link's share."""
    return links.blob_id(links.read_token(link.rpartition("/")[2][:32]))


# Help and settings.


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_by_example(tmp_path: Path, name: str) -> None:
    ran = run("admin", name, "--help", folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"Usage: python -m onekey admin {name} [OPTIONS]" in ran.stdout
    assert "--config FILE" in ran.stdout
    assert re.search(rf"^      onekey admin {name}", ran.stdout, re.MULTILINE)


def test_its_help_names_every_command(tmp_path: Path) -> None:
    ran = run("admin", "--help", folder=tmp_path)
    assert re.findall(r"^  (\w+)  ", ran.stdout.partition("Commands:")[2], re.MULTILINE) == sorted(COMMANDS)


def test_the_command_line_names_it(tmp_path: Path) -> None:
    assert re.search(r"^  admin  +[A-Z]", run("--help", folder=tmp_path).stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["list"], ["stats"], ["show", UNKNOWN], ["delete", "--yes", UNKNOWN]])
def test_where_nothing_is_stored_it_says_so_and_makes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    ran = run("admin", *arguments, folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.fullmatch(r"Error: CONTENT_DIR cannot be 'content': nothing is stored there\. [^\n]+\n", ran.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["list", "stats"])
def test_a_file_of_settings_says_where(place: Place, tmp_path: Path, name: str) -> None:
    place.upload()
    (tmp_path / "onekey.env").write_text(f"CONTENT_DIR={place.folder}\n")
    ran = run("admin", name, "--config", "onekey.env", folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert place.ids()[0] in ran.stdout


# List.


def test_a_list_without_a_share_is_its_head(place: Place) -> None:
    ran = place.admin("list")
    assert (ran.exit_code, ran.stdout.split()) == (
        0,
        ["ID", "STATE", "SIZE", "CREATED", "EXPIRES", "OPENED", "FLAGS"],
    )


def test_a_list_as_json_without_a_share_is_empty(place: Place) -> None:
    assert place.admin("list", "--json").stdout == ""


def test_a_row_tells_what_is_known(place: Place) -> None:
    place.clock.now = 1_800_000_000
    container = place.store(password="geheim", sealed_only=True, opens=3, expires_in=DAY)
    row = place.admin("list").stdout.splitlines()[1]
    assert re.split(r"  +", row) == [
        container.id,
        "live",
        f"{len(container.whole) / 1024:.1f} KiB",
        "2027-01-15 08:00 UTC",
        "2027-01-16 08:00 UTC",
        "0 of 3",
        "password,sealed-only",
    ]


def test_a_row_of_a_plain_share(place: Place) -> None:
    link = place.upload()
    assert place.opens(link)
    assert re.split(r"  +", place.admin("list").stdout.splitlines()[1])[4:] == ["never", "1", "-"]


def test_a_row_of_an_upload_that_is_open(place: Place) -> None:
    begin(place.door, seal(b"abc"))
    row = re.split(r"  +", place.admin("list").stdout.splitlines()[1])
    assert (row[1], row[2], row[4]) == ("open", "-", "-")


def test_the_columns_stand_below_each_other(place: Place) -> None:
    place.store(password="geheim", opens=3, expires_in=DAY)
    place.upload(5_000_000)
    begin(place.door, seal(b"abc"))
    head, *rows = place.admin("list").stdout.splitlines()
    for title in ("STATE", "CREATED", "EXPIRES", "OPENED", "FLAGS"):
        at = head.index(title)
        assert all(row[at - 2 : at] == "  " and row[at] != " " for row in rows)


def test_the_newest_is_last(place: Place) -> None:
    made = []
    for _ in range(5):
        place.clock.now += 60
        made.append(id_of(place.upload()))
    assert [entry["id"] for entry in place.listed()] == made


def test_as_json_it_tells_all_that_is_known(place: Place) -> None:
    place.clock.now = 1_800_000_000
    container = place.store(password="geheim", opens=3, expires_in=DAY)
    place.door.ask("POST", f"{container.share}/open", container.by_access())
    assert place.listed() == [
        {
            "id": container.id,
            "state": "live",
            "size": len(container.whole),
            "created": "2027-01-15T08:00:00Z",
            "finished": "2027-01-15T08:00:00Z",
            "expires": "2027-01-16T08:00:00Z",
            "died": None,
            "last_opened": "2027-01-15T08:00:00Z",
            "opened": 1,
            "opens": 3,
            "password": True,
            "sealed_only": False,
        }
    ]


@pytest.mark.parametrize("state", ["live", "open", "dead"])
def test_a_state_is_all_that_is_listed(place: Place, state: str) -> None:
    place.upload()
    place.upload(query="?expires=1h")
    begin(place.door, seal(b"abc"))
    place.clock.now += 3601
    sweep_once(place.app)
    assert [entry["state"] for entry in place.listed("--state", state)] == [state]
    assert len(place.admin("list", "--state", state).stdout.splitlines()) == 2


def test_a_state_that_there_is_not_is_refused(place: Place) -> None:
    assert place.admin("list", "--state", "gone").exit_code == 2


def test_no_list_tells_a_name(place: Place) -> None:
    link = place.upload()
    said = "".join(place.admin(*arguments).output for arguments in (["list"], ["list", "--json"], ["show", link]))
    assert place.ids()[0] in said
    assert "secret-name" not in said


# Show.


def test_show_tells_all_that_is_known(place: Place) -> None:
    place.clock.now = 1_800_000_000
    container = place.store(password="geheim", sealed_only=True, opens=3, expires_in=DAY)
    place.door.ask("POST", f"{container.share}/open", container.by_access())
    size = f"{len(container.whole) / 1024:.1f} KiB ({len(container.whole)} bytes)"
    assert place.shown(container.id) == {
        "id": container.id,
        "state": "live",
        "size": size,
        "created": "2027-01-15 08:00 UTC",
        "finished": "2027-01-15 08:00 UTC",
        "expires": "2027-01-16 08:00 UTC",
        "died": "-",
        "opened": "1 of 3",
        "last opened": "in the hour from 2027-01-15 08:00 UTC",
        "password": "yes",
        "sealed only": "yes",
        "chunks of": "4 KiB (4096 bytes)",
        "parts": f"{len(container.parts)}, {size}, as recorded",
        "files": f"{len(container.parts)}, {size}, in the store",
        "": "The sizes of all parts and files agree.",
    }


def test_show_tells_of_a_plain_share(place: Place) -> None:
    found = place.shown(place.upload())
    assert [found[name] for name in ("expires", "opened", "last opened", "password", "sealed only")] == [
        "never",
        "0 of any number",
        "-",
        "no",
        "no",
    ]


def test_show_tells_of_an_upload_that_is_open(place: Place) -> None:
    container = seal(bytes(20_000))
    begin(place.door, container)
    put(place.door, container, 0)
    found = place.shown(container.id)
    assert [found[name][:2] for name in ("state", "size", "finished", "expires", "parts", "files")] == [
        "op",
        "-",
        "-",
        "-",
        "1,",
        "1,",
    ]


def test_show_tells_of_what_is_dead(place: Place) -> None:
    container = place.store(expires_in=60)
    place.clock.now += 61
    sweep_once(place.app)
    found = place.shown(container.id)
    assert (found["state"], found["died"] != "-", found[""]) == (
        "dead",
        True,
        "The sizes of all parts and files agree.",
    )


def test_show_tells_of_a_part_without_a_file(place: Place) -> None:
    container = place.store()
    next(file for file in place.files(container.id) if file.name.startswith("1-")).unlink()
    assert place.shown(container.id)[""] == "Part 1 has no file."


def test_show_tells_that_no_file_is_left(place: Place) -> None:
    container = place.store()
    shutil.rmtree(place.folder / "blobs" / container.id)
    found = place.shown(container.id)
    assert found["files"] == "0, 0 bytes, in the store"
    assert found[""] == " ".join(f"Part {number} has no file." for number in range(len(container.parts)))


def test_show_tells_of_a_file_of_another_size(place: Place) -> None:
    container = place.store()
    first = place.files(container.id)[0]
    size = first.stat().st_size
    os.truncate(first, size - 1)
    assert place.shown(container.id)[""] == f"The file of part 0 has {size - 1} bytes in place of {size}."


def test_show_tells_of_files_that_are_of_no_part(place: Place) -> None:
    container = place.store()
    for name in ("0-0123456789abcdef", "7-0123456789abcdef.tmp"):
        (place.folder / "blobs" / container.id / name).write_bytes(b"abc")
    assert place.shown(container.id)[""] == "Files that are of no part: 2."


def test_show_shows_several_in_the_order_in_which_they_were_named(place: Place) -> None:
    made = [place.store().id for _ in range(3)][::-1]
    ran = place.admin("show", *made)
    assert re.findall(r"^id +(\w+)$", ran.stdout, re.MULTILINE) == made


def test_show_shows_each_once(place: Place) -> None:
    container = place.store()
    ran = place.admin("show", container.id, f"{HOST}/#{container.token}", container.id)
    assert re.findall(r"^id +(\w+)$", ran.stdout, re.MULTILINE) == [container.id]


def test_what_is_not_there_cannot_be_shown(place: Place) -> None:
    container = place.store()
    ran = place.admin("show", UNKNOWN, container.id)
    assert ran.exit_code == 1
    assert container.id in ran.stdout
    assert ran.stderr == f"There is nothing with the id {UNKNOWN}: it was removed, or was never here.\n"


def test_looking_is_no_open(place: Place) -> None:
    container = place.store(opens=1)
    place.admin("show", f"{HOST}/#{container.token}")
    assert place.listed()[0]["opened"] == 0


# Names: an id, or a link of any form.


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"{TOKEN}.png",
        f"/{TOKEN}.png",
        f"{HOST}/{TOKEN}",
        f"{HOST}/{TOKEN}.tar.gz",
        f"{HOST}/{TOKEN}.zip",
        f"{HOST}/{TOKEN}/2/holiday%20picture.jpg",
        f"{HOST}/{TOKEN}?lease={OTHER}",
        f"{HOST}/{TOKEN}.mp4#t=10",
        f"{HOST}/{TOKEN}/1/x%23{OTHER}",
        f"{HOST}/{TOKEN}/1/x#{OTHER}",
        f"{HOST}/{TOKEN}#{OTHER}",
        f"http://127.0.0.1:8000/{TOKEN}",
        f"http://[::1]:8000/{TOKEN}",
        f"files.example.org/{TOKEN}.png",
        f"files.example.org:8000/{TOKEN}.png",
        f"{HOST}/#{TOKEN}",
        f"{HOST}#{TOKEN}",
        f"#{TOKEN}",
        f"/#{TOKEN}",
        f"files.example.org/#{TOKEN}",
        f"{HOST}/?lng=de#{TOKEN}",
        f"{HOST}/%23{TOKEN}",
        f"{HOST}/%23{TOKEN}?utm_source=mail",
        f"{HOST}/?lng=de%23{TOKEN}",
        f"{HOST}/#{TOKEN}&view=list",
        f"{HOST}/manage/{ID}/{OWNER}",
        f"{HOST}/manage/{ID}/{OWNER}/delete",
        f"/manage/{ID}/{OWNER}",
        f"{HOST}/api/v1/shares/{ID}",
        f"{HOST}/api/v1/uploads/{ID}/parts/0",
        ID,
        f"  {ID}\n",
        f"<{HOST}/{TOKEN}.png>",
        f"\t{HOST}/#{TOKEN}\r\n",
    ],
)
def test_a_share_is_named_by(text: str) -> None:
    assert named_by(text) == (ID,)


@pytest.mark.parametrize(
    "text",
    [f"{HOST}/#{TOKEN}&{OTHER}", f"{HOST}/%23{TOKEN}&{OTHER}", f"{HOST}/?lng=de#{TOKEN}&{OTHER}&view=list"],
)
def test_a_link_names_all_that_is_in_it(text: str) -> None:
    assert named_by(text) == (ID, OTHER_ID)


NAMELESS = [
    "",
    "x",
    HOST,
    f"{HOST}/",
    f"{HOST}/#",
    f"{HOST}/#lng=de",
    f"{HOST}/about",
    TOKEN[:-1],
    f"{TOKEN}A",
    f"{HOST}/{TOKEN[:-1]}",
    f"{HOST}/{TOKEN}A.png",
    f"{HOST}/#{TOKEN[:-1]}",
    f"{HOST}/#{TOKEN}&{OTHER[:-1]}",
    f"{HOST}/#{TOKEN}&",
    f"{HOST}/a/{TOKEN}",
    f"{HOST}/about#{TOKEN}",
    f"{HOST}/?link={TOKEN}",
    f"{HOST}/manage/{ID[:-1]}/{OWNER}",
    f"{HOST}/manage/{ID}A/{OWNER}",
    f"http://[::1/{TOKEN}",
    ID[:-1],
    ID.upper()[:-1],
    f"{ID} {ID}",
]


@pytest.mark.parametrize("text", NAMELESS)
def test_no_share_is_named_by(text: str) -> None:
    with pytest.raises(BadRequest, match=r"\Ais neither an id nor a link to a share\Z"):
        named_by(text)


@given(st.text() | st.from_regex(r"(https?://[a-z.]*)?/?(%23|#|manage/)?[A-Za-z0-9_-]{30,34}[&./?#%]?.*"))
def test_whatever_is_given_names_ids_or_nothing(text: str) -> None:
    try:
        found = named_by(text)
    except BadRequest:
        return
    assert all(re.fullmatch("[0-9a-f]{32}", share) for share in found)


@pytest.mark.parametrize("text", ["x", f"{HOST}/{TOKEN[:-1]}", f"{HOST}/#{TOKEN}&{OTHER[:-1]}"])
def test_what_names_no_share_is_refused_and_not_repeated(place: Place, text: str) -> None:
    ran = place.admin("show", UNKNOWN, text)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "Error: Argument 2 is neither an id nor a link to a share.\n" in ran.stderr
    assert text not in ran.stderr
    assert TOKEN[:-1] not in ran.stderr


def test_a_line_that_names_no_share_is_told_by_its_number(place: Place) -> None:
    ran = place.admin("show", "-", given=f"{UNKNOWN}\n\n{HOST}/{TOKEN[:-1]}\n")
    assert ran.exit_code == 2
    assert "Error: Line 3 of standard input is neither an id nor a link to a share.\n" in ran.stderr


@pytest.mark.parametrize("given", ["", "\n \n"])
def test_an_empty_standard_input_names_no_share(place: Place, given: str) -> None:
    ran = place.admin("delete", "--yes", "-", given=given)
    assert (ran.exit_code, "Error: No share is named.\n" in ran.stderr) == (2, True)


def test_what_is_not_utf8_names_no_share(place: Place) -> None:
    ran = CliRunner().invoke(main, ["admin", "show", "-"], input=b"\xff\xfe\n")
    assert (ran.exit_code, "Line 1 of standard input" in ran.stderr) == (2, True)


@pytest.mark.parametrize("command", [["show"], ["delete"], ["delete", "--yes"]])
def test_without_a_name_nothing_is_done(place: Place, command: list[str]) -> None:
    container = place.store()
    assert place.admin(*command).exit_code == 2
    assert place.ids() == [container.id]


# Delete.


def test_a_share_is_deleted_for_good(place: Place) -> None:
    link = place.upload()
    share = id_of(link)
    ran = place.admin("delete", "--yes", share)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert re.fullmatch(rf"Deleted {share} \(live, [0-9.]+ KiB, created [^\n)]+\)\.\n", ran.stdout)
    assert not place.opens(link)
    assert (place.ids(), (place.folder / "blobs" / share).exists()) == ([], False)


def test_a_deleted_id_is_taken_for_ever(place: Place) -> None:
    container = place.store()
    place.admin("delete", "--yes", container.id)
    assert begin(place.door, container).error == (409, "taken")


FORMS: Mapping[str, Callable[[Container], str]] = {
    "id": lambda share: share.id,
    "direct": lambda share: f"{HOST}/{share.token}.png",
    "sealed": lambda share: f"{HOST}/?lng=de#{share.token}",
    "%23": lambda share: f"{HOST}/%23{share.token}",
    "owner": lambda share: f"{HOST}/manage/{share.id}/{links.write_token(share.owner)}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("from_input", [False, True], ids=["argument", "standard input"])
def test_what_is_deleted_is_what_was_named(place: Place, form: Callable[[Container], str], from_input: bool) -> None:
    container, other = place.store(), place.store()
    named = form(container)
    ran = place.admin("delete", "--yes", "-" if from_input else named, given=f"{named}\n" if from_input else "")
    assert (ran.exit_code, place.ids()) == (0, [other.id])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_token_is_printed(place: Place, form: Callable[[Container], str]) -> None:
    container = place.store()
    named = form(container)
    ran = [place.admin(*command, named) for command in (["show"], ["delete"], ["delete", "--yes"], ["delete", "--yes"])]
    said = "".join(one.output for one in ran)
    assert [one.exit_code for one in ran] == [0, 2, 0, 1]
    assert [secret for secret in (container.token, links.write_token(container.owner)) if secret in said] == []


def test_several_are_deleted_at_once(place: Place) -> None:
    made = [place.store() for _ in range(4)]
    ran = place.admin("delete", "--yes", f"{HOST}/#{made[0].token}&{made[1].token}", "-", given=f"{made[2].id}\n")
    assert ran.exit_code == 0
    assert re.findall(r"^Deleted (\w+)", ran.stdout, re.MULTILINE) == [share.id for share in made[:3]]
    assert place.ids() == [made[3].id]


def test_what_is_unknown_does_not_keep_the_rest(place: Place) -> None:
    container = place.store()
    ran = place.admin("delete", "--yes", UNKNOWN, container.id)
    assert (ran.exit_code, place.ids()) == (1, [])
    assert ran.stdout.startswith(f"Deleted {container.id} ")
    assert ran.stderr == f"There is nothing with the id {UNKNOWN}: it was removed, or was never here.\n"


def test_what_cannot_be_read_keeps_the_rest(place: Place) -> None:
    container = place.store()
    assert place.admin("delete", "--yes", container.id, "nonsense").exit_code == 2
    assert place.ids() == [container.id]


def test_an_upload_that_is_open_is_given_up(place: Place) -> None:
    container = seal(bytes(20_000))
    begin(place.door, container)
    put(place.door, container, 0)
    ran = place.admin("delete", "--yes", container.id)
    assert ran.stdout.startswith(f"Deleted {container.id} (open, created ")
    assert place.door.ask("GET", container.upload, container.by_owner).status == 404
    assert (place.ids(), place.files(container.id)) == ([], [])


def test_what_is_dead_is_removed_at_once(place: Place) -> None:
    container = place.store(expires_in=60)
    place.clock.now += 61
    sweep_once(place.app)
    ran = place.admin("delete", "--yes", container.id)
    assert ran.stdout.startswith(f"Deleted {container.id} (dead, ")
    assert (place.ids(), place.files(container.id)) == ([], [])


def test_files_that_cannot_be_removed_are_told(place: Place) -> None:
    link = place.upload()
    share = id_of(link)
    (place.folder / "blobs" / share / "a folder").mkdir()
    ran = place.admin("delete", "--yes", share)
    assert "its files could not be removed" in ran.stderr
    assert (ran.exit_code, ran.stdout, place.opens(link)) == (1, "", False)


@pytest.mark.parametrize("given", ["", "y\n"])
def test_where_nobody_can_be_asked_nothing_is_deleted(place: Place, given: str) -> None:
    container = place.store()
    ran = place.admin("delete", container.id, given=given)
    assert (ran.exit_code, ran.stdout, place.ids()) == (2, "", [container.id])
    assert "--yes deletes without asking" in ran.stderr


class Terminal:
    """`onekey admin` at a terminal, with somebody who types."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.said = b""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [*ONEKEY, "admin", *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=place.folder
        )
        os.close(slave)

    def until(self, words: bytes) -> None:
        """Read what it prints until these words come."""
        while words not in self.said:
            piece = os.read(self.master, 4096)
            assert piece, self.said
            self.said += piece

    def type(self, keys: bytes) -> None:
        """Type."""
        os.write(self.master, keys)

    def end(self) -> int:
        """Read to the end; gives the exit status."""
        try:
            while piece := os.read(self.master, 4096):
                self.said += piece
        except OSError:  # how a terminal says that nobody is there any more
            pass
        os.close(self.master)
        return self.process.wait(PATIENCE)


@pytest.mark.parametrize(("answer", "status", "deleted"), [(b"y\n", 0, True), (b"n\n", 1, False), (b"\n", 1, False)])
def test_at_a_terminal_it_asks(place: Place, answer: bytes, status: int, deleted: bool) -> None:
    container = place.store()
    terminal = Terminal(place, "delete", container.id)
    terminal.until(b"Delete it for good? [y/N]: ")
    assert f"{container.id} (live, ".encode() in terminal.said
    terminal.type(answer)
    assert (terminal.end(), place.ids()) == (status, [] if deleted else [container.id])


def test_at_a_terminal_ctrl_c_deletes_nothing(place: Place) -> None:
    container = place.store()
    terminal = Terminal(place, "delete", container.id)
    terminal.until(b"for good? [y/N]: ")
    terminal.process.send_signal(signal.SIGINT)
    assert (terminal.end(), place.ids()) == (1, [container.id])


def test_at_a_terminal_links_are_pasted_and_then_confirmed(place: Place) -> None:
    made = [place.store(), place.store()]
    terminal = Terminal(place, "delete", "-")
    for container in made:
        terminal.type(f"{HOST}/#{container.token}\n".encode())
    terminal.type(b"\x04")
    terminal.until(b"Delete these 2 for good? [y/N]: ")
    terminal.type(b"y\n")
    assert (terminal.end(), place.ids()) == (0, [])


def test_at_a_terminal_it_does_not_ask_about_nothing(place: Place) -> None:
    terminal = Terminal(place, "delete", UNKNOWN)
    assert (terminal.end(), b"[y/N]" in terminal.said) == (1, False)


# Stats.


def stats(place: Place) -> str:
    """What `stats` tells, with one space where there are several."""
    ran = place.admin("stats")
    assert (ran.exit_code, ran.stderr) == (0, "")
    return re.sub(" +", " ", ran.stdout)


def test_stats_of_an_empty_place(place: Place) -> None:
    assert re.fullmatch(
        r"open 0\nlive 0\ndead 0\nstored 0 bytes\nfree [^\n]+ bytes\)\noldest -\nstored_bytes 0\n", stats(place)
    )


def test_stats_count_by_state(place: Place) -> None:
    place.upload(query="?expires=1h")
    place.upload()
    place.upload()
    begin(place.door, seal(b"abc"))
    place.clock.now += 3601
    sweep_once(place.app)
    assert stats(place).startswith("open 1\nlive 2\ndead 1\n")


def test_stats_tell_the_bytes_that_are_stored(place: Place) -> None:
    place.upload(50_000)
    size = sum(file.stat().st_size for share in place.ids() for file in place.files(share))
    assert f"\nstored {size / 1024:.1f} KiB ({size} bytes)\n" in stats(place)


def test_stats_tell_the_oldest(place: Place) -> None:
    place.clock.now = 1_800_000_000
    oldest = id_of(place.upload())
    place.clock.now += 60
    place.upload()
    assert f"\noldest 2027-01-15 08:00 UTC ({oldest})\n" in stats(place)


def test_stats_tell_what_was_counted(place: Place) -> None:
    place.opens(place.upload())
    assert {"opens unlimited 1", "uploads direct 1", "requests intake PUT 201 1"} <= set(stats(place).splitlines())


# While servers run.


def test_it_works_while_a_server_runs(server: Server, tmp_path: Path) -> None:
    link = requests.put(f"{server.url}/a.bin", data=bytes(100_000), timeout=60).text.strip()
    settings = {"CONTENT_DIR": str(server.content), "MIN_FREE_SPACE": "0"}
    listed = run("admin", "list", folder=tmp_path, **settings)
    assert f"\n{id_of(link)}  live " in listed.stdout
    deleted = run("admin", "delete", "--yes", "-", folder=tmp_path, given=f"{link}\n", **settings)
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert requests.get(link, timeout=60).status_code == 404


def test_a_list_can_be_cut_by_its_reader(place: Place) -> None:
    for _ in range(3):
        place.store()
    command = f"{sys.executable} -m onekey admin list --json | head -n 1"
    ran = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (len(ran.stdout.splitlines()), ran.stderr) == (1, "")
