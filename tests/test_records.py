"""The database: what each method promises, to threads and processes too, and that every schema it ever had opens."""

import hashlib
import itertools
import json
import multiprocessing
import queue
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from onekey import database, links
from onekey.app import create_services
from onekey.container import HEADER_SIZE
from onekey.errors import NewerSchema, NoRoom, NotOpen, Taken, TooLarge, TooMany
from onekey.limits import Allowed, Limits
from onekey.locks import locked
from onekey.records import FAR_AHEAD, MAX_OPEN, Entry, NewShare, PartRecord, Records, Share, Upload
from onekey.settings import Settings
from onekey.uploads import Incoming, Terms
from tests.servers import ROOT, wait_for
from tests.stores import ByHand, migrated, shown
from tests.test_locks import somebody_waits

NOW = 1_800_000_000
DAY = 86_400
ID = "0123456789abcdef" * 2
WAY = b"w" * 16
SCHEMAS = Path(__file__).parent / "schemas"
STEPS = sorted((ROOT / "onekey" / "migrations" / "versions").glob("[0-9]*.py"))
REVISIONS = [step.name.partition("_")[0] for step in STEPS]
FRESH = multiprocessing.get_context("forkserver")  # processes that inherit nothing of this one
FRESH.set_forkserver_preload(["tests.test_records"])
KEPT = hashlib.shake_128(b"kept").digest(20_000)
HALF_SEED, HALF_OWNER = hashlib.shake_128(b"seed").digest(24), hashlib.shake_128(b"owner").digest(24)


def new_share(share: str = ID, **more: Any) -> NewShare:
    """What is known of a share when its upload begins, each field with bytes of its own."""
    fields: dict[str, Any] = {
        "id": share,
        "header": b"h" * HEADER_SIZE,
        "part_chunks": 3,
        "knock_hash": b"k" * 32,
        "access_hash": b"a" * 32,
        "owner_hash": b"o" * 32,
        "created": NOW,
    }
    return NewShare(**(fields | more))


def part(number: int = 0, name: str = "one", size: int = 1000, mark: bytes | None = None) -> PartRecord:
    """The record of a part."""
    return PartRecord(number, f"{number}-{name}", size, hashlib.sha256(name.encode()).digest(), mark)


def numbered(number: int) -> str:
    """A blob id for every number."""
    return f"{number:032x}"


def half_entropy() -> Callable[[int], bytes]:
    """Randomness that is the same each time, so that a kept upload can be sealed to its end by another process."""
    numbers = itertools.count()
    return lambda size: hashlib.shake_128(f"kept {next(numbers)}".encode()).digest(size)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a database that is not there yet."""
    return f"sqlite:///{tmp_path / 'onekey.db'}"


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Records]:
    """A fresh database, up to date."""
    (tmp_path / "onekey.db").write_bytes(migrated())
    found = Records(url)
    yield found
    found.close()


def finished(
    db: Records,
    share: str = ID,
    expires: int | None = None,
    parts: Sequence[PartRecord] = (),
    opens: int | None = None,
) -> str:
    """A finished share of one part, or of those that are given."""
    db.begin(new_share(share))
    for one in parts or [part()]:
        db.put_part(share, one, NOW)
    finish(db, parts or [part()], share, expires=expires, opens=opens)
    return share


def finish(
    db: Records,
    parts: Sequence[PartRecord],
    share: str = ID,
    *,
    expires: int | None = None,
    opens: int | None = None,
) -> None:
    """Finish an upload."""
    db.finish(share, parts, expires=expires, opens=opens, now=NOW)


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in the database of a folder, without SQLAlchemy."""
    with closing(sqlite3.connect(folder / "onekey.db")) as raw:
        return raw.execute(query).fetchall()


def change(folder: Path, statement: str, *values: object) -> None:
    """Change the database of a folder behind our back."""
    with closing(sqlite3.connect(folder / "onekey.db")) as raw, raw:
        raw.execute(statement, values)


class TestBegin:
    """A blob id is taken at begin, and for ever once its share was finished."""

    def test_an_upload_that_is_open_is_no_share(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(), NOW)
        assert db.share(ID, NOW) is None

    def test_to_begin_once_more_changes_nothing(self, db: Records, tmp_path: Path) -> None:
        db.begin(new_share(life=5, opens=2))
        before = rows(tmp_path, "SELECT * FROM shares")
        db.begin(new_share(life=5, opens=2))
        assert rows(tmp_path, "SELECT * FROM shares") == before

    @pytest.mark.parametrize("more", [{"created": NOW + 99}, {"uploader": b"w" * 16}], ids=["time", "who asks"])
    def test_when_and_by_whom_it_is_begun_once_more_changes_nothing(
        self, db: Records, tmp_path: Path, more: dict[str, Any]
    ) -> None:
        db.begin(new_share(uploader=b"u" * 16))
        before = rows(tmp_path, "SELECT * FROM shares")
        db.begin(new_share(**({"uploader": b"u" * 16} | more)))
        assert rows(tmp_path, "SELECT * FROM shares") == before

    def test_to_begin_once_more_keeps_the_parts(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(), NOW)
        db.begin(new_share())
        assert db.parts(ID, 0, 9) == (part(),)

    def test_to_begin_once_more_after_the_finish_changes_nothing(self, db: Records, tmp_path: Path) -> None:
        finished(db)
        before = rows(tmp_path, "SELECT * FROM shares")
        db.begin(new_share())
        assert rows(tmp_path, "SELECT * FROM shares") == before

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("header", b"x" * HEADER_SIZE),
            ("part_chunks", 4),
            ("knock_hash", b"x" * 32),
            ("access_hash", b"x" * 32),
            ("owner_hash", b"x" * 32),
            ("life", 5),
            ("life", None),
            ("opens", 1),
            ("opens", None),
        ],
    )
    @pytest.mark.parametrize("state", ["open", "finished"])
    def test_with_any_one_value_different_the_id_is_taken(
        self, db: Records, tmp_path: Path, state: str, name: str, value: object
    ) -> None:
        first: dict[str, Any] = {"life": 7, "opens": 3}
        db.begin(new_share(**first))
        if state == "finished":
            db.put_part(ID, part(), NOW)
            finish(db, [part()], opens=3)
        before = rows(tmp_path, "SELECT * FROM shares")
        with pytest.raises(Taken):
            db.begin(new_share(**{**first, name: value}))
        assert rows(tmp_path, "SELECT * FROM shares") == before

    def test_the_id_of_a_dead_share_is_taken(self, db: Records) -> None:
        db.kill(finished(db), NOW)
        with pytest.raises(Taken):
            db.begin(new_share())

    def test_the_id_of_a_buried_share_is_taken_for_ever(self, db: Records) -> None:
        db.kill(finished(db), NOW)
        db.bury(ID)
        with pytest.raises(Taken):
            db.begin(new_share())

    def test_the_id_of_an_upload_given_up_is_taken_until_it_is_buried(self, db: Records) -> None:
        db.begin(new_share())
        db.give_up(ID, NOW)
        with pytest.raises(Taken):
            db.begin(new_share())

    def test_the_id_of_a_buried_upload_is_free(self, db: Records) -> None:
        db.begin(new_share())
        db.give_up(ID, NOW)
        db.bury(ID)
        finished(db)
        assert db.share(ID, NOW) is not None

    def test_of_the_buried_upload_nothing_comes_back(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(), NOW)
        db.give_up(ID, NOW)
        db.bury(ID)
        db.begin(new_share())
        assert db.parts(ID, 0, 9) == ()

    def test_the_id_that_a_client_chose_is_taken_for_ever(self, db: Records) -> None:
        db.begin(new_share(uploader=b"u" * 16))
        db.give_up(ID, NOW)
        db.bury(ID)
        with pytest.raises(Taken):
            db.begin(new_share(uploader=b"u" * 16))

    def test_another_id_is_free(self, db: Records) -> None:
        db.begin(new_share(numbered(1)))
        db.begin(new_share(numbered(2)))


