"""The sealed door: what docs/http.md says of it, shown in this process, and on the wire where the wire matters.

`Documented` holds every answer against the OpenAPI document: an undocumented status or another shape fails the test.
"""

import itertools
import json
import logging
import os
import random
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests
from werkzeug.datastructures import Headers

from onekey import __version__, links
from onekey.app import App, create_app, sweep
from onekey.container import HEADER_SIZE, BytesSource, Opener
from onekey.parts import MAX_PART, container_size, most_chunks
from onekey.settings import LONGEST, Settings
from onekey.vault import MOST_OPENS
from onekey.web import api
from onekey.web.services import services_of
from tests.conftest import Clock
from tests.sealing import (
    API,
    JSON,
    Answer,
    Container,
    Door,
    HttpDoor,
    bearer,
    begin,
    finish,
    name_of,
    put,
    seal,
    spell,
    store,
)
from tests.servers import Server, curl, wait_for

MakeApp = Callable[..., App]
MakeServer = Callable[..., Server]
MIB, HOUR, DAY = 1 << 20, 3600, 86_400
SLICE = 1 << 16
"""Room is reserved in slices of so many bytes, so the last of a quota may stay free."""
ID = "0123456789abcdef" * 2
NOT_FOUND = (404, "not_found")
MARK = "Zq9mArKeDzQ"
SECRET = "сезам, open"
RULES = {(route.method, route.rule): route for route in api.ROUTES}
OWN = [(method, rule) for method, rule in RULES if RULES[method, rule].rights == ("owner",)]
OPENING = [("GET", "/index"), ("POST", "/open"), ("GET", "/content")]


@cache
def _validator(schema: str) -> jsonschema_rs.Validator:
    components = api.described()["components"]
    return jsonschema_rs.validator_for({**json.loads(schema), "components": components})


def assert_documented(method: str, path: str, answer: Answer) -> None:
    """Fails unless the OpenAPI document says that this operation may be answered so."""
    for described, operations in api.described()["paths"].items():
        if not re.fullmatch(re.sub(r"{\w+}", "[^/]+", described), path):
            continue
        operation = operations.get({"HEAD": "get"}.get(method, method.lower()))
        if operation is None or (answer.status == 404 and not re.search("[0-9a-f]{32}", path)):
            return
        assert str(answer.status) in operation["responses"], (method, path, answer)
        found = operation["responses"][str(answer.status)]
        if "$ref" in found:
            found = api.described()["components"]["responses"][str(answer.status)]
        if method != "HEAD" and JSON in found.get("content", {}):
            _validator(json.dumps(found["content"][JSON]["schema"])).validate(answer.json)


class Documented(Door):
    """A door of which every answer is held against the document."""

    def _send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        answer = super()._send(method, path, headers, body)
        assert_documented(method, path.partition("?")[0], answer)
        return answer

    def at(self, address: str) -> "Documented":
        """The same door for another client."""
        return Documented(self.app, address)


@pytest.fixture(scope="module")
def clock() -> Clock:
    """One clock for all tests of this module, which only ever set it forwards."""
    return Clock()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> App:
    """An application with no settings, for all tests that do not mind what others stored in it."""
    folder = tmp_path_factory.mktemp("app")
    return create_app(Settings.read({"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0"}), clock)


ADDRESSES = (f"10.0.{third}.{last}" for third in range(256) for last in range(256))


@pytest.fixture
def door(app: App) -> Documented:
    """The door of `app`, as a client of its own."""
    return Documented(app, next(ADDRESSES))


@pytest.fixture
def content(app: App) -> Path:
    """The CONTENT_DIR of `door`."""
    return services_of(app.extensions).settings.content_dir


@pytest.fixture
def own_content(tmp_path: Path) -> Path:
    """The CONTENT_DIR of `make_app`."""
    return tmp_path / "content"


def files(folder: Path, container: Container) -> list[Path]:
    """The files that hold the parts of a container, in order."""
    found = [path for path in (folder / "blobs" / container.id).glob("*") if path.is_file()]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def rows(folder: Path, table: str) -> list[Any]:
    """What is in a table of the database."""
    with closing(sqlite3.connect(f"file:{folder / 'onekey.db'}?mode=ro", uri=True)) as db:
        return sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=str)


def iso(seconds: float) -> str:
    """A time as the API spells it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def part(container: Container, number: int, mark: str | None = None) -> dict[str, Any]:
    """A part as the API tells of it."""
    return {**name_of(number, container.parts[number]), "mark": mark}


def owned(door: Door, container: Container) -> Any:
    """A share as its owner sees it."""
    answer = door.ask("GET", f"{container.share}/owner", container.by_owner)
    assert answer.status == 200, answer
    return answer.json


def change(door: Door, container: Container, **values: object) -> Answer:
    """The answer to a change of a share."""
    return door.ask("PATCH", f"{container.share}/owner", container.by_owner, json=values)


def take(door: Door, container: Container) -> str:
    """A lease of a limited share."""
    answer = door.ask("POST", f"{container.share}/open", container.by_access())
    assert answer.status == 200, answer
    assert isinstance(answer.json["lease"], str)
    return str(answer.json["lease"])


def read(door: Door, container: Container, lease: str | None = None, method: str = "GET", **headers: str) -> Answer:
    """The answer to a request for content."""
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return door.ask(method, f"{container.share}/content", {**container.by_access(lease), **spelled})


def at_once(*calls: Callable[[], Answer]) -> list[Answer]:
    """The answers to requests that are made at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


# What this server takes.


def test_info_tells_what_the_server_takes(door: Documented) -> None:
    assert door.ask("GET", "/info").json == {
        "version": __version__,
        "needs_secret": False,
        "max_upload_size": 4 << 30,
        "max_files": 1000,
        "max_part_size": 16 * MIB,
        "default_expires_in": None,
        "max_expires_in": None,
        "max_opens": MOST_OPENS,
        "lease_time": HOUR,
    }


def test_info_tells_what_is_set(make_app: MakeApp) -> None:
    set_here = {"MAX_UPLOAD_SIZE": "5 MiB", "MAX_FILES": "7", "MAX_EXPIRY": "2d", "LEASE_TIME": "10m"}
    told = Documented(make_app(UPLOAD_SECRETS=f"phone:{SECRET[:5]}", **set_here)).ask("GET", "/info").json
    assert {**told, "version": "", "max_part_size": 0, "max_opens": 0} == {
        "version": "",
        "needs_secret": True,
        "max_upload_size": 5 * MIB,
        "max_files": 7,
        "max_part_size": 0,
        "default_expires_in": 2 * DAY,
        "max_expires_in": 2 * DAY,
        "max_opens": 0,
        "lease_time": 600,
    }


# Uploads.


def test_what_was_sealed_and_uploaded_is_there_byte_for_byte(door: Documented) -> None:
    assert read(door, shared := store(door, seal())).body == shared.whole


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096, 3 * 4096 + 1, 6 * 4096])
def test_content_of_any_size_comes_back_through_index_and_content(door: Documented, size: int) -> None:
    shared = store(door, seal(os.urandom(size)))
    assert read(door, shared).body == shared.whole


def test_what_comes_back_opens_with_the_seed(door: Documented) -> None:
    content = os.urandom(20_000)
    shared = store(door, seal(content))
    opener = Opener(BytesSource(read(door, shared).body), shared.seed)
    assert b"".join(opener.range(0, len(content))) == content


def test_begin_answers_the_id_and_the_size_of_parts(door: Documented) -> None:
    shared = seal()
    answer = begin(door, shared)
    assert (answer.status, answer.json) == (201, {"id": shared.id, "max_part_size": MAX_PART})


def test_begin_answers_the_same_again_even_when_finished(door: Documented) -> None:
    shared = seal(expires_in=60, opens=3)
    first, again = begin(door, shared), begin(door, shared)
    store(door, shared)
    last = begin(door, shared)
    assert (again.status, again.body) == (last.status, last.body) == (first.status, first.body)


@pytest.mark.parametrize(
    "other",
    [
        {"part_chunks": 4},
        {"knock_hash": spell(bytes(32))},
        {"access_hash": spell(bytes(32))},
        {"owner_hash": spell(bytes(32))},
        {"header": spell(seal().header)},
        {"expires_in": 61},
        {"expires_in": None},
        {"opens": 4},
        {"opens": None},
    ],
    ids=lambda other: ",".join(other),
)
@pytest.mark.parametrize("state", ["open", "finished"])
def test_begin_with_other_values_is_409(door: Documented, other: dict[str, Any], state: str) -> None:
    shared = seal(expires_in=60, opens=3)
    begin(door, shared) if state == "open" else store(door, shared)
    answer = door.ask("POST", "/uploads", json={**shared.begin, **other})
    assert answer.error == (409, "taken")


def test_the_id_of_a_deleted_share_is_taken_for_ever(door: Documented) -> None:
    shared = store(door, seal())
    door.ask("DELETE", f"{shared.share}/owner", shared.by_owner)
    assert begin(door, shared).error == (409, "taken")


def test_the_id_of_an_upload_that_was_given_up_is_taken_for_ever(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    door.ask("DELETE", shared.upload, shared.by_owner)
    assert begin(door, shared).error == (409, "taken")


def test_begins_at_once_all_answer_the_same(door: Documented) -> None:
    shared = seal()
    answers = at_once(*[lambda: begin(door, shared)] * 4)
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}


def test_an_upload_without_terms_has_the_servers_default(make_app: MakeApp, clock: Clock) -> None:
    shared = seal()
    door = Documented(make_app(DEFAULT_EXPIRY="2h"))
    store(door, shared)
    assert owned(door, shared)["expires"] == iso(clock.now + 2 * HOUR)


def test_an_upload_that_says_null_lives_for_ever(make_app: MakeApp) -> None:
    door = Documented(make_app(DEFAULT_EXPIRY="2h"))
    assert owned(door, store(door, seal(expires_in=None)))["expires"] is None


@pytest.mark.parametrize("expires_in", [3601, None])
def test_an_upload_that_is_to_live_too_long_is_400(make_app: MakeApp, expires_in: int | None) -> None:
    door = Documented(make_app(MAX_EXPIRY="1h"))
    assert begin(door, seal(expires_in=expires_in)).error == (400, "bad_request")


def test_the_longest_life_is_taken(make_app: MakeApp) -> None:
    assert begin(Documented(make_app(MAX_EXPIRY="1h")), seal(expires_in=3600)).status == 201


def test_life_counts_from_the_finish_on(door: Documented, clock: Clock) -> None:
    shared = seal(expires_in=100)
    begin(door, shared)
    clock.now += 1000
    assert store(door, shared)
    assert owned(door, shared)["expires"] == iso(clock.now + 100)


