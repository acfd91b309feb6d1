"""Passwords: Argon2id runs once for each, two at a time at most, and what came of it is remembered for a while."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from onekey import passwords as module
from onekey.container import Header, Sealer, stretch
from onekey.errors import Busy
from onekey.passwords import AT_ONCE, Passwords, Tried
from tests.conftest import Clock
from tests.servers import wait_for
from tests.stores import SEED

REMEMBER = 600
MANY = 40


@pytest.fixture
def passwords(clock: Clock) -> Passwords:
    """Passwords under a clock that stands still."""
    return Passwords(clock, REMEMBER)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The passwords for which Argon2id ran, which still happens."""
    seen: list[str | None] = []

    def stretch_and_note(header: Header, seed: bytes, password: str | None = None) -> bytes:
        seen.append(password)
        return stretch(header, seed, password)

    monkeypatch.setattr(module, "stretch", stretch_and_note)
    return seen


@pytest.fixture(scope="module")
def header() -> Header:
    """The header of a container whose password is `right`."""
    return Sealer(SEED, password="right", iterations=1, memory=13).header


def attempt(passwords: Passwords, header: Header, password: str = "right", seed: bytes = SEED) -> Tried:
    """What comes of a password."""
    return passwords.attempt(passwords.name(header, seed, password), header, seed, password)


class TestAttempt:
    """What comes of a password."""

    def test_the_right_one_gives_the_ikm(self, passwords: Passwords, header: Header) -> None:
        assert attempt(passwords, header) == Tried(stretch(header, SEED, "right"), is_right=True)

    def test_a_wrong_one_gives_what_it_gave(self, passwords: Passwords, header: Header) -> None:
        assert attempt(passwords, header, "wrong") == Tried(stretch(header, SEED, "wrong"), is_right=False)

    @pytest.mark.parametrize("password", ["", "x" * 1025, "\ud800"], ids=["empty", "long", "no text"])
    def test_what_cannot_be_one_is_wrong(self, passwords: Passwords, header: Header, password: str) -> None:
        assert attempt(passwords, header, password) == Tried(None, is_right=False)

    def test_the_right_one_of_another_link_is_wrong(self, passwords: Passwords, header: Header) -> None:
        assert not attempt(passwords, header, seed=bytes(24)).is_right

    def test_what_it_gave_is_not_shown(self, passwords: Passwords, header: Header) -> None:
        assert "ikm" not in repr(attempt(passwords, header))


class TestName:
    """What link and password are remembered by says nothing of them."""

    def test_the_same_have_one_name(self, passwords: Passwords, header: Header) -> None:
        assert passwords.name(header, SEED, "right") == passwords.name(header, SEED, "right")

    def test_no_two_have_the_same(self, passwords: Passwords, header: Header) -> None:
        other = Sealer(SEED, password="right", iterations=1, memory=13).header
        names = {
            passwords.name(header, SEED, "right"),
            passwords.name(header, SEED, "wrong"),
            passwords.name(header, bytes(24), "right"),
            passwords.name(other, SEED, "right"),
        }
        assert len(names) == 4

    def test_another_process_gives_another(self, passwords: Passwords, header: Header, clock: Clock) -> None:
        assert passwords.name(header, SEED, "right") != Passwords(clock, REMEMBER).name(header, SEED, "right")

    def test_what_is_no_text_has_one_too(self, passwords: Passwords, header: Header) -> None:
        assert len(passwords.name(header, SEED, "\ud800")) == 32


