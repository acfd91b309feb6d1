"""The direct door, outwards: a file, a part of it, the list and the zip of several, one answer for every wrong link.

What a damaged share does is not here.
"""

import io
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from onekey.web import names, zips
from tests.conftest import Clock, needs
from tests.servers import Server, curl
from tests.test_direct_upload import MakeApp, content_of, file, form, link_in, sent, told_name

C = 4096
DATA = content_of(3 * C + 17)
SIZE = len(DATA)
JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}


@pytest.fixture(scope="module")
def link(shared_client: FlaskClient) -> str:
    """The path of a link to DATA, which has three chunks of 4096 bytes and a short one."""
    return link_in(shared_client.put("/data.bin", data=DATA))


@pytest.fixture(scope="module")
def album(shared_client: FlaskClient) -> str:
    """The path of a link to three files."""
    return link_in(sent(shared_client, file(b"first", "a.txt"), file(DATA, "b & <c>.png"), file(b"", "пусто")))


def token_of(link: str) -> str:
    """The token in the path of a link."""
    return link[1:33]


# The whole file.


def test_the_file_is_whole(shared_client: FlaskClient, link: str) -> None:
    answer = shared_client.get(link)
    assert (answer.status_code, answer.data) == (200, DATA)


def test_its_length_is_told(shared_client: FlaskClient, link: str) -> None:
    assert shared_client.get(link).headers["Content-Length"] == str(SIZE)


def test_ranges_are_offered(shared_client: FlaskClient, link: str) -> None:
    assert shared_client.get(link).headers["Accept-Ranges"] == "bytes"


def test_no_proxy_is_to_keep_or_change_it(shared_client: FlaskClient, link: str) -> None:
    headers = shared_client.get(link).headers
    assert headers["Cache-Control"] == "private, no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize(
    "ending",
    ["", ".png", ".zip", ".tar.gz", ".", "..", ".наивно", ".%0A", ".%00", ".%ff", ".x" * 200, ".bin?lease=1"],
)
def test_any_ending_opens_the_file(shared_client: FlaskClient, link: str, ending: str) -> None:
    assert shared_client.get(f"/{token_of(link)}{ending}").data == DATA


@pytest.mark.parametrize("ending", ["x", "x.png", "-", "/.png", "%20", "\u200b.png"])
def test_what_is_no_ending_opens_nothing(shared_client: FlaskClient, link: str, ending: str) -> None:
    assert shared_client.get(f"/{token_of(link)}{ending}").status_code == 404


@pytest.mark.parametrize("path", ["/1", "/1/", "/1/any-name", "/1/any/path%00", "/01/x"])
def test_the_only_file_is_also_the_first_of_one(shared_client: FlaskClient, link: str, path: str) -> None:
    assert shared_client.get(f"/{token_of(link)}{path}").data == DATA


@pytest.mark.parametrize("chunk_size", ["4096", "262144", "4194304"])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 262_143, 262_145])
def test_every_size_comes_back_whatever_the_chunks(make_app: MakeApp, chunk_size: str, size: int) -> None:
    client = make_app(CHUNK_SIZE=chunk_size).test_client()
    assert client.get(link_in(client.put("/a", data=content_of(size)))).data == content_of(size)


def test_a_share_outlives_a_change_of_the_chunk_size(make_app: MakeApp) -> None:
    link = link_in(make_app(CHUNK_SIZE="4096").test_client().put("/a", data=DATA))
    assert make_app(CHUNK_SIZE="262144").test_client().get(link).data == DATA


# HEAD: the same, without the body.


class Shown(NamedTuple):
    """An answer without its body, request ids and dates aside."""

    status: int
    headers: list[tuple[str, str]]


def shown(answer: TestResponse) -> Shown:
    """What HEAD and GET have to have in common."""
    return Shown(answer.status_code, sorted((name, value) for name, value in answer.headers if name != "Date"))


