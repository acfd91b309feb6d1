"""Every share is stored through here: what came is what can be opened, and of what did not come whole nothing stays."""

import hashlib
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onekey import links
from onekey.app import create_services
from onekey.blobs import MemoryBlobs
from onekey.container import HEADER_SIZE, MAX_SEALED_INDEX, OVERHEAD, TRAILER_SIZE
from onekey.errors import (
    BadRequest,
    Busy,
    ClientGone,
    Damaged,
    Forbidden,
    NoRoom,
    NotFound,
    NotOpen,
    OnekeyError,
    Taken,
    TooLarge,
    TooMany,
    Unprocessable,
)
from onekey.index import File
from onekey.parts import MAX_PART, container_size, most_chunks
from onekey.passwords import Passwords
from onekey.records import MAX_OPEN
from onekey.settings import Settings
from onekey.uploads import Incoming, Named, Receipt, Terms
from onekey.vault import GRACE, IDLE
from tests.conftest import Clock
from tests.servers import wait_for
from tests.stores import (
    BLOB,
    LARGE,
    MIB,
    NOTHING,
    OWNER_TOKEN,
    STEP,
    UPLOADER,
    ByHand,
    C,
    K,
    Staged,
    Store,
    content,
    failing,
    incoming,
    left_of,
    together,
)


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
        receipt = store.uploads.receive(iter(files), proven=lambda: True, terms=Terms)
        opened = store.open(receipt.token)
        assert opened.files == (File("a 🗝.txt", "text/plain", 3), File("b", "image/png", 0))

    def test_the_receipt_tells_what_the_files_turned_out_to_be(self, store: Store) -> None:
        receipt = store.receive(b"abc", b"")
        assert receipt.files == store.open(receipt.token).files

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

        def terms() -> Terms:
            asked.append("asked")
            return Terms()

        store.uploads.receive(incoming(pieces(), b"d"), proven=lambda: True, terms=terms)
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
        chunks = most_chunks(chunk_size) * (chunk_size + OVERHEAD)
        assert HEADER_SIZE + chunks + MAX_SEALED_INDEX + TRAILER_SIZE <= MAX_PART == 16 * MIB

    @pytest.mark.parametrize("chunk_size", [1 << log for log in range(12, 23)])
    def test_a_part_holds_a_chunk_at_least(self, chunk_size: int) -> None:
        assert most_chunks(chunk_size) >= 1

    def test_the_largest_index_has_room_in_the_last_part(self, make_store: Callable[..., Store]) -> None:
        store = make_store(chunk_size=LARGE)
        names = [f"{number:0255}" for number in range(3600)]
        files = [Incoming(name, "a/b", iter([])) for name in names]
        files[0] = Incoming(names[0], "a/b", iter([content((K - 1) * LARGE)]))
        receipt = store.uploads.receive(iter(files), proven=lambda: True, terms=Terms)
        (part,) = store.records.parts(receipt.id, 0, 99)
        assert (K - 1) * LARGE + 1_000_000 < part.size <= MAX_PART
        assert [file.name for file in store.open(receipt.token).files] == names

    def test_a_larger_index_is_refused_and_leaves_nothing(self, store: Store) -> None:
        files = (Incoming(f"{number:0255}", "a/b", iter([b"abc"])) for number in range(4000))
        with pytest.raises(BadRequest):
            store.uploads.receive(files, proven=lambda: True, terms=Terms)
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
        options: dict[str, Callable[[], Any]] = {"proven": lambda: True, "terms": Terms, **more}
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
        self.check(store, error, incoming(content(3 * C)), terms=raising(error))

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
            store.uploads.receive(incoming(b"abc", name=name), proven=lambda: True, terms=Terms)
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


def same_seed() -> Callable[[int], bytes]:
    """Randomness that draws the same seed for every upload, and an owner token of its own."""
    drawn = itertools.count()

    def draw(size: int) -> bytes:
        if size != links.SEED_SIZE:
            return os.urandom(size)
        number = next(drawn)
        return bytes(size - 1) + bytes([number if number % 2 else 0])

    return draw


class TestTakenIds:
    """Randomness that repeats itself harms nobody's share."""

    def test_the_second_of_one_seed_is_refused(self, make_store: Callable[..., Store]) -> None:
        store = make_store(entropy=same_seed())
        store.receive(b"first")
        with pytest.raises(Taken):
            store.receive(b"second")

    def test_the_first_stays(self, make_store: Callable[..., Store]) -> None:
        store = make_store(entropy=same_seed())
        token = store.receive(b"first").token
        with pytest.raises(Taken):
            store.receive(b"second")
        assert store.read(token) == b"first"

    def test_the_first_can_go_on(self, make_store: Callable[..., Store]) -> None:
        store = make_store(entropy=same_seed())

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
            services.uploads.receive(files, proven=never, terms=Terms)
            outcome = True
        except Forbidden:
            outcome = False
        assert outcome is fits


