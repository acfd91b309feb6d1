"""The direct door, inwards: what can send a file gets a link to the same bytes, or is refused and leaves no trace.

Most of it through Flask's client; where the bytes on the wire matter, a real server, curl, requests and raw sockets.
"""

import io
import json
import random
import re
import socket
import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from zipfile import ZipFile

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.http import parse_options_header
from werkzeug.test import TestResponse

from onekey.app import App
from tests.conftest import Clock
from tests.servers import Server, curl, wait_for

KIB, MIB = 1 << 10, 1 << 20
BOUNDARY = "----a boundary of the tests".replace(" ", "-")
SECRET = "open sesame, ключ"
SIZES = [0, 1, 255 * KIB, 256 * KIB, 256 * KIB + 1, 20 * MIB]
LINK = re.compile(r"(https?://[^/]+)/([A-Za-z0-9_-]{32})((?:\.[A-Za-z0-9]{1,10})?)")
MakeApp = Callable[..., App]


def content_of(size: int) -> bytes:
    """Content of a size, the same each time."""
    return random.Random(size).randbytes(size)


def field(name: str, value: bytes | str) -> bytes:
    """A field of a form, as one part of it."""
    raw = value.encode() if isinstance(value, str) else value
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + raw


def file(content: bytes, name: str = "a.bin", media: str | None = None) -> bytes:
    """A file of a form, as browsers spell it (WHATWG: line ends and quotes are percent-encoded, nothing else is)."""
    spelled = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
    return named(f'filename="{spelled}"', content, media)


def named(parameters: str, content: bytes, media: str | None = None) -> bytes:
    """A file of a form, its name being spelled by the test."""
    head = f'Content-Disposition: form-data; name="file"; {parameters}\r\n'
    return (head + (f"Content-Type: {media}\r\n" if media else "") + "\r\n").encode() + content


def form(*parts: bytes) -> dict[str, Any]:
    """Body and type of a form, as arguments of Flask's client."""
    body = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part) for part in parts)
    return {
        "data": body + b"--%s--\r\n" % BOUNDARY.encode(),
        "content_type": f"multipart/form-data; boundary={BOUNDARY}",
    }


def sent(client: FlaskClient, *parts: bytes, headers: Mapping[str, str] | None = None) -> TestResponse:
    """The answer to a form."""
    return client.post("/", headers={"Accept": "application/json", **(headers or {})}, **form(*parts))


def link_in(answer: TestResponse) -> str:
    """The path of the direct link that an upload was answered with."""
    assert answer.status_code in {201, 303}, answer.text
    return urlsplit(answer.headers["Location"]).path


def stored(content: Path) -> set[str]:
    """What is stored in a CONTENT_DIR: the files of blobs and the rows of shares."""
    files = {str(path.relative_to(content)) for path in (content / "blobs").rglob("*")}
    with closing(sqlite3.connect(f"file:{content / 'onekey.db'}?mode=ro", uri=True)) as db:
        return files | {f"row {row}" for (row,) in db.execute("SELECT id FROM shares")}


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """The CONTENT_DIR of `client` and `make_app`."""
    return tmp_path / "content"


@pytest.fixture
def guarded(make_app: MakeApp) -> FlaskClient:
    """A client of an application that wants a secret."""
    return make_app(UPLOAD_SECRET=SECRET).test_client()


# Round trips, by curl and requests, against the real server.

Uploader = Callable[[str, Path, bytes], str]


def _pieces(data: bytes) -> Iterator[bytes]:
    """What makes requests send a body in chunks."""
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


def _by_curl(*arguments: str) -> Uploader:
    def upload(url: str, path: Path, data: bytes) -> str:
        filled = [argument.replace("PATH", str(path)) for argument in arguments]
        done = curl("--fail", *filled, f"{url}/", data=data)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    return upload


def _by_requests(send: Callable[[requests.Session, str, bytes], requests.Response]) -> Uploader:
    def upload(url: str, _: Path, data: bytes) -> str:
        with requests.Session() as session:
            session.trust_env = False
            answer = send(session, f"{url}/", data)
        assert answer.status_code in {201, 303}, answer.text
        return answer.text

    return upload


