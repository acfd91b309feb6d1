"""A thousand malformed requests to a real server: each gets a proper answer that is no server error, or no answer.

Requests are bytes on a raw socket, which is then closed for writing, so that no server has a reason to wait for more.
"""

import re
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from socket import SHUT_WR
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sealing import HttpDoor, seal, store
from tests.servers import Server, curl, wait_for

Requests = st.SearchStrategy[bytes]
EACH = 125  # eight kinds: a thousand in all
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [ -~]*\r\n")
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)\r\n")

# Building requests. TOKEN, NUMBER, ID and OWNER stand for those of shares that are there; ONCE and LOCKED are the
# tokens of one with limited opens and of one with a password.

SCRAPS = b"-- ; = \" \\ % %00 %ff ../ // ? # & + : , * - 0 -1 { < ' [ ] @ TOKEN HTTP/1.1 \x1b[0m \xff \xc3\x28".split()
SCRAPS += [b"", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"x" * 300, "ключ\u202e🔑".encode()]
scraps = st.sampled_from(SCRAPS) | st.binary(max_size=12)
texts = st.lists(scraps, max_size=4).map(b"".join)
on_one_line = texts.map(lambda text: re.sub(rb"[\x00-\x1f\x7f]", b"", text))


@st.composite
def damaged(draw: st.DrawFn, whole: Requests) -> bytes:
    """A request in which, half of the time, one place was replaced, removed or added to."""
    data = draw(whole)
    if draw(st.booleans()):
        return data
    start = draw(st.sampled_from(range(len(data) + 1)))
    stop = draw(st.integers(start, min(len(data), start + 16)))
    return data[:start] + draw(scraps) + data[stop:]


def joined(*parts: Requests | bytes) -> Requests:
    """Parts in a row."""
    return st.tuples(*(st.just(part) if isinstance(part, bytes) else part for part in parts)).map(b"".join)


def lines(*parts: Requests | bytes) -> Requests:
    """Parts in a row, each followed by a line end."""
    return joined(*(part for one in parts for part in (one, b"\r\n")))


def some(part: Requests, most: int = 5, between: bytes = b"") -> Requests:
    """Some of these in a row."""
    return st.lists(part, max_size=most).map(between.join)


def one_of(spelled: str, *more: bytes) -> Requests:
    """Most of the time one of these, which are spelled with bars between them; else anything."""
    choices = [choice.encode() for choice in spelled.split(" | ")]
    return st.sampled_from(range(10)).flatmap(lambda die: st.sampled_from([*choices, *more]) if die < 9 else texts)


def header(names: str, values: Requests) -> Requests:
    """A field of a head, under one of these names."""
    return joined(st.sampled_from([f"{name}: ".encode() for name in names.split()]), values)