def test_put_answers_what_is_stored_and_the_same_again(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    first, again = put(door, shared, 0), put(door, shared, 0)
    assert (first.status, first.json) == (200, part(shared, 0))
    assert again.body == first.body


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_parts_come_in_any_order(door: Documented, order: Sequence[int]) -> None:
    shared = seal()
    begin(door, shared)
    for number in order:
        put(door, shared, number)
    assert finish(door, shared).status == 200


def test_three_parts_come_at_once(door: Documented) -> None:
    shared = seal(os.urandom(100_000))
    begin(door, shared)
    with ThreadPoolExecutor(3) as pool:
        assert {answer.status for answer in pool.map(lambda n: put(door, shared, n), range(len(shared.parts)))} == {200}
    finish(door, shared)
    assert read(door, shared).body == shared.whole


def test_a_part_that_is_put_again_replaces_the_one_before(door: Documented, content: Path) -> None:
    shared = seal()
    begin(door, shared)
    door.ask("PUT", f"{shared.upload}/parts/0", shared.by_owner, data=b"something else")
    put(door, shared, 0)
    assert [file.read_bytes() for file in files(content, shared)] == [shared.parts[0]]


def test_two_puts_of_one_part_at_once_leave_one_of_them(door: Documented, content: Path) -> None:
    shared, path = seal(), f"/parts/{0}"
    begin(door, shared)
    at_once(
        *(
            lambda b=body: door.ask("PUT", shared.upload + path, shared.by_owner, data=b)
            for body in (b"a" * 9, b"b" * 9)
        )
    )
    told = door.ask("GET", shared.upload, shared.by_owner).json["parts"]
    assert [name_of(0, file.read_bytes()) for file in files(content, shared)] == [
        {name: each[name] for name in ("number", "size", "sha256")} for each in told
    ]


def test_a_look_tells_what_is_stored(door: Documented) -> None:
    shared = seal(expires_in=60, opens=2)
    begin(door, shared)
    put(door, shared, 2, {"X-Onekey-Mark": spell(b"m" * 16)})
    put(door, shared, 0)
    assert door.ask("GET", shared.upload, shared.by_owner).json == {
        "id": shared.id,
        "finished": False,
        "header": spell(shared.header),
        "part_chunks": 3,
        "parts": [part(shared, 0), part(shared, 2, spell(b"m" * 16))],
        "expires_in": 60,
        "opens": 2,
    }


def test_a_look_at_a_finished_upload_tells_so(door: Documented) -> None:
    shared = store(door, seal())
    told = door.ask("GET", shared.upload, shared.by_owner).json
    assert (told["finished"], told["parts"]) == (True, [part(shared, number) for number in range(3)])


def test_finish_answers_the_share_and_the_same_again(door: Documented, clock: Clock) -> None:
    shared = store(door, seal(expires_in=60, opens=2))
    answer = finish(door, shared)
    clock.now += 30
    told = {"id": shared.id, "size": len(shared.whole), "expires": iso(clock.now + 30), "opens": 2}
    assert (answer.status, answer.json) == (200, told)
    assert finish(door, shared).body == answer.body


def test_parts_may_be_named_in_any_order(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    for number in range(3):
        put(door, shared, number)
    named = list(reversed(shared.finish["parts"]))
    assert door.ask("POST", f"{shared.upload}/finish", shared.by_owner, json={"parts": named}).status == 200


def _missing(named: list[Any]) -> list[Any]:
    return named[:-1]


def _one_more(named: list[Any]) -> list[Any]:
    return [*named, {**named[-1], "number": len(named)}]


def _twice(named: list[Any]) -> list[Any]:
    return [*named, named[-1]]


def _another_sha256(named: list[Any]) -> list[Any]:
    return [{**named[0], "sha256": spell(bytes(32))}, *named[1:]]


def _another_size(named: list[Any]) -> list[Any]:
    return [{**named[0], "size": named[0]["size"] + 1}, *named[1:]]


@pytest.mark.parametrize("wrong", [_missing, _one_more, _twice, _another_sha256, _another_size])
def test_finish_with_other_parts_is_422_and_nothing_is_lost(door: Documented, wrong: Callable[[Any], Any]) -> None:
    shared = seal()
    begin(door, shared)
    for number in range(3):
        put(door, shared, number)
    named = wrong(shared.finish["parts"])
    answer = door.ask("POST", f"{shared.upload}/finish", shared.by_owner, json={"parts": named})
    assert answer.error == (422, "unprocessable")
    assert finish(door, shared).status == 200


@pytest.mark.parametrize("wrong", [_missing, _another_sha256, _another_size])
def test_finish_with_other_parts_afterwards_is_409(door: Documented, wrong: Callable[[Any], Any]) -> None:
    shared = store(door, seal())
    named = wrong(shared.finish["parts"])
    answer = door.ask("POST", f"{shared.upload}/finish", shared.by_owner, json={"parts": named})
    assert answer.error == (409, "not_open")


def _cut(shared: Container, number: int, size: int) -> Container:
    parts = list(shared.parts)
    parts[number] = parts[number][:size]
    return replace(shared, parts=tuple(parts))


def _swapped(shared: Container, first: int, second: int) -> Container:
    parts = list(shared.parts)
    parts[first], parts[second] = parts[second], parts[first]
    return replace(shared, parts=tuple(parts))


NO_CONTAINER: dict[str, Callable[[Container], Container]] = {
    "no part 0": lambda shared: replace(shared, parts=shared.parts[1:]),
    "another header": lambda shared: replace(shared, parts=(seal().header + shared.parts[0][96:], *shared.parts[1:])),
    "less than a header": lambda shared: _cut(shared, 0, 95),
    "a short part in the middle": lambda shared: _cut(shared, 1, 100),
    "parts that were swapped": lambda shared: _swapped(shared, 1, 2),
    "no trailer": lambda shared: _cut(shared, 2, len(shared.parts[2]) - 4),
    "a trailer that cannot be": lambda shared: replace(
        shared, parts=(*shared.parts[:2], shared.parts[2][:-4] + b"\xff" * 4)
    ),
    "empty parts": lambda shared: replace(shared, parts=(b"", b"")),
    "a part too many": lambda shared: replace(shared, parts=(*shared.parts, b"")),
    "all in one part": lambda shared: replace(shared, parts=(shared.whole,)),
}


@pytest.mark.parametrize("broken", NO_CONTAINER.values(), ids=NO_CONTAINER)
def test_what_is_no_container_is_422_and_can_be_mended(
    door: Documented, broken: Callable[[Container], Container]
) -> None:
    shared = seal()
    wrong = broken(shared)
    begin(door, shared)
    for number in range(len(wrong.parts)):
        put(door, wrong, number)
    assert finish(door, wrong).error == (422, "unprocessable")
    told = door.ask("GET", shared.upload, shared.by_owner).json
    assert told["parts"] == [part(wrong, number) for number in range(len(wrong.parts))]


def test_a_gap_between_parts_is_422(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    for number in (0, 2):
        put(door, shared, number)
    named = [part_ for part_ in shared.finish["parts"] if part_["number"] != 1]
    answer = door.ask("POST", f"{shared.upload}/finish", shared.by_owner, json={"parts": named})
    assert answer.error == (422, "unprocessable")


def test_finishes_at_once_all_answer_the_same(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    for number in range(3):
        put(door, shared, number)
    answers = at_once(*[lambda: finish(door, shared)] * 4)
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}


def test_a_part_after_the_finish_is_409_and_changes_nothing(door: Documented) -> None:
    shared = store(door, seal())
    answer = door.ask("PUT", f"{shared.upload}/parts/0", shared.by_owner, data=b"late")
    assert answer.error == (409, "not_open")
    assert read(door, shared).body == shared.whole


def test_giving_up_removes_what_was_stored(door: Documented, content: Path) -> None:
    shared = seal()
    begin(door, shared)
    put(door, shared, 0)
    answer = door.ask("DELETE", shared.upload, shared.by_owner)
    assert (answer.status, answer.body) == (204, b"")
    assert files(content, shared) == []


def test_an_upload_that_was_given_up_is_not_there(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    door.ask("DELETE", shared.upload, shared.by_owner)
    asked = [put(door, shared, 0), finish(door, shared), door.ask("DELETE", shared.upload, shared.by_owner)]
    assert [answer.error for answer in asked] == [NOT_FOUND] * 3


def test_a_finished_upload_cannot_be_given_up(door: Documented) -> None:
    shared = store(door, seal())
    assert door.ask("DELETE", shared.upload, shared.by_owner).error == (409, "not_open")


def test_an_upload_that_nothing_was_put_to_for_a_day_is_swept(door: Documented, clock: Clock) -> None:
    shared = seal()
    begin(door, shared)
    clock.now += DAY - 1
    put(door, shared, 0)
    clock.now += DAY - 1
    assert put(door, shared, 1).status == 200
    clock.now += DAY
    sweep(door.app)
    assert put(door, shared, 2).error == NOT_FOUND


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_mark_of_another_size_is_400(door: Documented, size: int) -> None:
    shared = seal()
    begin(door, shared)
    assert put(door, shared, 0, {"X-Onekey-Mark": spell(bytes(size))}).error == (400, "bad_request")


@pytest.mark.parametrize("mark", ["!", "A", "A" * 23, "A" * 22 + "==", "é" * 22, "A" * 5000])
def test_a_mark_that_is_no_base64url_is_400(door: Documented, mark: str) -> None:
    shared = seal()
    begin(door, shared)
    assert put(door, shared, 0, {"X-Onekey-Mark": mark}).error == (400, "bad_request")


def test_a_mark_goes_with_the_part_that_is_replaced(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    put(door, shared, 0, {"X-Onekey-Mark": spell(bytes(16))})
    assert put(door, shared, 0).json["mark"] is None


@pytest.mark.parametrize("header", [{"Content-Encoding": "gzip"}, {"Content-Range": "bytes 0-9/100"}], ids=str)
def test_a_part_that_is_not_sent_as_it_is_and_whole_is_400(door: Documented, header: dict[str, str]) -> None:
    shared = seal()
    begin(door, shared)
    assert put(door, shared, 0, header).error == (400, "bad_request")


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"]
)
def test_a_part_is_stored_whatever_its_type_is_said_to_be(door: Documented, media: str) -> None:
    shared = seal()
    begin(door, shared)
    assert put(door, shared, 0, {"Content-Type": media}).json == part(shared, 0)


@pytest.mark.parametrize("number", ["00", "01", "-1", "1000000", "x", "", "0x1", "1.0", "٣"])
def test_what_is_no_number_of_a_part_is_404(door: Documented, number: str) -> None:
    shared = seal()
    begin(door, shared)
    answer = door.ask("PUT", f"{shared.upload}/parts/{number}", shared.by_owner, data=b"x")
    assert answer.error == NOT_FOUND


def test_parts_that_no_upload_could_need_are_422(make_app: MakeApp) -> None:
    door, shared = Documented(make_app(MAX_UPLOAD_SIZE="1 MiB")), seal()
    begin(door, shared)
    answer = door.ask("PUT", f"{shared.upload}/parts/999999", shared.by_owner, data=b"x")
    assert answer.error == (422, "unprocessable")


@pytest.mark.parametrize("chunk_size", [4096, 1 << 18, 1 << 22])
def test_as_many_chunks_a_part_as_fit_are_taken_and_no_more(door: Documented, chunk_size: int) -> None:
    shared, most = seal(b"", chunk_size=chunk_size), most_chunks(chunk_size)
    assert begin(door, replace(shared, part_chunks=most + 1)).error == (422, "unprocessable")
    assert begin(door, replace(shared, part_chunks=most)).status == 201


@pytest.mark.parametrize("spoil", [0, 4, 5, 6, 7, 8, 9, 11], ids=lambda at: f"byte {at}")
def test_a_header_of_no_container_is_422(door: Documented, spoil: int) -> None:
    shared = seal()
    header = bytearray(shared.header)
    header[spoil] ^= 0xFF
    assert begin(door, replace(shared, header=bytes(header))).error == (422, "unprocessable")


class Stream:
    """A body that comes in pieces: some bytes, and then an error or the end."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.given, self._size, self._error = 0, size, error

    def read(self, size: int = -1) -> bytes:
        """At most `size` of the bytes."""
        count = min(size if size >= 0 else self._size, self._size - self.given)
        if not count and self._error:
            raise self._error
        self.given += count
        return bytes(count)


def stream(
    door: Door, method: str, path: str, headers: Mapping[str, str], body: Stream, size: int | None = None
) -> Answer:
    """The answer to a request whose body is read from a stream; `size` is what it says that this has."""
    length = {"wsgi.input_terminated": True} if size is None else {"CONTENT_LENGTH": str(size)}
    said: dict[str, Any] = {"wsgi.input": body, **length}
    with door.app.test_client() as client:
        got = client.open(API + path, method=method, headers=headers, environ_overrides=said)
        answer = Answer(got.status_code, got.headers, got.data)
    assert_documented(method, API + path, answer)
    return answer


def streamed(door: Door, shared: Container, body: Stream, size: int | None = None) -> Answer:
    """The answer to part 0 whose body is read from a stream."""
    return stream(door, "PUT", f"{shared.upload}/parts/0", shared.by_owner, body, size)


def test_the_largest_part_is_taken(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    assert streamed(door, shared, Stream(MAX_PART)).json["size"] == MAX_PART


def test_a_part_that_says_that_it_is_too_large_is_413_before_any_of_it_is_read(door: Documented) -> None:
    shared, body = seal(), Stream(MAX_PART + 1)
    begin(door, shared)
    assert streamed(door, shared, body, MAX_PART + 1).error == (413, "too_large")
    assert body.given == 0


def test_a_part_that_turns_out_too_large_is_413_and_nothing_of_it_stays(door: Documented, content: Path) -> None:
    shared, body = seal(), Stream(1 << 40)
    begin(door, shared)
    assert streamed(door, shared, body).error == (413, "too_large")
    assert body.given <= MAX_PART + MIB
    assert files(content, shared) == []


def test_a_body_that_comes_too_slowly_is_408_and_nothing_of_it_stays(door: Documented, content: Path) -> None:
    shared = seal()
    begin(door, shared)
    assert streamed(door, shared, Stream(100_000, TimeoutError())).error == (408, "too_slow")
    assert files(content, shared) == []


def test_a_replacement_that_fails_leaves_what_was_there(door: Documented) -> None:
    shared = seal()
    begin(door, shared)
    put(door, shared, 0)
    streamed(door, shared, Stream(100_000, TimeoutError()))
    assert door.ask("GET", shared.upload, shared.by_owner).json["parts"] == [part(shared, 0)]


# Bodies on the wire.


@pytest.mark.parametrize("chunked", [False, True], ids=["a known length", "chunked"])
def test_parts_come_with_a_length_or_in_chunks(server: Server, chunked: bool) -> None:
    door, shared = HttpDoor(server.url), seal(os.urandom(300_000), part_chunks=40)
    begin(door, shared)
    for number, body in enumerate(shared.parts):
        sent: Any = iter([body[:1000], body[1000:]]) if chunked else body
        url = f"{server.url}{API}{shared.upload}/parts/{number}"
        assert requests.put(url, data=sent, headers=shared.by_owner, timeout=60).json() == part(shared, number)
    assert finish(door, shared).status == 200


def half(shared: Container, chunked: bool) -> bytes:
    """The first half of a request that puts a part of 1 MiB."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MIB}"
    head = f"PUT {API}{shared.upload}/parts/0 HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n"
    shown = "".join(f"{name}: {value}\r\n" for name, value in shared.by_owner.items())
    return f"{head}{shown}\r\n".encode() + (b"80000\r\n" if chunked else b"") + bytes(MIB // 2)


@pytest.mark.parametrize("chunked", [False, True], ids=["a known length", "chunked"])
def test_a_client_that_goes_away_in_the_middle_of_a_part_leaves_nothing(server: Server, chunked: bool) -> None:
    door, shared = HttpDoor(server.url), seal()
    begin(door, shared)
    with closing(server.connect()) as connection:
        connection.sendall(half(shared, chunked))
        wait_for(lambda: files(server.content, shared))
    wait_for(lambda: not files(server.content, shared))
    assert door.ask("GET", shared.upload, shared.by_owner).json["parts"] == []
    store(door, shared)


def test_a_part_that_stalls_on_the_wire_is_408(make_server: MakeServer) -> None:
    server, shared = make_server(STALL_TIME="1s", WORKERS="1"), seal()
    begin(HttpDoor(server.url), shared)
    with closing(server.connect()) as known, closing(server.connect()) as chunked:
        known.sendall(half(shared, chunked=False))
        chunked.sendall(half(shared, chunked=True))
        for connection in (known, chunked):
            with connection.makefile("rb") as answer:
                assert answer.readline().split()[1] == b"408"
                assert b'"too_slow"' in answer.read()
    assert files(server.content, shared) == []


# Who may upload.


def wrong(number: int) -> dict[str, str]:
    """A wrong upload secret, another for each number."""
    return {"X-Onekey-Secret": f"wrong {number}"}


def as_header(secret: str) -> str:
    """A text of any characters, as a header holds its UTF-8."""
    return secret.encode().decode("latin-1")


SECRETS = {"UPLOAD_SECRET": SECRET, "UPLOAD_SECRETS": "phone:a-phone,laptop:a-laptop"}


@pytest.mark.parametrize("header", ["X-Onekey-Secret", "X-Wonkey-Secret", "x-onekey-secret"])
@pytest.mark.parametrize("secret", [SECRET, "a-phone", "a-laptop"])
def test_every_upload_secret_opens_in_either_header(make_app: MakeApp, header: str, secret: str) -> None:
    assert begin(Documented(make_app(**SECRETS)), seal(), {header: as_header(secret)}).status == 201


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"X-Onekey-Secret": ""},
        {"X-Onekey-Secret": "phone"},
        {"X-Onekey-Secret": "phone:a-phone"},
        {"X-Onekey-Secret": "A-PHONE"},
        {"X-Onekey-Secret": "a-phon"},
        {"X-Onekey-Secret": "a-phone,a-laptop"},
        {"X-Onekey-Secret": "a-phone", "X-Wonkey-Secret": "wrong"},
        {"Authorization": "Bearer a-phone"},
        {"X-Onekey-Secret": "\xff\xfe"},
    ],
    ids=str,
)
def test_without_a_right_secret_an_upload_is_403(make_app: MakeApp, shown: dict[str, str]) -> None:
    assert begin(Documented(make_app(**SECRETS)), seal(), shown).error == (403, "forbidden")


def test_a_begin_that_is_repeated_needs_the_secret_too(make_app: MakeApp) -> None:
    door, shared = Documented(make_app(**SECRETS)), seal()
    begin(door, shared, {"X-Onekey-Secret": "a-phone"})
    assert begin(door, shared).error == (403, "forbidden")


def test_an_upload_that_was_begun_goes_on_when_its_secret_is_withdrawn(make_app: MakeApp) -> None:
    shared, shown = seal(), {"X-Onekey-Secret": "a-phone"}
    assert begin(Documented(make_app(**SECRETS)), shared, shown).status == 201
    door = Documented(make_app(UPLOAD_SECRETS="laptop:a-laptop"))
    assert begin(door, seal(), shown).error == (403, "forbidden")
    assert {put(door, shared, number).status for number in range(3)} == {200}
    assert finish(door, shared).status == 200


def test_where_no_secret_is_needed_any_will_do(door: Documented) -> None:
    assert [begin(door, seal(), wrong(number)).status for number in range(12)] == [201] * 12


def form(secret: str) -> tuple[dict[str, str], bytes]:
    """A form of the direct door with the secret in a field."""
    fields = [f'name="secret"\r\n\r\n{secret}', 'name="file"; filename="a"\r\n\r\nx']
    body = "".join(f"--b\r\nContent-Disposition: form-data; {field}\r\n" for field in fields) + "--b--\r\n"
    return {"Content-Type": "multipart/form-data; boundary=b", "Accept": JSON}, body.encode()


def show_field(door: Door, secret: str) -> Answer:
    """The answer to an upload at the direct door with the secret in a field."""
    headers, body = form(secret)
    return door.ask_anywhere("POST", "/", headers, data=body)


def show_header(door: Door, secret: str) -> Answer:
    """The answer to an upload at the direct door with the secret in a header."""
    headers = {"X-Onekey-Secret": as_header(secret), "Accept": JSON}
    return door.ask_anywhere("PUT", "/a.txt", headers, data=b"x")


def show_sealed(door: Door, secret: str) -> Answer:
    """The answer to an upload that begins at the sealed door."""
    return begin(door, seal(), {"X-Onekey-Secret": as_header(secret)})


SHOWN = [show_field, show_header, show_sealed]
Show = Callable[[Door, str], Answer]


@pytest.mark.parametrize("then", SHOWN)
@pytest.mark.parametrize("show", SHOWN)
def test_the_eleventh_wrong_secret_within_a_minute_is_429(make_app: MakeApp, show: Show, then: Show) -> None:
    door = Documented(make_app(**SECRETS))
    assert [show(door, f"wrong {number}").error for number in range(10)] == [(403, "forbidden")] * 10
    answer = then(door, "wrong 10")
    assert (answer.error, answer.headers["Retry-After"]) == ((429, "too_many"), "60")


@pytest.mark.parametrize("show", SHOWN)
def test_the_right_secret_is_429_too_until_the_minute_is_over(make_app: MakeApp, clock: Clock, show: Show) -> None:
    door = Documented(make_app(**SECRETS))
    for number in range(10):
        begin(door, seal(), wrong(number))
    clock.now += 59
    answer = show(door, SECRET)
    assert (answer.error, answer.headers["Retry-After"]) == ((429, "too_many"), "1")
    clock.now += 1
    assert show(door, SECRET).status in {201, 303}


def test_other_clients_are_not_slowed_down(make_app: MakeApp) -> None:
    door = Documented(make_app(**SECRETS))
    for number in range(11):
        begin(door, seal(), wrong(number))
    assert begin(door.at("198.51.100.2"), seal(), {"X-Onekey-Secret": "a-phone"}).status == 201


@pytest.mark.parametrize("secret", ["wrong", "falsch ß", "неверно"])
def test_the_same_wrong_secret_counts_once_at_all_doors(make_app: MakeApp, secret: str) -> None:
    door = Documented(make_app(**SECRETS))
    for number in range(9):
        begin(door, seal(), wrong(number))
    assert {show(door, secret).status for show in SHOWN for _ in range(3)} == {403}


def test_a_right_secret_is_never_counted(make_app: MakeApp) -> None:
    door = Documented(make_app(**SECRETS))
    assert {begin(door, seal(), {"X-Onekey-Secret": "a-phone"}).status for _ in range(12)} == {201}


def test_without_any_secret_nothing_is_counted(make_app: MakeApp) -> None:
    door = Documented(make_app(**SECRETS))
    assert {begin(door, seal()).status for _ in range(12)} == {403}
    assert begin(door, seal(), {"X-Onekey-Secret": "a-phone"}).status == 201


def test_wrong_secrets_at_once_are_ten_in_all(make_app: MakeApp) -> None:
    door = Documented(make_app(**SECRETS))
    answers = at_once(*(lambda n=n: begin(door, seal(b""), wrong(n)) for n in range(16)))
    assert sorted(answer.status for answer in answers) == [403] * 10 + [429] * 6


SITES: list[tuple[dict[str, str], int]] = [
    ({}, 201),
    ({"Sec-Fetch-Site": "same-origin"}, 201),
    ({"Sec-Fetch-Site": "none"}, 201),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
    ({"Origin": "http://localhost"}, 201),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
]


@pytest.mark.parametrize(("headers", "status"), SITES, ids=str)
def test_an_upload_from_another_sites_page_is_403(door: Documented, headers: dict[str, str], status: int) -> None:
    assert begin(door, seal(), headers).status == status


def test_with_the_secret_an_upload_may_come_from_anywhere(make_app: MakeApp) -> None:
    shown = {"X-Onekey-Secret": "a-phone", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert begin(Documented(make_app(**SECRETS)), seal(), shown).status == 201


# How much, and how many.


def begin_many(door: Door, count: int, headers: Mapping[str, str] | None = None) -> list[Container]:
    """Uploads that were begun."""
    pattern, begun = seal(b""), []
    for _ in range(count):
        begun.append(replace(pattern, seed=links.new_seed()))
        assert begin(door, begun[-1], headers).status == 201
    return begun


def test_the_hundred_and_first_unfinished_upload_of_a_client_is_429(door: Documented) -> None:
    begun = begin_many(door, 100)
    answer = begin(door, seal())
    assert answer.error == (429, "too_many")
    assert int(answer.headers["Retry-After"]) > 0
    assert begin(door, begun[0]).status == 201
    assert begin(door.at("198.51.100.2"), seal()).status == 201
    assert door.ask("DELETE", begun[0].upload, begun[0].by_owner).status == 204
    assert begin(door, seal()).status == 201


def test_unfinished_uploads_are_counted_by_secret_where_there_is_one(make_app: MakeApp) -> None:
    door = Documented(make_app(**SECRETS))
    begin_many(door, 100, {"X-Onekey-Secret": "a-phone"})
    assert begin(door.at("198.51.100.2"), seal(), {"X-Onekey-Secret": "a-phone"}).error == (429, "too_many")
    assert begin(door, seal(), {"X-Onekey-Secret": "a-laptop"}).status == 201


def test_a_share_that_fits_the_quota_is_taken(make_app: MakeApp) -> None:
    shared = seal()
    store(Documented(make_app(MAX_STORED_BYTES=str(len(shared.whole) + SLICE))), shared)


def test_a_part_over_the_quota_is_507_and_nothing_of_it_stays(make_app: MakeApp, own_content: Path) -> None:
    door, shared = Documented(make_app(MAX_STORED_BYTES="1000")), seal()
    begin(door, shared)
    assert put(door, shared, 0).error == (507, "no_room")
    assert files(own_content, shared) == []


def test_what_was_stored_before_the_quota_was_full_is_not_lost(make_app: MakeApp) -> None:
    first, shared = seal(bytes(4 * SLICE)), seal(bytes(4 * SLICE), part_chunks=16)
    door = Documented(make_app(MAX_STORED_BYTES=str(len(first.whole) + 3 * SLICE)))
    store(door, first)
    begin(door, shared)
    told = [put(door, shared, number).status for number in range(len(shared.parts))]
    assert (told[0], told[-1]) == (200, 507)
    door.ask("DELETE", f"{first.share}/owner", first.by_owner)
    assert [put(door, shared, number).status for number in range(len(told)) if told[number] == 507][-1] == 200
    assert finish(door, shared).status == 200
    assert read(door, shared).body == shared.whole


def test_a_part_that_replaces_another_counts_once(make_app: MakeApp) -> None:
    shared = seal()
    door = Documented(make_app(MAX_STORED_BYTES=str(len(shared.whole) + 2 * SLICE)))
    begin(door, shared)
    assert {put(door, shared, 0).status for _ in range(5)} == {200}
    store(door, shared)


def test_parts_put_at_once_never_exceed_the_quota(make_app: MakeApp, own_content: Path) -> None:
    shared = seal(bytes(16 * SLICE), part_chunks=15)
    door = Documented(make_app(MAX_STORED_BYTES=str(5 * SLICE)))
    begin(door, shared)
    answers = at_once(*(lambda n=n: put(door, shared, n) for n in range(12)))
    assert {answer.status for answer in answers} == {200, 507}
    assert 0 < sum(file.stat().st_size for file in files(own_content, shared)) <= 5 * SLICE


def test_a_part_that_did_not_arrive_takes_no_room(make_app: MakeApp) -> None:
    door, shared = Documented(make_app(MAX_STORED_BYTES=str(2 * SLICE))), seal()
    begin(door, shared)
    told = [streamed(door, shared, Stream(SLICE, TimeoutError())).status for _ in range(5)]
    assert (told, put(door, shared, 0).status) == ([408] * 5, 200)


def test_without_free_space_a_part_is_507(make_app: MakeApp) -> None:
    door, shared = Documented(make_app(MIN_FREE_SPACE="100000 TiB")), seal()
    assert begin(door, shared).status == 201
    assert put(door, shared, 0).error == (507, "no_room")


def test_more_than_an_upload_may_hold_is_413(make_app: MakeApp, own_content: Path) -> None:
    door, shared, size = Documented(make_app(MAX_UPLOAD_SIZE="4 MiB")), seal(), 4 * MIB
    most = container_size(4 * MIB, 4096)
    begin(door, shared)
    for number in range(most // size):
        assert door.ask("PUT", f"{shared.upload}/parts/{number}", shared.by_owner, data=bytes(size)).status == 200
    answer = door.ask("PUT", f"{shared.upload}/parts/{most // size}", shared.by_owner, data=bytes(size))
    assert answer.error == (413, "too_large")
    assert len(files(own_content, shared)) == most // size


@pytest.mark.parametrize(("size", "status"), [(10_000, 200), (10_001, 413)])
def test_a_share_holds_as_much_content_as_is_set_and_no_more(make_app: MakeApp, size: int, status: int) -> None:
    door, shared = Documented(make_app(MAX_UPLOAD_SIZE="10000")), seal(bytes(size))
    begin(door, shared)
    for number in range(len(shared.parts)):
        put(door, shared, number)
    assert finish(door, shared).status == status


# Who is a client.

HOPS: list[tuple[str, str, list[str], str, list[str], bool]] = [
    # PROXY_HOPS, then address and X-Forwarded-For of two requests, and whether they come from one client
    ("0", "203.0.113.1", [], "203.0.113.1", [], True),
    ("0", "203.0.113.1", [], "203.0.113.2", [], False),
    ("0", "203.0.113.1", ["198.51.100.1"], "203.0.113.1", ["198.51.100.2"], True),
    ("0", "203.0.113.1", ["198.51.100.1"], "203.0.113.2", ["198.51.100.1"], False),
    ("1", "203.0.113.1", ["198.51.100.1"], "203.0.113.2", ["198.51.100.1"], True),
    ("1", "203.0.113.1", ["198.51.100.1"], "203.0.113.1", ["198.51.100.2"], False),
    ("1", "203.0.113.1", ["9.9.9.9, 198.51.100.1"], "203.0.113.1", ["8.8.8.8,198.51.100.1"], True),
    ("1", "203.0.113.1", ["198.51.100.1, 9.9.9.9"], "203.0.113.1", ["198.51.100.1, 8.8.8.8"], False),
    ("1", "203.0.113.1", ["9.9.9.9", "198.51.100.1"], "203.0.113.1", ["198.51.100.1"], True),
    ("1", "203.0.113.1", [" \t198.51.100.1 \t"], "203.0.113.1", ["198.51.100.1"], True),
    ("1", "203.0.113.1", [], "203.0.113.1", [], True),
    ("1", "203.0.113.1", [], "203.0.113.2", [], False),
    ("1", "203.0.113.1", ["unknown"], "203.0.113.2", ["unknown"], True),
    ("1", "203.0.113.1", ["2001:db8::1"], "203.0.113.1", ["2001:db8::ffff:1"], True),
    ("1", "203.0.113.1", ["2001:db8::1"], "203.0.113.1", ["2001:0DB8:0:0:1::1"], True),
    ("1", "203.0.113.1", ["2001:db8::1"], "203.0.113.1", ["2001:db8:0:1::1"], False),
    ("1", "203.0.113.1", ["::ffff:198.51.100.1"], "203.0.113.1", ["198.51.100.1"], True),
    ("1", "203.0.113.1", ["::ffff:198.51.100.1"], "203.0.113.1", ["::ffff:198.51.100.2"], False),
    ("1", "203.0.113.1", ["fe80::1%eth0"], "203.0.113.1", ["fe80::2%eth1"], True),
    ("0", "2001:db8::1", [], "2001:db8::2", [], True),
    ("2", "203.0.113.1", ["198.51.100.1, 10.0.0.1"], "203.0.113.1", ["198.51.100.1, 10.0.0.2"], True),
    ("2", "203.0.113.1", ["198.51.100.1", "10.0.0.1"], "203.0.113.1", ["9.9.9.9, 198.51.100.1, 10.0.0.2"], True),
    ("2", "203.0.113.1", ["198.51.100.1, 10.0.0.1"], "203.0.113.1", ["198.51.100.2, 10.0.0.1"], False),
    ("2", "203.0.113.1", ["198.51.100.1"], "203.0.113.1", ["198.51.100.2"], True),
    ("2", "203.0.113.1", ["198.51.100.1"], "203.0.113.2", ["198.51.100.1"], False),
]


@pytest.mark.parametrize(("hops", "address", "told", "other_address", "other_told", "same"), HOPS)
def test_clients_are_told_apart_by_the_hop_that_is_trusted(
    make_app: MakeApp, hops: str, address: str, told: list[str], other_address: str, other_told: list[str], same: bool
) -> None:
    door = Documented(make_app(UPLOAD_SECRET="right", PROXY_HOPS=hops), address)
    forwarded = [("X-Forwarded-For", value) for value in told]
    for number in range(11):
        door.ask("POST", "/uploads", [*wrong(number).items(), *forwarded], json=seal(b"").begin)
    right = [("X-Onekey-Secret", "right"), *[("X-Forwarded-For", value) for value in other_told]]
    answer = door.at(other_address).ask("POST", "/uploads", right, json=seal(b"").begin)
    assert answer.status == (429 if same else 201)


JUNK = ["", ",", ",,,", "\xff\xfe", "a" * 5000, "1" * 5000, "::" * 90, "1.2.3.4, ", "%", "/64", "1.2.3.4/24"]


@pytest.mark.parametrize("hops", ["0", "1", "2"])
def test_junk_in_x_forwarded_for_is_no_error(make_app: MakeApp, hops: str) -> None:
    door = Documented(make_app(UPLOAD_SECRET="right", PROXY_HOPS=hops))
    told = [begin(door, seal(b""), {**wrong(1), "X-Forwarded-For": junk}).error for junk in JUNK]
    assert told == [(403, "forbidden")] * len(JUNK)


# Knocking.


def test_who_knocks_sees_what_a_password_needs_and_not_the_commitment(door: Documented, clock: Clock) -> None:
    shared = store(door, seal(password="pass", opens=2, expires_in=60))
    answer = door.ask("GET", shared.share, shared.by_knock)
    assert (answer.status, answer.json) == (
        200,
        {
            "id": shared.id,
            "header": spell(shared.header[:64]),
            "size": len(shared.whole),
            "expires": iso(clock.now + 60),
            "opens_limited": True,
        },
    )


@dataclass(frozen=True)
class World:
    """A server with a share of every kind, whose clients may have nothing but the blob ids."""

    door: Door
    folder: Path
    shares: Mapping[str, Container]
    other: Container


KINDS = ["plain", "password", "limited", "limited, password", "leased", "sealed only", "used up", "expired", "deleted"]
KINDS += ["unfinished", "given up", "swept"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A server with a share of every kind."""
    folder, clock = tmp_path_factory.mktemp("world"), Clock()
    app = create_app(Settings.read({"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0"}), clock)
    door = Door(app)

    def used_up() -> Container:
        shared = store(door, seal(opens=1))
        assert read(door, shared, take(door, shared)).body == shared.whole
        return shared

    def leased() -> Container:
        shared = store(door, seal(opens=1))
        take(door, shared)
        return shared

    def deleted() -> Container:
        shared = store(door, seal())
        assert door.ask("DELETE", f"{shared.share}/owner", shared.by_owner).status == 204
        return shared

    def begun() -> Container:
        shared = seal()
        assert begin(door, shared).status == 201
        assert put(door, shared, 0).status == 200
        return shared

    def given_up() -> Container:
        shared = begun()
        assert door.ask("DELETE", shared.upload, shared.by_owner).status == 204
        return shared

    shares = {"swept": used_up()}
    sweep_for(door, clock, 28)
    shares |= {"used up": used_up(), "expired": store(door, seal(expires_in=60))}
    clock.now += 2 * HOUR
    shares |= {
        "plain": store(door, seal()),
        "password": store(door, seal(password="pass")),
        "limited": store(door, seal(opens=2)),
        "limited, password": store(door, seal(opens=2, password="pass")),
        "leased": leased(),
        "sealed only": store(door, seal(sealed_only=True)),
        "deleted": deleted(),
        "unfinished": begun(),
        "given up": given_up(),
    }
    return World(door, folder, shares, store(door, seal(opens=2, password="pass")))


def strangers(world: World) -> Iterator[dict[str, str]]:
    """Headers of who has only the blob id, some of it right for another share."""
    other, draw = world.other, random.Random(1)
    yield from ({}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}, {"X-Onekey-Mark": spell(bytes(16))})
    for bad in ("", "Bearer", "Bearer ", "Bearer !", "Basic eDp4", "Bearer \xe9", f"Bearer {'A' * 5000}", "x y z"):
        yield {"Authorization": bad}
    yield from (bearer(draw.randbytes(size)) for size in (0, 16, 24, 32, 33))
    yield from (other.by_knock, other.by_owner, other.by_access(), other.by_access(spell(draw.randbytes(24))))
    for name, sizes in {"X-Onekey-Knock": (0, 16, 17), "X-Onekey-Lease": (0, 24, 25)}.items():
        yield from ({**bearer(draw.randbytes(32)), name: spell(draw.randbytes(size))} for size in sizes)
        yield {**bearer(draw.randbytes(32)), name: "\xe9" * 300}


def bodies(rule: str) -> list[dict[str, Any]]:
    """Bodies to send, as arguments of `ask`: none, right ones and wrong ones."""
    if rule.endswith("/parts/{number}"):
        return [{"data": b"a part"}]
    if rule.endswith(("/finish", "/owner")):
        return [{"data": b"{"}, {"json": {"parts": [name_of(0, b"")]}}, {"json": {"opens": 1, "expires_in": None}}]
    return [{}]


RULES_OF_IDS = sorted({rule for _, rule in RULES if "{id}" in rule})
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MKCOL"]


def seen(world: World, rule: str, shared: str) -> list[tuple[str, object, int, object, bytes]]:
    """All that who has only a blob id gets to see of it at an address."""
    found: list[tuple[str, object, int, object, bytes]] = []
    path = rule.replace("{id}", shared).replace("{number}", "0")
    for method in METHODS:
        shown = list(strangers(world)) if (method, rule) in RULES else [{}]
        sent = bodies(rule) if (method, rule) in RULES else [{}]
        for headers, body in itertools.product(shown, sent):
            answer = world.door.ask(method, path, headers, **body)
            kept = [(name, value) for name, value in answer.headers if name != "Date"]
            found.append((method, headers, answer.status, kept, answer.body))
    return found


@pytest.fixture(scope="module")
def unknown(world: World) -> Callable[[str], object]:
    """What is seen of an id that never was."""
    return cache(lambda rule: seen(world, rule, random.Random(2).randbytes(16).hex()))


@pytest.mark.parametrize("rule", RULES_OF_IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_who_has_only_the_blob_id_cannot_tell_that_there_is_a_share(
    world: World, unknown: Callable[[str], object], kind: str, rule: str
) -> None:
    assert seen(world, rule, world.shares[kind].id) == unknown(rule)


def test_who_has_only_the_blob_id_changes_nothing(world: World) -> None:
    def state() -> object:
        return [rows(world.folder, table) for table in ("shares", "parts", "leases", "guesses", "tombstones")]

    before = state()
    for kind, rule in itertools.product(["limited, password", "leased", "unfinished"], RULES_OF_IDS):
        seen(world, rule, world.shares[kind].id)
    assert state() == before


def test_after_a_stranger_tried_a_share_is_as_it_was(world: World) -> None:
    for kind, rule in itertools.product(["plain", "limited, password"], RULES_OF_IDS):
        seen(world, rule, world.shares[kind].id)
    limited = world.shares["limited, password"]
    assert owned(world.door, limited)["opened"] == 0
    assert read(world.door, limited, take(world.door, limited)).body == limited.whole
    assert owned(world.door, limited)["opened"] == 1
    assert read(world.door, world.shares["plain"]).body == world.shares["plain"].whole


@pytest.mark.parametrize("path", ["", "/index", "/open", "/content"])
@pytest.mark.parametrize("proof", ["access", "owner", "id"])
def test_a_knock_is_nothing_else(door: Documented, proof: str, path: str) -> None:
    shared = store(door, seal(password="pass"))
    tokens = {"access": shared.access, "owner": shared.owner, "id": bytes.fromhex(shared.id)}
    headers = {**bearer(tokens[proof]), "X-Onekey-Knock": spell(tokens[proof])}
    assert door.ask("POST" if path == "/open" else "GET", shared.share + path, headers).error == NOT_FOUND


@pytest.mark.parametrize(("method", "path"), OPENING)
def test_the_right_access_without_the_knock_is_404_where_there_is_a_password(
    door: Documented, method: str, path: str
) -> None:
    shared = store(door, seal(password="pass"))
    assert door.ask(method, shared.share + path, bearer(shared.access)).error == NOT_FOUND


@pytest.mark.parametrize(("method", "path"), OPENING)
def test_without_a_password_the_access_is_enough_and_a_wrong_one_is_404(
    door: Documented, method: str, path: str
) -> None:
    shared = store(door, seal())
    knock = {"X-Onekey-Knock": spell(links.knock(shared.seed))}
    assert door.ask(method, shared.share + path, bearer(shared.access)).status == 200
    assert door.ask(method, shared.share + path, {**bearer(bytes(32)), **knock}).error == NOT_FOUND


# Guesses.


def guess(
    door: Door, shared: Container, number: int, where: tuple[str, str] = ("GET", "/index"), via: str = ""
) -> Answer:
    """The answer to a wrong access, another for each number, of who knocks right."""
    forwarded = {"X-Forwarded-For": via} if via else {}
    headers = {**shared.by_access(access=number.to_bytes(32, "big")), **forwarded}
    return door.ask(where[0], shared.share + where[1], headers)


WRONG = (403, "wrong_password")


@pytest.mark.parametrize("then", OPENING, ids=str)
@pytest.mark.parametrize("where", OPENING, ids=str)
def test_ten_wrong_passwords_are_403_and_then_it_is_429(
    door: Documented, where: tuple[str, str], then: tuple[str, str]
) -> None:
    shared = store(door, seal(password="pass"))
    assert [guess(door, shared, number, where).error for number in range(10)] == [WRONG] * 10
    answer = guess(door, shared, 10, then)
    assert (answer.error, answer.headers["Retry-After"]) == ((429, "too_many"), "60")


def test_the_right_password_is_refused_until_the_minute_is_over(door: Documented, clock: Clock) -> None:
    shared = store(door, seal(password="pass"))
    for number in range(10):
        guess(door, shared, number)
    clock.now += 59
    answer = read(door, shared)
    assert (answer.error, answer.headers["Retry-After"]) == ((429, "too_many"), "1")
    clock.now += 1
    assert read(door, shared).body == shared.whole


def test_the_right_password_is_never_counted(door: Documented) -> None:
    shared = store(door, seal(password="pass"))
    for number in range(9):
        guess(door, shared, number)
    assert {read(door, shared).status for _ in range(12)} == {200}
    assert guess(door, shared, 9).error == WRONG


def test_the_same_wrong_password_is_one_guess(door: Documented) -> None:
    shared = store(door, seal(password="pass"))
    assert {guess(door, shared, 1, where).status for where in OPENING for _ in range(5)} == {403}
    assert read(door, shared).status == 200


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_what_cannot_be_an_access_is_no_guess(door: Documented, size: int) -> None:
    shared = store(door, seal(password="pass"))
    asked = [shared.by_access(access=bytes([number]) * size) for number in range(12)]
    assert [door.ask("GET", f"{shared.share}/index", headers).error for headers in asked] == [WRONG] * 12
    assert read(door, shared).status == 200


def test_guesses_are_counted_for_each_share_and_each_client(door: Documented) -> None:
    shared, other = store(door, seal(password="pass")), store(door, seal(password="pass"))
    for number in range(10):
        guess(door, shared, number)
    assert guess(door, shared, 10).status == 429
    assert guess(door, other, 10).error == WRONG
    assert read(door.at("198.51.100.2"), shared).status == 200


def test_guesses_at_once_are_ten_in_all(door: Documented) -> None:
    shared = store(door, seal(password="pass"))
    answers = at_once(*(lambda n=n: guess(door, shared, n) for n in range(16)))
    assert sorted(answer.status for answer in answers) == [403] * 10 + [429] * 6


def test_all_clients_together_have_a_hundred_guesses_an_hour(make_app: MakeApp, clock: Clock) -> None:
    door = Documented(make_app(PROXY_HOPS="1"))
    shared = store(door, seal(password="pass"))
    told = [guess(door, shared, n, via=f"198.51.100.{n // 10}").status for n in range(100)]
    assert told == [403] * 100
    answer = guess(door, shared, 100, via="203.0.113.1")
    assert (answer.error, answer.headers["Retry-After"]) == ((429, "too_many"), "3600")
    clock.now += HOUR - 1
    assert read(door, shared).headers["Retry-After"] == "1"
    clock.now += 1
    assert read(door, shared).status == 200


def test_guesses_at_the_sealed_door_count_at_the_direct_one(door: Documented) -> None:
    shared = store(door, seal(password="pass"))
    for number in range(10):
        guess(door, shared, number)
    basic = {"Authorization": "Basic OnBhc3M=", "Accept": JSON}  # :pass
    assert door.ask_anywhere("GET", f"/{shared.token}", basic).error == (429, "too_many")


def test_a_wrong_password_takes_no_open(door: Documented) -> None:
    shared = store(door, seal(password="pass", opens=1))
    for number in range(5):
        guess(door, shared, number, ("POST", "/open"))
    assert owned(door, shared)["opened"] == 0
    assert take(door, shared)


# Opening.


def test_the_index_is_commitment_sealed_index_and_trailer(door: Documented) -> None:
    shared = store(door, seal())
    length = int.from_bytes(shared.whole[-4:], "big")
    answer = door.ask("GET", f"{shared.share}/index", shared.by_access())
    assert answer.body == shared.header[64:] + shared.whole[-4 - length :]
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Cache-Control"] == "private, no-store, no-transform"


def test_an_open_of_a_share_without_a_limit_gives_no_lease_and_counts_one(door: Documented) -> None:
    shared = store(door, seal())
    answer = door.ask("POST", f"{shared.share}/open", shared.by_access())
    assert (answer.status, answer.json) == (200, {"lease": None})
    assert owned(door, shared)["opened"] == 1


def test_a_lease_opens_the_content(door: Documented) -> None:
    shared = store(door, seal(opens=1))
    assert read(door, shared, take(door, shared)).body == shared.whole


@pytest.mark.parametrize("lease", [None, "x", "A" * 32, "é" * 32, "A" * 5000])
def test_without_a_lease_the_content_is_403_while_there_are_opens(door: Documented, lease: str | None) -> None:
    shared = store(door, seal(opens=1))
    assert read(door, shared, lease).error == (403, "lease_needed")
    assert owned(door, shared)["opened"] == 0


def own_lease(shared: Container) -> str:
    """A lease that a client drew by itself, for one share."""
    return spell(shared.seed[::-1])


def draw(door: Door, shared: Container, lease: str | None = None) -> Answer:
    """Open a share under a lease of one's own."""
    return door.ask("POST", f"{shared.share}/open", shared.by_access(lease or own_lease(shared)))


def test_a_lease_that_the_client_drew_is_the_lease(door: Documented) -> None:
    shared = store(door, seal(opens=1))
    assert draw(door, shared).json == {"lease": own_lease(shared)}
    assert read(door, shared, own_lease(shared)).body == shared.whole


def test_an_open_whose_answer_was_lost_is_asked_for_again(door: Documented) -> None:
    shared = store(door, seal(opens=2))
    assert [draw(door, shared).json for _ in range(5)] == [{"lease": own_lease(shared)}] * 5
    assert owned(door, shared)["opened"] == 1


def test_a_lease_of_ones_own_that_has_ended_takes_another_open(door: Documented, clock: Clock) -> None:
    shared = store(door, seal(opens=2))
    for _ in range(2):
        draw(door, shared)
        read(door, shared, own_lease(shared))
        clock.now += 3601
    assert draw(door, shared).status == 404


def test_a_lease_drawn_for_one_share_is_none_for_another(door: Documented) -> None:
    first, second = (store(door, seal(opens=1)) for _ in range(2))
    draw(door, first)
    assert (draw(door, second, own_lease(first)).status, owned(door, second)["opened"]) == (404, 0)


@pytest.mark.parametrize("lease", ["x", "x" * 33, "ü" * 32])
def test_what_cannot_be_a_lease_is_400(door: Documented, lease: str) -> None:
    assert draw(door, store(door, seal(opens=1)), lease).error == (400, "bad_token")


def test_the_lease_of_another_share_is_none(door: Documented) -> None:
    shared, other = store(door, seal(opens=2)), store(door, seal(opens=2))
    assert read(door, shared, take(door, other)).error == (403, "lease_needed")


def test_a_share_has_as_many_opens_as_it_was_given(door: Documented) -> None:
    shared = store(door, seal(opens=3))
    leases = [take(door, shared) for _ in range(3)]
    assert len(set(leases)) == 3
    assert door.ask("POST", f"{shared.share}/open", shared.by_access()).error == NOT_FOUND


def test_the_last_open_is_taken_once_whatever_is_tried_at_once(door: Documented) -> None:
    shared = store(door, seal(b"x", opens=1))
    asked = at_once(*[lambda: door.ask("POST", f"{shared.share}/open", shared.by_access())] * 8)
    assert sorted(answer.status for answer in asked) == [200] + [404] * 7


def test_looks_take_no_open(door: Documented) -> None:
    shared = store(door, seal(opens=1))
    for method in ("GET", "HEAD"):
        door.ask(method, shared.share, shared.by_knock)
        door.ask(method, f"{shared.share}/index", shared.by_access())
        door.ask(method, f"{shared.share}/owner", shared.by_owner)
        read(door, shared, method=method)
        door.ask(method, f"{shared.share}/open", shared.by_access())
    assert owned(door, shared)["opened"] == 0


def test_a_broken_transfer_resumes_under_its_lease(door: Documented) -> None:
    shared = store(door, seal(opens=1))
    lease = take(door, shared)
    first = read(door, shared, lease, Range="bytes=0-9999")
    rest = read(door, shared, lease, Range="bytes=10000-", If_Range=first.headers["ETag"])
    assert (first.status, rest.status, first.body + rest.body) == (206, 206, shared.whole)


def test_a_lease_ends_lease_time_after_it_was_taken(make_app: MakeApp, clock: Clock) -> None:
    door = Documented(make_app(LEASE_TIME="100s"))
    shared = store(door, seal(opens=2))
    lease = take(door, shared)
    clock.now += 99
    assert read(door, shared, lease, Range="bytes=0-0").status == 206
    clock.now += 1
    assert read(door, shared, lease).error == (403, "lease_needed")


def test_a_lease_lasts_lease_time_after_the_last_byte_that_was_served(make_app: MakeApp, clock: Clock) -> None:
    door = Documented(make_app(LEASE_TIME="100s"))
    shared = store(door, seal(opens=2))
    lease = take(door, shared)
    for _ in range(5):
        clock.now += 99
        assert read(door, shared, lease).status == 200
    clock.now += 100
    assert read(door, shared, lease).error == (403, "lease_needed")


def test_a_lease_lasts_a_day_at_most(make_app: MakeApp, clock: Clock) -> None:
    door = Documented(make_app(LEASE_TIME="20h"))
    shared = store(door, seal(opens=2))
    lease = take(door, shared)
    clock.now += 19 * HOUR
    assert read(door, shared, lease).status == 200
    clock.now += 5 * HOUR - 1
    assert read(door, shared, lease).status == 200
    clock.now += 1
    assert read(door, shared, lease).error == (403, "lease_needed")


def nothing(door: Door, shared: Container, lease: str) -> None:
    """Nothing at all is done under a lease."""


def probe(door: Door, shared: Container, lease: str) -> None:
    """All that is answered under a lease without content."""
    etag = read(door, shared, lease, "HEAD").headers["ETag"]
    assert read(door, shared, lease, "HEAD", Range="bytes=0-").body == b""
    assert read(door, shared, lease, If_None_Match=etag).status == 304
    assert read(door, shared, lease, Range=f"bytes={len(shared.whole)}-").status == 416


def header_only(door: Door, shared: Container, lease: str) -> None:
    """The header is read under a lease."""
    assert read(door, shared, lease, Range=f"bytes=0-{HEADER_SIZE - 1}").body == shared.header


def index_only(door: Door, shared: Container, lease: str) -> None:
    """The index is read under a lease."""
    length = int.from_bytes(shared.whole[-4:], "big") + 4
    assert read(door, shared, lease, Range=f"bytes=-{length}").body == shared.whole[-length:]


def a_byte_before(door: Door, shared: Container, lease: str) -> None:
    """The header and one byte of content are read under a lease."""
    read(door, shared, lease, Range=f"bytes=0-{HEADER_SIZE}")


def a_byte_behind(door: Door, shared: Container, lease: str) -> None:
    """The index and one byte of content are read under a lease."""
    read(door, shared, lease, Range=f"bytes=-{int.from_bytes(shared.whole[-4:], 'big') + 5}")


Use = Callable[[Door, Container, str], None]


@pytest.mark.parametrize("use", [nothing, probe, header_only, index_only])
@pytest.mark.parametrize("swept", [False, True], ids=["", "swept"])
def test_a_lease_that_served_no_content_gives_its_open_back(
    door: Documented, clock: Clock, use: Use, swept: bool
) -> None:
    shared = store(door, seal(opens=1))
    use(door, shared, take(door, shared))
    clock.now += HOUR
    if swept:
        sweep(door.app)
    assert read(door, shared, take(door, shared)).body == shared.whole


@pytest.mark.parametrize("use", [nothing, header_only])
def test_a_lease_that_served_no_content_does_not_last_longer(door: Documented, clock: Clock, use: Use) -> None:
    shared = store(door, seal(opens=2))
    lease = take(door, shared)
    clock.now += HOUR - 1
    use(door, shared, lease)
    clock.now += 1
    assert read(door, shared, lease).error == (403, "lease_needed")


@pytest.mark.parametrize("use", [a_byte_before, a_byte_behind])
def test_a_lease_that_served_one_byte_of_content_keeps_its_open(door: Documented, clock: Clock, use: Use) -> None:
    shared = store(door, seal(opens=1))
    use(door, shared, take(door, shared))
    clock.now += HOUR
    assert door.ask("POST", f"{shared.share}/open", shared.by_access()).error == NOT_FOUND


def test_a_share_that_is_used_up_is_gone_at_every_address(door: Documented, clock: Clock) -> None:
    shared = store(door, seal(opens=1))
    lease = take(door, shared)
    read(door, shared, lease)
    clock.now += HOUR
    asked = [
        door.ask("GET", shared.share, shared.by_knock),
        *(door.ask(method, shared.share + path, shared.by_access(lease)) for method, path in OPENING),
        door.ask("GET", f"{shared.share}/owner", shared.by_owner),
        change(door, shared, opens=9),
        door.ask("DELETE", f"{shared.share}/owner", shared.by_owner),
    ]
    assert [answer.error for answer in asked] == [NOT_FOUND] * len(asked)


def sweep_for(door: Door, clock: Clock, hours: int) -> None:
    """Let hours go by, and sweep again and again: a clock that jumps is not believed."""
    for _ in range(hours):
        clock.now += HOUR
        sweep(door.app)


def test_a_share_that_is_used_up_is_removed_parts_and_all(make_app: MakeApp, clock: Clock, own_content: Path) -> None:
    door = Documented(make_app())
    shared = store(door, seal(opens=1))
    read(door, shared, take(door, shared))
    sweep_for(door, clock, 27)
    assert files(own_content, shared) == []
    assert [rows(own_content, table) for table in ("shares", "parts", "leases", "guesses")] == [[]] * 4


def test_a_share_ends_when_it_expires(door: Documented, clock: Clock) -> None:
    shared = store(door, seal(expires_in=100))
    clock.now += 99
    assert read(door, shared).status == 200
    clock.now += 1
    assert read(door, shared).error == NOT_FOUND


# Content.


@pytest.fixture
def shared(door: Documented) -> Container:
    """A share of a few parts."""
    return store(door, seal(os.urandom(30_000)))


Span = tuple[int | None, int | None]
RANGES: list[tuple[str, Span | None]] = [
    ("bytes=0-0", (0, 1)),
    ("bytes=0-", (0, None)),
    ("bytes=1-", (1, None)),
    ("bytes=95-96", (95, 97)),
    ("bytes=4219-4220", (4219, 4221)),
    ("bytes=12467-12468", (12467, 12469)),
    ("bytes=100-99999999", (100, None)),
    ("bytes=-1", (-1, None)),
    ("bytes=-99999999", (0, None)),
    ("Bytes=0-9", (0, 10)),
    ("bytes= 5-6 ", (5, 7)),
    ("bytes=9-5", None),
    ("bytes=0-1,4-5", None),
    ("bytes=", None),
    ("bytes=a-b", None),
    ("bytes=-", None),
    ("bytes=1", None),
    ("lines=0-1", None),
    ("junk", None),
    ("", None),
]


@pytest.mark.parametrize(("asked", "span"), RANGES, ids=str)
def test_a_range_is_answered_by_the_book(door: Documented, shared: Container, asked: str, span: Span | None) -> None:
    answer = read(door, shared, Range=asked)
    start, stop, _ = slice(*(span or (None, None))).indices(len(shared.whole))
    assert (answer.status, answer.body) == (206 if span else 200, shared.whole[start:stop])
    assert answer.headers["Content-Length"] == str(stop - start)
    said = f"bytes {start}-{stop - 1}/{len(shared.whole)}" if span else None
    assert answer.headers.get("Content-Range") == said


def test_any_range_is_the_same_slice(door: Documented, shared: Container) -> None:
    draw, size = random.Random(3), len(shared.whole)
    for _ in range(100):
        start, stop = sorted(draw.sample(range(size), 2))
        assert read(door, shared, Range=f"bytes={start}-{stop - 1}").body == shared.whole[start:stop]


@pytest.mark.parametrize("start", ["SIZE-", "SIZE-SIZE", "99999999-", f"{10**30}-"])
def test_a_range_behind_the_end_is_416(door: Documented, shared: Container, start: str) -> None:
    answer = read(door, shared, Range=f"bytes={start.replace('SIZE', str(len(shared.whole)))}")
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{len(shared.whole)}"


def test_if_range_of_other_bytes_gets_the_whole(door: Documented, shared: Container) -> None:
    etag = read(door, shared).headers["ETag"]
    tried = [etag, f"W/{etag}", etag.strip('"'), '"other"', "Sun, 06 Nov 1994 08:49:37 GMT", "*"]
    assert [read(door, shared, Range="bytes=0-1", If_Range=said).status for said in tried] == [206] + [200] * 5


def test_if_none_match_is_304_without_a_body(door: Documented, shared: Container) -> None:
    etag = read(door, shared).headers["ETag"]
    for said in (etag, f"W/{etag}", f'"other", {etag}'):
        answer = read(door, shared, If_None_Match=said)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
    assert read(door, shared, If_None_Match='"other"').status == 200


def test_head_answers_as_get_does_without_a_body(door: Documented, shared: Container) -> None:
    get, head = read(door, shared), read(door, shared, method="HEAD")
    assert (head.status, head.body, list(head.headers)) == (200, b"", list(get.headers))


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=99999999-"])
def test_head_knows_no_ranges(door: Documented, shared: Container, asked: str) -> None:
    answer = read(door, shared, method="HEAD", Range=asked)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(shared.whole)))


def test_an_etag_is_that_of_one_share_and_lasts(make_app: MakeApp) -> None:
    door = Documented(make_app())
    shared, other = store(door, seal()), store(door, seal())
    first = read(door, shared).headers["ETag"]
    assert read(Documented(make_app()), shared).headers["ETag"] == first != read(door, other).headers["ETag"]


def test_the_sealed_bytes_have_another_etag_than_the_file(door: Documented, shared: Container) -> None:
    direct = door.ask_anywhere("GET", f"/{shared.token}")
    assert direct.headers["ETag"] != read(door, shared).headers["ETag"]


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        ({}, "private, no-cache, no-transform"),
        ({"password": "pass"}, "private, no-store, no-transform"),
        ({"opens": 3}, "private, no-store, no-transform"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "headers", [{}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}, {"Range": "bytes=9999999-"}], ids=str
)
def test_what_is_private_is_kept_nowhere(
    door: Documented, made: dict[str, Any], kept: str, headers: dict[str, str]
) -> None:
    shared = store(door, seal(**made))
    answer = read(door, shared, take(door, shared) if "opens" in made else None, **headers)
    assert answer.headers.getlist("Cache-Control") == [kept]


def test_content_is_bytes_that_no_other_site_may_load(door: Documented, shared: Container) -> None:
    headers = read(door, shared).headers
    wanted = {
        "Content-Type": "application/octet-stream",
        "Content-Security-Policy": "sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "X-Accel-Buffering": "no",
    }
    assert {name: headers.getlist(name) for name in wanted} == {name: [value] for name, value in wanted.items()}


def test_no_answer_lets_another_origin_read_it(door: Documented, shared: Container) -> None:
    asked = [
        door.ask("GET", "/info", {"Origin": "https://evil.example"}),
        door.ask("OPTIONS", "/uploads", {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}),
        read(door, shared, Origin="https://evil.example"),
    ]
    assert not [name for answer in asked for name, _ in answer.headers if name.lower().startswith("access-control")]


# Damage.


def test_what_is_damaged_from_the_start_is_500(door: Documented, shared: Container, content: Path) -> None:
    os.truncate(files(content, shared)[0], 50)
    answer = read(door, shared)
    assert answer.error == (500, "damaged")
    assert re.fullmatch("[0-9a-f]{8}", answer.headers["X-Onekey-Request"])


@pytest.mark.parametrize("path", ["/index", "/content"])
@pytest.mark.parametrize("how", ["short", "gone"])
def test_a_last_part_that_is_damaged_is_500(
    door: Documented, shared: Container, content: Path, how: str, path: str
) -> None:
    last = files(content, shared)[-1]
    last.unlink() if how == "gone" else os.truncate(last, last.stat().st_size - 1)
    asked = {"Range": f"bytes={len(shared.whole) - 100}-"} if path == "/content" else {}
    assert door.ask("GET", shared.share + path, {**shared.by_access(), **asked}).error == (500, "damaged")


def test_what_is_not_damaged_of_a_damaged_share_is_served(door: Documented, shared: Container, content: Path) -> None:
    os.truncate(files(content, shared)[0], 200)
    assert read(door, shared, Range="bytes=0-99").body == shared.whole[:100]


@pytest.mark.parametrize("how", ["short", "gone"])
@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_a_part_that_is_damaged_later_on_breaks_the_transfer(server: Server, version: str, how: str) -> None:
    shared = store(HttpDoor(server.url), seal(os.urandom(3 * MIB), part_chunks=100))
    middle = files(server.content, shared)[-2]
    middle.unlink() if how == "gone" else os.truncate(middle, middle.stat().st_size - 1)
    shown = [f"{name}: {value}" for name, value in shared.by_access().items()]
    done = curl(version, "-H", *shown, f"{server.url}{API}{shared.share}/content")
    assert done.returncode in {18, 56}
    assert shared.whole.startswith(done.stdout)
    assert len(done.stdout) < len(shared.whole)


# Owners.


def test_an_owner_sees_a_share(door: Documented, clock: Clock) -> None:
    created, shared = clock.now, seal(password="pass", sealed_only=True, opens=5, expires_in=9 * HOUR)
    store(door, shared)
    clock.now += 2 * HOUR + 1234
    read(door, shared, take(door, shared))
    assert owned(door, shared) == {
        "id": shared.id,
        "size": len(shared.whole),
        "created": iso(created),
        "expires": iso(created + 9 * HOUR),
        "opens": 5,
        "opened": 1,
        "last_opened": iso(clock.now - clock.now % HOUR),
        "needs_password": True,
        "sealed_only": True,
    }


def test_a_share_that_was_never_opened_says_so(door: Documented, shared: Container) -> None:
    told = owned(door, shared)
    assert (told["opened"], told["last_opened"], told["opens"], told["expires"]) == (0, None, None, None)
    assert (told["needs_password"], told["sealed_only"]) == (False, False)


def test_opens_at_both_doors_are_counted(door: Documented, shared: Container) -> None:
    door.ask("POST", f"{shared.share}/open", shared.by_access())
    door.ask_anywhere("GET", f"/{shared.token}")
    assert owned(door, shared)["opened"] == 2


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"opens": 7}, {"opens": 7}),
    ({"opens": None}, {"opens": None}),
    ({"opens": MOST_OPENS}, {"opens": MOST_OPENS}),
    ({"opens": 7.0}, {"opens": 7}),
    ({"expires_in": 50}, {"expires": 50}),
    ({"expires_in": None}, {"expires": None}),
    ({"expires_in": 9, "opens": 3}, {"expires": 9, "opens": 3}),
    ({"expires_in": None, "opens": None}, {"expires": None, "opens": None}),
]