CHUNKED = ("-H", "Transfer-Encoding: chunked")
UPLOADERS: dict[str, Uploader] = {
    "curl, form": _by_curl("-F", "file=@PATH"),
    "curl, form in chunks": _by_curl(*CHUNKED, "-F", "file=@PATH"),
    "curl, PUT": _by_curl("-T", "PATH"),
    "curl, PUT from stdin": _by_curl("-T", "-"),
    "curl, POST": _by_curl("--data-binary", "@PATH"),
    "curl, POST in chunks": _by_curl(*CHUNKED, "--data-binary", "@-"),
    "requests, form": _by_requests(lambda s, url, data: s.post(url, files={"file": data}, allow_redirects=False)),
    "requests, PUT": _by_requests(lambda s, url, data: s.put(f"{url}a.bin", data=data)),
    "requests, PUT in chunks": _by_requests(lambda s, url, data: s.put(url, data=_pieces(data))),
    "requests, POST": _by_requests(lambda s, url, data: s.post(url, data=data, allow_redirects=False)),
    "requests, POST in chunks": _by_requests(
        lambda s, url, data: s.post(url, data=_pieces(data), allow_redirects=False)
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", UPLOADERS)
def test_what_went_up_comes_down(server: Server, tmp_path: Path, how: str, size: int) -> None:
    data = content_of(size)
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    told = UPLOADERS[how](server.url, path, data)
    match = LINK.fullmatch(told.removesuffix("\n"))
    assert match, told
    assert match[1] == server.url
    down = curl("--fail", match[0])
    assert (down.returncode, down.stdout == data) == (0, True)


def test_a_program_prints_into_curl_and_curl_prints_a_link_to_it(server: Server) -> None:
    told = curl("--fail", "-T", "-", f"{server.url}/", data="größer als nichts\n".encode()).stdout.decode()
    assert LINK.fullmatch(told.strip())
    assert told.endswith(".txt\n")


def test_curl_that_follows_the_redirect_of_a_form_gets_the_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not quite a picture")
    got = curl("--fail", "-L", "-F", f"file=@{tmp_path / 'a.png'}", f"{server.url}/")
    assert got.stdout == b"not quite a picture"


# ShareX, replayed byte by byte: .NET's HttpWebRequest with the body that ShareX writes.


def sharex_request(host: str, accept: str, dashes: int) -> bytes:
    """A ShareX upload as it is on the wire: arguments first, then the file, as its Uploader.cs does it."""
    boundary = f"{'-' * dashes}8dc1f2a3b4c5d6e"
    body = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="secret"\r\n'
        "\r\n"
        f"{SECRET}\r\n"
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="file"; filename="Снимок экрана (1).png"\r\n'
        "Content-Type: image/png\r\n"
        "\r\n"
    ).encode()
    body += PICTURE + f"\r\n--{boundary}--\r\n".encode()
    head = (
        "POST / HTTP/1.1\r\n"
        "Cache-Control: no-store,no-cache\r\n"
        "Pragma: no-cache\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
        f"{accept}"
        "User-Agent: ShareX/15.0.0\r\n"
        f"Host: {host}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Accept-Encoding: gzip, deflate\r\n"
        "Connection: Keep-Alive\r\n"
        "\r\n"
    )
    return head.encode() + body


PICTURE = b"\x89PNG\r\n\x1a\n" + content_of(300 * KIB) + b"\r\n--"


def exchange(sock: socket.socket, request: bytes) -> tuple[HTTPResponse, bytes]:
    """One request and its answer on a connection that may go on."""
    sock.sendall(request)
    answer = HTTPResponse(sock, method=request.partition(b" ")[0].decode("latin-1"))
    answer.begin()
    return answer, answer.read()


def local_get(link: str) -> bytes:
    """A plain GET of a link."""
    parts = urlsplit(link)
    return f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Keep-Alive\r\n\r\n".encode()


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server that wants a secret and takes 8 MiB."""
    folder = tmp_path_factory.mktemp("guarded")
    with Server(folder, UPLOAD_SECRET=SECRET, MAX_UPLOAD_SIZE="8 MiB", MAX_FILES="1") as running:
        yield running


@pytest.mark.parametrize("dashes", [20, 27, 29])
def test_sharex_that_asks_for_json_gets_all_that_its_configuration_reads(guarded_server: Server, dashes: int) -> None:
    host = f"127.0.0.1:{guarded_server.port}"
    with guarded_server.connect() as sock:
        answer, body = exchange(sock, sharex_request(host, "Accept: application/json\r\n", dashes))
        told = json.loads(body)
        assert answer.status == 201  # a redirect would be followed, and the picture taken for the answer
        assert answer.headers.get_content_type() == "application/json"
        assert set(told) == {"url", "direct_url", "owner_url", "delete_url", "id", "expires"}
        link = LINK.fullmatch(told["url"])
        assert link
        assert (link[1], link[3]) == (f"http://{host}", ".png")
        answer, body = exchange(sock, local_get(told["url"]))
        assert (answer.status, body) == (200, PICTURE)


def test_sharex_that_asks_for_nothing_follows_the_redirect_to_the_picture(guarded_server: Server) -> None:
    host = f"127.0.0.1:{guarded_server.port}"
    with guarded_server.connect() as sock:
        answer, body = exchange(sock, sharex_request(host, "", 20))
        assert answer.status == 303
        assert body.decode() == f"{answer.headers['Location']}\n"
        answer, body = exchange(sock, local_get(answer.headers["Location"]))
        assert (answer.status, answer.headers["Content-Type"], body) == (200, "image/png", PICTURE)


# What an upload is answered with.


def test_a_form_is_answered_with_a_redirect_to_the_link(client: FlaskClient) -> None:
    answer = client.post("/", **form(file(b"hello", "hello.txt")))
    assert answer.status_code == 303
    assert answer.text == f"{answer.headers['Location']}\n"
    assert client.get(link_in(answer)).data == b"hello"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_raw_body_is_answered_with_created_and_the_link(client: FlaskClient, method: str) -> None:
    answer = client.open("/", method=method, data=b"hello")
    assert answer.status_code == 201
    assert answer.text == f"{answer.headers['Location']}\n"
    assert LINK.fullmatch(answer.text.strip())


@pytest.mark.parametrize(
    "upload",
    [
        lambda client, headers: client.put("/a.bin", data=b"x", headers=headers),
        lambda client, headers: client.post("/", data=b"x", headers=headers),
        lambda client, headers: client.post("/", headers=headers, **form(file(b"x"))),
    ],
    ids=["PUT", "POST", "form"],
)
class TestAnswers:
    """The same answers, however the file came."""

    Upload = Callable[[FlaskClient, dict[str, str]], TestResponse]

    def test_json_has_both_links_and_the_id(self, client: FlaskClient, upload: Upload) -> None:
        answer = upload(client, {"Accept": "application/json"})
        told = answer.get_json()
        assert answer.status_code == 201
        assert set(told) == {"url", "direct_url", "owner_url", "delete_url", "id", "expires"}
        assert told["url"] == told["direct_url"] == answer.headers["Location"]
        assert re.fullmatch(r"[0-9a-f]{32}", told["id"])
        assert told["owner_url"].startswith(f"http://localhost/manage/{told['id']}/")
        assert told["delete_url"] == f"{told['owner_url']}/delete"
        assert told["expires"] is None

    def test_the_owner_link_is_in_a_header(self, client: FlaskClient, upload: Upload) -> None:
        owner = upload(client, {}).headers["X-Onekey-Owner-URL"]
        assert client.get(urlsplit(owner).path).status_code == 200

    def test_the_owner_link_does_not_hold_the_key(self, client: FlaskClient, upload: Upload) -> None:
        answer = upload(client, {})
        link = LINK.fullmatch(answer.headers["Location"])
        assert link
        assert link[2] not in answer.headers["X-Onekey-Owner-URL"]

    def test_caches_are_told_that_the_answer_depends_on_accept(self, client: FlaskClient, upload: Upload) -> None:
        assert upload(client, {}).headers["Vary"] == "Accept"

    def test_no_cache_keeps_the_link(self, client: FlaskClient, upload: Upload) -> None:
        assert upload(client, {}).headers["Cache-Control"] == "no-store"


def test_several_files_become_one_share_without_an_ending(client: FlaskClient) -> None:
    answer = sent(client, file(b"one", "1.txt"), file(b"two", "2.txt"))
    match = LINK.fullmatch(answer.get_json()["url"])
    assert match
    assert match[3] == ""
    assert client.get(f"{link_in(answer)}/2/").data == b"two"


def test_two_uploads_of_the_same_bytes_have_nothing_in_common(client: FlaskClient) -> None:
    one, two = (client.put("/a.bin", data=b"same").get_data(as_text=True) for _ in range(2))
    assert one != two


# The secret.

PROOFS: dict[str, Callable[[str], dict[str, Any]]] = {
    "X-Onekey-Secret": lambda secret: {**form(file(b"x")), "headers": _secret_header("X-Onekey-Secret", secret)},
    "X-Wonkey-Secret": lambda secret: {**form(file(b"x")), "headers": _secret_header("X-Wonkey-Secret", secret)},
    "a field before the file": lambda secret: form(field("secret", secret), file(b"x")),
    "a field after the file": lambda secret: form(file(b"x"), field("secret", secret)),
    "a header on a raw body": lambda secret: {"data": b"x", "headers": _secret_header("X-Onekey-Secret", secret)},
}


def _secret_header(name: str, secret: str) -> dict[str, str]:
    """A header of UTF-8, as WSGI passes it on."""
    return {name: secret.encode().decode("latin-1")}


@pytest.mark.parametrize("how", PROOFS)
def test_the_right_secret_lets_an_upload_in(guarded: FlaskClient, how: str) -> None:
    assert guarded.get(link_in(guarded.post("/", **PROOFS[how](SECRET)))).data == b"x"


@pytest.mark.parametrize("how", PROOFS)
@pytest.mark.parametrize("wrong", ["wrong", "", SECRET[:-1], f"{SECRET} ", SECRET.upper()])
def test_a_wrong_secret_is_refused_and_leaves_nothing(
    guarded: FlaskClient, content: Path, how: str, wrong: str
) -> None:
    assert guarded.post("/", **PROOFS[how](wrong)).status_code == 403
    assert stored(content) == set()


@pytest.mark.parametrize(
    "request_of",
    [{"method": "POST", **form(file(b"x"))}, {"method": "PUT", "data": b"x"}, {"method": "POST", "data": b"x"}],
    ids=["form", "PUT", "POST"],
)
def test_no_secret_is_refused_and_leaves_nothing(
    guarded: FlaskClient, content: Path, request_of: dict[str, Any]
) -> None:
    assert guarded.open("/", **request_of).status_code == 403
    assert stored(content) == set()


def test_a_wrong_secret_after_a_right_one_is_refused(guarded: FlaskClient, content: Path) -> None:
    answer = sent(guarded, field("secret", SECRET), file(b"x"), field("secret", "wrong"))
    assert (answer.status_code, stored(content)) == (403, set())


def test_a_secret_that_is_no_text_is_refused(guarded: FlaskClient, content: Path) -> None:
    answer = sent(guarded, field("secret", b"\xff\xfe"), file(b"x"))
    assert (answer.status_code, stored(content)) == (400, set())


def test_a_secret_in_the_address_is_refused_however_right(guarded: FlaskClient, content: Path) -> None:
    answer = guarded.post("/", query_string={"secret": SECRET}, **form(file(b"x")))
    assert (answer.status_code, stored(content)) == (400, set())


def test_a_server_without_a_secret_takes_any(client: FlaskClient) -> None:
    assert sent(client, field("secret", "whatever"), file(b"x")).status_code == 201


def test_more_than_64_mib_do_not_wait_for_their_secret(guarded: FlaskClient, content: Path) -> None:
    answer = sent(guarded, file(bytes(65 * MIB)), field("secret", SECRET))
    assert (answer.status_code, stored(content)) == (403, set())


def test_with_the_secret_first_size_does_not_matter(guarded: FlaskClient) -> None:
    assert sent(guarded, field("secret", SECRET), file(bytes(65 * MIB))).status_code == 201


def test_curl_sends_the_secret_as_utf_8_in_a_header(guarded_server: Server) -> None:
    told = curl("--fail", "-H", f"X-Onekey-Secret: {SECRET}", "-T", "-", f"{guarded_server.url}/", data=b"x")
    assert LINK.fullmatch(told.stdout.decode().strip())


# What cannot be taken.


@pytest.mark.parametrize(
    "body",
    [
        form(),
        form(field("expires", "1h")),
        form(named('filename=""', b"")),
        form(b'Content-Disposition: form-data; name="other"; filename="a.bin"\r\n\r\nx'),
        form(named('filename=""', b"content without a name")),
        {"data": b"", "content_type": f"multipart/form-data; boundary={BOUNDARY}"},
        {"data": b"nothing like a form", "content_type": f"multipart/form-data; boundary={BOUNDARY}"},
        {"data": b"x", "content_type": "multipart/form-data"},
        {"data": b"x", "content_type": "multipart/form-data; boundary="},
        {**form(file(b"x")), "data": form(file(b"x"))["data"][:-8]},
        form(b"Content-Type: text/plain\r\n\r\nx"),
        form(b"\xff\xfe: x\r\n\r\nx"),
        form(field("expires", b"\xff"), file(b"x")),
    ],
    ids=[
        "no part",
        "only a field",
        "a file input in which nothing was chosen",
        "a file in another field",
        "a file with an empty name",
        "empty body",
        "no form in it",
        "no boundary",
        "empty boundary",
        "no end",
        "a part without a disposition",
        "a part with a broken head",
        "a field that is no text",
    ],
)
def test_a_form_without_a_readable_file_is_400_and_leaves_nothing(
    client: FlaskClient, content: Path, body: dict[str, Any]
) -> None:
    assert client.post("/", **body).status_code == 400
    assert stored(content) == set()


def test_an_empty_file_input_beside_a_chosen_one_is_passed_over(client: FlaskClient) -> None:
    answer = sent(client, named('filename=""', b""), file(b"x", "x.txt"))
    assert client.get(link_in(answer)).data == b"x"


@pytest.mark.parametrize("size", [99, 100])
def test_what_just_fits_is_taken(make_app: MakeApp, size: int) -> None:
    client = make_app(MAX_UPLOAD_SIZE="100").test_client()
    assert client.put("/a", data=bytes(size)).status_code == 201
    assert sent(client, file(bytes(size))).status_code == 201


@pytest.mark.parametrize(
    "request_of",
    [
        {"method": "PUT", "data": bytes(101)},
        {"method": "PUT", "input_stream": io.BytesIO(bytes(101)), "environ_overrides": {"wsgi.input_terminated": True}},
        {"method": "POST", **form(file(bytes(101)))},
        {"method": "POST", **form(file(bytes(51)), file(bytes(50)))},
    ],
    ids=["a body of known length", "a body in chunks", "a form", "a form of several files"],
)
def test_one_byte_too_many_is_413_and_leaves_nothing(
    make_app: MakeApp, content: Path, request_of: dict[str, Any]
) -> None:
    client = make_app(MAX_UPLOAD_SIZE="100").test_client()
    assert client.open("/", **request_of).status_code == 413
    assert stored(content) == set()


def test_one_file_too_many_is_413_and_leaves_nothing(make_app: MakeApp, content: Path) -> None:
    client = make_app(MAX_FILES="2").test_client()
    assert sent(client, file(b"1"), file(b"2"), file(b"3")).status_code == 413
    assert stored(content) == set()


def test_as_many_files_as_there_may_be_are_taken(make_app: MakeApp) -> None:
    assert sent(make_app(MAX_FILES="2").test_client(), file(b"1"), file(b"2")).status_code == 201


@pytest.mark.parametrize(
    "parts",
    [[field(f"f{number}", "x") for number in range(101)], [field("f", bytes(64 * KIB + 1))]],
    ids=["too many", "too long"],
)
def test_fields_that_fill_memory_are_413(client: FlaskClient, content: Path, parts: list[bytes]) -> None:
    assert sent(client, *parts, file(b"x")).status_code == 413
    assert stored(content) == set()


def test_a_head_in_a_form_that_fills_memory_is_413(client: FlaskClient, content: Path) -> None:
    assert sent(client, file(b"x", "x" * 9000)).status_code == 413
    assert stored(content) == set()


@pytest.mark.parametrize("body", [{"method": "PUT", "data": b"x"}, {"method": "POST", **form(file(b"x"))}])
def test_no_room_is_507_and_leaves_nothing(make_app: MakeApp, content: Path, body: dict[str, Any]) -> None:
    client = make_app(MIN_FREE_SPACE="900000 TiB").test_client()
    assert client.open("/", **body).status_code == 507
    assert stored(content) == set()


# When it expires.

HOUR, DAY = 3600, 86_400
NOW = 1_800_000_000


def iso(seconds: int | None) -> str | None:
    """The time so many seconds after the test's clock, as JSON tells it."""
    return None if seconds is None else f"{datetime.fromtimestamp(NOW + seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        ("90", 90),
        ("1", 1),
        ("90s", 90),
        ("5m", 300),
        ("1h", HOUR),
        ("7d", 7 * DAY),
        ("2w", 14 * DAY),
        ("7D", 7 * DAY),
        (" 1h ", HOUR),
        ("never", None),
        ("Never", None),
        ("", None),
    ],
)
def test_expires_is_seconds_or_a_duration_or_never(client: FlaskClient, asked: str, after: int | None) -> None:
    assert sent(client, field("expires", asked), file(b"x")).get_json()["expires"] == iso(after)