METHODS = one_of("GET | HEAD | PUT | POST | OPTIONS | DELETE | PATCH | TRACE | CONNECT | get | M-X")
PATHS = one_of(
    "/ | * | /TOKEN | /TOKEN.png | /TOKEN/1/x | /NUMBER.zip | /nothing | /a/b/c | /static/style.css | /sharex.sxcu | "
    "/manage/ID/OWNER | /healthz | http://localhost/ | "
    "/ONCE | /ONCE?lease=TOKEN | /LOCKED | /%23TOKEN | /api/v1/shares/ID"
)
VERSIONS = one_of("HTTP/1.1 | HTTP/1.0 | HTTP/0.9 | HTTP/2.0 | HTTP/1.10 | http/1.1 | ICY")
SEGMENTS = one_of(
    "TOKEN | TOKEN.png | NUMBER.zip | NUMBER | 1 | 2 | 0 | -1 | %D9%A1 | .. | . | %2e%2e | manage | ID | OWNER | "
    "ONCE | LOCKED | %23 | %23TOKEN | api | v1 | "
    "delete | static | style.css | %2F | %00 | %0d%0a | %ff | %u0041 | healthz | TOKE | TOKENx | T%4fKEN | TOKEN%20",
    *(b"9" * 30, b"=" * 32, b"_" * 32, b"a" * 3000, b"a" * 7000),
)
HOSTS = one_of(
    "localhost | localhost | localhost | 127.0.0.1:80 | [::1] | example.org | localhost:99999 | [ | a,b",
    b"",
    b"localhost\0",
)
NUMBERS = one_of("0 | 1 | 5 | -1 | +1 | 0x1 | 1_0 | 1, 1 | 1.0", b"", b" 1", b"1 ", b"9" * 25, b"\xb2")
SPANS = some(joined(NUMBERS, b"-", NUMBERS), between=b",")
RANGES = st.one_of(
    one_of(
        "bytes=0- | bytes=-0 | bytes=1-0 | bytes=0-0 | bytes=-5 | bytes=4095-4096 | bytes=9999- | bytes=10000- | bytes"
    ),
    joined(st.sampled_from([b"bytes=", b"Bytes=", b"items=", b"=", b"bytes=" + b"9" * 5000]), SPANS),
)
TAGS = one_of(
    '"x" | W/"x" | * | " | W/ | "x | "a", "b" | Sat, 21 Nov 2026 00:00:00 GMT | Sat, 99 Nov 99999999 00:00:00'
)
ACCEPTS = one_of("*/* | application/json | text/html;q=0.5, */*;q=nan | ;q=1 | a/b/c;;; | */html | text/html;q=1e400")
TYPES = one_of(
    "text/plain | multipart/form-data | multipart/form-data; boundary=b | application/x-www-form-urlencoded | /",
    b"a" * 300,
)
ORIGINS = one_of(
    "http://localhost | null | http://[ | http://[::1 | https://example.org | // | http://a:b:c | same-origin"
)
PROOFS = one_of(
    "Basic | Basic = | Basic OnA= | Basic Og== | Basic eA== | Basic /w== | Bearer TOKEN | Digest a=b | basic OnA",
    *(b"Basic " + b64encode(b":" + password) for password in (b"p", b"\xff", b"\0", b"x" * 3000, "ключ".encode())),
)
CODINGS = one_of("chunked | gzip, chunked | chunked, chunked | identity | unknown | Chunked | chunked;x", b"")
FIELDS = st.one_of(
    header("Range range", RANGES),
    header("If-Range If-None-Match If-Match If-Modified-Since", TAGS),
    header("Origin Sec-Fetch-Site Referer Forwarded X-Forwarded-Host", ORIGINS),
    header("X-Onekey-Secret Cookie Authorization X-Forwarded-For TE X", on_one_line),
    header("Authorization", PROOFS),
    header("Content-Length Max-Forwards Content_Length", NUMBERS),
    header("Accept", ACCEPTS),
    header("Content-Type", TYPES),
    header("Transfer-Encoding Content-Encoding Accept-Encoding", CODINGS),
    header("Expect", one_of("100-continue | 200-ok", b"")),
    header("Connection Upgrade", one_of("close | keep-alive | upgrade | keep-alive, TE | Host | h2c | websocket")),
    joined(texts, b": ", texts),
    texts,
)


def get(target: Requests, *fields: Requests) -> Requests:
    """A GET or HEAD of this."""
    return lines(joined(st.sampled_from([b"GET ", b"HEAD "]), target, b" HTTP/1.1"), b"Host: localhost", *fields, b"")


def with_body(start: Requests, media: Requests, body: Requests) -> Requests:
    """A request with a body whose length is told right, or nearly so."""

    def put_together(parts: tuple[bytes, bytes, bytes, int]) -> bytes:
        first, kind, content, more = parts
        head = b"%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n" % (first, kind)
        return head + b"Content-Length: %d\r\n\r\n%s" % (max(0, len(content) + more), content)

    return st.tuples(start, media, body, st.sampled_from([*[0] * 12, 1, -1, -7, 2_000_000])).map(put_together)