class TestMostOpen:
    """One uploader has so many unfinished uploads at most."""

    WHO = b"u" * 16

    @pytest.fixture
    def full(self, db: Records) -> Records:
        """A database in which one uploader has all it may."""
        for number in range(MAX_OPEN):
            db.begin(new_share(numbered(number), uploader=self.WHO))
        return db

    def more(self, uploader: bytes | None = WHO) -> NewShare:
        """One upload more."""
        return new_share(numbered(MAX_OPEN), uploader=uploader)

    def test_one_more_is_too_many(self, full: Records) -> None:
        with pytest.raises(TooMany):
            full.begin(self.more())

    def test_who_has_too_many_is_told_when_to_come_back(self, full: Records) -> None:
        with pytest.raises(TooMany) as caught:
            full.begin(self.more())
        assert caught.value.retry_after > 0

    def test_what_was_too_many_is_not_begun(self, full: Records) -> None:
        with pytest.raises(TooMany):
            full.begin(self.more())
        assert full.upload(numbered(MAX_OPEN)) is None

    @pytest.mark.parametrize("uploader", [b"v" * 16, None], ids=["another", "nobody"])
    def test_those_of_others_do_not_count(self, full: Records, uploader: bytes | None) -> None:
        full.begin(self.more(uploader))

    def test_those_of_nobody_are_not_counted_at_all(self, db: Records) -> None:
        for number in range(MAX_OPEN + 1):
            db.begin(new_share(numbered(number)))

    def test_one_of_them_can_be_begun_once_more(self, full: Records) -> None:
        full.begin(new_share(numbered(0), uploader=self.WHO))

    def test_a_finished_one_does_not_count(self, full: Records) -> None:
        full.put_part(numbered(0), part(), NOW)
        finish(full, [part()], numbered(0))
        full.begin(self.more())

    def test_one_that_was_given_up_does_not_count(self, full: Records) -> None:
        full.give_up(numbered(0), NOW)
        full.begin(self.more())

    def test_who_uploaded_a_finished_one_is_forgotten(self, full: Records, tmp_path: Path) -> None:
        full.put_part(numbered(0), part(), NOW)
        finish(full, [part()], numbered(0))
        assert rows(tmp_path, "SELECT uploader FROM shares WHERE state = 'live'") == [(None,)]


class TestUpload:
    """What is known of an upload, finished or not."""

    def test_it_is_what_was_begun(self, db: Records) -> None:
        new = new_share(life=50, opens=2)
        db.begin(new)
        found = db.upload(ID)
        assert found is not None
        both = set(Upload.__slots__) & set(NewShare.__slots__)
        assert {name: getattr(found, name) for name in both} == {name: getattr(new, name) for name in both}

    def test_it_is_not_finished_at_first(self, db: Records) -> None:
        db.begin(new_share())
        found = db.upload(ID)
        assert found is not None
        assert (found.is_finished, found.size, found.expires) == (False, None, None)

    def test_a_finished_one_tells_size_and_expiry(self, db: Records) -> None:
        finished(db, expires=NOW + 5)
        found = db.upload(ID)
        assert found is not None
        assert (found.is_finished, found.size, found.expires) == (True, 1000, NOW + 5)

    @pytest.mark.parametrize("end", ["given up", "killed", "never begun"])
    def test_what_has_ended_is_none(self, db: Records, end: str) -> None:
        if end == "given up":
            db.begin(new_share())
            db.give_up(ID, NOW)
        elif end == "killed":
            db.kill(finished(db), NOW)
        assert db.upload(ID) is None


class TestPutPart:
    """Parts are recorded while the upload is open."""

    def test_the_first_of_a_number_replaces_nothing(self, db: Records) -> None:
        db.begin(new_share())
        assert db.put_part(ID, part(), NOW) is None

    def test_a_second_of_a_number_replaces_the_first(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0, "first"), NOW)
        assert db.put_part(ID, part(0, "second"), NOW) == "0-first"

    def test_the_second_of_a_number_is_the_one_that_counts(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0, "first"), NOW)
        db.put_part(ID, part(0, "second"), NOW)
        assert db.parts(ID, 0, 9) == (part(0, "second"),)

    def test_numbers_do_not_meet(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(1), NOW)
        assert db.put_part(ID, part(0), NOW) is None

    def test_an_upload_never_begun_is_not_open(self, db: Records) -> None:
        with pytest.raises(NotOpen):
            db.put_part(ID, part(), NOW)

    def test_an_upload_given_up_is_not_open(self, db: Records) -> None:
        db.begin(new_share())
        db.give_up(ID, NOW)
        with pytest.raises(NotOpen):
            db.put_part(ID, part(), NOW)

    @pytest.mark.parametrize("late", [part(0, "other"), part(0), part(1)], ids=["another", "the same", "one more"])
    def test_a_finished_share_is_not_open(self, db: Records, late: PartRecord) -> None:
        finished(db)
        with pytest.raises(NotOpen):
            db.put_part(ID, late, NOW)

    def test_what_was_refused_is_not_recorded(self, db: Records) -> None:
        finished(db)
        with pytest.raises(NotOpen):
            db.put_part(ID, part(1), NOW)
        assert db.parts(ID, 0, 9) == (part(),)

    @pytest.mark.parametrize("mark", [None, b"m" * 16])
    def test_a_mark_is_kept(self, db: Records, mark: bytes | None) -> None:
        db.begin(new_share())
        db.put_part(ID, part(mark=mark), NOW)
        assert db.parts(ID, 0, 9) == (part(mark=mark),)

    def test_a_mark_goes_with_its_part(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(mark=b"m" * 16), NOW)
        db.put_part(ID, part(0, "second"), NOW)
        assert db.parts(ID, 0, 9) == (part(0, "second"),)


