"""`onekey serve`: real processes, raw sockets, slow clients, and the ends that a server comes to."""

import os
import re
import resource
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from pathlib import Path
from typing import BinaryIO

import pytest
import requests

from onekey import __version__
from onekey.app import App
from tests.servers import ONEKEY, PATIENCE, ROOT, Server, can_connect, clean_environment, curl, wait_for

KIB, MIB = 1 << 10, 1 << 20
HEAD_TIME, SHORT = 10.0, 3
SECRET = "open-sesame"
MARK = "mark7531"
CONTENT = os.urandom(8 * MIB)
HEAD = b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n"
ROBOTS = b"User-agent: *\nDisallow: /\n"
ESTABLISHED, CLOSED = 1, 7
MakeServer = Callable[..., Server]


# What the tests speak with.


@dataclass(frozen=True)
class Answer:
    """An answer as it came; `body` may be shorter than its Content-Length where the connection ended."""

    status: int
    headers: Message
    body: bytes

    @property
    def length(self) -> int:
        """The bytes that were promised."""
        return int(self.headers["Content-Length"])


def answer(stream: BinaryIO) -> Answer:
    """The next answer on a connection."""
    line = stream.readline()
    assert line.startswith(b"HTTP/1."), line
    headers = parse_headers(stream)
    return Answer(int(line.split()[1]), headers, stream.read(int(headers.get("Content-Length", "0"))))


def ask(connection: socket.socket, sent: bytes) -> Answer:
    """Send bytes, and give the one answer to them."""
    connection.sendall(sent)
    with connection.makefile("rb") as stream:
        return answer(stream)


def rest(connection: socket.socket) -> tuple[bytes, bool]:
    """All that still comes, and whether the connection was reset and not just ended."""
    found = bytearray()
    try:
        while piece := connection.recv(MIB):
            found += piece
    except ConnectionResetError:
        return bytes(found), True
    return bytes(found), False


def state(connection: socket.socket) -> int:
    """The state of a connection, as the system knows it without anything being read."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def put(size: int, name: str = "a.bin", *more: str) -> bytes:
    """The head of a raw upload."""
    lines = [f"PUT /{name} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *more]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def files(server: Server) -> list[Path]:
    """All files in which content is stored."""
    return [path for path in (server.content / "blobs").rglob("*") if path.is_file()]


def shares(server: Server) -> int:
    """How many shares and uploads the database knows."""
    with closing(sqlite3.connect(server.content / "onekey.db")) as database:
        found: int = database.execute("SELECT count(*) FROM shares").fetchone()[0]
        return found


def processes(server: Server) -> list[int]:
    """The ids of all processes of a server."""
    return [server.process.pid, *server.children()]


def descriptors(pid: int) -> list[Path]:
    """The open files of a process, as links in /proc."""
    return list(Path(f"/proc/{pid}/fd").iterdir())


class Site:
    """A server, spoken with in plain or through TLS."""

    def __init__(self, server: Server, certificate: Path | None = None) -> None:
        self.server, self._certificate = server, certificate
        self._context = ssl.create_default_context(cafile=certificate) if certificate else None

    def connect(self, buffer: int | None = None) -> socket.socket:
        """A connection, handshake done; `buffer` bytes of it are taken in before they are read."""
        raw = socket.socket()
        raw.settimeout(PATIENCE)
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        raw.connect(("127.0.0.1", self.server.port))
        return self._context.wrap_socket(raw, server_hostname="localhost") if self._context else raw

    def upload(self, content: bytes) -> str:
        """Store content; gives the path of its link."""
        with closing(self.connect()) as connection:
            stored = ask(connection, put(len(content), "a.bin", "Connection: close") + content)
        assert stored.status == 201
        return "/" + stored.body.decode().strip().rpartition("/")[2]

    def download(self, path: str) -> socket.socket:
        """A connection on which a download began: its head was read, and of the rest the server cannot send much."""
        connection = self.connect(buffer=16 * KIB)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert f"\r\nContent-Length: {len(CONTENT)}\r\n".encode() in head
        return connection


MakeSite = Callable[..., Site]


@pytest.fixture(params=["plain", "TLS"])
def make_site(request: pytest.FixtureRequest, make_server: MakeServer, certificate: tuple[Path, Path]) -> MakeSite:
    """Starts real servers, once in plain and once with TLS."""

    def make(**settings: str) -> Site:
        if request.param == "plain":
            return Site(make_server(**settings))
        cert, key = certificate
        return Site(make_server(TLS_CERT=str(cert), TLS_KEY=str(key), **settings), cert)

    return make


@pytest.fixture(scope="module", params=["plain", "TLS"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[Site]:
    """A real server of one worker, once in plain and once with TLS, shared by tests that do not change it."""
    cert, key = certificate
    secure = {"TLS_CERT": str(cert), "TLS_KEY": str(key)} if request.param == "TLS" else {}
    with Server(tmp_path_factory.mktemp("site"), WORKERS="1", **secure) as running:
        yield Site(running, cert if secure else None)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes small uploads only, with a secret."""
    with Server(tmp_path_factory.mktemp("strict"), UPLOAD_SECRET=SECRET, MAX_UPLOAD_SIZE="1 MiB") as running:
        yield running


