"""`/metrics`: who may read it, what is counted and under which labels, and that all processes add up."""

import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from onekey import __version__
from onekey.app import App
from onekey.app import sweep as sweep_once
from onekey.web.services import services_of
from tests.conftest import Clock
from tests.sealing import Door, begin, put, seal, store
from tests.servers import Server, wait_for

TOKEN = "geheim and more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
DAY = 86_400
MIB = 1 << 20

Sample = tuple[str, frozenset[tuple[str, str]]]
MakeApp = Callable[..., App]


def samples(text: str) -> dict[Sample, float]:
    """All numbers of an answer in Prometheus' text form, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Numbers:
    """What `/metrics` says."""

    def __init__(self, text: str) -> None:
        self.all = samples(text)

    def __call__(self, name: str, **labels: str) -> float:
        """One number; 0 where it is not there."""
        return self.all.get((f"onekey_{name}", frozenset(labels.items())), 0.0)

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all numbers of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.all.items() if found == f"onekey_{name}" and wanted <= has)

    def labels(self, name: str, label: str) -> set[str]:
        """All values of a label of a name."""
        return {dict(has)[label] for found, has in self.all if found == f"onekey_{name}"}


def numbers(app: Flask) -> Numbers:
    """What an application of this process says."""
    answer = ask(app, "GET", "/metrics", headers=BEARER)
    assert answer.status_code == 200, answer.text
    return Numbers(answer.text)


def ask(app: Flask, method: str, path: str, **more: object) -> TestResponse:
    """The answer to a request, read to its end."""
    return app.test_client().open(path, method=method, buffered=True, **more)  # type: ignore[arg-type]


def upload(app: Flask, data: bytes = b"abc", query: str = "") -> str:
    """Upload a file; gives the path of its link."""
    answer = ask(app, "PUT", f"/a.bin{query}", data=data)
    assert answer.status_code == 201, answer.text
    return answer.text.strip().removeprefix("http://localhost")


def rows(folder: Path) -> dict[tuple[str, str], float]:
    """The counts in the database."""
    with closing(sqlite3.connect(folder / "onekey.db")) as raw:
        return {(name, label): value for name, label, value in raw.execute("SELECT name, label, value FROM counts")}


@pytest.fixture
def app(make_app: MakeApp) -> App:
    """An application that counts."""
    return make_app(METRICS_TOKEN=TOKEN, CHUNK_SIZE="4096")


# Who may read it.


UNKNOWN = "/metrixx"


def same_as_unknown(client: FlaskClient, method: str, headers: dict[str, str]) -> bool:
    """Whether /metrics answers as an address that nothing is known of."""
    found, unknown = (client.open(path, method=method, headers=headers) for path in ("/metrics", UNKNOWN))
    return (found.status_code, found.data, found.headers) == (unknown.status_code, unknown.data, unknown.headers)


WRONG = {
    "nothing": {},
    "another token": {"Authorization": "Bearer geheim"},
    "the token and more": {"Authorization": f"Bearer {TOKEN}!"},
    "no token": {"Authorization": "Bearer"},
    "an empty token": {"Authorization": "Bearer "},
    "Basic": {"Authorization": f"Basic {TOKEN}"},
    "the bare token": {"Authorization": TOKEN},
    "another header": {"X-Onekey-Secret": TOKEN},
    "not ASCII": {"Authorization": "Bearer gehÿm"},
    "another host": {"Host": "stranger.example"},
    "another host and a wrong token": {"Host": "stranger.example", "Authorization": "Bearer geheim"},
}
NOT_GET = ("HEAD", "POST", "DELETE", "PATCH", "OPTIONS")


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_without_the_token_it_is_an_unknown_address(app: App, headers: dict[str, str]) -> None:
    assert same_as_unknown(app.test_client(), "GET", headers)


@pytest.mark.parametrize("method", NOT_GET)
def test_without_the_token_every_method_answers_as_at_an_unknown_address(app: App, method: str) -> None:
    assert same_as_unknown(app.test_client(), method, {})


@pytest.mark.parametrize("method", ["GET", *NOT_GET])
@pytest.mark.parametrize("headers", [{}, BEARER, {"Authorization": "Bearer "}], ids=["bare", "token", "empty token"])
def test_where_no_token_is_set_it_is_an_unknown_address(
    client: FlaskClient, method: str, headers: dict[str, str]
) -> None:
    assert same_as_unknown(client, method, headers)


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
def test_with_the_token_it_answers(app: App, shown: str) -> None:
    assert ask(app, "GET", "/metrics", headers={"Authorization": shown}).status_code == 200


def test_a_token_that_is_not_ascii_is_one_too(make_app: MakeApp) -> None:
    shown = "Bearer schlüssel".encode().decode("latin-1")  # as it is in a WSGI environment
    answer = ask(make_app(METRICS_TOKEN="schlüssel"), "GET", "/metrics", headers={"Authorization": shown})
    assert answer.status_code == 200


def test_who_has_the_token_may_ask_by_any_host_name(app: App) -> None:
    assert ask(app, "GET", "/metrics", headers={**BEARER, "Host": "10.1.2.3:8000"}).status_code == 200


def test_the_token_opens_no_other_address_to_another_host(app: App) -> None:
    assert ask(app, "GET", "/", headers={**BEARER, "Host": "10.1.2.3:8000"}).status_code == 400


def test_it_has_the_type_of_the_text_form(app: App) -> None:
    answer = ask(app, "GET", "/metrics", headers=BEARER)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_nobody_keeps_it(app: App) -> None:
    assert ask(app, "GET", "/metrics", headers=BEARER).headers["Cache-Control"] == "no-store"


def test_a_file_can_still_be_called_metrics(app: App) -> None:
    assert ask(app, "PUT", "/metrics", data=b"abc").status_code == 201


def test_every_number_says_what_it_is(app: App) -> None:
    upload(app)
    text = ask(app, "GET", "/metrics", headers=BEARER).text
    families = list(text_string_to_metric_families(text))
    assert families
    assert [
        family.name for family in families if not family.documentation or not family.name.startswith("onekey_")
    ] == []


def test_where_no_token_is_set_nothing_is_counted(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    link = upload(app)
    ask(app, "GET", link)
    sweep_once(app)
    services_of(app.extensions).tally.flush()
    assert {name for name, _ in rows(tmp_path / "content")} == {"stored_bytes"}


def test_where_no_token_is_set_no_answer_is_wrapped(make_app: MakeApp) -> None:
    assert make_app().wsgi_app.__func__ is Flask.wsgi_app  # type: ignore[attr-defined]


# Requests.


@pytest.mark.parametrize(
    ("method", "path", "door", "status"),
    [
        ("GET", "/", "pages", "200"),
        ("HEAD", "/", "pages", "200"),
        ("GET", "/healthz", "pages", "200"),
        ("GET", "/nothing/here", "direct", "404"),
        ("GET", "/api/v1/info", "api", "200"),
        ("GET", "/api/v1/nothing", "api", "404"),
        ("PUT", "/a.txt", "intake", "201"),
        ("POST", "/", "intake", "201"),
        ("DELETE", "/", "other", "405"),
        ("GET", "/static/style.css", "static", "200"),
        ("GET", "/metrics", "metrics", "404"),
        ("GET", "/checkup/abc", "checkup", "404"),
        ("OPTIONS", "/api/v1/info", "api", "204"),
        ("BREW", "/", "other", "405"),
    ],
)
def test_a_request_counts_by_door_method_and_status(app: App, method: str, path: str, door: str, status: str) -> None:
    ask(app, method, path)
    told = method if method != "BREW" else "other"
    found = numbers(app)
    assert {key: value for key, value in found.all.items() if key[0] == "onekey_requests_total"} == {
        ("onekey_requests_total", frozenset({("door", door), ("method", told), ("status", status)})): 1.0
    }


def test_a_request_for_another_host_counts(app: App) -> None:
    ask(app, "GET", "/", headers={"Host": "stranger.example"})
    assert numbers(app)("requests_total", door="pages", method="GET", status="400") == 1


def test_an_answer_that_fails_counts(app: App, tmp_path: Path) -> None:
    link = upload(app)
    for file in (tmp_path / "content" / "blobs").rglob("0-*"):
        file.write_bytes(bytes(file.stat().st_size))
    ask(app, "GET", link)
    assert numbers(app)("requests_total", door="direct", method="GET", status="500") == 1


def test_what_a_client_makes_up_makes_no_labels(app: App, tmp_path: Path) -> None:
    link = upload(app)
    numbers(app)
    before = rows(tmp_path / "content").keys()
    for number in range(50):
        ask(app, f"METHOD{number}", f"/path{number}", headers={"Accept": f"made/up{number}"})
        ask(app, "GET", f"{link}?q={number}", headers={"Range": f"bytes={number}-", "User-Agent": f"a{number}"})
        ask(app, "GET", f"/path{number}")
        ask(app, "GET", f"/api/v1/path{number}")
    numbers(app)
    assert len(rows(tmp_path / "content").keys() - before) < 30


def test_no_label_holds_what_belongs_to_a_share(app: App, tmp_path: Path) -> None:
    link = upload(app, b"abc")
    container = store(Door(app), seal(b"abc"))
    ask(app, "GET", link)
    ask(app, "GET", f"/manage/{container.id}/{'o' * 32}")
    text = ask(app, "GET", "/metrics", headers=BEARER).text + repr(rows(tmp_path / "content"))
    hidden = (link[1:33], container.id, container.token, "127.0.0.1", "localhost", "a.bin", "manage")
    assert [word for word in hidden if word in text] == []


def test_a_count_of_another_version_does_no_harm(app: App, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "content" / "onekey.db")) as raw, raw:
        raw.execute("INSERT INTO counts VALUES ('requests', 'direct', 3), ('unheard', 'of', 4), ('cut', '', 5)")
    assert numbers(app).all.keys() & {("onekey_requests_total", frozenset({("door", "direct")}))} == set()


# Bytes and time.


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_the_bytes_of_a_body_are_counted_as_they_come(app: App, size: int) -> None:
    upload(app, bytes(size))
    assert numbers(app)("received_bytes_total", door="intake") == size


def test_the_bytes_of_a_form_are_counted(app: App) -> None:
    sent = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nabc\r\n--x--\r\n"
    ask(app, "POST", "/", data=sent, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert numbers(app)("received_bytes_total", door="intake") == len(sent)


def test_the_bytes_of_parts_are_counted_at_their_door(app: App) -> None:
    door, container = Door(app), seal(bytes(30_000))
    begin(door, container)
    before = numbers(app)("received_bytes_total", door="api")
    put(door, container, 0)
    assert numbers(app)("received_bytes_total", door="api") - before == len(container.parts[0])


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_the_bytes_of_a_download_are_counted(app: App, size: int) -> None:
    ask(app, "GET", upload(app, bytes(size)))
    assert numbers(app)("sent_bytes_total", door="direct") == size


def test_of_a_range_the_bytes_of_the_range_are_counted(app: App) -> None:
    ask(app, "GET", upload(app, bytes(20_000)), headers={"Range": "bytes=5000-14999"})
    assert numbers(app)("sent_bytes_total", door="direct") == 10_000


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}], ids=["HEAD", "304"])
def test_an_answer_without_a_body_sends_nothing(app: App, headers: dict[str, str]) -> None:
    ask(app, "GET" if headers else "HEAD", upload(app, bytes(20_000)), headers=headers)
    assert numbers(app)("sent_bytes_total", door="direct") == 0


def test_bytes_are_counted_when_the_answer_is_over_and_not_before(app: App) -> None:
    link = upload(app, bytes(50_000))
    answer = app.test_client().get(link)
    pieces = answer.iter_encoded()
    next(pieces)
    assert numbers(app)("sent_bytes_total", door="direct") == 0
    assert sum(map(len, pieces)) > 0
    answer.close()
    assert numbers(app)("sent_bytes_total", door="direct") == 50_000


def test_an_answer_is_counted_once_however_often_it_is_closed(app: App) -> None:
    answer = app.test_client().get(upload(app, bytes(50_000)))
    assert len(answer.data) == 50_000
    answer.close()
    answer.close()
    assert numbers(app)("requests_total", door="direct", method="GET", status="200") == 1


def test_an_answer_that_is_left_by_its_reader_counts_as_cut_by_the_client(app: App) -> None:
    answer = app.test_client().get(upload(app, bytes(50_000)))
    next(answer.iter_encoded())
    answer.close()
    found = numbers(app)
    assert found("answers_cut_total", door="direct", side="client") == 1
    assert 0 < found("sent_bytes_total", door="direct") < 50_000


def test_an_answer_that_meets_damage_counts_as_cut_by_the_server(app: App, tmp_path: Path) -> None:
    link = upload(app, bytes(50_000))
    (file,) = (tmp_path / "content" / "blobs").rglob("0-*")
    with file.open("r+b") as stored:
        stored.seek(30_000)
        stored.write(b"damage")
    with pytest.raises(ConnectionResetError):
        ask(app, "GET", link)
    found = numbers(app)
    assert found("answers_cut_total", door="direct", side="server") == 1
    assert found.sum("answers_cut_total") == 1


def test_an_answer_that_is_read_to_its_end_is_not_cut(app: App) -> None:
    ask(app, "GET", upload(app, bytes(50_000)))
    assert numbers(app).sum("answers_cut_total") == 0


def test_each_request_is_in_the_histogram_of_its_door(app: App) -> None:
    for _ in range(3):
        ask(app, "GET", "/")
    ask(app, "GET", "/api/v1/info")
    found = numbers(app)
    assert (found("seconds_count", door="pages"), found("seconds_count", door="api")) == (3, 1)


def test_the_buckets_of_a_histogram_add_up(app: App) -> None:
    for _ in range(5):
        ask(app, "GET", "/")
    found = numbers(app)
    bounds = sorted(found.labels("seconds_bucket", "le"), key=float)
    values = [found("seconds_bucket", door="pages", le=bound) for bound in bounds]
    assert values == sorted(values)
    assert (bounds[-1], values[-1]) == ("+Inf", 5)


def test_a_duration_lasts_until_the_answer_is_over(app: App) -> None:
    with app.test_client().get(upload(app, bytes(50_000))) as answer:
        pieces = answer.iter_encoded()
        next(pieces)
        wait_for(lambda: numbers(app)("seconds_sum", door="metrics") > 0.05)
        list(pieces)
    assert numbers(app)("seconds_sum", door="direct") > 0.05


# What happened to shares.


def test_an_upload_at_the_direct_door_counts(app: App) -> None:
    upload(app)
    found = numbers(app)
    assert (found("uploads_total", door="direct"), found("uploads_total", door="sealed")) == (1, 0)


def test_an_upload_at_the_sealed_door_counts_when_it_is_finished(app: App) -> None:
    door, container = Door(app), seal(b"abc")
    begin(door, container)
    put(door, container, 0)
    before = numbers(app)("uploads_total", door="sealed")
    store(door, container)
    assert (before, numbers(app)("uploads_total", door="sealed")) == (0, 1)


def test_a_finish_that_is_repeated_counts_once(app: App) -> None:
    door, container = Door(app), store(Door(app), seal(b"abc"))
    for _ in range(3):
        assert door.ask("POST", f"{container.upload}/finish", container.by_owner, json=container.finish).status == 200
    assert numbers(app)("uploads_total", door="sealed") == 1


@pytest.mark.parametrize(("query", "headers"), [("?opens=0", {}), ("", {"Content-Encoding": "gzip"})])
def test_an_upload_that_is_refused_does_not_count(app: App, query: str, headers: dict[str, str]) -> None:
    assert ask(app, "PUT", f"/a{query}", data=b"abc", headers=headers).status_code == 400
    assert numbers(app).sum("uploads_total") == 0


def test_an_open_without_a_limit_counts(app: App) -> None:
    link = upload(app)
    for _ in range(2):
        ask(app, "GET", link)
    assert numbers(app)("opens_total", kind="unlimited") == 2


def test_an_open_at_the_sealed_door_counts(app: App) -> None:
    container = store(Door(app), seal(b"abc"))
    Door(app).ask("POST", f"{container.share}/open", container.by_access())
    assert numbers(app)("opens_total", kind="unlimited") == 1


def test_of_a_limited_share_the_opens_that_are_taken_count(app: App) -> None:
    link = upload(app, query="?opens=1")
    statuses = [ask(app, "POST", link).status_code for _ in range(3)]
    assert statuses == [303, 404, 404]
    assert numbers(app)("opens_total", kind="limited") == 1


def test_looking_at_a_limited_share_is_no_open(app: App) -> None:
    link = upload(app, query="?opens=1")
    ask(app, "GET", link)
    ask(app, "HEAD", link)
    assert numbers(app).sum("opens_total") == 0


def test_an_open_that_is_given_back_counts(app: App, clock: Clock) -> None:
    link = upload(app, query="?opens=2")
    ask(app, "POST", link)
    clock.now += 3601
    sweep_once(app)
    assert numbers(app)("opens_given_back_total") == 1


def test_an_open_that_is_given_back_to_be_taken_again_counts(app: App, clock: Clock) -> None:
    link = upload(app, query="?opens=1")
    ask(app, "POST", link)
    clock.now += 3601
    assert ask(app, "POST", link).status_code == 303
    found = numbers(app)
    assert (found("opens_given_back_total"), found("opens_total", kind="limited")) == (1, 2)


def test_an_open_that_was_used_is_not_given_back(app: App, clock: Clock) -> None:
    taken = ask(app, "POST", upload(app, query="?opens=2"))
    ask(app, "GET", taken.headers["Location"].removeprefix("http://localhost"))
    clock.now += 2 * DAY
    sweep_once(app)
    assert numbers(app)("opens_given_back_total") == 0


def test_guesses_at_a_password_that_are_refused_count(app: App) -> None:
    door, container = Door(app), store(Door(app), seal(b"abc", password="geheim"))
    for number in range(12):
        door.ask("POST", f"{container.share}/open", container.by_access(access=bytes([number]) * 32))
    found = numbers(app)
    assert (found("guesses_refused_total", kind="password"), found("guesses_refused_total", kind="secret")) == (2, 0)


def test_guesses_at_an_upload_secret_that_are_refused_count(make_app: MakeApp) -> None:
    app = make_app(METRICS_TOKEN=TOKEN, UPLOAD_SECRET="sesame")
    for number in range(13):
        ask(app, "PUT", "/a", data=b"abc", headers={"X-Onekey-Secret": f"wrong {number}"})
    found = numbers(app)
    assert (found("guesses_refused_total", kind="password"), found("guesses_refused_total", kind="secret")) == (0, 3)


def test_sweeps_and_what_they_did_count(app: App, clock: Clock) -> None:
    upload(app, query="?expires=1h")
    upload(app, query="?expires=1h")
    upload(app)
    for _ in range(3):
        clock.now += DAY
        sweep_once(app)
    found = numbers(app)
    assert found("sweeps_total", result="done") == 3
    assert {what: found("swept_total", what=what) for what in ("marked", "removed", "left")} == {
        "marked": 2,
        "removed": 2,
        "left": 0,
    }


def test_a_sweep_that_does_not_believe_the_clock_counts_as_such(app: App, clock: Clock) -> None:
    upload(app)
    clock.now += 30 * DAY
    sweep_once(app)
    found = numbers(app)
    assert (found("sweeps_total", result="clock_ahead"), found("sweeps_total", result="done")) == (1, 0)


# What there is.


def test_states_are_shown_as_they_are_now(app: App, clock: Clock) -> None:
    upload(app)
    upload(app, query="?expires=1h")
    begin(Door(app), seal(b"abc"))
    clock.now += 3601
    sweep_once(app)
    found = numbers(app)
    assert {state: found("shares", state=state) for state in ("live", "open", "dead")} == {
        "live": 1,
        "open": 1,
        "dead": 1,
    }


def test_of_an_empty_server_every_state_is_shown(app: App) -> None:
    assert numbers(app).labels("shares", "state") == {"live", "open", "dead"}


def test_stored_bytes_are_those_of_all_parts(app: App, tmp_path: Path) -> None:
    upload(app, bytes(50_000))
    files = [file for file in (tmp_path / "content" / "blobs").rglob("*") if file.is_file()]
    assert numbers(app)("stored_bytes") == sum(file.stat().st_size for file in files) > 50_000


def test_free_bytes_are_shown(app: App) -> None:
    assert numbers(app)("free_bytes") > 0


def test_the_version_is_shown(app: App) -> None:
    assert numbers(app)("build_info", version=__version__) == 1


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("uploads_total", "door", {"direct", "sealed"}),
        ("opens_total", "kind", {"limited", "unlimited"}),
        ("guesses_refused_total", "kind", {"password", "secret"}),
        ("sweeps_total", "result", {"done", "clock_ahead"}),
        ("swept_total", "what", {"marked", "removed", "left"}),
    ],
)
def test_what_has_not_happened_yet_is_shown_as_0(app: App, name: str, label: str, values: set[str]) -> None:
    assert numbers(app).labels(name, label) == values


# Processes.


def of(server: Server) -> Numbers:
    """What a real server says."""
    answer = requests.get(f"{server.url}/metrics", headers=BEARER, timeout=60)
    assert answer.status_code == 200, answer.text
    return Numbers(answer.text)


def at_pages(server: Server) -> float:
    """How many requests for pages it has counted."""
    return of(server).sum("requests_total", door="pages")


def get(server: Server, times: int, path: str = "/robots.txt") -> None:
    """Ask so often, each time over a connection of its own, so that no worker gets them all."""
    for _ in range(times):
        assert requests.get(server.url + path, timeout=60).status_code == 200


def test_the_workers_of_a_server_add_up(make_server: Callable[..., Server]) -> None:
    server = make_server(METRICS_TOKEN=TOKEN, WORKERS="2")
    get(server, 40)
    wait_for(lambda: at_pages(server) == 40)


def test_a_worker_that_is_killed_loses_nothing_that_was_written(make_server: Callable[..., Server]) -> None:
    server = make_server(METRICS_TOKEN=TOKEN, WORKERS="2")
    get(server, 20)
    wait_for(lambda: at_pages(server) == 20)
    first, second = server.children()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in server.children() and len(server.children()) == 2)
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: second not in server.children() and len(server.children()) == 2)
    get(server, 20)
    wait_for(lambda: at_pages(server) == 40)


def test_a_server_that_is_stopped_loses_nothing(make_server: Callable[..., Server], tmp_path: Path) -> None:
    content = str(tmp_path / "content")
    server = make_server(METRICS_TOKEN=TOKEN, WORKERS="2", CONTENT_DIR=content)
    get(server, 20)
    server.stop(signal.SIGTERM)
    assert (
        sum(
            value
            for (name, label), value in rows(tmp_path / "content").items()
            if (name, label[:6]) == ("requests", "pages ")
        )
        == 20
    )


def test_two_servers_on_one_folder_add_up(make_server: Callable[..., Server], tmp_path: Path) -> None:
    shared = {"METRICS_TOKEN": TOKEN, "CONTENT_DIR": str(tmp_path / "content"), "WORKERS": "1"}
    first, second = make_server(**shared), make_server(**shared)
    get(first, 10)
    get(second, 5)
    wait_for(lambda: at_pages(first) == at_pages(second) == 15)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server that counts."""
    with Server(tmp_path_factory.mktemp("counting"), METRICS_TOKEN=TOKEN, WORKERS="1") as running:
        yield running