class TestSizes:
    """What is stored is counted, and never more than is allowed."""

    def test_nothing_is_stored_at_first(self, db: Records) -> None:
        assert db.stored() == 0

    def test_it_is_the_sum_of_all_parts(self, db: Records) -> None:
        finished(db, numbered(1), parts=[part(0, size=5), part(1, size=1 << 40)])
        db.begin(new_share(numbered(2)))
        db.put_part(numbered(2), part(7, size=70), NOW)
        assert db.stored() == (1 << 40) + 75

    @pytest.mark.parametrize("size", [0, 1, 999, 1000, 5000])
    def test_a_part_that_is_replaced_counts_no_more(self, db: Records, size: int) -> None:
        db.begin(new_share())
        db.put_part(ID, part(size=1000), NOW)
        db.put_part(ID, part(name="second", size=size), NOW)
        assert db.stored() == size

    @pytest.mark.parametrize("state", ["finished", "open"])
    def test_what_was_buried_counts_no_more(self, db: Records, state: str) -> None:
        finished(db, numbered(1))
        if state == "finished":
            db.kill(finished(db), NOW)
        else:
            db.begin(new_share())
            db.put_part(ID, part(), NOW)
            db.give_up(ID, NOW)
        before = db.stored()
        db.bury(ID)
        assert (before, db.stored()) == (2000, 1000)

    def test_burying_twice_does_not_count_twice(self, db: Records) -> None:
        finished(db, numbered(1))
        db.kill(finished(db), NOW)
        db.bury(ID)
        db.bury(ID)
        assert db.stored() == 1000

    @pytest.mark.parametrize(("most", "fits"), [(1999, False), (2000, True), (2001, True)])
    def test_an_upload_holds_so_much_at_most(self, db: Records, most: int, fits: bool) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0), NOW, most=most)
        if fits:
            db.put_part(ID, part(1), NOW, most=most)
        else:
            with pytest.raises(TooLarge):
                db.put_part(ID, part(1), NOW, most=most)
        assert db.stored() == 1000 + 1000 * fits

    def test_what_others_hold_does_not_count_for_an_upload(self, db: Records) -> None:
        finished(db, numbered(1))
        db.begin(new_share())
        db.put_part(ID, part(), NOW, most=1000)

    def test_a_replacement_counts_in_the_place_of_what_it_replaces(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0, "first"), NOW, most=1000)
        db.put_part(ID, part(0, "second"), NOW, most=1000)
        assert db.parts(ID, 0, 9) == (part(0, "second"),)

    @pytest.mark.parametrize(("quota", "fits"), [(1999, False), (2000, True)])
    def test_all_parts_of_all_shares_hold_so_much_at_most(self, db: Records, quota: int, fits: bool) -> None:
        finished(db, numbered(1))
        db.begin(new_share())
        if fits:
            db.arrive(WAY, 1000, quota, NOW)
        else:
            with pytest.raises(NoRoom):
                db.arrive(WAY, 1000, quota, NOW)

    def test_what_is_on_its_way_counts_as_it_grows(self, db: Records) -> None:
        db.arrive(WAY, 600, 1000, NOW)
        db.arrive(WAY, 400, 1000, NOW)
        with pytest.raises(NoRoom):
            db.arrive(b"v" * 16, 1, 1000, NOW)

    def test_what_did_not_arrive_gives_its_room_back(self, db: Records) -> None:
        db.arrive(WAY, 1000, 1000, NOW)
        db.leave(WAY)
        db.arrive(WAY, 1000, 1000, NOW)

    def test_what_arrived_counts_once(self, db: Records) -> None:
        db.begin(new_share())
        db.arrive(WAY, 1000, 2000, NOW)
        db.put_part(ID, part(), NOW, arrived=WAY)
        db.arrive(WAY, 1000, 2000, NOW)

    @pytest.mark.parametrize(("idle", "is_back"), [(99, False), (100, True)])
    def test_what_a_crash_left_on_its_way_gives_its_room_back(self, db: Records, idle: int, is_back: bool) -> None:
        db.arrive(WAY, 1000, 1000, NOW)
        db.mark_dead(NOW + idle, 100)
        if is_back:
            db.arrive(b"v" * 16, 1000, 1000, NOW)
        else:
            with pytest.raises(NoRoom):
                db.arrive(b"v" * 16, 1000, 1000, NOW)

    def test_what_is_refused_leaves_what_it_would_have_replaced(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0, "first"), NOW)
        with pytest.raises(TooLarge):
            db.put_part(ID, part(0, "second", size=1001), NOW, most=1000)
        assert (db.parts(ID, 0, 9), db.stored()) == ((part(0, "first"),), 1000)

    def test_what_is_refused_is_no_activity(self, db: Records, tmp_path: Path) -> None:
        db.begin(new_share())
        with pytest.raises(TooLarge):
            db.put_part(ID, part(), NOW + 50, most=999)
        assert rows(tmp_path, "SELECT touched FROM shares") == [(NOW,)]


class TestFinish:
    """Finish is one compare-and-set over the list of parts; nothing changes after it."""

    @pytest.mark.parametrize(
        "named",
        [
            [],
            [part(0)],
            [part(0), part(1), part(2)],
            [part(1), part(0)],
            [part(0), part(1, "other")],
            [part(0), part(1, size=999)],
            [part(0), PartRecord(1, "1-one", 1000, bytes(32))],
            [part(0), part(1), part(1)],
        ],
        ids=["none", "one less", "one more", "out of order", "name", "size", "hash", "twice"],
    )
    def test_other_parts_than_those_recorded_are_refused(self, db: Records, named: list[PartRecord]) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0), NOW)
        db.put_part(ID, part(1), NOW)
        with pytest.raises(NotOpen):
            finish(db, named)

    def test_a_refused_finish_leaves_the_upload_open(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(0), NOW)
        with pytest.raises(NotOpen):
            finish(db, [part(1)])
        finish(db, [part(0)])

    def test_parts_may_come_in_any_order(self, db: Records) -> None:
        db.begin(new_share())
        for number in (2, 0, 1):
            db.put_part(ID, part(number), NOW)
        finish(db, [part(0), part(1), part(2)])
        assert db.parts(ID, 0, 9) == (part(0), part(1), part(2))

    def test_a_second_finish_is_refused(self, db: Records) -> None:
        finished(db)
        with pytest.raises(NotOpen):
            finish(db, [part()])

    def test_a_second_finish_does_not_change_the_expiry(self, db: Records) -> None:
        finished(db)
        with pytest.raises(NotOpen):
            finish(db, [part()], expires=NOW + 1)
        assert db.share(ID, NOW + DAY) is not None

    def test_an_upload_never_begun_cannot_be_finished(self, db: Records) -> None:
        with pytest.raises(NotOpen):
            finish(db, [])

    def test_an_upload_given_up_cannot_be_finished(self, db: Records) -> None:
        db.begin(new_share())
        db.put_part(ID, part(), NOW)
        db.give_up(ID, NOW)
        with pytest.raises(NotOpen):
            finish(db, [part()])


class TestGiveUp:
    """Only what is open can be given up."""

    def test_an_open_upload_was_open(self, db: Records) -> None:
        db.begin(new_share())
        assert db.give_up(ID, NOW) is True

    def test_the_second_time_it_is_not(self, db: Records) -> None:
        db.begin(new_share())
        db.give_up(ID, NOW)
        assert db.give_up(ID, NOW) is False

    def test_a_finished_share_is_not_open(self, db: Records) -> None:
        assert db.give_up(finished(db), NOW) is False

    def test_a_finished_share_stays(self, db: Records) -> None:
        db.give_up(finished(db), NOW)
        assert db.share(ID, NOW) is not None

    def test_what_was_never_begun_is_not_open(self, db: Records) -> None:
        assert db.give_up(ID, NOW) is False


