"""Tally: what is counted and need not be exact to the last second, gathered and written together.

A download that waited for the disk to count it would be slow. What was counted is written a moment later, in one
transaction for all; a process that is killed loses that moment. What cannot be written is kept, and tried again.
"""

import atexit
import threading
from collections import defaultdict
from typing import Final
from weakref import WeakSet

from onekey.limits import HOUR, Limits
from onekey.logs import log, place

DELAY: Final = 1.0
"""Seconds from the first thing that is counted to when all is written."""
RETRY: Final = 10.0
"""Seconds after which what could not be written is tried again."""


class Tally:
    """Counts of one process. Any thread may call any of this at any time; nothing here raises what the database does.

    The thread that writes is started by the first thing that is counted, so in the process that counts it: no fork
    that comes before is in its way.
    """

    def __init__(self, limits: Limits, *, counts: bool = True) -> None:
        """Where nobody asks for `counts`, `add` does nothing; what was `opened` is counted always."""
        self._limits, self._wanted, self._mutex, self._writing = limits, counts, threading.Lock(), threading.Lock()
        self._counts: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._opened: dict[str, tuple[int, int]] = {}
        self._timer: threading.Timer | None = None
        _all.add(self)

    def add(self, name: str, label: str = "", more: float = 1) -> None:
        """Add to the count of this name and label, which are from fixed sets: each pair is kept for ever."""
        if self._wanted:
            with self._mutex:
                self._counts[name, label] += more
                self._start(DELAY)

    def opened(self, share: str, now: int) -> None:
        """Count that a share without a limit was opened, at this time in seconds since 1970; the hour is kept."""
        with self._mutex:
            self._opened[share] = (self._opened.get(share, (0, 0))[0] + 1, now - now % HOUR)
            self._start(DELAY)

    def flush(self) -> None:
        """Write what was counted: who reads it in the database next finds it there, unless that cannot be written."""
        with self._writing:  # another thread may be at it: then what it has taken is not there yet
            counts, opened = self._take()
            try:
                if counts or opened:
                    self._limits.add(counts, opened)
            except Exception as error:  # a full disk, say, or another writer that takes long
                log.error("Counts could not be written: %s.", place(error))
                self._give_back(counts, opened)

    def _take(self) -> tuple[dict[tuple[str, str], float], dict[str, tuple[int, int]]]:
        with self._mutex:
            taken = dict(self._counts), dict(self._opened)
            self._counts.clear()
            self._opened.clear()
            if self._timer:
                self._timer.cancel()
                self._timer = None
            return taken

    def _give_back(self, counts: dict[tuple[str, str], float], opened: dict[str, tuple[int, int]]) -> None:
        with self._mutex:
            for key, more in counts.items():
                self._counts[key] += more
            for share, (times, hour) in opened.items():
                since, last = self._opened.get(share, (0, hour))
                self._opened[share] = (times + since, last)
            if self._timer:
                self._timer.cancel()
                self._timer = None
            self._start(RETRY)

    def _start(self, delay: float) -> None:
        if self._timer is not None:
            return
        timer = threading.Timer(delay, self.flush)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no thread is to be had, or the process ends: the next thing that is counted tries again
            return
        self._timer = timer


_all: Final = WeakSet[Tally]()


@atexit.register
def _flush_all() -> None:
    for tally in list(_all):
        tally.flush()