class TestPassword:
    """A share with a password, sealed here."""

    def test_it_opens_with_the_password_and_not_without(self, disk: Store) -> None:
        token = disk.receive(b"abc", password="pässword").token
        assert disk.read(token, password="pässword") == b"abc"
        with pytest.raises(OnekeyError):
            disk.read(token)

    @pytest.mark.parametrize("password", ["", "x" * 1025, "\ud800"], ids=["empty", "long", "no text"])
    def test_what_cannot_be_a_password_is_refused_and_leaves_nothing(self, disk: Store, password: str) -> None:
        with pytest.raises(BadRequest):
            disk.receive(b"abc", password=password)
        assert disk.left() == NOTHING

    def test_it_is_not_stretched_before_the_secret_was_checked(self, disk: Store) -> None:
        with pytest.raises(Forbidden, match="secret"):
            disk.receive(b"abc", password="x", proven=never)
        assert disk.left() == NOTHING

    def test_it_is_asked_for_when_the_first_file_has_begun(self, disk: Store) -> None:
        asked: list[str] = []

        def files() -> Iterator[Incoming]:
            asked.append("file")
            yield from incoming(b"abc")

        def password() -> None:
            asked.append("password")

        disk.uploads.receive(files(), proven=lambda: True, terms=Terms, password=password)
        assert asked == ["file", "password"]

    def test_where_too_many_wait_nothing_is_left(self, disk: Store) -> None:
        def pieces() -> Iterator[bytes]:
            pytest.fail("nothing is read before the password has had its turn")
            yield b""

        go = threading.Event()
        with ThreadPoolExecutor(50) as threads:
            waiting = [threads.submit(wait_in_turn, disk.passwords, go) for _ in range(50)]
            try:
                wait_for(lambda: any(one.done() for one in waiting))
                with pytest.raises(Busy):
                    disk.receive(pieces(), password="x")
            finally:
                go.set()
        assert disk.left() == NOTHING


def wait_in_turn(passwords: Passwords, go: threading.Event) -> None:
    """Take the turn to seal, and keep it; or be told that too many wait."""
    try:
        with passwords.turn_to_seal():
            go.wait(60)
    except Busy:
        return


class TestTerms:
    """How long a share lives, and how often it may be opened."""

    @pytest.mark.parametrize("opens", [None, 1, 5])
    def test_a_share_received_is_limited_as_asked(self, store: Store, opens: int | None) -> None:
        receipt = store.receive(b"abc", opens=opens)
        assert (receipt.opens, store.vault.owned(receipt.id, receipt.owner).opens) == (opens, opens)

    @pytest.mark.parametrize("opens", [None, 1, 5])
    def test_a_sealed_share_is_limited_as_asked(self, store: Store, opens: int | None) -> None:
        sealed = ByHand().upload(store, opens=opens)
        assert store.vault.owned(sealed.id, sealed.owner).opens == opens

    @pytest.mark.parametrize("life", [None, 50])
    def test_the_life_of_a_sealed_share_begins_when_it_is_finished(self, store: Store, life: int | None) -> None:
        sealed = ByHand()
        sealed.begin_and_put(store, Terms(life))
        store.clock.now += 1000
        expected = None if life is None else store.now + life
        assert sealed.finish(store).expires == expected

    def test_to_finish_again_does_not_put_off_the_end(self, store: Store) -> None:
        sealed = ByHand().upload(store, life=50)
        first = store.now + 50
        store.clock.now += 10
        assert sealed.finish(store).expires == first