class TestShare:
    """What is known of a finished share."""

    def test_it_is_what_was_begun(self, db: Records) -> None:
        finished(db)
        found = db.share(ID, NOW)
        assert found is not None
        both = set(NewShare.__slots__) & set(Share.__slots__) - {"opens"}
        assert {name: getattr(found, name) for name in both} == {name: getattr(new_share(), name) for name in both}

    def test_how_often_it_may_be_opened_is_said_when_it_is_finished(self, db: Records) -> None:
        finished(db, opens=4)
        found = db.share(ID, NOW)
        assert found is not None
        assert (found.opens, found.opened, found.last_opened) == (4, 0, None)

    @pytest.mark.parametrize("served", [False, True], ids=["unused", "used"])
    @pytest.mark.parametrize(("later", "lives"), [(0, True), (59, True), (60, False), (61, False), (DAY, False)])
    def test_a_used_up_one_is_there_while_a_lease_lives_or_gives_back(
        self, db: Records, served: bool, later: int, lives: bool
    ) -> None:
        finished(db, opens=1)
        limits = Limits(db.database)
        limits.take(ID, b"l" * 32, NOW, 60)
        if served:
            limits.serve(ID, b"l" * 32, NOW, 60, first=True)
        assert (db.share(ID, NOW + later) is not None) is (lives or not served)

    def test_one_with_opens_left_needs_no_lease(self, db: Records) -> None:
        finished(db, opens=2)
        limits = Limits(db.database)
        limits.take(ID, b"l" * 32, NOW, 60)
        limits.serve(ID, b"l" * 32, NOW, 60, first=True)
        assert db.share(ID, NOW + 60) is not None

    def test_the_lease_of_another_does_not_help(self, db: Records) -> None:
        limits = Limits(db.database)
        for number in (1, 2):
            finished(db, numbered(number), opens=1)
            limits.take(numbered(number), bytes([number]) * 32, NOW, 60 * number)
            limits.serve(numbered(number), bytes([number]) * 32, NOW, 60 * number, first=True)
        assert db.share(numbered(1), NOW + 60) is None

    def test_its_size_is_that_of_its_parts(self, db: Records) -> None:
        finished(db, parts=[part(0, size=5), part(1, size=1 << 40)])
        found = db.share(ID, NOW)
        assert found is not None
        assert found.size == (1 << 40) + 5

    def test_its_last_part_is_known(self, db: Records) -> None:
        finished(db, parts=[part(number) for number in range(12)])
        found = db.share(ID, NOW)
        assert found is not None
        assert found.last == part(11)

    @pytest.mark.parametrize(
        ("expires", "at", "there"),
        [
            (None, NOW + 1000 * DAY, True),
            (NOW + 100, NOW, True),
            (NOW + 100, NOW + 99, True),
            (NOW + 100, NOW + 100, False),
            (NOW + 100, NOW + 101, False),
        ],
    )
    def test_it_is_there_until_the_second_in_which_it_expires(
        self, db: Records, expires: int | None, at: int, there: bool
    ) -> None:
        finished(db, expires=expires)
        assert (db.share(ID, at) is not None) is there

    def test_the_time_of_expiry_is_known(self, db: Records) -> None:
        finished(db, expires=NOW + 5)
        found = db.share(ID, NOW)
        assert found is not None
        assert found.expires == NOW + 5

    @pytest.mark.parametrize("unknown", [numbered(7), "", "../x", ID.upper(), "' OR 1=1 --", "%"])
    def test_what_was_never_there_is_none(self, db: Records, unknown: str) -> None:
        finished(db)
        assert db.share(unknown, NOW) is None

    def test_parts_are_given_from_first_to_last(self, db: Records) -> None:
        finished(db, parts=[part(number) for number in range(12)])
        assert db.parts(ID, 3, 10) == tuple(part(number) for number in range(3, 11))

    def test_parts_past_the_last_are_none(self, db: Records) -> None:
        assert db.parts(finished(db), 1, 9) == ()

    def test_parts_of_another_share_are_not_given(self, db: Records) -> None:
        finished(db, numbered(1), parts=[part(0, "first")])
        finished(db, numbered(2), parts=[part(0, "second")])
        assert db.parts(numbered(1), 0, 9) == (part(0, "first"),)


class TestChangeAndKill:
    """Only a live share can be changed."""

    @pytest.mark.parametrize(("expires", "there"), [(NOW, False), (NOW + 1, True), (None, True)])
    def test_a_new_expiry_holds(self, db: Records, expires: int | None, there: bool) -> None:
        db.change(finished(db, expires=NOW + 50), expires=expires)
        assert (db.share(ID, NOW) is not None) is there

    def test_a_live_share_was_changed(self, db: Records) -> None:
        assert db.change(finished(db), expires=NOW + 5) is True

    @pytest.mark.parametrize("opens", [None, 1, 7])
    def test_a_new_number_of_opens_holds(self, db: Records, opens: int | None) -> None:
        db.change(finished(db, opens=3), opens=opens)
        found = db.share(ID, NOW)
        assert found is not None
        assert found.opens == opens

    def test_what_is_not_named_stays(self, db: Records) -> None:
        db.change(finished(db, expires=NOW + 50, opens=3), opens=4)
        found = db.share(ID, NOW)
        assert found is not None
        assert (found.expires, found.opens) == (NOW + 50, 4)

    def test_both_can_be_changed_at_once(self, db: Records) -> None:
        db.change(finished(db), expires=NOW + 9, opens=4)
        found = db.share(ID, NOW)
        assert found is not None
        assert (found.expires, found.opens) == (NOW + 9, 4)

    @pytest.mark.parametrize(("opens", "done"), [(1, False), (2, True), (3, True), (None, True)])
    def test_never_are_fewer_opens_allowed_than_were_used(self, db: Records, opens: int | None, done: bool) -> None:
        finished(db, opens=5)
        limits = Limits(db.database)
        for number in range(2):
            limits.take(ID, bytes([number]) * 32, NOW, 60)
        assert db.change(ID, opens=opens) is done

    def test_what_is_refused_changes_nothing_at_all(self, db: Records) -> None:
        finished(db, expires=NOW + 50, opens=5)
        for number in range(2):
            Limits(db.database).take(ID, bytes([number]) * 32, NOW, 60)
        db.change(ID, opens=1, expires=NOW + 70)
        found = db.share(ID, NOW)
        assert found is not None
        assert (found.expires, found.opens) == (NOW + 50, 5)

    def test_other_shares_are_not_changed(self, db: Records) -> None:
        finished(db, numbered(2))
        db.change(finished(db, numbered(1)), expires=NOW)
        assert db.share(numbered(2), NOW) is not None

    @pytest.mark.parametrize("state", ["open", "dead", "none"])
    def test_what_is_not_live_was_not_changed(self, db: Records, state: str) -> None:
        if state == "open":
            db.begin(new_share())
        elif state == "dead":
            db.kill(finished(db), NOW)
        assert db.change(ID, expires=NOW) is False

    @pytest.mark.parametrize(("state", "lived"), [("open", True), ("dead", False), ("none", False)])
    def test_a_share_and_an_upload_can_be_killed_once(self, db: Records, state: str, lived: bool) -> None:
        if state == "open":
            db.begin(new_share())
        elif state == "dead":
            db.kill(finished(db), NOW)
        assert db.kill(ID, NOW) is lived

    def test_no_lease_outlives_its_share(self, db: Records) -> None:
        finished(db, opens=2)
        limits = Limits(db.database)
        limits.take(ID, b"l" * 32, NOW, 60)
        db.kill(ID, NOW)
        assert (limits.lease(ID, b"l" * 32, NOW), limits.serve(ID, b"l" * 32, NOW, 60, first=True)) == (None, False)

    def test_the_leases_of_others_stay(self, db: Records) -> None:
        finished(db, numbered(1), opens=2)
        Limits(db.database).take(numbered(1), b"l" * 32, NOW, 60)
        db.kill(finished(db), NOW)
        assert Limits(db.database).lease(numbered(1), b"l" * 32, NOW) is not None

    def test_a_live_share_was_killed(self, db: Records) -> None:
        assert db.kill(finished(db), NOW) is True

    def test_what_was_killed_is_no_share(self, db: Records) -> None:
        db.kill(finished(db), NOW)
        assert db.share(ID, NOW) is None

    def test_a_dead_share_stays_dead_at_any_time(self, db: Records) -> None:
        db.kill(finished(db), NOW)
        assert db.share(ID, NOW - 1000 * DAY) is None