# The start.


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Anyone may upload: UPLOAD_SECRET changes that."),
        ({"UPLOAD_SECRET": SECRET}, "Uploads need the secret."),
    ],
)
def test_the_start_says_where_it_listens_where_it_stores_and_whether_uploads_need_a_secret(
    make_server: MakeServer, settings: dict[str, str], said: str
) -> None:
    server = make_server(**settings)
    assert server.log == (
        f"onekey {__version__} listens on http://127.0.0.1:{server.port}\nIt stores in {server.content}. {said}\n"
    )


def test_it_listens_on_every_address_of_bind(make_server: MakeServer) -> None:
    server = make_server(BIND="127.0.0.1:0, [::1]:0,127.0.0.1:0")
    said = re.findall(r"http://(127\.0\.0\.1|\[::1\]):(\d+)", server.log)
    assert [host for host, _ in said] == ["127.0.0.1", "[::1]", "127.0.0.1"]
    for host, port in said:
        assert requests.get(f"http://{host}:{port}/robots.txt", timeout=PATIENCE).content == ROBOTS


def test_it_speaks_tls_with_the_certificate_that_is_set(
    make_server: MakeServer, certificate: tuple[Path, Path]
) -> None:
    server = make_server(TLS_CERT=str(certificate[0]), TLS_KEY=str(certificate[1]))
    assert server.url.startswith("https://")
    assert requests.get(f"{server.url}/robots.txt", verify=str(certificate[0]), timeout=PATIENCE).content == ROBOTS


