"""Passwords at the direct door: Argon2id, a few runs at a time, and the memory of what was right or wrong.

What is remembered is told by a keyed hash of link and password, the key of which is drawn when the process starts:
neither of them stays in memory. What Argon2id gave stays for a while, so that ranges do not pay again; so does that a
password was wrong, so that a client that asks again and again with the same one costs nothing. Both are bounded.
"""

import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from onekey.container import Header, derive, stretch
from onekey.errors import Busy, WrongKey

AT_ONCE: Final = 2
"""How many runs of Argon2id, of up to 64 MiB each, a process makes at a time."""
_WAITING: Final = 16
_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a password: the ikm that it gave (None: it cannot be a password, or it was wrong a while ago), and
    whether it is the right one."""

    ikm: bytes | None = field(repr=False)
    is_right: bool


class Passwords:
    """Stretches passwords, patiently. Any thread may call any of this at any time."""

    def __init__(self, clock: Callable[[], float], remember: float) -> None:
        """What was found is remembered for `remember` seconds from when it was last asked for."""
        self._clock, self._remember = clock, remember
        self._key = os.urandom(32)
        self._found: OrderedDict[bytes, tuple[float, Tried]] = OrderedDict()
        self._mutex = threading.Lock()
        self._running = threading.BoundedSemaphore(AT_ONCE)
        self._sealing = threading.Lock()
        self._seal_queue = threading.BoundedSemaphore(1 + _WAITING // 2)
        self._queue = threading.BoundedSemaphore(AT_ONCE + _WAITING)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One of the runs that are made at a time; waits for it. Raises Busy where too many wait already."""
        if not self._queue.acquire(blocking=False):
            raise Busy("Too many passwords are being tried here: try again in a moment.")
        try:
            with self._running:
                yield
        finally:
            self._queue.release()

    @contextmanager
    def turn_to_seal(self) -> Iterator[None]:
        """One for a share that is to be sealed: one at a time, so that there is room for who opens. Raises Busy."""
        if not self._seal_queue.acquire(blocking=False):
            raise Busy("Too many shares with passwords are being made here: try again in a moment.")
        try:
            with self._sealing, self._running:
                yield
        finally:
            self._seal_queue.release()

    def name(self, header: Header, seed: bytes, password: str) -> bytes:
        """What link and password are remembered by."""
        text = password.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, hashlib.sha256(header.stem + seed).digest() + text, "sha256")

    def known(self, name: bytes) -> Tried | None:
        """What came of it lately; None where it was not tried, or too long ago."""
        now = self._clock()
        with self._mutex:
            until, tried = self._found.get(name, (0.0, None))
            if tried is None or not now < until <= now + self._remember:  # or a clock that was set back would keep it
                self._found.pop(name, None)
                return None
            self._keep(name, tried, now)
            return tried

    def attempt(self, name: bytes, header: Header, seed: bytes, password: str) -> Tried:
        """Try a password: from memory, or by Argon2id, which does not run again for who waited. Raises Busy."""
        tried = self.known(name)
        if tried is not None:
            return tried
        with self.turn():
            tried = self.known(name)  # what ran while we waited may have been the same
            if tried is None:
                tried = _attempt(header, seed, password)
                with self._mutex:
                    self._keep(name, tried if tried.is_right else Tried(None, False), self._clock())
        return tried

    def _keep(self, name: bytes, tried: Tried, now: float) -> None:
        self._found[name] = (now + self._remember, tried)
        self._found.move_to_end(name)
        while len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)


def _attempt(header: Header, seed: bytes, password: str) -> Tried:
    try:
        ikm = stretch(header, seed, password)
    except WrongKey:
        return Tried(None, False)
    try:
        derive(header, ikm)
    except WrongKey:
        return Tried(ikm, False)
    return Tried(ikm, True)
