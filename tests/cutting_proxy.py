"""A TCP proxy on 127.0.0.1 that cuts connections half way: a line that breaks, when a test says so.

Half way is half of the first message of one direction, head and body, as its Content-Length says.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import cycle
from typing import Literal

Direction = Literal["up", "down"]
PIECE = 1 << 16
MOST = 64
"""Connections at once; the next one waits."""
PATIENCE = 60.0
HEAD_END = b"\r\n\r\n"


class Half:
    """Counts the bytes of a message, and says how many of those that come may pass before its half is over."""

    def __init__(self) -> None:
        self._head, self._passed = b"", 0
        self._half: int | None = None

    def allowed(self, data: bytes) -> int | None:
        """How much of `data` is still in the first half; None if all of it."""
        if self._half is None:
            self._head += data
            end = self._head.find(HEAD_END)
            if end >= 0:
                found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self._head[:end])
                self._half = (end + len(HEAD_END) + (int(found[1]) if found else 0)) // 2
        before, self._passed = self._passed, self._passed + len(data)
        if self._half is None or self._passed < self._half:
            return None
        return max(0, self._half - before)


class CuttingProxy:
    """Passes bytes to a port of 127.0.0.1, and cuts every `every`-th connection, in the named directions by turns.

    What is cut on its way up is reset; on its way down it just ends, as if it were whole. `delay` is in seconds, before
    each piece. Use it as a context manager.
    """

    def __init__(
        self, port: int, every: int, directions: tuple[Direction, ...] = ("up", "down"), delay: float = 0
    ) -> None:
        self._target, self._every, self._delay = port, every, delay
        self._turns: Iterator[Direction] = cycle(directions)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=MOST)
        self._slots, self._open = threading.Semaphore(MOST), set[socket.socket]()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self.connections, self.cuts = 0, list[tuple[int, Direction]]()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "CuttingProxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the proxy did not end"

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            if not self._slots.acquire(timeout=PATIENCE):
                near.close()
                continue
            self.connections += 1
            cut = next(self._turns) if self.connections % self._every == 0 else None
            self._threads = [one for one in self._threads if one.is_alive()]
            thread = threading.Thread(target=self._serve, args=(near, self.connections, cut))
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket, number: int, cut: Direction | None) -> None:
        with ExitStack() as stack:
            stack.callback(self._slots.release)
            stack.enter_context(near)
            with suppress(OSError):
                far = stack.enter_context(socket.create_connection(("127.0.0.1", self._target), PATIENCE))
                near.settimeout(PATIENCE)
                with self._lock:
                    self._open |= {near, far}
                    if self._stopped.is_set():
                        return
                stack.callback(self._forget, near, far)
                up = threading.Thread(target=self._pump, args=(near, far, number, "up", cut == "up"))
                up.start()
                stack.callback(up.join)
                self._pump(far, near, number, "down", cut == "down")
                with suppress(OSError):
                    near.shutdown(socket.SHUT_RD)

    def _forget(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open -= set(sockets)

    def _pump(self, source: socket.socket, sink: socket.socket, number: int, way: Direction, cut: bool) -> None:
        half = Half() if cut else None
        with suppress(OSError):
            while data := source.recv(PIECE):
                if self._delay:
                    time.sleep(self._delay)
                allowed = half.allowed(data) if half else None
                if allowed is not None:
                    sink.sendall(data[:allowed])
                    self._cut(source, sink, number, way)
                    return
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _cut(self, source: socket.socket, sink: socket.socket, number: int, way: Direction) -> None:
        self.cuts.append((number, way))
        for one in (source, sink):
            with suppress(OSError):
                if way == "up":
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