class TestBegin:
    """An upload that its client seals: a blob id is taken, once and for ever."""

    def test_an_upload_that_was_begun_is_open_and_empty(self, store: Store) -> None:
        sealed = ByHand()
        sealed.begin(store)
        upload, parts = store.uploads.look(sealed.id, sealed.owner)
        assert (upload.is_finished, upload.header, upload.part_chunks, parts) == (False, sealed.header, 2, ())

    def test_nothing_is_stored_yet(self, store: Store) -> None:
        ByHand().begin(store)
        assert (store.stored(), store.records.stored()) == (0, 0)

    @pytest.mark.parametrize("state", ["begun", "put", "finished"])
    def test_to_begin_once_more_changes_nothing(self, store: Store, state: str) -> None:
        sealed = ByHand(content(5 * C))
        sealed.begin(store, Terms(50, 2))
        if state != "begun":
            sealed.put(store, 0)
        if state == "finished":
            for number in range(1, len(sealed.parts)):
                sealed.put(store, number)
            sealed.finish(store)
        before = store.left()
        store.clock.now += 10
        sealed.begin(store, Terms(50, 2))
        assert store.left() == before

    @pytest.mark.parametrize(
        "change",
        [
            {"header": ByHand(seed=bytes(24)).header},
            {"part_chunks": 3},
            {"knock_hash": b"x" * 32},
            {"access_hash": b"x" * 32},
            {"owner_hash": b"x" * 32},
            {"terms": Terms(51, 2)},
            {"terms": Terms(None, 2)},
            {"terms": Terms(50, 3)},
            {"terms": Terms(50, None)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_with_any_one_value_different_the_id_is_taken(self, store: Store, change: dict[str, Any]) -> None:
        plan = ByHand().plan(Terms(50, 2))
        store.uploads.begin(plan, UPLOADER)
        before = store.left()
        with pytest.raises(Taken):
            store.uploads.begin(replace(plan, **change), UPLOADER)
        assert store.left() == before

    def test_the_id_of_a_deleted_share_is_taken(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        store.vault.delete(sealed.id, sealed.owner)
        with pytest.raises(Taken):
            sealed.begin(store)
        assert store.left() == left_of(sealed.id)

    def test_the_id_of_a_share_that_could_not_be_removed_yet_is_taken(self, disk: Store) -> None:
        sealed = ByHand().upload(disk)
        (disk.folder / "blobs" / sealed.id / "folder").mkdir()  # what unlink cannot remove
        disk.vault.delete(sealed.id, sealed.owner)
        with pytest.raises(Taken):
            sealed.begin(disk)

    def test_the_id_of_an_expired_share_is_taken_for_ever(self, store: Store) -> None:
        sealed = ByHand().upload(store, life=10)
        store.pass_time(10, GRACE, IDLE)
        with pytest.raises(Taken):
            sealed.begin(store)

    def test_the_id_of_an_upload_that_was_given_up_is_taken_for_ever(self, store: Store) -> None:
        sealed = ByHand(content(5 * C))
        sealed.begin_and_put(store)
        store.uploads.give_up(sealed.id, sealed.owner)
        with pytest.raises(Taken):
            sealed.begin(store)

    @pytest.mark.parametrize("header", [b"", bytes(96), b"1KEY" + bytes(92), b"x" * 95], ids=len)
    def test_what_is_no_header_is_refused(self, store: Store, header: bytes) -> None:
        with pytest.raises(Unprocessable, match="header"):
            store.uploads.begin(ByHand().plan(header=header), UPLOADER)
        assert store.left() == NOTHING

    @pytest.mark.parametrize("chunks", [-1, 0, most_chunks(C) + 1, 1 << 40])
    def test_parts_of_a_size_that_cannot_be_are_refused(self, store: Store, chunks: int) -> None:
        with pytest.raises(Unprocessable, match="part_chunks"):
            store.uploads.begin(ByHand().plan(part_chunks=chunks), UPLOADER)
        assert store.left() == NOTHING

    @pytest.mark.parametrize("chunks", [1, most_chunks(C)])
    def test_parts_of_any_other_size_may_be(self, store: Store, chunks: int) -> None:
        store.uploads.begin(ByHand().plan(part_chunks=chunks), UPLOADER)

    @pytest.mark.parametrize("life", [101, None])
    def test_a_longer_life_than_the_longest_is_refused(
        self, make_store: Callable[..., Store], life: int | None
    ) -> None:
        store = make_store(max_expiry=100)
        with pytest.raises(BadRequest, match="100 seconds"):
            ByHand().begin(store, Terms(life))
        assert store.left() == NOTHING

    def test_one_uploader_has_so_many_unfinished_at_most(self, disk: Store) -> None:
        for number in range(MAX_OPEN):
            store_one(disk, number)
        with pytest.raises(TooMany):
            store_one(disk, MAX_OPEN)

    def test_what_was_received_here_does_not_count(self, disk: Store) -> None:
        for number in range(MAX_OPEN - 1):
            store_one(disk, number)
        disk.receive(b"abc")
        store_one(disk, MAX_OPEN)


def store_one(store: Store, number: int) -> None:
    """Begin an upload under a seed of its own."""
    ByHand(seed=number.to_bytes(24, "big")).begin(store)


class TestForeign:
    """Who does not have the owner token does not learn whether there is an upload, and changes nothing."""

    @pytest.mark.parametrize("call", ["look", "put", "finish", "give_up"])
    @pytest.mark.parametrize("state", ["open", "finished"])
    @pytest.mark.parametrize("wrong", ["", "the link's", "another's", "malformed", "blob id"])
    def test_it_is_not_found(self, disk: Store, call: str, state: str, wrong: str) -> None:
        sealed = ByHand()
        sealed.begin_and_put(disk)
        if state == "finished":
            sealed.finish(disk)
        other = ByHand(seed=bytes(24), owner=bytes(24))
        other.begin(disk)
        tokens = {"": "", "the link's": sealed.token, "another's": other.owner, "malformed": "é", "blob id": sealed.id}
        before = disk.left()
        self.check(disk, call, sealed, tokens[wrong], sealed.id)
        assert disk.left() == before

    @pytest.mark.parametrize("call", ["look", "put", "finish", "give_up"])
    @pytest.mark.parametrize("share", ["f" * 32, "", "../x", "%"])
    def test_an_id_that_is_not_there_is_not_found(self, disk: Store, call: str, share: str) -> None:
        sealed = ByHand()
        sealed.begin_and_put(disk)
        self.check(disk, call, sealed, sealed.owner, share)

    @pytest.mark.parametrize("call", ["look", "put", "finish", "give_up"])
    @pytest.mark.parametrize("end", ["given up", "deleted", "swept"])
    def test_what_has_ended_is_not_found(self, disk: Store, call: str, end: str) -> None:
        sealed = ByHand()
        sealed.begin_and_put(disk)
        if end == "given up":
            disk.uploads.give_up(sealed.id, sealed.owner)
        elif end == "deleted":
            sealed.finish(disk)
            disk.vault.delete(sealed.id, sealed.owner)
        else:
            disk.pass_time(IDLE)
        self.check(disk, call, sealed, sealed.owner, sealed.id)

    def check(self, disk: Store, call: str, sealed: ByHand, owner: str, share: str) -> None:
        """That this is not found, and that nothing of the part was read."""
        uploads = disk.uploads
        calls: dict[str, Callable[[], object]] = {
            "look": lambda: uploads.look(share, owner),
            "put": lambda: uploads.put(share, owner, 0, failing(AssertionError("was read")), None),
            "finish": lambda: uploads.finish(share, owner, sealed.named),
            "give_up": lambda: uploads.give_up(share, owner),
        }
        with pytest.raises(NotFound) as caught:
            calls[call]()
        assert str(caught.value) == str(NotFound())


class TestPut:
    """Parts of a sealed upload: in any order, and again if need be, until it is finished."""

    def test_a_part_is_stored_and_recorded(self, store: Store) -> None:
        store.begin()
        part = store.put(3, b"ab", b"c", mark=b"m" * 16)
        expected = (3, 3, hashlib.sha256(b"abc").digest(), b"m" * 16)
        assert (part.number, part.size, part.sha256, part.mark) == expected
        assert store.uploads.look(BLOB, OWNER_TOKEN)[1] == (part,)

    def test_parts_are_listed_in_order_however_they_came(self, store: Store) -> None:
        store.begin()
        for number in (10, 2, 0, 7):
            store.put(number, b"abc")
        assert [part.number for part in store.uploads.look(BLOB, OWNER_TOKEN)[1]] == [0, 2, 7, 10]

    def test_a_part_put_again_replaces_the_first(self, store: Store) -> None:
        store.begin()
        store.put(0, b"first")
        second = store.put(0, b"second")
        assert store.records.parts(BLOB, 0, 9) == (second,)

    def test_of_a_part_that_was_replaced_nothing_stays(self, store: Store) -> None:
        store.begin()
        first = store.put(0, b"first")
        store.put(0, b"second")
        with pytest.raises(Damaged):
            store.blobs.open(BLOB, first.name)
        assert store.sums() == (6, 6, 6)

    @pytest.mark.parametrize("mark", [None, b"n" * 16])
    def test_a_part_put_again_has_its_own_mark(self, store: Store, mark: bytes | None) -> None:
        store.begin()
        store.put(0, b"first", mark=b"m" * 16)
        store.put(0, b"second", mark=mark)
        assert [part.mark for part in store.records.parts(BLOB, 0, 9)] == [mark]

    def test_a_part_of_a_finished_upload_is_refused_and_not_read(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        before = store.left()
        with pytest.raises(NotOpen):
            store.uploads.put(sealed.id, sealed.owner, 0, failing(AssertionError("was read")), None)
        assert store.left() == before

    @pytest.mark.parametrize("error", ERRORS, ids=repr)
    def test_pieces_that_raise_leave_what_was_put_before(self, store: Store, error: BaseException) -> None:
        store.begin()
        part = store.put(0, b"abc")
        with pytest.raises(type(error)):
            store.uploads.put(BLOB, OWNER_TOKEN, 0, failing(error, b"late"), None)
        assert (store.records.parts(BLOB, 0, 9), store.sums()) == ((part,), (3, 3, 3))

    def test_what_is_there_after_pieces_that_raise_can_be_finished(self, store: Store) -> None:
        sealed = ByHand(content(5 * C))
        sealed.begin_and_put(store)
        with pytest.raises(ClientGone):
            store.uploads.put(sealed.id, sealed.owner, 1, failing(ClientGone("gone"), b"late"), None)
        sealed.finish(store)
        assert store.read(sealed.token) == content(5 * C)

    def test_a_part_is_activity(self, store: Store) -> None:
        store.begin()
        store.pass_time(IDLE - 1)
        store.put(0, b"abc")
        store.pass_time(IDLE - 1)
        store.put(1, b"abc")

    @pytest.mark.parametrize("max_size", [0, 1, 10 * MIB, 100 * MIB + 5])
    def test_numbers_have_a_bound(self, make_store: Callable[..., Store], max_size: int) -> None:
        store = make_store(max_size=max_size)
        store.begin()
        last = container_size(max_size, C) // MIB + 64
        store.put(last, b"abc")
        with pytest.raises(Unprocessable, match=f"{last} at most"):
            store.put(last + 1, b"abc")


class TestMostBytes:
    """One upload holds so many bytes at most, and all together no more than the quota."""

    MOST = container_size(3 * C, C)

    @pytest.mark.parametrize("by", [-1, 0])
    def test_what_a_share_may_have_fits(self, make_store: Callable[..., Store], by: int) -> None:
        store = make_store(max_size=3 * C)
        store.begin()
        store.put(0, bytes(1000))
        store.put(1, bytes(self.MOST - 1000 + by))

    @pytest.mark.parametrize("before", [0, 1, 1000])
    def test_a_byte_more_is_too_large_and_not_kept(self, make_store: Callable[..., Store], before: int) -> None:
        store = make_store(max_size=3 * C)
        store.begin()
        store.put(0, bytes(before))
        with pytest.raises(TooLarge):
            store.put(1, bytes(self.MOST - before + 1))
        assert store.sums() == (before,) * 3

    def test_the_part_that_would_have_been_replaced_stays(self, make_store: Callable[..., Store]) -> None:
        store = make_store(max_size=3 * C)
        store.begin()
        part = store.put(0, b"abc")
        with pytest.raises(TooLarge):
            store.put(0, bytes(self.MOST + 1))
        assert (store.records.parts(BLOB, 0, 9), store.sums()) == ((part,), (3, 3, 3))

    def test_no_more_than_the_quota_is_recorded_and_kept(self, make_store: Callable[..., Store]) -> None:
        store = make_store(quota=2500)
        store.begin()
        for number in range(2):
            store.put(number, bytes(1000))
        with pytest.raises(NoRoom, match="MAX_STORED_BYTES"):
            store.put(2, bytes(1000))
        assert store.sums() == (2000,) * 3

    def test_a_full_quota_reads_nothing(self, make_store: Callable[..., Store]) -> None:
        store = make_store(quota=1000)
        store.begin()
        store.put(0, bytes(1000))
        with pytest.raises(NoRoom):
            store.uploads.put(BLOB, OWNER_TOKEN, 1, failing(AssertionError("was read")), None)

    def test_what_was_given_up_makes_room(self, make_store: Callable[..., Store]) -> None:
        store = make_store(quota=1000)
        store.begin()
        store.put(0, bytes(1000))
        store.uploads.give_up(BLOB, OWNER_TOKEN)
        store.begin()
        store.put(0, bytes(1000))

    def test_the_quota_holds_for_what_is_received_too(self, make_store: Callable[..., Store]) -> None:
        store = make_store(quota=8 * C)
        receipt = store.receive(content(5 * C))
        with pytest.raises(NoRoom, match="MAX_STORED_BYTES"):
            store.receive(content(5 * C))
        before = store.sums()
        assert (len(set(before)), store.rows("SELECT id FROM shares")) == (1, [(receipt.id,)])

    def test_without_free_space_nothing_is_read(self, make_store: Callable[..., Store]) -> None:
        store = make_store(min_free=1 << 60)
        store.begin()
        with pytest.raises(NoRoom):
            store.uploads.put(BLOB, OWNER_TOKEN, 0, failing(AssertionError("was read")), None)

    def test_many_at_once_never_exceed_the_quota(self, make_store: Callable[..., Store]) -> None:
        store, seen, stop = make_store(quota=10_500), list[int](), threading.Event()
        store.begin()

        def watch() -> None:
            while not stop.is_set():
                seen.append(store.rows("SELECT coalesce(sum(size), 0) FROM parts")[0][0])

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            ends = [
                end
                for first in range(0, 24, 8)
                for end in together(*(lambda n=n: store.put(n, bytes(1000)) for n in range(first, first + 8)))
            ]
        finally:
            stop.set()
            watching.join()
        assert ends.count(NoRoom) == 14
        assert store.sums() == (10_000,) * 3
        assert max(seen) <= 10_000

    def test_what_is_stored_is_always_what_is_counted(self, make_store: Callable[..., Store]) -> None:
        store, chance = make_store(quota=70_000, max_size=10 * C), random.Random(1)
        uploads = [
            ByHand(content(chance.randrange(9 * C)), seed=bytes([number]) * 24, owner=bytes([number]) * 24)
            for number in range(12)
        ]
        ends = set[str]()
        for _ in range(600):
            ends.add(self.step(store, chance, chance.choice(uploads)))
            assert len(set(store.sums())) == 1
        assert {"done", "NoRoom", "NotFound", "NotOpen", "Taken", "Unprocessable", "ClientGone"} <= ends

    def step(self, store: Store, chance: random.Random, sealed: ByHand) -> str:
        """Do something with an upload; gives how it ended."""
        number = chance.randrange(len(sealed.parts))
        steps: list[tuple[int, Callable[[], object]]] = [
            (6, lambda: sealed.begin(store)),
            (20, lambda: sealed.put(store, number)),
            (4, lambda: sealed.put(store, number, bytes(chance.randrange(8 * C)))),
            (1, lambda: sealed.put(store, number, bytes(2 * MIB))),
            (2, lambda: store.uploads.put(sealed.id, sealed.owner, number, failing(ClientGone("x"), b"x"), None)),
            (4, lambda: sealed.finish(store)),
            (1, lambda: store.uploads.give_up(sealed.id, sealed.owner)),
            (1, lambda: store.vault.delete(sealed.id, sealed.owner)),
        ]
        (step,) = chance.choices([step for _, step in steps], [weight for weight, _ in steps])
        try:
            step()
        except OnekeyError as error:
            return type(error).__name__
        return "done"


DATA = content(5 * C - 7)
SPLIT = HEADER_SIZE + 2 * STEP


def cut(whole: bytes, *ends: int) -> dict[int, bytes]:
    """A container in parts that end there."""
    edges = [0, *ends, len(whole)]
    return {number: whole[start:stop] for number, (start, stop) in enumerate(itertools.pairwise(edges))}


def with_trailer(value: int) -> dict[int, bytes]:
    """The parts of a container whose trailer says this."""
    sealed = ByHand(DATA)
    return {**dict(enumerate(sealed.parts)), 2: sealed.parts[2][:-TRAILER_SIZE] + value.to_bytes(TRAILER_SIZE, "big")}


def with_header(at: int) -> dict[int, bytes]:
    """The parts of a container with one byte of the header changed."""
    sealed = ByHand(DATA)
    changed = bytearray(sealed.parts[0])
    changed[at] ^= 1
    return {**dict(enumerate(sealed.parts)), 0: bytes(changed)}


SEALED = ByHand(DATA)
END = len(SEALED.whole) - len(SEALED.end)
NO_CONTAINERS: dict[str, dict[int, bytes]] = {
    "nothing": {},
    "a gap": {0: SEALED.parts[0], 2: SEALED.parts[2]},
    "not from 0 on": {1: SEALED.parts[1], 2: SEALED.parts[2]},
    "without the last": {0: SEALED.parts[0], 1: SEALED.parts[1]},
    "only the first": {0: SEALED.parts[0]},
    "all in one part": cut(SEALED.whole),
    "a byte too many in part 0": cut(SEALED.whole, SPLIT + 1, SPLIT + 2 * STEP),
    "a byte too few in part 0": cut(SEALED.whole, SPLIT - 1, SPLIT + 2 * STEP),
    "a chunk too few in part 0": cut(SEALED.whole, SPLIT - STEP, SPLIT + STEP),
    "a chunk too many in part 1": cut(SEALED.whole, SPLIT, END),
    "a byte too few in part 1": cut(SEALED.whole, SPLIT, SPLIT + 2 * STEP - 1),
    "a part too few": cut(SEALED.whole, SPLIT),
    "the header alone in part 0": cut(SEALED.whole, HEADER_SIZE, SPLIT + STEP, SPLIT + 3 * STEP),
    "one chunk in each part": cut(SEALED.whole, *range(HEADER_SIZE + STEP, END, STEP)),
    "index and trailer in a part too many": cut(SEALED.whole, SPLIT, SPLIT + 2 * STEP, END),
    "the trailer alone": cut(SEALED.whole, SPLIT, SPLIT + 2 * STEP, len(SEALED.whole) - TRAILER_SIZE),
    "half a trailer": cut(SEALED.whole, SPLIT, SPLIT + 2 * STEP, len(SEALED.whole) - 2),
    "an empty part at the end": {**dict(enumerate(SEALED.parts)), 3: b""},
    "a last part that is empty": {**dict(enumerate(SEALED.parts)), 2: b""},
    "a last part that is too short for a trailer": {**dict(enumerate(SEALED.parts)), 2: b"abc"},
    "a part 0 that is too short for a header": {**dict(enumerate(SEALED.parts)), 0: SEALED.header[:95]},
    "an empty part 0": {**dict(enumerate(SEALED.parts)), 0: b""},
    "an empty part 1": {**dict(enumerate(SEALED.parts)), 1: b""},
    "parts in each other's place": {**dict(enumerate(SEALED.parts)), 0: SEALED.parts[1], 1: SEALED.parts[0]},
    "a byte more at the end": {**dict(enumerate(SEALED.parts)), 2: SEALED.parts[2] + b"\0"},
    "a byte less at the end": {**dict(enumerate(SEALED.parts)), 2: SEALED.parts[2][:-1]},
    **{f"another header at {at}": with_header(at) for at in (0, 6, 8, 40, 63, 64, 95)},
    **{
        f"a trailer of {value}": with_trailer(value)
        for value in (
            0,
            1,
            256 + OVERHEAD - 1,
            256 + OVERHEAD + 1,
            512 + OVERHEAD,
            MAX_SEALED_INDEX + 256,
            (1 << 32) - 1,
        )
    },
}


class TestFinish:
    """Finish checks that the parts are those that were named, and a container; what is refused loses nothing."""

    def check(self, store: Store, sealed: ByHand, named: list[Named]) -> None:
        """That this finish is refused, that nothing changes, and that the right one works afterwards."""
        before = store.left()
        with pytest.raises(Unprocessable) as caught:
            sealed.finish(store, named)
        assert str(caught.value).endswith(".")
        assert store.left() == before

    @pytest.mark.parametrize("what", NO_CONTAINERS)
    def test_what_is_no_container_is_refused_and_nothing_is_lost(self, disk: Store, what: str) -> None:
        parts = NO_CONTAINERS[what]
        SEALED.begin(disk)
        for number, data in parts.items():
            SEALED.put(disk, number, data)
        self.check(disk, SEALED, [Named(n, len(data), hashlib.sha256(data).digest()) for n, data in parts.items()])

    @pytest.mark.parametrize("what", [name for name, parts in NO_CONTAINERS.items() if len(parts) <= 3])
    def test_when_it_was_put_right_it_can_be_finished(self, disk: Store, what: str) -> None:
        parts = NO_CONTAINERS[what]
        SEALED.begin(disk)
        for number, data in parts.items():
            SEALED.put(disk, number, data)
        with pytest.raises(Unprocessable):
            SEALED.finish(disk, [Named(n, len(data), hashlib.sha256(data).digest()) for n, data in parts.items()])
        for number in range(3):
            SEALED.put(disk, number)
        SEALED.finish(disk)
        assert disk.read(SEALED.token) == DATA

    @pytest.mark.parametrize(
        "named",
        [
            [],
            SEALED.named[:2],
            SEALED.named[1:],
            [*SEALED.named, Named(3, 0, hashlib.sha256(b"").digest())],
            [*SEALED.named, SEALED.named[-1]],
            SEALED.named[::-1],
            [replace(SEALED.named[0], size=SEALED.named[0].size + 1), *SEALED.named[1:]],
            [*SEALED.named[:2], replace(SEALED.named[2], sha256=bytes(32))],
            [*SEALED.named[:2], replace(SEALED.named[2], number=3)],
        ],
        ids=["none", "one less", "first missing", "one more", "twice", "backwards", "size", "hash", "number"],
    )
    def test_other_parts_than_those_that_are_stored_are_refused_and_nothing_is_lost(
        self, store: Store, named: list[Named]
    ) -> None:
        SEALED.begin_and_put(store)
        self.check(store, SEALED, named)
        SEALED.finish(store)
        assert store.read(SEALED.token) == DATA

    @pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
    @pytest.mark.parametrize("k", [1, 2, 3])
    @pytest.mark.parametrize(
        "size", [0, 1, C - 1, C, C + 1, 2 * C, 3 * C - 1, 3 * C, 4 * C - 1, 4 * C, 6 * C - 9, 6 * C]
    )
    def test_every_layout_that_may_be_is_finished_and_read(self, disk: Store, size: int, k: int, joined: bool) -> None:
        sealed = ByHand(content(size), k=k, joined=joined).upload(disk)
        got = b"".join(disk.vault.content(sealed.id, sealed.proof()).read(0, len(sealed.whole)))
        assert (got, disk.read(sealed.token)) == (sealed.whole, content(size))

    def test_nothing_but_index_and_trailer_in_two_parts_is_refused(self, store: Store) -> None:
        empty = ByHand(b"")
        empty.begin(store)
        for number, data in enumerate((empty.header, empty.end)):
            empty.put(store, number, data)
        self.check(store, empty, [Named(0, 96, hashlib.sha256(empty.header).digest()), *self.named(1, empty.end)])

    def named(self, number: int, data: bytes) -> list[Named]:
        """A part as it is named."""
        return [Named(number, len(data), hashlib.sha256(data).digest())]

    def test_a_finished_upload_is_told_as_it_is(self, store: Store) -> None:
        SEALED.begin_and_put(store)
        found = SEALED.finish(store)
        assert (found.is_finished, found.size) == (True, len(SEALED.whole))

    def test_to_finish_again_changes_nothing(self, store: Store) -> None:
        SEALED.upload(store)
        before = store.left()
        store.clock.now += 10
        assert SEALED.finish(store).is_finished
        assert store.left() == before

    @pytest.mark.parametrize("named", [[], SEALED.named[:2], [replace(SEALED.named[0], size=0), *SEALED.named[1:]]])
    def test_to_finish_again_with_other_parts_is_refused(self, store: Store, named: list[Named]) -> None:
        SEALED.upload(store)
        before = store.left()
        with pytest.raises(NotOpen):
            SEALED.finish(store, named)
        assert store.left() == before

    def test_a_finished_upload_cannot_be_given_up(self, store: Store) -> None:
        SEALED.upload(store)
        with pytest.raises(NotOpen):
            store.uploads.give_up(SEALED.id, SEALED.owner)
        assert store.read(SEALED.token) == DATA

    def test_an_upload_that_is_not_finished_opens_nothing(self, store: Store) -> None:
        SEALED.begin_and_put(store)
        with pytest.raises(NotFound):
            store.open(SEALED.token)
        with pytest.raises(NotFound):
            store.vault.knocked(SEALED.id, SEALED.knock)

    def test_of_what_was_given_up_nothing_is_left(self, store: Store) -> None:
        SEALED.begin_and_put(store)
        store.uploads.give_up(SEALED.id, SEALED.owner)
        assert store.left() == left_of(SEALED.id)

    def test_what_cannot_be_removed_at_once_is_left_to_the_sweep(self, disk: Store) -> None:
        SEALED.begin_and_put(disk)
        block = disk.folder / "blobs" / SEALED.id / "folder"
        block.mkdir()
        disk.uploads.give_up(SEALED.id, SEALED.owner)
        block.rmdir()
        disk.pass_time(GRACE)
        assert disk.left() == left_of(SEALED.id)


class TestAtOnce:
    """What comes between: committed bytes never change, and no byte is left without a record."""

    def check_committed(self, disk: Store) -> None:
        """That the share is what was sealed, and that nothing else is stored."""
        assert disk.read(SEALED.token) == DATA
        assert disk.sums() == (len(SEALED.whole),) * 3

    def test_a_part_put_before_finish_reads_it_keeps_the_upload_open(self, disk: Store, stage: Staged) -> None:
        SEALED.begin_and_put(disk)
        stage.before_open = lambda: SEALED.put(disk, 0, b"another")
        with pytest.raises(Unprocessable):
            SEALED.finish(disk)
        SEALED.put(disk, 0)
        SEALED.finish(disk)
        self.check_committed(disk)

    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_a_part_put_after_finish_read_it_keeps_the_upload_open(
        self, disk: Store, stage: Staged, number: int
    ) -> None:
        SEALED.begin_and_put(disk)

        def put_later() -> None:
            stage.before_open = lambda: SEALED.put(disk, number, b"another")

        stage.before_open = put_later
        with pytest.raises((NotOpen, Unprocessable)):
            SEALED.finish(disk)
        assert not disk.uploads.look(SEALED.id, SEALED.owner)[0].is_finished

    def test_a_part_whose_bytes_come_while_it_is_finished_is_refused_and_not_kept(self, disk: Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"anot"
            SEALED.finish(disk)
            yield b"her"

        SEALED.begin_and_put(disk)
        with pytest.raises(NotOpen):
            disk.uploads.put(SEALED.id, SEALED.owner, 1, pieces(), None)
        self.check_committed(disk)

    def test_a_part_that_is_stored_but_not_recorded_when_it_is_finished_is_not_kept(
        self, disk: Store, stage: Staged
    ) -> None:
        SEALED.begin_and_put(disk)
        stage.after_put = lambda: SEALED.finish(disk)
        with pytest.raises(NotOpen):
            SEALED.put(disk, 1, b"another")
        self.check_committed(disk)

    def test_two_puts_of_one_part_at_once_leave_one(self, store: Store) -> None:
        barrier = threading.Barrier(2)

        def pieces(which: int) -> Iterator[bytes]:
            yield bytes([which]) * 500
            barrier.wait(60)
            yield bytes([which]) * 500

        store.begin()
        ends = together(
            lambda: store.uploads.put(BLOB, OWNER_TOKEN, 0, pieces(1), None),
            lambda: store.uploads.put(BLOB, OWNER_TOKEN, 0, pieces(2), None),
        )
        assert store.records.parts(BLOB, 0, 9)[0] in ends
        assert store.sums() == (1000,) * 3

    def test_many_puts_of_one_part_leave_one(self, store: Store) -> None:
        store.begin()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda which: store.put(0, bytes([which]) * 1000), range(24)))
        (part,) = store.records.parts(BLOB, 0, 9)
        assert store.sums() == (1000,) * 3
        store.blobs.open(BLOB, part.name).close()

    def test_begun_twice_at_once_it_is_one_upload(self, store: Store) -> None:
        for number in range(20):
            sealed = ByHand(seed=number.to_bytes(24, "big"))
            plan = sealed.plan()
            ends = together(*[lambda plan=plan: store.uploads.begin(plan, UPLOADER)] * 3)
            assert ends == [None] * 3
        assert len(store.rows("SELECT id FROM shares")) == 20

    def test_begun_at_once_with_other_values_it_is_the_upload_of_one(self, store: Store) -> None:
        for number in range(20):
            sealed = ByHand(seed=number.to_bytes(24, "big"))
            plans = [sealed.plan(owner_hash=links.fingerprint(bytes([which]) * 24)) for which in range(2)]
            ends = together(*(lambda plan=plan: store.uploads.begin(plan, UPLOADER) for plan in plans))
            assert sorted(map(str, ends)) == sorted(map(str, (None, Taken)))
            found = owner_of(store, sealed.id)
            assert found == plans[ends.index(None)].owner_hash

    def test_finished_twice_at_once_it_is_one_share(self, store: Store) -> None:
        SEALED.begin_and_put(store)
        first, second = together(lambda: SEALED.finish(store), lambda: SEALED.finish(store))
        assert first == second
        assert store.read(SEALED.token) == DATA

    @pytest.mark.parametrize("moment", ["before_put", "after_put"])
    def test_given_up_around_a_put_it_leaves_no_byte_and_no_folder(
        self, disk: Store, stage: Staged, moment: str
    ) -> None:
        SEALED.begin(disk)
        setattr(stage, moment, lambda: disk.uploads.give_up(SEALED.id, SEALED.owner))
        with pytest.raises(NotOpen):
            SEALED.put(disk, 0)
        assert disk.left() == left_of(SEALED.id)

    @pytest.mark.parametrize("stored", [0, 1])
    def test_given_up_in_the_middle_of_a_put_it_leaves_no_byte_and_no_folder(self, store: Store, stored: int) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"abc"
            store.uploads.give_up(SEALED.id, SEALED.owner)
            yield b"def"

        SEALED.begin(store)
        for number in range(stored):
            SEALED.put(store, number)
        with pytest.raises(NotOpen):
            store.uploads.put(SEALED.id, SEALED.owner, 1, pieces(), None)
        assert store.left() == left_of(SEALED.id)

    def test_a_put_that_fails_after_it_was_given_up_leaves_no_folder(self, disk: Store, stage: Staged) -> None:
        SEALED.begin(disk)
        stage.before_put = lambda: disk.uploads.give_up(SEALED.id, SEALED.owner)
        with pytest.raises((ClientGone, NotOpen)):
            disk.uploads.put(SEALED.id, SEALED.owner, 0, failing(ClientGone("gone"), b"abc"), None)
        assert disk.left() == left_of(SEALED.id)

    def test_a_put_that_fails_while_others_run_does_not_disturb_them(self, disk: Store) -> None:
        def pieces() -> Iterator[bytes]:
            with pytest.raises(ClientGone):
                disk.uploads.put(BLOB, OWNER_TOKEN, 1, failing(ClientGone("gone"), b"abc"), None)
            yield b"abc"

        disk.begin()
        disk.uploads.put(BLOB, OWNER_TOKEN, 0, pieces(), None)
        assert disk.sums() == (3, 3, 3)

    def test_what_was_finished_meanwhile_is_not_given_up(self, tmp_path: Path) -> None:
        clock = StagedClock()
        with closing(Store(MemoryBlobs(1 << 30), tmp_path, clock)) as store:
            SEALED.begin_and_put(store)
            clock.then = lambda: SEALED.finish(store)
            with pytest.raises(NotOpen):
                store.uploads.give_up(SEALED.id, SEALED.owner)
            assert store.read(SEALED.token) == DATA

    def test_put_finish_and_give_up_at_once_have_one_outcome(self, store: Store) -> None:
        for number in range(20):
            sealed = ByHand(DATA, seed=number.to_bytes(24, "big"))
            sealed.begin_and_put(store)
            calls = self.calls(store, sealed)
            finish, _, given_up = together(*calls)
            lives = store.rows(f"SELECT state FROM shares WHERE id = '{sealed.id}'") == [("live",)]
            assert lives is not isinstance(finish, type)
            assert given_up == (NotOpen if lives else None)
            assert not lives or store.read(sealed.token) == DATA
        store.pass_time(GRACE)  # where a put came between, the sweep has to remove what was given up
        assert len(set(store.sums())) == 1

    def calls(self, store: Store, sealed: ByHand) -> list[Callable[[], object]]:
        """What may happen to an upload at once."""
        return [
            lambda: sealed.finish(store),
            lambda: sealed.put(store, 1, b"another"),
            lambda: store.uploads.give_up(sealed.id, sealed.owner),
        ]


class StagedClock(Clock):
    """A clock that calls back when it is asked next."""

    then: Callable[[], object] | None = None

    def __call__(self) -> float:
        then, self.then = self.then, None
        if then:
            then()
        return super().__call__()


def owner_of(store: Store, share: str) -> bytes:
    """The hash of the owner token of an upload."""
    found = store.records.upload(share)
    assert found is not None
    return found.owner_hash


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
    receipt = disk.uploads.receive(iter(files), proven=lambda: True, terms=Terms)
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
            store.open(token)


class TestWhatIsThere:
    """Finish believes the disk, not the records alone, and leaves nothing there that no record names."""

    def test_a_part_whose_file_is_gone_cannot_be_finished(self, store: Store) -> None:
        SEALED.begin_and_put(store)
        (part, *_) = store.records.parts(SEALED.id, 1)
        store.blobs.remove(SEALED.id, part.name)
        with pytest.raises(Unprocessable, match="put it again"):
            SEALED.finish(store)

    def test_put_again_it_can(self, store: Store) -> None:
        SEALED.begin_and_put(store)
        (part, *_) = store.records.parts(SEALED.id, 1)
        store.blobs.remove(SEALED.id, part.name)
        SEALED.put(store, 1)
        SEALED.finish(store)
        assert store.read(SEALED.token) == DATA

    def test_what_a_crash_left_goes_with_the_finish(self, disk: Store) -> None:
        SEALED.begin_and_put(disk)
        left = disk.folder / "blobs" / SEALED.id / "0-0123456789abcdef.tmp"
        left.write_bytes(b"half a part")
        SEALED.finish(disk)
        assert not left.exists()

    def test_room_is_looked_at_while_a_part_arrives(self, tmp_path: Path, clock: Clock) -> None:
        room = 2 * MAX_PART
        with closing(Store(MemoryBlobs(room), tmp_path, clock, min_free=MAX_PART)) as store:
            SEALED.begin(store)
            with pytest.raises(NoRoom):
                store.uploads.put(SEALED.id, SEALED.owner, 0, self.crowded(store), None)

    def crowded(self, store: Store) -> Iterator[bytes]:
        """A part, while the room is filled by another."""
        yield bytes(MIB)
        store.blobs.put(BLOB, 0, [bytes(MAX_PART)])
        yield bytes(MIB)