@pytest.mark.parametrize(("asked", "changed"), CHANGES, ids=str)
def test_a_change_changes_what_was_asked_for_and_no_more(
    door: Documented, clock: Clock, asked: dict[str, Any], changed: dict[str, Any]
) -> None:
    shared = store(door, seal(opens=2, expires_in=1000))
    clock.now += 100
    before, changed = owned(door, shared), dict(changed)
    if changed.get("expires"):
        changed["expires"] = iso(clock.now + changed["expires"])
    answer = change(door, shared, **asked)
    assert (answer.status, answer.json) == (200, {**before, **changed})
    assert owned(door, shared) == answer.json


def test_fewer_opens_than_were_used_are_422_and_change_nothing(door: Documented) -> None:
    shared = store(door, seal(opens=5))
    for _ in range(3):
        read(door, shared, take(door, shared))
    before = owned(door, shared)
    assert change(door, shared, opens=2, expires_in=60).error == (422, "unprocessable")
    assert owned(door, shared) == before


def test_as_many_opens_as_were_used_may_be_allowed(door: Documented) -> None:
    shared = store(door, seal(opens=5))
    lease = take(door, shared)
    assert change(door, shared, opens=1).json["opens"] == 1
    assert door.ask("POST", f"{shared.share}/open", shared.by_access()).error == NOT_FOUND
    assert read(door, shared, lease).status == 200