class TestMarkDeadAndBury:
    """How shares and uploads end."""

    @pytest.mark.parametrize(("at", "marked"), [(NOW + 99, 0), (NOW + 100, 1), (NOW + 101, 1)])
    def test_what_expired_is_marked(self, db: Records, at: int, marked: int) -> None:
        finished(db, expires=NOW + 100)
        assert db.mark_dead(at, DAY) == marked

    def test_what_never_expires_is_not_marked(self, db: Records) -> None:
        finished(db)
        assert db.mark_dead(NOW + 10_000 * DAY, DAY) == 0

    @pytest.mark.parametrize(("at", "marked"), [(NOW + DAY - 1, 0), (NOW + DAY, 1)])
    def test_an_upload_without_activity_is_marked(self, db: Records, at: int, marked: int) -> None:
        db.begin(new_share())
        assert db.mark_dead(at, DAY) == marked

    @pytest.mark.parametrize(("at", "marked"), [(NOW + DAY, 0), (NOW + DAY + 50, 1)])
    def test_a_part_is_activity(self, db: Records, at: int, marked: int) -> None:
        db.begin(new_share())
        db.put_part(ID, part(), NOW + 50)
        assert db.mark_dead(at, DAY) == marked

    def test_what_is_dead_is_not_marked_again(self, db: Records) -> None:
        finished(db, expires=NOW + 1)
        db.mark_dead(NOW + 1, DAY)
        assert db.mark_dead(NOW + 2, DAY) == 0

    def test_marking_again_does_not_put_off_the_end(self, db: Records) -> None:
        finished(db, expires=NOW + 1)
        db.mark_dead(NOW + 1, DAY)
        db.mark_dead(NOW + 500, DAY)
        assert db.dead(NOW + 1) == (ID,)

    def test_what_was_marked_is_no_share_even_if_the_clock_goes_back(self, db: Records) -> None:
        finished(db, expires=NOW + 1)
        db.mark_dead(NOW + 1, DAY)
        assert db.share(ID, NOW) is None

    def test_only_what_is_due_is_marked(self, db: Records) -> None:
        finished(db, numbered(1), expires=NOW + 1)
        finished(db, numbered(2), expires=NOW + 2)
        db.begin(new_share(numbered(3)))
        db.mark_dead(NOW + 1, DAY)
        assert db.dead(NOW + 1) == (numbered(1),)

    @pytest.mark.parametrize(("before", "found"), [(NOW - 1, ()), (NOW, (ID,)), (NOW + 1, (ID,))])
    def test_the_dead_are_those_marked_before(self, db: Records, before: int, found: tuple[str, ...]) -> None:
        db.kill(finished(db), NOW)
        assert db.dead(before) == found

    def test_nothing_else_is_dead(self, db: Records) -> None:
        finished(db, numbered(1))
        db.begin(new_share(numbered(2)))
        assert db.dead(NOW + 1000 * DAY) == ()

    def test_a_buried_share_leaves_nothing_but_a_tombstone(self, db: Records, tmp_path: Path) -> None:
        finished(db, opens=3)
        Limits(db.database).take(ID, b"l" * 32, NOW, 60)
        Limits(db.database).guess(ID, b"c" * 16, b"g" * 32, NOW, Allowed(10))
        db.kill(ID, NOW)
        db.bury(ID)
        tables = ("shares", "parts", "leases", "guesses", "tombstones")
        found = [rows(tmp_path, f"SELECT * FROM {table}") for table in tables]
        assert found == [[], [], [], [], [(bytes.fromhex(ID),)]]

    def test_a_buried_upload_leaves_nothing(self, db: Records, tmp_path: Path) -> None:
        db.begin(new_share())
        db.put_part(ID, part(), NOW)
        db.give_up(ID, NOW)
        db.bury(ID)
        found = [rows(tmp_path, f"SELECT * FROM {table}") for table in ("shares", "parts", "tombstones")]
        assert found == [[], [], []]

    def test_burying_twice_does_nothing(self, db: Records, tmp_path: Path) -> None:
        db.kill(finished(db), NOW)
        db.bury(ID)
        db.bury(ID)
        assert rows(tmp_path, "SELECT count(*) FROM tombstones") == [(1,)]

    @pytest.mark.parametrize("state", ["open", "live"])
    def test_only_the_dead_are_buried(self, db: Records, tmp_path: Path, state: str) -> None:
        db.begin(new_share()) if state == "open" else finished(db)
        db.bury(ID)
        assert rows(tmp_path, "SELECT state FROM shares") == [(state,)]

    def test_a_used_up_share_is_marked_when_its_lease_is_over(self, db: Records) -> None:
        finished(db, opens=1)
        limits = Limits(db.database)
        limits.take(ID, b"l" * 32, NOW, 60)
        limits.serve(ID, b"l" * 32, NOW, 60, first=True)
        assert [db.mark_dead(NOW + 59, DAY), db.mark_dead(NOW + 60, DAY)] == [0, 1]

    def test_a_share_whose_open_will_be_given_back_is_not_marked(self, db: Records) -> None:
        finished(db, opens=1)
        Limits(db.database).take(ID, b"l" * 32, NOW, 60)
        assert db.mark_dead(NOW + 1000, DAY) == 0

    def test_a_lease_of_another_share_keeps_none_alive(self, db: Records) -> None:
        finished(db, numbered(1), opens=1)
        finished(db, numbered(2), opens=1)
        limits = Limits(db.database)
        for number, lasts in ((1, 60), (2, 600)):
            limits.take(numbered(number), bytes([number]) * 32, NOW, lasts)
            limits.serve(numbered(number), bytes([number]) * 32, NOW, lasts, first=True)
        db.mark_dead(NOW + 60, DAY)
        assert db.dead(NOW + 60) == (numbered(1),)

    def test_burying_one_leaves_the_parts_of_others(self, db: Records) -> None:
        finished(db, numbered(2))
        db.kill(finished(db, numbered(1)), NOW)
        db.bury(numbered(1))
        assert db.parts(numbered(2), 0, 9) == (part(),)


class TestClock:
    """What the database remembers of the clock."""

    def test_a_fresh_database_has_seen_no_time(self, db: Records) -> None:
        assert db.newest() == (None, None)

    def test_the_newest_time_is_that_of_what_happened(self, db: Records) -> None:
        finished(db)
        assert db.newest() == (NOW, None)

    @pytest.mark.parametrize(
        ("now", "newest"),
        [
            (NOW - 5, NOW),
            (NOW + 5, NOW + 5),
            (NOW + FAR_AHEAD, NOW + FAR_AHEAD),
            (NOW + FAR_AHEAD + 1, NOW),
            (NOW + 1000 * DAY, NOW),
        ],
    )
    def test_what_happens_moves_it_on_by_a_day_at_most(self, db: Records, now: int, newest: int) -> None:
        db.begin(new_share(numbered(1)))
        db.begin(new_share(numbered(2), created=now))
        assert db.newest() == (newest, None)

    @pytest.mark.parametrize(("now", "newest"), [(NOW - 5, NOW), (NOW + 5, NOW + 5), (NOW + 1000 * DAY,) * 2])
    def test_a_tick_moves_it_on_by_any_time(self, db: Records, now: int, newest: int) -> None:
        db.tick(NOW)
        db.tick(now)
        assert db.newest() == (newest, None)

    def test_since_when_the_clock_is_ahead_is_noted(self, db: Records) -> None:
        db.tick(NOW)
        db.note_ahead(NOW + 5)
        assert db.newest() == (NOW, NOW + 5)

    @pytest.mark.parametrize("believed", ["tick", "note_ahead"])
    def test_it_is_forgotten_when_the_clock_is_believed_again(self, db: Records, believed: str) -> None:
        db.tick(NOW)
        db.note_ahead(NOW + 5)
        db.tick(NOW) if believed == "tick" else db.note_ahead(None)
        assert db.newest() == (NOW, None)


class TestStates:
    """How much there is of each."""

    def test_there_is_nothing_at_first(self, db: Records) -> None:
        assert not any(db.states().values())

    def test_each_state_is_counted(self, db: Records) -> None:
        for number, state in enumerate(["open", "open", "live", "live", "live", "dead"]):
            if state == "open":
                db.begin(new_share(numbered(number)))
            else:
                finished(db, numbered(number))
            if state == "dead":
                db.kill(numbered(number), NOW)
        assert dict(db.states()) == {"open": 2, "live": 3, "dead": 1}