@pytest.mark.parametrize("password", ["right", "wrong", ""])
class TestMemory:
    """Right ones and wrong ones are remembered, for so long after they were last asked for."""

    def test_at_first_nothing_is_known(self, passwords: Passwords, header: Header, password: str) -> None:
        assert passwords.known(passwords.name(header, SEED, password)) is None

    def test_what_was_tried_is_known(self, passwords: Passwords, header: Header, password: str) -> None:
        tried = attempt(passwords, header, password)
        known = passwords.known(passwords.name(header, SEED, password))
        assert known == Tried(tried.ikm if tried.is_right else None, tried.is_right)

    def test_it_runs_once(self, passwords: Passwords, runs: list[str | None], header: Header, password: str) -> None:
        for _ in range(10):
            attempt(passwords, header, password)
        assert runs == [password]

    @pytest.mark.parametrize(("later", "known"), [(REMEMBER - 1, True), (REMEMBER, False), (10 * REMEMBER, False)])
    def test_it_is_known_for_so_long(
        self, passwords: Passwords, header: Header, clock: Clock, password: str, later: int, known: bool
    ) -> None:
        attempt(passwords, header, password)
        clock.now += later
        assert (passwords.known(passwords.name(header, SEED, password)) is not None) is known

    def test_each_use_moves_that_on(
        self, passwords: Passwords, runs: list[str | None], header: Header, clock: Clock, password: str
    ) -> None:
        for _ in range(10):
            attempt(passwords, header, password)
            clock.now += REMEMBER - 1
        assert runs == [password]

    def test_a_clock_that_goes_back_does_not_keep_it(
        self, passwords: Passwords, header: Header, clock: Clock, password: str
    ) -> None:
        attempt(passwords, header, password)
        clock.now -= 1
        assert passwords.known(passwords.name(header, SEED, password)) is None

    def test_another_is_not_known(self, passwords: Passwords, header: Header, password: str) -> None:
        attempt(passwords, header, password)
        assert passwords.known(passwords.name(header, SEED, "another")) is None


def test_the_oldest_are_forgotten_when_there_are_too_many(passwords: Passwords, header: Header) -> None:
    cannot_be = ["x" * (1025 + number) for number in range(1024)]  # which cost no Argon2id
    first = attempt(passwords, header)
    for password in cannot_be:
        attempt(passwords, header, password)
    assert first.is_right
    assert passwords.known(passwords.name(header, SEED, "right")) is None
    assert passwords.known(passwords.name(header, SEED, cannot_be[0])) is not None


def test_what_is_used_is_not_the_oldest(passwords: Passwords, header: Header) -> None:
    attempt(passwords, header)
    for number in range(2000):
        attempt(passwords, header, "x" * (1025 + number))
        passwords.known(passwords.name(header, SEED, "right"))
    assert passwords.known(passwords.name(header, SEED, "right")) is not None


class TestTurns:
    """Two at a time, a few who wait, and the rest are told to come back."""

    def hold(self, passwords: Passwords, inside: list[int], go: threading.Event) -> bool:
        """Take a turn and keep it; whether there was one to be had."""
        try:
            with passwords.turn():
                inside.append(1)
                go.wait(60)
                inside.pop()
        except Busy:
            return False
        return True

    def test_two_are_inside_sixteen_wait_and_the_rest_are_busy(self, passwords: Passwords) -> None:
        inside, go = list[int](), threading.Event()
        with ThreadPoolExecutor(MANY) as threads:
            running = [threads.submit(self.hold, passwords, inside, go) for _ in range(MANY)]
            wait_for(lambda: sum(one.done() for one in running) == MANY - AT_ONCE - 16)
            wait_for(lambda: len(inside) == AT_ONCE)
            go.set()
        assert sum(one.result() for one in running) == AT_ONCE + 16

    def test_who_waited_gets_a_turn(self, passwords: Passwords) -> None:
        with ThreadPoolExecutor(16) as threads:
            turns = list(threads.map(lambda _: self.once(passwords), range(160)))
        assert turns == [True] * 160

    def once(self, passwords: Passwords) -> bool:
        """A turn."""
        with passwords.turn():
            return True

    def test_who_fails_gives_the_turn_back(self, passwords: Passwords) -> None:
        for _ in range(MANY):
            with pytest.raises(ValueError, match="oops"), passwords.turn():
                raise ValueError("oops")
        assert self.once(passwords)

    def test_who_comes_back_is_told_when(self) -> None:
        assert Busy("x").retry_after > 0

    def test_the_same_by_many_at_once_does_not_run_for_each(
        self, passwords: Passwords, runs: list[str | None], header: Header
    ) -> None:
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda _: attempt(passwords, header), range(16)))
        assert set(found) == {attempt(passwords, header)}
        assert 1 <= len(runs) <= AT_ONCE
