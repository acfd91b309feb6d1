"""The direct door where it is narrow: limited opens and their leases, passwords, what is sealed only.

Most of it through Flask's client; where processes or clients matter, real servers, curl, requests and raw sockets.
"""

import io
import re
import shutil
import socket
import sqlite3
import threading
import time
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from zipfile import ZipFile

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from onekey import links, passwords
from onekey.app import create_app, sweep
from onekey.container import stretch
from onekey.index import File
from onekey.settings import Settings
from onekey.vault import GRACE
from tests.conftest import Clock
from tests.sealing import Container, HttpDoor, seal, store
from tests.servers import PATIENCE, Process, Server, curl, wait_for
from tests.test_crash import kill
from tests.test_direct_upload import MakeApp, field, file, form, link_in, sent, stored
from tests.test_pages import BROWSER, JSON, Page, door_of

PASSWORD = "pässwörd: 日本"
DATA = bytes(range(256)) * 60
LEASE, DAY = 3600, 86_400
TEXT = {"Accept": "text/plain"}
SECRET = "open sesame"


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """The CONTENT_DIR of `client` and `make_app`."""
    return tmp_path / "content"


def basic(password: str, user: str = "", charset: str = "utf-8") -> dict[str, str]:
    """The header that answers a 401: RFC 7617."""
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode(charset)).decode()}"}


def path_of(answer: TestResponse) -> str:
    """Path and query to which an answer leads."""
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}"


def shared(client: FlaskClient, content: bytes = DATA, **options: Any) -> Container:
    """A share of one file that its client sealed, and sealed cheaply."""
    return store(door_of(client), seal(content, **options))


def link_to(client: FlaskClient, content: bytes = DATA, **options: Any) -> str:
    """The path of the direct link of such a share."""
    return f"/{shared(client, content, **options).token}"


def album_of(client: FlaskClient, **options: Any) -> str:
    """The path of the direct link of a share of two files."""
    files = [File(name="a.txt", type="text/plain", size=5), File(name="b & c.bin", type="a/b", size=len(DATA) - 5)]
    return link_to(client, files=files, **options)


def leased(client: FlaskClient, link: str, **headers: str) -> str:
    """Take an open of a link; gives the link with the lease."""
    answer = client.post(link, headers=headers)
    assert answer.status_code == 303, answer.text
    return path_of(answer)


def opened(client: FlaskClient, share: Container) -> int:
    """How often a share was opened, as its owner is told."""
    count: int = door_of(client).ask("GET", f"{share.share}/owner", share.by_owner).json["opened"]
    return count


# Uploads that limit their opens.

LIMITED: dict[str, Callable[[FlaskClient, str], TestResponse]] = {
    "a field before the file": lambda client, opens: sent(client, field("opens", opens), file(b"x")),
    "a field after the file": lambda client, opens: sent(client, file(b"x"), field("opens", opens)),
    "the query of a put": lambda client, opens: client.put("/a", data=b"x", query_string={"opens": opens}),
    "the query of a post": lambda client, opens: client.post("/", data=b"x", query_string={"opens": opens}),
}


def times(client: FlaskClient, link: str) -> int:
    """How often a link opens, up to four times."""
    return [client.post(link).status_code for _ in range(4)].count(303)


@pytest.mark.parametrize("how", LIMITED)
@pytest.mark.parametrize("opens", [1, 3])
def test_a_share_opens_as_often_as_its_uploader_said(shared_client: FlaskClient, how: str, opens: int) -> None:
    assert times(shared_client, link_in(LIMITED[how](shared_client, str(opens)))) == opens


@pytest.mark.parametrize("how", LIMITED)
@pytest.mark.parametrize("opens", ["", "unlimited", "Unlimited", " UNLIMITED "])
def test_unlimited_and_nothing_are_no_limit(shared_client: FlaskClient, how: str, opens: str) -> None:
    link = link_in(LIMITED[how](shared_client, opens))
    assert [shared_client.get(link).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("opens", ["1", "01", " 1 ", "1000000"])
def test_whole_numbers_up_to_a_million_are_a_limit(shared_client: FlaskClient, opens: str) -> None:
    assert shared_client.get(link_in(LIMITED["a field before the file"](shared_client, opens))).status_code == 405


NO_LIMIT = ["0", "-1", "+1", "1.5", "1e3", "x", "never", "1000001", "9" * 30, "\u0663", "1 0", "\0", "0x1"]


@pytest.mark.parametrize("how", LIMITED)
@pytest.mark.parametrize("opens", NO_LIMIT)
def test_what_is_no_limit_is_400_and_leaves_nothing(client: FlaskClient, content: Path, how: str, opens: str) -> None:
    answer = LIMITED[how](client, opens)
    assert (answer.status_code, stored(content)) == (400, set())
    assert "The field opens takes a whole number from 1 to 1000000, or unlimited." in answer.text


def test_the_page_that_answers_says_how_often_it_opens(shared_client: FlaskClient) -> None:
    fields = [field("answer", "page"), field("opens", "1"), field("password", ""), file(b"x")]
    answer = shared_client.post("/", headers=BROWSER, **form(*fields))
    assert "1 file, 1 byte, never expires, opens once." in Page(answer).text


def test_and_that_it_needs_its_password_without_saying_which(shared_client: FlaskClient) -> None:
    fields = [field("answer", "page"), field("opens", "3"), field("password", "sesame"), file(b"x")]
    answer = shared_client.post("/", headers=BROWSER, **form(*fields))
    assert "never expires, opens 3 times, needs its password." in Page(answer).text
    assert "sesame" not in f"{answer.headers}{answer.text}"


# Uploads with a password. The server makes Argon2id as dear as format.md says, so these are few.


def protected(client: FlaskClient, password: str = PASSWORD) -> str:
    """The path of a link to a file that the server sealed with a password."""
    return link_in(sent(client, field("password", password), file(DATA)))


def test_a_password_before_the_file_is_needed_from_then_on(shared_client: FlaskClient) -> None:
    link = protected(shared_client)
    assert shared_client.get(link).status_code == 401
    assert shared_client.get(link, headers=basic(PASSWORD)).data == DATA


@pytest.mark.parametrize("before", [[], [file(b"first")]])
def test_a_password_after_a_file_is_400_and_leaves_nothing(
    client: FlaskClient, content: Path, before: list[bytes]
) -> None:
    answer = sent(client, *before, file(b"x"), field("password", "p"))
    assert (answer.status_code, stored(content)) == (400, set())
    assert "has to come before the file" in answer.get_json()["message"]


@pytest.mark.parametrize("ask", ["put", "post", "form"])
def test_a_password_in_an_address_is_400_and_leaves_nothing(client: FlaskClient, content: Path, ask: str) -> None:
    body = form(file(b"x")) if ask == "form" else {"data": b"x"}
    answer = client.open("/", method="PUT" if ask == "put" else "POST", query_string={"password": "p"}, **body)
    assert (answer.status_code, stored(content)) == (400, set())
    assert answer.text.startswith("A password does not belong in an address, where it is logged")


def test_an_empty_password_is_none(shared_client: FlaskClient) -> None:
    assert shared_client.get(protected(shared_client, "")).data == DATA


def test_an_empty_password_after_the_file_is_none_either(shared_client: FlaskClient) -> None:
    assert shared_client.get(link_in(sent(shared_client, file(DATA), field("password", "")))).data == DATA


def test_a_password_may_have_1024_bytes(shared_client: FlaskClient) -> None:
    assert shared_client.get(protected(shared_client, "é" * 512), headers=basic("é" * 512)).data == DATA


def test_one_byte_more_is_400_and_leaves_nothing(client: FlaskClient, content: Path) -> None:
    answer = sent(client, field("password", "é" * 512 + "x"), file(b"x"))
    assert (answer.status_code, stored(content)) == (400, set())


@pytest.mark.parametrize("spelled", ["NFC", "NFD"])
def test_however_a_password_is_composed_it_is_the_same(shared_client: FlaskClient, spelled: Any) -> None:
    link = link_to(shared_client, password=unicodedata.normalize("NFD", "Ångström"))
    assert shared_client.get(link, headers=basic(unicodedata.normalize(spelled, "Ångström"))).data == DATA


@pytest.mark.parametrize("password", [" p", "p ", "P", "p\n"])
def test_but_it_is_neither_trimmed_nor_folded(shared_client: FlaskClient, password: str) -> None:
    assert shared_client.get(link_to(shared_client, password="p"), headers=basic(password)).status_code == 401


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        ([field("secret", SECRET), field("password", "p"), file(b"x")], {}, 201),
        ([field("password", "p"), field("secret", SECRET), file(b"x")], {}, 201),
        ([field("password", "p"), file(b"x")], {"X-Onekey-Secret": SECRET}, 201),
        ([field("password", "p"), file(b"x"), field("secret", SECRET)], {}, 403),
        ([field("password", "p"), file(b"x")], {}, 403),
        ([field("password", ""), file(b"x"), field("secret", SECRET)], {}, 201),
    ],
)
def test_a_password_needs_the_upload_secret_before_the_file(
    make_app: MakeApp, content: Path, parts: list[bytes], headers: dict[str, str], status: int
) -> None:
    answer = sent(make_app(UPLOAD_SECRET=SECRET).test_client(), *parts, headers=headers)
    assert answer.status_code == status
    assert (stored(content) == set()) is (status == 403)


