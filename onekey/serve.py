"""`onekey serve`: the application under gunicorn, set up right. `gunicorn -c python:onekey.serve wsgi:app` is the same.

The names in lower case are gunicorn's settings. Importing this reads onekey's settings, and may raise BadSetting.
"""

import ctypes
import errno
import gc
import logging
import os
import resource
import selectors
import signal
import socket
import ssl
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from gunicorn import http, sock
from gunicorn.app.base import Application
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from onekey import __version__, logs
from onekey.app import App, create_app, open_records, sweep_for_ever
from onekey.errors import BadSetting
from onekey.pacing import HeadTooLarge, HeadTooSlow, PacedSocket, Slots
from onekey.settings import from_environment
from onekey.web.services import services_of

HEAD_TIME: Final = 10.0
"""Seconds that the head of a request has in all."""
_DESCRIPTORS: Final = 1 << 16  # a download takes two, and 1024 is all that many systems give unasked
_TRIM_INTERVAL: Final = 60
_LINGER_TIME: Final = 2.0
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LEEWAY: Final = 3  # for connections to see that they were cut, before gunicorn kills the worker
_ANSWERS: Final = (
    (HeadTooSlow, 408, "Request Timeout", "The request came too slowly."),
    (HeadTooLarge, 431, "Request Header Fields Too Large", "The head of this request is too long."),
    (LimitRequestLine, 414, "URI Too Long", "This address is too long."),
    (LimitRequestHeaders, 431, "Request Header Fields Too Large", "The head of this request is too long."),
    (ExpectationFailed, 417, "Expectation Failed", "This server does not do what was expected of it."),
    (UnsupportedTransferCoding, 501, "Not Implemented", "This server does not know that transfer coding."),
    (InvalidResponseHeader, 500, "Internal Server Error", "Something went wrong on this server."),
    (InvalidResponseHeaderName, 500, "Internal Server Error", "Something went wrong on this server."),
    (ParseException, 400, "Bad Request", "This request cannot be understood."),
    (Exception, 500, "Internal Server Error", "Something went wrong on this server."),
)


class Connection(TConn):  # type: ignore[misc]
    """A client's connection; TLS is spoken by its paced socket, and HTTP/2 not at all."""

    initialized: bool

    def init(self) -> None:
        """Called in a worker thread, once there is something to read."""
        if not self.initialized:
            self.initialized = True
            if self.cfg.is_ssl:
                self.sock.start_tls(self.cfg.tls_context)
            self.parser = http.get_parser(self.cfg, self.sock, self.client)


class _Threads(ThreadPoolExecutor):
    """As many threads as the system gives: where it gives no more, those that are there do the rest."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's gthread worker, in which a slow client costs a thread that sleeps, and nothing else.

    Connections wait in the poller until there is something to read. `cfg.threads` requests are worked on at once; those
    that wait for their client do not count (onekey.pacing). What is closed lingers in the poller, so that a client that
    is still sending can read its answer.
    """

    alive: bool
    stall_time: float = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slots = Slots(self.cfg.threads)
        self.busy: set[Connection] = set()
        self.lingering: deque[Connection] = deque()
        self.stop_at: float | None = None

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return _Threads(max_workers=self.worker_connections)

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the master says what it means

    def run(self) -> None:
        super().run()
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # it would kill a worker that is just ending

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop now: what is in flight is cut."""
        self.stop_at = time.monotonic()
        self.handle_exit(sig, frame)

    # A connection's way: accept → poller → thread → poller (kept alive, or lingering) → closed.

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            time.sleep(0.05)  # it is there until somebody gives something back: no reason to end what is in flight
            return
        self.nr_conns += 1
        paced = PacedSocket(client, self.slots, self.stall_time)
        paced.expect_head(HEAD_TIME)
        conn = Connection(self.cfg, paced, address, listener.getsockname())
        conn.timeout = time.monotonic() + HEAD_TIME
        self.pending_conns.append(conn)
        self.poller.register(paced, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def enqueue_req(self, conn: Connection) -> None:
        self.busy.add(conn)
        super().enqueue_req(conn)

    def handle(self, conn: Connection) -> Any:
        with self.slots:
            if not conn.sock.expects_head:
                conn.sock.expect_head(HEAD_TIME)
            return super().handle(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        promised = req._expected_100_continue
        if promised:
            # Said when the body is first read, so that who is refused need not send it; whether it then does, nobody
            # can tell, so the connection ends with the answer.
            req._expected_100_continue = False
            req.force_close()
        conn.sock.expect_body(promised=promised)
        return super().handle_request(req, conn)

    def finish_request(self, conn: Connection, fs: "Future[Any]") -> None:
        self.busy.discard(conn)
        if not fs.cancelled() and not fs.exception() and fs.result():
            if conn.sock.pending():  # the next request, already read from the socket: the poller would not see it
                self.enqueue_req(conn)
            else:
                super().finish_request(conn, fs)
        else:
            self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        """Say that nothing more comes, and wait a little for the client to say the same: RFC 9112, section 9.6."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + _LINGER_TIME
        self.lingering.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))

    def _drain(self, conn: Connection, _: object) -> None:
        if not conn.sock.drain():
            self._end_linger(conn)

    def _end_linger(self, conn: Connection) -> None:
        self.lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    # Time.

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, 0.1))
        now = time.monotonic()
        while self.lingering and self.lingering[0].timeout <= now:
            self._end_linger(self.lingering[0])
        if not self.alive:
            self._stop(now)

    def is_parent_alive(self) -> bool:
        """Also: stop as if told to where it is not, so that the next server can have the addresses."""
        lives = bool(super().is_parent_alive())
        self.alive = self.alive and lives
        return lives

    def _stop(self, now: float) -> None:
        """Finish what is in flight within STOP_TIME, then cut it, then end whatever still runs."""
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()  # or the system would go on taking connections that nobody serves
        if self.stop_at is None:
            self.stop_at = now + self.cfg.graceful_timeout - _LEEWAY
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, now + 1)
        if now >= self.stop_at:
            for conn in list(self.busy):
                conn.sock.cut()
        if now >= self.stop_at + _LEEWAY / 2:
            os._exit(0)

    # What goes wrong before the application is asked.

    def handle_error(self, req: Any, client: PacedSocket, addr: Any, exc: BaseException) -> None:
        """Answer in our own words: gunicorn's echo the request, and its log the address."""
        if isinstance(exc, ssl.SSLError):
            return  # what came is not TLS: there is nobody to answer
        status, reason, message = next(answer for kind, *answer in _ANSWERS if isinstance(exc, kind))
        if status == 500:
            logs.log.error("A request failed: %s.", logs.place(exc))
        body = f"{message}\n".encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nX-Robots-Tag: noindex\r\n"
            "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
            "Cross-Origin-Resource-Policy: same-origin\r\n"
            f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.expect_body(promised=False)
            client.sendall(head.encode() + body)
        except OSError:
            pass  # the client is gone


