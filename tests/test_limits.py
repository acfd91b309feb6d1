"""Opens, leases, guesses and counts: N means N, whatever is tried at once, and whatever the clock says meanwhile."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import pytest

from onekey.limits import HOUR, LONGEST_LEASE, Allowed, Lease, Limits
from onekey.records import DEAD, STORED, Records
from tests.stores import DAY, Store
from tests.test_records import ID, NOW, at_once, finished, new_share, numbered

LASTS = 600
CLIENT, OTHER = b"c" * 16, b"d" * 16
A_MINUTE, AN_HOUR = 3, 5
FEW = Allowed(A_MINUTE, AN_HOUR)
TOKENS = [bytes([number]) * 32 for number in range(200)]
ONE = TOKENS[0]


@pytest.fixture
def db(disk: Store) -> Records:
    """A fresh database, up to date."""
    return disk.records


@pytest.fixture
def limits(disk: Store) -> Limits:
    """The limits in it."""
    return disk.limits


@pytest.fixture
def url(disk: Store) -> str:
    """Its address."""
    return f"sqlite:///{disk.folder / 'onekey.db'}"


def opened(db: Records, share: str = ID) -> int:
    """How often a share was opened."""
    (entry,) = db.entries(share)
    return entry.opened


class TestTake:
    """An open is taken while there is one."""

    @pytest.mark.parametrize("opens", [1, 2, 7])
    def test_n_opens_are_n(self, db: Records, limits: Limits, opens: int) -> None:
        finished(db, opens=opens)
        found = [limits.take(ID, TOKENS[number], NOW, LASTS) for number in range(opens + 3)]
        assert found == [True] * opens + [False] * 3

    def test_each_counts(self, db: Records, limits: Limits) -> None:
        finished(db, opens=5)
        for number in range(3):
            limits.take(ID, TOKENS[number], NOW, LASTS)
        assert opened(db) == 3

    def test_one_that_was_refused_does_not_count(self, db: Records, limits: Limits) -> None:
        finished(db, opens=1)
        for number in range(3):
            limits.take(ID, TOKENS[number], NOW, LASTS)
        assert opened(db) == 1

    def test_one_that_was_refused_gives_no_lease(self, db: Records, limits: Limits) -> None:
        finished(db, opens=1)
        limits.take(ID, TOKENS[0], NOW, LASTS)
        limits.take(ID, TOKENS[1], NOW, LASTS)
        assert limits.lease(ID, TOKENS[1], NOW) is None

    @pytest.mark.parametrize("second", [0, 1, HOUR - 1])
    def test_only_the_hour_is_kept(self, db: Records, limits: Limits, second: int) -> None:
        hour = NOW - NOW % HOUR
        finished(db, opens=1)
        limits.take(ID, ONE, hour + second, LASTS)
        (entry,) = db.entries(ID)
        assert entry.last_opened == hour

    @pytest.mark.parametrize("state", ["open", "dead", "unlimited", "none"])
    def test_what_cannot_be_opened_so_gives_none(self, db: Records, limits: Limits, state: str) -> None:
        if state == "open":
            db.begin(new_share(opens=3))
        elif state == "dead":
            db.kill(finished(db, opens=3), NOW)
        elif state == "unlimited":
            finished(db)
        assert (limits.take(ID, ONE, NOW, LASTS), limits.lease(ID, ONE, NOW)) == (False, None)

    @pytest.mark.parametrize(("at", "taken"), [(NOW + 49, True), (NOW + 50, False)])
    def test_what_has_expired_gives_none(self, db: Records, limits: Limits, at: int, taken: bool) -> None:
        finished(db, opens=3, expires=NOW + 50)
        assert limits.take(ID, ONE, at, LASTS) is taken

    def test_more_opens_can_be_taken_when_more_are_allowed(self, db: Records, limits: Limits) -> None:
        finished(db, opens=1)
        limits.take(ID, TOKENS[0], NOW, LASTS)
        db.change(ID, opens=2)
        assert [limits.take(ID, TOKENS[number], NOW, LASTS) for number in (1, 2)] == [True, False]

    def test_other_shares_have_their_own(self, db: Records, limits: Limits) -> None:
        for number in (1, 2):
            finished(db, numbered(number), opens=1)
        assert [limits.take(numbered(number), TOKENS[number], NOW, LASTS) for number in (1, 2)] == [True, True]


class TestLease:
    """A lease lives for so long after the last byte that was served under it, and a day at most."""

    @pytest.fixture
    def taken(self, db: Records, limits: Limits) -> Limits:
        """A share of one open, which was taken."""
        finished(db, opens=1)
        assert limits.take(ID, ONE, NOW, LASTS)
        return limits

    @pytest.mark.parametrize(("later", "lives"), [(0, True), (LASTS - 1, True), (LASTS, False), (DAY, False)])
    def test_one_that_is_not_used_lives_so_long(self, taken: Limits, later: int, lives: bool) -> None:
        expected = Lease(NOW, NOW + LASTS, served=False) if lives else None
        assert taken.lease(ID, ONE, NOW + later) == expected

    def test_it_is_good_for_its_share_only(self, db: Records, taken: Limits) -> None:
        finished(db, numbered(2), opens=1)
        assert taken.lease(numbered(2), ONE, NOW) is None
        assert taken.serve(numbered(2), ONE, NOW, LASTS, first=True) is False

    @pytest.mark.parametrize("other", [TOKENS[1], b"", ONE[:31], ONE + b"\0"], ids=["another", "none", "less", "more"])
    def test_another_is_none(self, taken: Limits, other: bytes) -> None:
        assert taken.lease(ID, other, NOW) is None

    @pytest.mark.parametrize("first", [True, False])
    def test_what_is_served_moves_its_end(self, taken: Limits, first: bool) -> None:
        taken.serve(ID, ONE, NOW + 100, LASTS, first=first)
        assert taken.lease(ID, ONE, NOW + 100) == Lease(NOW, NOW + 100 + LASTS, served=True)

    @pytest.mark.parametrize(("later", "lives"), [(LASTS - 1, True), (LASTS, False), (LASTS + 1, False)])
    def test_nothing_is_served_under_one_that_is_over(self, taken: Limits, later: int, lives: bool) -> None:
        assert taken.serve(ID, ONE, NOW + later, LASTS, first=True) is lives

    def test_one_that_is_over_does_not_come_back(self, taken: Limits) -> None:
        taken.serve(ID, ONE, NOW + LASTS, LASTS, first=True)
        assert taken.lease(ID, ONE, NOW + LASTS) is None

    def test_it_lives_a_day_at_most(self, taken: Limits) -> None:
        for later in range(0, LONGEST_LEASE, LASTS - 1):
            assert taken.serve(ID, ONE, NOW + later, LASTS, first=False)
        found = taken.lease(ID, ONE, NOW + LONGEST_LEASE - 1)
        assert found is not None
        assert found.ends == NOW + LONGEST_LEASE
        assert taken.serve(ID, ONE, NOW + LONGEST_LEASE, LASTS, first=False) is False

    def test_its_end_never_moves_back(self, taken: Limits) -> None:
        taken.serve(ID, ONE, NOW + 100, LASTS, first=True)
        taken.serve(ID, ONE, NOW + 50, LASTS, first=False)
        found = taken.lease(ID, ONE, NOW + 100)
        assert found is not None
        assert found.ends == NOW + 100 + LASTS

    def test_a_clock_that_goes_back_ends_none(self, taken: Limits) -> None:
        assert taken.lease(ID, ONE, NOW - 100 * DAY) is not None

    def test_it_outlives_a_restart(self, taken: Limits, url: str) -> None:
        with closing(Records(url)) as again:
            assert Limits(again.database).lease(ID, ONE, NOW) == Lease(NOW, NOW + LASTS, served=False)


class TestGivingBack:
    """A lease under which nothing was served gives its open back when it is over; any other keeps it."""

    @pytest.mark.parametrize("served", [False, True])
    @pytest.mark.parametrize(("later", "over"), [(0, False), (LASTS - 1, False), (LASTS, True), (DAY, True)])
    def test_it_is_given_back_when_it_is_over_and_nothing_was_served(
        self, db: Records, limits: Limits, served: bool, later: int, over: bool
    ) -> None:
        finished(db, opens=1)
        limits.take(ID, ONE, NOW, LASTS)
        if served:
            limits.serve(ID, ONE, NOW, LASTS, first=True)
        limits.end_leases(NOW + later)
        assert opened(db) == (0 if over and not served else 1)

    def test_it_is_given_back_once(self, db: Records, limits: Limits) -> None:
        finished(db, opens=3)
        for number in range(2):
            limits.take(ID, TOKENS[number], NOW, LASTS)
        limits.serve(ID, TOKENS[1], NOW, LASTS, first=True)
        for _ in range(3):
            limits.end_leases(NOW + LASTS)
        assert opened(db) == 1

    def test_who_takes_next_has_what_was_given_back(self, db: Records, limits: Limits) -> None:
        finished(db, opens=1)
        limits.take(ID, TOKENS[0], NOW, LASTS)
        ends = [limits.take(ID, TOKENS[number], NOW + LASTS + number, LASTS) for number in (1, 2)]
        assert (ends, opened(db)) == ([True, False], 1)

    def test_who_takes_next_does_not_have_what_was_used(self, db: Records, limits: Limits) -> None:
        finished(db, opens=1)
        limits.take(ID, TOKENS[0], NOW, LASTS)
        limits.serve(ID, TOKENS[0], NOW, LASTS, first=True)
        assert limits.take(ID, TOKENS[1], NOW + DAY, LASTS) is False

    def test_a_lease_whose_open_was_given_back_serves_nothing_though_the_clock_goes_back(
        self, db: Records, limits: Limits
    ) -> None:
        finished(db, opens=1)
        limits.take(ID, TOKENS[0], NOW, LASTS)
        limits.take(ID, TOKENS[1], NOW + LASTS, LASTS)
        assert limits.serve(ID, TOKENS[0], NOW + 1, LASTS, first=True) is False

    def test_those_of_other_shares_are_given_back_to_them(self, db: Records, limits: Limits) -> None:
        for number in (1, 2, 3):
            finished(db, numbered(number), opens=5)
            for which in range(number):
                limits.take(numbered(number), TOKENS[10 * number + which], NOW, LASTS)
        limits.serve(numbered(3), TOKENS[31], NOW, LASTS, first=True)
        limits.end_leases(NOW + LASTS)
        assert [opened(db, numbered(number)) for number in (1, 2, 3)] == [0, 0, 1]

    def test_how_many_will_be_given_back_is_known(self, db: Records, limits: Limits) -> None:
        finished(db, opens=9)
        for number in range(4):
            limits.take(ID, TOKENS[number], NOW + number, LASTS)
        limits.serve(ID, TOKENS[0], NOW, LASTS, first=True)
        found = [limits.returning(ID, NOW + later) for later in (0, LASTS, LASTS + 1, LASTS + 2, LASTS + 3, DAY)]
        assert found == [0, 0, 1, 2, 3, 3]

    def test_nothing_is_left_of_leases_that_are_over(self, disk: Store, db: Records, limits: Limits) -> None:
        finished(db, opens=3)
        for number, later in enumerate((0, 0, 5)):
            limits.take(ID, TOKENS[number], NOW + later, LASTS)
        limits.serve(ID, TOKENS[0], NOW, LASTS, first=True)
        limits.end_leases(NOW + LASTS)
        assert disk.rows("SELECT hash FROM leases") == [(TOKENS[2],)]


def _take(share: str, lease: bytes, db: Records) -> object:
    return Limits(db.database).take(share, lease, NOW, LASTS)


def _take_back(share: str, lease: bytes, db: Records) -> object:
    return Limits(db.database).take(share, lease, NOW + LASTS, LASTS)


def _end(db: Records) -> object:
    Limits(db.database).end_leases(NOW + LASTS)
    return None


def _serve(share: str, lease: bytes, db: Records) -> object:
    return Limits(db.database).serve(share, lease, NOW + LASTS - 1, LASTS, first=True)


def _limit(share: str, opens: int, db: Records) -> object:
    return db.change(share, opens=opens)


def _kill(share: str, db: Records) -> object:
    return db.kill(share, NOW)


def _guess(client: bytes, guess: bytes, db: Records) -> object:
    return Limits(db.database).guess(ID, client, guess, NOW, FEW) == 0


def _count(name: str, db: Records) -> object:
    Limits(db.database).add({(name, "a"): 1}, {ID: (1, NOW)})
    return None


Calls = Sequence[Callable[[Records], object]]


@pytest.mark.parametrize("kind", ["threads", "processes"])
class TestAtOnce:
    """Whatever is tried at once, over two databases on one file or in two processes, N is N."""

    ROUNDS = 20

    @pytest.mark.parametrize("opens", [1, 3, 20])
    def test_n_opens_are_n(self, db: Records, url: str, kind: str, opens: int) -> None:
        finished(db, opens=opens)
        racers: list[Calls] = [
            [partial(_take, ID, TOKENS[self.ROUNDS * who + n]) for n in range(self.ROUNDS)] for who in range(3)
        ]
        ends = [end for round_ in at_once(kind, url, *racers) for end in round_]
        assert (ends.count("True"), ends.count("False"), opened(db)) == (opens, 60 - opens, opens)

    def test_one_open_of_each_share_has_one_winner(self, db: Records, url: str, kind: str) -> None:
        for number in range(self.ROUNDS):
            finished(db, numbered(number), opens=1)
        racers: list[Calls] = [
            [partial(_take, numbered(n), TOKENS[self.ROUNDS * who + n]) for n in range(self.ROUNDS)] for who in range(4)
        ]
        ends = at_once(kind, url, *racers)
        assert [sorted(end) for end in ends] == [["False", "False", "False", "True"]] * self.ROUNDS

    def test_what_is_given_back_is_taken_once(self, db: Records, limits: Limits, url: str, kind: str) -> None:
        for number in range(self.ROUNDS):
            finished(db, numbered(number), opens=1)
            limits.take(numbered(number), TOKENS[100 + number], NOW, LASTS)
        racers: list[Calls] = [
            [partial(_take_back, numbered(n), TOKENS[self.ROUNDS * who + n]) for n in range(self.ROUNDS)]
            for who in range(2)
        ]
        ends = at_once(kind, url, *racers, [_end] * self.ROUNDS)
        assert [sorted(end[:2]) for end in ends] == [["False", "True"]] * self.ROUNDS

    def test_a_lease_that_serves_keeps_its_open_and_one_that_does_not_gives_it_back(
        self, db: Records, limits: Limits, url: str, kind: str
    ) -> None:
        for number in range(self.ROUNDS):
            finished(db, numbered(number), opens=1)
            limits.take(numbered(number), TOKENS[100 + number], NOW, LASTS)
        serves: Calls = [partial(_serve, numbered(n), TOKENS[100 + n]) for n in range(self.ROUNDS)]
        takes: Calls = [partial(_take_back, numbered(n), TOKENS[n]) for n in range(self.ROUNDS)]
        ends = at_once(kind, url, serves, takes)
        assert set(ends) <= {("True", "False"), ("False", "True")}

    def test_never_are_fewer_opens_allowed_than_were_used(self, db: Records, url: str, kind: str) -> None:
        for number in range(self.ROUNDS):
            finished(db, numbered(number), opens=5)
        racers: list[Calls] = [
            [partial(_take, numbered(n), TOKENS[self.ROUNDS * who + n]) for n in range(self.ROUNDS)] for who in range(3)
        ]
        at_once(kind, url, *racers, [partial(_limit, numbered(n), 1 + n % 3) for n in range(self.ROUNDS)])
        assert [entry.id for entry in db.entries() if entry.opens is None or entry.opened > entry.opens] == []

    def test_what_was_deleted_gives_none(self, db: Records, url: str, kind: str) -> None:
        for number in range(self.ROUNDS):
            finished(db, numbered(number), opens=5)
        kills: Calls = [partial(_kill, numbered(n)) for n in range(self.ROUNDS)]
        takes: Calls = [partial(_take, numbered(n), TOKENS[n]) for n in range(self.ROUNDS)]
        at_once(kind, url, takes, kills)
        after = [Limits(db.database).take(numbered(n), TOKENS[100 + n], NOW, LASTS) for n in range(self.ROUNDS)]
        assert ({entry.state for entry in db.entries()}, set(after)) == ({DEAD}, {False})

    def test_guesses_are_never_more_than_are_allowed(self, db: Records, url: str, kind: str) -> None:
        racers: list[Calls] = [[partial(_guess, CLIENT, TOKENS[10 * who + n]) for n in range(8)] for who in range(3)]
        ends = [end for round_ in at_once(kind, url, *racers) for end in round_]
        assert ends.count("True") == A_MINUTE

    def test_those_of_all_clients_are_never_more_than_are_allowed(self, db: Records, url: str, kind: str) -> None:
        racers: list[Calls] = [
            [partial(_guess, bytes([10 * who + n]) * 16, TOKENS[10 * who + n]) for n in range(8)] for who in range(3)
        ]
        ends = [end for round_ in at_once(kind, url, *racers) for end in round_]
        assert ends.count("True") == AN_HOUR

    def test_the_same_guess_by_all_is_one(self, db: Records, disk: Store, url: str, kind: str) -> None:
        ends = at_once(kind, url, *[[partial(_guess, CLIENT, ONE)] * 8] * 3)
        assert (ends, len(disk.rows("SELECT * FROM guesses"))) == ([("True",) * 3] * 8, 1)

    def test_counts_add_up(self, db: Records, limits: Limits, url: str, kind: str) -> None:
        finished(db)
        at_once(kind, url, *[[partial(_count, "bytes")] * 20] * 3)
        assert (limits.counts()["bytes", "a"], opened(db)) == (60, 60)


class TestGuess:
    """Wrong guesses are held and counted: so many by one client a minute, so many by all an hour."""

    def guess(self, limits: Limits, which: int, now: int = NOW, client: bytes = CLIENT, share: str = ID) -> int:
        """How long is to be waited for a guess."""
        return limits.guess(share, client, TOKENS[which], now, FEW)

    def fill(self, limits: Limits) -> None:
        """All the guesses of a minute, ten seconds apart."""
        for number in range(A_MINUTE):
            assert self.guess(limits, number, NOW + 10 * number) == 0

    def test_so_many_may_be_made(self, limits: Limits) -> None:
        assert [self.guess(limits, number) > 0 for number in range(5)] == [False, False, False, True, True]

    @pytest.mark.parametrize(("at", "wait"), [(20, 40), (30, 30), (59, 1), (60, 0), (61, 0), (69, 0), (1000, 0)])
    def test_one_more_may_be_made_when_the_first_is_a_minute_old(self, limits: Limits, at: int, wait: int) -> None:
        self.fill(limits)
        assert self.guess(limits, 9, NOW + at) == wait

    def test_who_waits_as_told_may_guess(self, limits: Limits) -> None:
        self.fill(limits)
        now = NOW + 25
        for number in range(3, 5):
            now += self.guess(limits, number, now)
            assert self.guess(limits, number, now) == 0

    def test_a_guess_that_was_not_allowed_does_not_count(self, limits: Limits) -> None:
        self.fill(limits)
        for number in range(3, 9):
            self.guess(limits, number, NOW + 50)
        assert self.guess(limits, 9, NOW + 60) == 0

    def test_the_same_guess_again_is_the_same_one(self, disk: Store, limits: Limits) -> None:
        assert [self.guess(limits, 0, NOW + later) for later in range(20)] == [0] * 20
        assert disk.rows("SELECT at FROM guesses") == [(NOW,)]

    def test_one_that_was_made_may_be_made_again_while_others_wait(self, limits: Limits) -> None:
        self.fill(limits)
        assert self.guess(limits, 1, NOW + 30) == 0

    def test_one_of_an_hour_ago_is_a_new_one(self, disk: Store, limits: Limits) -> None:
        self.guess(limits, 0)
        self.guess(limits, 0, NOW + HOUR)
        assert disk.rows("SELECT at FROM guesses") == [(NOW + HOUR,)]

    def test_the_same_guess_by_another_client_is_another(self, disk: Store, limits: Limits) -> None:
        self.guess(limits, 0)
        self.guess(limits, 0, client=OTHER)
        assert len(disk.rows("SELECT * FROM guesses")) == 2

    def test_another_client_need_not_wait(self, limits: Limits) -> None:
        self.fill(limits)
        assert self.guess(limits, 9, client=OTHER) == 0

    def test_all_clients_together_have_so_many_an_hour(self, limits: Limits) -> None:
        waits = [self.guess(limits, number, client=bytes([number]) * 16) for number in range(7)]
        assert waits == [0] * AN_HOUR + [HOUR] * 2

    @pytest.mark.parametrize(("at", "wait"), [(HOUR - 1, 1), (HOUR, 0)])
    def test_that_hour_moves_on(self, limits: Limits, at: int, wait: int) -> None:
        for number in range(AN_HOUR):
            self.guess(limits, number, NOW + 5 * number, client=bytes([number]) * 16)
        assert self.guess(limits, 9, NOW + at) == wait

    def test_other_shares_are_not_in_the_way(self, limits: Limits) -> None:
        for number in range(AN_HOUR):
            self.guess(limits, number, client=bytes([number]) * 16)
        assert self.guess(limits, 9, share=numbered(2)) == 0

    def test_without_a_limit_for_the_hour_there_is_none(self, limits: Limits) -> None:
        waits = [limits.guess(ID, bytes([number]) * 16, ONE, NOW, Allowed(1)) for number in range(150)]
        assert waits == [0] * 150

    def test_a_restart_forgets_none(self, limits: Limits, url: str) -> None:
        self.fill(limits)
        with closing(Records(url)) as again:
            assert self.guess(Limits(again.database), 9, NOW + 20) == 40


class TestWhatAGuessWas:
    """It is said afterwards: right ones are forgotten, wrong ones have a name that all processes know."""

    KNOWN = TOKENS[7]

    def test_a_right_one_is_forgotten(self, disk: Store, limits: Limits) -> None:
        limits.guess(ID, CLIENT, ONE, NOW, FEW)
        limits.forgive(ID, CLIENT, ONE)
        assert disk.rows("SELECT * FROM guesses") == []

    def test_right_ones_may_be_made_without_end(self, limits: Limits) -> None:
        for number in range(20):
            assert limits.guess(ID, CLIENT, TOKENS[number], NOW, FEW) == 0
            limits.forgive(ID, CLIENT, TOKENS[number])

    def test_a_wrong_one_has_a_name_from_then_on(self, disk: Store, limits: Limits) -> None:
        limits.guess(ID, CLIENT, ONE, NOW, FEW)
        limits.rename(ID, CLIENT, ONE, self.KNOWN, NOW)
        assert disk.rows("SELECT guess, at FROM guesses") == [(self.KNOWN, NOW)]

    def test_a_wrong_one_that_is_known_stays_one(self, disk: Store, limits: Limits) -> None:
        for number in range(3):
            limits.guess(ID, CLIENT, TOKENS[number], NOW + number, FEW)
            limits.rename(ID, CLIENT, TOKENS[number], self.KNOWN, NOW + number)
        assert disk.rows("SELECT guess, at FROM guesses") == [(self.KNOWN, NOW)]

    def test_one_that_has_its_name_already_stays(self, disk: Store, limits: Limits) -> None:
        limits.guess(ID, CLIENT, ONE, NOW, FEW)
        limits.rename(ID, CLIENT, ONE, ONE, NOW)
        assert disk.rows("SELECT guess FROM guesses") == [(ONE,)]

    def test_one_that_was_forgotten_meanwhile_counts_all_the_same(self, disk: Store, limits: Limits) -> None:
        limits.rename(ID, CLIENT, ONE, self.KNOWN, NOW)
        assert disk.rows("SELECT guess, at FROM guesses") == [(self.KNOWN, NOW)]

    @pytest.mark.parametrize("was", ["right", "wrong"])
    def test_those_of_others_stay(self, disk: Store, limits: Limits, was: str) -> None:
        for share, client in ((ID, CLIENT), (ID, OTHER), (numbered(2), CLIENT)):
            limits.guess(share, client, ONE, NOW, FEW)
        if was == "right":
            limits.forgive(ID, CLIENT, ONE)
        else:
            limits.rename(ID, CLIENT, ONE, self.KNOWN, NOW)
        found = disk.rows(f"SELECT share, client FROM guesses WHERE guess = x'{ONE.hex()}' ORDER BY share")
        assert found == [(numbered(2), CLIENT), (ID, OTHER)]

    def test_to_forgive_what_was_never_held_does_nothing(self, disk: Store, limits: Limits) -> None:
        limits.forgive(ID, CLIENT, ONE)
        assert disk.rows("SELECT * FROM guesses") == []


class TestGuessesUnderAWrongClock:
    """A wrong clock locks nobody out for ever, and lets nobody guess without end."""

    def fill(self, limits: Limits, now: int) -> None:
        """All the guesses of a minute."""
        for number in range(A_MINUTE):
            limits.guess(ID, CLIENT, TOKENS[number], now, FEW)

    @pytest.mark.parametrize("ahead", [61, HOUR, 100 * DAY, 10_000 * DAY])
    def test_what_it_made_in_the_future_does_not_lock(self, limits: Limits, ahead: int) -> None:
        self.fill(limits, NOW + ahead)
        assert limits.guess(ID, CLIENT, TOKENS[9], NOW, FEW) == 0

    def test_one_that_differs_by_seconds_between_machines_does_not_help(self, limits: Limits) -> None:
        self.fill(limits, NOW + 5)
        assert limits.guess(ID, CLIENT, TOKENS[9], NOW, FEW) == 65

    def test_in_its_own_time_it_counts(self, limits: Limits) -> None:
        self.fill(limits, NOW + 100 * DAY)
        assert limits.guess(ID, CLIENT, TOKENS[9], NOW + 100 * DAY, FEW) == 60

    def test_after_a_jump_back_those_of_then_count(self, limits: Limits) -> None:
        self.fill(limits, NOW + 100 * DAY)
        ends = [limits.guess(ID, CLIENT, TOKENS[10 + number], NOW, FEW) > 0 for number in range(4)]
        assert ends == [False, False, False, True]

    @pytest.mark.parametrize(
        ("at", "kept"),
        [
            (NOW - 2 * HOUR, False),
            (NOW - HOUR - 1, False),
            (NOW - HOUR + 1, True),
            (NOW, True),
            (NOW + 60, True),
            (NOW + 61, False),
            (NOW + DAY, False),
        ],
    )
    def test_a_sweep_forgets_what_counts_no_more(self, disk: Store, limits: Limits, at: int, kept: bool) -> None:
        limits.guess(ID, CLIENT, ONE, at, FEW)
        limits.forget_guesses(NOW)
        assert len(disk.rows("SELECT * FROM guesses")) == kept


class TestCounts:
    """Counts by name and label, and of opens."""

    def test_a_fresh_database_counts_what_is_stored(self, limits: Limits) -> None:
        assert limits.counts() == {(STORED, ""): 0}

    def test_each_name_and_label_adds_up(self, limits: Limits) -> None:
        for _ in range(3):
            limits.add({("bytes", "in"): 2.5, ("bytes", "out"): 1, ("requests", "in"): 7}, {})
        found = {key: value for key, value in limits.counts().items() if key[0] != STORED}
        assert found == {("bytes", "in"): 7.5, ("bytes", "out"): 3, ("requests", "in"): 21}

    def test_opens_add_up_and_the_last_hour_stays(self, db: Records, limits: Limits) -> None:
        finished(db)
        limits.add({}, {ID: (3, NOW - NOW % HOUR)})
        limits.add({}, {ID: (2, NOW - NOW % HOUR + HOUR)})
        (entry,) = db.entries(ID)
        assert (entry.opened, entry.last_opened) == (5, NOW - NOW % HOUR + HOUR)

    def test_opens_of_what_is_gone_are_nothing(self, disk: Store, limits: Limits) -> None:
        limits.add({("a", ""): 1}, {ID: (3, NOW)})
        assert (disk.rows("SELECT * FROM shares"), limits.counts()["a", ""]) == ([], 1)

    def test_what_is_stored_is_not_disturbed(self, db: Records, limits: Limits) -> None:
        finished(db)
        limits.add({("bytes", ""): 5}, {})
        assert (db.stored(), limits.counts()[STORED, ""]) == (1000, 1000)