class TestEntries:
    """What an operator sees: everything, whatever its state."""

    def test_there_is_nothing_at_first(self, db: Records) -> None:
        assert db.entries() == ()

    def test_everything_is_listed_oldest_first(self, db: Records) -> None:
        db.begin(new_share(numbered(1), created=NOW + 5))
        finished(db, numbered(3))
        db.kill(finished(db, numbered(2)), NOW)
        found = [(entry.id, entry.state) for entry in db.entries()]
        assert found == [(numbered(2), "dead"), (numbered(3), "live"), (numbered(1), "open")]

    def test_one_is_found_by_its_id(self, db: Records) -> None:
        finished(db, numbered(1))
        finished(db, numbered(2), expires=NOW + 5, opens=3)
        expected = Entry(
            id=numbered(2),
            state="live",
            header=new_share().header,
            size=1000,
            created=NOW,
            finished=NOW,
            expires=NOW + 5,
            died=None,
            opens=3,
            opened=0,
            last_opened=None,
        )
        assert db.entries(numbered(2)) == (expected,)

    def test_an_unknown_id_is_nothing(self, db: Records) -> None:
        assert db.entries(finished(db)[::-1]) == ()


def race(url: str, barrier: Any, answers: Any, which: int, calls: Sequence[Callable[[Records], object]]) -> None:
    """Make one call after another, each at the same moment as the others who race; tell how each ended."""
    db, ends = Records(url), list[str]()
    for call in calls:
        barrier.wait(60)
        try:
            ends.append(str(call(db)))
        except Exception as error:
            ends.append(type(error).__name__)
    answers.put((which, ends))
    db.close()


def at_once(kind: str, url: str, *racers: Sequence[Callable[[Records], object]]) -> list[tuple[str, ...]]:
    """Let threads or processes race; for each round, how it ended for each."""
    barrier: Any = threading.Barrier(len(racers)) if kind == "threads" else FRESH.Barrier(len(racers))
    answers: Any = queue.Queue() if kind == "threads" else FRESH.Queue()
    runner: Any = threading.Thread if kind == "threads" else FRESH.Process
    running = [runner(target=race, args=(url, barrier, answers, *racer)) for racer in enumerate(racers)]
    for one in running:
        one.start()
    ends = dict(answers.get(timeout=120) for _ in racers)
    for one in running:
        one.join()
    return list(zip(*(ends[which] for which in range(len(racers))), strict=True))


def _begin(share: str, owner: bytes, db: Records) -> None:
    db.begin(new_share(share, owner_hash=owner, uploader=b"u" * 16))


def _put(share: str, one: PartRecord, db: Records) -> object:
    return db.put_part(share, one, NOW)


def _put_within(share: str, one: PartRecord, quota: int, db: Records) -> object:
    way = bytes([one.number]) * 16
    db.arrive(way, one.size, quota, NOW)
    return db.put_part(share, one, NOW, arrived=way)


def _put_most(share: str, one: PartRecord, most: int, db: Records) -> object:
    return db.put_part(share, one, NOW, most=most)


def _finish(share: str, parts: Sequence[PartRecord], db: Records) -> None:
    finish(db, parts, share)


def _give_up(share: str, db: Records) -> object:
    return db.give_up(share, NOW)


def _kill(share: str, db: Records) -> object:
    return db.kill(share, NOW)


@pytest.mark.parametrize("kind", ["threads", "processes"])
class TestAtOnce:
    """Whatever happens at once, happens as if one came first."""

    ROUNDS = 25

    def test_of_two_begins_of_one_id_one_is_taken(self, db: Records, url: str, kind: str) -> None:
        first, second = (
            [partial(_begin, numbered(number), owner * 32) for number in range(self.ROUNDS)] for owner in (b"1", b"2")
        )
        ends = at_once(kind, url, first, second)
        assert [sorted(end) for end in ends] == [["None", "Taken"]] * self.ROUNDS

    def test_two_begins_with_the_same_values_are_one(self, db: Records, url: str, kind: str) -> None:
        calls = [partial(_begin, numbered(number), b"o" * 32) for number in range(self.ROUNDS)]
        assert at_once(kind, url, calls, calls) == [("None", "None")] * self.ROUNDS

    def test_never_has_an_uploader_more_than_it_may(self, db: Records, url: str, kind: str) -> None:
        for number in range(MAX_OPEN - 5):
            _begin(numbered(number), b"o" * 32, db)
        racers = [[partial(_begin, numbered(1000 * who + n), b"o" * 32) for n in range(4)] for who in (1, 2, 3)]
        ends = [end for round_ in at_once(kind, url, *racers) for end in round_]
        assert (ends.count("None"), ends.count("TooMany")) == (5, 7)

    def test_never_is_more_stored_than_the_quota(self, db: Records, url: str, kind: str) -> None:
        db.begin(new_share())
        racers = [[partial(_put_within, ID, part(4 * who + n), 5500) for n in range(4)] for who in range(3)]
        ends = [end for round_ in at_once(kind, url, *racers) for end in round_]
        assert (ends.count("None"), ends.count("NoRoom"), db.stored()) == (5, 7, 5000)

    def test_never_does_an_upload_hold_more_than_it_may(self, db: Records, url: str, kind: str) -> None:
        db.begin(new_share())
        racers = [[partial(_put_most, ID, part(4 * who + n), 5500) for n in range(4)] for who in range(3)]
        ends = [end for round_ in at_once(kind, url, *racers) for end in round_]
        assert (ends.count("None"), ends.count("TooLarge"), db.stored()) == (5, 7, 5000)

    def test_what_is_stored_is_counted_right_while_parts_are_replaced(
        self, db: Records, url: str, kind: str, tmp_path: Path
    ) -> None:
        db.begin(new_share())
        racers = [
            [partial(_put, ID, part(n % 3, f"{who}-{n}", size=100 * who + n)) for n in range(12)] for who in range(3)
        ]
        at_once(kind, url, *racers)
        assert [(db.stored(),)] == rows(tmp_path, "SELECT sum(size) FROM parts")

    def test_a_finish_and_a_new_part_have_one_winner(self, db: Records, url: str, kind: str) -> None:
        self.begin_all(db)
        ends = at_once(kind, url, self.finishes(), self.puts(part(0, "late")))
        assert set(ends) <= {("None", "NotOpen"), ("NotOpen", "0-one")}

    def test_a_committed_list_of_parts_never_changes(self, db: Records, url: str, kind: str) -> None:
        self.begin_all(db)
        ends = at_once(kind, url, self.finishes(), self.puts(part(0, "late")), self.puts(part(1)))
        for number, end in enumerate(ends):
            found = db.share(numbered(number), NOW)
            assert (found is not None) is (end[0] == "None")
            assert found is None or db.parts(numbered(number), 0, 9) == (part(0),)

    def test_a_finish_and_a_giving_up_have_one_winner(self, db: Records, url: str, kind: str) -> None:
        self.begin_all(db)
        ends = at_once(kind, url, self.finishes(), [partial(_give_up, numbered(n)) for n in range(self.ROUNDS)])
        assert set(ends) <= {("None", "False"), ("NotOpen", "True")}

    def test_one_of_two_finishes_finishes(self, db: Records, url: str, kind: str) -> None:
        self.begin_all(db)
        ends = at_once(kind, url, self.finishes(), self.finishes())
        assert [sorted(end) for end in ends] == [["None", "NotOpen"]] * self.ROUNDS

    def test_one_of_two_kills_kills(self, db: Records, url: str, kind: str) -> None:
        for number in range(self.ROUNDS):
            finished(db, numbered(number))
        calls = [partial(_kill, numbered(number)) for number in range(self.ROUNDS)]
        ends = at_once(kind, url, calls, calls)
        assert [sorted(end) for end in ends] == [["False", "True"]] * self.ROUNDS

    def test_of_two_parts_of_one_number_the_second_replaces_the_first(self, db: Records, url: str, kind: str) -> None:
        self.begin_all(db)
        ends = at_once(kind, url, self.puts(part(0, "a")), self.puts(part(0, "b")))
        assert set(ends) <= {("0-one", "0-a"), ("0-b", "0-one")}

    def begin_all(self, db: Records) -> None:
        """An upload with one part for each round."""
        for number in range(self.ROUNDS):
            db.begin(new_share(numbered(number)))
            db.put_part(numbered(number), part(0), NOW)

    def finishes(self) -> list[Callable[[Records], object]]:
        """In each round, finish the upload with its one part."""
        return [partial(_finish, numbered(number), [part(0)]) for number in range(self.ROUNDS)]

    def puts(self, one: PartRecord) -> list[Callable[[Records], object]]:
        """In each round, put a part into the upload."""
        return [partial(_put, numbered(number), one) for number in range(self.ROUNDS)]