def test_a_share_without_a_limit_can_be_limited_to_no_less_than_was_used(door: Documented, shared: Container) -> None:
    for _ in range(2):
        door.ask("POST", f"{shared.share}/open", shared.by_access())
    assert change(door, shared, opens=1).error == (422, "unprocessable")
    assert change(door, shared, opens=3).json["opened"] == 2
    assert read(door, shared).error == (403, "lease_needed")


def test_a_limit_that_is_lifted_needs_no_lease(door: Documented) -> None:
    shared = store(door, seal(opens=1))
    change(door, shared, opens=None)
    assert read(door, shared).body == shared.whole


@pytest.mark.parametrize("expires_in", [HOUR + 1, None])
def test_an_expiry_beyond_the_longest_is_400_and_changes_nothing(make_app: MakeApp, expires_in: int | None) -> None:
    door = Documented(make_app(MAX_EXPIRY="1h"))
    shared = store(door, seal(opens=2))
    before = owned(door, shared)
    assert change(door, shared, opens=1, expires_in=expires_in).error == (400, "bad_request")
    assert owned(door, shared) == before


def test_the_longest_expiry_counts_from_the_change_on(make_app: MakeApp, clock: Clock) -> None:
    door = Documented(make_app(MAX_EXPIRY="1h"))
    shared = store(door, seal())
    clock.now += 3000
    assert change(door, shared, expires_in=HOUR).json["expires"] == iso(clock.now + HOUR)