HEADERS = [{}, JSON, BROWSER, {"If-None-Match": "*"}]


@pytest.mark.parametrize("headers", HEADERS, ids=["text", "json", "html", "known"])
@pytest.mark.parametrize("path", ["", ".zip", "/1/", "/2/b.png", "/3/x", "/4/x", "/0/x", "/x"])
@pytest.mark.parametrize("share", ["one", "several", "none"])
def test_head_is_get_without_the_body(
    shared_client: FlaskClient, link: str, album: str, share: str, path: str, headers: dict[str, str]
) -> None:
    token = {"one": token_of(link), "several": token_of(album), "none": "x" * 32}[share]
    get = shared_client.get(f"/{token}{path}", headers=headers)
    head = shared_client.head(f"/{token}{path}", headers=headers)
    assert (shown(head), head.data) == (shown(get), b"")


def test_head_has_no_ranges(shared_client: FlaskClient, link: str) -> None:
    answer = shared_client.head(link, headers={"Range": "bytes=0-0"})
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(SIZE))


def test_nothing_follows_the_head_on_the_wire(server: Server) -> None:
    link = curl("--fail", "-T", "-", f"{server.url}/", data=DATA).stdout.decode().strip()
    with server.connect() as sock, sock.makefile("rb") as reader:
        sock.sendall(f"HEAD {urlsplit(link).path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"Content-Length: %d\r\n" % SIZE in list(iter(reader.readline, b"\r\n"))
        sock.sendall(b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reader.readline().startswith(b"HTTP/1.1 200 ")


# Ranges: RFC 9110, section 14.

SATISFIABLE = [
    ("bytes=0-0", 0, 1),
    ("bytes=0-99", 0, 100),
    ("bytes=100-199", 100, 200),
    (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
    (f"bytes={SIZE - 10}-", SIZE - 10, SIZE),
    ("bytes=-1", SIZE - 1, SIZE),
    ("bytes=-17", SIZE - 17, SIZE),
    (f"bytes=-{SIZE}", 0, SIZE),
    (f"bytes=-{SIZE + 1}", 0, SIZE),
    (f"bytes=-{10**15}", 0, SIZE),
    ("bytes=0-", 0, SIZE),
    (f"bytes=0-{SIZE - 1}", 0, SIZE),
    (f"bytes=0-{SIZE}", 0, SIZE),
    (f"bytes=5-{10**15}", 5, SIZE),
    (f"bytes={C - 1}-{C}", C - 1, C + 1),
    (f"bytes={C}-{C}", C, C + 1),
    (f"bytes={C}-{2 * C - 1}", C, 2 * C),
    (f"bytes={C - 1}-{3 * C}", C - 1, 3 * C + 1),
    (f"bytes={3 * C}-", 3 * C, SIZE),
]


@pytest.mark.parametrize(("asked", "start", "stop"), SATISFIABLE)
def test_exactly_the_range_comes(shared_client: FlaskClient, link: str, asked: str, start: int, stop: int) -> None:
    answer = shared_client.get(link, headers={"Range": asked})
    assert (answer.status_code, answer.data) == (206, DATA[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(stop - start)


def test_a_part_has_the_type_and_the_name_of_the_whole(shared_client: FlaskClient, link: str) -> None:
    part, whole = shared_client.get(link, headers={"Range": "bytes=1-2"}), shared_client.get(link)
    for name in ("Content-Type", "Content-Disposition", "ETag", "Cache-Control", "Content-Security-Policy"):
        assert part.headers[name] == whole.headers[name]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE}", f"bytes={10**15}-", f"bytes={10**1000}-"])
def test_a_range_behind_the_end_cannot_be(shared_client: FlaskClient, link: str, asked: str) -> None:
    answer = shared_client.get(link, headers={"Range": asked})
    assert (answer.status_code, answer.data) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(("asked", "status"), [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-1", 200)])
def test_of_an_empty_file_there_is_no_range(client: FlaskClient, asked: str, status: int) -> None:
    answer = client.get(link_in(client.put("/a", data=b"")), headers={"Range": asked})
    assert (answer.status_code, answer.data) == (status, b"")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4",
        "bytes=0-0,-1",
        "bytes=2-1",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=-",
        "bytes=",
        "bytes",
        "",
        "=0-1",
        "items=0-1",
        "bytes=--1",
        "bytes=1-2-3",
        "bytes=1_0-2_0",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1.0-2",
        "bytes=" + "0-1," * 1000,
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_what_is_not_one_range_gets_the_whole(shared_client: FlaskClient, link: str, asked: str) -> None:
    answer = shared_client.get(link, headers={"Range": asked})
    assert (answer.status_code, answer.data) == (200, DATA)
    assert "Content-Range" not in answer.headers


@settings(max_examples=300, deadline=None)
@given(first=st.integers(0, SIZE + C) | st.none(), last=st.integers(0, SIZE + C) | st.none())
def test_a_range_is_a_slice(shared_client: FlaskClient, link: str, first: int | None, last: int | None) -> None:
    asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = shared_client.get(link, headers={"Range": asked})
    if first is None and last:
        assert (answer.status_code, answer.data) == (206, DATA[-last:])
    elif first is not None and first >= SIZE and (last is None or last >= first):
        assert answer.status_code == 416
    elif first is not None and (last is None or last >= first):
        assert (answer.status_code, answer.data) == (206, DATA[first : None if last is None else last + 1])
    else:  # no range at all, or the last 0 bytes, or one that ends before it begins
        assert (answer.status_code, answer.data) == (200, DATA)


LARGE = content_of(20 << 20)
PART = 59 * (256 << 10)
"""The bytes of content in the first part of a large share: as many chunks as fit 16 MiB with the largest index."""


@pytest.fixture(scope="module")
def large(server: Server) -> str:
    """A link to 20 MiB in chunks of the usual size and in more than one part."""
    link = curl("--fail", "-T", "-", f"{server.url}/", data=LARGE).stdout.decode().strip()
    assert len(list((server.content / "blobs").glob("*/1-*"))) >= 1
    return link


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        ((256 << 10) - 1, (256 << 10) + 1),
        (PART - 1, PART + 1),
        (PART, PART + 1),
        (PART - (1 << 20), PART + (1 << 20)),
        (len(LARGE) - 1, len(LARGE)),
        (0, len(LARGE)),
    ],
)
def test_curl_gets_ranges_across_chunks_and_parts(large: str, start: int, stop: int) -> None:
    got = curl("--fail", "-r", f"{start}-{stop - 1}", large)
    assert (got.returncode, got.stdout == LARGE[start:stop]) == (0, True)


def test_curl_resumes(large: str, tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(LARGE[: 7 << 20])
    assert curl("--fail", "-C", "-", "-o", str(tmp_path / "half"), large).returncode == 0
    assert (tmp_path / "half").read_bytes() == LARGE


# Conditions: RFC 9110, section 13.


def etag_of(client: FlaskClient, path: str) -> str:
    """The ETag of an answer."""
    return client.head(path).headers["ETag"]


def test_an_etag_is_a_hash_and_the_number_of_the_file(shared_client: FlaskClient, album: str) -> None:
    tags = [etag_of(shared_client, f"/{token_of(album)}/{number}/x") for number in (1, 2, 3)]
    matches = [re.fullmatch(r'"([0-9a-f]{32})-([0-9]+)"', tag) for tag in tags]
    assert [match and match[2] for match in matches] == ["1", "2", "3"]
    assert len({match and match[1] for match in matches}) == 1


def test_an_etag_holds_nothing_of_the_link_or_the_owner_link(shared_client: FlaskClient) -> None:
    told = sent(shared_client, file(DATA)).get_json()
    tag = etag_of(shared_client, urlsplit(told["url"]).path)
    for secret in (token_of(urlsplit(told["url"]).path), told["owner_url"].rpartition("/")[2], told["id"]):
        assert not any(secret[start : start + 8] in tag for start in range(len(secret) - 7))


def test_the_same_bytes_have_another_etag_in_another_share(shared_client: FlaskClient) -> None:
    links = [link_in(shared_client.put("/a", data=DATA)) for _ in range(2)]
    assert etag_of(shared_client, links[0]) != etag_of(shared_client, links[1])


def test_an_etag_stays(shared_client: FlaskClient, link: str) -> None:
    assert etag_of(shared_client, link) == etag_of(shared_client, f"/{token_of(link)}.other")


KNOWN = ["{tag}", "W/{tag}", '"other", {tag}', '"other", W/{tag}', "*"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("known", KNOWN)
def test_who_has_it_already_gets_304(shared_client: FlaskClient, link: str, known: str, method: str) -> None:
    tag = etag_of(shared_client, link)
    answer = shared_client.open(link, method=method, headers={"If-None-Match": known.format(tag=tag)})
    assert (answer.status_code, answer.data) == (304, b"")
    assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == (tag, "private, no-cache, no-transform")


@pytest.mark.parametrize("known", ['"other"', "other", "", 'W/"other"', '"', "{bare}x"])
def test_who_has_another_gets_it(shared_client: FlaskClient, link: str, known: str) -> None:
    bare = etag_of(shared_client, link).strip('"')
    assert shared_client.get(link, headers={"If-None-Match": known.format(bare=bare)}).data == DATA


def test_a_wrong_link_is_never_304(shared_client: FlaskClient) -> None:
    assert shared_client.get("/" + "x" * 32, headers={"If-None-Match": "*"}).status_code == 404


def test_if_none_match_goes_before_range(shared_client: FlaskClient, link: str) -> None:
    headers = {"If-None-Match": etag_of(shared_client, link), "Range": "bytes=0-0"}
    assert shared_client.get(link, headers=headers).status_code == 304


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{tag}", 206),
        (" {tag} ", 206),
        ("W/{tag}", 200),
        ('"other"', 200),
        ("{bare}", 200),
        ("{tag}, {tag}", 200),
        ("*", 200),
        ("", 200),
        ("Sat, 21 Nov 2026 00:00:00 GMT", 200),
        ("Sat, 21 Nov 2099 00:00:00 GMT", 200),
    ],
)
def test_a_range_of_other_bytes_is_not_given(
    shared_client: FlaskClient, link: str, condition: str, status: int
) -> None:
    tag = etag_of(shared_client, link)
    headers = {"Range": "bytes=1-2", "If-Range": condition.format(tag=tag, bare=tag.strip('"'))}
    answer = shared_client.get(link, headers=headers)
    assert (answer.status_code, answer.data) == (status, DATA[1:3] if status == 206 else DATA)


def test_if_range_forgives_a_range_that_cannot_be(shared_client: FlaskClient, link: str) -> None:
    answer = shared_client.get(link, headers={"Range": f"bytes={SIZE}-", "If-Range": '"other"'})
    assert (answer.status_code, answer.data) == (200, DATA)


def test_if_range_without_a_range_is_nothing(shared_client: FlaskClient, link: str) -> None:
    assert shared_client.get(link, headers={"If-Range": '"other"'}).status_code == 200


# Several files.


def test_the_list_as_text_is_the_links(shared_client: FlaskClient, album: str) -> None:
    base = f"http://localhost/{token_of(album)}"
    answer = shared_client.get(album, headers={"Accept": "*/*"})
    assert answer.mimetype == "text/plain"
    assert answer.text.splitlines() == [
        f"{base}/1/a.txt",
        f"{base}/2/b%20%26%20%3Cc%3E.png",
        f"{base}/3/%D0%BF%D1%83%D1%81%D1%82%D0%BE",
    ]


def test_the_list_as_json_has_names_types_and_sizes(shared_client: FlaskClient, album: str) -> None:
    told = shared_client.get(album, headers=JSON).get_json()
    base = f"http://localhost/{token_of(album)}"
    assert told == {
        "files": [
            {"name": "a.txt", "type": "text/plain", "size": 5, "url": f"{base}/1/a.txt"},
            {"name": "b & <c>.png", "type": "image/png", "size": SIZE, "url": f"{base}/2/b%20%26%20%3Cc%3E.png"},
            {
                "name": "пусто",
                "type": "application/octet-stream",
                "size": 0,
                "url": f"{base}/3/%D0%BF%D1%83%D1%81%D1%82%D0%BE",
            },
        ],
        "zip_url": f"{base}.zip",
        "expires": None,
    }


def test_the_list_tells_when_it_expires(client: FlaskClient) -> None:
    answer = client.post("/?expires=1h", **form(file(b"1"), file(b"2")))
    assert client.get(link_in(answer), headers=JSON).get_json()["expires"] == "2027-01-15T09:00:00Z"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain", "text/plain"),
        ("image/png", "text/plain"),
        ("nonsense", "text/plain"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "text/plain"),
        ("application/json, */*;q=0.1", "application/json"),
        ("application/*", "application/json"),
        ("text/html", "text/html"),
        (BROWSER["Accept"], "text/html"),
    ],
)
def test_the_list_is_what_was_asked_for(shared_client: FlaskClient, album: str, accept: str | None, media: str) -> None:
    answer = shared_client.get(album, headers={"Accept": accept} if accept else {})
    assert (answer.mimetype, answer.headers["Vary"]) == (media, "Accept")


def test_a_list_has_no_etag(shared_client: FlaskClient, album: str) -> None:
    assert "ETag" not in shared_client.get(album).headers


@pytest.mark.parametrize("ending", [".png", ".txt", ".zip.txt", "."])
def test_any_ending_but_zip_gives_the_list(shared_client: FlaskClient, album: str, ending: str) -> None:
    assert shared_client.get(f"/{token_of(album)}{ending}").text.count("\n") == 3


@pytest.mark.parametrize("name", ["", "a.txt", "whatever", "../../x", "a%0Ab", "1/2/3", "%00"])
@pytest.mark.parametrize(("number", "data"), [(1, b"first"), (2, DATA), (3, b"")])
def test_a_number_is_enough_to_find_a_file(
    shared_client: FlaskClient, album: str, number: int, data: bytes, name: str
) -> None:
    assert shared_client.get(f"/{token_of(album)}/{number}/{name}").data == data


@pytest.mark.parametrize("number", ["0", "4", "1000000", "9" * 5000, "-1", "1.0", "x", "+1"])
def test_a_number_that_no_file_has_is_404(shared_client: FlaskClient, album: str, number: str) -> None:
    assert shared_client.get(f"/{token_of(album)}/{number}/a.txt").status_code == 404


def test_each_file_has_its_own_type_and_name(shared_client: FlaskClient, album: str) -> None:
    headers = [shared_client.get(f"/{token_of(album)}/{number}/x").headers for number in (1, 2, 3)]
    assert [told_name(one["Content-Disposition"]) for one in headers] == ["a.txt", "b & _c_.png", "пусто"]
    assert [one["Content-Type"].partition(";")[0] for one in headers] == [
        "text/plain",
        "image/png",
        "application/octet-stream",
    ]


def test_ranges_of_one_file_stay_within_it(shared_client: FlaskClient, album: str) -> None:
    asked = ["bytes=3-100", "bytes=-2", "bytes=5-"]
    answers = [shared_client.get(f"/{token_of(album)}/1/", headers={"Range": one}) for one in asked]
    assert [(answer.status_code, answer.data) for answer in answers] == [(206, b"st"), (206, b"st"), (416, b"")]


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 2 * C + 1), min_size=2, max_size=8))
def test_files_of_any_sizes_keep_apart(shared_client: FlaskClient, sizes: list[int]) -> None:
    files = [content_of(size) for size in sizes]
    link = link_in(sent(shared_client, *(file(data, f"{number}") for number, data in enumerate(files))))
    assert [shared_client.get(f"{link}/{number + 1}/").data for number in range(len(files))] == files
    with archive_of(shared_client, link) as archive:
        assert [archive.read(f"{number}") for number in range(len(files))] == files