@pytest.mark.parametrize("asked", ["0", "-1", "1y", "soon", "1.5h", "h", "1h30m", "0d", "9" * 30, "1e3", "∞", "1 000"])
def test_expires_that_is_no_duration_is_400_and_leaves_nothing(client: FlaskClient, content: Path, asked: str) -> None:
    assert sent(client, field("expires", asked), file(b"x")).status_code == 400
    assert stored(content) == set()


def test_expires_may_come_after_the_file(client: FlaskClient) -> None:
    assert sent(client, file(b"x"), field("expires", "1h")).get_json()["expires"] == iso(HOUR)


def test_expires_of_a_raw_body_is_in_the_query(client: FlaskClient) -> None:
    answer = client.put("/a?expires=1h", data=b"x", headers={"Accept": "application/json"})
    assert answer.get_json()["expires"] == iso(HOUR)


@pytest.mark.parametrize("asked", ["never", "8d", str(7 * DAY + 1)])
def test_expires_beyond_the_longest_is_400_and_leaves_nothing(make_app: MakeApp, content: Path, asked: str) -> None:
    client = make_app(MAX_EXPIRY="7d").test_client()
    assert sent(client, field("expires", asked), file(b"x")).status_code == 400
    assert stored(content) == set()


@pytest.mark.parametrize(
    ("limits", "asked", "after"),
    [
        ({"MAX_EXPIRY": "7d"}, "7d", 7 * DAY),
        ({"MAX_EXPIRY": "7d"}, "", 7 * DAY),
        ({"MAX_EXPIRY": "7d", "DEFAULT_EXPIRY": "1d"}, "", DAY),
        ({"DEFAULT_EXPIRY": "1d"}, "", DAY),
        ({"DEFAULT_EXPIRY": "1d"}, "never", None),
    ],
)
def test_who_asks_for_nothing_gets_the_default(
    make_app: MakeApp, limits: dict[str, str], asked: str, after: int | None
) -> None:
    client = make_app(**limits).test_client()
    assert sent(client, field("expires", asked), file(b"x")).get_json()["expires"] == iso(after)