def test_an_expiry_that_was_changed_holds(door: Documented, shared: Container, clock: Clock) -> None:
    change(door, shared, expires_in=10)
    clock.now += 10
    assert read(door, shared).error == NOT_FOUND


def test_delete_is_204_and_the_share_is_gone(door: Documented, shared: Container, content: Path) -> None:
    answer = door.ask("DELETE", f"{shared.share}/owner", shared.by_owner)
    assert (answer.status, answer.body) == (204, b"")
    assert files(content, shared) == []
    asked = [
        door.ask("GET", shared.share, shared.by_knock),
        *(door.ask(method, shared.share + path, shared.by_access()) for method, path in OPENING),
        door.ask("DELETE", f"{shared.share}/owner", shared.by_owner),
        door.ask("GET", shared.upload, shared.by_owner),
        finish(door, shared),
    ]
    assert [answer.error for answer in asked] == [NOT_FOUND] * len(asked)


def test_delete_ends_leases_at_once(door: Documented) -> None:
    shared = store(door, seal(opens=2))
    lease = take(door, shared)
    assert read(door, shared, lease).status == 200
    door.ask("DELETE", f"{shared.share}/owner", shared.by_owner)
    assert read(door, shared, lease).error == NOT_FOUND


@pytest.mark.parametrize(("method", "rule"), OWN, ids=str)
@pytest.mark.parametrize("proof", ["knock", "access", "seed", "id"])
def test_only_the_owner_token_is_the_owners_right(door: Documented, proof: str, method: str, rule: str) -> None:
    shared = store(door, seal(opens=9))
    proofs = {"knock": links.knock(shared.seed), "access": shared.access, "seed": shared.seed, "id": shared.id.encode()}
    path = rule.replace("{id}", shared.id).replace("{number}", "0")
    assert door.ask(method, path, bearer(proofs[proof])).error == NOT_FOUND  # before any body is looked at


