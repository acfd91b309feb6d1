"""Both stores keep one contract; on disk, besides, what was put is there after a crash and nobody else can read it."""

import hashlib
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onekey.blobs import Blobs, DiskBlobs, MemoryBlobs, Stored, new_name
from onekey.errors import Damaged, NoRoom, NotOpen
from tests.conftest import SKIP_IS_FAILURE, needs
from tests.servers import ROOT

MIB = 1 << 20
ROOM = 1 << 24
BLOB = "0123456789abcdef" * 2
OTHER = "f" * 32
NAME = "0-0123456789abcdef"
HOSTILE_BLOBS = [
    "",
    ".",
    "..",
    "../x",
    "/etc",
    BLOB[:-1],
    BLOB + "0",
    BLOB + "\n",
    BLOB + "/..",
    BLOB.upper(),
    "../" + BLOB[3:],
    BLOB[:16] + "\0" + BLOB[17:],
    "\N{FULLWIDTH DIGIT ONE}" * 32,
]
HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    f"../{OTHER}/{NAME}",
    NAME + ".tmp",
    NAME + "\n",
    NAME + "/",
    NAME + "\0",
    NAME[:-1],
    NAME + "0",
    NAME.upper(),
    "00-0123456789abcdef",
    "-1-0123456789abcdef",
    "12345678901-0123456789abcdef",
    "\N{ARABIC-INDIC DIGIT ONE}-0123456789abcdef",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the store on disk."""
    return tmp_path / "blobs"


@pytest.fixture
def disk(root: Path) -> DiskBlobs:
    """An empty store on disk."""
    return DiskBlobs(root)


@pytest.fixture(params=["disk", "memory"])
def blobs(request: pytest.FixtureRequest, root: Path) -> Blobs:
    """An empty store of each kind."""
    return DiskBlobs(root) if request.param == "disk" else MemoryBlobs(ROOM)


def read(blobs: Blobs, stored: Stored, offset: int = 0, size: int | None = None, blob: str = BLOB) -> bytes:
    """What one read of a stored part gives."""
    buffer = bytearray(stored.size if size is None else size)
    part = blobs.open(blob, stored.name)
    count = part.read_into(offset, memoryview(buffer))
    part.close()
    return bytes(buffer[:count])


def files_in(folder: Path) -> list[str]:
    """All that lies in a folder, below its top."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def failing(error: BaseException) -> Iterator[bytes]:
    """Pieces that raise after the second."""
    yield b"one"
    yield b"two"
    raise error