class Master(Arbiter):  # type: ignore[misc]
    """gunicorn's master, to which Ctrl-C is a request to stop, and the second one of any kind an order."""

    asked = False

    def signal(self, sig: int, frame: object) -> None:
        if os.getpid() != self.pid and sig in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            os._exit(0)  # a worker that was forked a moment ago: it has no handlers of its own yet, and would go on
        if sig in (signal.SIGINT, signal.SIGTERM):
            sig, self.asked = (signal.SIGQUIT if self.asked else signal.SIGTERM), True
        super().signal(sig, frame)


class Server(Application):  # type: ignore[misc]
    """The application, served by this module's settings."""

    def load_config(self) -> None:
        self.load_config_from_module_name_or_filename("python:onekey.serve")

    def load(self) -> App:
        return create_app(_settings)


def run() -> None:
    """Serve until told to stop. Does not return."""
    Master(Server()).run()


def harden() -> None:
    """No core dumps, which would hold keys; descriptors for all; an allocator that keeps what chunks are opened in."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(_DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(few, enough), most))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: a dump piped to a program knows no limit
    if hasattr(libc, "mallopt"):
        # glibc gives every buffer of 128 KiB back to the system, and clears a fresh one for the next: with chunks of
        # 256 KiB that costs more than opening them. What it keeps instead, it keeps in few places.
        libc.mallopt(-3, 4 << 20)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 8 << 20)  # M_TRIM_THRESHOLD
        libc.mallopt(-8, 2)  # M_ARENA_MAX


_settings = from_environment()
_stopping = threading.Event()

bind = list(_settings.bind)
workers = _settings.workers
threads = _settings.threads
worker_class = type("OnekeyWorker", (Worker,), {"stall_time": float(_settings.stall_time)})
worker_connections = max(1000, 2 * _settings.threads)
graceful_timeout = _settings.stop_time + _LEEWAY
certfile = str(_settings.tls_cert) if _settings.tls_cert else None
keyfile = str(_settings.tls_key) if _settings.tls_key else None
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
proc_name = "onekey"


def on_starting(server: Any) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logs.install()
    harden()
    _check(server.cfg)


def _check(cfg: Any) -> None:
    """Find what would keep every worker from starting. Raises BadSetting, NewerSchema."""
    open_records(_settings).close()  # before the first fork, which no connection to the database survives
    try:
        if cfg.is_ssl:
            sock.ssl_context(cfg)
    except OSError:
        raise BadSetting(
            f"TLS_CERT and TLS_KEY cannot be {certfile!r} and {keyfile!r}: what would do is a certificate and the key "
            "that belongs to it, in PEM form."
        ) from None


def when_ready(server: Any) -> None:
    secret = "Uploads need the secret." if _settings.secrets else "Anyone may upload: UPLOAD_SECRET changes that."
    scheme = "https" if certfile else "http"
    listening = ", ".join(f"{scheme}://{_spelled(listener.getsockname())}" for listener in server.LISTENERS)
    print(f"onekey {__version__} listens on {listening}")
    print(f"It stores in {_settings.content_dir.absolute()}. {secret}", flush=True)


def post_worker_init(worker: Worker) -> None:
    if worker.cfg.is_ssl:
        worker.cfg.tls_context = sock.ssl_context(worker.cfg)
    gc.collect()
    gc.freeze()  # what was loaded stays loaded: no need to look at it again and again
    threading.Thread(target=sweep_for_ever, args=(worker.wsgi, _stopping), name="sweeper", daemon=True).start()
    threading.Thread(target=_trim_for_ever, name="trimmer", daemon=True).start()


def worker_exit(_server: Any, worker: Worker) -> None:
    _stopping.set()
    if app := getattr(worker, "wsgi", None):  # none where it could not be made
        services_of(app.extensions).tally.flush()


def _trim_for_ever() -> None:
    """Give the system back what a crowd of clients left behind: glibc does so for the end of its memory only."""
    libc = ctypes.CDLL(None)
    while hasattr(libc, "malloc_trim") and not _stopping.wait(_TRIM_INTERVAL):
        libc.malloc_trim(0)


def _spelled(address: tuple[Any, ...]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