def test_no_address_is_kept(make_app: MakeApp, own_content: Path) -> None:
    door = Documented(make_app(PROXY_HOPS="1", UPLOAD_SECRET="right"), "203.0.113.77")
    headers, shared = {"X-Forwarded-For": "198.51.100.123"}, seal(password="pass", opens=3)
    begin(door, shared, {**headers, **wrong(1)})
    store(door, shared, {**headers, "X-Onekey-Secret": "right"})
    guess(door, shared, 1, via=headers["X-Forwarded-For"])
    guess(door, shared, 2)
    read(door, shared, take(door, shared))
    assert owned(door, shared)["opened"] == 1
    kept = b"".join(path.read_bytes() for path in own_content.iterdir() if path.is_file())
    assert [text for text in ("203.0.113", "198.51.100") if text.encode() in kept] == []
    packed = [socket.inet_aton(address) for address in (door.address, headers["X-Forwarded-For"])]
    assert [address for address in packed if address in kept] == []


# Errors.

WRONG_ADDRESSES = [
    "/api/",
    "/api/v1",
    "/api/v1/",
    "/api/x",
    "/api/v2/uploads",
    f"{API}/x",
    f"{API}//uploads",
    f"{API}/uploads/",
    f"{API}/uploads/x",
    f"{API}/uploads/{ID}",
    f"{API}/uploads/{ID.upper()}/parts/0",
    f"{API}/uploads/{ID}/parts",
    f"{API}/uploads/{ID}/parts/",
    f"{API}/uploads/{ID}/parts/01",
    f"{API}/uploads/{ID}/parts/0/",
    f"{API}/uploads/{ID}/parts/0/a.txt",
    f"{API}/uploads/{ID}/parts/0%0A",
    f"{API}/shares/{ID}",
    f"{API}/shares/{ID}/owner",
    f"{API}/info",
    f"{API}/openapi.json",
    f"{API}/openapi.json/",
    f"{API}/%2e%2e/a.txt",
]


