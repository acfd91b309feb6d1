"""Every share is stored through here: what came is what can be opened, and of what did not come whole nothing stays."""

import hashlib
import itertools
import os
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onekey import links
from onekey.app import create_services
from onekey.blobs import Blobs, DiskBlobs, MemoryBlobs
from onekey.container import HEADER_SIZE, MAX_SEALED_INDEX, OVERHEAD, TRAILER_SIZE
from onekey.errors import (
    BadRequest,
    ClientGone,
    Damaged,
    Forbidden,
    NoRoom,
    NotFound,
    NotOpen,
    Taken,
    TooLarge,
)
from onekey.index import File
from onekey.locks import Allowance
from onekey.records import NewShare, Records
from onekey.settings import Settings
from onekey.uploads import MAX_PART, UNPROVEN, Incoming, Receipt, Uploads, part_chunks
from onekey.vault import GRACE, IDLE, Vault
from tests.conftest import Clock
from tests.test_records import migrated

C = 1 << 12
LARGE = 1 << 22
K = part_chunks(LARGE)
MIB = 1 << 20
BLOB = "0123456789abcdef" * 2
TYPE = "application/octet-stream"


def content(size: int) -> bytes:
    """Content in which no two chunks are alike."""
    return random.Random(size).randbytes(size)


def incoming(*contents: Iterable[bytes] | bytes, name: str = "file.bin") -> Iterator[Incoming]:
    """Files of these contents, each in one piece or in those given."""
    for given in contents:
        yield Incoming(name, TYPE, iter([given] if isinstance(given, bytes) else given))


def failing(error: BaseException, *pieces: bytes) -> Iterator[bytes]:
    """Pieces, and then an error."""
    yield from pieces
    raise error


