"""Metrics: `/metrics` in Prometheus' text form, for who shows METRICS_TOKEN.

Without that setting there is no such page, and nothing is counted.
What is counted adds up in the database, over all processes and restarts. Labels are from fixed sets: no id, no address,
no name and no path; what a client makes up counts as `other`.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import accumulate
from typing import Any, Final

from flask import Blueprint, Flask, Response, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from onekey import __version__
from onekey.errors import NotFound
from onekey.tally import Tally
from onekey.vault import GIVEN_BACK, Totals
from onekey.web import policy
from onekey.web.services import services, services_of

OTHER: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""The upper bounds of the durations that are told apart, in seconds."""
_STATUSES: Final = frozenset(str(int(status)) for status in HTTPStatus)
_BUCKETS: Final = (*map(str, BOUNDS), "+Inf")
_DOOR: Final = "onekey.door"
_SECONDS: Final = "seconds"
_SUM: Final = "seconds_sum"
metrics = Blueprint("metrics", __name__)

Counts = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class _Counter:
    """A count of the tally and the metric that it is shown as. Of several labels, a space is between the values;
    those in `known` are shown even where nothing was counted yet."""

    name: str
    metric: str
    what: str
    labels: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


_COUNTERS: Final = (
    _Counter("requests", "onekey_requests", "Requests that were answered.", ("door", "method", "status")),
    _Counter("received", "onekey_received_bytes", "Bytes of the bodies of requests.", ("door",)),
    _Counter("sent", "onekey_sent_bytes", "Bytes of the bodies of answers.", ("door",)),
    _Counter(
        "cut",
        "onekey_answers_cut",
        "Answers that did not reach their end, and at whose side: the client went away, or the server could not go on.",
        ("door", "side"),
    ),
    _Counter("uploads", "onekey_uploads", "Shares that were stored, by door.", ("door",), ("direct", "sealed")),
    _Counter(
        "opens", "onekey_opens", "Opens of shares with limited opens, and others.", ("kind",), ("limited", "unlimited")
    ),
    _Counter(GIVEN_BACK, "onekey_opens_given_back", "Opens under whose lease nothing was served.", (), ("",)),
    _Counter(
        "guesses_refused",
        "onekey_guesses_refused",
        "Passwords of shares and upload secrets that were not looked at: too many wrong ones came before.",
        ("kind",),
        ("password", "secret"),
    ),
    _Counter("sweeps", "onekey_sweeps", "Sweeps that were made or put off.", ("result",), ("done", "clock_ahead")),
    _Counter(
        "swept",
        "onekey_swept",
        "Shares and uploads that sweeps marked dead, removed, and could not remove.",
        ("what",),
        ("marked", "removed", "left"),
    ),
)


def install(app: Flask) -> None:
    """Count what an application does, and show it, if its settings have a METRICS_TOKEN."""
    found = services_of(app.extensions)
    if found.settings.metrics_token is None:
        return
    app.register_blueprint(metrics)
    app.after_request(_note_door)
    app.wsgi_app = _Counting(app.wsgi_app, found.tally)  # type: ignore[method-assign]


@metrics.get("/metrics")
def show() -> Response:
    """All numbers. Raises NotFound for who does not show METRICS_TOKEN."""
    if not policy.may_measure():
        raise NotFound
    registry = CollectorRegistry()
    registry.register(_Numbers(services().vault.totals()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


# How requests are counted.


def _note_door(response: Response) -> Response:
    known = "static" if request.endpoint == "static" else OTHER
    request.environ[_DOOR] = request.blueprint or known
    return response


class _Counting:
    """A WSGI application, around one whose requests are counted."""

    def __init__(self, app: Callable[..., Iterable[bytes]], tally: Tally) -> None:
        self._app, self._tally = app, tally

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return _Answer(self._app, self._tally, environ, start_response)


class _Answer:
    """The answer to one request, counted when it is over: read to its end, broken off, or left by its reader."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        tally: Tally,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> None:
        self._tally, self._environ, self._start = tally, environ, start_response
        self._begun, self._status, self._sent, self._is_over = time.perf_counter(), OTHER, 0, False
        self._body = environ["wsgi.input"] = _Body(environ["wsgi.input"])
        self._answer = app(environ, self._start_response)
        self._pieces = iter(self._answer)

    def _start_response(self, status: str, *more: Any) -> Any:
        self._status = status[:3]
        return self._start(status, *more)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._over()
            raise
        except BaseException:
            self._over(cut="server")
            raise
        self._sent += len(piece)
        return piece

    def close(self) -> None:
        """Called by the server when the answer is over, however it ended."""
        self._over(cut="client")
        if hasattr(self._answer, "close"):
            self._answer.close()

    def _over(self, cut: str | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        add, environ, seconds = self._tally.add, self._environ, time.perf_counter() - self._begun
        door = environ.get(_DOOR, OTHER)
        method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in METHODS else OTHER
        add("requests", f"{door} {method} {self._status if self._status in _STATUSES else OTHER}")
        add("received", door, self._body.size)
        add("sent", door, self._sent)
        add(_SECONDS, f"{door} {_BUCKETS[bisect_left(BOUNDS, seconds)]}")
        add(_SUM, door, seconds)
        if cut:
            add("cut", f"{door} {cut}")


class _Body:
    """The body of a request, of which nothing here but `read` is used."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.size = stream, 0

    def read(self, *size: int) -> bytes:
        """As of `io.RawIOBase`."""
        piece: bytes = self._stream.read(*size)
        self.size += len(piece)
        return piece


# How they are shown.


class _Numbers(Collector):
    """What Prometheus asks for, made of what was counted and of what there is."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        for counter in _COUNTERS:
            yield _counted(counter, self._totals.counts)
        yield _durations(self._totals.counts)
        yield from _present(self._totals)


def _counted(counter: _Counter, counts: Counts) -> Metric:
    metric = CounterMetricFamily(counter.metric, counter.what, labels=counter.labels)
    values = dict.fromkeys(counter.known, 0.0) | _labelled(counter.name, counts)
    for label, value in sorted(values.items()):
        if len(label.split()) == len(counter.labels):  # another version may have counted it by other labels
            metric.add_metric(label.split(), value)
    return metric


def _labelled(name: str, counts: Counts) -> dict[str, float]:
    return {label: value for (found, label), value in counts.items() if found == name}


def _durations(counts: Counts) -> Metric:
    metric = HistogramMetricFamily(
        "onekey_seconds", "Seconds from a request to the end of its answer.", labels=["door"]
    )
    for door, seconds in sorted(_labelled(_SUM, counts).items()):
        each = accumulate(counts.get((_SECONDS, f"{door} {bound}"), 0) for bound in _BUCKETS)
        metric.add_metric([door], list(zip(_BUCKETS, each, strict=True)), seconds)
    return metric


def _present(totals: Totals) -> Iterator[Metric]:
    shares = GaugeMetricFamily(
        "onekey_shares",
        "Shares that are live, uploads that are open, and what is dead and not removed.",
        labels=["state"],
    )
    for state, count in sorted(totals.states.items()):
        shares.add_metric([state], count)
    yield shares
    yield GaugeMetricFamily("onekey_stored_bytes", "Bytes that all parts hold.", totals.stored)
    yield GaugeMetricFamily("onekey_free_bytes", "Bytes that the disk has left.", totals.free)
    version = GaugeMetricFamily("onekey_build_info", "The version that answers.", labels=["version"])
    version.add_metric([__version__], 1)
    yield version
