"""A client's socket that waits without costing anything, and never for ever.

A request works while it holds one of a fixed number of slots. Whenever its client keeps it waiting, for more of the
body or for room to send, the slot is given to another request: slow clients take memory, never the server. A client
that is as fast as the server hands its slot round too, after each TURN: no number of large transfers shuts others out.

How long it waits: head and TLS handshake have one deadline for all of it. A body, and an answer, have a floor rate: the
client starts with `stall_time` seconds of patience, waiting uses them up, and each KiB that moves earns one back, up to
that many again. Time that the server itself takes costs nothing.
"""

import errno
import fcntl
import os
import select
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Final, TypeVar

FLOOR: Final = 1024
"""Bytes a second that a transfer has to move, in the long run."""
TURN: Final = 0.05
"""Seconds for which a request may keep a slot that others wait for."""
MAX_HEAD: Final = 32 << 10
"""Bytes of a request's head: gunicorn looks at all of it again with each piece that comes."""
_DRAIN: Final = 1 << 16
_UNSENT: Final = 1 << 16
"""Bytes that may wait in the system to be sent; it would take megabytes."""
_GLANCE: Final = 1.0
"""Seconds between looks at whether a client that lets us wait takes anything."""
_T = TypeVar("_T")


class HeadTooSlow(Exception):
    """The head of a request, or the TLS handshake before it, did not come in time."""


class HeadTooLarge(Exception):
    """The head of a request has more than MAX_HEAD bytes."""


class Slots:
    """A number of slots, given in the order in which they were asked for."""

    def __init__(self, count: int) -> None:
        self._free, self._mutex, self._queue = count, threading.Lock(), deque[threading.Lock]()

    def acquire(self) -> None:
        """Take a slot, or wait for one."""
        with self._mutex:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        turn.acquire()

    def release(self) -> None:
        """Hand it to who has waited longest."""
        with self._mutex:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._free += 1

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