def test_that_it_does_is_said(make_app: MakeApp) -> None:
    answer = sent(make_app(UPLOAD_SECRET=SECRET).test_client(), field("password", "p"), file(b"x"))
    assert answer.get_json()["message"] == "A share with a password needs the upload secret before the file."


# Downloads with a password: HTTP Basic, RFC 7617.

PATHS = ["", ".png", ".zip", "/1/a.txt", "/1", "?lease=x"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", PATHS)
def test_without_a_password_it_is_401(shared_client: FlaskClient, method: str, path: str) -> None:
    answer = shared_client.open(link_to(shared_client, password=PASSWORD) + path, method=method)
    assert answer.status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_the_realm_is_that_of_the_share_whatever_is_asked_for(shared_client: FlaskClient, path: str) -> None:
    share = shared(shared_client, password=PASSWORD)
    asked = shared_client.get(f"/{share.token}{path}").headers["WWW-Authenticate"]
    assert asked == f'Basic realm="onekey share {share.id[:8]}", charset="UTF-8"'


def test_two_shares_have_two_realms(shared_client: FlaskClient) -> None:
    asked = {shared_client.get(link_to(shared_client, password=PASSWORD)).headers["WWW-Authenticate"] for _ in range(2)}
    assert len(asked) == 2


def test_the_sentence_is_told_in_every_form(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    assert shared_client.get(link).text == "This share needs a password.\n"
    assert shared_client.get(link, headers=JSON).get_json()["error"] == "password_needed"
    assert "A password is needed This share needs a password." in Page(shared_client.get(link, headers=BROWSER)).text


def test_a_wrong_one_is_said_to_be_wrong(shared_client: FlaskClient) -> None:
    answer = shared_client.get(link_to(shared_client, password=PASSWORD), headers={**JSON, **basic("wrong")})
    assert (answer.status_code, answer.get_json()["error"]) == (401, "wrong_password")
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("user", ["", "onekey", "käthe", "a b", "x" * 300])
def test_any_user_name_will_do(shared_client: FlaskClient, user: str) -> None:
    assert shared_client.get(link_to(shared_client, password=PASSWORD), headers=basic(PASSWORD, user)).data == DATA


@pytest.mark.parametrize("path", PATHS)
def test_with_it_every_address_opens(shared_client: FlaskClient, path: str) -> None:
    assert shared_client.get(link_to(shared_client, password=PASSWORD) + path, headers=basic(PASSWORD)).data == DATA


def test_head_tells_the_length(shared_client: FlaskClient) -> None:
    answer = shared_client.head(link_to(shared_client, password=PASSWORD), headers=basic(PASSWORD))
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(DATA)))


def test_ranges_are_served(shared_client: FlaskClient) -> None:
    answer = shared_client.get(
        link_to(shared_client, password=PASSWORD), headers={**basic(PASSWORD), "Range": "bytes=5000-9000"}
    )
    assert (answer.status_code, answer.data) == (206, DATA[5000:9001])