class Store:
    """Records, blobs, uploads and the vault over them, all in one folder, under a clock that tests set."""

    def __init__(
        self,
        blobs: Blobs,
        folder: Path,
        clock: Clock,
        *,
        chunk_size: int = C,
        units: int = UNPROVEN,
        max_expiry: int | None = None,
        **more: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.clock, self.blobs = folder, clock, blobs
        (folder / "onekey.db").write_bytes(migrated())
        self.records = Records(f"sqlite:///{folder / 'onekey.db'}")
        unproven = Allowance(folder / "unproven.lock", units)
        self.vault = Vault(self.records, blobs, clock, max_expiry)
        self.uploads = Uploads(
            self.records, blobs, clock, unproven=unproven, chunk_size=chunk_size, max_expiry=max_expiry, **more
        )

    def receive(
        self,
        *contents: Iterable[bytes] | bytes,
        proven: Callable[[], bool] = lambda: True,
        expires: int | None = None,
    ) -> Receipt:
        """Upload files of these contents."""
        return self.uploads.receive(incoming(*contents), proven=proven, expires_after=lambda: expires)

    def read(self, token: str, number: int = 0, start: int = 0, stop: int | None = None) -> bytes:
        """What a link opens."""
        opened = self.vault.open(token)
        try:
            return b"".join(opened.read(number, start, stop))
        finally:
            opened.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in the database."""
        with closing(sqlite3.connect(self.folder / "onekey.db")) as raw:
            return raw.execute(query).fetchall()

    def change(self, statement: str, *values: object) -> None:
        """Change the database behind our back."""
        with closing(sqlite3.connect(self.folder / "onekey.db")) as raw, raw:
            raw.execute(statement, values)

    def stored(self) -> int:
        """How many bytes the blobs hold, and one more for each file of them."""
        if isinstance(self.blobs, MemoryBlobs):
            return (1 << 30) - self.blobs.free()
        files = [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]
        return sum(1 + path.stat().st_size for path in files)

    def left(self) -> tuple[object, ...]:
        """All that an upload could have left: records, parts of them, tombstones, bytes."""
        return (*(self.rows(f"SELECT * FROM {table}") for table in ("shares", "parts", "tombstones")), self.stored())

    def begin(self, share: str = BLOB) -> None:
        """Begin an upload by hand."""
        hashes = {f"{name}_hash": bytes(32) for name in ("knock", "access", "owner")}
        self.records.begin(
            NewShare(id=share, header=bytes(HEADER_SIZE), part_chunks=1, created=int(self.clock()), **hashes)
        )

    def pass_time(self, *spans: int) -> None:
        """Let spans of time pass, with a sweep every twelve hours and one at the end of each."""
        for seconds in spans:
            end = self.clock.now + seconds
            while self.clock.now < end:
                self.clock.now = min(end, self.clock.now + 12 * 3600)
                self.vault.sweep()

    def close(self) -> None:
        """Let go of the database."""
        self.records.close()


NOTHING: tuple[object, ...] = ([], [], [], 0)


@pytest.fixture(params=["disk", "memory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Store]]:
    """Makes a store of each kind."""
    made: list[Store] = []

    def make(**more: Any) -> Store:
        folder = tmp_path / f"store-{len(made)}"
        blobs: Blobs = DiskBlobs(folder / "blobs") if request.param == "disk" else MemoryBlobs(1 << 30)
        made.append(Store(blobs, folder, clock, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """A store of each kind, with small chunks."""
    return make_store()


@pytest.fixture
def disk(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store on disk, with small chunks."""
    with closing(Store(DiskBlobs(tmp_path / "blobs"), tmp_path, clock)) as made:
        yield made


class TestRoundTrip:
    """What was received is what the link opens."""

    @pytest.mark.parametrize("size", [0, 1, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1, 100 * C + 7])
    def test_around_the_edges_of_chunks(self, store: Store, size: int) -> None:
        assert store.read(store.receive(content(size)).token) == content(size)

    @pytest.mark.parametrize("size", [LARGE, K * LARGE - 1, K * LARGE, K * LARGE + 1, 2 * K * LARGE])
    def test_around_the_edges_of_parts(self, make_store: Callable[..., Store], size: int) -> None:
        store = make_store(chunk_size=LARGE)
        assert store.read(store.receive(content(size)).token) == content(size)

    @pytest.mark.parametrize("chunk_size", [1 << log for log in range(12, 23)])
    def test_with_every_size_of_chunks(self, make_store: Callable[..., Store], chunk_size: int) -> None:
        store, data = make_store(chunk_size=chunk_size), content(chunk_size + 5)
        assert store.read(store.receive(data).token) == data

    @pytest.mark.parametrize("piece", [1, 7, C - 1, C, C + 1, 3 * C])
    def test_in_pieces_of_any_size(self, store: Store, piece: int) -> None:
        data = content(2 * C + 10)
        pieces = (data[start : start + piece] for start in range(0, len(data), piece))
        assert store.read(store.receive(pieces).token) == data

    @pytest.mark.parametrize("pieces", [[], [b""], [b"", b"a", b"", b"b", b""]], ids=["none", "empty", "between"])
    def test_with_empty_pieces(self, store: Store, pieces: list[bytes]) -> None:
        assert store.read(store.receive(pieces).token) == b"".join(pieces)

    @pytest.mark.parametrize("sizes", [(1, 2), (0, 0, 0), (C, 0, C), (C - 1, 2, C + 1), (0, 3 * C + 1, 0)], ids=str)
    def test_of_several_files(self, store: Store, sizes: tuple[int, ...]) -> None:
        contents = [content(size + number) for number, size in enumerate(sizes)]
        token = store.receive(*contents).token
        assert [store.read(token, number) for number in range(len(sizes))] == contents

    def test_names_and_types_come_back(self, store: Store) -> None:
        files = [Incoming("a 🗝.txt", "text/plain", iter([b"abc"])), Incoming("b", "image/png", iter([]))]
        receipt = store.uploads.receive(iter(files), proven=lambda: True, expires_after=lambda: None)
        opened = store.vault.open(receipt.token)
        assert opened.files == (File("a 🗝.txt", "text/plain", 3), File("b", "image/png", 0))

    def test_the_receipt_tells_what_the_files_turned_out_to_be(self, store: Store) -> None:
        receipt = store.receive(b"abc", b"")
        assert receipt.files == store.vault.open(receipt.token).files

    def test_uploads_at_once_do_not_meet(self, store: Store) -> None:
        contents = [content(number * C // 2) for number in range(24)]
        with ThreadPoolExecutor(8) as threads:
            tokens = [receipt.token for receipt in threads.map(store.receive, contents)]
        assert [store.read(token) for token in tokens] == contents

    def test_an_upload_inside_anothers_is_whole(self, store: Store) -> None:
        inner: list[Receipt] = []

        def pieces() -> Iterator[bytes]:
            yield b"out"
            inner.append(store.receive(b"inner"))
            yield b"er"

        assert (store.read(store.receive(pieces()).token), store.read(inner[0].token)) == (b"outer", b"inner")


class TestReceipt:
    """What an uploader is told, once."""

    def test_the_id_is_that_of_the_link(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        assert receipt.id == links.blob_id(links.read_token(receipt.token))

    def test_the_owner_token_is_not_the_links(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        assert receipt.owner != receipt.token

    def test_two_uploads_of_the_same_have_nothing_in_common(self, disk: Store) -> None:
        first, second = disk.receive(b"abc"), disk.receive(b"abc")
        assert not {first.id, first.token, first.owner} & {second.id, second.token, second.owner}

    def test_the_same_content_is_stored_as_other_bytes(self, disk: Store) -> None:
        disk.receive(content(C))
        disk.receive(content(C))
        assert len({path.read_bytes() for path in (disk.folder / "blobs").rglob("0-*")}) == 2

    def test_its_repr_shows_neither_tokens_nor_names(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        shown = repr(receipt)
        assert [text for text in (receipt.token, receipt.owner, "file.bin") if text in shown] == []

    @pytest.mark.parametrize("after", [None, 1, 3600])
    def test_it_tells_when_the_share_expires(self, store: Store, after: int | None) -> None:
        expected = None if after is None else int(store.clock.now) + after
        assert store.receive(b"abc", expires=after).expires == expected

    def test_a_life_begins_when_the_upload_is_whole(self, store: Store) -> None:
        begun = int(store.clock.now)

        def pieces() -> Iterator[bytes]:
            yield b"abc"
            store.clock.now += 500

        assert store.receive(pieces(), expires=10).expires == begun + 510

    def test_the_life_is_asked_for_when_all_was_read(self, store: Store) -> None:
        asked: list[str] = []

        def pieces() -> Iterator[bytes]:
            yield b"abc"
            asked.append("read")

        def expires_after() -> None:
            asked.append("asked")

        store.uploads.receive(incoming(pieces(), b"d"), proven=lambda: True, expires_after=expires_after)
        assert asked == ["read", "asked"]

    @pytest.mark.parametrize("after", [1, 100])
    def test_a_life_within_the_longest_is_taken(self, make_store: Callable[..., Store], after: int) -> None:
        store = make_store(max_expiry=100)
        assert store.receive(b"abc", expires=after).expires == int(store.clock.now) + after

    @pytest.mark.parametrize("after", [101, None])
    def test_a_longer_life_is_refused(self, make_store: Callable[..., Store], after: int | None) -> None:
        store = make_store(max_expiry=100)
        with pytest.raises(BadRequest, match="100 seconds"):
            store.receive(b"abc", expires=after)
        assert store.left() == NOTHING


class TestParts:
    """How a container lies in parts: the vault's rule 2."""

    @pytest.mark.parametrize("chunks", [0, 1, K - 1, K, K + 1, 2 * K, 2 * K + 1])
    def test_each_part_holds_k_chunks_and_the_last_what_remains(
        self, make_store: Callable[..., Store], chunks: int
    ) -> None:
        store = make_store(chunk_size=LARGE)
        share = store.receive(content(chunks * LARGE)).id
        sealed, end = LARGE + OVERHEAD, 256 + OVERHEAD + TRAILER_SIZE
        expected = [K * sealed] * (chunks // K) + [chunks % K * sealed + end]
        expected[0] += HEADER_SIZE
        assert [part.size for part in store.records.parts(share, 0, 99)] == expected

    def test_parts_are_numbered_from_0(self, make_store: Callable[..., Store]) -> None:
        store = make_store(chunk_size=LARGE)
        share = store.receive(content(2 * K * LARGE)).id
        assert [part.number for part in store.records.parts(share, 0, 99)] == [0, 1, 2]

    def test_what_is_recorded_of_a_part_is_what_is_stored(self, disk: Store) -> None:
        share = disk.receive(content(3 * C)).id
        (part,) = disk.records.parts(share, 0, 9)
        stored = (disk.folder / "blobs" / share / part.name).read_bytes()
        assert (part.size, part.sha256) == (len(stored), hashlib.sha256(stored).digest())

    def test_parts_begin_with_the_header_that_is_recorded(self, disk: Store) -> None:
        share = disk.receive(b"abc").id
        (header,) = disk.rows("SELECT header FROM shares")[0]
        (file,) = (disk.folder / "blobs" / share).iterdir()
        assert file.read_bytes().startswith(header)

    @pytest.mark.parametrize("chunk_size", [1 << log for log in range(12, 23)])
    def test_no_part_is_larger_than_16_mib_whatever_the_index(self, chunk_size: int) -> None:
        chunks = part_chunks(chunk_size) * (chunk_size + OVERHEAD)
        assert HEADER_SIZE + chunks + MAX_SEALED_INDEX + TRAILER_SIZE <= MAX_PART == 16 * MIB

    @pytest.mark.parametrize("chunk_size", [1 << log for log in range(12, 23)])
    def test_a_part_holds_a_chunk_at_least(self, chunk_size: int) -> None:
        assert part_chunks(chunk_size) >= 1

    def test_the_largest_index_has_room_in_the_last_part(self, make_store: Callable[..., Store]) -> None:
        store = make_store(chunk_size=LARGE)
        names = [f"{number:0255}" for number in range(3600)]
        files = [Incoming(name, "a/b", iter([])) for name in names]
        files[0] = Incoming(names[0], "a/b", iter([content((K - 1) * LARGE)]))
        receipt = store.uploads.receive(iter(files), proven=lambda: True, expires_after=lambda: None)
        (part,) = store.records.parts(receipt.id, 0, 99)
        assert (K - 1) * LARGE + 1_000_000 < part.size <= MAX_PART
        assert [file.name for file in store.vault.open(receipt.token).files] == names

    def test_a_larger_index_is_refused_and_leaves_nothing(self, store: Store) -> None:
        files = (Incoming(f"{number:0255}", "a/b", iter([b"abc"])) for number in range(4000))
        with pytest.raises(BadRequest):
            store.uploads.receive(files, proven=lambda: True, expires_after=lambda: None)
        assert store.left() == NOTHING


def raising(error: BaseException) -> Callable[[], Any]:
    """A function that only raises."""

    def raise_it() -> Any:
        raise error

    return raise_it


ERRORS = [
    BadRequest("bad"),
    ClientGone("gone"),
    TooLarge("large"),
    ConnectionResetError(),
    ValueError("oops"),
    KeyboardInterrupt(),
    GeneratorExit(),
]


class TestFailure:
    """Whatever is raised comes out, and nothing is left."""

    def check(self, store: Store, error: BaseException, files: Iterator[Incoming], **more: Callable[[], Any]) -> None:
        """An upload that ends in this error, and leaves nothing."""
        options: dict[str, Callable[[], Any]] = {"proven": lambda: True, "expires_after": lambda: None, **more}
        with pytest.raises(type(error)) as caught:
            store.uploads.receive(files, **options)
        assert (caught.value is error, store.left()) == (True, NOTHING)

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_before_the_first_file(self, store: Store, error: BaseException) -> None:
        def files() -> Iterator[Incoming]:
            yield from ()
            raise error

        self.check(store, error, files())

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_within_a_file(self, store: Store, error: BaseException) -> None:
        self.check(store, error, incoming(failing(error, content(3 * C))))

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_before_its_first_byte(self, store: Store, error: BaseException) -> None:
        self.check(store, error, incoming(failing(error)))

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_between_two_files(self, store: Store, error: BaseException) -> None:
        def files() -> Iterator[Incoming]:
            yield from incoming(content(3 * C))
            raise error

        self.check(store, error, files())

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_at_the_very_end(self, store: Store, error: BaseException) -> None:
        self.check(store, error, incoming(content(3 * C)), expires_after=raising(error))

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_in_the_question_whether_it_may(self, store: Store, error: BaseException) -> None:
        self.check(store, error, incoming(content(3 * C)), proven=raising(error))

    def test_after_several_parts(self, make_store: Callable[..., Store]) -> None:
        error, store = ClientGone("gone"), make_store(chunk_size=LARGE)
        pieces = failing(error, *[content(LARGE)] * (2 * K + 1))
        self.check(store, error, incoming(pieces))

    @pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b", "x" * 256])
    def test_a_name_that_cannot_be_leaves_nothing(self, store: Store, name: str) -> None:
        with pytest.raises(BadRequest):
            store.uploads.receive(incoming(b"abc", name=name), proven=lambda: True, expires_after=lambda: None)
        assert store.left() == NOTHING

    def test_shares_that_were_there_stay(self, store: Store) -> None:
        kept = store.receive(b"kept")
        with pytest.raises(ClientGone):
            store.receive(failing(ClientGone("gone"), b"abc"))
        assert store.read(kept.token) == b"kept"

    def test_what_cannot_be_removed_at_once_is_left_to_the_sweep(self, disk: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield content(3 * C)
            block = next((disk.folder / "blobs").iterdir()) / "folder"  # what unlink cannot remove
            block.mkdir()
            raise ClientGone("gone")

        with pytest.raises(ClientGone):
            disk.receive(pieces())
        next((disk.folder / "blobs").rglob("folder")).rmdir()
        disk.pass_time(GRACE)
        assert disk.left() == NOTHING

    def test_an_upload_that_was_swept_meanwhile_ends_in_not_open(self, store: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"abc"
            store.clock.now += IDLE
            store.vault.sweep()
            yield b"def"

        with pytest.raises(NotOpen):
            store.receive(pieces())
        store.pass_time(GRACE)
        assert store.left() == NOTHING


class TestTakenIds:
    """Randomness that repeats itself harms nobody's share."""

    def test_the_second_of_one_seed_is_refused(self, make_store: Callable[..., Store]) -> None:
        store = make_store(entropy=lambda size: b"\x05" * size)
        store.receive(b"first")
        with pytest.raises(Taken):
            store.receive(b"second")

    def test_the_first_stays(self, make_store: Callable[..., Store]) -> None:
        store = make_store(entropy=lambda size: b"\x05" * size)
        token = store.receive(b"first").token
        with pytest.raises(Taken):
            store.receive(b"second")
        assert store.read(token) == b"first"

    def test_the_first_can_go_on(self, make_store: Callable[..., Store]) -> None:
        store = make_store(entropy=lambda size: b"\x05" * size)

        def pieces() -> Iterator[bytes]:
            yield b"fir"
            with pytest.raises(Taken):
                store.receive(b"second")
            yield b"st"

        assert store.read(store.receive(pieces()).token) == b"first"


class TestRoom:
    """An upload that would leave too little room is refused before it takes any."""

    @pytest.mark.parametrize(("room", "fits"), [(MAX_PART + 999, False), (MAX_PART + 1000, True)])
    def test_a_part_and_what_must_stay_free_have_to_fit(
        self, tmp_path: Path, clock: Clock, room: int, fits: bool
    ) -> None:
        with closing(Store(MemoryBlobs(room), tmp_path, clock, min_free=1000)) as store:
            if fits:
                store.receive(b"abc")
            else:
                with pytest.raises(NoRoom):
                    store.receive(b"abc")

    def test_no_room_leaves_nothing(self, make_store: Callable[..., Store]) -> None:
        store = make_store(min_free=1 << 60)
        with pytest.raises(NoRoom):
            store.receive(b"abc")
        assert store.left() == NOTHING

    def test_room_that_ends_half_way_leaves_nothing(self, tmp_path: Path, clock: Clock) -> None:
        blobs = MemoryBlobs(MAX_PART + 8 * MIB)
        with closing(Store(blobs, tmp_path, clock, chunk_size=LARGE)) as store:
            before = blobs.free()
            with pytest.raises(NoRoom):
                store.receive(content(LARGE) for _ in range(2 * K))
            assert (blobs.free(), store.rows("SELECT * FROM shares")) == (before, [])


def never() -> bool:
    """The proof that does not come."""
    return False


class TestUnproven:
    """At most so much waits for its secret, over all uploads: four MiB in these tests."""

    @pytest.fixture
    def store(self, make_store: Callable[..., Store]) -> Store:
        """A store in which four MiB may wait."""
        return make_store(units=4)

    def test_what_may_wait_waits(self, store: Store) -> None:
        data = content(4 * MIB)
        assert store.read(store.receive([data[: 3 * MIB], data[3 * MIB :]], proven=never).token) == data

    def test_a_byte_more_is_forbidden(self, store: Store) -> None:
        with pytest.raises(Forbidden, match="secret"):
            store.receive([bytes(4 * MIB), b"x"], proven=never)

    def test_what_was_forbidden_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(Forbidden):
            store.receive([bytes(MIB)] * 5, proven=never)
        assert store.left() == NOTHING

    def test_all_files_of_an_upload_count_together(self, store: Store) -> None:
        with pytest.raises(Forbidden):
            store.receive(bytes(3 * MIB), bytes(MIB), b"x", proven=never)

    def test_what_is_proven_does_not_count(self, store: Store) -> None:
        store.receive(bytes(MIB) for _ in range(8))

    def test_what_comes_after_the_proof_does_not_count(self, store: Store) -> None:
        asked = itertools.count()
        store.receive((bytes(MIB) for _ in range(8)), proven=lambda: next(asked) >= 4)

    def test_what_came_before_the_proof_does(self, store: Store) -> None:
        asked = itertools.count()
        with pytest.raises(Forbidden):
            store.receive((bytes(MIB) for _ in range(8)), proven=lambda: next(asked) >= 5)

    @pytest.mark.parametrize("fails", [False, True], ids=["finished", "failed"])
    def test_an_upload_gives_back_what_it_held(self, store: Store, fails: bool) -> None:
        for _ in range(3):
            if fails:
                with pytest.raises(ClientGone):
                    store.receive(failing(ClientGone("gone"), bytes(4 * MIB)), proven=never)
            else:
                store.receive(bytes(4 * MIB), proven=never)

    def test_what_was_forbidden_gives_back_what_it_held(self, store: Store) -> None:
        with pytest.raises(Forbidden):
            store.receive(bytes(5 * MIB), proven=never)
        store.receive(bytes(4 * MIB), proven=never)

    @pytest.mark.parametrize(("inner", "fits"), [(MIB, True), (MIB + 1, False)])
    def test_uploads_at_once_count_together(self, store: Store, inner: int, fits: bool) -> None:
        outcomes: list[bool] = []

        def pieces() -> Iterator[bytes]:
            yield bytes(3 * MIB)
            try:
                store.receive(bytes(inner), proven=never)
                outcomes.append(True)
            except Forbidden:
                outcomes.append(False)

        store.receive(pieces(), proven=never)
        assert outcomes == [fits]

    def test_one_that_failed_leaves_the_others_what_they_hold(self, store: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield bytes(3 * MIB)
            with pytest.raises(Forbidden):
                store.receive(bytes(2 * MIB), proven=never)
            yield bytes(MIB)

        store.receive(pieces(), proven=never)

    def test_a_proven_upload_passes_while_others_wait(self, store: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield bytes(4 * MIB)
            store.receive(bytes(8 * MIB))

        store.receive(pieces(), proven=never)

    def test_an_empty_file_needs_no_room_to_wait(self, store: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield bytes(4 * MIB)
            store.receive(b"", proven=never)

        store.receive(pieces(), proven=never)

    @pytest.mark.parametrize(("size", "fits"), [(64, True), (65, False)])
    def test_a_server_lets_64_mib_wait(self, tmp_path: Path, size: int, fits: bool) -> None:
        services = create_services(Settings.read({"CONTENT_DIR": str(tmp_path), "MIN_FREE_SPACE": "0"}))
        files = incoming(bytes(MIB) for _ in range(size))
        try:
            services.uploads.receive(files, proven=never, expires_after=lambda: None)
            outcome = True
        except Forbidden:
            outcome = False
        assert outcome is fits


class TestPutPartAndAbandon:
    """The steps of an upload on their own."""

    def test_a_part_is_stored_and_recorded(self, store: Store) -> None:
        store.begin()
        part = store.uploads.put_part(BLOB, 3, [b"ab", b"c"])
        assert (store.records.parts(BLOB, 0, 9), part.number, part.size) == ((part,), 3, 3)

    def test_a_part_put_again_replaces_the_first(self, store: Store) -> None:
        store.begin()
        first, second = (store.uploads.put_part(BLOB, 0, [data]) for data in (b"first", b"second"))
        assert store.records.parts(BLOB, 0, 9) == (second,)
        with pytest.raises(Damaged):
            store.blobs.open(BLOB, first.name)

    def test_a_part_of_an_upload_never_begun_is_refused_and_not_kept(self, store: Store) -> None:
        with pytest.raises(NotOpen):
            store.uploads.put_part(BLOB, 0, [b"abc"])
        assert store.left() == NOTHING

    def test_a_part_of_a_finished_share_is_refused_and_not_kept(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        before = store.left()
        with pytest.raises(NotOpen):
            store.uploads.put_part(receipt.id, 0, [b"late"])
        assert store.left() == before

    def test_pieces_that_raise_leave_what_was_put_before(self, store: Store) -> None:
        store.begin()
        part = store.uploads.put_part(BLOB, 0, [b"abc"])
        with pytest.raises(ClientGone):
            store.uploads.put_part(BLOB, 0, failing(ClientGone("gone"), b"late"))
        assert store.records.parts(BLOB, 0, 9) == (part,)

    def test_puts_of_one_part_at_once_leave_one(self, store: Store) -> None:
        store.begin()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda which: store.uploads.put_part(BLOB, 0, [bytes([which]) * 1000]), range(24)))
        (part,) = store.records.parts(BLOB, 0, 9)
        extra = isinstance(store.blobs, DiskBlobs)
        assert (part.size, store.stored()) == (1000, 1000 + extra)

    def test_what_was_given_up_leaves_nothing(self, store: Store) -> None:
        store.begin()
        store.uploads.put_part(BLOB, 0, [b"abc"])
        store.uploads.abandon(BLOB)
        assert store.left() == NOTHING

    def test_giving_up_twice_does_nothing(self, store: Store) -> None:
        store.begin()
        store.uploads.abandon(BLOB)
        store.uploads.abandon(BLOB)

    def test_a_finished_share_cannot_be_given_up(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        store.uploads.abandon(receipt.id)
        assert store.read(receipt.token) == b"abc"

    def test_an_open_upload_is_no_share(self, store: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"abc"
            (share,) = store.rows("SELECT id FROM shares")[0]
            assert store.records.share(share, int(store.clock())) is None

        store.receive(pieces())


def test_every_stored_byte_belongs_to_a_record(disk: Store) -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            folders = {path.name for path in (disk.folder / "blobs").iterdir()}
            seen.append((folders, {share for (share,) in disk.rows("SELECT id FROM shares")}))
            yield content(C)

    disk.receive(pieces())
    assert all(folders <= shares and shares for folders, shares in seen)


def test_nothing_that_is_stored_tells_content_name_type_or_token(disk: Store) -> None:
    data = content(3 * C)
    files = [Incoming("canary-name.xyz", "canary/type", iter([data])), Incoming("b", "c/d", iter([b"canary-content"]))]
    receipt = disk.uploads.receive(iter(files), proven=lambda: True, expires_after=lambda: None)
    tokens = [text.encode() for text in (receipt.token, receipt.owner)]
    secrets = [*tokens, *(links.read_token(text.decode()) for text in tokens), b"canary", data[100:116]]
    kept = b"".join(path.read_bytes() + os.fsencode(path) for path in disk.folder.rglob("*") if path.is_file())
    assert [secret for secret in secrets if secret in kept] == []


def test_a_link_that_was_never_finished_opens_nothing(store: Store) -> None:
    drawn: list[bytes] = []

    def entropy(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    store.uploads._entropy = entropy
    with pytest.raises(ClientGone):
        store.receive(failing(ClientGone("gone"), b"abc"))
    seeds = [links.write_token(secret) for secret in drawn if len(secret) == 24]
    for token in seeds:
        with pytest.raises(NotFound):
            store.vault.open(token)
