"""Tally: what is counted is written together, a moment later, and not lost where it cannot be written at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from onekey import tally as module
from onekey.limits import HOUR, Limits
from onekey.records import STORED, Records
from onekey.tally import Tally
from tests.servers import ROOT, wait_for
from tests.stores import Store
from tests.test_records import ID, NOW, finished, numbered

EXIT = """
import sys
from pathlib import Path
from onekey.limits import Limits
from onekey.records import Records
from onekey.tally import Tally
tally = Tally(Limits(Records.at(Path(sys.argv[1])).database))
tally.add("requests", "a", 3)
"""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written by itself while a test runs."""
    monkeypatch.setattr(module, "DELAY", 600.0)


@pytest.fixture
def tally(disk: Store) -> Tally:
    """A tally over a fresh database."""
    return disk.tally


def counts(store: Store) -> dict[tuple[str, str], float]:
    """What was written."""
    return {key: value for key, value in store.limits.counts().items() if key[0] != STORED}


def test_what_is_counted_is_written_a_moment_later(disk: Store, tally: Tally) -> None:
    tally.add("requests", "a")
    assert wait_for(lambda: counts(disk)) == {("requests", "a"): 1}


@pytest.mark.usefixtures("slow")
class TestFlush:
    """What was counted, by name and label, is written together."""

    def test_nothing_is_written_at_once(self, disk: Store, tally: Tally) -> None:
        tally.add("requests")
        assert counts(disk) == {}

    def test_all_is_written_together(self, disk: Store, tally: Tally) -> None:
        for more in (1, 2.5):
            tally.add("bytes", "in", more)
        tally.add("requests")
        tally.flush()
        assert counts(disk) == {("bytes", "in"): 3.5, ("requests", ""): 1}

    def test_what_was_written_is_not_written_again(self, disk: Store, tally: Tally) -> None:
        tally.add("requests")
        tally.flush()
        tally.flush()
        tally.add("requests")
        tally.flush()
        assert counts(disk) == {("requests", ""): 2}

    def test_opens_are_counted_with_the_hour_of_the_last(self, disk: Store, tally: Tally) -> None:
        finished(disk.records)
        for later in (5, HOUR - 1, HOUR + 7):
            tally.opened(ID, NOW - NOW % HOUR + later)
        tally.flush()
        (entry,) = disk.records.entries(ID)
        assert (entry.opened, entry.last_opened) == (3, NOW - NOW % HOUR + HOUR)

    def test_opens_of_different_shares_do_not_mix(self, disk: Store, tally: Tally) -> None:
        for number in (1, 2):
            finished(disk.records, numbered(number))
        for number in (1, 2, 2):
            tally.opened(numbered(number), NOW)
        tally.flush()
        assert [entry.opened for entry in disk.records.entries()] == [1, 2]

    def test_opens_of_a_share_that_is_gone_do_no_harm(self, disk: Store, tally: Tally) -> None:
        tally.opened(ID, NOW)
        tally.add("requests")
        tally.flush()
        assert counts(disk) == {("requests", ""): 1}

    def test_threads_count_together(self, disk: Store, tally: Tally) -> None:
        def count(_: int) -> None:
            for _ in range(200):
                tally.add("requests")
            tally.flush()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(count, range(8)))
        tally.flush()
        assert counts(disk) == {("requests", ""): 1600}

    def test_two_of_them_add_up(self, disk: Store, tally: Tally) -> None:
        other = Tally(disk.limits)
        for one in (tally, other):
            one.add("requests")
            one.flush()
        assert counts(disk) == {("requests", ""): 2}

    def test_where_nobody_asks_for_counts_opens_are_counted_all_the_same(self, disk: Store) -> None:
        finished(disk.records)
        tally = Tally(disk.limits, counts=False)
        tally.add("requests")
        tally.opened(ID, NOW)
        tally.flush()
        (entry,) = disk.records.entries(ID)
        assert (entry.opened, counts(disk)) == (1, {})


@pytest.mark.usefixtures("slow")
class TestTrouble:
    """What cannot be written is kept, and nobody who counts hears of it."""

    def test_what_cannot_be_written_is_kept(self, disk: Store, tally: Tally) -> None:
        finished(disk.records)
        tally.add("requests", "a", 2)
        tally.opened(ID, NOW)
        disk.change("ALTER TABLE counts RENAME TO away")
        tally.flush()
        disk.change("ALTER TABLE away RENAME TO counts")
        tally.add("requests", "a", 3)
        tally.opened(ID, NOW)
        tally.flush()
        (entry,) = disk.records.entries(ID)
        assert (counts(disk), entry.opened) == ({("requests", "a"): 5}, 2)

    def test_of_what_cannot_be_written_nothing_is(self, disk: Store, tally: Tally) -> None:
        finished(disk.records)
        tally.add("requests")
        tally.opened(ID, NOW)
        disk.change("ALTER TABLE shares RENAME TO away")
        tally.flush()
        disk.change("ALTER TABLE away RENAME TO shares")
        assert counts(disk) == {}

    def test_the_last_hour_is_that_of_the_last_open(self, disk: Store, tally: Tally) -> None:
        finished(disk.records)
        tally.opened(ID, NOW)
        disk.change("ALTER TABLE shares RENAME TO away")
        tally.flush()
        disk.change("ALTER TABLE away RENAME TO shares")
        tally.opened(ID, NOW + HOUR)
        tally.flush()
        (entry,) = disk.records.entries(ID)
        assert (entry.opened, entry.last_opened) == (2, NOW - NOW % HOUR + HOUR)


def test_it_is_tried_again_later(disk: Store, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 0.1)
    disk.change("ALTER TABLE counts RENAME TO away")
    tally.add("requests")
    tally.flush()
    disk.change("ALTER TABLE away RENAME TO counts")
    assert wait_for(lambda: counts(disk)) == {("requests", ""): 1}


def test_a_process_that_ends_writes_what_it_counted(disk: Store) -> None:
    command = [sys.executable, "-c", EXIT, str(disk.folder / "onekey.db")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    with closing(Records.at(disk.folder / "onekey.db")) as again:
        assert Limits(again.database).counts()["requests", "a"] == 3