def start_in_vain(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A start that fails: its exit status, and what it printed."""
    return subprocess.run(
        [*ONEKEY, "serve"],
        env=clean_environment(**{"BIND": "127.0.0.1:0", "PYTHONPATH": str(ROOT), **settings}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"BIND": "everywhere"}, "BIND"),
        ({"TLS_CERT": "junk"}, "TLS_KEY"),
        ({"TLS_CERT": "junk", "TLS_KEY": "junk"}, "TLS_CERT"),
        ({"CONTENT_DIR": "junk"}, "CONTENT_DIR"),
        ({"ONEKEY_CONFIG": "nowhere"}, "nowhere"),
    ],
)
def test_a_bad_setting_ends_the_start_with_one_sentence(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    (tmp_path / "junk").write_text("no certificate, no folder\n")
    ended = start_in_vain(tmp_path, **settings)
    assert ended.returncode != 0
    assert re.fullmatch(rf"Error: [^\n]*{named}[^\n]*\.\n", ended.stderr)
    assert ended.stdout == ""


def test_an_address_that_is_taken_ends_the_start_without_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = start_in_vain(tmp_path, BIND=f"127.0.0.1:{other.getsockname()[1]}")
    assert ended.returncode != 0
    assert "Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_makes_no_control_socket_nor_anything_else_in_the_home_of_its_user(
    make_server: MakeServer, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    server = make_server(HOME=str(home), XDG_RUNTIME_DIR="", TMPDIR=str(home))
    assert server.stop(signal.SIGTERM) == 0
    assert list(home.iterdir()) == []


def test_it_keeps_no_log_of_requests(server: Server) -> None:
    before = server.log
    requests.get(f"{server.url}/{MARK}", timeout=PATIENCE)
    requests.put(f"{server.url}/{MARK}.txt", data=b"text", timeout=PATIENCE)
    assert server.log == before


# Core dumps.


@pytest.fixture
def cores_allowed() -> Iterator[None]:
    """Let what is started here write core dumps as large as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.usefixtures("cores_allowed")
def test_no_process_may_write_a_core_dump(make_server: MakeServer) -> None:
    server = make_server(WORKERS="2")
    wait_for(lambda: len(server.children()) == 2 or None)
    for pid in processes(server):
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


@pytest.mark.usefixtures("cores_allowed")
def test_a_worker_that_crashes_leaves_no_core(make_server: MakeServer) -> None:
    server = make_server(WORKERS="1")
    before = sorted(path.name for path in server.folder.iterdir())
    replaced(server, signal.SIGSEGV)
    assert sorted(path.name for path in server.folder.iterdir()) == before


def test_dumps_that_are_piped_to_a_program_are_off_too() -> None:
    # The system shows this of a process to itself only, so this asks one that did what the server does at its start.
    script = (
        "import ctypes, os; from onekey import serve; serve.harden(); os.fork(); "
        "os.write(1, b'%d ' % ctypes.CDLL(None).prctl(3))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=clean_environment(PYTHONPATH=str(ROOT)), capture_output=True, check=True
    )
    assert ran.stdout.split() == [b"0", b"0"]


# HTTP.


def test_a_connection_is_kept_alive(server: Server) -> None:
    with closing(server.connect()) as connection:
        for _ in range(3):
            assert ask(connection, HEAD + b"\r\n").body == ROBOTS


def test_a_connection_is_closed_when_the_client_asks_for_it(server: Server) -> None:
    with closing(server.connect()) as connection:
        found = ask(connection, HEAD + b"Connection: close\r\n\r\n")
        assert (found.headers["Connection"], found.body) == ("close", ROBOTS)
        assert rest(connection) == (b"", False)


def test_a_kept_connection_that_stays_idle_is_closed(server: Server) -> None:
    with closing(server.connect()) as connection:
        assert ask(connection, HEAD + b"\r\n").headers["Connection"] == "keep-alive"
        assert rest(connection) == (b"", False)


def test_http_1_0_gets_its_answer_and_the_end(server: Server) -> None:
    with closing(server.connect()) as connection:
        found = ask(connection, b"GET /robots.txt HTTP/1.0\r\n\r\n")
        assert (found.headers["Connection"], found.length, found.body) == ("close", len(ROBOTS), ROBOTS)
        assert rest(connection) == (b"", False)


def test_http_1_0_can_keep_its_connection(server: Server) -> None:
    with closing(server.connect()) as connection:
        for _ in range(2):
            assert ask(connection, b"GET /robots.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").body == ROBOTS


PADDED = HEAD + b"X-Padding: " + b"x" * 900 + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        ([(HEAD + b"\r\n") * 5], [200] * 5),
        ([PADDED * 16], [200] * 16),
        ([put(10_000), b"x" * 10_000 + HEAD + b"\r\n"], [201, 200]),
        ([put(0) + put(3) + b"abc" + HEAD + b"\r\n"], [201, 201, 200]),
        ([HEAD + b"Content-Length: 9\r\n\r\nGET /bad " + HEAD + b"\r\n"], [200, 200]),
    ],
    ids=["small", "more than is read at once", "after a body", "several bodies", "after a body that nobody reads"],
)
def test_pipelined_requests_are_answered_in_order(site: Site, sent: list[bytes], statuses: list[int]) -> None:
    with closing(site.connect()) as connection, connection.makefile("rb") as stream:
        for piece in sent:
            connection.sendall(piece)
        assert [answer(stream).status for _ in statuses] == statuses


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"GET /{MARK}\r\n\r\n", 400),
        (f"{MARK} / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (f"GET /{MARK} HTTP/{MARK}\r\nHost: localhost\r\n\r\n", 400),
        (f"GET /{MARK} HTTP/1.1\r\n{MARK}\r\n\r\n", 400),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\nX {MARK}: 1\r\n\r\n", 400),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\nX: {MARK}\x00\r\n\r\n", 400),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\nHost: {MARK}\r\n\r\n", 400),
        (f"PUT /{MARK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MARK}\r\n\r\n", 400),
        (f"PUT /{MARK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (f"GET /{'x' * 8200}{MARK} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\nExpect: {MARK}\r\n\r\n", 417),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\nX-Long: {MARK}{'x' * 8200}\r\n\r\n", 431),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\n" + f"X: {MARK}\r\n" * 200 + "\r\n", 431),
        (f"GET /{MARK} HTTP/1.1\r\nHost: localhost\r\n" + f"X: {MARK}{'x' * 4000}\r\n" * 20 + "\r\n", 431),
        (f"PUT /{MARK} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {MARK}\r\n\r\n", 501),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused_in_our_own_words_and_not_logged(
    server: Server, sent: str, status: int
) -> None:
    before = server.log
    with closing(server.connect()) as connection:
        found = ask(connection, sent.encode("latin-1"))
        assert rest(connection) == (b"", False)
    assert (found.status, found.headers["Connection"]) == (status, "close")
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert MARK not in f"{found.headers}{found.body!r}"
    assert server.log == before


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x00\x05junk!\r\n\r\n", bytes(300) + b"\r\n\r\n", b"\xff" * 20_000])
def test_what_is_neither_tls_nor_http_ends_without_a_line_in_the_log(site: Site, sent: bytes) -> None:
    before = site.server.log
    with closing(site.server.connect()) as connection:
        connection.sendall(sent)
        rest(connection)
    with closing(site.connect()) as connection:
        assert ask(connection, HEAD + b"\r\n").body == ROBOTS
    assert site.server.log == before