def test_what_a_client_has_is_not_sent_again(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    etag = shared_client.get(link, headers=basic(PASSWORD)).headers["ETag"]
    assert shared_client.get(link, headers={**basic(PASSWORD), "If-None-Match": etag}).status_code == 304


def test_that_it_has_it_is_not_told_without_the_password(shared_client: FlaskClient) -> None:
    assert (
        shared_client.get(link_to(shared_client, password=PASSWORD), headers={"If-None-Match": "*"}).status_code == 401
    )


@pytest.mark.parametrize("headers", [{}, basic(PASSWORD), basic("wrong"), {**basic(PASSWORD), "Range": "bytes=0-1"}])
def test_nobody_is_to_keep_any_answer(shared_client: FlaskClient, headers: dict[str, str]) -> None:
    assert (
        "no-store"
        in shared_client.get(link_to(shared_client, password=PASSWORD), headers=headers).headers["Cache-Control"]
    )


@pytest.mark.parametrize("path", ["", "/1/a.txt", "/2/b", "/3/c", ".zip"])
def test_nothing_of_several_files_is_told_without_it(shared_client: FlaskClient, path: str) -> None:
    assert shared_client.get(album_of(shared_client, password=PASSWORD) + path).status_code == 401


def test_several_files_open_one_by_one_and_as_a_zip(shared_client: FlaskClient) -> None:
    link, proof = album_of(shared_client, password=PASSWORD), basic(PASSWORD)
    listed = shared_client.get(link, headers={**JSON, **proof}).get_json()
    urls = [urlsplit(told["url"]).path for told in listed["files"]]
    assert [shared_client.get(url, headers=proof).data for url in urls] == [DATA[:5], DATA[5:]]
    archive = ZipFile(io.BytesIO(shared_client.get(urlsplit(listed["zip_url"]).path, headers=proof).data))
    assert archive.read("b & c.bin") == DATA[5:]


NO_PROOF = ["Basic", "Basic =", "Basic !", "Basic " + b64encode(b"no colon").decode(), "Bearer x", "Digest a=b", ""]


@pytest.mark.parametrize(
    "header", [*NO_PROOF, basic("")["Authorization"], basic("é", charset="latin-1")["Authorization"]]
)
def test_what_shows_no_password_is_no_guess(shared_client: FlaskClient, header: str) -> None:
    link = link_to(shared_client, password=PASSWORD)
    assert [shared_client.get(link, headers={"Authorization": header}).status_code for _ in range(12)] == [401] * 12
    assert shared_client.get(link, headers=basic(PASSWORD)).status_code == 200


def test_a_password_that_is_not_asked_for_is_passed_over(shared_client: FlaskClient) -> None:
    assert shared_client.get(link_to(shared_client), headers=basic(PASSWORD)).data == DATA


# Programs.


@pytest.fixture(scope="module")
def protected_url(server: Server) -> str:
    """A link on the shared server to DATA, sealed with PASSWORD."""
    return f"{server.url}/{store(HttpDoor(server.url), seal(DATA, password=PASSWORD)).token}"


@pytest.mark.parametrize("how", [["-u", f":{PASSWORD}"], ["-u", f"me:{PASSWORD}"], ["--anyauth", "-u", f":{PASSWORD}"]])
def test_curl_knows_how_to_answer(protected_url: str, how: list[str]) -> None:
    assert curl("--fail", *how, protected_url).stdout == DATA


def test_so_do_programs_that_take_it_in_the_address(protected_url: str) -> None:
    told = protected_url.replace("://", f"://:{quote(PASSWORD)}@")
    assert curl("--fail", told).stdout == DATA


def test_so_does_requests(protected_url: str) -> None:
    assert requests.get(protected_url, auth=("", PASSWORD.encode().decode("latin-1")), timeout=PATIENCE).content == DATA


def test_curl_goes_on_where_it_was_cut(protected_url: str, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA[:5000])
    curl("--fail", "-u", f":{PASSWORD}", "-C", "-", "-o", str(tmp_path / "part"), protected_url)
    assert (tmp_path / "part").read_bytes() == DATA


# Guesses.


def guess(client: FlaskClient, link: str, password: str, address: str = "192.0.2.1", **headers: str) -> int:
    """The status of one try."""
    said = {"REMOTE_ADDR": address}
    return client.get(link, headers={**basic(password), **headers}, environ_overrides=said).status_code


def use_up(client: FlaskClient, link: str, **more: str) -> None:
    """Make ten wrong guesses."""
    assert [guess(client, link, f"wrong {number}", **more) for number in range(10)] == [401] * 10


def test_the_same_wrong_password_is_one_guess_however_often_it_comes(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    assert [guess(shared_client, link, "wrong") for _ in range(30)] == [401] * 30
    assert guess(shared_client, link, PASSWORD) == 200


def test_one_that_is_composed_otherwise_is_the_same_guess(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    tried = [*(f"wrong {number}" for number in range(8)), *(unicodedata.normalize(how, "Å") for how in ("NFC", "NFD"))]
    assert [guess(shared_client, link, password) for password in (*tried, "the tenth", "the eleventh")] == [
        *[401] * 11,
        429,
    ]


def test_the_eleventh_wrong_password_in_a_minute_is_429(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    use_up(shared_client, link)
    answer = shared_client.get(link, headers=basic("wrong 10"), environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert (answer.status_code, answer.text) == (429, "Too many wrong passwords: try again in 60 seconds.\n")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_then_the_right_one_is_429_too(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    use_up(shared_client, link)
    assert guess(shared_client, link, PASSWORD) == 429


def test_though_it_was_right_before(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    assert guess(shared_client, link, PASSWORD) == 200
    use_up(shared_client, link)
    assert guess(shared_client, link, PASSWORD) == 429


def test_nothing_counts_for_another_share(shared_client: FlaskClient) -> None:
    use_up(shared_client, link_to(shared_client, password=PASSWORD))
    assert guess(shared_client, link_to(shared_client, password=PASSWORD), PASSWORD) == 200


def test_nor_for_who_has_no_password_to_show(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, password=PASSWORD)
    use_up(shared_client, link)
    assert shared_client.get(link, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 401


def test_who_waits_as_long_as_was_said_may_go_on(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, password=PASSWORD)
    use_up(client, link)
    refused = client.get(link, headers=basic(PASSWORD), environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    clock.now += int(refused.headers["Retry-After"])
    assert guess(client, link, PASSWORD) == 200


def test_a_restart_forgets_no_guess(make_app: MakeApp) -> None:
    client = make_app().test_client()
    link = link_to(client, password=PASSWORD)
    use_up(client, link)
    assert guess(make_app().test_client(), link, PASSWORD) == 429


def test_what_was_wrong_before_a_restart_is_the_same_guess_after_it(make_app: MakeApp) -> None:
    client = make_app().test_client()
    link = link_to(client, password=PASSWORD)
    for _ in range(2):
        client = make_app().test_client()
        assert [guess(client, link, f"wrong {number}") for number in range(9)] == [401] * 9
    assert guess(client, link, PASSWORD) == 200


@pytest.mark.parametrize(
    ("hops", "mine", "other", "status"),
    [
        ("0", "", "", 429),
        ("0", "198.51.100.1", "198.51.100.2", 429),
        ("1", "198.51.100.1", "198.51.100.2", 200),
        ("1", "198.51.100.1", "198.51.100.1", 429),
        ("1", "198.51.100.1", "198.51.100.9, 198.51.100.1", 429),
        ("2", "198.51.100.1, 10.0.0.1", "198.51.100.2, 10.0.0.1", 200),
        ("1", "2001:db8:1:1::1", "2001:db8:1:1:ffff::2", 429),
        ("1", "2001:db8:1:1::1", "2001:db8:1:2::1", 200),
        ("1", "198.51.100.1", "::ffff:198.51.100.1", 429),
    ],
)
def test_clients_are_told_apart_by_what_the_proxies_vouch_for(
    make_app: MakeApp, hops: str, mine: str, other: str, status: int
) -> None:
    client = make_app(PROXY_HOPS=hops).test_client()
    link = link_to(client, password=PASSWORD)
    use_up(client, link, **{"X-Forwarded-For": mine})
    assert guess(client, link, PASSWORD, **{"X-Forwarded-For": other}) == status


def test_a_hundred_wrong_ones_an_hour_are_enough_for_all_clients_together(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, password=PASSWORD)
    for number in range(100):
        clock.now += 10
        assert guess(client, link, f"wrong {number}", f"192.0.2.{number}") == 401
    assert guess(client, link, PASSWORD, "198.51.100.1") == 429
    clock.now += 3600 - 990
    assert guess(client, link, PASSWORD, "198.51.100.1") == 200


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Grows by one for each run of Argon2id that opens a share."""
    runs: list[float] = []

    def counting(*arguments: Any) -> bytes:
        runs.append(time.monotonic())
        return stretch(*arguments)

    monkeypatch.setattr(passwords, "stretch", counting)
    return runs


def test_a_player_that_seeks_pays_once(shared_client: FlaskClient, turns: list[float]) -> None:
    link = link_to(shared_client, password=PASSWORD)
    for start in range(0, len(DATA), 1000):
        headers = {**basic(PASSWORD), "Range": f"bytes={start}-"}
        assert shared_client.get(link, headers=headers).data == DATA[start:]
    assert len(turns) == 1


def test_a_wrong_password_costs_one_run_however_often_it_comes(shared_client: FlaskClient, turns: list[float]) -> None:
    link = link_to(shared_client, password=PASSWORD)
    assert [guess(shared_client, link, "wrong") for _ in range(20)] == [401] * 20
    assert len(turns) == 1


def test_without_a_password_none_runs(shared_client: FlaskClient, turns: list[float]) -> None:
    assert shared_client.get(link_to(shared_client, password=PASSWORD)).status_code == 401
    assert turns == []


def test_where_guesses_are_used_up_none_runs(shared_client: FlaskClient, turns: list[float]) -> None:
    link = link_to(shared_client, password=PASSWORD)
    use_up(shared_client, link)
    assert guess(shared_client, link, "one more") == 429
    assert len(turns) == 10


def test_a_right_password_is_forgotten_after_the_lease_time(
    client: FlaskClient, clock: Clock, turns: list[float]
) -> None:
    link = link_to(client, password=PASSWORD)
    for _ in range(2):
        assert guess(client, link, PASSWORD) == 200
        clock.now += LEASE + 1
    assert len(turns) == 2


def test_who_asks_at_once_waits_for_the_two_that_run(shared_client: FlaskClient, turns: list[float]) -> None:
    link = link_to(shared_client, password=PASSWORD)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: guess(shared_client.application.test_client(), link, PASSWORD), range(8))
    assert list(found) == [200] * 8
    assert len(turns) <= passwords.AT_ONCE


ASKING, MEMORY = 60, 64 << 20


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def test_two_run_at_once_a_few_wait_and_the_rest_is_told_to_come_back(make_server: Callable[..., Server]) -> None:
    server = make_server(WORKERS="1", PROXY_HOPS="1")
    link = link_in_server(server, field("password", PASSWORD))
    assert requests.get(link, auth=("", PASSWORD.encode().decode("latin-1")), timeout=PATIENCE).status_code == 200
    (worker,) = server.children()
    before, ready = peak(worker), threading.Barrier(ASKING)

    def try_one(number: int) -> requests.Response:
        headers = {"X-Forwarded-For": f"192.0.2.{number}", **basic(f"wrong {number}")}
        ready.wait(PATIENCE)
        return requests.get(link, headers=headers, timeout=PATIENCE)

    with ThreadPoolExecutor(ASKING) as pool:
        answers = list(pool.map(try_one, range(ASKING)))
    busy = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {401, 503}
    assert {answer.headers["Retry-After"] for answer in busy} == {"2"}
    assert len(answers) - len(busy) >= 18
    assert peak(worker) - before < 3 * MEMORY


def link_in_server(server: Server, *fields: bytes, content: bytes = DATA) -> str:
    """Upload a file to a real server by a form; gives the link."""
    sent = form(*fields, file(content))
    answer = requests.post(
        server.url,
        sent["data"],
        headers={"Content-Type": sent["content_type"]},
        allow_redirects=False,
        timeout=PATIENCE,
    )
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def test_who_is_told_to_come_back_makes_no_other_guess_by_it(
    shared_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, go, running = link_to(shared_client, password=PASSWORD), threading.Event(), list[int]()

    def held(*arguments: Any) -> bytes:
        running.append(1)
        assert go.wait(PATIENCE)
        return stretch(*arguments)

    def try_one(number: int) -> tuple[int, int]:
        address = f"192.0.2.{number % 3}"
        return number, guess(shared_client.application.test_client(), link, f"wrong {number}", address)

    monkeypatch.setattr(passwords, "stretch", held)
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(try_one, number) for number in range(30)]
        busy = [one.result() for one in wait_for(lambda: _done(asked, 12))]
        assert (len(running), {status for _, status in busy}) == (passwords.AT_ONCE, {503})
        go.set()
    assert [one.result()[1] for one in asked].count(401) == 18
    assert {try_one(number)[1] for number, _ in busy} == {401}
    assert [guess(shared_client, link, "the eleventh", f"192.0.2.{client}") for client in range(3)] == [429] * 3


def _done(asked: list[Future[tuple[int, int]]], count: int) -> list[Future[tuple[int, int]]] | None:
    found = [one for one in asked if one.done()]
    return found if len(found) >= count else None


# Limited opens: GET and HEAD take none.


def test_programs_are_told_to_post(shared_client: FlaskClient) -> None:
    answer = shared_client.get(link_to(shared_client, opens=2))
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.text == "This share can be opened 2 more times: POST takes one of them.\n"


def test_the_sentence_counts_down(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, opens=2)
    leased(shared_client, link)
    assert shared_client.get(link).text == "This share can be opened 1 more time: POST takes one of them.\n"


def test_json_has_a_code_for_it(shared_client: FlaskClient) -> None:
    answer = shared_client.get(link_to(shared_client, opens=1), headers=JSON)
    assert (answer.status_code, answer.get_json()["error"]) == (405, "lease_needed")


@pytest.mark.parametrize(("headers", "status"), [(TEXT, 405), (JSON, 405), (BROWSER, 200)])
def test_head_is_answered_like_get(shared_client: FlaskClient, headers: dict[str, str], status: int) -> None:
    answer = shared_client.head(link_to(shared_client, opens=1), headers=headers)
    assert (answer.status_code, answer.data) == (status, b"")


def test_browsers_get_a_page_with_a_button(shared_client: FlaskClient) -> None:
    page = Page(shared_client.get(link_to(shared_client, opens=1), headers=BROWSER))
    (found,) = page.all("form")
    assert (found["method"], found.get("action")) == ("post", None)
    assert "This share opens once" in page.text
    assert len(page.all("button")) == 1


def test_the_page_says_how_many_are_left(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, opens=3)
    leased(shared_client, link)
    assert "This share opens 2 more times" in Page(shared_client.get(link, headers=BROWSER)).text


def test_the_page_holds_nothing_that_would_fetch_the_link(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, opens=1)
    answer = shared_client.get(link, headers=BROWSER)
    fetched = {value for _, found in Page(answer).elements for name, value in found.items() if name in {"src", "href"}}
    assert {value for value in fetched if value != "/" and not value.startswith("/static/")} == set()
    assert link[1:] not in answer.text
    assert not [found for found in Page(answer).all("meta") if found.keys() & {"http-equiv", "property"}]


@pytest.mark.parametrize("headers", [TEXT, JSON, BROWSER])
def test_both_depend_on_what_is_accepted_and_are_not_kept(shared_client: FlaskClient, headers: dict[str, str]) -> None:
    answer = shared_client.get(link_to(shared_client, opens=1), headers=headers)
    assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Accept", "no-store")


@pytest.mark.parametrize("headers", [TEXT, JSON, BROWSER])
@pytest.mark.parametrize("path", ["", ".txt", ".zip", "/1/a.txt", "/2/b", "?lease=", "?lease=x", f"?lease={'x' * 32}"])
def test_nothing_of_it_is_told_without_a_lease(shared_client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    link = album_of(shared_client, opens=1)
    answers = [shared_client.get(link + path, headers={**headers, **more}) for more in ({}, {"Range": "bytes=0-1"})]
    assert {answer.status_code for answer in answers} == {200 if headers is BROWSER else 405}
    assert not [answer for answer in answers if b"a.txt" in answer.data or "ETag" in answer.headers]


@pytest.mark.parametrize("ending", ["", ".txt", ".tar.gz", ".%20%22%0A", ".наивно"])
def test_a_post_leads_to_the_same_link_with_a_lease(shared_client: FlaskClient, ending: str) -> None:
    link = link_to(shared_client, opens=1) + ending
    answer = shared_client.post(link)
    where = re.fullmatch(r"(/.*)\?lease=([A-Za-z0-9_-]{32})", answer.headers["Location"])
    assert (answer.status_code, answer.data) == (303, b"")
    assert where
    assert where[1] == quote(link, safe="/%.")
    assert shared_client.get(path_of(answer)).data == DATA


def test_nobody_is_to_keep_where_it_leads(shared_client: FlaskClient) -> None:
    assert shared_client.post(link_to(shared_client, opens=1)).headers["Cache-Control"] == "no-store"


def test_the_content_is_not_to_be_kept_either(shared_client: FlaskClient) -> None:
    answer = shared_client.get(leased(shared_client, link_to(shared_client, opens=1)))
    assert answer.headers["Cache-Control"] == "private, no-store, no-transform"


def test_a_second_post_finds_nothing(shared_client: FlaskClient) -> None:
    link = link_to(shared_client, opens=1)
    leased(shared_client, link)
    assert shared_client.post(link).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("headers", [TEXT, JSON, BROWSER])
def test_what_is_used_up_is_answered_like_what_never_was(
    shared_client: FlaskClient, method: str, headers: dict[str, str]
) -> None:
    link = link_to(shared_client, opens=1)
    shared_client.get(leased(shared_client, link))
    never = f"/{links.write_token(links.new_seed())}"
    used, other = (shared_client.open(one, method=method, headers=headers) for one in (link, never))
    assert (used.status_code, used.data, list(used.headers)) == (404, other.data, list(other.headers))


def test_posts_to_a_share_without_a_limit_lead_to_it(shared_client: FlaskClient) -> None:
    link = link_to(shared_client)
    answer = shared_client.post(link)
    assert (answer.status_code, urlsplit(answer.headers["Location"])[2:4]) == (303, (link, ""))


def test_a_lease_is_for_one_share(shared_client: FlaskClient) -> None:
    lease = leased(shared_client, link_to(shared_client, opens=1)).partition("?")[2]
    assert shared_client.get(f"{link_to(shared_client, opens=1)}?{lease}").status_code == 405


def test_one_letter_less_is_no_lease(shared_client: FlaskClient) -> None:
    assert shared_client.get(leased(shared_client, link_to(shared_client, opens=1))[:-1]).status_code == 404


def test_under_a_lease_a_broken_transfer_goes_on(shared_client: FlaskClient) -> None:
    where = leased(shared_client, link_to(shared_client, opens=1))
    first = shared_client.get(where, headers={"Range": "bytes=0-4999"})
    rest = shared_client.get(where, headers={"Range": "bytes=5000-", "If-Range": first.headers["ETag"]})
    assert (rest.status_code, first.data + rest.data) == (206, DATA)


def test_under_a_lease_it_may_be_read_again(shared_client: FlaskClient) -> None:
    where = leased(shared_client, link_to(shared_client, opens=1))
    assert [shared_client.get(where).data for _ in range(3)] == [DATA] * 3


# Leases and time.


def test_a_lease_that_served_ends_and_with_it_the_share(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, opens=1)
    where = leased(client, link)
    assert client.get(where).status_code == 200
    clock.now += LEASE
    assert [client.get(where).status_code, client.get(link).status_code, client.post(link).status_code] == [404] * 3


def test_until_then_it_serves(client: FlaskClient, clock: Clock) -> None:
    where = leased(client, link_to(client, opens=1))
    client.get(where)
    clock.now += LEASE - 1
    assert client.get(where).data == DATA


def test_what_is_served_moves_the_end_on(client: FlaskClient, clock: Clock) -> None:
    where = leased(client, link_to(client, opens=1))
    for _ in range(5):
        assert client.get(where, headers={"Range": "bytes=0-0"}).status_code == 206
        clock.now += LEASE - 1


def test_but_not_beyond_a_day(client: FlaskClient, clock: Clock) -> None:
    where, start = leased(client, link_to(client, opens=1)), clock.now
    while clock.now < start + DAY - LEASE // 2:
        assert client.get(where).status_code == 200
        clock.now += LEASE // 2
    clock.now = start + DAY - 1
    assert client.get(where).status_code == 200
    clock.now += 1
    assert client.get(where).status_code == 404


def test_lease_time_says_how_long(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(LEASE_TIME="10m").test_client()
    where = leased(client, link_to(client, opens=1))
    clock.now += 599
    assert client.get(where).status_code == 200
    clock.now += 600
    assert client.get(where).status_code == 404


def test_a_lease_that_served_nothing_gives_its_open_back(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, opens=1)
    unused = leased(client, link)
    clock.now += LEASE
    assert client.get(unused).status_code == 405
    assert client.get(leased(client, link)).data == DATA


def test_only_when_it_is_over(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, opens=1)
    leased(client, link)
    clock.now += LEASE - 1
    assert client.post(link).status_code == 404


def test_it_gives_back_one_and_no_more(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, opens=2)
    leased(client, link)
    client.get(leased(client, link))
    clock.now += LEASE
    assert times(client, link) == 1


NOT_CONTENT: dict[str, tuple[str, str, dict[str, str], int]] = {
    "head": ("HEAD", "", {}, 200),
    "head of a file": ("HEAD", "/1/a.txt", {}, 200),
    "head of the zip": ("HEAD", ".zip", {}, 200),
    "what the client has": ("GET", "/2/b", {"If-None-Match": "*"}, 304),
    "a range behind the end": ("GET", "/1/a.txt", {"Range": "bytes=5-"}, 416),
    "the list": ("GET", "", TEXT, 200),
    "the list in json": ("GET", "", JSON, 200),
    "the list as a page": ("GET", "", BROWSER, 200),
    "a file that is not there": ("GET", "/3/x", {}, 404),
    "options": ("OPTIONS", "/1/a.txt", {}, 200),
}


@pytest.mark.parametrize("what", NOT_CONTENT)
def test_what_is_not_content_leaves_the_open_to_be_given_back(client: FlaskClient, clock: Clock, what: str) -> None:
    method, path, headers, status = NOT_CONTENT[what]
    link = album_of(client, opens=1)
    lease = leased(client, link).partition("?")[2]
    assert client.open(f"{link}{path}?{lease}", method=method, headers=headers).status_code == status
    clock.now += LEASE
    assert client.post(link).status_code == 303


@pytest.mark.parametrize("path", ["/1/a.txt", "/2/b", ".zip"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=-1"}])
def test_a_byte_of_content_keeps_it(client: FlaskClient, clock: Clock, path: str, headers: dict[str, str]) -> None:
    link = album_of(client, opens=1)
    lease = leased(client, link).partition("?")[2]
    with client.get(f"{link}{path}?{lease}", headers=headers, buffered=False) as answer:
        assert next(answer.iter_encoded())
    clock.now += LEASE
    assert client.post(link).status_code == 404


def test_when_the_last_lease_is_over_the_parts_go_too(client: FlaskClient, clock: Clock, content: Path) -> None:
    share = shared(client, opens=1)
    client.get(leased(client, f"/{share.token}"))
    for wait in (LEASE, GRACE - LEASE):  # steps of less than a day, or the clock would not be believed
        clock.now += wait
        sweep(client.application)  # type: ignore[arg-type]
    clock.now += LEASE
    sweep(client.application)  # type: ignore[arg-type]
    assert stored(content) == set()


def test_a_sweep_ends_no_lease_that_lives(client: FlaskClient, clock: Clock) -> None:
    where = leased(client, link_to(client, opens=1))
    client.get(where)
    clock.now += LEASE - 1
    sweep(client.application)  # type: ignore[arg-type]
    assert client.get(where).data == DATA


def test_an_owner_who_deletes_ends_leases_at_once(shared_client: FlaskClient) -> None:
    told = sent(shared_client, field("opens", "1"), file(DATA)).get_json()
    where = leased(shared_client, urlsplit(told["url"]).path)
    assert shared_client.post(urlsplit(told["delete_url"]).path).status_code == 200
    assert shared_client.get(where).status_code == 404


def test_a_share_that_expires_ends_leases_too(client: FlaskClient, clock: Clock) -> None:
    where = leased(client, link_to(client, opens=1, expires_in=60))
    clock.now += 60
    assert client.get(where).status_code == 404


# Several files under one lease.


@pytest.mark.parametrize("kind", [TEXT, JSON, BROWSER])
def test_the_links_of_a_list_carry_the_lease(shared_client: FlaskClient, kind: dict[str, str]) -> None:
    where = leased(shared_client, album_of(shared_client, opens=1))
    text = shared_client.get(where, headers=kind).text.replace("&amp;", "&")
    found = re.findall(r"http://localhost(/[\w-]{32}[^\s\"<]*)", text)
    assert {urlsplit(one).query for one in found} == {urlsplit(where).query}
    assert {shared_client.get(one).data for one in found if ".zip" not in one} == {DATA[:5], DATA[5:]}


def test_the_zip_of_a_list_opens_under_the_lease(shared_client: FlaskClient) -> None:
    listed = shared_client.get(leased(shared_client, album_of(shared_client, opens=1)), headers=JSON).get_json()
    zip_url = urlsplit(listed["zip_url"])
    archive = ZipFile(io.BytesIO(shared_client.get(f"{zip_url.path}?{zip_url.query}").data))
    assert [archive.read(name) for name in archive.namelist()] == [DATA[:5], DATA[5:]]


@pytest.mark.parametrize(("path", "data"), [("/1/a.txt", DATA[:5]), ("/2/b%20&%20c.bin", DATA[5:]), ("/2", DATA[5:])])
def test_the_link_of_one_file_opens_by_post_too(shared_client: FlaskClient, path: str, data: bytes) -> None:
    assert shared_client.get(leased(shared_client, album_of(shared_client, opens=1) + path)).data == data


def test_the_link_of_the_zip_opens_by_post_too(shared_client: FlaskClient) -> None:
    answer = shared_client.get(leased(shared_client, f"{album_of(shared_client, opens=1)}.zip"))
    assert answer.mimetype == "application/zip"


def test_a_list_without_a_limit_repeats_no_lease(shared_client: FlaskClient) -> None:
    assert "lease" not in shared_client.get(f"{album_of(shared_client)}?lease={'x' * 32}").text


# Programs that follow.


@pytest.mark.parametrize("how", [["-d", ""], ["-d", "open=1"], ["--data-binary", "@-"]])
def test_curl_takes_both_steps(server: Server, how: list[str]) -> None:
    link = link_in_server(server, field("opens", "1"))
    assert curl("--fail", "-L", *how, link, data=bytes(300_000)).stdout == DATA
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-L", "-d", "", link).stdout == b"404"


def test_one_connection_takes_both_steps(server: Server) -> None:
    link = link_in_server(server, field("opens", "1"))
    with requests.Session() as session:
        assert session.post(link, data=b"open=1", timeout=PATIENCE).content == DATA


def test_a_page_of_another_site_may_link_to_it_and_spends_nothing(shared_client: FlaskClient) -> None:
    share = shared(shared_client, opens=1)
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image", "Accept": "image/avif,image/webp,*/*;q=0.8"}
    assert shared_client.get(f"/{share.token}", headers=headers).status_code == 405
    assert opened(shared_client, share) == 0


# Those who look at links that others pass on. As they really ask.

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (Macintosh; Intel Mac OS X 11.6; rv:92.0) Gecko/20100101 Firefox/92.0"
ANY = {"Accept": "*/*"}
PEOPLE = {**BROWSER, "Accept-Language": "en-US,en;q=0.9", "Upgrade-Insecure-Requests": "1"}
LOOKERS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "Slack": [
        (
            "GET",
            {
                "User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
                "Range": "bytes=0-32768",
                **ANY,
            },
        ),
        ("HEAD", {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", **ANY}),
        ("GET", {"User-Agent": "Slack-ImgProxy (+https://api.slack.com/robots)", **ANY}),
        ("GET", {"User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)", "Range": "bytes=0-0", **ANY}),
    ],
    "Discord": [
        ("GET", {"User-Agent": "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)"}),
        ("GET", {"User-Agent": FIREFOX, **ANY}),
    ],
    "Outlook SafeLinks": [
        ("HEAD", {"User-Agent": CHROME, **PEOPLE}),
        ("GET", {"User-Agent": CHROME, **PEOPLE, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    ],
    "Teams and Skype": [
        (
            "GET",
            {
                "User-Agent": "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 "
                "skype-url-preview@microsoft.com",
                **ANY,
            },
        ),
        ("GET", {"User-Agent": "Mozilla/5.0 (compatible; MSIE 10.0) Microsoft-Teams LinkPreview", **BROWSER}),
    ],
    "WhatsApp": [
        ("GET", {"User-Agent": "WhatsApp/2.23.20.0 A", **ANY}),
        ("HEAD", {"User-Agent": "WhatsApp/2.23.20.0 A"}),
    ],
    "Telegram": [("GET", {"User-Agent": "TelegramBot (like TwitterBot)", **BROWSER})],
    "Facebook": [
        (
            "GET",
            {
                "User-Agent": "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
                "Range": "bytes=0-524287",
                **ANY,
            },
        ),
    ],
    "Twitter": [("GET", {"User-Agent": "Twitterbot/1.0", **ANY})],
    "Apple Messages": [
        (
            "GET",
            {
                "User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) "
                "Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
                **BROWSER,
            },
        ),
    ],
    "Google": [
        ("GET", {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", **BROWSER}),
        ("GET", {"User-Agent": "Mozilla/5.0 (compatible; GoogleImageProxy)", "Accept": "image/*"}),
    ],
    "Chrome's prefetch": [
        ("GET", {"User-Agent": CHROME, **PEOPLE, "Sec-Purpose": "prefetch", "Purpose": "prefetch"}),
        ("GET", {"User-Agent": CHROME, **PEOPLE, "Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"}),
    ],
    "Firefox's prefetch": [("GET", {"User-Agent": FIREFOX, **PEOPLE, "X-Moz": "prefetch"})],
    "a scanner": [("HEAD", ANY), ("GET", ANY), ("OPTIONS", ANY), ("PROPFIND", ANY), ("GET", {"Range": "bytes=0-"})],
    "a player's probe": [("GET", {"User-Agent": "VLC/3.0.20 LibVLC/3.0.20", "Range": "bytes=0-", "Icy-MetaData": "1"})],
}


@pytest.mark.parametrize("who", LOOKERS)
def test_who_only_looks_spends_nothing_and_the_reader_opens_it_once(shared_client: FlaskClient, who: str) -> None:
    share = shared(shared_client, opens=1)
    link = f"/{share.token}.txt"
    for method, headers in LOOKERS[who] * 2:
        answer = shared_client.open(link, method=method, headers=headers)
        assert DATA[:16] not in answer.data
        for found in Page(answer).elements if answer.data and answer.mimetype == "text/html" else []:
            for name in {"src", "href"} & found[1].keys():  # as a previewer does that wants pictures
                shared_client.get(found[1][name], headers=headers)
    assert opened(shared_client, share) == 0
    assert shared_client.get(leased(shared_client, link)).data == DATA
    assert shared_client.post(link).status_code == 404


# A password and a limit together.


def test_a_wrong_password_takes_no_open(shared_client: FlaskClient) -> None:
    share = shared(shared_client, opens=1, password=PASSWORD)
    link = f"/{share.token}"
    for headers in ({}, basic("wrong"), basic("")):
        assert shared_client.post(link, headers=headers).status_code == 401
        assert shared_client.get(link, headers={**BROWSER, **headers}).status_code == 401
    assert opened(shared_client, share) == 0
    assert shared_client.get(leased(shared_client, link, **basic(PASSWORD)), headers=basic(PASSWORD)).data == DATA


def test_guesses_that_are_used_up_take_none_either(shared_client: FlaskClient) -> None:
    share = shared(shared_client, opens=1, password=PASSWORD)
    link = f"/{share.token}"
    assert [shared_client.post(link, headers=basic(f"wrong {number}")).status_code for number in range(10)] == [
        401
    ] * 10
    assert shared_client.post(link, headers=basic(PASSWORD)).status_code == 429
    assert opened(shared_client, share) == 0


def test_a_lease_does_not_stand_for_the_password(shared_client: FlaskClient) -> None:
    where = leased(shared_client, link_to(shared_client, opens=1, password=PASSWORD), **basic(PASSWORD))
    assert shared_client.get(where).status_code == 401


def test_a_password_does_not_stand_for_the_lease(shared_client: FlaskClient) -> None:
    assert (
        shared_client.get(link_to(shared_client, opens=1, password=PASSWORD), headers=basic(PASSWORD)).status_code
        == 405
    )


def test_curl_takes_both_steps_with_a_password(server: Server) -> None:
    share = store(HttpDoor(server.url), seal(DATA, password=PASSWORD, opens=1))
    link = f"{server.url}/{share.token}"
    assert curl("--fail", "-L", "-d", "", "-u", ":wrong", link).returncode == 22
    assert curl("--fail", "-L", "-d", "", "-u", f":{PASSWORD}", link).stdout == DATA


def test_what_the_sealed_door_opened_the_direct_door_has_not(shared_client: FlaskClient) -> None:
    share = shared(shared_client, opens=1)
    door = door_of(shared_client)
    lease = door.ask("POST", f"{share.share}/open", share.by_access()).json["lease"]
    assert shared_client.post(f"/{share.token}").status_code == 404
    assert shared_client.get(f"/{share.token}?lease={lease}").data == DATA


# Many at once, over two servers on one CONTENT_DIR.

AT_ONCE = 200


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Server]]:
    """Two servers on one CONTENT_DIR, of two processes each."""
    with ExitStack() as running:
        first = running.enter_context(Server(tmp_path / "one"))
        second = running.enter_context(Server(tmp_path / "two", CONTENT_DIR=str(first.content)))
        yield [first, second]


def all_at_once(servers: list[Server], head: str) -> list[bytes]:
    """The answers to the same request, sent 200 times at once, to each server in turn."""
    request = f"{head}Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with ExitStack() as opened:
        connections: list[socket.socket] = []
        for number in range(AT_ONCE):
            connections.append(opened.enter_context(servers[number % len(servers)].connect()))
            connections[-1].sendall(request[:-1])
        for connection in connections:
            connection.sendall(request[-1:])
        return [_all_of(connection) for connection in connections]


def _all_of(connection: socket.socket) -> bytes:
    received = bytearray()
    while piece := connection.recv(1 << 16):
        received += piece
    return bytes(received)


ROUNDS = pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])


@ROUNDS
def test_of_many_posts_at_once_exactly_one_opens(two: list[Server], rounds: int) -> None:
    for _ in range(rounds):
        token = store(HttpDoor(two[0].url), seal(DATA, opens=1)).token
        answers = all_at_once(two, f"POST /{token} HTTP/1.1\r\n")
        found = [answer[:12] for answer in answers]
        assert (found.count(b"HTTP/1.1 303"), found.count(b"HTTP/1.1 404")) == (1, AT_ONCE - 1)


@ROUNDS
def test_of_many_opens_at_once_at_the_sealed_door_exactly_one_does(two: list[Server], rounds: int) -> None:
    for _ in range(rounds):
        share = store(HttpDoor(two[0].url), seal(DATA, opens=1))
        headers = "".join(f"{name}: {value}\r\n" for name, value in share.by_access().items())
        answers = all_at_once(two, f"POST /api/v1{share.share}/open HTTP/1.1\r\n{headers}")
        found = [answer[:12] for answer in answers]
        assert (found.count(b"HTTP/1.1 200"), found.count(b"HTTP/1.1 404")) == (1, AT_ONCE - 1)


def test_of_many_posts_at_once_as_many_open_as_may(two: list[Server]) -> None:
    link = f"/{store(HttpDoor(two[0].url), seal(DATA, opens=7)).token}"
    answers = all_at_once(two, f"POST {link} HTTP/1.1\r\n")
    leases = {found[1].decode() for answer in answers if (found := re.search(rb"\?lease=([\w-]{32})", answer))}
    assert len(leases) == 7
    assert {requests.get(f"{two[1].url}{link}?lease={lease}", timeout=PATIENCE).content for lease in leases} == {DATA}


def test_ten_guesses_are_ten_over_two_servers(two: list[Server]) -> None:
    link = f"/{store(HttpDoor(two[0].url), seal(DATA, password=PASSWORD)).token}"

    def try_one(number: int) -> int:
        url = two[number % 2].url + link
        return requests.get(url, headers=basic(f"wrong {number}"), timeout=PATIENCE).status_code

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(try_one, range(40)))
    assert (found.count(401), found.count(429)) == (10, 30)


# Killed between an open and its end.


def after(server: Process, later: float) -> FlaskClient:
    """A client of an application on a server's CONTENT_DIR, so many seconds later."""
    settings = {"CONTENT_DIR": str(server.content), "MIN_FREE_SPACE": "0"}
    return create_app(Settings.read(settings), Clock(time.time() + later)).test_client()


LARGE = DATA * 2000


@pytest.fixture
def killed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Process, str, str]]:
    """A server that was killed after one open was taken, and some content served or not; the link, and its lease."""
    with Server(tmp_path, WORKERS="1") as server:
        token = store(HttpDoor(server.url), seal(LARGE, chunk_size=1 << 18, opens=1)).token
        answer = requests.post(f"{server.url}/{token}", allow_redirects=False, timeout=PATIENCE)
        where = answer.headers["Location"]
        if request.param == "after the first byte":
            with server.connect() as connection:
                connection.sendall(f"GET {where} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                while b"\r\n\r\n" not in connection.recv(1 << 16):
                    pass
                kill(server)
        else:
            kill(server)
        yield server, f"/{token}", where


KILLED = pytest.mark.parametrize("killed", ["before the first byte", "after the first byte"], indirect=True)


@KILLED
def test_after_a_kill_an_open_that_was_taken_is_taken(killed: tuple[Process, str, str]) -> None:
    server, link, _ = killed
    assert after(server, 0).post(link).status_code == 404


@KILLED
def test_after_a_kill_its_lease_serves_on(killed: tuple[Process, str, str], tmp_path: Path) -> None:
    server, _, where = killed
    with Server(tmp_path / "again", CONTENT_DIR=str(server.content), WORKERS="1") as again:
        assert requests.get(again.url + where, timeout=PATIENCE).content == LARGE


@KILLED
def test_after_a_kill_never_more_than_one_reads(
    killed: tuple[Process, str, str], request: pytest.FixtureRequest
) -> None:
    server, link, where = killed
    later = after(server, 2 * LEASE)
    was_served = "after the first byte" in request.node.name
    assert later.get(where).status_code in {404, 405}
    assert times(later, link) == (0 if was_served else 1)


# Sealed only, and links that lost their #.


def test_sealed_only_is_refused_with_a_sentence(shared_client: FlaskClient) -> None:
    answer = shared_client.get(link_to(shared_client, sealed_only=True))
    assert answer.status_code == 403
    assert answer.text == "This share can be opened only in the browser or on the command line of who has its link.\n"


def test_sealed_only_has_a_code_in_json(shared_client: FlaskClient) -> None:
    assert (
        shared_client.get(link_to(shared_client, sealed_only=True), headers=JSON).get_json()["error"] == "sealed_only"
    )


@pytest.mark.parametrize("path", ["", ".png", ".zip", "/1/a.txt", "/1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_browsers_get_a_warning_and_the_sealed_link(shared_client: FlaskClient, method: str, path: str) -> None:
    share = shared(shared_client, sealed_only=True)
    answer = shared_client.open(f"/{share.token}{path}", method=method, headers=BROWSER)
    page = Page(answer)
    assert (answer.status_code, answer.headers["Vary"]) == (403, "Accept")
    assert "The server has seen this link" in page.text
    assert page.by_id("link")["value"] == f"http://localhost/#{share.token}"


@pytest.mark.parametrize("more", [{}, {"password": PASSWORD}, {"opens": 1}])
@pytest.mark.parametrize("headers", [TEXT, JSON, BROWSER])
def test_sealed_only_is_answered_without_a_look_at_the_content(
    client: FlaskClient, content: Path, more: dict[str, Any], headers: dict[str, str]
) -> None:
    link = link_to(client, sealed_only=True, **more)
    before = client.get(link, headers=headers)
    for blob in (content / "blobs").iterdir():
        shutil.rmtree(blob)
    after = client.get(link, headers=headers)
    assert (after.status_code, after.data) == (403, before.data)


def test_a_password_that_is_shown_to_it_is_not_even_tried(shared_client: FlaskClient, turns: list[float]) -> None:
    assert (
        shared_client.get(link_to(shared_client, sealed_only=True, password="p"), headers=basic("p")).status_code == 403
    )
    assert turns == []


def test_posts_take_no_open_of_it(shared_client: FlaskClient) -> None:
    share = shared(shared_client, sealed_only=True, opens=1)
    assert shared_client.post(f"/{share.token}").status_code == 403
    assert opened(shared_client, share) == 0


SEEN = {
    f"/%23{'x' * 32}": f"http://localhost/#{'x' * 32}",
    "/%23a&b/2": "http://localhost/#a&b/2",
    "/%23<script>alert(1)</script>": "http://localhost/#%3Cscript%3Ealert%281%29%3C/script%3E",
    '/%23"onload="x': "http://localhost/#%22onload=%22x",
    "/%23": "http://localhost/#",
    "/%23a%0Ab": "http://localhost/#a%0Ab",
    "/%23%23": "http://localhost/##",
    "/%23ключ": "http://localhost/#%D0%BA%D0%BB%D1%8E%D1%87",
}


@pytest.mark.parametrize("path", SEEN)
def test_a_link_that_lost_its_hash_gets_it_back_on_a_page(shared_client: FlaskClient, path: str) -> None:
    answer = shared_client.get(path, headers=BROWSER)
    page, plain = Page(answer), Page(shared_client.get("/%23x", headers=BROWSER))
    assert page.by_id("link")["value"] == SEEN[path]
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("path", SEEN)
def test_programs_are_told_it_in_a_sentence(shared_client: FlaskClient, path: str) -> None:
    answer = shared_client.get(path)
    assert answer.status_code == 404
    assert answer.text == f"The # of this link was changed on its way: it is {SEEN[path]}.\n"


@pytest.mark.parametrize("headers", [TEXT, JSON, BROWSER])
def test_nothing_is_looked_up_for_it(client: FlaskClient, content: Path, headers: dict[str, str]) -> None:
    share = shared(client)
    before = client.get(f"/%23{share.token}", headers=headers)
    with closing(sqlite3.connect(content / "onekey.db")) as database, database:
        database.execute("DROP TABLE shares")
    assert client.get(f"/{share.token}").status_code == 500
    after = client.get(f"/%23{share.token}", headers=headers)
    assert (after.status_code, after.data) == (before.status_code, before.data)


# What pages of other sites try.

FOREIGN = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_opens_nothing(shared_client: FlaskClient, headers: dict[str, str]) -> None:
    link = link_to(shared_client, opens=1)
    assert shared_client.post(link, headers=headers).status_code == 403
    assert shared_client.get(leased(shared_client, link)).data == DATA


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}], ids=str)
def test_the_page_with_the_button_and_programs_do(shared_client: FlaskClient, headers: dict[str, str]) -> None:
    assert shared_client.post(link_to(shared_client, opens=1), headers=headers).status_code == 303


def test_a_file_without_a_byte_opens_once_too(client: FlaskClient, clock: Clock) -> None:
    link = link_to(client, b"", opens=1)
    assert client.get(leased(client, link)).data == b""
    clock.now += LEASE + 1
    assert client.post(link).status_code == 404