# The zip of several files.


def archive_of(client: FlaskClient, link: str) -> zipfile.ZipFile:
    """The zip of a share, opened."""
    return zipfile.ZipFile(io.BytesIO(client.get(f"{link}.zip").data))


def test_the_zip_holds_the_files(shared_client: FlaskClient, album: str) -> None:
    with archive_of(shared_client, album) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a.txt": b"first",
            "b & _c_.png": DATA,
            "пусто": b"",
        }


def test_the_zip_has_the_length_that_was_told(shared_client: FlaskClient, album: str) -> None:
    answer = shared_client.get(f"{album}.zip")
    assert answer.headers["Content-Length"] == str(len(answer.data))


def test_the_zip_is_stored_with_times_that_never_change(shared_client: FlaskClient, album: str) -> None:
    with archive_of(shared_client, album) as archive:
        assert {(info.compress_type, info.date_time) for info in archive.infolist()} == {
            (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
        }


def test_the_zip_is_the_same_each_time(shared_client: FlaskClient, album: str) -> None:
    assert shared_client.get(f"{album}.zip").data == shared_client.get(f"{album}.zip").data


def test_the_zip_is_a_download_without_ranges(shared_client: FlaskClient, album: str) -> None:
    answer = shared_client.get(f"{album}.zip", headers={"Range": "bytes=0-0"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="onekey.zip"'
    assert not {"Accept-Ranges", "Content-Range", "ETag"} & set(answer.headers.keys())


@pytest.mark.parametrize(
    ("given_names", "unpacked"),
    [
        (["a.txt", "a.txt", "a.txt"], ["a.txt", "a (2).txt", "a (3).txt"]),
        (["a.txt", "A.TXT"], ["a.txt", "A (2).TXT"]),
        (["a", "a"], ["a", "a (2)"]),
        (["a.txt", "a (2).txt", "a.txt"], ["a.txt", "a (2).txt", "a (3).txt"]),
        (["a.txt", "a.txt", "a (2).txt"], ["a.txt", "a (2).txt", "a (2) (2).txt"]),
        (["x<", "x>"], ["x_", "x_ (2)"]),
        (["é", "e\u0301"], ["é", "é (2)"]),
        (["straße", "STRASSE"], ["straße", "STRASSE (2)"]),
        (["../a", "a"], ["a", "a (2)"]),
        (["", "a"], ["a"]),
    ],
)
def test_no_two_names_in_a_zip_are_alike_on_any_system(
    shared_client: FlaskClient, given_names: list[str], unpacked: list[str]
) -> None:
    parts = [file(b"x" if name else b"", name) for name in given_names]
    extra = [file(b"x", "last")]
    with archive_of(shared_client, link_in(sent(shared_client, *parts, *extra))) as archive:
        assert archive.namelist() == [*unpacked, "last"]


def test_very_long_names_that_are_alike_still_fit(shared_client: FlaskClient) -> None:
    link = link_in(sent(shared_client, *(file(b"x", "é" * 125 + ".text") for _ in range(3))))
    with archive_of(shared_client, link) as archive:
        assert len({name.casefold() for name in archive.namelist()}) == 3
        assert all(len(name.encode()) <= 255 for name in archive.namelist())


@pytest.mark.parametrize("name", ["a.txt", "folder/a.txt", "é" * 125 + ".text"])
def test_ten_thousand_equal_names_are_told_apart(name: str) -> None:
    told = names.unique([name] * 10_000)
    assert len({one.casefold() for one in told}) == 10_000


def test_unzip_finds_nothing_wrong(server: Server, tmp_path: Path) -> None:
    needs("unzip")
    (tmp_path / "ü.bin").write_bytes(LARGE[:1_000_000])
    (tmp_path / "b.txt").write_bytes(b"text")
    forms = [argument for name in ("ü.bin", "b.txt") for argument in ("-F", f"file=@{tmp_path / name}")]
    link = curl("--fail", *forms, f"{server.url}/").stdout.decode().strip()
    assert curl("--fail", "-o", str(tmp_path / "all.zip"), f"{link}.zip").returncode == 0
    tested = subprocess.run(["unzip", "-t", str(tmp_path / "all.zip")], capture_output=True, check=False)
    assert (tested.returncode, b"No errors detected" in tested.stdout) == (0, True)


def entries(named_sizes: list[tuple[str, int]]) -> Iterator[zips.Entry]:
    """Entries of zeros, of which no more than 1 MiB is there at a time."""
    zeros = bytes(1 << 20)
    for name, size in named_sizes:
        full, rest = divmod(size, len(zeros))
        yield zips.Entry(name, size, (piece for piece in [*[zeros] * full, zeros[:rest]] if piece))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20), st.integers(0, 99)),
        unique_by=lambda entry: entry[0],
        max_size=6,
    )
)
def test_the_length_of_any_zip_is_known_beforehand(named_sizes: list[tuple[str, int]]) -> None:
    written = b"".join(zips.write(entries(named_sizes)))
    assert len(written) == zips.length(named_sizes)
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert [(info.filename, info.file_size) for info in archive.infolist()] == named_sizes


