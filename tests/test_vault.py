"""Finished shares: what a link opens, that all else is one answer, what owners may do, and how a share ends."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onekey import links
from onekey.blobs import Blobs, DiskBlobs, MemoryBlobs
from onekey.container import HEADER_SIZE, OVERHEAD, File, Sealer
from onekey.errors import (
    BadRequest,
    ContainerError,
    Damaged,
    NotFound,
    OnekeyError,
    PasswordNeeded,
    SealedOnly,
    Taken,
)
from onekey.records import FAR_AHEAD, NewShare, PartRecord
from onekey.vault import GRACE, HELD, IDLE, Swept, Vault
from tests.conftest import Clock
from tests.test_uploads import BLOB, LARGE, NOTHING, C, K, Store, content

SEED = bytes(range(24))
TOKEN = links.write_token(SEED)
OWNER = bytes(range(100, 124))
OWNER_TOKEN = links.write_token(OWNER)
STEP = C + OVERHEAD
DAY = 86_400


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


class ByHand:
    """A container stored by hand, with k chunks in a part, so that small shares have many parts."""

    def __init__(self, data: bytes, *, k: int = 2, files: int = 1, **options: Any) -> None:
        if "password" in options:
            options |= {"iterations": 1, "memory": 13}
        sealer = Sealer(SEED, chunk_size=C, **options)
        each = len(data) // files
        entries = [File(f"{number}", "a/b", each) for number in range(files - 1)]
        entries.append(File(f"{files - 1}", "a/b", len(data) - each * (files - 1)))
        chunks = sealer.update(data)
        *rest, end = sealer.finish(entries)
        chunks += rest
        self.k, self.header, self.access = k, sealer.header.pack(), sealer.keys.access
        parts = [b"".join(chunks[start : start + k]) for start in range(0, len(chunks), k)]
        if len(chunks) % k == 0:
            parts.append(b"")
        parts[0] = self.header + parts[0]
        parts[-1] += end
        self.parts = parts

    def store(self, store: Store, **changes: Any) -> list[PartRecord]:
        """Store it, with changes to its record; gives what was recorded of the parts."""
        fields: dict[str, Any] = {
            "id": links.blob_id(SEED),
            "header": self.header,
            "part_chunks": self.k,
            "knock_hash": links.fingerprint(links.knock(SEED)),
            "access_hash": links.fingerprint(self.access),
            "owner_hash": links.fingerprint(OWNER),
            "created": int(store.clock()),
        }
        expires = changes.pop("expires", None)
        new = NewShare(**(fields | changes))
        store.records.begin(new)
        for number, data in enumerate(self.parts):
            store.uploads.put_part(new.id, number, [data])
        parts = store.records.parts(new.id, 0, 999)
        store.records.finish(new.id, parts, expires, int(store.clock()))
        return list(parts)


class TestRead:
    """What an opened share gives."""

    @pytest.mark.parametrize("k", [1, 2, 3, 100])
    @pytest.mark.parametrize("size", [0, 1, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1, 6 * C - 1, 6 * C, 6 * C + 1])
    def test_a_share_is_read_whole_however_it_lies_in_parts(self, store: Store, size: int, k: int) -> None:
        ByHand(content(size), k=k).store(store)
        assert store.read(TOKEN) == content(size)

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_any_range_is_read(self, store: Store, k: int) -> None:
        data = content(6 * C - 5)
        ByHand(data, k=k).store(store)
        edges = sorted({max(0, min(len(data), number * C + by)) for number in range(7) for by in (-1, 0, 1)})
        ranges = list(itertools.combinations_with_replacement(edges, 2))
        opened = store.vault.open(TOKEN)
        found = [b"".join(opened.read(0, start, stop)) for start, stop in ranges]
        opened.close()
        assert found == [data[start:stop] for start, stop in ranges]

    def test_ranges_across_large_parts_are_read(self, make_store: Callable[..., Store]) -> None:
        store, data = make_store(chunk_size=LARGE), content(K * LARGE + 10)
        token, edge = store.receive(data).token, K * LARGE
        assert store.read(token, 0, edge - 5, edge + 5) == data[edge - 5 : edge + 5]

    def test_a_range_to_past_the_end_of_a_file_ends_with_it(self, store: Store) -> None:
        token = store.receive(b"first", b"second").token
        assert store.read(token, 0, 2, 9) == b"rst"

    @pytest.mark.parametrize("number", range(7))
    def test_files_do_not_run_into_each_other(self, store: Store, number: int) -> None:
        data = content(5 * C + 11)
        ByHand(data, files=7).store(store)
        each = len(data) // 7
        stop = None if number == 6 else (number + 1) * each
        assert store.read(TOKEN, number) == data[number * each : stop]

    def test_several_readers_of_one_share_do_not_meet(self, store: Store) -> None:
        data = content(6 * C)
        ByHand(data).store(store)
        first, second = store.vault.open(TOKEN), store.vault.open(TOKEN)
        pairs = list(zip(first.read(0), second.read(0), strict=True))
        assert [b"".join(side) for side in zip(*pairs, strict=True)] == [data, data]

    def test_two_ranges_of_one_opened_share_do_not_meet(self, store: Store) -> None:
        data = content(6 * C)
        ByHand(data).store(store)
        opened = store.vault.open(TOKEN)
        pairs = list(zip(opened.read(0, 0, 3 * C), opened.read(0, 3 * C, 6 * C), strict=True))
        assert b"".join(b"".join(side) for side in zip(*pairs, strict=True)) == data

    def test_no_more_is_read_than_is_asked_for(self, store: Store) -> None:
        sealed = ByHand(content(6 * C))
        sealed.parts[1] = bytes(len(sealed.parts[1]))
        sealed.store(store)
        assert store.read(TOKEN, 0, 0, 2 * C) == content(6 * C)[: 2 * C]

    def test_the_etag_does_not_change(self, store: Store) -> None:
        token = store.receive(b"abc").token
        assert store.vault.open(token).etag(0) == store.vault.open(token).etag(0)

    def test_each_file_has_an_etag_of_its_own_and_so_has_the_whole(self, store: Store) -> None:
        opened = store.vault.open(store.receive(b"abc", b"abc").token)
        assert len({opened.etag(number) for number in (-1, 0, 1)}) == 3

    def test_the_same_content_has_another_etag_in_another_share(self, store: Store) -> None:
        tags = {store.vault.open(store.receive(b"abc").token).etag(0) for _ in range(2)}
        assert len(tags) == 2

    def test_the_etag_says_nothing_of_the_link(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        tag = store.vault.open(receipt.token).etag(0)
        assert receipt.token not in tag
        assert receipt.id not in tag

    def test_closing_lets_go_of_the_stored_bytes(self, disk: Store) -> None:
        ByHand(content(3 * C)).store(disk)
        before = open_parts(disk.folder)
        opened = disk.vault.open(TOKEN)
        pieces = opened.read(0)
        next(pieces)
        during = open_parts(disk.folder)
        opened.close()
        assert (before, during, open_parts(disk.folder)) == (0, 1, 0)

    def test_a_reader_holds_one_part_at_a_time(self, disk: Store) -> None:
        ByHand(content(20 * C), k=1).store(disk)
        opened = disk.vault.open(TOKEN)
        assert {open_parts(disk.folder) for _ in opened.read(0)} == {1}
        opened.close()


def open_parts(folder: Path) -> int:
    """How many files of blobs in a folder this process has open."""
    found = 0
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found += entry.readlink().is_relative_to(folder / "blobs")
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found


class TestNotFound:
    """Expired, deleted, wrong, malformed and never there: one answer, in the same words."""

    @pytest.fixture
    def words(self, store: Store) -> str:
        """What is said of a link that was never there."""
        with pytest.raises(NotFound) as caught:
            store.vault.open(links.write_token(links.new_seed()))
        return str(caught.value)

    def check(self, store: Store, token: str, words: str) -> None:
        """That a link is not found, in these words and no others."""
        with pytest.raises(OnekeyError) as caught:
            store.vault.open(token)
        assert (type(caught.value), str(caught.value), caught.value.__cause__) == (NotFound, words, None)

    @pytest.mark.parametrize(
        "token", ["", "a", TOKEN[:-1], TOKEN + "A", TOKEN[:-1] + "=", "../../../../etc/passwd", "ü" * 32, "\0" * 32]
    )
    def test_what_is_no_token(self, store: Store, words: str, token: str) -> None:
        self.check(store, token, words)

    def test_an_owner_token(self, store: Store, words: str) -> None:
        self.check(store, store.receive(b"abc").owner, words)

    def test_a_blob_id(self, store: Store, words: str) -> None:
        self.check(store, store.receive(b"abc").id, words)

    def test_a_token_that_differs_in_one_character(self, store: Store, words: str) -> None:
        token = store.receive(b"abc").token
        self.check(store, token[:-1] + ("A" if token[-1] != "A" else "B"), words)

    def test_a_wrong_knock(self, store: Store, words: str) -> None:
        ByHand(b"abc").store(store, knock_hash=bytes(32))
        self.check(store, TOKEN, words)

    def test_a_wrong_key(self, store: Store, words: str) -> None:
        sealed = ByHand(b"abc")
        sealed.store(store, header=sealed.header[:-1] + bytes([sealed.header[-1] ^ 1]))
        self.check(store, TOKEN, words)

    def test_an_upload_that_is_not_finished(self, store: Store, words: str) -> None:
        ByHand(b"abc").store(store, id=links.blob_id(bytes(24)))
        store.begin(links.blob_id(SEED))
        self.check(store, TOKEN, words)

    def test_a_share_that_was_deleted(self, store: Store, words: str) -> None:
        receipt = store.receive(b"abc")
        store.vault.delete(receipt.id, receipt.owner)
        self.check(store, receipt.token, words)

    def test_a_share_that_has_expired(self, store: Store, words: str) -> None:
        token = store.receive(b"abc", expires=10).token
        store.clock.now += 10
        self.check(store, token, words)

    def test_a_share_that_was_marked_dead(self, store: Store, words: str) -> None:
        token = store.receive(b"abc", expires=10).token
        store.clock.now += 10
        store.vault.sweep()
        store.clock.now -= 10
        self.check(store, token, words)

    def test_a_share_that_was_swept(self, store: Store, words: str) -> None:
        token = store.receive(b"abc", expires=10).token
        store.pass_time(10, GRACE)
        assert store.stored() == 0
        self.check(store, token, words)

    def test_a_share_is_there_until_it_expires(self, store: Store) -> None:
        token = store.receive(b"abc", expires=10).token
        store.clock.now += 9
        assert store.read(token) == b"abc"

    def test_the_words_do_not_repeat_the_token(self, words: str) -> None:
        assert TOKEN not in words


class TestWhatTheServerMayNotOpen:
    """Shares that have to be opened where their reader is."""

    def test_a_sealed_only_share_is_refused(self, store: Store) -> None:
        ByHand(b"abc", sealed_only=True).store(store)
        with pytest.raises(SealedOnly):
            store.vault.open(TOKEN)

    def test_a_sealed_only_share_is_not_found_without_the_right_knock(self, store: Store) -> None:
        ByHand(b"abc", sealed_only=True).store(store, knock_hash=bytes(32))
        with pytest.raises(NotFound):
            store.vault.open(TOKEN)

    def test_a_share_with_a_password_is_not_opened_without(self, store: Store) -> None:
        ByHand(b"abc", password="secret").store(store)
        with pytest.raises(PasswordNeeded):
            store.vault.open(TOKEN)


class TestDamage:
    """What is damaged, missing, cut or swapped is Damaged, and nothing wrong is ever given."""

    DATA = content(7 * C)

    def check(self, store: Store) -> None:
        """That reading ends in Damaged, and that all that came before is right."""
        found = bytearray()

        def read() -> None:
            for piece in store.vault.open(TOKEN).read(0):
                found.extend(piece)

        with pytest.raises(Damaged):
            read()
        assert self.DATA.startswith(found)
        assert len(found) < len(self.DATA)

    @pytest.mark.parametrize(
        ("part", "at"),
        [(0, HEADER_SIZE), (0, HEADER_SIZE + STEP - 1), (0, -1), (1, 0), (1, STEP), (2, 7), (3, 0), (3, STEP - 1)],
    )
    def test_a_changed_byte_of_content(self, store: Store, part: int, at: int) -> None:
        sealed = ByHand(self.DATA)
        changed = bytearray(sealed.parts[part])
        changed[at] ^= 1
        sealed.parts[part] = bytes(changed)
        sealed.store(store)
        self.check(store)

    @pytest.mark.parametrize("at", [-1, -3, -5, -100, -288])
    def test_a_changed_byte_of_trailer_or_index(self, store: Store, at: int) -> None:
        sealed = ByHand(self.DATA)
        changed = bytearray(sealed.parts[-1])
        changed[at] ^= 1
        sealed.parts[-1] = bytes(changed)
        sealed.store(store)
        with pytest.raises(ContainerError):
            store.vault.open(TOKEN)

    @pytest.mark.parametrize("first", range(4))
    @pytest.mark.parametrize("second", range(4))
    def test_parts_in_each_others_place(self, store: Store, first: int, second: int) -> None:
        sealed = ByHand(self.DATA)
        if first == second:
            sealed.parts[first] = sealed.parts[first - 1]
        else:
            sealed.parts[first], sealed.parts[second] = sealed.parts[second], sealed.parts[first]
        sealed.store(store)
        with pytest.raises(ContainerError):
            store.read(TOKEN)

    @pytest.mark.parametrize("number", range(4))
    def test_a_part_that_is_not_there(self, store: Store, number: int) -> None:
        parts = ByHand(self.DATA).store(store)
        store.blobs.remove(links.blob_id(SEED), parts[number].name)
        self.check(store)

    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("cut", [1, STEP, 1 << 20])
    def test_a_part_that_was_cut(self, disk: Store, number: int, cut: int) -> None:
        parts = ByHand(self.DATA).store(disk)
        file = disk.folder / "blobs" / links.blob_id(SEED) / parts[number].name
        file.write_bytes(file.read_bytes()[:-cut])
        self.check(disk)

    def test_a_part_that_grew_is_read_as_it_was(self, disk: Store) -> None:
        parts = ByHand(self.DATA).store(disk)
        for part in parts:
            with (disk.folder / "blobs" / links.blob_id(SEED) / part.name).open("ab") as file:
                file.write(b"more")
        assert disk.read(TOKEN) == self.DATA

    def test_a_folder_that_is_gone(self, store: Store) -> None:
        ByHand(self.DATA).store(store)
        store.blobs.purge(links.blob_id(SEED))
        with pytest.raises(Damaged):
            store.vault.open(TOKEN)

    def test_a_part_in_whose_place_a_folder_lies(self, disk: Store) -> None:
        parts = ByHand(self.DATA).store(disk)
        file = disk.folder / "blobs" / links.blob_id(SEED) / parts[2].name
        file.unlink()
        file.mkdir()
        self.check(disk)

    @pytest.mark.parametrize("name", ["../x", "/etc/passwd", f"../{BLOB}/0-0123456789abcdef", ""])
    def test_a_name_in_the_database_that_cannot_be(self, store: Store, name: str) -> None:
        ByHand(self.DATA).store(store)
        store.change("UPDATE parts SET name = ? WHERE number = 1", name)
        self.check(store)

    def test_a_part_that_the_database_has_lost(self, store: Store) -> None:
        ByHand(self.DATA).store(store)
        store.change("DELETE FROM parts WHERE number = ?", 1)
        self.check(store)

    @pytest.mark.parametrize("column", ["size", "part_chunks"])
    @pytest.mark.parametrize("value", [-1, 0, 1, 96, 380, 384, 1000, STEP, 3, 5, 1 << 20, 1 << 40, 1 << 62])
    def test_numbers_in_the_database_that_cannot_be(self, store: Store, column: str, value: int) -> None:
        ByHand(self.DATA).store(store)
        store.change(f"UPDATE shares SET {column} = ?", value)
        with pytest.raises(ContainerError):
            store.read(TOKEN)

    @pytest.mark.parametrize("value", [-1, 0, 1, 2 * STEP, 1 << 40, 1 << 62])
    def test_a_size_of_the_last_part_that_cannot_be(self, store: Store, value: int) -> None:
        ByHand(self.DATA).store(store)
        store.change("UPDATE parts SET size = ? WHERE number = 3", value)
        with pytest.raises(ContainerError):
            store.read(TOKEN)

    @pytest.mark.parametrize("header", [b"", b"1KEY", bytes(HEADER_SIZE), b"x" * HEADER_SIZE], ids=len)
    def test_a_header_in_the_database_that_cannot_be(self, store: Store, header: bytes) -> None:
        ByHand(self.DATA).store(store)
        store.change("UPDATE shares SET header = ?", header)
        with pytest.raises(ContainerError):
            store.vault.open(TOKEN)

    @pytest.mark.parametrize("at", [8, 20, 33, 63])
    def test_a_changed_byte_of_the_header_in_the_database(self, store: Store, at: int) -> None:
        sealed = ByHand(self.DATA)
        changed = bytearray(sealed.header)
        changed[at] ^= 1
        sealed.store(store, header=bytes(changed))
        with pytest.raises((ContainerError, NotFound)):
            store.vault.open(TOKEN)

    def test_other_shares_are_read_all_the_same(self, store: Store) -> None:
        kept = store.receive(b"kept")
        ByHand(self.DATA).store(store)
        store.blobs.purge(links.blob_id(SEED))
        assert store.read(kept.token) == b"kept"


class TestOwner:
    """The owner token is the only right to change or delete, and the link does not contain it."""

    def test_an_owner_sees_id_size_and_times(self, store: Store) -> None:
        receipt, now = store.receive(b"abc", expires=50), int(store.clock())
        found = store.vault.owned(receipt.id, receipt.owner)
        size = HEADER_SIZE + 3 + OVERHEAD + 256 + OVERHEAD + 4
        assert (found.id, found.size, found.created, found.expires) == (receipt.id, size, now, now + 50)

    @pytest.mark.parametrize("call", ["owned", "expire", "delete"])
    @pytest.mark.parametrize("wrong", ["the link's", "another share's", "none", "malformed", "blob id", "unknown"])
    def test_any_other_token_is_not_found(self, store: Store, call: str, wrong: str) -> None:
        receipt, other = store.receive(b"abc"), store.receive(b"other")
        tokens = {
            "the link's": receipt.token,
            "another share's": other.owner,
            "none": "",
            "malformed": receipt.owner + "=",
            "blob id": receipt.id,
            "unknown": OWNER_TOKEN,
        }
        self.check(store.vault, call, receipt.id, tokens[wrong])
        assert store.read(receipt.token) == b"abc"

    @pytest.mark.parametrize("call", ["owned", "expire", "delete"])
    @pytest.mark.parametrize("share", [BLOB, "", "../x", "' OR 1 --", "%"])
    def test_the_right_token_of_another_share_is_not_found(self, store: Store, call: str, share: str) -> None:
        self.check(store.vault, call, share, store.receive(b"abc").owner)

    @pytest.mark.parametrize("call", ["owned", "expire", "delete"])
    @pytest.mark.parametrize("end", ["expired", "deleted"])
    def test_what_has_ended_is_not_found(self, store: Store, call: str, end: str) -> None:
        receipt = store.receive(b"abc", expires=10)
        if end == "expired":
            store.clock.now += 10
        else:
            store.vault.delete(receipt.id, receipt.owner)
        self.check(store.vault, call, receipt.id, receipt.owner)

    @pytest.mark.parametrize("call", ["owned", "expire", "delete"])
    def test_an_open_upload_has_no_owner(self, store: Store, call: str) -> None:
        store.begin()
        self.check(store.vault, call, BLOB, links.write_token(bytes(24)))

    def check(self, vault: Vault, call: str, share: str, owner: str) -> None:
        """That this is not found, in the words that are said of links."""
        calls: dict[str, Callable[[], object]] = {
            "owned": lambda: vault.owned(share, owner),
            "expire": lambda: vault.expire(share, owner, 10),
            "delete": lambda: vault.delete(share, owner),
        }
        with pytest.raises(NotFound) as link:
            vault.open("")
        with pytest.raises(NotFound) as caught:
            calls[call]()
        assert str(caught.value) == str(link.value)

    @pytest.mark.parametrize("after", [1, 60, 10_000])
    def test_a_new_expiry_counts_from_now(self, store: Store, after: int) -> None:
        receipt = store.receive(b"abc", expires=50)
        store.clock.now += 40
        store.vault.expire(receipt.id, receipt.owner, after)
        assert store.vault.owned(receipt.id, receipt.owner).expires == int(store.clock()) + after

    def test_a_share_can_be_made_to_stay(self, store: Store) -> None:
        receipt = store.receive(b"abc", expires=50)
        store.vault.expire(receipt.id, receipt.owner, None)
        store.clock.now += 1000 * DAY
        assert store.read(receipt.token) == b"abc"

    def test_a_share_can_be_made_to_end(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        store.vault.expire(receipt.id, receipt.owner, 5)
        store.clock.now += 5
        with pytest.raises(NotFound):
            store.vault.open(receipt.token)

    def test_the_longest_expiry_is_taken(self, make_store: Callable[..., Store]) -> None:
        store = make_store(max_expiry=100)
        receipt = store.receive(b"abc", expires=10)
        store.vault.expire(receipt.id, receipt.owner, 100)
        assert store.vault.owned(receipt.id, receipt.owner).expires == int(store.clock()) + 100

    @pytest.mark.parametrize("after", [101, None])
    def test_a_longer_one_is_refused_and_changes_nothing(
        self, make_store: Callable[..., Store], after: int | None
    ) -> None:
        store = make_store(max_expiry=100)
        receipt = store.receive(b"abc", expires=10)
        with pytest.raises(BadRequest, match="100 seconds"):
            store.vault.expire(receipt.id, receipt.owner, after)
        assert store.vault.owned(receipt.id, receipt.owner).expires == receipt.expires


class TestDelete:
    """An owner's delete is at once and for good."""

    def test_it_leaves_nothing_but_a_tombstone(self, store: Store) -> None:
        receipt = store.receive(content(3 * C))
        store.vault.delete(receipt.id, receipt.owner)
        assert store.left() == ([], [], [(bytes.fromhex(receipt.id),)], 0)

    def test_the_folder_of_the_blob_is_gone(self, disk: Store) -> None:
        receipt = disk.receive(b"abc")
        disk.vault.delete(receipt.id, receipt.owner)
        assert list((disk.folder / "blobs").iterdir()) == []

    def test_the_link_can_never_open_something_new(self, store: Store) -> None:
        sealed = ByHand(b"abc")
        sealed.store(store)
        store.vault.delete(links.blob_id(SEED), OWNER_TOKEN)
        with pytest.raises(Taken):
            sealed.store(store)

    def test_other_shares_stay(self, store: Store) -> None:
        kept, gone = store.receive(b"kept"), store.receive(b"gone")
        store.vault.delete(gone.id, gone.owner)
        assert store.read(kept.token) == b"kept"

    def test_what_could_not_be_removed_is_not_found_all_the_same(self, disk: Store) -> None:
        receipt = disk.receive(b"abc")
        (disk.folder / "blobs" / receipt.id / "folder").mkdir()  # what unlink cannot remove
        disk.vault.delete(receipt.id, receipt.owner)
        with pytest.raises(NotFound):
            disk.vault.open(receipt.token)

    def test_what_could_not_be_removed_is_left_to_the_sweep(self, disk: Store) -> None:
        receipt = disk.receive(b"abc")
        block = disk.folder / "blobs" / receipt.id / "folder"
        block.mkdir()
        disk.vault.delete(receipt.id, receipt.owner)
        block.rmdir()
        disk.pass_time(GRACE)
        assert disk.left() == ([], [], [(bytes.fromhex(receipt.id),)], 0)