@pytest.mark.parametrize("path", WRONG_ADDRESSES)
@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_a_wrong_address_never_becomes_a_direct_upload(door: Documented, content: Path, method: str, path: str) -> None:
    before = rows(content, "shares")
    answer = door.ask_anywhere(method, path, data=b"a part")
    assert answer.error in {NOT_FOUND, (405, "method_not_allowed"), (400, "bad_request")}
    assert rows(content, "shares") == before


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/info", {"GET", "HEAD", "OPTIONS"}),
        ("/uploads", {"POST", "OPTIONS"}),
        (f"/uploads/{ID}", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        (f"/uploads/{ID}/parts/0", {"PUT", "OPTIONS"}),
        (f"/uploads/{ID}/finish", {"POST", "OPTIONS"}),
        (f"/shares/{ID}/open", {"POST", "OPTIONS"}),
        (f"/shares/{ID}/content", {"GET", "HEAD", "OPTIONS"}),
        (f"/shares/{ID}/owner", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
    ],
)
def test_405_says_what_an_address_does(door: Documented, path: str, allowed: set[str]) -> None:
    method = next(method for method in ("PUT", "DELETE") if method not in allowed)
    answer = door.ask(method, path, data=b"x")
    assert answer.error == (405, "method_not_allowed")
    assert {*re.split(", *", answer.headers["Allow"])} - {"HEAD", "OPTIONS"} == allowed - {"HEAD", "OPTIONS"}


def test_options_says_what_an_address_does(door: Documented) -> None:
    told = {rule: door.ask("OPTIONS", rule.replace("{id}", ID).replace("{number}", "0")) for _, rule in RULES}
    assert {rule: (answer.status, answer.body) for rule, answer in told.items()} == dict.fromkeys(told, (204, b""))
    allowed = {(method, rule) for rule, answer in told.items() for method in answer.headers["Allow"].split(", ")}
    assert allowed == set(RULES)


def test_options_of_what_is_not_there_is_404(door: Documented) -> None:
    assert door.ask("OPTIONS", "/x").error == NOT_FOUND


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "*/*", "image/png", "application/xml;q=0.1", "junk"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/x"), ("POST", "/uploads"), ("PUT", "/info"), ("GET", f"/shares/{ID}/content")]
)
def test_errors_are_json_whatever_is_accepted(door: Documented, method: str, path: str, accept: str) -> None:
    answer = door.ask(method, path, {"Accept": accept})
    assert answer.headers["Content-Type"] == JSON
    assert answer.error[0] >= 400


def test_a_strange_host_is_400_in_json(door: Documented) -> None:
    assert door.ask("GET", "/info", {"Host": "evil.example"}).error == (400, "wrong_host")


def with_field(name: str, value: object) -> dict[str, Any]:
    """The body of a begin with one field set."""
    return {**seal(b"").begin, name: value}