# Heads.
REQUEST_LINES = damaged(
    lines(joined(METHODS, b" ", PATHS, b" ", st.just(b"HTTP/1.1") | VERSIONS), b"Host: localhost", b"")
)
STARTS = st.sampled_from(
    [b"GET /TOKEN", b"GET /NUMBER", b"PUT /a", b"POST /", b"POST /manage/ID/OWNER", b"GET /LOCKED", b"POST /ONCE"]
)
HEADS = damaged(joined(STARTS, b" HTTP/1.1\r\n", lines(header("Host", HOSTS)), some(lines(FIELDS), most=3), b"\r\n"))
ADDRESSES = damaged(get(joined(b"/", some(SEGMENTS, most=4, between=b"/"))))
CONDITIONS = get(
    st.sampled_from([b"/TOKEN", b"/TOKEN.png", b"/NUMBER/1/x", b"/NUMBER", b"/NUMBER.zip", b"/ONCE", b"/LOCKED"]),
    header("Range", RANGES),
    header("If-Range If-None-Match", TAGS) | header("Accept", ACCEPTS),
)
OPTIONS = one_of(
    "expires | opens | opens=1 | opens=-1 | password | password=%ff | "
    "secret | answer | file | expires=1h | opens= | = | expires=%D9%A1h | answer=page | "
    "expires=%00 | expires=never | %ff=%fe | && | ;",
    *(b"expires=" + b"9" * 20, b"expires=" + b"1" * 3000),
)
QUERIES = with_body(
    joined(
        st.sampled_from([b"PUT /a?", b"POST /?", b"PUT /?", b"GET /?", b"POST /manage/ID/OWNER?"]),
        some(OPTIONS, between=b"&").map(lambda options: options.replace(b" ", b"+")),
    ),
    TYPES,
    texts,
)