def written_sparsely(path: Path, named_sizes: list[tuple[str, int]]) -> int:
    """Write an archive of zeros to a file that has holes for them; gives its length."""
    with path.open("wb") as archive:
        for piece in zips.write(entries(named_sizes)):
            if piece.strip(b"\0"):
                archive.write(piece)
            else:
                archive.seek(len(piece), io.SEEK_CUR)
        archive.truncate()
    return path.stat().st_size


G2 = 1 << 31


@pytest.mark.slow
@pytest.mark.parametrize(
    "named_sizes",
    [
        [("below.bin", G2 - 1)],
        [("at.bin", G2)],
        [("above.bin", G2 + 1)],
        [("above.bin", (1 << 32) + 1), ("behind.txt", 5)],
        [("one.bin", (1 << 32) - 1), ("two.bin", 1 << 32), ("three.bin", 0)],
        [("a", G2 - 50), ("b", 0), ("c", 0), ("d", 0), ("e", 0)],
    ],
    ids=["2 GiB - 1", "2 GiB", "2 GiB + 1", "4 GiB + 1", "4 GiB twice", "offsets across 2 GiB"],
)
def test_a_huge_zip_has_the_length_that_was_told(tmp_path: Path, named_sizes: list[tuple[str, int]]) -> None:
    assert written_sparsely(tmp_path / "huge.zip", named_sizes) == zips.length(named_sizes)
    with zipfile.ZipFile(tmp_path / "huge.zip") as archive:
        assert [(info.filename, info.file_size) for info in archive.infolist()] == named_sizes
        assert archive.testzip() is None