class TestSweep:
    """The vault's rule 9: marked first, then not found, then removed, the record last."""

    def test_there_is_nothing_to_do_at_first(self, store: Store) -> None:
        assert store.vault.sweep() == Swept()

    def test_what_lives_is_left_alone(self, store: Store) -> None:
        receipt = store.receive(b"abc", expires=100)
        assert store.vault.sweep() == Swept()
        assert store.read(receipt.token) == b"abc"

    def test_what_never_expires_is_left_alone(self, store: Store) -> None:
        token = store.receive(b"abc").token
        store.pass_time(10 * DAY)
        assert store.read(token) == b"abc"

    def test_what_expired_is_marked(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.clock.now += 10
        assert store.vault.sweep() == Swept(marked=1)

    def test_its_parts_stay_for_the_grace(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        before = store.stored()
        store.pass_time(10, GRACE - 1)
        assert store.stored() == before

    def test_they_go_after_it(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.pass_time(10, GRACE)
        assert store.stored() == 0

    def test_a_sweep_tells_what_it_removed(self, store: Store) -> None:
        for _ in range(3):
            store.receive(b"abc", expires=10)
        store.pass_time(10, GRACE - 1)
        store.clock.now += 1
        assert store.vault.sweep() == Swept(removed=3)

    def test_a_share_that_expired_leaves_its_tombstone(self, store: Store) -> None:
        share = store.receive(b"abc", expires=10).id
        store.pass_time(10, GRACE)
        assert store.left() == ([], [], [(bytes.fromhex(share),)], 0)

    def test_the_grace_counts_from_the_mark(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.clock.now += DAY
        store.vault.sweep()
        store.pass_time(GRACE - 1)
        assert store.stored() > 0

    @pytest.mark.parametrize(("idle", "marked"), [(IDLE - 1, 0), (IDLE, 1)])
    def test_an_upload_without_activity_for_a_day_is_marked(self, store: Store, idle: int, marked: int) -> None:
        store.begin()
        store.clock.now += idle
        assert store.vault.sweep() == Swept(marked=marked)

    @pytest.mark.parametrize(("idle", "marked"), [(IDLE - 1, 0), (IDLE, 1)])
    def test_a_part_is_activity(self, store: Store, idle: int, marked: int) -> None:
        store.begin()
        store.clock.now += 500
        store.uploads.put_part(BLOB, 0, [b"abc"])
        store.clock.now += idle
        assert store.vault.sweep() == Swept(marked=marked)

    def test_an_idle_upload_leaves_nothing(self, store: Store) -> None:
        store.begin()
        store.uploads.put_part(BLOB, 0, [b"abc"])
        store.pass_time(IDLE, GRACE)
        assert store.left() == NOTHING

    def test_what_no_record_names_goes_with_its_blob(self, store: Store) -> None:
        store.begin()
        store.blobs.put(BLOB, 0, [b"put, and then the process died"])
        store.pass_time(IDLE, GRACE)
        assert store.left() == NOTHING

    def test_what_cannot_be_removed_is_left_for_the_next_time(self, disk: Store) -> None:
        blocked, free = disk.receive(b"abc", expires=10), disk.receive(b"def", expires=10)
        (disk.folder / "blobs" / blocked.id / "folder").mkdir()
        disk.pass_time(10, GRACE - 1)
        disk.clock.now += 1
        assert disk.vault.sweep() == Swept(removed=1, left=1)
        assert [path.name for path in (disk.folder / "blobs").iterdir()] == [blocked.id]
        assert free.id not in str(disk.rows("SELECT id FROM shares"))

    def test_the_record_goes_last(self, disk: Store) -> None:
        share = disk.receive(b"abc", expires=10).id
        (disk.folder / "blobs" / share / "folder").mkdir()
        disk.pass_time(10, GRACE)
        assert disk.rows("SELECT id, state FROM shares") == [(share, "dead")]

    def test_the_next_time_removes_it(self, disk: Store) -> None:
        share = disk.receive(b"abc", expires=10).id
        block = disk.folder / "blobs" / share / "folder"
        block.mkdir()
        disk.pass_time(10, GRACE)
        block.rmdir()
        assert disk.vault.sweep() == Swept(removed=1)
        assert disk.left() == ([], [], [(bytes.fromhex(share),)], 0)

    def test_an_id_in_the_database_that_cannot_be_does_not_stop_it(self, store: Store) -> None:
        for expires in (10, 20):
            store.receive(b"abc", expires=expires)
        store.change("UPDATE shares SET id = ? WHERE expires = (SELECT min(expires) FROM shares)", "../x")
        store.pass_time(20, GRACE)
        assert store.rows("SELECT id FROM shares") == [("../x",)]


class TestClock:
    """A clock that is wrong deletes nothing early."""

    def test_one_that_jumps_back_marks_nothing(self, store: Store) -> None:
        receipt = store.receive(b"abc", expires=100)
        store.clock.now -= 1000 * DAY
        assert store.vault.sweep() == Swept()
        assert store.read(receipt.token) == b"abc"

    def test_one_that_jumps_back_removes_nothing(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.pass_time(10)
        store.clock.now -= 1000 * DAY
        store.vault.sweep()
        assert store.stored() > 0

    def test_one_that_jumps_back_lets_open_uploads_go_on(self, store: Store) -> None:
        store.begin()
        store.clock.now -= 1000 * DAY
        store.vault.sweep()
        store.uploads.put_part(BLOB, 0, [b"abc"])

    def test_after_a_jump_back_things_end_when_they_should(self, store: Store) -> None:
        token = store.receive(b"abc", expires=100).token
        store.clock.now -= 10
        store.vault.sweep()
        store.clock.now += 110
        assert store.vault.sweep() == Swept(marked=1)
        with pytest.raises(NotFound):
            store.vault.open(token)

    def test_one_that_is_a_day_ahead_is_believed(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.clock.now += FAR_AHEAD
        assert store.vault.sweep() == Swept(marked=1)

    def test_one_that_is_further_ahead_sweeps_nothing(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.clock.now += FAR_AHEAD + 1
        assert store.vault.sweep() == Swept(clock_ahead=True)
        assert [state for (state,) in store.rows("SELECT state FROM shares")] == ["live"]

    def test_one_that_is_far_ahead_removes_nothing(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.pass_time(10)
        store.clock.now += 100 * DAY
        store.vault.sweep()
        assert store.stored() > 0

    def ahead(self, store: Store, days: int = 100) -> None:
        """Put the clock far ahead, and let a sweep see it."""
        store.clock.now += days * DAY
        assert store.vault.sweep().clock_ahead

    @pytest.mark.parametrize(("held", "believed"), [(0, False), (HELD - 1, False), (HELD, True), (HELD + 1, True)])
    def test_it_is_believed_when_it_held_for_an_hour(self, store: Store, held: int, believed: bool) -> None:
        store.receive(b"abc", expires=10)
        self.ahead(store)
        store.clock.now += held
        assert store.vault.sweep() == (Swept(marked=1) if believed else Swept(clock_ahead=True))

    def test_once_believed_it_stays_believed(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        self.ahead(store)
        store.clock.now += HELD
        store.vault.sweep()
        store.receive(b"abc", expires=10)
        store.clock.now += 10
        assert store.vault.sweep() == Swept(marked=1)

    def test_the_hour_begins_again_when_the_clock_was_right_between(self, store: Store) -> None:
        store.receive(b"abc", expires=DAY)
        before = store.clock.now
        self.ahead(store)
        store.clock.now = before + 60
        store.vault.sweep()
        store.clock.now = before + 100 * DAY + HELD
        assert store.vault.sweep() == Swept(clock_ahead=True)

    @pytest.mark.parametrize(("held", "believed"), [(HELD - 1, False), (HELD, True)])
    def test_the_hour_begins_again_when_the_clock_goes_back_a_little(
        self, store: Store, held: int, believed: bool
    ) -> None:
        store.receive(b"abc", expires=10)
        self.ahead(store)
        store.clock.now -= 10 * DAY
        store.vault.sweep()
        store.clock.now += held
        assert store.vault.sweep() == (Swept(marked=1) if believed else Swept(clock_ahead=True))

    def test_links_live_again_when_it_is_put_right(self, store: Store) -> None:
        token = store.receive(b"abc", expires=DAY).token
        before = store.clock.now
        self.ahead(store)
        store.clock.now = before
        assert store.read(token) == b"abc"

    def test_uploads_under_it_do_not_make_it_believed(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        store.clock.now += 100 * DAY
        for _ in range(3):
            store.receive(b"new")
        assert store.vault.sweep() == Swept(clock_ahead=True)

    def test_uploads_under_it_do_not_shorten_the_hour(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        self.ahead(store)
        store.clock.now += HELD - 1
        store.receive(b"new")
        assert store.vault.sweep() == Swept(clock_ahead=True)

    def test_days_of_uploads_without_a_sweep_are_believed(self, store: Store) -> None:
        store.receive(b"abc", expires=10)
        for _ in range(5):
            store.clock.now += DAY
            store.receive(b"new")
        assert store.vault.sweep() == Swept(marked=1)


def test_a_check_of_what_works_is_silent(store: Store) -> None:
    store.vault.check()


def test_a_check_raises_what_is_wrong_with_the_disk(disk: Store) -> None:
    (disk.folder / "blobs").rmdir()
    with pytest.raises(FileNotFoundError):
        disk.vault.check()