def test_a_port_with_tls_says_nothing_in_plain(make_server: MakeServer, certificate: tuple[Path, Path]) -> None:
    server = make_server(TLS_CERT=str(certificate[0]), TLS_KEY=str(certificate[1]))
    before = server.log
    with closing(server.connect()) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert rest(connection) == (b"", False)
    assert server.log == before


# Answers that come before the body is whole.


@pytest.mark.parametrize(
    ("name", "more", "status"),
    [
        ("too large", ["-H", f"X-Onekey-Secret: {SECRET}", "-T", "{file}"], 413),
        ("too large, its size not said", ["-H", f"X-Onekey-Secret: {SECRET}", "-T", "-"], 413),
        ("too large a form", ["-F", f"secret={SECRET}", "-F", "file=@{file}"], 413),
        ("wrong secret", ["-H", "X-Onekey-Secret: wrong", "-T", "{file}"], 403),
        ("wrong secret in a form", ["-F", "secret=wrong", "-F", "file=@{file}"], 403),
        ("no secret", ["-T", "{file}"], 403),
    ],
)
@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
def test_curl_reads_an_early_refusal(
    strict: Server, tmp_path: Path, name: str, more: list[str], status: int, expect: str
) -> None:
    path = tmp_path / "large"
    path.write_bytes(CONTENT * 2)
    arguments = [argument.format(file=path) for argument in more]
    ran = curl("-w", "%{http_code}", "-H", expect, *arguments, f"{strict.url}/", data=CONTENT * 2)
    *sentence, code = ran.stdout.decode().splitlines()
    assert (int(code), len(sentence)) == (status, 1), name
    assert sentence[0].endswith(".")


@pytest.mark.parametrize(("secret", "status"), [(SECRET, 413), ("wrong", 403)])
def test_requests_reads_an_early_refusal(strict: Server, secret: str, status: int) -> None:
    # It sends the whole body before it looks for an answer.
    found = requests.put(f"{strict.url}/a.bin", data=CONTENT * 2, headers={"X-Onekey-Secret": secret}, timeout=PATIENCE)
    assert found.status_code == status
    assert found.text.endswith(".\n")


def test_who_sends_all_of_it_before_looking_for_an_answer_can_do_so(strict: Server) -> None:
    with closing(strict.connect()) as connection:
        found = ask(connection, put(len(CONTENT), "a.bin", "X-Onekey-Secret: wrong") + CONTENT)
        assert (found.status, rest(connection)) == (403, (b"", False))