@pytest.mark.parametrize("count", [65_535, 65_536])
def test_a_zip_of_many_files_has_the_length_that_was_told(count: int) -> None:
    named_sizes = [(f"{number}.txt", 1) for number in range(count)]
    written = b"".join(zips.write(entries(named_sizes)))
    assert len(written) == zips.length(named_sizes)
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert len(archive.infolist()) == count


# Links that open nothing.


def _deleted(client: FlaskClient, _: Clock) -> str:
    told = sent(client, file(b"x")).get_json()
    assert client.post(urlsplit(told["delete_url"]).path).status_code == 200
    return str(urlsplit(told["url"]).path)


def _expired(client: FlaskClient, clock: Clock) -> str:
    link = link_in(client.put("/a?expires=1h", data=b"x"))
    clock.now += 3600
    return link


def _nearly(client: FlaskClient, _: Clock) -> str:
    link = link_in(client.put("/a", data=b"x"))
    return f"/{'A' if link[1] != 'A' else 'B'}{link[2:]}"


def _owner_token(client: FlaskClient, _: Clock) -> str:
    return "/" + str(sent(client, file(b"x")).get_json()["owner_url"]).rpartition("/")[2]


def _id(client: FlaskClient, _: Clock) -> str:
    return "/" + str(sent(client, file(b"x")).get_json()["id"])