class PacedSocket:
    """A connected socket, in the form that gunicorn uses one. One thread at a time, but for `cut`."""

    def __init__(self, raw: socket.socket, slots: Slots, stall_time: float) -> None:
        raw.setblocking(False)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self._raw, self._slots, self._stall_time = raw, slots, stall_time
        self._patience = stall_time
        self._deadline: float | None = None
        self._late: Callable[[], Exception] = TimeoutError
        self._promised = False
        self._is_cut = False
        self._head = 0
        self._since = time.monotonic()

    # What the worker says of the request.

    def expect_head(self, seconds: float) -> None:
        """From here on, the head of a request has this long in all."""
        self._since = time.monotonic()
        self._deadline, self._late, self._head = self._since + seconds, HeadTooSlow, 0

    @property
    def expects_head(self) -> bool:
        """Whether `expect_head` was said and `expect_body` was not yet."""
        return self._late is HeadTooSlow

    def expect_body(self, *, promised: bool) -> None:
        """From here on, body and answer have the floor rate; `promised`: the client waits for 100 Continue."""
        self._deadline, self._late, self._patience = None, TimeoutError, self._stall_time
        self._promised = promised

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands as the server. Raises OSError, also where the client is too slow: it could read no answer."""
        wrapped = context.wrap_socket(self._raw, server_side=True, do_handshake_on_connect=False)
        self._raw = wrapped
        try:
            self._patiently(wrapped.do_handshake, select.POLLIN)
        except HeadTooSlow:
            raise ConnectionResetError(errno.ECONNRESET, "the handshake is too slow") from None

    def pending(self) -> bool:
        """Whether TLS has read more than it has given: what the poller cannot see."""
        return isinstance(self._raw, ssl.SSLSocket) and self._raw.pending() > 0

    def cut(self) -> None:
        """End the connection at once and visibly, from any thread: who waits on it is woken."""
        self._is_cut = True
        try:
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(self._raw, socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def drain(self) -> bool:
        """Throw away what the client still sends; gives whether more may come."""
        try:
            return bool(socket.socket.recv(self._raw, _DRAIN))
        except BlockingIOError:
            return True
        except OSError:
            return False

    # What gunicorn asks of a socket.

    def recv(self, size: int) -> bytes:
        """At most `size` bytes. Raises HeadTooSlow and HeadTooLarge in the head, TimeoutError in the body, OSError."""
        if self._promised:
            self._promised = False
            self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        data = self._patiently(lambda: self._raw.recv(size), select.POLLIN)
        self._earn(len(data))
        if self.expects_head:
            self._head += len(data)
            if self._head > MAX_HEAD:
                raise HeadTooLarge
        return data

    def sendall(self, data: bytes) -> None:
        """All of it. Raises ConnectionResetError where the client does not take it, OSError."""
        self._promised = False
        rest = memoryview(data)
        while rest:
            sent = self._send(lambda: self._raw.send(rest))  # noqa: B023 - called before `rest` changes
            rest = rest[sent:]

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> None:
        """`count` bytes of a file, by the system's own sendfile."""
        source, target, left = file.fileno(), self.fileno(), count or 0
        while left:
            sent = self._send(lambda: os.sendfile(target, source, offset, left))  # noqa: B023 - as above
            if not sent:
                raise ConnectionResetError(errno.ECONNRESET, "the file is shorter than it was")
            offset, left = offset + sent, left - sent

    def fileno(self) -> int:
        """The descriptor."""
        return self._raw.fileno()

    def setsockopt(self, level: int, option: int, value: bytes | int) -> None:
        """As of a socket."""
        self._raw.setsockopt(level, option, value)

    def setblocking(self, flag: bool) -> None:
        """Nothing: it never blocks, and always waits."""

    def settimeout(self, seconds: float | None) -> None:
        """Give what follows this long in all, None: no longer; but gunicorn's None takes nothing from a head's time."""
        if seconds is None and self.expects_head:
            return
        self._deadline, self._late = (None if seconds is None else time.monotonic() + seconds), TimeoutError

    def gettimeout(self) -> float | None:
        """None: see `settimeout`."""
        return None

    def shutdown(self, how: int) -> None:
        """As of the plain socket: an SSLSocket would forget its TLS, and send the rest in the clear. Raises OSError."""
        if self._is_cut:
            raise ConnectionResetError(errno.ECONNRESET, "cut")
        socket.socket.shutdown(self._raw, how)

    def close(self) -> None:
        """As of a socket."""
        self._raw.close()

    # Waiting.

    def _send(self, send: Callable[[], int]) -> int:
        try:
            sent = self._patiently(send, select.POLLOUT)
        except TimeoutError:
            self.cut()
            raise ConnectionResetError(errno.ECONNRESET, "the client is too slow") from None
        self._earn(sent)
        return sent

    def _patiently(self, attempt: Callable[[], _T], event: int) -> _T:
        if self._slots.wanted and time.monotonic() - self._since > TURN:
            self._slots.release()
            self._take_slot()
        while True:
            try:
                return attempt()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
            except BlockingIOError:
                self._wait(event)

    def _wait(self, event: int) -> None:
        if self._is_cut:
            raise ConnectionResetError(errno.ECONNRESET, "cut")
        self._slots.release()
        try:
            ready = self._is_ready(event)
        finally:
            self._take_slot()
        if not ready:
            raise self._late()

    def _take_slot(self) -> None:
        self._slots.acquire()
        self._since = time.monotonic()

    def _is_ready(self, event: int) -> bool:
        """Wait for as long as there is patience. The system says that there is room only after much was taken, so what
        a slow reader takes until then is looked at too, or it would seem to stand still."""
        poll, queued = select.poll(), self._queued()
        poll.register(self._raw.fileno(), event)
        while (allowed := self._allowed()) > 0:
            began = time.monotonic()
            ready = poll.poll(min(allowed, _GLANCE) * 1000)
            self._patience -= time.monotonic() - began
            if ready:
                return True
            before, queued = queued, self._queued()
            self._earn(max(0, before - queued))
        return False

    def _allowed(self) -> float:
        return self._patience if self._deadline is None else self._deadline - time.monotonic()

    def _queued(self) -> int:
        """Bytes that the client has not taken yet."""
        return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def _earn(self, moved: int) -> None:
        self._patience = min(self._stall_time, self._patience + moved / FLOOR)