def test_who_waits_for_100_continue_gets_it_and_then_the_answer(server: Server) -> None:
    with closing(server.connect()) as connection, connection.makefile("rb") as stream:
        connection.sendall(put(3, "a.txt", "Expect: 100-continue"))
        assert stream.readline() + stream.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert answer(stream).status == 201


def test_who_is_refused_is_not_told_to_continue(strict: Server) -> None:
    with closing(strict.connect()) as connection:
        assert ask(connection, put(3, "a.txt", "Expect: 100-continue")).status == 403
        assert rest(connection) == (b"", False)


def test_who_does_not_wait_for_100_continue_gets_the_answer_alone(server: Server) -> None:
    with closing(server.connect()) as connection:
        assert ask(connection, put(3, "a.txt", "Expect: 100-continue") + b"abc").status == 201


def test_http_1_0_is_never_told_to_continue(server: Server) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(b"PUT /a.txt HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert ask(connection, b"abc").status == 201


# Time.


def hello() -> bytes:
    """What a client begins a TLS handshake with."""
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def dribble(connection: socket.socket, data: bytes) -> None:
    """Send bytes one by one, each soon after the last, until the other side ends it. Fails where it never does."""
    pace = threading.Event()
    for byte in data:
        if state(connection) != ESTABLISHED:
            return
        with suppress(OSError):
            connection.send(bytes([byte]))
        pace.wait(0.2)
    raise AssertionError("all of it could be sent")


def outlast(connection: socket.socket, first: bytes, dribbled: bytes = b"") -> tuple[bytes, float]:
    """Send something, then more byte by byte, until the server ends it; gives its answer, and how long that took."""
    began = time.monotonic()
    with closing(connection):
        connection.sendall(first)
        if dribbled:
            dribble(connection, dribbled)
        connection.settimeout(2.5 * HEAD_TIME)
        return rest(connection)[0], time.monotonic() - began


def read_slowly(site: Site) -> tuple[bytes, float]:
    """A download whose beginning is read at 8 KiB a second: above the floor rate, below any other."""
    began, pace, found = time.monotonic(), threading.Event(), bytearray()
    with closing(site.download(site.upload(CONTENT))) as connection, connection.makefile("rb", buffering=0) as stream:
        while time.monotonic() - began < HEAD_TIME:
            found += stream.read(2 * KIB) or b""
            pace.wait(0.25)
        found += rest(connection)[0]
    return bytes(found), time.monotonic() - began


Outcomes = dict[str, "Future[tuple[bytes, float]]"]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Outcomes]:
    """What comes of clients that take their time, all at once. Where they are slow with a head, a body has for ever."""
    patient = {"STALL_TIME": "10m", "WORKERS": "1"}
    secure = {"TLS_CERT": str(certificate[0]), "TLS_KEY": str(certificate[1])}
    long = b"X" * 200
    with (
        Server(tmp_path_factory.mktemp("patient"), **patient) as plain,
        Server(tmp_path_factory.mktemp("patient"), **patient, **secure) as tls,
        Server(tmp_path_factory.mktemp("strict"), STALL_TIME=f"{SHORT}s", WORKERS="1") as impatient,
        ThreadPoolExecutor(20) as pool,
    ):
        shaken = Site(tls, certificate[0]).connect
        yield {
            "idle": pool.submit(outlast, plain.connect(), b""),
            "idle, TLS": pool.submit(outlast, tls.connect(), b""),
            "nothing after the handshake": pool.submit(outlast, shaken(), b""),
            "half a head": pool.submit(outlast, plain.connect(), HEAD),
            "half a head, TLS": pool.submit(outlast, shaken(), HEAD),
            "head byte by byte": pool.submit(outlast, plain.connect(), b"", HEAD + long),
            "head byte by byte, TLS": pool.submit(outlast, shaken(), b"", HEAD + long),
            "request line byte by byte": pool.submit(outlast, plain.connect(), b"GET /", long),
            "second head byte by byte": pool.submit(outlast, plain.connect(), HEAD + b"\r\n" + HEAD, long),
            "handshake byte by byte": pool.submit(outlast, tls.connect(), b"", hello()),
            "half a handshake": pool.submit(outlast, tls.connect(), hello()[:100]),
            "slow reader": pool.submit(read_slowly, Site(impatient)),
        }


