"""A client that knows the documents and nothing of the package: what it seals opens, over lines that break.

The client is tests/sealed_client.py; where a process matters it runs as one.
"""

import ast
import hashlib
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import sealed_client as own
from tests.conftest import needs
from tests.cutting_proxy import CuttingProxy
from tests.servers import ROOT, Server, curl, wait_for

SCRIPT = ROOT / "tests" / "sealed_client.py"
VECTORS = ROOT / "tests" / "vectors"
MIB = 1 << 20
CHUNK = 4096
PART_CHUNKS = 2
PART = PART_CHUNKS * CHUNK
LENGTH = 4 * PART + 1000
"""Five parts, the last with one chunk that is not full."""
MakeServer = Callable[..., Server]


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the client as a process of its own."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """What a command that went well printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["answer"]


def digest(path: Path) -> str:
    """A file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Share:
    """A file, its secrets, each in a file too, and the password if there is one."""

    folder: Path
    file: Path
    seed: bytes
    owner: bytes
    password: bytes | None = None

    @classmethod
    def make(cls, folder: Path, length: int = LENGTH, password: bytes | None = None) -> "Share":
        """Random content of this length, and secrets that nothing was sealed with."""
        made = cls(folder, folder / "film.bin", own.new_seed(), secrets.token_bytes(24), password)
        made.file.write_bytes(random.Random(length).randbytes(length))
        (folder / "seed").write_text(own.spell(made.seed))
        (folder / "owner").write_text(own.spell(made.owner))
        if password is not None:
            (folder / "password").write_bytes(password)
        return made

    @property
    def arguments(self) -> list[object]:
        """What the script has to know of it."""
        known: list[object] = ["--seed-file", self.folder / "seed", "--owner-file", self.folder / "owner"]
        return known if self.password is None else [*known, "--password-file", self.folder / "password"]

    def begin(self, server: own.Server, *parts: int) -> own.Upload:
        """Begin its upload, and store these parts of it only."""
        head = own.new_head(self.password, chunk_log=12, iterations=1, memory=13)
        keys = own.Keys.derive(self.seed, head, self.password)
        header = head + keys.commitment
        upload = own.Upload.begin(server, self.seed, self.owner, header, keys.access, PART_CHUNKS)
        sealing = own.Sealing(self.file, header, keys, PART_CHUNKS)
        for number in parts:
            put(upload, sealing, number)
        return upload

    def resume(self, server: Server) -> subprocess.CompletedProcess[str]:
        """Go on in another process."""
        return script("resume", "--server", server.url, *self.arguments, self.file)

    def resume_here(self, server: Server) -> own.Report:
        """The same without a process, of which the client keeps nothing anyhow."""
        return own.resume(own.Server(server.url), self.file, self.seed, self.owner, self.password)

    def content(self, server: own.Server) -> bytes:
        """What it opens to."""
        return b"".join(opened(server, self.seed, self.password).read())

    def change(self, at: int) -> None:
        """Change one byte."""
        data = bytearray(self.file.read_bytes())
        data[at] ^= 1
        self.file.write_bytes(data)


def put(upload: own.Upload, sealing: own.Sealing, number: int) -> dict[str, Any]:
    """Seal one part and store it."""
    mark = sealing.mark(number)
    return upload.put(number, sealing.size(number), mark, lambda: sealing.sealed(number, mark))


def opened(server: own.Server, seed: bytes, password: bytes | None = None) -> own.Opened:
    """A share, opened, with its lease if it needs one."""
    share = own.Opened(server, seed, password)
    share.take()
    return share


@pytest.fixture
def share(tmp_path: Path) -> Share:
    """A file of five parts."""
    return Share.make(tmp_path)


# The documents


def examples() -> dict[str, str]:
    """The worked example of format.md."""
    text = (ROOT / "docs" / "format.md").read_text().partition("## 5. Worked example")[2].partition("## 6.")[0]
    return {
        found[1]: found[2] for found in re.finditer(r"(?m)^    (\S.*?\S)  +([0-9a-zA-Z]+)(?: \(24 bytes\))?$", text)
    }


def test_the_client_imports_the_standard_library_and_cryptography_only() -> None:
    tree = ast.walk(ast.parse(SCRIPT.read_text()))
    names = {one.name for node in tree if isinstance(node, ast.Import) for one in node.names}
    names |= {str(node.module) for node in ast.walk(ast.parse(SCRIPT.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"cryptography"}


@pytest.mark.parametrize("what", ["blob id", "knock", "commitment", "content key", "access", "mark of part 0"])
def test_the_client_derives_what_the_worked_example_says(what: str, tmp_path: Path) -> None:
    seed, head = bytes(range(24)), b"1KEY" + bytes([1, 1, 12]) + bytes(25) + bytes(range(32, 64))
    file = tmp_path / "hi.txt"
    file.write_bytes(b"hello, onekey\n")
    keys = own.Keys.derive(seed, head, None)
    found = {
        "blob id": own.blob_id(seed),
        "knock": own.knock(seed).hex(),
        "commitment": keys.commitment.hex(),
        "content key": keys.content.hex(),
        "access": keys.access.hex(),
        "mark of part 0": own.Sealing(file, head + keys.commitment, keys, 1).mark(0).hex(),
    }
    assert found[what] == examples()[what]


def test_the_client_takes_as_many_chunks_into_a_part_as_the_document_says() -> None:
    assert own.most_chunks(1 << 18, 16 * MIB) == 59


# 100 MiB over a line that breaks, from a process that is killed


@dataclass(frozen=True)
class Voyage:
    """How a large file came to the server, and back."""

    film: Share
    resumed: subprocess.CompletedProcess[str]
    fetched: subprocess.CompletedProcess[str]
    target: Path
    cuts: list[str]
    proxy: CuttingProxy


@pytest.fixture(scope="module")
def voyage(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voyage]:
    """Sealed and sent three parts at once over a cut line, killed on the way, resumed, opened over that line."""
    folder = tmp_path_factory.mktemp("voyage")
    film = Share(folder, folder / "film.mkv", b"", b"")
    film.file.write_bytes(random.Random(1).randbytes(100 * MIB))
    with CuttingProxy(server.port, every=5) as proxy:
        command = [sys.executable, SCRIPT, "seal-and-upload", "--server", proxy.url, *film.arguments]
        more = ["--parts-at-once", 3, "--part-chunks", 16, "--stop-after", 10, film.file]
        with subprocess.Popen([*map(str, [*command, *more])], stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout
            assert first.stdout.readline() == "stopped\n"
            first.send_signal(signal.SIGKILL)
        seed, owner = (own.unspell((folder / name).read_text()) for name in ("seed", "owner"))
        resumed = script("resume", "--server", proxy.url, *film.arguments, film.file)
        link = answer(resumed)["link"]
        fetched = script("open", link, "-o", folder / "fetched")
        film = Share(folder, film.file, seed, owner)
        yield Voyage(film, resumed, fetched, folder / "fetched", [way for _, way in proxy.cuts], proxy)


def test_the_line_was_cut_in_both_directions(voyage: Voyage) -> None:
    assert set(voyage.cuts) == {"up", "down"}


def test_the_first_process_was_killed_midway(voyage: Voyage) -> None:
    assert 10 <= len(answer(voyage.resumed)["kept"]) <= 12


def test_the_second_process_sends_only_what_is_missing(voyage: Voyage) -> None:
    done = answer(voyage.resumed)
    assert sorted(done["sent"]) == sorted(set(range(25)) - set(done["kept"]))


def test_100_mib_come_back_equal(voyage: Voyage) -> None:
    assert (voyage.fetched.returncode, digest(voyage.target)) == (0, digest(voyage.film.file))


@pytest.mark.parametrize("which", ["resumed", "fetched"])
def test_the_client_holds_a_few_chunks_at_a_time(voyage: Voyage, which: str) -> None:
    done: subprocess.CompletedProcess[str] = getattr(voyage, which)
    assert json.loads(done.stdout)["peak_kib"] < 64 * 1024


def test_random_ranges_are_equal_over_the_cut_line(voyage: Voyage) -> None:
    dice, through = random.Random(2), own.Server(voyage.proxy.url)
    share = opened(through, voyage.film.seed)
    with voyage.film.file.open("rb") as file:
        for _ in range(60):
            start, size = dice.randrange(100 * MIB), int(2 ** dice.uniform(0, 20))
            file.seek(start)
            assert b"".join(share.read(start, size)) == file.read(size)


def test_a_range_is_fetched_by_a_process_of_its_own(voyage: Voyage, tmp_path: Path) -> None:
    start, size = 256 * 1024 - 7, 3 * 256 * 1024
    answer(script("range", answer(voyage.resumed)["link"], start, size, "-o", tmp_path / "range"))
    assert (tmp_path / "range").read_bytes() == voyage.film.file.read_bytes()[start : start + size]


def test_a_line_that_always_breaks_is_given_up(server: Server, share: Share) -> None:
    with CuttingProxy(server.port, every=1) as proxy:
        with pytest.raises(own.Unreachable):
            share.begin(own.Server(proxy.url))
        assert proxy.connections == own.TRIES


def test_parts_arrive_over_a_slow_line(server: Server, share: Share) -> None:
    with CuttingProxy(server.port, every=5, delay=0.001) as proxy:
        answer(
            script(
                "resume", "--server", share.begin(own.Server(proxy.url), 4).server.urls[0], *share.arguments, share.file
            )
        )
    assert share.content(own.Server(server.url)) == share.file.read_bytes()


# Going on with a file that is, or is not, still the same

STORED = (4, 0, 2)
"""The parts that a process left, of five."""


def test_an_unchanged_file_goes_on_under_its_seed(server: Server, share: Share) -> None:
    share.begin(own.Server(server.url), *STORED)
    assert answer(share.resume(server))["sent"] == [1, 3]
    assert share.content(own.Server(server.url)) == share.file.read_bytes()


def test_an_upload_without_any_part_goes_on(server: Server, share: Share) -> None:
    share.begin(own.Server(server.url))
    assert share.resume_here(server).sent == [4, 0, 1, 2, 3]


def test_a_finished_upload_is_resumed_by_doing_nothing(server: Server, share: Share) -> None:
    share.begin(own.Server(server.url), *STORED)
    finished = share.resume_here(server).finished
    again = share.resume_here(server)
    assert (again.sent, again.finished) == ([], finished)


@pytest.mark.parametrize("change", ["byte", "length"])
def test_a_process_that_finds_the_file_changed_says_what_to_do(server: Server, share: Share, change: str) -> None:
    share.begin(own.Server(server.url), *STORED)
    share.change(5) if change == "byte" else os.truncate(share.file, LENGTH - 1)
    done = share.resume(server)
    assert (done.returncode, "start over with a new seed" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "at", [0, PART - 1, 2 * PART, 2 * PART + CHUNK, 3 * PART - 1, 4 * PART, LENGTH - 1], ids=lambda at: f"byte {at}"
)
def test_one_changed_byte_in_a_stored_part_is_refused(server: Server, share: Share, at: int) -> None:
    upload = share.begin(own.Server(server.url), *STORED)
    before = upload.state()
    share.change(at)
    with pytest.raises(own.Changed):
        share.resume_here(server)
    assert upload.state() == before


@pytest.mark.parametrize("at", [PART, 2 * PART - 1, 3 * PART + CHUNK], ids=lambda at: f"byte {at}")
def test_a_byte_changed_in_a_part_that_is_not_stored_is_sealed_as_it_is_now(
    server: Server, share: Share, at: int
) -> None:
    """No mark can know of it. Nothing of the old content is stored, so the share opens to what the file holds now."""
    share.begin(own.Server(server.url), *STORED)
    share.change(at)
    share.resume_here(server)
    assert share.content(own.Server(server.url)) == share.file.read_bytes()


@pytest.mark.parametrize("length", [0, PART, 3 * PART, 4 * PART, LENGTH - 1, LENGTH + 1, 5 * PART, 6 * PART + 1])
def test_another_length_is_refused(server: Server, share: Share, length: int) -> None:
    upload = share.begin(own.Server(server.url), *STORED)
    before = upload.state()
    data = share.file.read_bytes()
    share.file.write_bytes(data[:length].ljust(length, b"."))
    with pytest.raises(own.Changed):
        share.resume_here(server)
    assert upload.state() == before


@pytest.mark.parametrize("length", [PART, 2 * PART - 1, 2 * PART, 2 * PART + 1])
def test_a_file_that_ends_before_a_stored_part_does_is_refused(server: Server, share: Share, length: int) -> None:
    share.begin(own.Server(server.url), 0, 2)
    os.truncate(share.file, length)
    with pytest.raises(own.Changed):
        share.resume_here(server)


def test_a_file_that_grew_behind_a_last_part_that_was_full_is_refused(server: Server, tmp_path: Path) -> None:
    share = Share.make(tmp_path, 3 * PART)
    share.begin(own.Server(server.url), 2)
    with share.file.open("ab") as file:
        file.write(b".")
    with pytest.raises(own.Changed, match="length"):
        share.resume_here(server)


def test_a_file_that_grew_before_its_last_part_was_stored_is_sealed_as_it_is_now(server: Server, share: Share) -> None:
    """Parts sent in order say nothing of the length; that is why the client sends the last one first."""
    share.begin(own.Server(server.url), 0, 1, 2)
    with share.file.open("ab") as file:
        file.write(bytes(2 * PART))
    share.resume_here(server)
    assert share.content(own.Server(server.url)) == share.file.read_bytes()


def test_a_file_that_changes_while_it_is_sent_is_not_stored(server: Server, share: Share) -> None:
    upload = share.begin(own.Server(server.url))
    header = own.unspell(upload.state()["header"])
    sealing = own.Sealing(share.file, header, own.Keys.derive(share.seed, header[:64], None), PART_CHUNKS)
    mark = sealing.mark(1)
    share.change(PART)
    with pytest.raises(own.Changed):
        upload.put(1, sealing.size(1), mark, lambda: sealing.sealed(1, mark))
    assert upload.state()["parts"] == []


def test_a_part_that_is_sent_again_has_new_nonces_and_the_same_mark(server: Server, share: Share) -> None:
    upload = share.begin(own.Server(server.url), 1)
    header = own.unspell(upload.state()["header"])
    sealing = own.Sealing(share.file, header, own.Keys.derive(share.seed, header[:64], None), PART_CHUNKS)
    first = upload.state()["parts"][0]
    second = put(upload, sealing, 1)
    assert (first["mark"] == second["mark"], first["sha256"] == second["sha256"]) == (True, False)


def test_no_nonce_comes_twice(tmp_path: Path) -> None:
    share = Share.make(tmp_path)
    head = own.new_head(None, chunk_log=12)
    sealing = own.Sealing(share.file, head + bytes(32), own.Keys.derive(share.seed, head, None), PART_CHUNKS)
    mark = sealing.mark(1)
    nonces = [piece[:12] for _ in range(50) for piece in sealing.sealed(1, mark) if piece]
    assert len(set(nonces)) == len(nonces) == 100


def test_another_seed_finds_no_upload(server: Server, share: Share) -> None:
    share.begin(own.Server(server.url), *STORED)
    (share.folder / "seed").write_text(own.spell(own.new_seed()))
    done = share.resume(server)
    assert (done.returncode, "404" in done.stderr) == (1, True)


def test_a_seed_that_was_used_seals_nothing_else(server: Server, share: Share) -> None:
    done = script("seal-and-upload", "--server", server.url, *share.arguments, share.file)
    assert (done.returncode, "is there already" in done.stderr) == (1, True)


# Passwords


@pytest.fixture(scope="module")
def locked(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Share, str]:
    """A share with a password, sealed at the cost that real ones have, and its link."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "password").write_bytes("pa\u0308ss ".encode())
    share = Share(folder, folder / "film.bin", b"", b"", b"?")
    share.file.write_bytes(random.Random(3).randbytes(LENGTH))
    done = answer(script("seal-and-upload", "--server", server.url, *share.arguments, share.file))
    return share, done["link"]