class TestEveryStore:
    """What DiskBlobs and MemoryBlobs both promise."""

    @pytest.mark.parametrize(
        "pieces",
        [[], [b""], [b"a"], [b"", b"a", b""], [b"ab", b"cd"], [b"x" * 100_000] * 5, [os.urandom(3 * MIB + 1)]],
        ids=["none", "empty", "one byte", "empty ones between", "two", "five", "large"],
    )
    def test_a_part_is_read_as_it_was_put(self, blobs: Blobs, pieces: list[bytes]) -> None:
        assert read(blobs, blobs.put(BLOB, 0, iter(pieces))) == b"".join(pieces)

    @pytest.mark.parametrize("number", [0, 1, 10, 1 << 32])
    def test_what_was_stored_is_told_by_number_size_and_hash(self, blobs: Blobs, number: int) -> None:
        stored = blobs.put(BLOB, number, [b"ab", b"c"])
        assert (stored.number, stored.size, stored.sha256) == (number, 3, hashlib.sha256(b"abc").digest())

    @pytest.mark.parametrize("number", [0, 7, 1 << 32])
    def test_a_name_begins_with_the_number_of_its_part(self, blobs: Blobs, number: int) -> None:
        assert blobs.put(BLOB, number, [b"abc"]).name.startswith(f"{number}-")

    @pytest.mark.parametrize("offset", range(12))
    def test_every_read_from_an_offset_gives_what_is_there(self, blobs: Blobs, offset: int) -> None:
        stored = blobs.put(BLOB, 0, [b"0123456789"])
        found = [read(blobs, stored, offset, size) for size in range(13)]
        assert found == [b"0123456789"[offset : offset + size] for size in range(13)]

    def test_a_short_read_leaves_the_rest_of_the_buffer_alone(self, blobs: Blobs) -> None:
        part, buffer = blobs.open(BLOB, blobs.put(BLOB, 0, [b"abc"]).name), bytearray(b"......")
        part.read_into(1, memoryview(buffer))
        assert bytes(buffer) == b"bc...."

    def test_threads_read_one_open_part_at_once(self, blobs: Blobs) -> None:
        data = os.urandom(1 << 16)
        part = blobs.open(BLOB, blobs.put(BLOB, 0, [data]).name)

        def read_at(offset: int) -> bytes:
            buffer = bytearray(97)
            return bytes(buffer[: part.read_into(offset, memoryview(buffer))])

        offsets = range(0, len(data), 97)
        with ThreadPoolExecutor(8) as threads:
            assert b"".join(threads.map(read_at, offsets)) == data

    def test_closing_twice_does_nothing(self, blobs: Blobs) -> None:
        part = blobs.open(BLOB, blobs.put(BLOB, 0, [b"abc"]).name)
        part.close()
        part.close()

    @pytest.mark.parametrize("removal", ["remove", "purge"])
    def test_a_part_that_is_open_can_be_read_after_its_removal(self, blobs: Blobs, removal: str) -> None:
        stored = blobs.put(BLOB, 0, [b"abc"])
        part, buffer = blobs.open(BLOB, stored.name), bytearray(3)
        blobs.remove(BLOB, stored.name) if removal == "remove" else blobs.purge(BLOB)
        part.read_into(0, memoryview(buffer))
        assert bytes(buffer) == b"abc"

    def test_names_never_repeat(self, blobs: Blobs) -> None:
        assert len({blobs.put(BLOB, 0, [b"a"]).name for _ in range(200)}) == 200

    def test_two_puts_of_one_number_are_two_parts(self, blobs: Blobs) -> None:
        first, second = blobs.put(BLOB, 3, [b"first"]), blobs.put(BLOB, 3, [b"second"])
        assert (read(blobs, first), read(blobs, second)) == (b"first", b"second")

    def test_puts_of_one_number_at_once_do_not_meet(self, blobs: Blobs) -> None:
        barrier = threading.Barrier(8)

        def put(which: int) -> bool:
            barrier.wait(60)
            data = bytes([which]) * 10_000
            return read(blobs, blobs.put(BLOB, 0, [data[:1], data[1:]])) == data

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(put, range(8)))

    def test_a_put_inside_anothers_is_whole(self, blobs: Blobs) -> None:
        inner: list[Stored] = []

        def pieces() -> Iterator[bytes]:
            yield b"out"
            inner.append(blobs.put(BLOB, 0, [b"inner"]))
            yield b"er"

        outer = blobs.put(BLOB, 0, pieces())
        assert (read(blobs, outer), read(blobs, inner[0])) == (b"outer", b"inner")

    def test_one_blob_does_not_hold_the_parts_of_another(self, blobs: Blobs) -> None:
        stored = blobs.put(BLOB, 0, [b"abc"])
        blobs.put(OTHER, 0, [b"abc"])
        with pytest.raises(Damaged):
            blobs.open(OTHER, stored.name)

    def test_remove_removes_one_part(self, blobs: Blobs) -> None:
        gone = blobs.put(BLOB, 0, [b"gone"])
        blobs.remove(BLOB, gone.name)
        with pytest.raises(Damaged):
            blobs.open(BLOB, gone.name)

    def test_remove_leaves_the_others(self, blobs: Blobs) -> None:
        gone, kept = blobs.put(BLOB, 0, [b"gone"]), blobs.put(BLOB, 0, [b"kept"])
        blobs.remove(BLOB, gone.name)
        assert read(blobs, kept) == b"kept"

    def test_removing_what_is_not_there_is_no_error(self, blobs: Blobs) -> None:
        blobs.remove(BLOB, NAME)
        gone = blobs.put(BLOB, 0, [b"gone"])
        blobs.remove(BLOB, gone.name)
        blobs.remove(BLOB, gone.name)

    def test_purge_removes_every_part_of_a_blob(self, blobs: Blobs) -> None:
        names = [blobs.put(BLOB, number % 3, [b"gone"]).name for number in range(9)]
        blobs.purge(BLOB)
        for name in names:
            with pytest.raises(Damaged):
                blobs.open(BLOB, name)

    def test_purge_leaves_other_blobs(self, blobs: Blobs) -> None:
        kept = blobs.put(OTHER, 0, [b"kept"])
        blobs.put(BLOB, 0, [b"gone"])
        blobs.purge(BLOB)
        assert read(blobs, kept, blob=OTHER) == b"kept"

    def test_purging_what_is_not_there_is_no_error(self, blobs: Blobs) -> None:
        blobs.purge(BLOB)
        blobs.put(BLOB, 0, [b"gone"])
        blobs.purge(BLOB)
        blobs.purge(BLOB)

    def test_sizes_are_those_of_every_part_of_a_blob(self, blobs: Blobs) -> None:
        put = [blobs.put(BLOB, number % 2, [bytes(number)]) for number in range(5)]
        blobs.put(OTHER, 0, [b"another's"])
        assert blobs.sizes(BLOB) == {stored.name: stored.size for stored in put}

    def test_there_are_no_sizes_of_what_is_not_there(self, blobs: Blobs) -> None:
        stored = blobs.put(BLOB, 0, [b"gone"])
        blobs.remove(BLOB, stored.name)
        assert blobs.sizes(BLOB) == blobs.sizes(OTHER) == {}

    def test_to_tidy_up_leaves_what_is_stored(self, blobs: Blobs) -> None:
        kept = blobs.put(BLOB, 0, [b"kept"])
        blobs.tidy(BLOB)
        assert read(blobs, kept) == b"kept"

    def test_to_tidy_up_where_nothing_is_stored_is_no_error(self, blobs: Blobs) -> None:
        blobs.tidy(BLOB)
        blobs.put(BLOB, 0, [b"gone"])
        blobs.purge(BLOB)
        blobs.tidy(BLOB)

    def test_a_put_after_a_purge_works(self, blobs: Blobs) -> None:
        blobs.put(BLOB, 0, [b"gone"])
        blobs.purge(BLOB)
        assert read(blobs, blobs.put(BLOB, 0, [b"new"])) == b"new"

    def test_a_put_that_was_purged_meanwhile_is_refused(self, blobs: Blobs) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"abc"
            blobs.purge(BLOB)
            yield b"def"

        with pytest.raises(NotOpen):
            blobs.put(BLOB, 0, pieces())

    def test_puts_and_purges_at_once_end_in_whole_parts_or_none(self, blobs: Blobs) -> None:
        stop, whole = threading.Event(), list[bool]()
        sys_interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

        def purge() -> None:
            while not stop.is_set():
                try:
                    blobs.purge(BLOB)
                except OSError:  # a put came between
                    continue

        def put(which: int) -> None:
            for _ in range(50):
                try:
                    whole.append(read(blobs, blobs.put(BLOB, which, [b"ab", b"cd"])) == b"abcd")
                except (NotOpen, Damaged):
                    whole.append(True)

        try:
            with ThreadPoolExecutor(5) as threads:
                purging = threads.submit(purge)
                puts = [threads.submit(put, which) for which in range(4)]
                outcomes = [one.exception() for one in puts]
                stop.set()
                outcomes.append(purging.exception())
        finally:
            sys.setswitchinterval(sys_interval)
        assert (outcomes, all(whole)) == ([None] * 5, True)

    @pytest.mark.parametrize(
        "error",
        [ValueError("a"), ConnectionResetError(), TimeoutError(), KeyboardInterrupt(), GeneratorExit()],
        ids=repr,
    )
    def test_what_the_pieces_raise_comes_out(self, blobs: Blobs, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            blobs.put(BLOB, 0, failing(error))
        assert caught.value is error

    def test_a_put_whose_pieces_raise_leaves_nothing(self, blobs: Blobs, root: Path) -> None:
        with pytest.raises(ValueError, match="broken"):
            blobs.put(BLOB, 0, failing(ValueError("broken")))
        left = ROOM - blobs.free() if isinstance(blobs, MemoryBlobs) else files_in(root)
        assert not left

    def test_there_is_room(self, blobs: Blobs) -> None:
        assert blobs.free() > 0

    def test_open_of_what_was_never_put_is_damaged(self, blobs: Blobs) -> None:
        with pytest.raises(Damaged):
            blobs.open(BLOB, NAME)

    @pytest.mark.parametrize("hostile", HOSTILE_BLOBS, ids=ascii)
    @pytest.mark.parametrize("call", ["put", "open", "remove", "purge", "sizes", "tidy"])
    def test_a_blob_id_that_cannot_be_is_damaged(self, blobs: Blobs, call: str, hostile: str) -> None:
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: blobs.put(hostile, 0, [b"abc"]),
            "open": lambda: blobs.open(hostile, NAME),
            "remove": lambda: blobs.remove(hostile, NAME),
            "purge": lambda: blobs.purge(hostile),
            "sizes": lambda: blobs.sizes(hostile),
            "tidy": lambda: blobs.tidy(hostile),
        }
        with pytest.raises(Damaged):
            calls[call]()

    @pytest.mark.parametrize("hostile", HOSTILE_NAMES, ids=ascii)
    @pytest.mark.parametrize("call", ["open", "remove"])
    def test_a_name_that_cannot_be_is_damaged(self, blobs: Blobs, call: str, hostile: str) -> None:
        blobs.put(BLOB, 0, [b"abc"])
        with pytest.raises(Damaged):
            blobs.open(BLOB, hostile) if call == "open" else blobs.remove(BLOB, hostile)

    def test_an_error_does_not_repeat_what_is_hostile(self, blobs: Blobs) -> None:
        with pytest.raises(Damaged) as caught:
            blobs.open(BLOB, "../secret")
        assert "secret" not in str(caught.value)

    def test_a_second_put_finds_the_room_that_a_removal_gave_back(self, blobs: Blobs) -> None:
        half = [bytes(MIB)] * (ROOM // MIB // 2 + 1)
        for _ in range(3):
            blobs.remove(BLOB, blobs.put(BLOB, 0, half).name)


class TestMemory:
    """What only the store in memory can show quickly: the end of its room."""

    def test_room_counts_what_is_stored(self) -> None:
        blobs = MemoryBlobs(100)
        blobs.put(BLOB, 0, [b"x" * 30])
        assert blobs.free() == 70

    def test_what_fits_exactly_is_stored(self) -> None:
        blobs = MemoryBlobs(100)
        assert read(blobs, blobs.put(BLOB, 0, [b"x" * 100])) == b"x" * 100

    def test_one_byte_too_many_is_no_room(self) -> None:
        with pytest.raises(NoRoom):
            MemoryBlobs(100).put(BLOB, 0, [b"x" * 101])

    def test_what_found_no_room_takes_none(self) -> None:
        blobs = MemoryBlobs(100)
        with pytest.raises(NoRoom):
            blobs.put(BLOB, 0, [b"x" * 101])
        assert blobs.free() == 100


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is asked of the system, in order, each with the name of the file or folder; all of it still happens."""
    seen: list[tuple[str, str]] = []
    fsync, rename, write = os.fsync, os.rename, os.write

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    def recorded_fsync(descriptor: int) -> None:
        seen.append(("fsync", name_of(descriptor)))
        fsync(descriptor)

    def recorded_rename(source: Path, target: Path) -> None:
        seen.append(("rename", Path(target).name))
        rename(source, target)

    def recorded_write(descriptor: int, data: bytes) -> int:
        seen.append(("write", name_of(descriptor)))
        return write(descriptor, data)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    monkeypatch.setattr(os, "write", recorded_write)
    return seen


@pytest.fixture
def any_umask() -> Iterator[None]:
    """A process that forbids nothing to files it makes."""
    before = os.umask(0)
    yield
    os.umask(before)


class TestDisk:
    """What is on the disk, and in which order it got there."""

    def test_a_part_lies_in_the_folder_of_its_blob(self, disk: DiskBlobs, root: Path) -> None:
        stored = disk.put(BLOB, 0, [b"abc"])
        assert (root / BLOB / stored.name).read_bytes() == b"abc"

    @pytest.mark.usefixtures("any_umask")
    def test_only_the_owner_reads_a_part(self, disk: DiskBlobs, root: Path) -> None:
        stored = disk.put(BLOB, 0, [b"abc"])
        assert stat.S_IMODE((root / BLOB / stored.name).stat().st_mode) == 0o600

    @pytest.mark.usefixtures("any_umask")
    def test_only_the_owner_enters_the_folders(self, root: Path) -> None:
        DiskBlobs(root).put(BLOB, 0, [b"abc"])
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (root, root / BLOB)] == [0o700, 0o700]

    @pytest.mark.usefixtures("any_umask")
    def test_only_the_owner_reads_a_part_that_is_being_written(self, disk: DiskBlobs, root: Path) -> None:
        modes: list[int] = []

        def pieces() -> Iterator[bytes]:
            yield b"abc"
            modes.extend(stat.S_IMODE(path.stat().st_mode) for path in (root / BLOB).iterdir())

        disk.put(BLOB, 0, pieces())
        assert modes == [0o600]

    def test_no_temporary_name_is_left(self, disk: DiskBlobs, root: Path) -> None:
        stored = disk.put(BLOB, 0, [b"abc"])
        assert files_in(root) == [f"{BLOB}/{stored.name}"]

    def test_a_part_has_no_name_of_its_own_before_it_is_whole(self, disk: DiskBlobs, root: Path) -> None:
        found: list[str] = []

        def pieces() -> Iterator[bytes]:
            yield b"abc"
            found.extend(files_in(root))
            yield b"def"

        disk.put(BLOB, 0, pieces())
        with pytest.raises(Damaged):
            disk.open(BLOB, Path(found[0]).name)

    @pytest.mark.parametrize("error", [ValueError("a"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
    def test_pieces_that_raise_leave_no_file(self, disk: DiskBlobs, root: Path, error: BaseException) -> None:
        with pytest.raises(type(error)):
            disk.put(BLOB, 0, failing(error))
        assert files_in(root) == []

    def test_purge_removes_the_folder(self, disk: DiskBlobs, root: Path) -> None:
        disk.put(BLOB, 0, [b"abc"])
        disk.purge(BLOB)
        assert list(root.iterdir()) == []

    def test_to_tidy_up_removes_an_empty_folder(self, disk: DiskBlobs, root: Path) -> None:
        disk.remove(BLOB, disk.put(BLOB, 0, [b"abc"]).name)
        disk.tidy(BLOB)
        assert list(root.iterdir()) == []

    def test_purge_removes_what_a_crash_left(self, disk: DiskBlobs, root: Path) -> None:
        disk.put(BLOB, 0, [b"abc"])
        (root / BLOB / f"{NAME}.tmp").write_bytes(b"half")
        disk.purge(BLOB)
        assert list(root.iterdir()) == []

    def test_sizes_tell_what_a_crash_left(self, disk: DiskBlobs, root: Path) -> None:
        stored = disk.put(BLOB, 0, [b"abc"])
        (root / BLOB / f"{NAME}.tmp").write_bytes(b"half")
        assert disk.sizes(BLOB) == {stored.name: 3, f"{NAME}.tmp": 4}

    def test_what_purge_cannot_remove_is_an_os_error(self, disk: DiskBlobs, root: Path) -> None:
        (root / BLOB / "folder").mkdir(parents=True)
        with pytest.raises(OSError, match="folder"):
            disk.purge(BLOB)

    def test_a_store_made_anew_has_what_the_old_one_stored(self, disk: DiskBlobs, root: Path) -> None:
        stored = disk.put(BLOB, 0, [b"abc"])
        assert read(DiskBlobs(root), stored) == b"abc"

    def test_each_piece_is_written_before_the_next_is_asked_for(self, disk: DiskBlobs, root: Path) -> None:
        sizes: list[int] = []

        def pieces() -> Iterator[bytes]:
            for _ in range(8):
                sizes.append(sum(path.stat().st_size for path in root.rglob("*.tmp")))
                yield bytes(1000)

        disk.put(BLOB, 0, pieces())
        assert sizes == [1000 * number for number in range(8)]

    def test_a_part_is_never_whole_in_memory(self, disk: DiskBlobs) -> None:
        tracemalloc.start()
        try:
            disk.put(BLOB, 0, (bytes(MIB) for _ in range(64)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB

    def test_closing_a_part_closes_its_file(self, disk: DiskBlobs) -> None:
        stored = disk.put(BLOB, 0, [b"abc"])
        part = disk.open(BLOB, stored.name)
        assert stored.name in open_files()
        part.close()
        assert stored.name not in open_files()


def open_files() -> set[str]:
    """The names of all files that this process has open."""
    found = set[str]()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found.add(entry.readlink().name)
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found


class TestDurability:
    """A part whose name was given back survives a crash."""

    def test_a_part_is_written_flushed_renamed_and_its_folder_flushed(
        self, disk: DiskBlobs, calls: list[tuple[str, str]]
    ) -> None:
        name = disk.put(BLOB, 0, [b"ab", b"cd"]).name
        assert calls[calls.index(("write", f"{name}.tmp")) :] == [
            ("write", f"{name}.tmp"),
            ("write", f"{name}.tmp"),
            ("fsync", f"{name}.tmp"),
            ("rename", name),
            ("fsync", BLOB),
        ]

    def test_the_folder_of_a_blob_is_flushed_into_the_root(
        self, disk: DiskBlobs, root: Path, calls: list[tuple[str, str]]
    ) -> None:
        disk.put(BLOB, 0, [b"abc"])
        assert ("fsync", root.name) in calls

    def test_a_folder_that_another_put_made_is_flushed_all_the_same(
        self, disk: DiskBlobs, root: Path, calls: list[tuple[str, str]]
    ) -> None:
        (root / BLOB).mkdir()
        disk.put(BLOB, 0, [b"abc"])
        assert ("fsync", root.name) in calls

    def test_a_purge_is_flushed(self, disk: DiskBlobs, root: Path, calls: list[tuple[str, str]]) -> None:
        disk.put(BLOB, 0, [b"abc"])
        calls.clear()
        disk.purge(BLOB)
        assert calls == [("fsync", root.name)]

    @pytest.mark.parametrize("failing", [1, 2, 3], ids=["the root", "the file", "the folder"])
    def test_what_could_not_be_flushed_is_not_left(
        self, disk: DiskBlobs, root: Path, monkeypatch: pytest.MonkeyPatch, failing: int
    ) -> None:
        fsync, count = os.fsync, 0

        def fail(descriptor: int) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(5, "Input/output error")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            disk.put(BLOB, 0, [b"abc"])
        assert files_in(root) == []


class TestLinks:
    """Symbolic links that somebody put into the store are not followed."""

    def test_a_part_that_is_a_link_is_damaged(self, disk: DiskBlobs, root: Path, tmp_path: Path) -> None:
        (tmp_path / "target").write_bytes(b"not ours")
        (root / BLOB).mkdir()
        (root / BLOB / NAME).symlink_to(tmp_path / "target")
        with pytest.raises(Damaged):
            disk.open(BLOB, NAME)

    @pytest.mark.parametrize("removal", ["remove", "purge"])
    def test_removing_a_link_leaves_what_it_points_to(
        self, disk: DiskBlobs, root: Path, tmp_path: Path, removal: str
    ) -> None:
        (tmp_path / "target").write_bytes(b"not ours")
        (root / BLOB).mkdir()
        (root / BLOB / NAME).symlink_to(tmp_path / "target")
        disk.remove(BLOB, NAME) if removal == "remove" else disk.purge(BLOB)
        assert ((tmp_path / "target").exists(), (root / BLOB / NAME).is_symlink()) == (True, False)


FILL = """
import resource, sys
from pathlib import Path
from onekey.blobs import DiskBlobs
from onekey.errors import NoRoom

if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
root = Path(sys.argv[1])
blobs, blob = DiskBlobs(root), "0123456789abcdef" * 2
pieces = (bytes(10_000) for _ in range(1000))
try:
    blobs.put(blob, 0, pieces)
except NoRoom:
    print("no room", end=", ")
print(len(list(pieces)) > 0, [path.name for path in root.rglob("*") if path.is_file()], end=", ")
stored = blobs.put(blob, 0, [b"fits"])
print((root / blob / stored.name).read_bytes())
"""
FILLED = "no room, True [], b'fits'\n"


def test_a_full_disk_is_no_room_and_leaves_what_was_free(tmp_path: Path) -> None:
    needs("unshare")
    mount = 'mount -t tmpfs -o size=256k tmpfs "$1" || exit 77; shift; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(tmp_path)]
    run = run_fill([*command, sys.executable, "-c", FILL, str(tmp_path / "blobs"), "0"])
    if run.returncode == 77 or "unshare:" in run.stderr:
        assert not SKIP_IS_FAILURE, run.stderr
        pytest.skip("not shown: this system lets nobody mount a small disk")
    assert (run.stdout, run.stderr) == (FILLED, "")


def test_a_file_that_may_not_grow_is_no_room_and_is_gone(tmp_path: Path) -> None:
    run = run_fill([sys.executable, "-c", FILL, str(tmp_path / "blobs"), "200000"])
    assert (run.stdout, run.stderr) == (FILLED, "")


def run_fill(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run FILL in a process of its own."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)


@pytest.mark.parametrize("number", [0, 9, 10, 4_294_967_296])
def test_a_fresh_name_is_the_number_and_sixteen_digits(number: int) -> None:
    before, _, digits = new_name(number).partition("-")
    assert (before, len(digits), int(digits, 16) >= 0) == (str(number), 16, True)