@pytest.mark.parametrize(
    "client",
    [
        "nothing after the handshake",
        "half a head",
        "half a head, TLS",
        "head byte by byte",
        "head byte by byte, TLS",
        "request line byte by byte",
        "second head byte by byte",
    ],
)
def test_a_head_has_ten_seconds_in_all(outcomes: Outcomes, client: str) -> None:
    sent, took = outcomes[client].result()
    assert re.search(rb"HTTP/1\.1 408 Request Timeout\r\n.*\r\n\r\nThe request came too slowly\.\n\Z", sent, re.DOTALL)
    assert took > HEAD_TIME - 0.5


@pytest.mark.parametrize("client", ["idle", "idle, TLS", "handshake byte by byte", "half a handshake"])
def test_a_connection_without_a_request_is_closed_after_ten_seconds(outcomes: Outcomes, client: str) -> None:
    sent, took = outcomes[client].result()
    assert sent == b""
    assert took > HEAD_TIME - 0.5


def test_a_slow_reader_gets_all_of_it_though_it_takes_longer_than_a_stall_may(outcomes: Outcomes) -> None:
    found, took = outcomes["slow reader"].result()
    assert found == CONTENT
    assert took > 3 * SHORT


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n' + CONTENT
UNFINISHED = {
    "raw": put(2 * len(CONTENT)) + CONTENT,
    "form": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: %d\r\n\r\n" % (2 * len(FORM))
    )
    + FORM,
    "chunked": (
        b"PUT /a.bin HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT)
    ),
}


@pytest.mark.parametrize("kind", UNFINISHED)
def test_a_body_that_stalls_gets_408_and_nothing_of_it_stays(make_server: MakeServer, kind: str) -> None:
    site = Site(make_server(STALL_TIME="1s"))
    with closing(site.connect()) as connection:
        connection.sendall(UNFINISHED[kind])
        wait_for(lambda: files(site.server))
        found = ask(connection, b"")
        assert rest(connection) == (b"", False)
    assert (found.status, found.body) == (408, b"The request came too slowly.\n")
    assert (files(site.server), shares(site.server)) == ([], 0)
    assert site.server.log.count("\n") == 2


def assert_reset(connection: socket.socket) -> None:
    """Fails unless the connection is reset, with less on it than was promised. (Python's TLS shows no reset.)"""
    wait_for(lambda: state(connection) == CLOSED)
    found, _ = rest(connection)
    assert CONTENT.startswith(found)
    assert len(found) < len(CONTENT)


def test_a_reader_that_stalls_is_reset(make_site: MakeSite) -> None:
    site = make_site(STALL_TIME="1s")
    with closing(site.download(site.upload(CONTENT))) as connection:
        assert_reset(connection)
    assert site.server.log.count("\n") == 2


# The stop.


def refuses(server: Server) -> bool:
    """Whether new connections are refused."""
    return not can_connect(server.port)


def ended(server: Server) -> int:
    """The exit status of a server that was told to stop; what it printed says nothing of it."""
    status = server.process.wait(PATIENCE)
    assert server.log.count("\n") == 2, server.log
    return status


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_slow_download_finish_and_takes_no_new_connections(make_site: MakeSite, how: int) -> None:
    site = make_site()
    with closing(site.download(site.upload(CONTENT))) as connection, connection.makefile("rb") as stream:
        site.server.process.send_signal(how)
        wait_for(lambda: refuses(site.server))
        assert stream.read(len(CONTENT)) == CONTENT
    assert ended(site.server) == 0


def test_ctrl_c_which_every_process_gets_lets_a_download_finish(make_server: MakeServer) -> None:
    site = Site(make_server())
    with closing(site.download(site.upload(CONTENT))) as connection, connection.makefile("rb") as stream:
        for pid in processes(site.server):
            os.kill(pid, signal.SIGINT)
        wait_for(lambda: refuses(site.server))
        assert stream.read(len(CONTENT)) == CONTENT
    assert ended(site.server) == 0