def test_the_password_opens(locked: tuple[Share, str], tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes("päss ".encode())
    answer(script("open", locked[1], "-o", tmp_path / "out", "--password-file", tmp_path / "password"))
    assert digest(tmp_path / "out") == digest(locked[0].file)


def test_the_password_costs_what_the_format_says(locked: tuple[Share, str]) -> None:
    url, seed = own.read_link(locked[1])
    head = own.unspell(own.Server(str(url)).call("GET", f"/shares/{own.blob_id(seed)}", own.knock(seed))["header"])
    assert (len(head), *head[7:12]) == (64, 1, 1, 3, 16, 1)


def test_a_wrong_password_is_403(locked: tuple[Share, str], tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes("päss".encode())
    done = script("open", locked[1], "-o", tmp_path / "out", "--password-file", tmp_path / "password")
    assert (done.returncode, "403 wrong_password" in done.stderr, (tmp_path / "out").exists()) == (1, True, False)


def test_no_password_is_not_even_asked_about(locked: tuple[Share, str], tmp_path: Path) -> None:
    done = script("open", locked[1], "-o", tmp_path / "out")
    assert (done.returncode, "password needed" in done.stderr) == (4, True)


def test_an_upload_with_a_password_goes_on_with_the_password(server: Server, tmp_path: Path) -> None:
    share = Share.make(tmp_path, password="ключ".encode())
    share.begin(own.Server(server.url), *STORED)
    assert answer(share.resume(server))["sent"] == [1, 3]
    assert share.content(own.Server(server.url)) == share.file.read_bytes()


def test_an_upload_with_a_password_does_not_go_on_with_another(server: Server, tmp_path: Path) -> None:
    share = Share.make(tmp_path, password="ключ".encode())
    share.begin(own.Server(server.url), *STORED)
    (tmp_path / "password").write_bytes(b"key")
    assert share.resume(server).returncode == 4


@pytest.fixture
def guessed(server: Server, tmp_path: Path) -> Callable[[bytes], own.Refused | None]:
    """Shows one access to a share with a password, and gives the refusal."""
    share = Share.make(tmp_path, password=b"right")
    share.begin(own.Server(server.url), *STORED)
    share.resume_here(server)
    door, path = own.Server(server.url), f"/shares/{own.blob_id(share.seed)}"
    head = own.unspell(door.call("GET", path, own.knock(share.seed))["header"])
    shown = {"X-Onekey-Knock": own.spell(own.knock(share.seed))}

    def guess(password: bytes) -> own.Refused | None:
        try:
            door.send(
                "GET", f"{path}/index", own.Keys.derive(share.seed, head, password).access, list, 0, shown, tries=1
            )
        except own.Refused as refused:
            return refused
        return None

    return guess


def test_ten_wrong_passwords_are_answered(guessed: Callable[[bytes], own.Refused | None]) -> None:
    refused = [guessed(b"wrong %d" % number) for number in range(10)]
    assert {(one.code, one.error) for one in refused if one} == {(403, "wrong_password")}


@pytest.mark.parametrize("password", [b"wrong", b"right"])
def test_the_next_one_has_to_wait(guessed: Callable[[bytes], own.Refused | None], password: bytes) -> None:
    for number in range(10):
        guessed(b"wrong %d" % number)
    refused = guessed(password)
    assert refused
    assert (refused.code, 0 < int(refused.retry_after or 0) <= 60) == (429, True)


def test_the_same_wrong_password_is_one_guess(guessed: Callable[[bytes], own.Refused | None]) -> None:
    for _ in range(15):
        guessed(b"wrong")
    assert guessed(b"right") is None


# Limits


def sealed(server: str, folder: Path, *more: object, length: int = LENGTH) -> tuple[str, Path]:
    """A file, sealed and stored by a process; its link, and where its owner token is."""
    file = folder / "film.bin"
    file.write_bytes(random.Random(4).randbytes(length))
    keep = ["--seed-file", folder / "new-seed", "--owner-file", folder / "new-owner"]
    return answer(script("seal-and-upload", "--server", server, *keep, *more, file))["link"], folder / "new-owner"


def test_a_share_with_one_open_opens_once(server: Server, tmp_path: Path) -> None:
    link, _ = sealed(server.url, tmp_path, "--opens", 1)
    done = [script("open", link, "-o", tmp_path / name) for name in ("first", "second")]
    assert ([one.returncode for one in done], "404" in done[1].stderr) == ([0, 1], True)


def test_a_lease_outlasts_a_line_that_breaks(server: Server, tmp_path: Path) -> None:
    link, _ = sealed(server.url, tmp_path, "--opens", 1, length=2 * MIB)
    with CuttingProxy(server.port, every=4, directions=("down",)) as proxy:  # knock, index, open, content
        answer(script("open", link, "--server", proxy.url, "-o", tmp_path / "out"))
        assert proxy.cuts[0] == (4, "down")
    assert digest(tmp_path / "out") == digest(tmp_path / "film.bin")


def test_an_open_whose_answer_was_lost_comes_back_when_its_lease_ends(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(LEASE_TIME="1s")
    link, _ = sealed(server.url, tmp_path, "--opens", 1)
    with CuttingProxy(server.port, every=3, directions=("down",)) as proxy:
        lost = script("open", link, "--server", proxy.url, "-o", tmp_path / "out")
    assert (lost.returncode, "Unreachable" in lost.stderr) == (1, True)
    seed = own.read_link(link)[1]

    def again() -> bytes | None:
        try:
            return b"".join(opened(own.Server(server.url), seed).read())
        except own.Refused:
            return None

    assert wait_for(again) == (tmp_path / "film.bin").read_bytes()


def test_a_share_says_when_it_expires(server: Server, tmp_path: Path) -> None:
    link, owner = sealed(server.url, tmp_path, "--expires-in", 3600)
    told = answer(script("owner", "get", link, "--owner-file", owner))
    assert own.Server(server.url).call("GET", f"/shares/{told['id']}", own.knock(own.read_link(link)[1]))["expires"]


def test_an_expired_share_is_gone(server: Server, tmp_path: Path) -> None:
    link, owner = sealed(server.url, tmp_path, "--expires-in", 3600)
    answer(script("owner", "patch", link, "--owner-file", owner, "--expires-in", 1))
    seed = own.read_link(link)[1]

    def gone() -> int | None:
        try:
            own.Opened(own.Server(server.url), seed)
        except own.Refused as refused:
            return refused.code
        return None

    assert wait_for(gone) == 404


def test_the_owner_changes_the_number_of_opens(server: Server, tmp_path: Path) -> None:
    link, owner = sealed(server.url, tmp_path, "--opens", 1)
    answer(script("open", link, "-o", tmp_path / "out"))
    answer(script("owner", "patch", link, "--owner-file", owner, "--opens", 2))
    told = answer(script("owner", "get", link, "--owner-file", owner))
    answer(script("open", link, "-o", tmp_path / "out"))
    assert (told["opens"], told["opened"]) == (2, 1)


def test_what_the_owner_deletes_is_gone(server: Server, tmp_path: Path) -> None:
    link, owner = sealed(server.url, tmp_path)
    assert answer(script("owner", "delete", link, "--owner-file", owner)) is None
    assert "404" in script("open", link, "-o", tmp_path / "out").stderr


def test_only_the_owner_token_is_the_owner(server: Server, tmp_path: Path) -> None:
    link, _ = sealed(server.url, tmp_path)
    (tmp_path / "other").write_text(own.spell(secrets.token_bytes(24)))
    assert "404" in script("owner", "delete", link, "--owner-file", tmp_path / "other").stderr


# The vectors, and the direct door


def vectors() -> list[Any]:
    """Every vector that opens."""
    found = []
    for folder in (VECTORS, VECTORS / "own"):
        for vector in json.loads((folder / "vectors.json").read_text()):
            if vector["expect"] == "ok":
                found.append(pytest.param(folder / vector["file"], vector, id=vector["file"]))
    return found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, for containers whose blob ids are what they are."""
    with Server(tmp_path_factory.mktemp("shelf")) as running:
        yield running


Shelve = Callable[[Path, dict[str, Any]], tuple[own.Server, bytes, bytes | None]]


@pytest.fixture(scope="module")
def shelve(shelf: Server) -> Shelve:
    """Stores a vector part by part, once; gives its server, seed and password."""
    door, stored = own.Server(shelf.url), set[Path]()

    def store(path: Path, vector: dict[str, Any]) -> tuple[own.Server, bytes, bytes | None]:
        seed, password = own.unspell(vector["token"]), vector["password"]
        password = None if password is None else own.read_password(password.encode())
        if path not in stored:
            own.store_container(door, seed, bytes(24), path.read_bytes(), password, 1)
            stored.add(path)
        return door, seed, password

    return store


@pytest.mark.parametrize(("path", "vector"), vectors())
def test_a_vector_that_is_stored_part_by_part_opens_at_the_sealed_door(
    shelve: Shelve, path: Path, vector: dict[str, Any]
) -> None:
    share = opened(*shelve(path, vector))
    files = sum(file["size"] for file in share.index["files"])
    assert hashlib.sha256(b"".join(share.read(0, files))).hexdigest() == vector["sha256"]


@pytest.mark.parametrize(("path", "vector"), vectors())
def test_a_vector_that_is_stored_part_by_part_opens_at_the_direct_door(
    shelve: Shelve, path: Path, vector: dict[str, Any]
) -> None:
    needs("curl")
    door, seed, password = shelve(path, vector)
    link = f"{door.urls[0]}/{vector['token']}"
    who = ["--user", f":{vector['password']}"] if password else []
    if path.read_bytes()[7] & 2:
        assert curl(*who, "-w", "%{http_code}", "-o", os.devnull, link).stdout == b"403"
        return
    count = len(own.Opened(door, seed, password).index["files"])
    links = [link] if count == 1 else [f"{link}/{number}/any" for number in range(1, count + 1)]
    files = [curl("--fail", *who, one) for one in links]
    assert [one.returncode for one in files] == [0] * count, [one.stderr for one in files]
    assert hashlib.sha256(b"".join(one.stdout for one in files)).hexdigest() == vector["sha256"]


# Two processes on one CONTENT_DIR


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[own.Server, own.Server]]:
    """The doors of two servers on one CONTENT_DIR."""
    folder = tmp_path_factory.mktemp("pair")
    content = str(folder / "content")
    with (
        Server(folder / "first", CONTENT_DIR=content) as first,
        Server(folder / "second", CONTENT_DIR=content) as second,
    ):
        yield own.Server(first.url), own.Server(second.url)


def test_the_parts_of_one_upload_come_through_two_servers(pair: tuple[own.Server, own.Server], share: Share) -> None:
    begun = share.begin(pair[0])
    header = own.unspell(begun.state()["header"])
    sealing = own.Sealing(share.file, header, own.Keys.derive(share.seed, header[:64], None), PART_CHUNKS)
    uploads = [own.Upload(server, begun.id, begun.owner) for server in pair]
    parts = [put(uploads[number % 2], sealing, number) for number in range(sealing.parts)]
    uploads[0].finish(parts)
    assert share.content(pair[1]) == share.file.read_bytes()


def test_two_servers_are_one_to_a_client_that_asks_them_in_turn(
    pair: tuple[own.Server, own.Server], tmp_path: Path
) -> None:
    both = [argument for server in pair for argument in ("--server", server.urls[0])]
    link, _ = sealed(pair[0].urls[0], tmp_path, *both[2:], "--opens", 1, "--part-chunks", 1, length=5 * MIB)
    answer(script("open", link, *both, "-o", tmp_path / "out"))
    assert digest(tmp_path / "out") == digest(tmp_path / "film.bin")


def test_an_open_that_one_server_gave_is_spent_at_the_other(
    pair: tuple[own.Server, own.Server], tmp_path: Path
) -> None:
    link, _ = sealed(pair[0].urls[0], tmp_path, "--opens", 1)
    seed = own.read_link(link)[1]
    opened(pair[0], seed)
    with pytest.raises(own.Refused, match="404"):
        opened(pair[1], seed)
