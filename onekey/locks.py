"""What processes on one folder share beside the database: locks, and a key.

A lock is a file; the system gives it back when its process ends, however it ends.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEY_SIZE = 32


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock `path` for the block; gives False at once where another holds it and `wait` is False."""
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def kept_key(path: Path) -> bytes:
    """The 32 random bytes that all processes which share `path` have in common, drawn by the first of them."""
    with locked(path):
        key = path.read_bytes()
        if len(key) != _KEY_SIZE:
            key = os.urandom(_KEY_SIZE)
            path.write_bytes(key)
        return key


class Allowance:
    """A number of units that all processes which share `path` may hold together.

    Each unit is one byte of the file under a POSIX record lock: such locks belong to a process, so this object keeps
    the one descriptor of the file, and its own threads are told apart by the set of units.
    """

    def __init__(self, path: Path, units: int) -> None:
        self._descriptor = _open(path)
        self._units = units
        self._held: set[int] = set()
        self._mutex = threading.Lock()

    def take(self) -> int | None:
        """One unit, to be given back with `give`; None where all are held."""
        with self._mutex:
            for unit in range(self._units):
                if unit not in self._held and self._lock(unit):
                    self._held.add(unit)
                    return unit
        return None

    def give(self, units: list[int]) -> None:
        """Let go of units that `take` gave."""
        with self._mutex:
            for unit in units:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, unit)
                self._held.discard(unit)

    def _lock(self, unit: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, unit)
        except (BlockingIOError, PermissionError):
            return False
        return True
