"""What must not be kept is kept nowhere: content, names, secrets, proofs and addresses leave no trace on disk or log.

Marks go through every way in and out of real servers, the failing ones too; then every file is searched for them.
"""

import base64
import os
import re
import secrets
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

import pytest
import requests

from onekey import links
from tests import sealing
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
SETTINGS = {
    "CHUNK_SIZE": str(SMALL),
    "WORKERS": "1",
    "PROXY_HOPS": "1",
    "MAX_UPLOAD_SIZE": str(LIMIT),
    "MAX_FILES": "4",
}
UNTOLD = ["secret", "wrong secret", "password", "wrong password", "knock", "access", "address"]
"""What no answer repeats."""
WHAT = ["content", "name", "token", "owner token", "lease", *UNTOLD]


@dataclass(frozen=True)
class Marks:
    """What nobody else would write: each is looked for in every spelling.

    Name, secrets and passwords are shorter than a token, by whose length a log could tell what to hide.
    """

    block: bytes = field(default_factory=partial(secrets.token_bytes, 32))
    name: str = field(default_factory=partial(secrets.token_hex, 10))
    secret: str = field(default_factory=partial(secrets.token_hex, 10))
    wrong: str = field(default_factory=partial(secrets.token_hex, 10))
    tokens: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    password: str = field(default_factory=partial(secrets.token_hex, 10))
    wrong_password: str = field(default_factory=partial(secrets.token_hex, 10))
    leases: list[str] = field(default_factory=list)
    knocks: list[bytes] = field(default_factory=list)
    accesses: list[bytes] = field(default_factory=list)
    address: IPv6Address = field(default_factory=lambda: IPv6Address(secrets.token_bytes(16)))

    def content(self, size: int) -> bytes:
        """Content of which every 63 bytes hold the block."""
        return (self.block * (size // 32 + 1))[:size]

    def named(self, ending: str = ".bin") -> str:
        """A file name with a space before the mark, at which a log that hides paths might stop."""
        return f"a name {self.name}{ending}"

    def has(self, what: str) -> bool:
        """Whether there is a mark of this kind yet."""
        return {"knock": self.knocks, "access": self.accesses}.get(what) != []

    def needles(self, what: str) -> list[bytes]:
        """Every spelling of one kind of mark."""
        marks = {
            "content": [self.block],
            "name": [self.name.encode()],
            "secret": [self.secret.encode()],
            "wrong secret": [self.wrong.encode()],
            "token": [mark for token in self.tokens for mark in (token.encode(), links.read_token(token))],
            "owner token": [mark for token in self.owners for mark in (token.encode(), links.read_token(token))],
            "lease": [mark for token in self.leases for mark in (token.encode(), links.read_token(token))],
            "password": [self.password.encode()],
            "wrong password": [self.wrong_password.encode()],
            "knock": self.knocks,
            "access": self.accesses,
            "address": [*_texts(self.address), self.address.packed, *_texts(_network(self.address))],
        }[what]
        assert marks
        return [needle for mark in marks for needle in spellings(mark)]


def _network(address: IPv6Address) -> IPv6Address:
    return IPv6Address(int(address) >> 64 << 64)


def _texts(address: IPv6Address) -> list[bytes]:
    return [str(address).encode(), address.exploded.encode()]


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
        with requests.Session() as session:
            session.headers["X-Forwarded-For"] = str(self.marks.address)
            answer = session.request(method, url, allow_redirects=False, timeout=PATIENCE, **more)  # type: ignore[arg-type]
        assert answer.status_code == status, (method, answer.status_code, status, answer.text)
        self._check(method, answer)
        if "X-Onekey-Owner-URL" in answer.headers:
            self.marks.tokens.append(token_of(answer.headers.get("Location") or _link_in(answer.text)))
            self.marks.owners.append(answer.headers["X-Onekey-Owner-URL"].rpartition("/")[2])
        return answer

    def _check(self, method: str, answer: requests.Response) -> None:
        """Fails where an answer repeats what only its client is to know, or tells a lease to who did not take one."""
        told = str(answer.headers).encode() + answer.content[:100_000]
        if found := re.search(r"[?]lease=([\w-]{32})$", answer.headers.get("Location", "")):
            self.marks.leases.append(found[1])
        untold = [what for what in UNTOLD if self.marks.has(what)]
        if method != "POST" and self.marks.leases:
            untold.append("lease")
        assert [what for what in untold for needle in self.marks.needles(what) if needle in told] == []

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
    visitor.ask(400, "POST", files=[*files, ("opens", (None, marks.secret))], headers=proof)
    visitor.ask(400, "POST", files=[*files, ("password", (None, marks.password))], headers=proof)
    visitor.ask(400, "PUT", f"/{marks.named()}?password={marks.password}", data=marks.content(5000), headers=proof)
    late = [("password", (None, marks.password)), *files, ("secret", (None, marks.secret))]
    visitor.ask(403, "POST", files=late)
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
    visitor.ask(303, "POST", share.link, data=visitor.marks.content(100))
    visitor.ask(400, "GET", share.link, headers={"Host": "elsewhere.example"})
    visitor.ask(200, "GET", share.link, headers={"Referer": share.link, "Cookie": f"a={visitor.marks.secret}"})
    for kind, status in (("text/plain", 404), ("text/html", 200)):
        visitor.ask(status, "GET", f"/%23{visitor.marks.tokens[0]}", headers={"Accept": kind})
    spelled = "".join(f"%{ord(char):02X}" for char in share.token)
    visitor.ask(200, "GET", f"/{spelled}")


def lock(visitor: Visitor) -> None:
    """A share with a password and limited opens at the direct door: what opens it, and what does not."""
    marks, files = visitor.marks, visitor.files(1)
    fields = {"secret": marks.secret, "password": marks.password, "opens": "2"}
    link = str(visitor.ask(303, "POST", files=files, data=fields).headers["Location"])
    right, wrong = ("", marks.password), (marks.wrong, marks.wrong_password)
    for kind, status in (("text/plain", 405), ("text/html", 200), ("application/json", 405)):
        headers = {"Accept": kind}
        visitor.ask(401, "GET", link, headers=headers)
        visitor.ask(401, "GET", link, headers=headers, auth=wrong)
        visitor.ask(status, "GET", link, headers=headers, auth=right)
    visitor.ask(401, "POST", link, auth=wrong)
    visitor.ask(401, "GET", f"{link}?password={marks.password}", data={"password": marks.password})
    leased = str(visitor.ask(303, "POST", link, auth=right).headers["Location"])
    visitor.ask(401, "GET", leased)
    visitor.ask(206, "GET", leased, auth=right, headers={"Range": "bytes=0-9999"})
    visitor.ask(200, "GET", leased, auth=right)
    visitor.ask(405, "GET", f"{leased}x", auth=right)
    visitor.ask(303, "POST", link, auth=right)
    visitor.ask(404, "POST", link, auth=right)
    visitor.ask(404, "POST", leased, auth=right)
    for number in range(9):
        visitor.ask(401, "GET", leased, auth=("", f"{marks.wrong_password}{number}"))
    visitor.ask(429, "GET", leased, auth=right)


def seal_it(visitor: Visitor) -> None:
    """The sealed door: what opens a share there, and each proof in another's place."""
    marks = visitor.marks
    share = sealing.seal(marks.content(20_000), password=marks.password, opens=2)
    marks.tokens.append(share.token)
    marks.owners.append(links.write_token(share.owner))
    marks.knocks.append(links.knock(share.seed))
    marks.accesses.append(share.access)
    api = partial(_ask_api, visitor)
    api(403, "POST", "/uploads", json=share.begin)
    api(422, "POST", "/uploads", visitor.proof, json={**share.begin, "opens": marks.password})
    api(201, "POST", "/uploads", visitor.proof, json=share.begin)
    for number, part in enumerate(share.parts):
        api(200, "PUT", f"{share.upload}/parts/{number}", share.by_owner, data=part)
    api(404, "PUT", f"{share.upload}/parts/0", share.by_knock, data=share.parts[0])
    api(200, "POST", f"{share.upload}/finish", share.by_owner, json=share.finish)
    api(200, "GET", share.share, share.by_knock)
    api(404, "GET", share.share, share.by_owner)
    api(404, "GET", f"{share.share}?knock={sealing.spell(marks.knocks[0])}")
    api(200, "GET", f"{share.share}/index", share.by_access())
    api(403, "GET", f"{share.share}/index", share.by_access(access=marks.knocks[0]))
    api(403, "GET", f"{share.share}/content", share.by_access())
    lease = str(api(200, "POST", f"{share.share}/open", share.by_access()).json()["lease"])
    marks.leases.append(lease)
    api(206, "GET", f"{share.share}/content", {**share.by_access(lease), "Range": "bytes=200-9000"})
    api(200, "GET", f"{share.share}/content", share.by_access(lease))
    api(404, "GET", f"{share.share}/content?lease={lease}", {"Authorization": f"Bearer {lease}"})
    api(200, "PATCH", f"{share.share}/owner", share.by_owner, json={"opens": 3})
    api(422, "PATCH", f"{share.share}/owner", share.by_owner, json={"opens": marks.password})
    api(404, "GET", f"{share.share}/owner", share.by_access())


def _ask_api(
    visitor: Visitor, status: int, method: str, path: str, headers: Mapping[str, str] | None = None, **more: object
) -> requests.Response:
    return visitor.ask(status, method, sealing.API + path, headers=headers, **more)


def own(visitor: Visitor) -> None:
    """What an owner does, and who is none."""
    visitor.store()
    path = f"/manage/{links.blob_id(links.read_token(visitor.marks.tokens[-1]))}/{visitor.marks.owners[-1]}"
    visitor.ask(200, "GET", path)
    visitor.ask(303, "POST", path, data={"expires": "7d"})
    visitor.ask(400, "POST", path, data={"expires": visitor.marks.secret})
    visitor.ask(303, "POST", path, data={"opens": "2"})
    visitor.ask(400, "POST", path, data={"opens": visitor.marks.secret})
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
        for visit in (upload, fail_to_upload, download, lock, seal_it, own, damage, go_away, misspell):
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
    tokens = {name: [links.write_token(secrets.token_bytes(24))] for name in ("tokens", "owners", "leases")}
    proofs = {name: [secrets.token_bytes(16)] for name in ("knocks", "accesses")}
    marks = Marks(**tokens, **proofs)  # type: ignore[arg-type]
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