# Bodies.
DISPOSITIONS = one_of(
    'form-data; name="file"; filename="a.txt" | form-data; name="file"; filename="" | form-data; name="expires" | '
    'form-data; name="file" | form-data | attachment | form-data; name="other"; filename="a" | form-data; name="" | '
    'form-data; name="secret" | form-data; name="opens" | form-data; name="password" | '
    'form-data; name=file; filename=.. | form-data; name="file | '
    'form-data; name="file"; filename*=UTF-8\'\'%ff%00 | ; filename="a" | '
    'form-data; name="file"; filename="%0D%0A%22/../"',
    b'form-data; name="file"; filename="\xff\xfe"',
    b'form-data; name="file"; filename="%s"' % (b"\\" * 300),
)
PART_FIELDS = st.one_of(
    header("Content-Type", TYPES),
    header("Content-Length", NUMBERS),
    header("Content-Transfer-Encoding", one_of("base64 | binary")),
    joined(texts, b":", texts),
)
PART_HEADS = joined(lines(header("Content-Disposition", DISPOSITIONS)), some(lines(PART_FIELDS), most=2))
CONTENTS = one_of(
    "text | <b> | 1h | 7d", b"", b"\r\n--", b"\r\n--b", bytes(5000), b"--b\r\n" * 20, b"\r" * 200, b"\xff" * 70_000
)
FILE = joined(b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', CONTENTS, b"\r\n")
PARTS = some(st.one_of(FILE, FILE, FILE, joined(b"--b\r\n", PART_HEADS, b"\r\n", CONTENTS, b"\r\n")))
BOUNDARIES = st.sampled_from([*[b"; boundary=b"] * 9, b""]) | joined(b"; boundary=", on_one_line)
FORMS = with_body(
    st.just(b"POST /"),
    joined(b"multipart/form-data", st.one_of(st.just(b"; boundary=b"), BOUNDARIES)),
    damaged(joined(st.one_of(FILE, FILE, PARTS), PARTS, one_of("--b-- | --b-- | --b-- | --b", b"", b"--b--\r\n"))),
)
SIZES = one_of('0 | 1 | a | A | 05 | 0x5 | -1 | 5;x=y | 5;x=" | 5; | ffffffff | g', b"", b"5 ", b" 5", b"f" * 20)
CHUNKS = st.just(b"5\r\nhello\r\n") | joined(SIZES, b"\r\n", one_of("hello", b"", b"x" * 300), b"\r\n")
TRAILERS = one_of("bad", b"", *[b"0\r\n\r\n"] * 4, b"0\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n")
IN_CHUNKS = damaged(
    joined(
        st.sampled_from([b"PUT /a", b"POST /", b"POST /manage/ID/OWNER", b"GET /"]),
        b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n",
        lines(header("Content-Type", TYPES), b""),
        some(CHUNKS, most=3),
        TRAILERS,
    )
)
SMALL_FORMS = with_body(
    st.sampled_from(
        [b"POST /manage/ID/OWNER", b"POST /manage/ID/OWNER?a=b", b"POST /manage/ID/x", b"POST /manage/x/delete"]
    ),
    st.just(b"application/x-www-form-urlencoded") | on_one_line,
    joined(
        one_of("expires=1h& | expires=never& | opens=5& | opens=unlimited&", b""), some(OPTIONS, most=3, between=b"&")
    ),
)
KINDS = {
    "request lines": REQUEST_LINES,
    "heads": HEADS,
    "addresses": ADDRESSES,
    "ranges and conditions": CONDITIONS,
    "query strings": QUERIES,
    "forms": FORMS,
    "chunks": IN_CHUNKS,
    "small forms": SMALL_FORMS,
}


# Sending them.


class Target(NamedTuple):
    """A server, and what stands for its shares in requests."""

    server: Server
    names: dict[bytes, bytes]

    def send(self, request: bytes) -> bytes:
        """All that the server answers to a request; raises TimeoutError where it never ends."""
        request = re.sub(rb"TOKEN|NUMBER|OWNER|ONCE|LOCKED|ID", lambda name: self.names[name[0]], request)
        received = bytearray()
        with self.server.connect() as sock:
            with suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(request)
                sock.shutdown(SHUT_WR)
            with suppress(ConnectionResetError):
                while piece := sock.recv(1 << 16):
                    received += piece
        return bytes(received)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of its own, with small limits, in which five shares are."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with Server(folder, MAX_UPLOAD_SIZE="64 KiB", MAX_FILES="4", MAX_EXPIRY="never", CHUNK_SIZE="4096") as server:
        one, several, third, once = (
            curl(
                "--fail", "-D", "-", "-F", "file=@-;filename=a.txt", *more, f"{server.url}/", data=bytes(10_000)
            ).stdout
            for more in ([], ["-F", "file=@/dev/null;filename=b"], [], ["-F", "opens=1000000"])
        )
        owner = re.search(rb"/manage/([0-9a-f]{32})/([\w-]{32})", third)
        tokens = [re.search(rb"Location: http://[^/]+/([\w-]{32})", answer) for answer in (one, several, once)]
        assert owner
        assert tokens[0]
        assert tokens[1]
        assert tokens[2]
        names = {b"TOKEN": tokens[0][1], b"NUMBER": tokens[1][1], b"ID": owner[1], b"OWNER": owner[2]}
        names[b"ONCE"] = tokens[2][1]
        names[b"LOCKED"] = store(HttpDoor(server.url), seal(bytes(10_000), password="p")).token.encode()
        yield Target(server, names)


def statuses(received: bytes, request: bytes) -> list[int]:
    """The statuses of the answers in what was received, each of which has to be whole and in the form of RFC 9112."""
    found, headless = [], request.lstrip(b"\r\n").startswith(b"HEAD ")
    while received:
        line = STATUS_LINE.match(received)
        assert line, received[:200]
        status, received = int(line[1]), received[line.end() :]
        fields: dict[bytes, bytes] = {}
        while not received.startswith(b"\r\n"):
            field = HEADER_LINE.match(received)
            assert field, received[:200]
            assert field[1].lower() not in fields or field[1].lower() == b"vary"
            fields[field[1].lower()] = field[2]
            received = received[field.end() :]
        received = received[2:]
        if status >= 200:
            assert b"transfer-encoding" not in fields
            length = 0 if status == 304 else int(fields[b"content-length"])
            # Who cannot read a request does not know that it is a HEAD.
            if headless and (status < 400 or not received or received.startswith(b"HTTP/1.")):
                length = 0
            assert len(received) >= length
            received, headless = received[length:], False
        found.append(status)
    return found


def unfinished(server: Server) -> int:
    """How many uploads have neither become a share nor been given up."""
    with closing(sqlite3.connect(f"file:{server.content / 'onekey.db'}?mode=ro", uri=True)) as db:
        count: int = db.execute("SELECT count(*) FROM shares WHERE state = 'open'").fetchone()[0]
        return count


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_sent_the_answer_is_proper_and_the_server_serves_on(target: Target, kind: str) -> None:
    @settings(max_examples=EACH, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=KINDS[kind])
    def send(request: bytes) -> None:
        for status in statuses(target.send(request), request):
            # 501 is what RFC 9112, section 6.1, wants for a transfer coding that a server does not know.
            assert status < 500 or (status == 501 and b"transfer-encoding" in request.lower())

    send()
    link = curl("--fail", "-T", "-", f"{target.server.url}/", data=b"still here").stdout.decode().strip()
    assert curl("--fail", link).stdout == b"still here"
    assert not re.search("Traceback|Error|failed|Exception", target.server.log), target.server.log
    wait_for(lambda: unfinished(target.server) == 0)
