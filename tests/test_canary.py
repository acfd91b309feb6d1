"""What must not be kept is kept nowhere: content, names, secrets and tokens leave no trace on a disk or in a log.

Marks go through every way in and out of real servers, the failing ones too; then every file is searched for them.
"""

import base64
import os
import re
import secrets
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import requests

from onekey import links
from tests.conftest import needs_root
from tests.servers import PATIENCE, Process, Server, wait_for
from tests.test_abort import (
    SMALL,
    Other,
    Stored,
    ask_all,
    flip,
    malformed,
    read_answer,
    request_for,
    start,
    token_of,
    unfinished,
)

SIZE = 20 << 20
LIMIT = 21 << 20
SETTINGS = {"CHUNK_SIZE": str(SMALL), "WORKERS": "1", "MAX_UPLOAD_SIZE": str(LIMIT), "MAX_FILES": "4"}
WHAT = ["content", "name", "secret", "wrong secret", "token", "owner token"]


@dataclass(frozen=True)
class Marks:
    """What nobody else would write: each is looked for in every spelling.

    Name and secrets are shorter than a token, by whose length a log could tell what to hide.
    """

    block: bytes = field(default_factory=partial(secrets.token_bytes, 32))
    name: str = field(default_factory=partial(secrets.token_hex, 10))
    secret: str = field(default_factory=partial(secrets.token_hex, 10))
    wrong: str = field(default_factory=partial(secrets.token_hex, 10))
    tokens: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)

    def content(self, size: int) -> bytes:
        """Content of which every 63 bytes hold the block."""
        return (self.block * (size // 32 + 1))[:size]

    def named(self, ending: str = ".bin") -> str:
        """A file name with a space before the mark, at which a log that hides paths might stop."""
        return f"a name {self.name}{ending}"

    def needles(self, what: str) -> list[bytes]:
        """Every spelling of one kind of mark."""
        marks = {
            "content": [self.block],
            "name": [self.name.encode()],
            "secret": [self.secret.encode()],
            "wrong secret": [self.wrong.encode()],
            "token": [mark for token in self.tokens for mark in (token.encode(), links.read_token(token))],
            "owner token": [mark for token in self.owners for mark in (token.encode(), links.read_token(token))],
        }[what]
        assert marks
        return [needle for mark in marks for needle in spellings(mark)]


def spellings(mark: bytes) -> set[bytes]:
    """A mark as it is, in hexadecimal, percent-encoded, and in base64 wherever it stands in what was encoded."""
    percent = "".join(f"%{byte:02x}" for byte in mark)
    found = {mark, mark.hex().encode(), mark.hex().upper().encode(), percent.encode(), percent.upper().encode()}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + mark + bytes(3))[4:-8]  # what depends on the neighbours is left out
        found |= {encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


# The ways in and out.


@dataclass(frozen=True)
class Visitor:
    """A client that leaves marks, and sees to it that each request is answered as it should be."""

    server: "Server | Other"
    marks: Marks

    def ask(self, status: int, method: str, path: str = "/", **more: object) -> requests.Response:
        """One request; notes the tokens in its answer."""
        url = path if path.startswith("http") else f"{self.server.url}{path}"
        answer = requests.request(method, url, allow_redirects=False, timeout=PATIENCE, **more)  # type: ignore[arg-type]
        assert answer.status_code == status, (method, answer.status_code, status, answer.text)
        if "X-Onekey-Owner-URL" in answer.headers:
            self.marks.tokens.append(token_of(answer.headers.get("Location") or _link_in(answer.text)))
            self.marks.owners.append(answer.headers["X-Onekey-Owner-URL"].rpartition("/")[2])
        return answer

    @property
    def proof(self) -> dict[str, str]:
        """The header with the secret."""
        return {"X-Onekey-Secret": self.marks.secret}

    def files(self, count: int, size: int = 5 * SMALL) -> list[tuple[str, tuple[str, bytes, str]]]:
        """That many files for a form."""
        content = self.marks.content(size)
        return [("file", (f"{number} {self.marks.named()}", content, "video/mp4")) for number in range(count)]

    def store(self) -> Stored:
        """A share of ten chunks, by PUT."""
        content = self.marks.content(10 * SMALL)
        answer = self.ask(201, "PUT", f"/{self.marks.named()}", data=content, headers=self.proof)
        return Stored(answer.text.strip(), content, self.server.content, SMALL)

    def album(self) -> str:
        """A share of three files, by form."""
        answer = self.ask(303, "POST", files=self.files(3), data={"secret": self.marks.secret})
        return str(answer.headers["Location"])


def _link_in(page: str) -> str:
    found = re.search(r"https?://[0-9.:]+/[A-Za-z0-9_-]{32}(?=[\"<.])", page)
    assert found
    return found[0]


def upload(visitor: Visitor) -> None:
    """Every way in that works."""
    marks, proof = visitor.marks, visitor.proof
    visitor.ask(201, "POST", data=marks.content(5000), headers=proof)
    visitor.ask(201, "PUT", data=iter([marks.content(5000), marks.content(70_000)]), headers=proof)
    visitor.ask(201, "POST", files=visitor.files(1), headers={**proof, "Accept": "application/json"})
    visitor.ask(201, "POST", files=visitor.files(1), data={"secret": marks.secret, "answer": "page"})
    visitor.ask(303, "POST", files=[*visitor.files(1, SIZE), ("secret", (None, marks.secret))])
    visitor.ask(303, "POST", files=[*visitor.files(4), ("secret", (None, marks.secret))])


def fail_to_upload(visitor: Visitor) -> None:
    """Every way in that does not."""
    marks, proof, files = visitor.marks, visitor.proof, visitor.files(1, 100 * SMALL)
    late = [*files, ("secret", (None, marks.wrong))]
    visitor.ask(403, "PUT", f"/{marks.named()}", data=marks.content(5000), headers={"X-Onekey-Secret": marks.wrong})
    visitor.ask(403, "POST", files=files, data={"secret": marks.wrong})
    visitor.ask(403, "POST", files=late)
    visitor.ask(403, "POST", files=files)
    visitor.ask(400, "PUT", f"/{marks.named()}?secret={marks.secret}", data=marks.content(5000), headers=proof)
    visitor.ask(400, "POST", files=[("other", file) for _, file in files], headers=proof)
    visitor.ask(400, "POST", data={"secret": marks.secret}, files={"secret": (None, marks.secret)})
    visitor.ask(400, "POST", files=[*files, ("expires", (None, marks.secret))], headers=proof)
    visitor.ask(400, "POST", files=[*files, ("password", (None, marks.secret))], headers=proof)
    visitor.ask(413, "POST", files=visitor.files(5), headers=proof)
    visitor.ask(413, "PUT", f"/{marks.named()}", data=iter([marks.content(LIMIT + 1)]), headers=proof)
    broken = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % marks.named().encode()
    form = {**proof, "Content-Type": "multipart/form-data; boundary=b"}
    visitor.ask(400, "POST", data=broken + marks.content(5000), headers=form)
    visitor.ask(400, "POST", data=b"--b\r\n" + marks.content(5000), headers=form)


def download(visitor: Visitor) -> None:
    """Every way out, and the doors that stay shut."""
    share, album, name = visitor.store(), visitor.album(), visitor.marks.named()
    whole = visitor.ask(200, "GET", share.link)
    assert whole.content == share.content
    visitor.ask(200, "HEAD", share.link)
    visitor.ask(206, "GET", share.link, headers={"Range": "bytes=5000-9000"})
    visitor.ask(416, "GET", share.link, headers={"Range": "bytes=99999999-"})
    visitor.ask(304, "GET", share.link, headers={"If-None-Match": whole.headers["ETag"]})
    for kind in ("text/plain", "text/html", "application/json"):
        visitor.ask(200, "GET", album, headers={"Accept": kind})
    visitor.ask(200, "GET", f"{album}.zip")
    visitor.ask(200, "GET", f"{album}/2/{name}")
    visitor.ask(404, "GET", f"{album}/9/{name}")
    visitor.ask(404, "GET", f"/{links.write_token(links.new_seed())}/{name}")
    visitor.ask(404, "GET", f"{album}x")
    visitor.ask(405, "DELETE", share.link)
    visitor.ask(405, "POST", share.link, data=visitor.marks.content(100))
    visitor.ask(400, "GET", share.link, headers={"Host": "elsewhere.example"})
    visitor.ask(200, "GET", share.link, headers={"Referer": share.link, "Cookie": f"a={visitor.marks.secret}"})
    visitor.ask(404, "GET", f"/%23{visitor.marks.tokens[0]}")
    spelled = "".join(f"%{ord(char):02X}" for char in share.token)
    visitor.ask(200, "GET", f"/{spelled}")


def own(visitor: Visitor) -> None:
    """What an owner does, and who is none."""
    visitor.store()
    path = f"/manage/{links.blob_id(links.read_token(visitor.marks.tokens[-1]))}/{visitor.marks.owners[-1]}"
    visitor.ask(200, "GET", path)
    visitor.ask(303, "POST", path, data={"expires": "7d"})
    visitor.ask(400, "POST", path, data={"expires": visitor.marks.secret})
    visitor.ask(404, "GET", path[:-1])
    visitor.ask(404, "GET", f"/manage/{visitor.marks.tokens[-1]}/{visitor.marks.owners[-1]}")
    visitor.ask(200, "GET", f"{path}/delete")
    visitor.ask(405, "DELETE", f"{path}/delete")
    visitor.ask(200, "POST", f"{path}/delete")
    visitor.ask(404, "GET", path)


def damage(visitor: Visitor) -> None:
    """Shares that cannot be read any more: in their first chunk, and later on."""
    share, album = visitor.store(), visitor.album()
    visitor.ask(206, "GET", share.link, headers={"Range": "bytes=0-1"})
    flip(share.parts[0], share.chunk(0) + 100)
    visitor.ask(500, "GET", share.link)
    stored = Stored(album, b"", visitor.server.content, SMALL)
    flip(stored.parts[0], stored.chunk(7) + 100)
    for link in (f"{album}/2/{visitor.marks.named()}", f"{album}.zip"):
        with pytest.raises(requests.exceptions.RequestException):
            visitor.ask(200, "GET", link)


def go_away(visitor: Visitor) -> None:
    """Leave in the middle of an upload, and of a download."""
    with half_sent(visitor, how="abort"):
        pass
    wait_for(lambda: not unfinished(visitor.server))
    share = visitor.ask(
        201, "PUT", f"/{visitor.marks.named()}", data=visitor.marks.content(SIZE), headers=visitor.proof
    )
    with connect(visitor) as connection:
        connection.sendall(request_for(share.text.strip()))
        assert connection.recv(100_000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def connect(visitor: Visitor) -> socket.socket:
    """A fresh connection."""
    return socket.create_connection(("127.0.0.1", visitor.server.port), timeout=PATIENCE)


def misspell(visitor: Visitor) -> None:
    """Requests that no application ever sees."""
    for mark in (visitor.marks.tokens[0], f"{visitor.marks.tokens[0]}/1/{visitor.marks.named()}", visitor.marks.name):
        ask_all(partial(connect, visitor), malformed(mark))


HEAD = (
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    "Content-Length: {length}\r\n\r\n"
)
FILE = '--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
SECRET = '\r\n--b\r\nContent-Disposition: form-data; name="secret"\r\n\r\n{secret}\r\n--b--\r\n'


@contextmanager
def half_sent(visitor: Visitor, how: str = "finish") -> Iterator[list[str]]:
    """Within the block, half of a form of 20 MiB was sent; then it is sent to its end, or not.

    What is given holds the link in the end.
    """
    content, found = visitor.marks.content(SIZE), list[str]()
    begin = FILE.format(name=visitor.marks.named()).encode()
    end = SECRET.format(secret=visitor.marks.secret).encode()
    head = HEAD.format(host=visitor.server.url.partition("//")[2], length=len(begin) + SIZE + len(end)).encode()
    with connect(visitor) as connection:
        connection.sendall(head + begin + content[: SIZE // 2])
        if not is_buffered(visitor.server):
            wait_for(lambda: any(file.stat().st_size > SIZE // 3 for file in unfinished(visitor.server)))
        yield found
        if how == "abort":
            return
        connection.sendall(content[SIZE // 2 :] + end)
        found.append(read_answer(connection).partition(b"\r\n\r\n")[2].decode().strip())


def is_buffered(server: Process) -> bool:
    """Whether the server keeps a body to itself until it is whole, as waitress does."""
    return any("waitress" in word for word in map(str, server.process.args))  # type: ignore[arg-type]


# What is left.


@dataclass(frozen=True)
class Trail:
    """A server that all of this went through, and the marks to look for."""

    server: "Server | Other"
    marks: Marks

    def files(self, where: str) -> list[Path]:
        """The files below a folder of the server's."""
        return [file for file in (self.server.folder / where).rglob("*") if file.is_file()]


@pytest.fixture(scope="module")
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trail]:
    """A server of one kind, after all of this went through it."""
    folder, marks = tmp_path_factory.mktemp(request.param), Marks()
    (folder / "temporary").mkdir()
    settings = {**SETTINGS, "UPLOAD_SECRET": marks.secret, "TMPDIR": str(folder / "temporary")}
    with start(request.param, folder, **settings) as server:
        visitor = Visitor(server, marks)
        for visit in (upload, fail_to_upload, download, own, damage, go_away, misspell):
            visit(visitor)
        yield Trail(server, marks)


def found_in(file: Path, needles: list[bytes]) -> list[bytes]:
    """Those needles that a file holds, or its path."""
    held = file.read_bytes() + str(file).encode()
    return [needle for needle in needles if needle in held]


LOGGING = pytest.mark.parametrize("trail", ["onekey", "flask", "waitress"], indirect=True)
STORING = pytest.mark.parametrize("trail", ["onekey", "flask"], indirect=True)


@LOGGING
@pytest.mark.parametrize("what", WHAT)
def test_no_log_holds_a_mark(trail: Trail, what: str) -> None:
    assert "A download was cut short" in trail.server.log
    assert found_in(trail.server.log_file, trail.marks.needles(what)) == []


@LOGGING
def test_no_log_holds_a_trace(trail: Trail) -> None:
    assert not [line for line in trail.server.log.splitlines() if line.startswith(("Traceback", "  File"))]


@STORING
@pytest.mark.parametrize("what", WHAT)
def test_nothing_that_is_stored_holds_a_mark(trail: Trail, what: str) -> None:
    needles, files = trail.marks.needles(what), trail.files("content")
    assert sum(file.stat().st_size for file in files) > SIZE
    assert {file.name: held for file in files if (held := found_in(file, needles))} == {}


@STORING
@pytest.mark.parametrize("what", WHAT)
def test_no_temporary_file_holds_a_mark(trail: Trail, what: str) -> None:
    needles = trail.marks.needles(what)
    assert {file.name: held for file in trail.files("temporary") if (held := found_in(file, needles))} == {}


@STORING
def test_a_server_writes_nowhere_else(trail: Trail) -> None:
    assert {entry.name for entry in trail.server.folder.iterdir()} == {"content", "temporary", "log"}


@STORING
def test_what_failed_left_nothing_behind(trail: Trail) -> None:
    live = {links.blob_id(links.read_token(token)) for token in trail.marks.tokens}
    assert {blob.name for blob in (trail.server.content / "blobs").iterdir()} <= live


@pytest.mark.parametrize("what", WHAT)
def test_a_mark_that_is_there_would_be_found(tmp_path: Path, what: str) -> None:
    marks = Marks(tokens=[links.write_token(links.new_seed())], owners=[links.write_token(links.new_owner())])
    for number, needle in enumerate(marks.needles(what)):
        (tmp_path / str(number)).write_bytes(os.urandom(1000) + needle + os.urandom(1000))
    assert all(found_in(file, marks.needles(what)) for file in tmp_path.iterdir())


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.b16encode])
@pytest.mark.parametrize("before", range(4))
def test_a_mark_is_found_wherever_it_stands_in_what_is_encoded(encode: Callable[[bytes], bytes], before: int) -> None:
    mark = secrets.token_bytes(32)
    encoded = encode(secrets.token_bytes(before) + mark + secrets.token_bytes(5))
    assert any(needle in encoded for needle in spellings(mark))


# While an upload is half way.


def open_files(server: Process) -> Iterator[tuple[str, bytes]]:
    """What the files hold that a server's processes have open, those without a name included."""
    for pid in [server.process.pid, *server.children()]:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if stat.S_ISREG(descriptor.stat().st_mode):
                yield str(descriptor.readlink()), descriptor.read_bytes()


@pytest.fixture(params=["onekey", "gunicorn", "flask"])
def visitor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Visitor]:
    """A client of a fresh server of each kind that streams."""
    if request.param != "flask":
        needs_root("the open files of a process that lets itself not be dumped")
    marks = Marks()
    with start(request.param, tmp_path / "server", **SETTINGS, UPLOAD_SECRET=marks.secret) as server:
        yield Visitor(server, marks)


def test_no_open_file_holds_plaintext_while_an_upload_is_half_way(visitor: Visitor) -> None:
    with half_sent(visitor) as link:
        files = list(open_files(visitor.server))
    needles = visitor.marks.needles("content") + visitor.marks.needles("name")
    assert any(target.endswith(".tmp") and len(held) > SIZE // 3 for target, held in files)
    assert [target for target, held in files for needle in needles if needle in held] == []
    assert requests.get(link[0], timeout=PATIENCE).content == visitor.marks.content(SIZE)
