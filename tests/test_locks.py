"""Locks between processes: one holder at a time, and what a process held is free when it ends, however it ends."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onekey.locks import Allowance, locked
from tests.servers import ROOT, wait_for

HOLD = """
import sys
from pathlib import Path
from onekey.locks import locked
with locked(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""
TAKE = """
import sys
from pathlib import Path
from onekey.locks import Allowance
allowance = Allowance(Path(sys.argv[1]), int(sys.argv[2]))
for line in sys.stdin:
    if line.startswith("take"):
        print(allowance.take(), flush=True)
    else:
        print(allowance.give([int(line.split()[1])]), flush=True)
"""
COUNT = """
import sys
from pathlib import Path
from onekey.locks import locked
for _ in range(200):
    with locked(Path(sys.argv[1])):
        Path(sys.argv[2]).write_text(str(int(Path(sys.argv[2]).read_text()) + 1))
"""


class Other:
    """Another process, which answers a line with a line."""

    def __init__(self, code: str, *arguments: object) -> None:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )

    def answer(self) -> str:
        """The next line that it says."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        """What it says to a line."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        return self.answer()

    def end(self, how: int | None = None) -> None:
        """End it: by a signal, or by closing its input."""
        if how is not None:
            self.process.send_signal(how)
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Other]]:
    """Starts other processes, and ends them after the test."""
    running: list[Other] = []

    def make(code: str, *arguments: object) -> Other:
        running.append(Other(code, *arguments))
        return running[-1]

    yield make
    for one in running:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a lock."""
    return tmp_path / "lock"


def somebody_waits(path: Path) -> bool:
    """Whether the system knows of somebody who waits for this lock."""
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(f":{path.stat().st_ino} " in line for line in waiting)


class TestLocked:
    """`locked`: one block at a time."""

    @pytest.mark.parametrize("wait", [True, False])
    def test_a_free_lock_is_taken(self, path: Path, wait: bool) -> None:
        with locked(path, wait=wait) as mine:
            assert mine is True

    def test_it_is_free_after_the_block(self, path: Path) -> None:
        with locked(path):
            pass
        with locked(path, wait=False) as mine:
            assert mine is True

    def test_it_is_free_after_a_block_that_raises(self, path: Path) -> None:
        with pytest.raises(ValueError, match="oops"), locked(path):
            raise ValueError("oops")
        with locked(path, wait=False) as mine:
            assert mine is True

    def test_what_a_block_raises_comes_out_where_another_holds_it(self, path: Path) -> None:
        with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
            raise BlockingIOError

    def test_another_process_keeps_us_out(self, path: Path, start: Callable[..., Other]) -> None:
        assert start(HOLD, path).answer() == "True"
        with locked(path, wait=False) as mine:
            assert mine is False

    def test_we_keep_another_process_out(self, path: Path, start: Callable[..., Other]) -> None:
        with locked(path):
            other = start(HOLD, path)
            assert wait_for(lambda: somebody_waits(path))
        assert other.answer() == "True"

    def test_another_thread_keeps_us_out(self, path: Path) -> None:
        def attempt() -> bool:
            with locked(path, wait=False) as mine:
                return mine

        with locked(path), ThreadPoolExecutor(1) as thread:
            assert thread.submit(attempt).result() is False

    def test_another_lock_is_no_matter(self, path: Path, tmp_path: Path, start: Callable[..., Other]) -> None:
        assert start(HOLD, tmp_path / "other").answer() == "True"
        with locked(path, wait=False) as mine:
            assert mine is True

    @pytest.mark.parametrize("how", [None, signal.SIGKILL, signal.SIGTERM], ids=["ends", "is killed", "is ended"])
    def test_it_is_free_when_its_holder(self, path: Path, start: Callable[..., Other], how: int | None) -> None:
        other = start(HOLD, path)
        assert other.answer() == "True"
        other.end(how)
        with locked(path, wait=False) as mine:
            assert mine is True

    def test_who_waits_comes_in_when_the_holder_ends_and_not_before(
        self, path: Path, start: Callable[..., Other]
    ) -> None:
        other, inside = start(HOLD, path), threading.Event()
        assert other.answer() == "True"

        def enter() -> None:
            with locked(path) as mine:
                assert mine
                inside.set()

        with ThreadPoolExecutor(1) as thread:
            entering = thread.submit(enter)
            wait_for(lambda: somebody_waits(path))
            before = inside.is_set()
            other.end(signal.SIGKILL)
            entering.result(60)
        assert (before, inside.is_set()) == (False, True)

    def test_a_holder_that_starts_a_program_does_not_leave_it_the_lock(self, path: Path) -> None:
        with locked(path):
            child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
        with locked(path, wait=False) as mine:
            assert mine is True
        child.communicate()

    def test_processes_that_count_under_it_lose_nothing(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "count").write_text("0")
        command = [sys.executable, "-c", COUNT, str(path), str(tmp_path / "count")]
        running = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
        assert [one.wait(60) for one in running] == [0, 0, 0]
        assert (tmp_path / "count").read_text() == "600"

    def test_its_file_is_only_for_us(self, path: Path) -> None:
        before = os.umask(0)
        with locked(path):
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_link_in_its_place_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "target")
        with pytest.raises(OSError, match="symbolic links"), locked(path):
            pass
        assert not (tmp_path / "target").exists()


class TestAllowance:
    """`Allowance`: a number of units over all processes."""

    def test_every_unit_is_given_once(self, path: Path) -> None:
        allowance = Allowance(path, 3)
        assert [allowance.take() for _ in range(4)] == [0, 1, 2, None]

    def test_what_is_given_back_can_be_taken_again(self, path: Path) -> None:
        allowance = Allowance(path, 3)
        for _ in range(3):
            allowance.take()
        allowance.give([1])
        assert [allowance.take(), allowance.take()] == [1, None]

    def test_giving_back_nothing_gives_nothing(self, path: Path) -> None:
        allowance = Allowance(path, 1)
        allowance.take()
        allowance.give([])
        assert allowance.take() is None

    def test_none_are_none(self, path: Path) -> None:
        assert Allowance(path, 0).take() is None

    def test_threads_do_not_share_a_unit(self, path: Path) -> None:
        allowance, barrier = Allowance(path, 20), threading.Barrier(8)

        def take(_: int) -> list[int | None]:
            barrier.wait(60)
            return [allowance.take() for _ in range(5)]

        with ThreadPoolExecutor(8) as threads:
            taken = [unit for units in threads.map(take, range(8)) for unit in units if unit is not None]
        assert sorted(taken) == list(range(20))

    def test_processes_do_not_share_a_unit(self, path: Path, start: Callable[..., Other]) -> None:
        allowance, other = Allowance(path, 5), start(TAKE, path, 5)
        theirs = [other.ask("take") for _ in range(3)]
        ours = [allowance.take() for _ in range(3)]
        assert (theirs, ours) == (["0", "1", "2"], [3, 4, None])

    def test_what_another_process_gives_back_is_free(self, path: Path, start: Callable[..., Other]) -> None:
        allowance, other = Allowance(path, 2), start(TAKE, path, 2)
        for _ in range(2):
            other.ask("take")
        other.ask("give 1")
        assert [allowance.take(), allowance.take()] == [1, None]

    def test_what_we_give_back_is_free_to_another(self, path: Path, start: Callable[..., Other]) -> None:
        allowance, other = Allowance(path, 1), start(TAKE, path, 1)
        allowance.take()
        before = other.ask("take")
        allowance.give([0])
        assert (before, other.ask("take")) == ("None", "0")

    @pytest.mark.parametrize("how", [None, signal.SIGKILL], ids=["ends", "is killed"])
    def test_all_is_free_when_its_holder(self, path: Path, start: Callable[..., Other], how: int | None) -> None:
        allowance, other = Allowance(path, 4), start(TAKE, path, 4)
        assert [other.ask("take") for _ in range(4)] == ["0", "1", "2", "3"]
        assert allowance.take() is None
        other.end(how)
        assert [allowance.take() for _ in range(5)] == [0, 1, 2, 3, None]

    def test_what_we_hold_is_held_after_others_came_and_went(self, path: Path, start: Callable[..., Other]) -> None:
        allowance = Allowance(path, 2)
        allowance.take()
        first = start(TAKE, path, 2)
        assert first.ask("take") == "1"
        first.end(signal.SIGKILL)
        second = start(TAKE, path, 2)
        assert [second.ask("take"), second.ask("take")] == ["1", "None"]

    def test_starting_a_program_gives_nothing_back(self, path: Path, start: Callable[..., Other]) -> None:
        allowance = Allowance(path, 1)
        allowance.take()
        subprocess.run(["true"], check=True, close_fds=False)
        assert start(TAKE, path, 1).ask("take") == "None"

    def test_its_file_is_only_for_us(self, path: Path) -> None:
        before = os.umask(0)
        Allowance(path, 1)
        os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