INTEGERS: list[object] = [0, -1, 1.5, "1", True, [], {}, 1 << 60]
BAD_FIELDS: dict[str, list[object]] = {
    "id": [None, 1, "", ID.upper(), ID[1:], ID + "0", ID[:-1] + "g", ID + "\n", [ID]],
    "header": [None, 1, "", spell(bytes(95)), spell(bytes(97)), spell(bytes(96)) + "=", "!" * 128, "A" * 127 + "\n"],
    "part_chunks": [None, *INTEGERS],
    "knock_hash": [None, 1, "", spell(bytes(31)), spell(bytes(33)), "A" * 42 + "B", "+" * 43, {}],
    "access_hash": [None, 1, "", spell(bytes(31))],
    "owner_hash": [None, 1, "", spell(bytes(31))],
    "expires_in": [*INTEGERS, LONGEST + 1],
    "opens": [*INTEGERS, MOST_OPENS + 1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_FIELDS.items() for value in values], ids=repr
)
def test_a_field_that_is_not_what_it_has_to_be_is_422_and_named(door: Documented, name: str, value: object) -> None:
    answer = door.ask("POST", "/uploads", json=with_field(name, value))
    assert answer.error == (422, "unprocessable")
    assert f"The field {name} has to be " in answer.json["message"]


@pytest.mark.parametrize("name", ["id", "header", "part_chunks", "knock_hash", "access_hash", "owner_hash"])
def test_a_field_that_is_missing_is_422_and_named(door: Documented, name: str) -> None:
    body = seal(b"").begin
    del body[name]
    answer = door.ask("POST", "/uploads", json=body)
    assert (answer.error, answer.json["message"]) == ((422, "unprocessable"), f"The field {name} is missing.")


@pytest.mark.parametrize("body", [[], "x", 1, {"more": 1}, {"parts": []}], ids=str)
def test_what_is_not_an_object_of_these_fields_is_422(door: Documented, body: object) -> None:
    sent = {**seal(b"").begin, **body} if isinstance(body, dict) else body
    assert door.ask("POST", "/uploads", json=sent).error == (422, "unprocessable")


@pytest.mark.parametrize("more", ["more", "parts", "sha256", ""])
def test_a_field_too_many_is_not_named(door: Documented, more: str) -> None:
    answer = door.ask("POST", "/uploads", json=with_field(more, 1))
    assert answer.json["message"] == "The body is not an object with the fields that this takes, and no others."


BAD_PARTS: list[tuple[str, object]] = [
    ("parts", None),
    ("parts", []),
    ("parts", {}),
    ("number", [{**name_of(0, b""), "number": -1}]),
    ("number", [{**name_of(0, b""), "number": "0"}]),
    ("size", [name_of(0, b""), {**name_of(1, b""), "size": None}]),
    ("size", [{**name_of(0, b""), "size": 1 << 60}]),
    ("sha256", [{**name_of(0, b""), "sha256": "A"}]),
    ("sha256", [{"number": 0, "size": 1}]),
]


@pytest.mark.parametrize(("name", "parts"), BAD_PARTS, ids=repr)
def test_a_field_of_a_part_is_named(door: Documented, name: str, parts: object) -> None:
    shared = seal()
    begin(door, shared)
    answer = door.ask("POST", f"{shared.upload}/finish", shared.by_owner, json={"parts": parts})
    assert answer.error == (422, "unprocessable")
    assert f"The field {name} " in answer.json["message"]


@pytest.mark.parametrize(
    "body", [{"opens": 0}, {"opens": "1"}, {"expires_in": 0}, {"expires_in": LONGEST + 1}], ids=str
)
def test_a_change_that_cannot_be_is_422(door: Documented, shared: Container, body: dict[str, Any]) -> None:
    answer = change(door, shared, **body)
    assert answer.error == (422, "unprocessable")
    assert f"The field {next(iter(body))} " in answer.json["message"]


@pytest.mark.parametrize("number", ["2.0", "2e0", "0.2e1"])
def test_a_whole_number_may_be_spelled_with_a_point(door: Documented, number: str) -> None:
    body = json.dumps(with_field("part_chunks", 987654321)).replace("987654321", number)
    assert door.ask("POST", "/uploads", {"Content-Type": JSON}, data=body.encode()).status == 201


DEEP = 100_000
RAW: dict[str, bytes] = {
    "nothing": b"",
    "broken": f'{{"{MARK}": "{MARK}'.encode(),
    "a word": MARK.encode(),
    "trailing": f"{{}} {MARK}".encode(),
    "not UTF-8": f'{{"{MARK}": "'.encode() + b'\xff\xfe"}',
    "UTF-16": f'{{"{MARK}": 1}}'.encode("utf-16"),
    "a surrogate": f'{{"id": "\\ud800{MARK}"}}'.encode(),
    "zero": f'{{"id": "\\u0000{MARK}"}}'.encode(),
    "NaN": f'{{"opens": NaN, "{MARK}": 1}}'.encode(),
    "Infinity": f'{{"opens": Infinity, "{MARK}": 1}}'.encode(),
    "deep lists": b'{"id":' + b"[" * DEEP + MARK.encode() + b"]" * DEEP + b"}",
    "deep objects": b'{"id":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "a huge number": b'{"opens": ' + b"9" * 20_000 + b"}",
    "a huge exponent": b'{"opens": 1e999999}',
    "the same field twice": f'{{"opens": 1, "opens": "{MARK}"}}'.encode(),
    "too large": f'{{"{MARK}": "{"x" * (1 << 16)}"}}'.encode(),
    "an unknown field": f'{{"{MARK}": 1}}'.encode(),
    "an unknown field, nested": f'{{"parts": [{{"{MARK}": 1}}]}}'.encode(),
    "a value, nested": f'{{"parts": [{{"number": "{MARK}", "size": "{MARK}", "sha256": "{MARK}"}}]}}'.encode(),
    **{f"the value of {name}": f'{{"{name}": "{MARK}"}}'.encode() for name in [*BAD_FIELDS, "parts", "number"]},
    **{f"within {name}": f'{{"{name}": {{"{MARK}": ["{MARK}"]}}}}'.encode() for name in [*BAD_FIELDS, "parts"]},
}


def json_routes(shared: Container) -> list[tuple[str, str]]:
    """The addresses that take JSON."""
    return [("POST", "/uploads"), ("POST", f"{shared.upload}/finish"), ("PATCH", f"{shared.share}/owner")]


@pytest.mark.parametrize("which", range(3), ids=["begin", "finish", "change"])
@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
def test_nothing_of_a_bad_body_comes_back_or_is_logged(
    door: Documented, shared: Container, body: bytes, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    method, path = json_routes(shared)[which]
    answer = door.ask(method, path, {**shared.by_owner, "Content-Type": JSON}, data=body)
    assert answer.error[0] in {400, 413, 422}
    assert MARK not in answer.body.decode() + str(answer.headers) + caplog.text


@pytest.mark.parametrize("which", range(3), ids=["begin", "finish", "change"])
@pytest.mark.parametrize("size", [None, 20 * MIB], ids=["", "declared"])
def test_a_body_that_is_too_large_is_413(door: Documented, shared: Container, size: int | None, which: int) -> None:
    (method, path), body = json_routes(shared)[which], Stream(1 << 40)
    headers = {**shared.by_owner, "Content-Type": JSON}
    assert stream(door, method, path, headers, body, size).error == (413, "too_large")
    assert body.given <= (18 * MIB if size is None else 0)


@pytest.mark.parametrize("which", range(3), ids=["begin", "finish", "change"])
def test_a_body_that_stalls_is_408(door: Documented, shared: Container, which: int) -> None:
    method, path = json_routes(shared)[which]
    headers = {**shared.by_owner, "Content-Type": JSON}
    assert stream(door, method, path, headers, Stream(100, TimeoutError())).error == (408, "too_slow")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Documented, Container]:
    """A door whose database lost its tables, and a share that was there."""
    folder = tmp_path_factory.mktemp("broken")
    door = Documented(create_app(Settings.read({"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0"})))
    shared = store(door, seal())
    with closing(sqlite3.connect(folder / "onekey.db")) as db:
        for table in ("shares", "parts"):
            db.execute(f"ALTER TABLE {table} RENAME TO {table}_{MARK}")
        db.commit()
    return door, shared


@pytest.mark.parametrize(("method", "rule"), [pair for pair in RULES if pair[1] != "/info"], ids=str)
def test_what_goes_wrong_here_is_500_without_details(
    broken: tuple[Documented, Container], method: str, rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    door, shared = broken
    bodies = {"/uploads": shared.begin, "/uploads/{id}/finish": shared.finish, "/shares/{id}/owner": {}}
    shown = {"owner": shared.by_owner, "knock": shared.by_knock, "access": shared.by_access()}
    headers = shown[RULES[method, rule].rights[0]] if "{id}" in rule else {}
    path = rule.replace("{id}", shared.id).replace("{number}", "0")
    answer = door.ask(method, path, headers, json=bodies.get(rule) if method in {"POST", "PATCH"} else None)
    assert answer.error == (500, "internal")
    assert answer.headers["X-Onekey-Request"] in caplog.text
    assert MARK not in answer.body.decode() + caplog.text
    assert not [secret for secret in (shared.id, spell(shared.owner), spell(shared.access)) if secret in caplog.text]


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", f"x/{MARK}", "text/json"])
def test_a_body_that_does_not_say_that_it_is_json_is_400(door: Documented, media: str) -> None:
    answer = door.ask("POST", "/uploads", {"Content-Type": media}, data=json.dumps(seal().begin).encode())
    assert answer.error == (400, "bad_request")
    assert MARK not in answer.body.decode()


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON"])
def test_a_body_may_say_more_of_its_type(door: Documented, media: str) -> None:
    answer = door.ask("POST", "/uploads", {"Content-Type": media}, data=json.dumps(seal().begin).encode())
    assert answer.status == 201


MARKED = [
    {"Authorization": f"Bearer {MARK}"},
    {"Authorization": MARK},
    {"X-Onekey-Knock": MARK},
    {"X-Onekey-Lease": MARK},
    {"X-Onekey-Mark": MARK},
    {"X-Onekey-Secret": MARK},
    {"X-Wonkey-Secret": MARK},
    {"X-Forwarded-For": MARK},
    {"Host": MARK},
    {"Accept": f"{MARK}/{MARK}"},
    {"Content-Type": f"{MARK}/{MARK}"},
    {"Content-Encoding": MARK},
    {"Content-Range": MARK},
    {"Range": f"bytes={MARK}"},
    {"If-Range": f'"{MARK}"'},
    {"If-None-Match": f'"{MARK}"'},
    {"Origin": f"https://{MARK}"},
    {"Sec-Fetch-Site": MARK},
]


@pytest.mark.parametrize("headers", MARKED, ids=str)
def test_nothing_of_a_header_comes_back_or_is_logged(
    make_app: MakeApp, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shared, door = seal(password="pass", opens=2), Documented(make_app(UPLOAD_SECRET="right", PROXY_HOPS="1"))
    store(door, shared, {"X-Onekey-Secret": "right"})
    for (method, rule), route in RULES.items():
        rights = {"owner": shared.by_owner, "knock": shared.by_knock, "access": shared.by_access()}
        shown = rights[route.rights[0]] if route.rights else {}
        path = rule.replace("{id}", shared.id).replace("{number}", "0")
        answer = door.ask(method, path, {**shown, **headers}, json={} if method in {"POST", "PATCH"} else None)
        assert MARK not in answer.body.decode("latin-1") + str(answer.headers)
    assert MARK not in caplog.text


@pytest.mark.parametrize("path", [f"/{MARK}", f"/uploads/{MARK}", f"/shares/{ID}/{MARK}", f"/info?{MARK}={MARK}"])
def test_nothing_of_an_address_comes_back(door: Documented, path: str) -> None:
    for method in ("GET", "PUT", "POST", "PATCH", "DELETE"):
        answer = door.ask(method, path, data=b"x")
        assert MARK not in answer.body.decode() + str(answer.headers)


def test_a_server_logs_nothing_of_what_was_sent(server: Server) -> None:
    door = HttpDoor(server.url)
    shared = store(door, seal())
    for (method, path), body in itertools.product(json_routes(shared), RAW.values()):
        with suppress(requests.ConnectionError):  # a body that is too large may be cut off
            door.ask(method, path, {**shared.by_owner, "Content-Type": JSON}, data=body)
    for headers in MARKED:
        door.ask("GET", f"{shared.share}/content", {**shared.by_access(), **headers})
    secrets = [
        MARK,
        shared.token,
        shared.id,
        spell(shared.owner),
        spell(shared.access),
        spell(links.knock(shared.seed)),
    ]
    assert [secret for secret in secrets if secret in server.log] == []