def test_a_download_whose_client_goes_away_counts_as_cut(counting: Server) -> None:
    link = requests.put(f"{counting.url}/a.bin", data=bytes(32 * MIB), timeout=60).text.strip()
    path = link[len(counting.url) :]
    with counting.connect() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_for(lambda: of(counting)("answers_cut_total", door="direct", side="client") == 1)
    assert 0 < of(counting)("sent_bytes_total", door="direct") < 32 * MIB


def test_a_chunked_upload_and_its_download_count_their_bytes(counting: Server) -> None:
    before = of(counting)
    link = requests.put(f"{counting.url}/a.bin", data=iter([bytes(MIB)] * 3), timeout=60).text.strip()
    assert len(requests.get(link, timeout=60).content) == 3 * MIB

    def more(name: str, door: str) -> float:
        return of(counting)(name, door=door) - before(name, door=door)

    wait_for(lambda: more("sent_bytes_total", "direct") == 3 * MIB)
    assert more("received_bytes_total", "intake") == 3 * MIB


def test_static_files_are_served_whole_while_they_are_counted(counting: Server) -> None:
    file = Path(services_of.__code__.co_filename).with_name("static") / "style.css"
    assert requests.get(f"{counting.url}/static/style.css", timeout=60).content == file.read_bytes()
    wait_for(lambda: of(counting)("sent_bytes_total", door="static") == file.stat().st_size)