class TestDatabase:
    """What SQLite is told, and what it holds."""

    def test_every_connection_is_durable_when_a_commit_returns(self, db: Records) -> None:
        open_at_once = [db.database.engine.raw_connection() for _ in range(20)]
        pragmas = ("journal_mode", "synchronous", "busy_timeout")
        found = {
            tuple(raw.cursor().execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas) for raw in open_at_once
        }
        for raw in open_at_once:
            raw.close()
        assert found == {("wal", 2, 30_000)}

    def test_the_database_itself_says_wal(self, db: Records, tmp_path: Path) -> None:
        assert rows(tmp_path, "PRAGMA journal_mode") == [("wal",)]

    def test_a_reader_does_not_wait_for_a_writer(self, db: Records, tmp_path: Path) -> None:
        finished(db)
        with closing(sqlite3.connect(tmp_path / "onekey.db", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM shares")
            assert db.share(ID, NOW) is not None

    def test_it_has_these_columns_and_no_others(self, db: Records, tmp_path: Path) -> None:
        tables = [name for (name,) in rows(tmp_path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {table: {row[1] for row in rows(tmp_path, f"PRAGMA table_info({table})")} for table in tables}
        hashes = {"knock_hash", "access_hash", "owner_hash"}
        times = {"created", "touched", "finished", "expires", "died", "life", "last_opened"}
        assert found == {
            "shares": {"id", "state", "header", "part_chunks", "size", "opens", "opened", "uploader", *hashes, *times},
            "parts": {"share", "number", "name", "size", "sha256", "mark"},
            "leases": {"hash", "share", "started", "ends", "served"},
            "guesses": {"share", "client", "guess", "at"},
            "counts": {"name", "label", "value"},
            "arriving": {"id", "size", "at"},
            "tombstones": {"id"},
            "clock": {"id", "newest", "ahead_since"},
            "alembic_version": {"version_num"},
        }

    def test_the_migrations_make_the_tables_that_the_code_declares(self, db: Records, tmp_path: Path) -> None:
        declared = sa.create_engine("sqlite://")
        database.metadata.create_all(declared)
        migrated = sa.create_engine(f"sqlite:///{tmp_path / 'onekey.db'}")
        names = sorted(database.metadata.tables)
        assert shape(migrated, names) == shape(declared, names)
        migrated.dispose()
        declared.dispose()


def shape(engine: sa.Engine, tables: Sequence[str]) -> dict[str, tuple[object, ...]]:
    """The primary key of tables, and of each column name, type, and whether it may be null."""
    found = sa.inspect(engine)
    return {
        table: (
            found.get_pk_constraint(table)["constrained_columns"],
            *((column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)),
        )
        for table in tables
    }


GOOD_STEP = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{name}", "{before}"


def upgrade() -> None:
    op.create_table("table_{name}", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO table_{name} VALUES (1)")
    op.add_column("shares", sa.Column("column_{name}", sa.Integer))
    op.execute("UPDATE shares SET column_{name} = 1")
"""
MIGRATE = "import sys; from onekey.records import Records; Records(sys.argv[1]).migrate()"


class Chain:
    """A copy of the package, to whose migrations steps can be added."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        shutil.copytree(ROOT / "onekey", folder / "onekey", ignore=shutil.ignore_patterns("__pycache__", "static"))

    def add(self, name: str, before: str, then: str = "") -> None:
        """A step that changes things, and then does something else."""
        step = GOOD_STEP.format(name=name, before=before) + f"    {then}\n"
        (self._folder / "onekey" / "migrations" / "versions" / f"{name}_step.py").write_text(step)

    def migrate(self) -> int:
        """Migrate with that package in a process of its own; gives its exit status."""
        command = [sys.executable, "-c", MIGRATE, self._url]
        return subprocess.run(command, cwd=self._folder, capture_output=True, check=False, timeout=60).returncode


@pytest.fixture
def chain(tmp_path: Path, url: str) -> Chain:
    """A copy of the package, its migrations to be continued."""
    return Chain(tmp_path / "copy", url)


class TestMigrations:
    """Every step is one transaction, made by one process at a time."""

    NEWEST = REVISIONS[-1]

    def everything(self, folder: Path) -> list[tuple[Any, ...]]:
        """The whole schema, and the revision."""
        query = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        return rows(folder, query) + rows(folder, "SELECT * FROM alembic_version")

    def test_the_steps_are_one_chain(self) -> None:
        texts = [step.read_text() for step in STEPS]
        before = [re.search(r'^down_revision = (None|"(\w+)")', text, re.MULTILINE) for text in texts]
        assert [found and found[2] for found in before] == [None, *REVISIONS[:-1]]

    def test_a_fresh_database_is_at_the_newest_schema(self, db: Records, tmp_path: Path) -> None:
        assert rows(tmp_path, "SELECT * FROM alembic_version") == [(self.NEWEST,)]

    def test_migrating_again_changes_nothing(self, db: Records, tmp_path: Path) -> None:
        before = self.everything(tmp_path)
        db.migrate()
        assert self.everything(tmp_path) == before

    @pytest.mark.parametrize("failure", ["raise ValueError", "import os; os._exit(9)"], ids=["raises", "is killed"])
    def test_of_a_step_that_fails_half_way_nothing_stays(
        self, db: Records, chain: Chain, tmp_path: Path, failure: str
    ) -> None:
        finished(db)
        before = self.everything(tmp_path)
        chain.add("9001", self.NEWEST, failure)
        assert chain.migrate() != 0
        assert self.everything(tmp_path) == before

    def test_the_steps_before_the_one_that_fails_stay(self, db: Records, chain: Chain, tmp_path: Path) -> None:
        finished(db)
        chain.add("9001", self.NEWEST)
        chain.add("9002", "9001", "raise ValueError")
        chain.migrate()
        assert rows(tmp_path, "SELECT version_num, column_9001 FROM alembic_version, shares") == [("9001", 1)]

    def test_a_step_that_failed_can_be_made_later(self, db: Records, chain: Chain, tmp_path: Path) -> None:
        finished(db)
        chain.add("9001", self.NEWEST, "raise ValueError")
        chain.migrate()
        chain.add("9001", self.NEWEST)
        assert chain.migrate() == 0
        assert rows(tmp_path, "SELECT version_num, column_9001 FROM alembic_version, shares") == [("9001", 1)]

    def test_a_fresh_database_takes_every_step(self, chain: Chain, tmp_path: Path) -> None:
        chain.add("9001", self.NEWEST)
        assert chain.migrate() == 0
        assert rows(tmp_path, "SELECT version_num, id FROM alembic_version, table_9001") == [("9001", 1)]

    def test_the_first_step_is_one_transaction_too(self, chain: Chain, tmp_path: Path) -> None:
        first = chain._folder / "onekey" / "migrations" / "versions" / STEPS[0].name
        first.write_text(f"{first.read_text()}    raise ValueError\n")
        assert chain.migrate() != 0
        assert rows(tmp_path, "SELECT name FROM sqlite_master WHERE name != 'alembic_version'") == []

    def test_a_newer_schema_is_refused(self, db: Records, tmp_path: Path) -> None:
        change(tmp_path, "UPDATE alembic_version SET version_num = '9001'")
        with pytest.raises(NewerSchema, match="9001"):
            db.migrate()

    def test_a_newer_schema_is_left_as_it_is(self, db: Records, chain: Chain, tmp_path: Path) -> None:
        chain.add("9001", self.NEWEST)
        chain.migrate()
        before = self.everything(tmp_path)
        with pytest.raises(NewerSchema):
            db.migrate()
        assert self.everything(tmp_path) == before

    def test_a_server_does_not_start_on_a_newer_schema(self, db: Records, tmp_path: Path) -> None:
        change(tmp_path, "UPDATE alembic_version SET version_num = '9001'")
        with pytest.raises(NewerSchema):
            create_services(Settings.read({"CONTENT_DIR": str(tmp_path)}))

    def test_processes_that_start_at_once_make_one_database(self, tmp_path: Path) -> None:
        barrier = FRESH.Barrier(4)
        running = [FRESH.Process(target=_start, args=(tmp_path / "content", barrier)) for _ in range(4)]
        for one in running:
            one.start()
        for one in running:
            one.join()
        found = rows(tmp_path / "content", "SELECT * FROM alembic_version")
        assert ([one.exitcode for one in running], found) == ([0] * 4, [(self.NEWEST,)])

    def test_a_start_waits_for_another_that_may_be_migrating(self, tmp_path: Path) -> None:
        lock = tmp_path / "migrate.lock"
        with ThreadPoolExecutor(1) as thread:
            with locked(lock):
                starting = thread.submit(create_services, Settings.read({"CONTENT_DIR": str(tmp_path)}))
                wait_for(lambda: somebody_waits(lock))
                before = rows(tmp_path, "SELECT name FROM sqlite_master")
            starting.result(60).vault.check()
        assert before == []


def _start(folder: Path, barrier: Any) -> None:
    barrier.wait(60)
    create_services(Settings.read({"CONTENT_DIR": str(folder)})).vault.check()


def keep_schema() -> None:
    """Make the kept database of the newest schema: tests/schemas/README.md says when and how."""
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder)
        settings = Settings.read({"CONTENT_DIR": folder, "CHUNK_SIZE": "4096", "MIN_FREE_SPACE": "0"})
        services = create_services(settings, lambda: float(NOW))
        kept, deleted = (
            services.uploads.receive(
                iter([Incoming("kept.bin", "application/octet-stream", iter([KEPT]))]),
                proven=lambda: True,
                terms=Terms,
            )
            for _ in range(2)
        )
        services.vault.delete(deleted.id, deleted.owner)
        half = ByHand(KEPT, seed=HALF_SEED, owner=HALF_OWNER, entropy=half_entropy())
        services.uploads.begin(half.plan(), b"u" * 16)
        services.uploads.put(half.id, half.owner, 0, [half.parts[0]], b"m" * 16)
        services.tally.flush()
        target = SCHEMAS / REVISIONS[-1]
        with closing(sqlite3.connect(content / "onekey.db")) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copyfile(content / "onekey.db", f"{target}.db")
        shutil.copytree(content / "blobs", f"{target}-blobs")
        told = {"token": kept.token, "owner": kept.owner, "deleted": deleted.id, "open": half.id}
        Path(f"{target}.json").write_text(json.dumps(told, indent=2) + "\n")


class Kept:
    """A copy of a kept database and of its blobs, opened with the newest code."""

    def __init__(self, revision: str, folder: Path) -> None:
        self.folder, self.told = folder, json.loads((SCHEMAS / f"{revision}.json").read_text())
        folder.mkdir()
        shutil.copy(SCHEMAS / f"{revision}.db", folder / "onekey.db")
        shutil.copytree(SCHEMAS / f"{revision}-blobs", folder / "blobs")
        self.before = rows(folder, "SELECT * FROM alembic_version")
        self.now = float(NOW)
        settings = Settings.read({"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0"})
        services = create_services(settings, lambda: self.now)
        self.vault, self.uploads = services.vault, services.uploads
        self.records = Records.at(folder / "onekey.db")


@pytest.mark.parametrize("revision", REVISIONS)
class TestKeptSchemas:
    """A database of every schema that was ever released opens with the newest code: tests/schemas/README.md."""

    @pytest.fixture
    def kept(self, revision: str, tmp_path: Path) -> Iterator[Kept]:
        """The kept database of that schema."""
        found = Kept(revision, tmp_path / "content")
        yield found
        found.records.close()

    def test_there_is_one(self, revision: str) -> None:
        assert (SCHEMAS / f"{revision}.db").is_file(), "tests/schemas/README.md says how to make it"

    def test_it_has_that_schema(self, kept: Kept, revision: str) -> None:
        assert kept.before == [(revision,)]

    def test_the_newest_code_brings_it_up_to_date(self, kept: Kept) -> None:
        assert rows(kept.folder, "SELECT * FROM alembic_version") == [(REVISIONS[-1],)]

    def test_its_share_opens(self, kept: Kept) -> None:
        opened = kept.vault.open(kept.told["token"], shown())
        found = b"".join(opened.read(0))
        opened.close()
        assert found == KEPT

    def test_its_owner_is_known(self, kept: Kept) -> None:
        share = links.blob_id(links.read_token(kept.told["token"]))
        assert kept.vault.owned(share, kept.told["owner"]).id == share

    def test_its_share_is_not_limited_and_was_never_opened(self, kept: Kept) -> None:
        share = links.blob_id(links.read_token(kept.told["token"]))
        found = kept.vault.owned(share, kept.told["owner"])
        assert (found.opens, found.opened, found.last_opened) == (None, 0, None)

    def test_its_stored_bytes_are_counted(self, kept: Kept) -> None:
        on_disk = sum(path.stat().st_size for path in (kept.folder / "blobs").rglob("*") if path.is_file())
        assert kept.records.stored() == on_disk

    def test_its_owner_can_limit_and_delete_it(self, kept: Kept) -> None:
        share = links.blob_id(links.read_token(kept.told["token"]))
        kept.vault.change(share, kept.told["owner"], {"opens": 1})
        lease = kept.vault.open_once(kept.told["token"], shown())
        kept.vault.open(kept.told["token"], shown(lease=str(lease))).close()
        kept.vault.delete(share, kept.told["owner"])
        assert rows(kept.folder, "SELECT id FROM shares") == [(kept.told["open"],)]

    @pytest.mark.parametrize("which", ["deleted", "open"])
    def test_its_ids_are_taken(self, kept: Kept, which: str) -> None:
        with pytest.raises(Taken):
            kept.records.begin(new_share(kept.told[which], part_chunks=1))

    def test_its_open_upload_can_go_on(self, kept: Kept) -> None:
        kept.records.put_part(kept.told["open"], part(1), NOW)
        assert [one.number for one in kept.records.parts(kept.told["open"], 0, 9)] == [0, 1]

    def test_its_open_upload_is_swept_in_time(self, kept: Kept) -> None:
        for _ in range(3):
            kept.now += DAY
            kept.vault.sweep()
        assert not (kept.folder / "blobs" / kept.told["open"]).exists()


@pytest.mark.parametrize("revision", [name for name in REVISIONS if name >= "0002"])
def test_the_owner_of_a_kept_upload_finishes_it(revision: str, tmp_path: Path) -> None:
    kept = Kept(revision, tmp_path / "content")
    half = ByHand(KEPT, seed=HALF_SEED, owner=HALF_OWNER, entropy=half_entropy())
    for number in range(1, len(half.parts)):
        kept.uploads.put(half.id, half.owner, number, [half.parts[number]], None)
    kept.uploads.finish(half.id, half.owner, half.named)
    opened = kept.vault.open(half.token, shown())
    assert b"".join(opened.read(0)) == KEPT
    opened.close()
    kept.records.close()