@pytest.mark.parametrize(("later", "status"), [(HOUR - 1, 200), (HOUR, 404)])
def test_an_expired_link_opens_nothing(client: FlaskClient, clock: Clock, later: int, status: int) -> None:
    link = link_in(sent(client, field("expires", "1h"), file(b"x")))
    clock.now += later
    assert client.get(link).status_code == status


# Clients that vanish, and clients that wait to be asked.


@pytest.fixture(scope="module")
def lonely_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server in which nothing else is stored."""
    with Server(tmp_path_factory.mktemp("lonely")) as running:
        yield running


HALVES = {
    "form": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    ),
    "PUT": b"PUT /a.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n",
    "chunks": b"PUT /a.bin HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n895440\r\n",
    "form in chunks": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n895440\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    ),
}


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("half", HALVES)
def test_a_client_that_vanishes_leaves_nothing(lonely_server: Server, half: str, how: str) -> None:
    with lonely_server.connect() as sock:
        sock.sendall(HALVES[half] + content_of(5 * MIB))
        wait_for(lambda: [name for name in stored(lonely_server.content) if name.endswith(".tmp")])
        if how == "resets":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: stored(lonely_server.content) == set())


def test_chunks_that_end_without_the_last_one_are_no_file(lonely_server: Server) -> None:
    with lonely_server.connect() as sock:
        sock.sendall(b"PUT /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    wait_for(lambda: stored(lonely_server.content) == set())


def on_the_wire(head: str) -> bytes:
    """The head of a request with the line ends that HTTP wants."""
    return head.replace("\n", "\r\n").encode("latin-1")


def first_words(server: Server, head: str, body: bytes = b"") -> bytes:
    """The status line that a server says first to a request, whose body waits for it unless it is given."""
    with server.connect() as sock, sock.makefile("rb") as reader:
        sock.sendall(on_the_wire(head) + body)
        return reader.readline()


FORM_HEAD = f"POST / HTTP/1.1\nHost: localhost\nContent-Type: multipart/form-data; boundary={BOUNDARY}\n"
RIGHT = f"X-Onekey-Secret: {SECRET.encode().decode('latin-1')}\n"
EXPECT = "Expect: 100-continue\n"


@pytest.mark.parametrize("expect", [EXPECT, ""], ids=["asks first", "does not ask"])
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"PUT /a HTTP/1.1\nHost: localhost\n{RIGHT}Content-Length: {8 * MIB + 1}\n", b"413"),
        (f"POST / HTTP/1.1\nHost: localhost\n{RIGHT}Content-Length: {10**15}\n", b"413"),
        (f"{FORM_HEAD}{RIGHT}Content-Length: {100 * MIB}\n", b"413"),
        (f"{FORM_HEAD}Content-Length: {100 * MIB}\n", b"413"),
        ("PUT /a HTTP/1.1\nHost: localhost\nContent-Length: 9\nX-Onekey-Secret: wrong\n", b"403"),
        ("PUT /a HTTP/1.1\nHost: localhost\nContent-Length: 9\n", b"403"),
        ("PUT /a HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n", b"403"),
        (f"{FORM_HEAD}X-Wonkey-Secret: wrong\nContent-Length: 9\n", b"403"),
        (f"PUT /a HTTP/1.1\nHost: example.org\n{RIGHT}Content-Length: 9\n", b"400"),
        (f"PUT /a?opens=x HTTP/1.1\nHost: localhost\n{RIGHT}Content-Length: 9\n", b"400"),
        (f"PUT /a?password=x HTTP/1.1\nHost: localhost\n{RIGHT}Content-Length: 9\n", b"400"),
        (f"POST /nowhere HTTP/1.1\nHost: localhost\n{RIGHT}Content-Length: 9\n", b"404"),
    ],
)
def test_who_is_refused_is_told_before_the_body(guarded_server: Server, head: str, status: bytes, expect: str) -> None:
    assert first_words(guarded_server, f"{head}{expect}\n").startswith(b"HTTP/1.1 %s " % status)


def test_who_asks_and_is_welcome_is_told_to_go_on(guarded_server: Server) -> None:
    with guarded_server.connect() as sock, sock.makefile("rb") as reader:
        sock.sendall(on_the_wire(f"PUT /a HTTP/1.1\nHost: localhost\n{RIGHT}Content-Length: 5\n{EXPECT}\n"))
        assert reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert reader.readline() == b"\r\n"
        sock.sendall(b"hello")
        assert reader.readline().startswith(b"HTTP/1.1 201 ")


def test_chunks_beyond_the_limit_are_413_while_they_still_come(guarded_server: Server) -> None:
    head = f"PUT /a HTTP/1.1\nHost: localhost\n{RIGHT}Transfer-Encoding: chunked\n\n"
    first = b"%x\r\n%s\r\n" % (8 * MIB, bytes(8 * MIB))
    answer = first_words(guarded_server, head, first + b"%x\r\n%s\r\n" % (2 * MIB, bytes(2 * MIB)))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_form_beyond_the_limit_is_413_while_it_still_comes(guarded_server: Server) -> None:
    head = f"{FORM_HEAD}{RIGHT}Content-Length: {9 * MIB + MIB // 2}\n\n"
    start = f"--{BOUNDARY}\r\n".encode() + file(bytes(9 * MIB))
    assert first_words(guarded_server, head, start).startswith(b"HTTP/1.1 413 ")


def test_curl_is_told_why_before_it_sends_anything(guarded_server: Server, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(100 * MIB)
    put = curl("-H", EXPECT.strip(), "-w", "%{http_code} %{size_upload}", "-T", str(large.name), guarded_server.url)
    assert put.stdout.endswith(b"403 0")


# Names.

NAMES = [
    ("plain.txt", "plain.txt"),
    ("two words.txt", "two words.txt"),
    ("наивно.txt", "наивно.txt"),
    ("日本語 漢字.png", "日本語 漢字.png"),
    ("مرحبا.pdf", "مرحبا.pdf"),
    ("🔑🗝.bin", "🔑🗝.bin"),
    ("e\u0301.txt", "é.txt"),
    ("without-an-ending", "without-an-ending"),
    (".profile", ".profile"),
    ("archive.tar.gz", "archive.tar.gz"),
    ("x" * 251 + ".txt", "x" * 251 + ".txt"),
    ("é" * 125 + ".txt", "é" * 125 + ".txt"),
    ("é" * 200 + ".txt", "é" * 125 + ".txt"),
    ("🔑" * 100, "🔑" * 63),
    ("quo\"te'd.txt", "quo_te'd.txt"),
    ("two\r\nlines.txt", "two__lines.txt"),
    ("tab\tand\x7fdelete.txt", "tab_and_delete.txt"),
    ("../../etc/passwd", "passwd"),
    ("..\\..\\boot.ini", "boot.ini"),
    ("C:\\Users\\me\\a.txt", "a.txt"),
    ("/absolute/path.txt", "path.txt"),
    ("folder/", "file"),
    ("..", "file"),
    (".", "file"),
    ("   ", "file"),
    ("\u202egpj.exe", "gpj.exe"),
    ("a\u2066b\u2069\u200f.txt", "ab.txt"),
    ("CON.txt", "_CON.txt"),
    ("nul", "_nul"),
    ("dots at the end...", "dots at the end"),
    ('<script>|alert(1)?*:".js', "_script__alert(1)____.js"),
    ("a;b=c, d.txt", "a;b=c, d.txt"),
    ("filename*=UTF-8''x.txt", "filename_=UTF-8''x.txt"),
    ("100%.txt", "100%.txt"),
    ("%41%2e%2e%2f.txt", "%41%2e%2e%2f.txt"),
    ("{{7*7}}.txt", "{{7_7}}.txt"),
    ("-rf", "-rf"),
]


def told_name(disposition: str) -> str:
    """The file name that a client takes out of a Content-Disposition, which has to be one line of ASCII (RFC 6266)."""
    assert re.fullmatch(r"[\x20-\x7e]+", disposition), disposition
    kind, options = parse_options_header(disposition)
    assert kind in {"inline", "attachment"}
    extended = re.search(r"filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+)$", disposition)
    if extended:
        assert options["filename"] == unquote(extended[1], errors="strict")
    else:
        assert "filename*" not in disposition
    return options["filename"]


@pytest.mark.parametrize(("name", "saved"), NAMES)
def test_a_name_in_a_form_comes_back_as_one_that_can_be_saved(
    shared_client: FlaskClient, name: str, saved: str
) -> None:
    answer = shared_client.get(link_in(sent(shared_client, file(b"x", name))))
    assert told_name(answer.headers["Content-Disposition"]) == saved


@pytest.mark.parametrize(("name", "saved"), NAMES)
def test_a_name_in_an_address_comes_back_as_one_that_can_be_saved(
    shared_client: FlaskClient, name: str, saved: str
) -> None:
    answer = shared_client.get(link_in(shared_client.put(f"/{quote(name, safe='')}", data=b"\xff")))
    assert told_name(answer.headers["Content-Disposition"]) == saved


@pytest.mark.parametrize(("name", "saved"), NAMES)
def test_a_name_in_a_list_is_no_path_and_leads_to_the_file(shared_client: FlaskClient, name: str, saved: str) -> None:
    link = link_in(sent(shared_client, file(b"one", name), file(b"two", "other")))
    listed = shared_client.get(link, headers={"Accept": "application/json"}).get_json()["files"][0]
    assert not re.search(r"[/\\\x00-\x1f\x7f]", listed["name"])
    answer = shared_client.get(urlsplit(listed["url"]).path)
    assert (answer.data, told_name(answer.headers["Content-Disposition"])) == (b"one", saved)


@pytest.mark.parametrize(("name", "saved"), NAMES)
def test_a_name_in_a_zip_is_the_one_that_can_be_saved(shared_client: FlaskClient, name: str, saved: str) -> None:
    link = link_in(sent(shared_client, file(b"one", name), file(b"two", "other")))
    with ZipFile(io.BytesIO(shared_client.get(f"{link}.zip").data)) as archive:
        assert archive.namelist() == [saved, "other"]


@pytest.mark.parametrize(
    ("parameters", "saved"),
    [
        ("filename=token.txt", "token.txt"),
        ("filename=\"a.txt\"; filename*=UTF-8''b.txt", "b.txt"),
        ('filename="back\\"slash.txt"', "back_slash.txt"),
        ("filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ('FileName="upper.txt"', "upper.txt"),
        ('filename="semi;colon.txt"', "semi;colon.txt"),
    ],
)
def test_other_spellings_of_a_name_are_taken(shared_client: FlaskClient, parameters: str, saved: str) -> None:
    answer = shared_client.get(link_in(sent(shared_client, named(parameters, b"x"))))
    assert (answer.data, told_name(answer.headers["Content-Disposition"])) == (b"x", saved)


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.png", ".png"),
        ("a.PNG", ".PNG"),
        ("archive.tar.gz", ".gz"),
        ("noending", ""),
        (".profile", ""),
        ("a.", ""),
        ("a.b c", ""),
        ("a.наивно", ""),
        ("a.abcdefghij", ".abcdefghij"),
        ("a.abcdefghijk", ""),
        ("a.p/../x", ""),
    ],
)
def test_a_link_ends_as_the_name_does_if_that_can_be_in_a_link(
    shared_client: FlaskClient, name: str, ending: str
) -> None:
    match = LINK.fullmatch(sent(shared_client, file(b"x", name)).get_json()["url"])
    assert match
    assert match[3] == ending


@settings(max_examples=100, deadline=None)
@given(name=st.text(max_size=300))
def test_any_name_is_safe_when_it_comes_back(shared_client: FlaskClient, name: str) -> None:
    answer = shared_client.get(link_in(sent(shared_client, file(b"x", f"n{name}"))))
    saved = told_name(answer.headers["Content-Disposition"])
    assert 1 <= len(saved.encode()) <= 255
    assert saved not in {".", ".."}
    assert not re.search(r"[/\\\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069<>:\"|?*]", saved)


@pytest.mark.parametrize(
    "name", ["robots.txt", "healthz", "sharex.sxcu", "favicon.ico", "static/style.css", "manage/x/y"]
)
def test_a_file_may_be_called_like_a_page(client: FlaskClient, name: str) -> None:
    def shown() -> tuple[int, bytes]:
        with client.get(f"/{name}") as answer:
            return answer.status_code, answer.data

    before = shown()
    assert client.get(link_in(client.put(f"/{name}", data=b"mine"))).data == b"mine"
    assert shown() == before


# Types.


def served(client: FlaskClient, answer: TestResponse) -> tuple[str, str]:
    """Whether the file of an upload is shown or saved, and under which type it goes out."""
    headers = client.get(link_in(answer)).headers
    return parse_options_header(headers["Content-Disposition"])[0], headers["Content-Type"]


TEXT = ("inline", "text/plain; charset=utf-8")
SAVED = ("attachment", "application/octet-stream")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", ("inline", "image/png")),
        ("a.JPG", ("inline", "image/jpeg")),
        ("a.gif", ("inline", "image/gif")),
        ("a.webp", ("inline", "image/webp")),
        ("a.avif", ("inline", "image/avif")),
        ("a.mp4", ("inline", "video/mp4")),
        ("a.webm", ("inline", "video/webm")),
        ("a.mp3", ("inline", "audio/mpeg")),
        ("a.txt", TEXT),
        ("a.log", TEXT),
        ("a.md", TEXT),
        ("a.html", SAVED),
        ("a.svg", SAVED),
        ("a.pdf", SAVED),
        ("a.zip", SAVED),
        ("a.log.gz", SAVED),
        ("a.png.br", SAVED),
        ("a.unheard-of", SAVED),
        ("a", SAVED),
    ],
)
def test_who_sends_no_type_gets_one_by_the_name(
    shared_client: FlaskClient, name: str, expected: tuple[str, str]
) -> None:
    assert served(shared_client, sent(shared_client, file(b"x", name))) == expected
    assert served(shared_client, shared_client.put(f"/{name}", data=b"x")) == expected


@pytest.mark.parametrize(
    "media", ["application/octet-stream", "Application/Octet-Stream", "nonsense", "a/b/c", "ä/b", ""]
)
def test_so_does_who_sends_one_that_says_nothing(shared_client: FlaskClient, media: str) -> None:
    assert served(shared_client, sent(shared_client, file(b"x", "a.png", media))) == ("inline", "image/png")
    assert served(shared_client, shared_client.put("/a.png", data=b"x", content_type=media)) == ("inline", "image/png")


@pytest.mark.parametrize(
    "media",
    [
        "text/html",
        "TEXT/HTML; charset=utf-7",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/xml",
        "application/pdf",
        "text/javascript",
        "application/javascript",
        "text/css",
        "application/wasm",
        "multipart/x-mixed-replace",
        "application/x-shockwave-flash",
        "text/x-unheard-of",
        "image/unheard-of",
        "message/rfc822",
        "text/calendar",
    ],
)
def test_a_type_that_can_hold_a_script_is_only_ever_saved(shared_client: FlaskClient, media: str) -> None:
    assert served(shared_client, sent(shared_client, file(b"<script>", "harmless.png", media))) == SAVED
    assert served(shared_client, shared_client.put("/harmless.txt", data=b"<script>", content_type=media)) == SAVED


@pytest.mark.parametrize(
    "name", ["a.html", "a.htm", "a.xhtml", "a.svg", "a.svgz", "a.xml", "a.pdf", "a.js", "a.mjs", "a.css"]
)
def test_so_is_a_name_that_stands_for_one(shared_client: FlaskClient, name: str) -> None:
    assert served(shared_client, shared_client.put(f"/{name}", data=b"<script>")) == SAVED


def test_the_type_that_was_sent_goes_before_the_name(client: FlaskClient) -> None:
    assert served(client, sent(client, file(b"x", "a.bin", "image/png"))) == ("inline", "image/png")


def test_parameters_of_a_type_are_left_behind(client: FlaskClient) -> None:
    assert served(client, sent(client, file(b"x", "a", "image/png; x=y"))) == ("inline", "image/png")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"USER PID\nroot 1\n", TEXT),
        ("ünïcödé 🔑".encode(), TEXT),
        (b"a\x1b[31mred\x1b[0m", TEXT),
        (b"a" + "é".encode() * (MIB // 2) + b"z", TEXT),
        (b"<html><script>alert(1)</script>", TEXT),
        (b"\x00\x01\x02", SAVED),
        (b"\xff\xfe\x00", SAVED),
        (b"\x89PNG\r\n\x1a\n\x00", SAVED),
        ("ünï".encode("latin-1") + b" and more", SAVED),
        (b"", SAVED),
    ],
    ids=[
        "ascii",
        "utf-8",
        "colours",
        "a character across the first piece",
        "html",
        "nul",
        "utf-16",
        "png",
        "latin-1",
        "nothing",
    ],
)
def test_a_nameless_text_can_be_read_in_the_browser_and_nothing_else(
    server: Server, data: bytes, expected: tuple[str, str]
) -> None:
    link = curl("--fail", "-T", "-", f"{server.url}/", data=data).stdout.decode().strip()
    match = LINK.fullmatch(link)
    assert match
    assert match[3] == (".txt" if expected == TEXT else "")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(link)
    kind = parse_options_header(answer.headers["Content-Disposition"])[0]
    assert ((kind, answer.headers["Content-Type"]), answer.content == data) == (expected, True)


# Browsers on other sites.

OUR_SITE = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
]
OTHER_SITES = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "whatever"},
    {"Origin": "https://example.org"},
    {"Origin": "http://localhost.example.org"},
    {"Origin": "http://localhost:8001"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
]
WAYS: dict[str, Callable[..., TestResponse]] = {
    "form": lambda client, headers: client.post("/", headers=headers, **form(file(b"x"))),
    "PUT": lambda client, headers: client.put("/a", data=b"x", headers=headers),
    "POST": lambda client, headers: client.post("/", data=b"x", headers=headers),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", OUR_SITE, ids=str)
def test_our_own_pages_and_programs_may_upload(client: FlaskClient, way: str, headers: dict[str, str]) -> None:
    assert WAYS[way](client, headers).status_code in {201, 303}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_a_page_of_another_site_may_not(client: FlaskClient, content: Path, way: str, headers: dict[str, str]) -> None:
    assert WAYS[way](client, headers).status_code == 403
    assert stored(content) == set()


@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_unless_it_knows_the_secret(guarded: FlaskClient, headers: dict[str, str]) -> None:
    secret = _secret_header("X-Onekey-Secret", SECRET)
    assert guarded.put("/a", data=b"x", headers={**headers, **secret}).status_code == 201


def test_behind_a_proxy_the_public_address_is_our_site_too(make_app: MakeApp) -> None:
    client = make_app(PUBLIC_URL="https://files.example.org").test_client()
    assert client.put("/a", data=b"x", headers={"Origin": "https://files.example.org"}).status_code == 201


# Names of the server.


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "onekey.localhost",
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.9.9.9",
        "[::1]",
        "[::1]:8000",
        "files.example.org",
        "Files.Example.Org:443",
        "other.example.org",
        "10.0.0.7:80",
        "bound.example.org",
    ],
)
def test_the_server_answers_to_its_names(make_app: MakeApp, host: str) -> None:
    client = make_app(
        PUBLIC_URL="https://files.example.org",
        TRUSTED_HOSTS="other.example.org, 10.0.0.7",
        BIND="bound.example.org:80, :9000",
    ).test_client()
    assert client.get("/", headers={"Host": host}).status_code == 200


STRANGERS = [
    "example.org",
    "evil.files.example.org",
    "files.example.org.evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "1127.0.0.1",
    "10.0.0.8",
    "0.0.0.0",
    "[::2]",
    ":80",
    "localhost:port",
    "localhost@evil.example",
    "localhost/evil",
    "evil.example\\.localhost",
    "a b.localhost",
]


@pytest.mark.parametrize("host", STRANGERS)
def test_to_no_other_and_says_which_setting_would_change_that(make_app: MakeApp, host: str) -> None:
    client = make_app(PUBLIC_URL="https://files.example.org", TRUSTED_HOSTS="10.0.0.7").test_client()
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert "PUBLIC_URL" in answer.text


@pytest.mark.parametrize("path", ["/", "/robots.txt", "/" + "x" * 32, "/manage/a/b", "/static/style.css", "/a/b/c"])
def test_nothing_is_told_to_who_asks_for_another_host(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Host": "example.org"}).status_code == 400


@pytest.mark.parametrize("name", ["", "a.txt", "healthz"])
def test_an_upload_under_a_stranger_s_name_is_refused_and_leaves_nothing(
    client: FlaskClient, content: Path, name: str
) -> None:
    answer = client.put(f"/{name}", data=b"x", headers={"Host": "example.org"})
    assert (answer.status_code, stored(content)) == (400, set())


def test_the_error_has_a_name_in_json(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Host": "example.org", "Accept": "application/json"})
    assert answer.get_json()["error"] == "wrong_host"


@pytest.mark.parametrize(
    ("limits", "host", "base"),
    [
        ({}, "localhost:8000", "http://localhost:8000"),
        ({}, "127.0.0.1", "http://127.0.0.1"),
        ({"TRUSTED_HOSTS": "files.example.org"}, "files.example.org:81", "http://files.example.org:81"),
        ({"PUBLIC_URL": "https://files.example.org"}, "localhost:8000", "https://files.example.org"),
        ({"PUBLIC_URL": "https://Files.Example.org:8443/"}, "127.0.0.1", "https://files.example.org:8443"),
        ({"PUBLIC_URL": "http://a.example", "TRUSTED_HOSTS": "b.example"}, "b.example", "http://a.example"),
    ],
)
def test_links_are_built_from_the_public_url_or_else_from_the_name_that_was_asked(
    make_app: MakeApp, limits: dict[str, str], host: str, base: str
) -> None:
    client = make_app(**limits).test_client()
    answer = sent(client, file(b"1"), file(b"2"), headers={"Host": host})
    told = answer.get_json()
    listed = client.get(link_in(answer), headers={"Host": host, "Accept": "application/json"}).get_json()
    links = [told["url"], told["owner_url"], told["delete_url"], listed["zip_url"], listed["files"][1]["url"]]
    assert {link.rpartition("/" + link.split("/", 3)[3])[0] for link in links} == {base}


@pytest.mark.parametrize("folder", ["a?b=1", "a%2fb", "a#b c", "ä"])
def test_the_database_lies_in_the_folder_whatever_it_is_called(make_app: MakeApp, tmp_path: Path, folder: str) -> None:
    client = make_app(CONTENT_DIR=str(tmp_path / folder)).test_client()
    assert client.put("/a", data=b"x").status_code == 201
    assert (tmp_path / folder / "onekey.db").stat().st_size > 0