def test_a_stop_lets_an_upload_finish(make_site: MakeSite, make_app: Callable[..., App]) -> None:
    site = make_site()
    with closing(site.connect()) as connection:
        connection.sendall(put(len(CONTENT)) + CONTENT[:MIB])
        wait_for(lambda: files(site.server))
        site.server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses(site.server))
        stored = ask(connection, CONTENT[MIB:])
    assert stored.status == 201
    assert ended(site.server) == 0
    link = "/" + stored.body.decode().strip().rpartition("/")[2]
    assert make_app(CONTENT_DIR=str(site.server.content)).test_client().get(link).data == CONTENT


def test_after_stop_time_a_download_is_cut_visibly(make_site: MakeSite) -> None:
    site = make_site(STOP_TIME="1s")
    with closing(site.download(site.upload(CONTENT))) as connection:
        site.server.process.send_signal(signal.SIGTERM)
        assert ended(site.server) == 0
        assert_reset(connection)


@pytest.mark.parametrize("kind", UNFINISHED)
def test_after_stop_time_an_upload_is_cut_and_leaves_nothing(make_server: MakeServer, kind: str) -> None:
    site = Site(make_server(STOP_TIME="1s"))
    with closing(site.connect()) as connection:
        connection.sendall(UNFINISHED[kind])
        wait_for(lambda: files(site.server))
        site.server.process.send_signal(signal.SIGTERM)
        assert ended(site.server) == 0
        assert b" 201 " not in rest(connection)[0]
    assert (files(site.server), shares(site.server)) == ([], 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)],
)
def test_a_second_signal_cuts_at_once(make_server: MakeServer, first: int, second: int) -> None:
    site = Site(make_server(STOP_TIME="1h"))
    with closing(site.download(site.upload(CONTENT))) as connection:
        site.server.process.send_signal(first)
        wait_for(lambda: refuses(site.server))
        assert state(connection) == ESTABLISHED
        site.server.process.send_signal(second)
        assert ended(site.server) == 0
        assert_reset(connection)


def test_idle_connections_do_not_delay_a_stop(make_site: MakeSite) -> None:
    site = make_site(STOP_TIME="1h")
    with closing(site.server.connect()), closing(site.connect()) as kept:
        assert ask(kept, HEAD + b"\r\n").headers["Connection"] == "keep-alive"
        site.server.process.send_signal(signal.SIGTERM)
        assert ended(site.server) == 0


def test_a_stop_right_after_the_start_ends_it_well(tmp_path: Path) -> None:
    with Server(tmp_path, STOP_TIME="1h") as server:
        server.process.send_signal(signal.SIGTERM)
        assert ended(server) == 0


# What happens to a process.


def replaced(server: Server, how: int) -> None:
    """End the one worker of a server, and wait until another does its work."""
    (old,) = server.children()
    os.kill(old, how)
    wait_for(lambda: server.children() not in ([], [old]))
    assert requests.get(f"{server.url}/robots.txt", timeout=PATIENCE).content == ROBOTS


def test_a_worker_that_is_killed_is_replaced_and_the_server_goes_on(make_server: MakeServer) -> None:
    site = Site(make_server(WORKERS="1"))
    path = site.upload(CONTENT)
    replaced(site.server, signal.SIGKILL)
    assert requests.get(f"{site.server.url}{path}", timeout=PATIENCE).content == CONTENT


def test_workers_whose_master_was_killed_end_within_stop_time_and_free_the_address(make_server: MakeServer) -> None:
    site = Site(make_server(STOP_TIME="1s"))
    with closing(site.download(site.upload(CONTENT))) as connection:
        site.server.process.kill()
        wait_for(lambda: refuses(site.server))
        assert_reset(connection)


def test_running_out_of_descriptors_ends_nothing(make_server: MakeServer) -> None:
    site = Site(make_server(WORKERS="1"))
    (worker,) = site.server.children()
    with closing(site.download(site.upload(CONTENT))) as connection, connection.makefile("rb") as stream:
        held = len(descriptors(worker))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (held + 10, held + 10))
        crowd = [site.server.connect() for _ in range(30)]
        wait_for(lambda: len(descriptors(worker)) == held + 10)
        assert stream.read(len(CONTENT)) == CONTENT
        for one in crowd:
            one.close()
    with closing(site.connect()) as connection:
        assert ask(connection, HEAD + b"\r\n").body == ROBOTS
    assert site.server.children() == [worker]
