"""The pages, which need no JavaScript, the small files that every site has, and the headers of every answer."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import onekey
from onekey.app import App
from onekey.links import write_token
from tests.conftest import Clock
from tests.sealing import Door, seal, store
from tests.servers import Server
from tests.test_direct_upload import MakeApp, field, file, form, link_in, sent, stored

HOUR, DAY = 3600, 86_400
JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
URLENCODED = "application/x-www-form-urlencoded"


class Page(HTMLParser):
    """An HTML page, taken apart: its elements in order, and its text."""

    def __init__(self, answer: TestResponse) -> None:
        super().__init__()
        assert answer.mimetype == "text/html"
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(answer.text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def named(self, name: str) -> dict[str, str]:
        """The one field of a form that has this name."""
        (found,) = [attributes for _, attributes in self.elements if attributes.get("name") == name]
        return found

    def by_id(self, identifier: str) -> dict[str, str]:
        """The element of this id."""
        (found,) = [attributes for _, attributes in self.elements if attributes.get("id") == identifier]
        return found


class Shared:
    """A share, as its uploader knows it."""

    def __init__(self, client: FlaskClient, *parts: bytes) -> None:
        told = sent(client, *(parts or (file(b"content", "name.txt"),))).get_json()
        self.client, self.id = client, told["id"]
        self.link, self.owner, self.delete = (urlsplit(told[key]).path for key in ("url", "owner_url", "delete_url"))

    def opens(self) -> bool:
        """Whether the link works."""
        return self.client.get(self.link).status_code == 200


def door_of(client: FlaskClient) -> Door:
    """The sealed door of the application that a client of the direct one asks."""
    return Door(cast(App, client.application))


@pytest.fixture
def share(client: FlaskClient) -> Shared:
    """A share of `client` that never expires."""
    return Shared(client)


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """The CONTENT_DIR of `client` and `make_app`."""
    return tmp_path / "content"


def change(client: FlaskClient, path: str, expires: str, **more: Any) -> TestResponse:
    """The answer to the small form of the owner page."""
    return client.post(path, data=urlencode({"expires": expires}), content_type=URLENCODED, **more)


def limit(client: FlaskClient, path: str, opens: str, **more: Any) -> TestResponse:
    """The answer to the other one."""
    return client.post(path, data=urlencode({"opens": opens}), content_type=URLENCODED, **more)


# The upload page.


def test_the_form_sends_itself_as_the_direct_door_takes_it(client: FlaskClient) -> None:
    (found,) = Page(client.get("/")).all("form")
    assert (found["action"], found["method"], found["enctype"]) == ("/", "post", "multipart/form-data")


def test_several_files_may_be_chosen_and_one_has_to_be(client: FlaskClient) -> None:
    found = Page(client.get("/")).named("file")
    assert found["type"] == "file"
    assert {"multiple", "required"} <= set(found)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["answer", "expires", "opens", "password", "file"]),
        ({"UPLOAD_SECRET": "s"}, ["answer", "secret", "expires", "opens", "password", "file"]),
    ],
)
def test_all_that_decides_is_sent_before_the_files(
    make_app: MakeApp, settings: dict[str, str], names: list[str]
) -> None:
    page = Page(make_app(**settings).test_client().get("/"))
    fields = [attributes["name"] for tag, attributes in page.elements if tag in {"input", "select"}]
    assert fields == names


def test_the_secret_is_typed_unseen_and_not_filled_in(make_app: MakeApp) -> None:
    answer = make_app(UPLOAD_SECRET="open sesame").test_client().get("/")
    assert "open sesame" not in answer.text
    found = Page(answer).named("secret")
    assert (found["type"], "required" in found, "value" in found) == ("password", True, False)


@pytest.mark.parametrize(
    ("settings", "choices", "chosen"),
    [
        ({}, ["1h", "1d", "7d", "30d", "365d", "never"], "never"),
        ({"DEFAULT_EXPIRY": "7d"}, ["1h", "1d", "7d", "30d", "365d", "never"], "7d"),
        ({"DEFAULT_EXPIRY": "2d"}, ["1h", "1d", str(2 * DAY), "7d", "30d", "365d", "never"], str(2 * DAY)),
        ({"MAX_EXPIRY": "7d"}, ["1h", "1d", "7d"], "7d"),
        ({"MAX_EXPIRY": "8d"}, ["1h", "1d", "7d", str(8 * DAY)], str(8 * DAY)),
        ({"MAX_EXPIRY": "7d", "DEFAULT_EXPIRY": "1d"}, ["1h", "1d", "7d"], "1d"),
        ({"MAX_EXPIRY": "1m"}, ["60"], "60"),
    ],
)
def test_what_can_be_chosen_is_what_the_server_takes(
    make_app: MakeApp, settings: dict[str, str], choices: list[str], chosen: str
) -> None:
    client = make_app(**settings).test_client()
    options = Page(client.get("/")).all("option")
    assert [option["value"] for option in options] == choices
    assert [option["value"] for option in options if "selected" in option] == [chosen]
    for choice in choices:
        assert sent(client, field("expires", choice), file(b"x")).status_code == 201


def test_the_limits_are_told(make_app: MakeApp) -> None:
    text = Page(make_app(MAX_FILES="7", MAX_UPLOAD_SIZE="1536 MiB").test_client().get("/")).text
    assert "at most 7 files, 1.5 GiB in all" in text.replace("\u00a0", " ")


def test_the_examples_name_this_host(make_app: MakeApp) -> None:
    page = Page(make_app(PUBLIC_URL="https://files.example.org").test_client().get("/"))
    assert "curl -T cat.png https://files.example.org/" in page.text


def test_the_examples_show_where_the_secret_goes_but_not_the_secret(make_app: MakeApp) -> None:
    page = Page(make_app(UPLOAD_SECRET="open sesame").test_client().get("/"))
    assert "curl -H 'X-Onekey-Secret: …' -T cat.png http://localhost/" in page.text


def test_upload_redirect_sends_people_elsewhere(make_app: MakeApp) -> None:
    answer = make_app(UPLOAD_REDIRECT="https://example.org/upload?a=b").test_client().get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://example.org/upload?a=b")


def test_upload_redirect_leaves_uploads_and_links_alone(make_app: MakeApp) -> None:
    client = make_app(UPLOAD_REDIRECT="https://example.org/").test_client()
    assert client.get(link_in(client.put("/a", data=b"x"))).data == b"x"


# Its answer.


def uploaded(client: FlaskClient, *parts: bytes) -> TestResponse:
    """The answer to our own form."""
    answer = client.post("/", headers=BROWSER, **form(field("answer", "page"), *parts))
    assert answer.status_code == 201
    return answer


def test_the_answer_to_our_form_is_a_page_with_the_link(client: FlaskClient) -> None:
    page = Page(uploaded(client, file(b"content", "name.png")))
    link = page.by_id("link")["value"]
    assert re.fullmatch(r"http://localhost/[A-Za-z0-9_-]{32}\.png", link)
    assert client.get(urlsplit(link).path).data == b"content"
    assert {"href": link}.items() <= page.all("a")[1].items()


def test_the_answer_has_the_owner_link(client: FlaskClient) -> None:
    answer = uploaded(client, file(b"content"))
    owner = Page(answer).by_id("owner-link")["value"]
    assert owner == answer.headers["X-Onekey-Owner-URL"]
    assert client.get(urlsplit(owner).path).status_code == 200


def test_the_answer_is_no_redirect_so_that_the_owner_link_is_seen(client: FlaskClient) -> None:
    assert "Location" not in uploaded(client, file(b"content")).headers


def test_the_copy_buttons_wait_for_the_script_that_they_need(client: FlaskClient) -> None:
    buttons = Page(uploaded(client, file(b"content"))).all("button")
    assert [(button["data-copy"], "hidden" in button) for button in buttons] == [("link", True), ("owner-link", True)]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([file(b"x")], "1 file, 1 byte, never expires."),
        ([file(b""), file(bytes(1536))], "2 files, 1.5 KiB, never expires."),
        ([field("expires", "1h"), file(b"x")], "1 file, 1 byte, expires 2027-01-15 09:00 UTC ."),
    ],
)
def test_the_answer_says_what_was_shared(client: FlaskClient, parts: list[bytes], words: str) -> None:
    assert words in Page(uploaded(client, *parts)).text


def test_the_answer_to_a_refused_form_is_a_page_too(make_app: MakeApp) -> None:
    client = make_app(UPLOAD_SECRET="s").test_client()
    answer = client.post("/", headers=BROWSER, **form(field("answer", "page"), field("secret", "x"), file(b"x")))
    assert answer.status_code == 403
    assert "This is not an upload secret of this server." in Page(answer).text


# Hostile names and types, on every page that shows them.

HOSTILE = [
    "<img src=x onerror=alert(1)>.txt",
    '"><svg onload=alert(1)>.txt',
    "' autofocus onfocus='alert(1).txt",
    "&lt;b&gt;.txt",
    "{{7*7}}{% raw %}.txt",
    "<!-- .txt",
    "]]>.txt",
    "\u2028\u2029.txt",
]


def list_page(client: FlaskClient, name: str) -> TestResponse:
    """The page that lists a file of this name and another."""
    return client.get(link_in(sent(client, file(b"x", name), file(b"y", "other.png"))), headers=BROWSER)


def answer_page(client: FlaskClient, name: str) -> TestResponse:
    """The page that our form is answered with for such files."""
    return uploaded(client, file(b"x", name), file(b"y", "other.png"))


@pytest.mark.parametrize("page_of", [list_page, answer_page])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_and_nothing_else(
    shared_client: FlaskClient, name: str, page_of: Callable[[FlaskClient, str], TestResponse]
) -> None:
    page, plain = Page(page_of(shared_client, name)), Page(page_of(shared_client, "name.txt"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert [set(attributes) for _, attributes in page.elements] == [set(one) for _, one in plain.elements]
    assert " ".join(name.split()) in page.text


@pytest.mark.parametrize("page_of", [list_page, answer_page])
def test_a_name_cannot_turn_the_text_around_it(
    shared_client: FlaskClient, page_of: Callable[[FlaskClient, str], TestResponse]
) -> None:
    answer = page_of(shared_client, "\u202egpj.exe\u2066")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", answer.text)
    assert '<bdi class="name">\ufffdgpj.exe\ufffd</bdi>' in answer.text


@pytest.mark.parametrize("media", ["a'b/c&d", "a/b'onclick`alert`1`", "x/&lt"])
def test_a_type_is_text_and_nothing_else(shared_client: FlaskClient, media: str) -> None:
    page = Page(uploaded(shared_client, file(b"x", "a", media)))
    assert page.text.count("alert") == media.count("alert")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


# The list of several files.


def test_the_list_leads_to_the_files_and_the_zip(client: FlaskClient) -> None:
    share = Shared(client, file(b"one", "1.png"), file(b"two", "2.exe"))
    page = Page(client.get(share.link, headers=BROWSER))
    base = f"http://localhost{share.link}"
    assert [(link["href"], "download" in link) for link in page.all("a")[1:]] == [
        (f"{base}.zip", True),
        (f"{base}/1/1.png", False),
        (f"{base}/1/1.png", True),
        (f"{base}/2/2.exe", True),
    ]


def test_the_list_says_sizes_and_when_it_expires(client: FlaskClient) -> None:
    share = Shared(client, file(bytes(1536), "1.png"), file(b"x", "2.exe"), field("expires", "1h"))
    text = Page(client.get(share.link, headers=BROWSER)).text
    assert "This share holds 1.5 KiB and expires 2027-01-15 09:00 UTC" in text
    assert "1.5 KiB · image/png" in text


def test_the_list_does_not_hold_the_owner_link(client: FlaskClient) -> None:
    share = Shared(client, file(b"one"), file(b"two"))
    text = client.get(share.link, headers=BROWSER).text
    assert share.owner.rpartition("/")[2] not in text
    assert share.id not in text


# The owner page.


def test_the_owner_sees_what_the_server_knows(client: FlaskClient, share: Shared) -> None:
    text = Page(client.get(share.owner)).text
    assert "Created 2027-01-15 08:00 UTC" in text
    assert "Expires never" in text


def when_opened(client: FlaskClient, *parts: bytes) -> tuple[Shared, Callable[[], str]]:
    """A share, and what its owner page says of it once it was opened."""
    share = Shared(client, *parts, file(b"content", "name.txt"))

    def text() -> str:
        answer = client.post(share.link)
        client.get(answer.headers["Location"])
        return Page(client.get(share.owner)).text

    return share, text


@pytest.mark.parametrize(
    ("parts", "before", "after"),
    [
        ([], "Opened not yet", ["Opened once Last in the hour from", "Opened 2 times Last in the hour from"]),
        ([field("opens", "3")], "Opened 0 of 3 times", ["Opened 1 of 3 times Last", "Opened 2 of 3 times Last"]),
    ],
)
def test_the_owner_sees_how_often_it_was_opened(
    client: FlaskClient, parts: list[bytes], before: str, after: list[str]
) -> None:
    share, text_when_opened = when_opened(client, *parts)
    assert before in Page(client.get(share.owner)).text
    for said in after:
        assert said in text_when_opened()


@pytest.mark.parametrize("parts", [[], [field("opens", "3")]])
def test_and_in_which_hour_last_but_no_more_closely(client: FlaskClient, clock: Clock, parts: list[bytes]) -> None:
    _, text_when_opened = when_opened(client, *parts)
    clock.now += 2 * HOUR + 1234
    assert "Last in the hour from 2027-01-15 10:00 UTC" in text_when_opened()
    assert "10:20" not in text_when_opened()


def test_a_page_that_was_only_looked_at_counts_for_nothing(client: FlaskClient) -> None:
    share = Shared(client, field("opens", "3"), file(b"x"))
    for headers in ({}, BROWSER):
        client.get(share.link, headers=headers)
        client.head(share.link, headers=headers)
    assert "Opened 0 of 3 times" in Page(client.get(share.owner)).text


def test_ranges_and_heads_of_a_share_without_a_limit_are_not_opens(client: FlaskClient, share: Shared) -> None:
    client.head(share.link)
    client.get(share.link, headers={"Range": "bytes=1-"})
    assert "Opened not yet" in Page(client.get(share.owner)).text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"password": "p"}, "Password needed"),
        ({"sealed_only": True}, "Sealed opens only where its reader is, never on this server"),
    ],
)
def test_the_owner_sees_what_it_takes_to_open_it(client: FlaskClient, options: dict[str, Any], said: str) -> None:
    share = store(door_of(client), seal(**options))
    assert said in Page(client.get(f"/manage/{share.id}/{write_token(share.owner)}")).text
    assert said.split()[0] not in Page(client.get(Shared(client).owner)).text


def test_the_owner_page_knows_neither_name_nor_link(client: FlaskClient, share: Shared) -> None:
    text = client.get(share.owner).text
    assert "name.txt" not in text
    assert share.link[1:33] not in text


@pytest.mark.parametrize("path", ["owner", "delete"])
@pytest.mark.parametrize(("parts", "changes"), [((), 2), ((field("opens", "1"),), 3)])
def test_the_owner_s_forms_are_posts_to_the_owner_s_addresses(
    client: FlaskClient, path: str, parts: tuple[bytes, ...], changes: int
) -> None:
    share = Shared(client, *parts, file(b"x"))
    forms = Page(client.get(getattr(share, path))).all("form")
    expected = [*[("post", share.owner)] * changes, ("post", share.delete)]
    assert sorted((one["method"], one["action"]) for one in forms) == expected


WRONG_OWNERS: dict[str, Callable[[Shared, Shared], str]] = {
    "another token": lambda share, _: f"/manage/{share.id}/{'x' * 32}",
    "another share's token": lambda share, other: f"/manage/{share.id}/{other.owner.rpartition('/')[2]}",
    "the token of the link": lambda share, _: f"/manage/{share.id}/{share.link[1:33]}",
    "another share's id": lambda share, other: f"/manage/{other.id}/{share.owner.rpartition('/')[2]}",
    "no id that can be": lambda share, _: f"/manage/{'z' * 32}/{share.owner.rpartition('/')[2]}",
    "a space before the id": lambda share, _: share.owner.replace("/manage/", "/manage/%20"),
    "a token too short": lambda share, _: share.owner[:-1],
    "a token too long": lambda share, _: f"{share.owner}x",
    "a token with padding": lambda share, _: f"{share.owner[:-2]}==",
    "nothing": lambda *_: "/manage/x/y",
}


@pytest.mark.parametrize("kind", WRONG_OWNERS)
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("GET", "/delete"), ("POST", ""), ("POST", "/delete")])
def test_who_is_not_the_owner_finds_nothing_and_changes_nothing(
    client: FlaskClient, share: Shared, kind: str, method: str, suffix: str
) -> None:
    path = WRONG_OWNERS[kind](share, Shared(client))
    answer = client.open(path + suffix, method=method, data="expires=1h", content_type=URLENCODED)
    assert answer.status_code == 404
    assert answer.text == client.get("/" + "x" * 32).text
    assert Page(client.get(share.owner)).text.count("Expires never") == 1


# Only a POST changes or deletes.

LOOKING = [
    {"Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"X-Moz": "prefetch"},
    {"X-Purpose": "preview"},
    {"X-HTTP-Method-Override": "POST"},
    {"User-Agent": "Slackbot-LinkExpanding 1.0"},
]


@pytest.mark.parametrize("path", ["", "/delete", "?expires=1", "/delete?confirm=yes", "?_method=POST", "?opens=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_to_look_at_the_owner_s_pages_changes_nothing(
    client: FlaskClient, share: Shared, clock: Clock, method: str, path: str
) -> None:
    assert client.open(share.owner + path, method=method).status_code == 200
    clock.now += 100 * 365 * DAY
    assert share.opens()


@pytest.mark.parametrize("headers", LOOKING, ids=str)
@pytest.mark.parametrize("path", ["", "/delete"])
def test_nor_does_a_program_that_looks_before_a_person_does(
    client: FlaskClient, share: Shared, clock: Clock, path: str, headers: dict[str, str]
) -> None:
    assert client.get(share.owner + path, headers=headers).status_code == 200
    clock.now += 100 * 365 * DAY
    assert share.opens()


@pytest.mark.parametrize("path", ["", "/delete"])
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT"])
def test_nor_does_any_other_method(client: FlaskClient, share: Shared, method: str, path: str) -> None:
    client.open(share.owner + path, method=method, data=b"expires=1", content_type=URLENCODED)
    assert share.opens()
    assert "Expires never" in Page(client.get(share.owner)).text


# Deleting.


def test_the_question_says_that_nothing_happened_yet(client: FlaskClient, share: Shared) -> None:
    text = Page(client.get(share.delete)).text
    assert "Delete this share?" in text
    assert "Nothing happens until you press the button" in text


def test_a_deleted_share_leaves_nothing(client: FlaskClient, share: Shared, content: Path) -> None:
    assert stored(content) != set()
    assert client.post(share.delete).status_code == 200
    assert stored(content) == set()


@pytest.mark.parametrize("path", ["link", "owner", "delete"])
def test_its_links_open_nothing(client: FlaskClient, share: Shared, path: str) -> None:
    client.post(share.delete)
    assert client.get(getattr(share, path)).status_code == 404


def test_it_cannot_be_deleted_twice(client: FlaskClient, share: Shared) -> None:
    client.post(share.delete)
    assert client.post(share.delete).status_code == 404


def test_others_stay(client: FlaskClient, share: Shared) -> None:
    other = Shared(client)
    client.post(share.delete)
    assert other.opens()


@pytest.mark.parametrize(
    ("headers", "media", "words"),
    [
        ({}, "text/plain", "The share is deleted.\n"),
        (JSON, "application/json", '{"deleted":true}\n'),
        (BROWSER, "text/html", "The share is deleted"),
    ],
    ids=["text", "json", "html"],
)
def test_who_deletes_is_told_so(
    client: FlaskClient, share: Shared, headers: dict[str, str], media: str, words: str
) -> None:
    answer = client.post(share.delete, headers=headers)
    assert answer.mimetype == media
    assert words == answer.text if media != "text/html" else words in answer.text


def test_an_expired_share_cannot_be_deleted_or_kept(client: FlaskClient, clock: Clock) -> None:
    share = Shared(client, field("expires", "1h"), file(b"x"))
    clock.now += HOUR
    assert client.post(share.delete).status_code == 404
    assert change(client, share.owner, "never").status_code == 404


# Changing when it expires.


def test_a_change_leads_back_to_the_owner_page(client: FlaskClient, share: Shared) -> None:
    answer = change(client, share.owner, "1h")
    assert (answer.status_code, answer.headers["Location"]) == (303, share.owner)
    assert "Expires 2027-01-15 09:00 UTC" in Page(client.get(share.owner)).text


@pytest.mark.parametrize(("later", "opens"), [(HOUR - 1, True), (HOUR, False)])
def test_a_share_expires_when_the_owner_says(
    client: FlaskClient, share: Shared, clock: Clock, later: int, opens: bool
) -> None:
    change(client, share.owner, "1h")
    clock.now += later
    assert share.opens() is opens


def test_time_counts_from_the_change(client: FlaskClient, clock: Clock) -> None:
    share = Shared(client, field("expires", "1h"), file(b"x"))
    clock.now += HOUR - 1
    change(client, share.owner, "1h")
    clock.now += HOUR - 1
    assert share.opens()


def test_a_share_may_be_kept_for_ever(client: FlaskClient, clock: Clock) -> None:
    share = Shared(client, field("expires", "1h"), file(b"x"))
    change(client, share.owner, "never")
    clock.now += 100 * 365 * DAY
    assert share.opens()


@pytest.mark.parametrize("asked", ["", "soon", "0", "-1", "1h30m", "9" * 30])
def test_what_is_no_duration_changes_nothing(client: FlaskClient, share: Shared, asked: str) -> None:
    assert change(client, share.owner, asked).status_code == 400
    assert "Expires never" in Page(client.get(share.owner)).text


@pytest.mark.parametrize("asked", ["never", "8d"])
def test_nor_does_what_is_beyond_the_longest(make_app: MakeApp, asked: str) -> None:
    client = make_app(MAX_EXPIRY="7d").test_client()
    share = Shared(client)
    assert change(client, share.owner, asked).status_code == 400
    assert "Expires 2027-01-22 08:00 UTC" in Page(client.get(share.owner)).text
    assert "At most 7 days on this server." in Page(client.get(share.owner)).text


@pytest.mark.parametrize(
    "body",
    [
        {"data": "expires=1h", "content_type": "text/plain"},
        {"data": '{"expires": "1h"}', "content_type": "application/json"},
        form(field("expires", "1h")),
        {"data": "", "content_type": URLENCODED},
        {"data": "other=1h", "content_type": URLENCODED},
        {"data": b"expires=%ff", "content_type": URLENCODED},
    ],
    ids=["text", "json", "multipart", "empty", "another field", "no text"],
)
def test_nor_does_what_is_not_our_form(client: FlaskClient, share: Shared, body: dict[str, Any]) -> None:
    assert client.post(share.owner, **body).status_code == 400
    assert "Expires never" in Page(client.get(share.owner)).text


def test_nor_does_a_form_that_is_far_too_large(client: FlaskClient, share: Shared) -> None:
    body = {"data": "expires=1h&x=" + "x" * 2000, "content_type": URLENCODED}
    assert client.post(share.owner, **body).status_code == 413
    assert "Expires never" in Page(client.get(share.owner)).text


# Changing how often it may be opened.


def spend(client: FlaskClient, share: Shared, times: int) -> list[int]:
    """Open a share so often; the statuses."""
    return [client.post(share.link).status_code for _ in range(times)]


def test_a_changed_limit_leads_back_to_the_owner_page(client: FlaskClient, share: Shared) -> None:
    answer = limit(client, share.owner, "3")
    assert (answer.status_code, answer.headers["Location"]) == (303, share.owner)
    assert "Opened 0 of 3 times" in Page(client.get(share.owner)).text


def test_a_share_opens_as_often_as_the_owner_says(client: FlaskClient, share: Shared) -> None:
    limit(client, share.owner, "2")
    assert spend(client, share, 3) == [303, 303, 404]


def test_what_was_opened_before_counts(client: FlaskClient, share: Shared) -> None:
    client.get(share.link)
    client.get(share.link)
    assert "Opened 2 times" in Page(client.get(share.owner)).text
    limit(client, share.owner, "3")
    assert spend(client, share, 2) == [303, 404]


def test_one_that_is_all_but_used_up_can_be_opened_more_often(client: FlaskClient) -> None:
    share = Shared(client, field("opens", "1"), file(b"x"))
    assert spend(client, share, 2) == [303, 404]
    limit(client, share.owner, "2")
    assert spend(client, share, 2) == [303, 404]


@pytest.mark.parametrize("asked", ["unlimited", "Unlimited"])
def test_a_limit_can_be_taken_away(client: FlaskClient, asked: str) -> None:
    share = Shared(client, field("opens", "1"), file(b"x"))
    assert not share.opens()
    assert limit(client, share.owner, asked).status_code == 303
    assert [share.opens() for _ in range(3)] == [True] * 3


def test_the_page_offers_to_take_it_away_where_there_is_one(client: FlaskClient, share: Shared) -> None:
    assert {"type": "hidden", "name": "opens", "value": "unlimited"} not in Page(client.get(share.owner)).all("input")
    limit(client, share.owner, "1")
    assert {"type": "hidden", "name": "opens", "value": "unlimited"} in Page(client.get(share.owner)).all("input")


def test_a_limit_below_what_was_used_is_refused_in_plain_words(client: FlaskClient) -> None:
    share = Shared(client, field("opens", "5"), file(b"x"))
    spend(client, share, 3)
    answer = limit(client, share.owner, "2", headers=BROWSER)
    assert answer.status_code == 422
    page = Page(answer)
    assert "This share was opened 3 times already: not fewer opens may be allowed." in page.text
    assert "" in [link["href"] for link in page.all("a")]
    assert "Opened 3 of 5 times" in Page(client.get(share.owner)).text


def test_the_page_does_not_even_offer_one(client: FlaskClient) -> None:
    share = Shared(client, field("opens", "5"), file(b"x"))
    spend(client, share, 3)
    assert Page(client.get(share.owner)).by_id("opens")["min"] == "3"


def test_a_limit_at_what_was_used_closes_the_share(client: FlaskClient) -> None:
    share = Shared(client, field("opens", "5"), file(b"x"))
    spend(client, share, 2)
    assert limit(client, share.owner, "2").status_code == 303
    assert spend(client, share, 1) == [404]


@pytest.mark.parametrize("asked", ["", "0", "-1", "1.5", "many", "never", "1000001", "9" * 30])
def test_what_is_no_limit_changes_nothing(client: FlaskClient, asked: str) -> None:
    share = Shared(client, field("opens", "5"), file(b"x"))
    assert limit(client, share.owner, asked).status_code == 400
    assert "Opened 0 of 5 times" in Page(client.get(share.owner)).text


def test_a_limit_leaves_alone_when_it_expires_and_the_other_way_round(client: FlaskClient, share: Shared) -> None:
    change(client, share.owner, "1h")
    limit(client, share.owner, "5")
    change(client, share.owner, "1d")
    text = Page(client.get(share.owner)).text
    assert "Expires 2027-01-16 08:00 UTC Opened 0 of 5 times" in text


# Errors.


def break_share(content: Path) -> None:
    """Lose what is stored."""
    for part in (content / "blobs").glob("*/*"):
        part.unlink()


ERRORS: dict[str, tuple[int, str, Callable[[MakeApp, Path, dict[str, str]], TestResponse]]] = {
    "wrong host": (
        400,
        "wrong_host",
        lambda make, _, headers: make().test_client().get("/", headers={**headers, "Host": "example.org"}),
    ),
    "no file": (400, "bad_request", lambda make, _, headers: make().test_client().post("/", headers=headers, **form())),
    "no secret": (
        403,
        "forbidden",
        lambda make, _, headers: make(UPLOAD_SECRET="s").test_client().put("/a", data=b"x", headers=headers),
    ),
    "nothing there": (404, "not_found", lambda make, _, headers: make().test_client().get("/nothing", headers=headers)),
    "wrong method": (
        405,
        "method_not_allowed",
        lambda make, _, headers: make().test_client().delete("/", headers=headers),
    ),
    "too large": (
        413,
        "too_large",
        lambda make, _, headers: make(MAX_UPLOAD_SIZE="1").test_client().put("/a", data=b"xx", headers=headers),
    ),
    "password needed": (401, "password_needed", lambda make, _, headers: locked(make().test_client(), headers)),
    "too few opens": (422, "unprocessable", lambda make, _, headers: fewer(make().test_client(), headers)),
    "too many guesses": (429, "too_many", lambda make, _, headers: locked(make().test_client(), headers, guesses=11)),
    "damaged": (500, "damaged", lambda make, content, headers: damaged(make().test_client(), content, headers)),
    "no room": (
        507,
        "no_room",
        lambda make, _, headers: make(MIN_FREE_SPACE="900000 TiB").test_client().put("/a", data=b"x", headers=headers),
    ),
}


def locked(client: FlaskClient, headers: dict[str, str], guesses: int = 0) -> TestResponse:
    """The answer to a link whose share has a password, after so many wrong ones."""
    link = f"/{store(door_of(client), seal(password='p')).token}"
    answer = client.get(link, headers=headers)
    for number in range(guesses):
        answer = client.get(link, headers=headers, auth=("", f"wrong {number}"))
    return answer


def fewer(client: FlaskClient, headers: dict[str, str]) -> TestResponse:
    """The answer to who would allow fewer opens than were used."""
    share = Shared(client, field("opens", "3"), file(b"x"))
    spend(client, share, 2)
    return limit(client, share.owner, "1", headers=headers)


def damaged(client: FlaskClient, content: Path, headers: dict[str, str]) -> TestResponse:
    """The answer to a link whose share is lost."""
    link = link_in(client.put("/a", data=b"x"))
    break_share(content)
    return client.get(link, headers=headers)


@pytest.fixture(params=ERRORS)
def error(request: pytest.FixtureRequest, make_app: MakeApp, content: Path) -> "Failing":
    """Every kind of error."""
    status, code, fail = ERRORS[request.param]
    return Failing(status, code, lambda headers: fail(make_app, content, headers))


class Failing:
    """Something that goes wrong: its status, its name in JSON, and how to make it happen."""

    def __init__(self, status: int, code: str, fail: Callable[[dict[str, str]], TestResponse]) -> None:
        self.status, self.code, self.fail = status, code, fail


@pytest.mark.parametrize("headers", [{}, JSON, BROWSER], ids=["text", "json", "html"])
def test_an_error_has_its_status_however_it_is_told(error: Failing, headers: dict[str, str]) -> None:
    answer = error.fail(headers)
    assert (answer.status_code, answer.headers["Vary"]) == (error.status, "Accept")


def test_an_error_is_a_sentence_for_programs_that_ask_for_nothing(error: Failing) -> None:
    answer = error.fail({"Accept": "*/*"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert re.fullmatch(r"[A-Z][^\n<>]+\.\n", answer.text)


def test_an_error_in_json_is_a_name_and_the_sentence(error: Failing) -> None:
    answer = error.fail(JSON)
    assert answer.mimetype == "application/json"
    told = answer.get_json()
    assert (set(told), told["error"]) == ({"error", "message"}, error.code)
    assert re.fullmatch(r"[A-Z][^\n<>]+\.", told["message"])


def test_an_error_for_a_browser_is_a_page_with_the_sentence(error: Failing) -> None:
    page = Page(error.fail(BROWSER))
    assert str(error.status) in page.text
    assert error.fail({}).text.strip() in page.text


def test_an_error_of_ours_has_a_number_that_is_in_the_log(
    make_app: MakeApp, content: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = damaged(make_app().test_client(), content, BROWSER)
    number = answer.headers["X-Onekey-Request"]
    assert re.fullmatch(r"[0-9a-f]{8}", number)
    assert number in Page(answer).text
    assert number in caplog.text


def test_an_error_of_the_client_has_none(client: FlaskClient) -> None:
    assert "X-Onekey-Request" not in client.get("/nothing").headers


@pytest.mark.parametrize("headers", [{}, JSON, BROWSER], ids=["text", "json", "html"])
@pytest.mark.parametrize("host", ["localhost", "canary.example.org"])
def test_an_error_does_not_repeat_what_was_asked(client: FlaskClient, host: str, headers: dict[str, str]) -> None:
    answer = client.get("/canary/canary?canary", headers={**headers, "Host": host, "X-Canary": "canary"})
    assert "canary" not in f"{answer.headers}{answer.text}"


def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient) -> None:
    assert client.delete("/").headers["Allow"] == "GET, HEAD, OPTIONS, POST, PUT"


# ShareX.


def sharex(client: FlaskClient) -> dict[str, Any]:
    """The ShareX configuration of a server."""
    told = json.loads(client.get("/sharex.sxcu").text)
    assert isinstance(told, dict)
    return told


def test_the_sharex_configuration_has_what_sharex_reads(client: FlaskClient) -> None:
    told = sharex(client)
    assert re.fullmatch(r"\d+\.\d+\.\d+", told.pop("Version"))
    assert told == {
        "Name": "onekey (localhost)",
        "DestinationType": "ImageUploader, TextUploader, FileUploader",
        "RequestMethod": "POST",
        "RequestURL": "http://localhost/",
        "Headers": {"Accept": "application/json"},
        "Body": "MultipartFormData",
        "Arguments": {},
        "FileFormName": "file",
        "URL": "{json:url}",
        "DeletionURL": "{json:delete_url}",
        "ErrorMessage": "{json:message}",
    }


def test_it_points_to_the_public_url(make_app: MakeApp) -> None:
    told = sharex(make_app(PUBLIC_URL="https://files.example.org").test_client())
    assert (told["Name"], told["RequestURL"]) == ("onekey (files.example.org)", "https://files.example.org/")


def test_it_has_a_place_for_the_secret_and_never_the_secret(make_app: MakeApp) -> None:
    client = make_app(UPLOAD_SECRET="open sesame").test_client()
    assert set(sharex(client)["Arguments"]) == {"secret"}
    assert "sesame" not in client.get("/sharex.sxcu").text


def test_it_is_saved_under_a_name_that_sharex_opens(client: FlaskClient) -> None:
    answer = client.get("/sharex.sxcu")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="onekey.sxcu"'


def test_what_it_says_works(make_app: MakeApp) -> None:
    client = make_app(UPLOAD_SECRET="s").test_client()
    told = sharex(client)
    arguments = [field(name, "s") for name in told["Arguments"]]
    parts = form(
        *arguments, file(b"picture", "a.png").replace(b'name="file"', f'name="{told["FileFormName"]}"'.encode())
    )
    path = urlsplit(told["RequestURL"]).path
    answer = client.open(path, method=told["RequestMethod"], headers=told["Headers"], **parts).get_json()
    assert client.get(urlsplit(answer[told["URL"][6:-1]]).path).data == b"picture"
    assert client.get(urlsplit(answer[told["DeletionURL"][6:-1]]).path).status_code == 200


def test_what_it_says_of_errors_works(make_app: MakeApp) -> None:
    client = make_app(UPLOAD_SECRET="s").test_client()
    told = sharex(client)
    answer = client.post("/", headers=told["Headers"], **form(field("secret", "wrong"), file(b"x")))
    assert answer.get_json()[told["ErrorMessage"][6:-1]] == "This is not an upload secret of this server."


# Small files.


def test_robots_are_sent_away(client: FlaskClient) -> None:
    answer = client.get("/robots.txt")
    assert (answer.mimetype, answer.text) == ("text/plain", "User-agent: *\nDisallow: /\n")


def test_browsers_find_an_icon_unasked(client: FlaskClient) -> None:
    with client.get("/favicon.ico") as answer:
        assert answer.status_code == 200
        assert answer.mimetype in {"image/vnd.microsoft.icon", "image/x-icon"}
        assert answer.data.startswith(b"\0\0\1\0")


def test_healthz_tells_that_all_is_well(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok", "version": onekey.__version__}


def test_healthz_is_told_by_any_name(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"Host": "10.1.2.3:80"}).status_code == 200


def test_healthz_tells_that_something_is_wrong(client: FlaskClient, content: Path) -> None:
    (content / "blobs").rmdir()
    assert client.get("/healthz").status_code == 500


# What all pages have in common.

WRONG = {"Authorization": "Basic OndyYXBwZWQ="}


def sealed(client: FlaskClient, headers: dict[str, str], **options: Any) -> TestResponse:
    """What a browser gets for a share that its client sealed."""
    share = store(door_of(client), seal(**options))
    return client.get(f"/{share.token}", headers={**BROWSER, **headers})


PAGES: dict[str, Callable[[FlaskClient], TestResponse]] = {
    "upload": lambda client: client.get("/"),
    "answer": lambda client: uploaded(client, file(b"x", "a.png")),
    "list": lambda client: client.get(Shared(client, file(b"1"), file(b"2")).link, headers=BROWSER),
    "owner": lambda client: client.get(Shared(client).owner),
    "delete": lambda client: client.get(Shared(client).delete),
    "deleted": lambda client: client.post(Shared(client).delete, headers=BROWSER),
    "error": lambda client: client.get("/nothing", headers=BROWSER),
    "limited owner": lambda client: client.get(Shared(client, field("opens", "3"), file(b"x")).owner),
    "once": lambda client: client.get(Shared(client, field("opens", "1"), file(b"x")).link, headers=BROWSER),
    "seen": lambda client: client.get("/%23" + "x" * 32, headers=BROWSER),
    "sealed only": lambda client: sealed(client, {}, sealed_only=True),
    "password": lambda client: sealed(client, {}, password="p"),
    "wrong password": lambda client: sealed(client, WRONG, password="p"),
}


@pytest.mark.parametrize("page_of", PAGES.values(), ids=list(PAGES))
class TestEveryPage:
    """Rules for every page."""

    PageOf = Callable[[FlaskClient], TestResponse]

    def test_nothing_in_it_runs_but_our_scripts(self, shared_client: FlaskClient, page_of: PageOf) -> None:
        page = Page(page_of(shared_client))
        assert all(re.fullmatch(r"/static/[a-z]+\.js", script.get("src", "")) for script in page.all("script"))
        assert not [name for _, attributes in page.elements for name in attributes if re.match("on|style$", name)]
        assert not {"style", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}

    def test_all_that_it_needs_is_on_this_server(self, shared_client: FlaskClient, page_of: PageOf) -> None:
        page = Page(page_of(shared_client))
        needed = [one["src"] for one in page.all("script") + page.all("img")] + [
            one["href"] for one in page.all("link")
        ]
        for path in needed:
            with shared_client.get(path) as answer:
                assert answer.status_code == 200, path

    def test_it_reads_well_on_a_phone_and_in_the_dark(self, shared_client: FlaskClient, page_of: PageOf) -> None:
        page = Page(page_of(shared_client))
        assert page.named("viewport")["content"] == "width=device-width, initial-scale=1"
        assert page.named("color-scheme")["content"] == "light dark"
        assert page.all("html") == [{"lang": "en"}]

    def test_every_field_has_a_label(self, shared_client: FlaskClient, page_of: PageOf) -> None:
        page = Page(page_of(shared_client))
        labelled = {label["for"] for label in page.all("label")}
        fields = [one for tag, one in page.elements if tag in {"input", "select"} and one.get("type") != "hidden"]
        assert {one["id"] for one in fields} <= labelled

    def test_no_cache_keeps_it(self, shared_client: FlaskClient, page_of: PageOf) -> None:
        answer = page_of(shared_client)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers


# Headers.

PAGE_CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
Ask = Callable[[FlaskClient], TestResponse]


def ranged(value: str) -> Ask:
    """A download with a Range."""
    return lambda client: client.get(Shared(client).link, headers={"Range": value})


CONTENT: dict[str, Ask] = {
    "file": lambda client: client.get(Shared(client).link),
    "hostile file": lambda client: client.get(Shared(client, file(b"<script>", "a.html", "text/html")).link),
    "empty file": lambda client: client.get(Shared(client, file(b"")).link),
    "head": lambda client: client.head(Shared(client).link),
    "part": ranged("bytes=1-2"),
    "impossible part": ranged("bytes=99-"),
    "not modified": lambda client: client.get(Shared(client).link, headers={"If-None-Match": "*"}),
    "one of several": lambda client: client.get(Shared(client, file(b"1"), file(b"2")).link + "/1/"),
    "zip": lambda client: client.get(Shared(client, file(b"1"), file(b"2")).link + ".zip"),
}
PLAIN: dict[str, Ask] = {
    "receipt": lambda client: client.put("/a", data=b"x"),
    "redirecting receipt": lambda client: client.post("/", **form(file(b"x"))),
    "receipt in json": lambda client: sent(client, file(b"x")),
    "list": lambda client: client.get(Shared(client, file(b"1"), file(b"2")).link),
    "list in json": lambda client: client.get(Shared(client, file(b"1"), file(b"2")).link, headers=JSON),
    "error": lambda client: client.get("/nothing"),
    "error in json": lambda client: client.get("/nothing", headers=JSON),
    "wrong method": lambda client: client.delete("/"),
    "wrong host": lambda client: client.get("/", headers={"Host": "example.org"}),
    "deleted": lambda client: client.post(Shared(client).delete),
    "sharex": lambda client: client.get("/sharex.sxcu"),
    "healthz": lambda client: client.get("/healthz"),
}


def fetched(path: str) -> Ask:
    """A download of one of our own files, which stays open unless it is closed."""

    def ask(client: FlaskClient) -> TestResponse:
        answer = client.get(path)
        assert answer.data
        answer.close()
        return answer

    return ask


KEPT: dict[str, Ask] = {
    "robots": lambda client: client.get("/robots.txt"),
    "icon": fetched("/favicon.ico"),
    "style": fetched("/static/style.css"),
    "script": fetched("/static/upload.js"),
}
FORMS: dict[str, Ask] = {
    **PAGES,
    "changed": lambda client: change(client, Shared(client).owner, "1h"),
    "options": lambda client: client.options("/"),
}
WITH_FORM = {"page: upload", "page: once", "plain: once"}
EVERY = {
    **{f"content: {name}": ask for name, ask in CONTENT.items()},
    **{f"plain: {name}": ask for name, ask in {**PLAIN, **KEPT}.items()},
    **{f"page: {name}": ask for name, ask in FORMS.items()},
}


@pytest.mark.parametrize("name", EVERY)
def test_every_answer_is_to_be_taken_as_it_is_called_and_told_to_nobody(shared_client: FlaskClient, name: str) -> None:
    headers = EVERY[name](shared_client).headers
    # Of a page with no-referrer a browser says `Origin: null`, also to the server that made it and looks at that.
    told = "strict-origin" if name in WITH_FORM else "no-referrer"
    wanted = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": told, "X-Robots-Tag": "noindex"}
    assert {name: headers.getlist(name) for name in wanted} == {name: [value] for name, value in wanted.items()}


@pytest.mark.parametrize("ask", EVERY.values(), ids=list(EVERY))
def test_no_answer_opens_itself_to_scripts_of_other_sites(shared_client: FlaskClient, ask: Ask) -> None:
    assert not [name for name, _ in ask(shared_client).headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", ["/", "/a.png", "/healthz"])
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_nor_when_a_browser_asks_for_it(shared_client: FlaskClient, method: str, path: str) -> None:
    headers = {"Origin": "http://localhost", "Access-Control-Request-Method": "PUT"}
    answer = shared_client.open(path, method=method, headers=headers)
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("ask", CONTENT.values(), ids=list(CONTENT))
def test_content_is_in_a_sandbox_and_may_be_shown_anywhere(shared_client: FlaskClient, ask: Ask) -> None:
    headers = ask(shared_client).headers
    assert headers.getlist("Content-Security-Policy") == ["sandbox"]
    assert headers.getlist("Cross-Origin-Resource-Policy") == ["cross-origin"]
    assert headers.getlist("Cache-Control") == ["private, no-cache, no-transform"]
    assert "Cross-Origin-Opener-Policy" not in headers


@pytest.mark.parametrize("ask", [*PLAIN.values(), *KEPT.values(), *FORMS.values()], ids=[*PLAIN, *KEPT, *FORMS])
def test_all_else_runs_nothing_that_is_not_ours(shared_client: FlaskClient, ask: Ask) -> None:
    headers = ask(shared_client).headers
    (policy,) = headers.getlist("Content-Security-Policy")
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives == PAGE_CSP
    assert headers.getlist("Cross-Origin-Resource-Policy") == ["same-origin"]


@pytest.mark.parametrize("ask", FORMS.values(), ids=list(FORMS))
def test_pages_share_their_window_with_no_other_site(shared_client: FlaskClient, ask: Ask) -> None:
    assert ask(shared_client).headers.getlist("Cross-Origin-Opener-Policy") == ["same-origin"]


@pytest.mark.parametrize("ask", [*PLAIN.values(), *FORMS.values()], ids=[*PLAIN, *FORMS])
def test_no_cache_keeps_what_may_hold_a_link(shared_client: FlaskClient, ask: Ask) -> None:
    assert ask(shared_client).headers.getlist("Cache-Control") == ["no-store"]


@pytest.mark.parametrize(
    ("ask", "kept"),
    list(zip(KEPT.values(), ["max-age=86400", *["public, max-age=3600"] * 3], strict=True)),
    ids=list(KEPT),
)
def test_caches_keep_what_is_the_same_for_all(shared_client: FlaskClient, ask: Ask, kept: str) -> None:
    assert ask(shared_client).headers.getlist("Cache-Control") == [kept]


@pytest.mark.parametrize("ask", EVERY.values(), ids=list(EVERY))
def test_no_answer_sets_a_cookie(shared_client: FlaskClient, ask: Ask) -> None:
    assert "Set-Cookie" not in ask(shared_client).headers


@pytest.mark.parametrize(
    "request_line",
    [
        b"GARBAGE",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.1\r\nNo colon",
        b"GET /%s HTTP/1.1" % (b"x" * 10_000),
        b"GET / HTTP/1.1\r\nX: %s" % (b"x" * 10_000),
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip",
        b"PUT / HTTP/1.1\r\nExpect: the impossible",
    ],
)
def test_what_never_reaches_the_pages_is_answered_alike(server: Server, request_line: bytes) -> None:
    with server.connect() as sock:
        sock.sendall(request_line + b"\r\n\r\n")
        answer = HTTPResponse(sock)
        answer.begin()
        body = answer.read()
    assert 400 <= answer.status < 505
    assert re.fullmatch(rb"[A-Z][^\n<>]+\.\n", body)
    assert {name: answer.headers.get_all(name) for name in PLAIN_HEADERS} == PLAIN_HEADERS


PLAIN_HEADERS = {
    "Content-Type": ["text/plain; charset=utf-8"],
    "X-Content-Type-Options": ["nosniff"],
    "Referrer-Policy": ["no-referrer"],
    "X-Robots-Tag": ["noindex"],
    "Content-Security-Policy": ["default-src 'none'; frame-ancestors 'none'"],
    "Cross-Origin-Resource-Policy": ["same-origin"],
    "Cache-Control": ["no-store"],
}
