"""What is damaged never arrives whole: an error before any byte, or a connection that breaks visibly.

Real servers, real damage on their disks, curl and raw sockets; behind the nginx of docs/nginx.conf as well.
"""

import os
import random
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

from onekey import links
from onekey.container import CHUNK_SIZE, HEADER_SIZE, OVERHEAD
from onekey.parts import most_chunks
from onekey.web import streaming
from tests.conftest import needs
from tests.servers import PATIENCE, ROOT, Process, Server, can_connect, curl, free_port, wait_for

NAME = "a-name-to-keep.bin"
DAMAGED = b"This share is damaged on the server, and nothing of it can be sent.\n"
BROKEN = {18, 56}  # curl: fewer bytes than were promised; the connection was reset
VERSIONS = ["--http1.1", "--http1.0"]
SMALL = 4096
TRACES = ("Traceback", "  File ", NAME)


# A share on a disk, and what can befall it.


@dataclass(frozen=True)
class Stored:
    """A share that a server keeps: its link, its content, and where its container lies."""

    link: str
    content: bytes
    folder: Path
    chunk_size: int

    @property
    def token(self) -> str:
        """The key in its link."""
        return token_of(self.link)

    @property
    def chunks(self) -> int:
        """How many chunks its content has."""
        return -(-len(self.content) // self.chunk_size)

    @property
    def parts(self) -> list[Path]:
        """The files it is kept in, in order."""
        blob = self.folder / "blobs" / links.blob_id(links.read_token(self.token))
        return sorted(blob.iterdir(), key=lambda part: int(part.name.partition("-")[0]))

    def chunk(self, number: int) -> int:
        """Where chunk `number` begins in the container; the index comes after the last."""
        return HEADER_SIZE + number * (self.chunk_size + OVERHEAD)

    def named(self, position: str) -> int:
        """The number of its first, second, middle or last chunk."""
        return {"first": 0, "second": 1, "middle": self.chunks // 2, "last": self.chunks - 1}[position]

    @contextmanager
    def flipped(self, offset: int) -> Iterator[None]:
        """Within the block, one bit of byte `offset` of the container is another one; -1 is its last byte."""
        sizes = [part.stat().st_size for part in self.parts]
        offset %= sum(sizes)
        number = 0
        while offset >= sizes[number]:
            offset, number = offset - sizes[number], number + 1
        flip(self.parts[number], offset)
        try:
            yield
        finally:
            flip(self.parts[number], offset)

    @contextmanager
    def damaged(self, position: str) -> Iterator[None]:
        """Within the block, a byte in the middle of that chunk is damaged."""
        number = self.named(position)
        length = min(self.chunk_size, len(self.content) - number * self.chunk_size)
        with self.flipped(self.chunk(number) + length // 2):
            yield


def flip(file: Path, offset: int) -> None:
    """Change one bit of one byte of a file, or change it back."""
    with file.open("r+b") as stored:
        byte = os.pread(stored.fileno(), 1, offset)
        os.pwrite(stored.fileno(), bytes([byte[0] ^ 1]), offset)


@contextmanager
def cut(part: Path, size: int) -> Iterator[None]:
    """Within the block, a part ends after `size` bytes, counted from its end if negative."""
    whole = part.with_name("whole")
    shutil.copyfile(part, whole)
    os.truncate(part, size if size >= 0 else part.stat().st_size + size)
    try:
        yield
    finally:
        whole.replace(part)


@contextmanager
def missing(part: Path) -> Iterator[None]:
    """Within the block, a part is not there."""
    away = part.with_name("away")
    part.rename(away)
    try:
        yield
    finally:
        away.rename(part)


@contextmanager
def swapped(one: Path, other: Path) -> Iterator[None]:
    """Within the block, two parts are in each other's place."""

    def swap() -> None:
        away = one.with_name("away")
        one.rename(away)
        other.rename(one)
        away.rename(other)

    swap()
    try:
        yield
    finally:
        swap()


def content_of(size: int) -> bytes:
    """That many bytes, no two chunks alike, the same ones every time."""
    return random.Random(size).randbytes(size)


def token_of(link: str) -> str:
    """The key in a link."""
    return link.rpartition("/")[2].partition(".")[0]


def put(server: "Server | Other", content: bytes, chunk_size: int) -> Stored:
    """Upload a file."""
    answer = curl("--insecure", "--upload-file", "-", f"{server.url}/{NAME}", data=content)
    assert answer.stdout.startswith(server.url.encode()), answer
    return Stored(answer.stdout.decode().strip(), content, server.content, chunk_size)


# What a client sees.


@dataclass(frozen=True)
class Answer:
    """What curl got: its exit status, and the answer as far as it came."""

    exit: int
    status: int
    headers: dict[str, str]
    body: bytes


def fetch(link: str, *options: str) -> Answer:
    """Get a link with curl."""
    done = curl("--include", *options, link)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Answer(done.returncode, int(lines[0].split(" ")[1]), headers, body)


def assert_broken(answer: Answer, promised: bytes, status: int = 200) -> None:
    """The client was promised a length, got a true prefix of what has that length, and knows."""
    assert answer.exit in BROKEN
    assert (answer.status, answer.headers["content-length"]) == (status, str(len(promised)))
    assert "transfer-encoding" not in answer.headers
    assert len(answer.body) < len(promised)
    assert promised.startswith(answer.body)


def assert_refused(answer: Answer) -> None:
    """The client got a clean error that says what is wrong."""
    assert (answer.exit, answer.status, answer.body) == (0, 500, DAMAGED)


def assert_never_whole(answer: Answer, promised: bytes) -> None:
    """Whatever the server is: an error status, or a transfer that broke."""
    if answer.status < 400:
        assert_broken(answer, promised)


# Servers.


class Other(Process):
    """The application under another server, which is told its port."""

    def __init__(self, command: Sequence[str], folder: Path, port: int, **settings: str) -> None:
        super().__init__(command, folder, **settings)
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        wait_for(self._answers)

    def __enter__(self) -> "Other":
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the server did not start: {self.log}"
        return can_connect(self.port)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it."""
        return super().stop(how)


def start(kind: str, folder: Path, **settings: str) -> "Server | Other":
    """Start the application under `onekey serve`, gunicorn, flask or waitress."""
    if kind == "onekey":
        return Server(folder, **settings)
    port = free_port()
    command = {
        "gunicorn": ["gunicorn", "-c", "python:onekey.serve", "wsgi:app"],
        "flask": ["flask", "--app", "wsgi", "run", "--port", str(port)],
        "waitress": ["waitress", f"--listen=127.0.0.1:{port}", "wsgi:app"],
    }[kind]
    return Other([sys.executable, "-m", *command], folder, port, **{"BIND": f"127.0.0.1:{port}", **settings})


# Under `onekey serve`: chunks.


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small chunks, and one process, so that all connections are of the same one."""
    with Server(tmp_path_factory.mktemp("small"), CHUNK_SIZE=str(SMALL), WORKERS="1") as server:
        yield server


@pytest.fixture(scope="module")
def small(small_server: Server) -> Stored:
    """A share of twelve chunks of 4 KiB, in one part."""
    return put(small_server, content_of(12 * SMALL - 100), SMALL)


@pytest.fixture(scope="module")
def long(small_server: Server) -> Stored:
    """A share of chunks of 4 KiB in three parts, of which the last holds nine chunks and one of a single byte."""
    share = put(small_server, content_of(2 * SMALL * most_chunks(SMALL) + 9 * SMALL + 1), SMALL)
    assert len(share.parts) == 3
    return share


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """A share of chunks of 256 KiB, as they are with nothing set, in four parts, the last of them short."""
    with Server(tmp_path_factory.mktemp("parted")) as server:
        share = put(server, content_of(3 * CHUNK_SIZE * most_chunks(CHUNK_SIZE) + 1_000_000), CHUNK_SIZE)
        assert len(share.parts) == 4
        yield share


@pytest.fixture(params=["small", "long", "parted"])
def stored(request: pytest.FixtureRequest) -> Stored:
    """Each of these shares."""
    share = request.getfixturevalue(request.param)
    assert isinstance(share, Stored)
    return share


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_damaged_arrives_whole(stored: Stored, version: str) -> None:
    answer = fetch(stored.link, version)
    assert (answer.exit, answer.status, answer.body == stored.content) == (0, 200, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_first_chunk_is_an_error_before_any_byte(stored: Stored, version: str) -> None:
    with stored.damaged("first"):
        assert_refused(fetch(stored.link, version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_a_later_damaged_chunk_breaks_the_transfer(stored: Stored, position: str, version: str) -> None:
    with stored.damaged(position):
        assert_broken(fetch(stored.link, version), stored.content)


@pytest.mark.parametrize("place", ["nonce", "tag"])
def test_nonce_and_tag_of_a_chunk_are_part_of_it(stored: Stored, place: str) -> None:
    begin = stored.chunk(1)
    with stored.flipped(begin if place == "nonce" else begin + stored.chunk_size + OVERHEAD - 1):
        assert_broken(fetch(stored.link), stored.content)


def test_chunks_in_each_others_place_break_the_transfer(stored: Stored) -> None:
    part, size = stored.parts[0], stored.chunk_size + OVERHEAD
    before = part.read_bytes()
    one, other = stored.chunk(2), stored.chunk(5)
    moved = bytearray(before)
    moved[one : one + size], moved[other : other + size] = before[other : other + size], before[one : one + size]
    part.write_bytes(moved)
    try:
        assert_broken(fetch(stored.link), stored.content)
    finally:
        part.write_bytes(before)


# Ranges, HEAD, what ends a container and what begins it.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_range_that_begins_in_a_damaged_chunk_is_an_error_before_any_byte(small: Stored, version: str) -> None:
    with small.damaged("middle"):
        start = small.named("middle") * SMALL + 7
        assert_refused(fetch(small.link, version, "--range", f"{start}-"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_range_that_runs_into_a_damaged_chunk_breaks(small: Stored, version: str) -> None:
    with small.damaged("middle"):
        answer = fetch(small.link, version, "--range", "100-")
        assert_broken(answer, small.content[100:], status=206)


@pytest.mark.parametrize("span", ["0-4095", "4096-24575", "28672-", "-100"])
def test_a_range_beside_a_damaged_chunk_arrives_whole(small: Stored, span: str) -> None:
    first, last = span.split("-")
    wanted = small.content[int(first) : int(last or len(small.content)) + 1] if first else small.content[-int(last) :]
    with small.damaged("middle"):
        answer = fetch(small.link, "--range", span)
    assert (answer.exit, answer.status, answer.body) == (0, 206, wanted)


def test_head_reads_no_content(small: Stored) -> None:
    with small.damaged("first"):
        answer = fetch(small.link, "--head")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(small.content)))


@pytest.mark.parametrize("options", [[], ["--http1.0"], ["--range", "5-6"]], ids=["GET", "HTTP/1.0", "range"])
@pytest.mark.parametrize("from_end", [-1, -4, -5, -100, -288])
def test_a_damaged_index_or_trailer_is_an_error_before_any_byte(
    small: Stored, options: list[str], from_end: int
) -> None:
    with small.flipped(from_end):
        assert_refused(fetch(small.link, *options))


def test_head_of_a_damaged_index_is_an_error(small: Stored) -> None:
    with small.flipped(-100):
        assert fetch(small.link, "--head").status == 500


@contextmanager
def header_flipped(share: Stored, offset: int) -> Iterator[None]:
    """Within the block, a bit of the header that the database holds is another one."""
    blob = links.blob_id(links.read_token(share.token))
    with closing(sqlite3.connect(share.folder / "onekey.db", timeout=PATIENCE, isolation_level=None)) as database:
        (before,) = database.execute("SELECT header FROM shares WHERE id = ?", (blob,)).fetchone()
        after = bytearray(before)
        after[offset] ^= 1
        database.execute("UPDATE shares SET header = ? WHERE id = ?", (bytes(after), blob))
        try:
            yield
        finally:
            database.execute("UPDATE shares SET header = ? WHERE id = ?", (before, blob))


@pytest.mark.parametrize("offset", [0, 4, 5, 7, 12, 20], ids=["magic", "version", "suite", "flags", "zeros", "salt"])
def test_a_header_that_cannot_be_is_an_error_before_any_byte(small: Stored, offset: int) -> None:
    with header_flipped(small, offset):
        assert_refused(fetch(small.link))


@pytest.mark.parametrize("offset", [32, 63, 64, 95])
def test_a_header_of_other_keys_is_as_if_nothing_were_there(small: Stored, offset: int) -> None:
    with header_flipped(small, offset):
        assert fetch(small.link).status == 404


# Parts.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("number", "size"), [(1, 0), (1, 5 * (CHUNK_SIZE + OVERHEAD)), (1, 7_000_000), (1, -1), (2, 1), (2, -1)]
)
def test_a_cut_part_breaks_the_transfer(parted: Stored, number: int, size: int, version: str) -> None:
    with cut(parted.parts[number], size):
        assert_broken(fetch(parted.link, version), parted.content)


@pytest.mark.parametrize(
    ("number", "size"), [(0, 0), (0, 96), (0, 5000), (3, 0), (3, 500_000), (3, -1), (3, -4), (3, -288)]
)
def test_a_part_cut_where_reading_begins_is_an_error_before_any_byte(parted: Stored, number: int, size: int) -> None:
    with cut(parted.parts[number], size):
        assert_refused(fetch(parted.link))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_part_breaks_the_transfer(parted: Stored, number: int, version: str) -> None:
    with missing(parted.parts[number]):
        assert_broken(fetch(parted.link, version), parted.content)


@pytest.mark.parametrize("number", [0, 3])
def test_a_part_missing_where_reading_begins_is_an_error_before_any_byte(parted: Stored, number: int) -> None:
    with missing(parted.parts[number]):
        assert_refused(fetch(parted.link))


@pytest.mark.parametrize("version", VERSIONS)
def test_swapped_parts_break_the_transfer(parted: Stored, version: str) -> None:
    with swapped(parted.parts[1], parted.parts[2]):
        assert_broken(fetch(parted.link, version), parted.content)


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 3), (2, 3)])
def test_parts_swapped_where_reading_begins_are_an_error_before_any_byte(parted: Stored, one: int, other: int) -> None:
    with swapped(parted.parts[one], parted.parts[other]):
        assert_refused(fetch(parted.link))


# Several files.


@pytest.fixture(scope="module")
def album(small_server: Server) -> Stored:
    """Three files, each of five chunks but for the first, which has a byte less."""
    content = content_of(15 * SMALL - 1)
    files = [content[: 5 * SMALL - 1], content[5 * SMALL - 1 : 10 * SMALL - 1], content[10 * SMALL - 1 :]]
    sent = [("file", (f"{number}-{NAME}", file)) for number, file in enumerate(files)]
    answer = requests.post(small_server.url, files=sent, allow_redirects=False, timeout=PATIENCE)
    return Stored(answer.headers["Location"], content, small_server.content, SMALL)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_zip_whose_first_chunk_is_damaged_is_an_error_before_any_byte(album: Stored, version: str) -> None:
    with album.damaged("first"):
        assert_refused(fetch(f"{album.link}.zip", version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_a_zip_with_a_later_damaged_chunk_breaks(album: Stored, position: str, version: str) -> None:
    whole = fetch(f"{album.link}.zip")
    assert whole.exit == 0
    with album.damaged(position):
        assert_broken(fetch(f"{album.link}.zip", version), whole.body)


def test_the_damage_of_one_file_leaves_the_others(album: Stored) -> None:
    with album.damaged("last"):
        answer = fetch(f"{album.link}/2/any")
    assert (answer.exit, answer.body) == (0, album.content[5 * SMALL - 1 : 10 * SMALL - 1])


def test_a_damaged_file_of_several_breaks(album: Stored) -> None:
    with album.damaged("last"):
        assert_broken(fetch(f"{album.link}/3/any"), album.content[10 * SMALL - 1 :])


# The connection.


def request_for(link: str, version: str = "HTTP/1.1", method: str = "GET") -> bytes:
    """The bytes of a request for a link."""
    host, _, path = link.partition("://")[2].partition("/")
    return f"{method} /{path} {version}\r\nHost: {host}\r\n\r\n".encode()


def read_answer(connection: socket.socket) -> bytes:
    """One whole answer, head and body, from a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    assert found
    while len(body) < int(found[1]):
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 16)
    assert piece, "the connection ended"
    return piece


def read_to_the_end(connection: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how the connection ends: `closed` in good order, or `reset`.

    A TLS connection that ends without its own last word counts as reset: that is how ssl tells one.
    """
    received = bytearray()
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except (ConnectionResetError, ssl.SSLEOFError):
        return bytes(received), "reset"
    return bytes(received), "closed"


def assert_one_broken_answer(received: bytes, promised: bytes) -> None:
    """A head that promises a length, a true prefix of what has it, and nothing behind."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"\r\ncontent-length: {len(promised)}\r\n".encode() in head.lower()
    assert len(body) < len(promised)
    assert promised.startswith(body)


@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_after_a_cut_the_connection_is_reset_with_nothing_else_on_it(
    small_server: Server, small: Stored, position: str
) -> None:
    with small.damaged(position), small_server.connect() as connection:
        connection.sendall(request_for(small.link) + request_for(small.link, method="HEAD"))
        received, end = read_to_the_end(connection)
    assert_one_broken_answer(received, small.content)
    assert end == "reset"


def test_a_kept_alive_connection_is_reset_by_the_request_that_breaks(
    small_server: Server, small: Stored, album: Stored
) -> None:
    with small.damaged("middle"), small_server.connect() as connection:
        connection.sendall(request_for(f"{album.link}/1/any"))
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(request_for(small.link) + request_for(f"{album.link}/1/any"))
        received, end = read_to_the_end(connection)
    assert_one_broken_answer(received, small.content)
    assert end == "reset"


def test_a_client_of_http_1_0_that_asked_to_keep_the_connection_is_reset(small_server: Server, small: Stored) -> None:
    asked = request_for(small.link, "HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    with small.damaged("last"), small_server.connect() as connection:
        connection.sendall(asked + asked)
        received, end = read_to_the_end(connection)
    assert (received.count(b"HTTP/1."), len(received.partition(b"\r\n\r\n")[2]) < len(small.content), end) == (
        1,
        True,
        "reset",
    )


def test_a_clean_error_leaves_the_connection_for_the_next_request(small_server: Server, small: Stored) -> None:
    with small.damaged("first"), small_server.connect() as connection:
        connection.sendall(request_for(small.link))
        refused = read_answer(connection)
        connection.sendall(request_for(small.link, method="HEAD"))
        answered = _some(connection)
    assert (refused[:13], refused.endswith(DAMAGED), answered[:13]) == (b"HTTP/1.1 500 ", True, b"HTTP/1.1 200 ")


def test_a_cut_touches_no_other_connection(small: Stored, album: Stored) -> None:
    intact = album.content[: 5 * SMALL - 1]

    def outcome(number: int) -> bool:
        """Whether a damaged file broke, or an intact one came whole, each on a connection of its own."""
        if number % 2:
            return requests.get(f"{album.link}/1/any", timeout=PATIENCE).content == intact
        try:
            return requests.get(small.link, timeout=PATIENCE).content == b"never"
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return True

    with small.damaged("middle"), ThreadPoolExecutor(8) as pool:
        assert all(pool.map(outcome, range(160)))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection: a server's, and its client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        ours, _ = listener.accept()
        with ours:
            yield ours, client


def reset(ours: socket.socket, version: str = "HTTP/1.1") -> None:
    """Reset a connection as a broken download does."""
    streaming.reset({"gunicorn.socket": ours, "SERVER_PROTOCOL": version})


def test_a_reset_is_seen_as_one(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    reset(ours)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_nothing_can_be_written_to_a_connection_that_was_reset(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    reset(ours)
    with pytest.raises(BrokenPipeError):
        ours.send(b"of another answer")


def test_nothing_can_be_read_from_a_connection_that_was_reset(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    client.sendall(b"the next request")
    reset(ours)
    assert ours.recv(1) == b""


def test_the_descriptor_of_a_reset_connection_is_given_to_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    reset(ours)
    with socket.socket() as one, socket.socket() as other:
        assert ours.fileno() not in {-1, one.fileno(), other.fileno()}


def test_the_descriptor_of_a_reset_connection_is_not_inherited(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    reset(ours)
    assert not ours.get_inheritable()


def test_a_connection_that_carries_other_requests_as_well_is_not_reset(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, client = pair
    reset(ours, "HTTP/2.0")
    ours.sendall(b"still here")
    assert client.recv(10) == b"still here"


def guarded(pieces: Iterable[bytes], length: int) -> streaming.Guard:
    """A body whose server lends us no socket: all that we can do is to raise."""
    return streaming.Guard(iter(pieces), length, {}, lambda: None)


def test_a_body_of_the_promised_length_ends_without_an_error() -> None:
    assert list(guarded([b"abc", b"de"], 5)) == [b"abc", b"de"]


def test_a_body_that_ends_too_soon_ends_in_an_error() -> None:
    body = guarded([b"abc"], 5)
    assert next(body) == b"abc"
    with pytest.raises(ConnectionResetError):
        next(body)


def test_a_piece_that_is_too_much_is_not_sent() -> None:
    body = guarded([b"abc", b"def"], 5)
    assert next(body) == b"abc"
    with pytest.raises(ConnectionResetError):
        next(body)


def test_whatever_goes_wrong_with_a_body_its_words_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"abc"
        raise ZeroDivisionError(NAME)

    with pytest.raises(ConnectionResetError):
        list(guarded(pieces(), 5))
    assert ("ZeroDivisionError at test_abort.py" in caplog.text, NAME in caplog.text) == (True, False)


# The log.


def lines_of(server: Server, ask: Callable[[], object]) -> list[str]:
    """The lines that a server logs while it answers."""
    before = len(server.log)
    ask()
    return server.log[before:].splitlines()


@pytest.mark.parametrize(
    ("position", "said"),
    [
        ("first", r"A request failed: Damaged at container\.py:\d+\. Request [0-9a-f]{8}\."),
        ("middle", r"A download was cut short: Damaged at container\.py:\d+\. Request [0-9a-f]{8}\."),
    ],
)
def test_damage_is_told_in_one_line_that_names_class_and_place(
    small_server: Server, small: Stored, position: str, said: str
) -> None:
    with small.damaged(position):
        (line,) = lines_of(small_server, lambda: fetch(small.link))
    assert re.fullmatch(rf"[-0-9]+ [:,0-9]+ ERROR {said}", line)


def test_the_request_of_a_clean_error_can_be_found_in_the_log(small_server: Server, small: Stored) -> None:
    with small.damaged("first"):
        answer = fetch(small.link)
    assert f"Request {answer.headers['x-onekey-request']}." in small_server.log


@pytest.mark.parametrize("position", ["first", "second", "last"])
def test_the_log_of_damage_holds_no_link_no_name_and_no_trace(
    small_server: Server, small: Stored, position: str
) -> None:
    with small.damaged(position):
        lines = lines_of(small_server, lambda: fetch(small.link))
    assert not [line for line in lines for secret in (small.token, *TRACES) if secret in line]


# TLS.


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Server]:
    """A server that speaks TLS itself."""
    cert, key = map(str, certificate)
    with Server(tmp_path_factory.mktemp("tls"), CHUNK_SIZE=str(SMALL), TLS_CERT=cert, TLS_KEY=key) as server:
        yield server


@pytest.fixture(scope="module")
def tls_share(over_tls: Server) -> Stored:
    """A share of many chunks, too many for the buffers on the way."""
    return put(over_tls, content_of(2000 * SMALL), SMALL)


@pytest.mark.parametrize("version", VERSIONS)
def test_over_tls_a_file_arrives_whole(tls_share: Stored, certificate: tuple[Path, Path], version: str) -> None:
    answer = fetch(tls_share.link, version, "--cacert", str(certificate[0]))
    assert (answer.exit, answer.body == tls_share.content) == (0, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_over_tls_a_damaged_first_chunk_is_an_error(
    tls_share: Stored, certificate: tuple[Path, Path], version: str
) -> None:
    with tls_share.damaged("first"):
        assert_refused(fetch(tls_share.link, version, "--cacert", str(certificate[0])))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_over_tls_a_later_damaged_chunk_breaks_the_transfer(
    tls_share: Stored, certificate: tuple[Path, Path], position: str, version: str
) -> None:
    with tls_share.damaged(position):
        assert_broken(fetch(tls_share.link, version, "--cacert", str(certificate[0])), tls_share.content)


@contextmanager
def secured(port: int, certificate: tuple[Path, Path]) -> Iterator[ssl.SSLSocket]:
    """A TLS connection that tells an end from a cut."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        wrapped = context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        with wrapped:
            yield wrapped


@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_over_tls_nothing_follows_a_cut(
    over_tls: Server, tls_share: Stored, certificate: tuple[Path, Path], position: str
) -> None:
    with tls_share.damaged(position), secured(over_tls.port, certificate) as connection:
        connection.sendall(request_for(tls_share.link) + request_for(tls_share.link, method="HEAD"))
        received, end = read_to_the_end(connection)
    assert_one_broken_answer(received, tls_share.content)
    assert end == "reset"


def test_over_tls_a_cut_is_told_in_one_line(
    over_tls: Server, tls_share: Stored, certificate: tuple[Path, Path]
) -> None:
    with tls_share.damaged("middle"):
        lines = lines_of(over_tls, lambda: fetch(tls_share.link, "--cacert", str(certificate[0])))
    assert len(lines) == 1
    assert "cut short: Damaged at container.py" in lines[0]


# Under other servers.


@pytest.fixture(scope="module", params=["gunicorn", "flask", "waitress"])
def elsewhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple["Server | Other", Stored]]:
    """The application under another server, and a share of 100 chunks there."""
    server = start(request.param, tmp_path_factory.mktemp(request.param), CHUNK_SIZE=str(SMALL))
    with server:
        yield server, put(server, content_of(100 * SMALL), SMALL)


@pytest.mark.parametrize("version", VERSIONS)
def test_elsewhere_a_file_arrives_whole(elsewhere: tuple["Server | Other", Stored], version: str) -> None:
    _, share = elsewhere
    answer = fetch(share.link, version)
    assert (answer.exit, answer.status, answer.body == share.content) == (0, 200, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_elsewhere_a_damaged_first_chunk_is_an_error(elsewhere: tuple["Server | Other", Stored], version: str) -> None:
    _, share = elsewhere
    with share.damaged("first"):
        assert_refused(fetch(share.link, version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_elsewhere_a_damaged_file_never_arrives_whole(
    elsewhere: tuple["Server | Other", Stored], position: str, version: str
) -> None:
    _, share = elsewhere
    with share.damaged(position):
        assert_never_whole(fetch(share.link, version), share.content)


def test_elsewhere_nothing_follows_a_cut(elsewhere: tuple["Server | Other", Stored]) -> None:
    server, share = elsewhere
    with share.damaged("middle"), socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(request_for(share.link) + request_for(share.link, method="HEAD"))
        received, _ = read_to_the_end(connection)
    assert_one_broken_answer(received, share.content)


def test_elsewhere_the_log_of_damage_holds_no_link_no_name_and_no_trace(
    elsewhere: tuple["Server | Other", Stored],
) -> None:
    server, share = elsewhere
    with share.damaged("second"):
        fetch(share.link)
    wait_for(lambda: "cut short" in server.log)
    assert not [secret for secret in (share.token, *TRACES) if secret in server.log]


@pytest.fixture(scope="module")
def by_gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    """The application under gunicorn, by our settings."""
    with start("gunicorn", tmp_path_factory.mktemp("by-gunicorn"), CHUNK_SIZE=str(SMALL)) as server:
        assert isinstance(server, Other)
        yield server


def test_gunicorn_by_our_settings_says_where_it_listens_and_stores(by_gunicorn: Other) -> None:
    wait_for(lambda: "It stores in" in by_gunicorn.log)
    assert f"listens on {by_gunicorn.url}\nIt stores in {by_gunicorn.content}." in by_gunicorn.log


def test_gunicorn_by_our_settings_resets_a_broken_download(by_gunicorn: Other) -> None:
    share = put(by_gunicorn, content_of(10 * SMALL), SMALL)
    with share.damaged("middle"), socket.create_connection(("127.0.0.1", by_gunicorn.port)) as connection:
        connection.sendall(request_for(share.link))
        assert read_to_the_end(connection)[1] == "reset"


def test_gunicorn_by_our_settings_logs_no_request(by_gunicorn: Other) -> None:
    share = put(by_gunicorn, b"content", SMALL)
    wait_for(lambda: "It stores in" in by_gunicorn.log)
    before = by_gunicorn.log
    fetch(share.link)
    fetch(f"{by_gunicorn.url}/nothing")
    assert by_gunicorn.log == before


# Behind nginx.

# What Debian's nginx.conf has, and what an operator may have added: all that happens is logged and compressed.
AROUND = """
daemon off; {user} pid {folder}/pid; error_log {folder}/main.log info; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log; error_log {folder}/http.log info;
    gzip on; gzip_types *; gzip_min_length 1; client_max_body_size 1m;
    client_body_temp_path {folder}/temp/body; proxy_temp_path {folder}/temp/proxy; uwsgi_temp_path {folder}/temp/uwsgi;
    fastcgi_temp_path {folder}/temp/fastcgi; scgi_temp_path {folder}/temp/scgi;
    include {folder}/onekey.conf;
    server {{ listen 127.0.0.1:{other}; return 404; }}
}}
"""


class Nginx:
    """nginx with docs/nginx.conf, in which only ports, addresses and paths are others, among sites that log."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path], https: int, upstream: int) -> None:
        self.folder, self.http, self.other = folder, free_port(), free_port()
        self.temp = folder / "temp"
        self.temp.mkdir(parents=True)
        (folder / "onekey.conf").write_text(self._site(certificate, https, upstream))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user, other=self.other))
        with (folder / "output").open("wb") as output:
            command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_for(partial(self._answers, https))

    def _site(self, certificate: tuple[Path, Path], https: int, upstream: int) -> str:
        site = (ROOT / "docs" / "nginx.conf").read_text()
        for there, here in (
            (r"(?m)^( *)listen 443 ", rf"\1listen 127.0.0.1:{https} "),
            (r"(?m)^( *)listen 80 ", rf"\1listen 127.0.0.1:{self.http} "),
            (r"http://127\.0\.0\.1:8000;", f"http://127.0.0.1:{upstream};"),
            (r"/etc/letsencrypt/\S+/fullchain\.pem", str(certificate[0])),
            (r"/etc/letsencrypt/\S+/privkey\.pem", str(certificate[1])),
        ):
            site, count = re.subn(there, here, site)
            assert count == 1, there
        return site

    def _answers(self, port: int) -> bool:
        assert self.process.poll() is None, (self.folder / "output").read_text()
        return can_connect(port)

    def logs(self) -> bytes:
        """All that it logged, anywhere."""
        return b"".join(file.read_bytes() for file in self.folder.iterdir() if file.suffix == ".log")

    def written(self) -> list[str]:
        """What it holds in temporary files, those without a name included."""
        pids = [self.process.pid, *_children(self.process.pid)]
        targets = [str(fd.readlink()) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
        found = [str(file) for file in self.temp.rglob("*") if file.is_file()]
        return found + [target for target in targets if target.startswith(str(self.temp))]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass(frozen=True)
class Behind:
    """A server behind nginx, and how to reach it there."""

    nginx: Nginx
    server: Server
    url: str
    port: int
    certificate: tuple[Path, Path]

    def fetch(self, link: str, *options: str) -> Answer:
        """Get a link with curl, which believes our certificate."""
        return fetch(link, "--cacert", str(self.certificate[0]), *options)

    def put(self, content: bytes) -> Stored:
        """Upload a file through nginx."""
        sent = curl("--cacert", str(self.certificate[0]), "--upload-file", "-", f"{self.url}/{NAME}", data=content)
        assert sent.stdout.startswith(self.url.encode()), sent
        return Stored(sent.stdout.decode().strip(), content, self.server.content, SMALL)


@contextmanager
def behind_nginx(folder: Path, certificate: tuple[Path, Path]) -> Iterator[Behind]:
    """A server with small chunks behind a new nginx."""
    needs("nginx")
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    limits = {"CHUNK_SIZE": str(SMALL), "MAX_UPLOAD_SIZE": "30 MiB", "PUBLIC_URL": url}
    with Server(folder / "onekey", **limits) as server:
        nginx = Nginx(folder / "nginx", certificate, port, server.port)
        try:
            yield Behind(nginx, server, url, port, certificate)
        finally:
            nginx.stop()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Behind]:
    """A server behind nginx, shared by the tests that do not stop it."""
    with behind_nginx(tmp_path_factory.mktemp("behind"), certificate) as found:
        yield found


@pytest.fixture(scope="module")
def film(behind: Behind) -> Stored:
    """20 MiB, uploaded through nginx."""
    return behind.put(content_of(20 << 20))


@pytest.mark.parametrize("version", VERSIONS)
def test_20_mib_go_through_nginx_and_back(behind: Behind, film: Stored, version: str) -> None:
    answer = behind.fetch(film.link, version)
    assert (answer.exit, answer.status, answer.body == film.content) == (0, 200, True)


def test_a_chunked_upload_goes_through_nginx(behind: Behind) -> None:
    sent = ["--header", "Transfer-Encoding: chunked", "--upload-file", "-", f"{behind.url}/"]
    link = curl("--cacert", str(behind.certificate[0]), *sent, data=b"as it comes").stdout.decode().strip()
    assert behind.fetch(link).body == b"as it comes"


def test_a_form_goes_through_nginx(behind: Behind) -> None:
    content = content_of(3 << 20)
    sent = ["--form", f"file=@-;filename={NAME}", f"{behind.url}/"]
    link = curl("--cacert", str(behind.certificate[0]), *sent, data=content).stdout.decode().strip()
    assert behind.fetch(link).body == content


def test_a_range_goes_through_nginx(behind: Behind, film: Stored) -> None:
    answer = behind.fetch(film.link, "--range", "5000000-5000099")
    assert (answer.status, answer.body) == (206, film.content[5_000_000:5_000_100])


@pytest.mark.parametrize("version", VERSIONS)
def test_through_nginx_a_damaged_first_chunk_is_an_error(behind: Behind, film: Stored, version: str) -> None:
    with film.damaged("first"):
        assert_refused(behind.fetch(film.link, version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("position", ["second", "middle", "last"])
def test_through_nginx_a_later_damaged_chunk_breaks_the_transfer(
    behind: Behind, film: Stored, position: str, version: str
) -> None:
    with film.damaged(position):
        assert_broken(behind.fetch(film.link, version), film.content)


def test_nginx_compresses_no_content(behind: Behind, film: Stored) -> None:
    with film.damaged("middle"):
        assert_broken(behind.fetch(film.link, "--header", "Accept-Encoding: gzip"), film.content)


def test_through_nginx_a_damaged_zip_breaks(behind: Behind) -> None:
    content = content_of(20 * SMALL)
    files = ["--form", f"file=@-;filename={NAME}", "--form-string", "answer=link", "--form", f"file=@{__file__}"]
    sent = curl("--cacert", str(behind.certificate[0]), *files, f"{behind.url}/", data=content)
    share = Stored(sent.stdout.decode().strip(), content, behind.server.content, SMALL)
    whole = behind.fetch(f"{share.link}.zip")
    with share.damaged("middle"):
        assert_broken(behind.fetch(f"{share.link}.zip"), whole.body)


def test_through_nginx_nothing_follows_a_cut(behind: Behind, film: Stored) -> None:
    with film.damaged("middle"), secured(behind.port, behind.certificate) as connection:
        connection.sendall(request_for(film.link) + request_for(film.link, method="HEAD"))
        received, _ = read_to_the_end(connection)
    assert_one_broken_answer(received, film.content)


def test_onekey_says_what_is_too_large_and_not_nginx(behind: Behind) -> None:
    answer = behind.fetch(f"{behind.url}/{NAME}", "--request", "PUT", "--header", "Content-Length: 99999999")
    assert (answer.status, b"MAX_UPLOAD_SIZE" in answer.body) == (413, True)


HALF = content_of(5 << 20)
FRAMINGS = {
    "length": (f"Content-Length: {2 * len(HALF)}", HALF, HALF),
    "chunked": ("Transfer-Encoding: chunked", f"{len(HALF):x}\r\n".encode() + HALF + b"\r\n", b"0\r\n\r\n"),
}


@contextmanager
def half_sent(behind: Behind, framing: str = "length") -> Iterator[ssl.SSLSocket]:
    """An upload of which half was sent, and has reached onekey."""
    field, first, _ = FRAMINGS[framing]
    with secured(behind.port, behind.certificate) as connection:
        connection.sendall(f"PUT /{NAME} HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n\r\n".encode() + first)
        wait_for(lambda: any(file.stat().st_size > 4 << 20 for file in unfinished(behind.server)))
        yield connection


def unfinished(server: Process) -> list[Path]:
    """The parts that are being written."""
    return list((server.content / "blobs").glob("*/*.tmp"))


@pytest.mark.parametrize(("framing", "copies"), [("length", 2), ("chunked", 1)])
def test_an_upload_reaches_onekey_while_it_is_sent(behind: Behind, framing: str, copies: int) -> None:
    with half_sent(behind, framing) as connection:
        connection.sendall(FRAMINGS[framing][2])
        link = read_answer(connection).partition(b"\r\n\r\n")[2].decode().strip()
    assert behind.fetch(link).body == HALF * copies


def test_an_upload_that_is_given_up_leaves_nothing(behind: Behind) -> None:
    before = set((behind.server.content / "blobs").iterdir())
    with half_sent(behind):
        assert set((behind.server.content / "blobs").iterdir()) - before
    wait_for(lambda: set((behind.server.content / "blobs").iterdir()) == before)


def test_nginx_writes_no_file_for_an_upload(behind: Behind) -> None:
    with half_sent(behind):
        assert behind.nginx.written() == []


def test_nginx_writes_no_file_for_a_client_that_reads_slowly(behind: Behind, film: Stored) -> None:
    with secured(behind.port, behind.certificate) as connection:
        connection.sendall(request_for(film.link))
        assert _some(connection)
        assert behind.nginx.written() == []


def test_no_link_is_in_a_log_of_nginx_whatever_happens(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with behind_nginx(tmp_path, certificate) as behind:
        share = behind.put(content_of(20 << 20))
        other = secrets.token_urlsafe(24)  # asked of a site beside ours, to see what is logged of it
        for link in (share.link, f"{share.link}/{NAME}", f"http://127.0.0.1:{behind.nginx.http}/{share.token}"):
            behind.fetch(link)
        with share.damaged("middle"):
            behind.fetch(share.link)
        _leave(behind, share)
        with half_sent(behind):
            pass
        ask_all(partial(secured, behind.port, behind.certificate), malformed(share.token))
        ask_all(partial(socket.create_connection, ("127.0.0.1", behind.nginx.other), PATIENCE), malformed(other))
        behind.server.stop()
        assert behind.fetch(share.link).status == 502
        behind.nginx.stop()
        logs = behind.nginx.logs()
    assert logs.count(other.encode()) >= len(malformed(other))
    assert [secret for secret in (share.token, NAME) if secret.encode() in logs] == []


def _leave(behind: Behind, share: Stored) -> None:
    """Go away in the middle of a download, by a reset."""
    with secured(behind.port, behind.certificate) as connection:
        connection.sendall(request_for(share.link))
        assert _some(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def malformed(token: str) -> list[str]:
    """Requests that hold a token and that a server refuses by itself, before any site of its is asked."""
    return [
        f"GET /{token} HTTP/1.1\r\n\r\n",
        f"GET /{token} HTTP/1.1\r\nHost: a/b\r\n\r\n",
        f"GET /{token} HTTP/9.1\r\nHost: a\r\n\r\n",
        f"GET /../{token} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"GET  {token} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"{token} / HTTP/1.1\r\nHost: a\r\n\r\n",
        f"GET /{token} HTTP/1.1\r\nHost: a\r\n{token}\x00\r\n\r\n",
        f"GET /{token}/{'a' * 9000} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"GET /{token} HTTP/1.1\r\nHost: a\r\nX: {token}{'a' * 9000}\r\n\r\n",
        f"PUT /{token} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]


def ask_all(connect: Callable[[], AbstractContextManager[socket.socket]], asked: list[str]) -> None:
    """Send each request on a connection of its own, and wait for its end."""
    for request in asked:
        with suppress(OSError), connect() as connection:  # some servers hang up as soon as they have seen enough
            connection.sendall(request.encode())
            connection.shutdown(socket.SHUT_WR)
            read_to_the_end(connection)