WRONG: dict[str, Callable[[FlaskClient, Clock], str]] = {
    "never was": lambda *_: "/" + "x" * 32,
    "deleted": _deleted,
    "expired": _expired,
    "one letter off": _nearly,
    "an owner token": _owner_token,
    "a share's id": _id,
    "too short": lambda *_: "/" + "x" * 31,
    "too long": lambda *_: "/" + "x" * 33,
    "no token at all": lambda *_: "/index.php",
    "a character that no token has": lambda *_: "/" + "x" * 31 + "!",
    "padding": lambda *_: "/" + "x" * 30 + "==",
    "another script": lambda *_: "/" + "х" * 32,
    "a path": lambda *_: "/wp-admin/setup/index.php",
    "a path above": lambda *_: "/../../etc/passwd",
    "nothing between slashes": lambda *_: "/" + "x" * 32 + "//",
    "bytes that are no text": lambda *_: "/%ff%fe%00",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_link_is_404(client: FlaskClient, clock: Clock, kind: str, method: str) -> None:
    assert client.open(WRONG[kind](client, clock), method=method).status_code == 404


@pytest.mark.parametrize("headers", [{}, JSON, BROWSER], ids=["text", "json", "html"])
@pytest.mark.parametrize("kind", WRONG)
def test_nobody_can_tell_why(client: FlaskClient, clock: Clock, kind: str, headers: dict[str, str]) -> None:
    never = client.get("/" + "z" * 32, headers=headers)
    wrong = client.get(WRONG[kind](client, clock), headers=headers)
    assert (shown(wrong), wrong.data) == (shown(never), never.data)


@pytest.mark.parametrize("suffix", ["/1/", "/1/a.txt", "/99/a.txt", ".zip"])
@pytest.mark.parametrize("kind", ["never was", "deleted", "expired", "one letter off"])
def test_nor_below_a_wrong_link(client: FlaskClient, clock: Clock, kind: str, suffix: str) -> None:
    never = client.get("/" + "z" * 32)
    wrong = client.get(WRONG[kind](client, clock).partition(".")[0] + suffix)
    assert (shown(wrong), wrong.data) == (shown(never), never.data)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "There is nothing here: it has expired, was deleted, or the link is not whole.\n"),
        (
            JSON,
            '{"error":"not_found",'
            '"message":"There is nothing here: it has expired, was deleted, or the link is not whole."}\n',
        ),
    ],
)
def test_the_error_is_what_was_asked_for(client: FlaskClient, headers: dict[str, str], expected: str) -> None:
    assert client.get("/" + "x" * 32, headers=headers).text == expected


def test_the_page_of_the_error_says_it_in_words(client: FlaskClient) -> None:
    answer = client.get("/" + "x" * 32, headers=BROWSER)
    assert answer.mimetype == "text/html"
    assert "it has expired, was deleted, or the link is not whole" in answer.text


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_a_link_is_only_to_be_read(shared_client: FlaskClient, link: str, method: str) -> None:
    answer = shared_client.open(link, method=method)
    assert answer.status_code == 405
    assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))
