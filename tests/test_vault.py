"""Finished shares: what a link opens, that all else is one answer, what owners may do, and how a share ends."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from onekey import links
from onekey.blobs import DiskBlobs
from onekey.container import HEADER_SIZE, OVERHEAD, STEM_SIZE, TRAILER_SIZE, BytesSource, Opener
from onekey.errors import (
    BadRequest,
    Busy,
    ContainerError,
    Damaged,
    LeaseNeeded,
    NotFound,
    OnekeyError,
    PasswordNeeded,
    SealedOnly,
    Taken,
    TooMany,
    Unprocessable,
    WrongPassword,
)
from onekey.limits import HOUR, LONGEST_LEASE
from onekey.passwords import AT_ONCE, Passwords, Tried
from onekey.records import FAR_AHEAD
from onekey.vault import GRACE, GUESSES, HELD, IDLE, SECRETS, Owned, Swept, Vault
from tests.conftest import Clock
from tests.servers import wait_for
from tests.stores import (
    BLOB,
    CLIENT,
    DAY,
    LARGE,
    NOTHING,
    OTHER_CLIENT,
    OWNER_TOKEN,
    SEED,
    STEP,
    TOKEN,
    ByHand,
    C,
    K,
    Staged,
    Store,
    content,
    left_of,
    shown,
    together,
)

LEASE_TIME = 3600


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
        opened = store.open(TOKEN)
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
        first, second = store.open(TOKEN), store.open(TOKEN)
        pairs = list(zip(first.read(0), second.read(0), strict=True))
        assert [b"".join(side) for side in zip(*pairs, strict=True)] == [data, data]

    def test_two_ranges_of_one_opened_share_do_not_meet(self, store: Store) -> None:
        data = content(6 * C)
        ByHand(data).store(store)
        opened = store.open(TOKEN)
        pairs = list(zip(opened.read(0, 0, 3 * C), opened.read(0, 3 * C, 6 * C), strict=True))
        assert b"".join(b"".join(side) for side in zip(*pairs, strict=True)) == data

    def test_no_more_is_read_than_is_asked_for(self, store: Store) -> None:
        sealed = ByHand(content(6 * C))
        sealed.parts[1] = bytes(len(sealed.parts[1]))
        sealed.store(store)
        assert store.read(TOKEN, 0, 0, 2 * C) == content(6 * C)[: 2 * C]

    def test_the_etag_does_not_change(self, store: Store) -> None:
        token = store.receive(b"abc").token
        assert store.open(token).etag(0) == store.open(token).etag(0)

    def test_each_file_has_an_etag_of_its_own_and_so_has_the_whole(self, store: Store) -> None:
        opened = store.open(store.receive(b"abc", b"abc").token)
        assert len({opened.etag(number) for number in (-1, 0, 1)}) == 3

    def test_the_same_content_has_another_etag_in_another_share(self, store: Store) -> None:
        tags = {store.open(store.receive(b"abc").token).etag(0) for _ in range(2)}
        assert len(tags) == 2

    def test_the_etag_says_nothing_of_the_link(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        tag = store.open(receipt.token).etag(0)
        assert receipt.token not in tag
        assert receipt.id not in tag

    def test_closing_lets_go_of_the_stored_bytes(self, disk: Store) -> None:
        ByHand(content(3 * C)).store(disk)
        before = open_parts(disk.folder)
        opened = disk.open(TOKEN)
        pieces = opened.read(0)
        next(pieces)
        during = open_parts(disk.folder)
        opened.close()
        assert (before, during, open_parts(disk.folder)) == (0, 1, 0)

    def test_a_reader_holds_one_part_at_a_time(self, disk: Store) -> None:
        ByHand(content(20 * C), k=1).store(disk)
        opened = disk.open(TOKEN)
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
            store.open(links.write_token(links.new_seed()))
        return str(caught.value)

    def check(self, store: Store, token: str, words: str) -> None:
        """That a link is not found, in these words and no others."""
        with pytest.raises(OnekeyError) as caught:
            store.open(token)
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
            store.open(TOKEN)

    def test_a_sealed_only_share_is_not_found_without_the_right_knock(self, store: Store) -> None:
        ByHand(b"abc", sealed_only=True).store(store, knock_hash=bytes(32))
        with pytest.raises(NotFound):
            store.open(TOKEN)

    def test_a_share_with_a_password_is_not_opened_without(self, store: Store) -> None:
        ByHand(b"abc", password="secret").store(store)
        with pytest.raises(PasswordNeeded):
            store.open(TOKEN)


class TestDamage:
    """What is damaged, missing, cut or swapped is Damaged, and nothing wrong is ever given."""

    DATA = content(7 * C)

    def check(self, store: Store) -> None:
        """That reading ends in Damaged, and that all that came before is right."""
        found = bytearray()

        def read() -> None:
            for piece in store.open(TOKEN).read(0):
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
            store.open(TOKEN)

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
            store.open(TOKEN)

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
            store.open(TOKEN)

    @pytest.mark.parametrize("at", [8, 20, 33, 63])
    def test_a_changed_byte_of_the_header_in_the_database(self, store: Store, at: int) -> None:
        sealed = ByHand(self.DATA)
        changed = bytearray(sealed.header)
        changed[at] ^= 1
        sealed.store(store, header=bytes(changed))
        with pytest.raises((ContainerError, NotFound)):
            store.open(TOKEN)

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

    @pytest.mark.parametrize("call", ["owned", "change", "delete"])
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

    @pytest.mark.parametrize("call", ["owned", "change", "delete"])
    @pytest.mark.parametrize("share", [BLOB, "", "../x", "' OR 1 --", "%"])
    def test_the_right_token_of_another_share_is_not_found(self, store: Store, call: str, share: str) -> None:
        self.check(store.vault, call, share, store.receive(b"abc").owner)

    @pytest.mark.parametrize("call", ["owned", "change", "delete"])
    @pytest.mark.parametrize("end", ["expired", "deleted"])
    def test_what_has_ended_is_not_found(self, store: Store, call: str, end: str) -> None:
        receipt = store.receive(b"abc", expires=10)
        if end == "expired":
            store.clock.now += 10
        else:
            store.vault.delete(receipt.id, receipt.owner)
        self.check(store.vault, call, receipt.id, receipt.owner)

    @pytest.mark.parametrize("call", ["owned", "change", "delete"])
    def test_an_open_upload_has_no_owner(self, store: Store, call: str) -> None:
        store.begin()
        self.check(store.vault, call, BLOB, links.write_token(bytes(24)))

    def check(self, vault: Vault, call: str, share: str, owner: str) -> None:
        """That this is not found, in the words that are said of links."""
        calls: dict[str, Callable[[], object]] = {
            "owned": lambda: vault.owned(share, owner),
            "change": lambda: vault.change(share, owner, {"expires_in": 10}),
            "delete": lambda: vault.delete(share, owner),
        }
        with pytest.raises(NotFound) as link:
            vault.open("", shown())
        with pytest.raises(NotFound) as caught:
            calls[call]()
        assert str(caught.value) == str(link.value)

    @pytest.mark.parametrize("after", [1, 60, 10_000])
    def test_a_new_expiry_counts_from_now(self, store: Store, after: int) -> None:
        receipt = store.receive(b"abc", expires=50)
        store.clock.now += 40
        store.vault.change(receipt.id, receipt.owner, {"expires_in": after})
        assert store.vault.owned(receipt.id, receipt.owner).expires == int(store.clock()) + after

    def test_a_share_can_be_made_to_stay(self, store: Store) -> None:
        receipt = store.receive(b"abc", expires=50)
        store.vault.change(receipt.id, receipt.owner, {"expires_in": None})
        store.clock.now += 1000 * DAY
        assert store.read(receipt.token) == b"abc"

    def test_a_share_can_be_made_to_end(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        store.vault.change(receipt.id, receipt.owner, {"expires_in": 5})
        store.clock.now += 5
        with pytest.raises(NotFound):
            store.open(receipt.token)

    def test_the_longest_expiry_is_taken(self, make_store: Callable[..., Store]) -> None:
        store = make_store(max_expiry=100)
        receipt = store.receive(b"abc", expires=10)
        store.vault.change(receipt.id, receipt.owner, {"expires_in": 100})
        assert store.vault.owned(receipt.id, receipt.owner).expires == int(store.clock()) + 100

    @pytest.mark.parametrize("after", [101, None])
    def test_a_longer_one_is_refused_and_changes_nothing(
        self, make_store: Callable[..., Store], after: int | None
    ) -> None:
        store = make_store(max_expiry=100)
        receipt = store.receive(b"abc", expires=10)
        with pytest.raises(BadRequest, match="100 seconds"):
            store.vault.change(receipt.id, receipt.owner, {"expires_in": after})
        assert store.vault.owned(receipt.id, receipt.owner).expires == receipt.expires


class TestDelete:
    """An owner's delete is at once and for good."""

    def test_it_leaves_nothing_but_a_tombstone(self, store: Store) -> None:
        receipt = store.receive(content(3 * C))
        store.vault.delete(receipt.id, receipt.owner)
        assert store.left() == left_of(receipt.id)

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
            disk.open(receipt.token)

    def test_what_could_not_be_removed_is_left_to_the_sweep(self, disk: Store) -> None:
        receipt = disk.receive(b"abc")
        block = disk.folder / "blobs" / receipt.id / "folder"
        block.mkdir()
        disk.vault.delete(receipt.id, receipt.owner)
        block.rmdir()
        disk.pass_time(GRACE)
        assert disk.left() == left_of(receipt.id)


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
        assert store.left() == left_of(share)

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
        store.put(0, b"abc")
        store.clock.now += idle
        assert store.vault.sweep() == Swept(marked=marked)

    def test_an_idle_upload_leaves_nothing(self, store: Store) -> None:
        store.begin()
        store.put(0, b"abc")
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
        assert disk.left() == left_of(share)

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
        store.put(0, b"abc")

    def test_after_a_jump_back_things_end_when_they_should(self, store: Store) -> None:
        token = store.receive(b"abc", expires=100).token
        store.clock.now -= 10
        store.vault.sweep()
        store.clock.now += 110
        assert store.vault.sweep() == Swept(marked=1)
        with pytest.raises(NotFound):
            store.open(token)

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


class Watched(Passwords):
    """Passwords that tell how often Argon2id ran, how many ran at once, and that can be held up while they do."""

    def __init__(self, clock: Callable[[], float], remember: float) -> None:
        super().__init__(clock, remember)
        self.attempts = self.runs = self.inside = self.most = 0
        self.gate, self.lock = threading.Event(), threading.Lock()
        self.gate.set()

    def attempt(self, *arguments: Any) -> Tried:
        """As in Passwords."""
        with self.lock:
            self.attempts += 1
        return super().attempt(*arguments)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """As in Passwords."""
        with super().turn():
            with self.lock:
                self.inside += 1
                self.runs, self.most = self.runs + 1, max(self.most, self.inside)
            self.gate.wait(60)
            yield
            with self.lock:
                self.inside -= 1


def watched(store: Store) -> Watched:
    """The passwords of a store that watches them."""
    assert isinstance(store.passwords, Watched)
    return store.passwords


def guesses(store: Store) -> int:
    """How many guesses are held."""
    return len(store.rows("SELECT * FROM guesses"))


def ended(call: Callable[[], object]) -> type[Exception] | None:
    """The class of what a call raises."""
    try:
        call()
    except OnekeyError as error:
        return type(error)
    return None


class TestPasswords:
    """Passwords at the direct door: a wrong one costs a guess, never an open, and Argon2id is paid once."""

    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> Iterator[Store]:
        """A store with a share whose password is `right`."""
        with closing(Store(DiskBlobs(tmp_path / "blobs"), tmp_path, clock, passwords=Watched)) as made:
            ByHand(content(3 * C), password="right").upload(made)
            yield made

    def fill(self, store: Store) -> None:
        """All the wrong guesses that one client may make in a minute."""
        for number in range(GUESSES.a_minute):
            assert ended(lambda n=number: store.open(TOKEN, f"wrong {n}")) is WrongPassword  # type: ignore[misc]

    def test_the_right_one_opens(self, store: Store) -> None:
        assert store.read(TOKEN, password="right") == content(3 * C)

    @pytest.mark.parametrize("password", ["wrong", "", "Right", "right ", "x" * 1025, "\ud800", "r" + "\u0301" * 5000])
    def test_any_other_is_wrong_and_one_guess(self, store: Store, password: str) -> None:
        with pytest.raises(WrongPassword):
            store.open(TOKEN, password)
        assert guesses(store) == 1

    def test_none_at_all_is_no_guess(self, store: Store) -> None:
        for _ in range(30):
            with pytest.raises(PasswordNeeded):
                store.open(TOKEN)
        assert guesses(store) == 0

    def test_the_right_one_is_no_guess(self, store: Store) -> None:
        for _ in range(30):
            store.open(TOKEN, "right").close()
        assert guesses(store) == 0

    def test_the_same_wrong_one_again_is_one_guess_and_one_run(self, store: Store) -> None:
        ends = [ended(lambda: store.open(TOKEN, "wrong")) for _ in range(30)]
        assert (set(ends), guesses(store), watched(store).runs) == ({WrongPassword}, 1, 1)

    def test_the_same_wrong_one_in_another_process_is_the_same_guess(self, store: Store) -> None:
        with pytest.raises(WrongPassword):
            store.open(TOKEN, "wrong")
        with closing(Store(store.blobs, store.folder, store.clock)) as other, pytest.raises(WrongPassword):
            other.open(TOKEN, "wrong")
        assert guesses(store) == 1

    def test_the_same_wrong_one_at_the_sealed_door_is_the_same_guess(self, store: Store) -> None:
        sealed = ByHand(password="right", entropy=lambda size: b"\x07" * size, seed=bytes(24)).upload(store)
        with pytest.raises(WrongPassword):
            store.open(sealed.token, "wrong")
        wrong = ByHand(password="wrong", entropy=lambda size: b"\x07" * size, seed=bytes(24))
        with pytest.raises(WrongPassword):
            store.vault.index(sealed.id, sealed.proof(access=wrong.access))
        assert guesses(store) == 1

    def test_the_right_one_is_stretched_once(self, store: Store) -> None:
        for start in range(0, 3 * C, 500):
            store.read(TOKEN, 0, start, start + 500, password="right")
        assert watched(store).runs == 1

    @pytest.mark.parametrize(("later", "runs"), [(LEASE_TIME - 1, 1), (LEASE_TIME, 2)])
    def test_it_is_remembered_for_so_long_after_it_was_used_last(self, store: Store, later: int, runs: int) -> None:
        for _ in range(3):
            store.open(TOKEN, "right").close()
            store.clock.now += LEASE_TIME // 2
        store.clock.now += later - LEASE_TIME // 2
        store.open(TOKEN, "right").close()
        assert watched(store).runs == runs

    def test_after_too_many_even_the_right_one_has_to_wait(self, store: Store) -> None:
        self.fill(store)
        with pytest.raises(TooMany) as caught:
            store.open(TOKEN, "right")
        assert caught.value.retry_after == 60

    def test_one_that_is_remembered_has_to_wait_too(self, store: Store) -> None:
        store.open(TOKEN, "right").close()
        self.fill(store)
        with pytest.raises(TooMany):
            store.open(TOKEN, "right")

    def test_who_has_to_wait_has_nothing_stretched(self, store: Store) -> None:
        self.fill(store)
        before = watched(store).runs
        with pytest.raises(TooMany):
            store.open(TOKEN, "another")
        assert watched(store).runs == before

    def test_after_a_minute_the_right_one_opens(self, store: Store) -> None:
        self.fill(store)
        store.clock.now += 60
        assert store.read(TOKEN, password="right") == content(3 * C)

    def test_another_client_does_not_wait(self, store: Store) -> None:
        self.fill(store)
        store.vault.open(TOKEN, shown("right", client=OTHER_CLIENT)).close()

    def test_another_share_does_not_wait(self, store: Store) -> None:
        other = ByHand(password="right", seed=bytes(24)).upload(store)
        self.fill(store)
        store.open(other.token, "right").close()

    def test_all_clients_together_have_a_hundred_an_hour(self, store: Store) -> None:
        ends = [
            ended(lambda n=number: store.vault.open(TOKEN, shown(f"wrong {n}", client=bytes([n]) * 16)))  # type: ignore[misc]
            for number in range(102)
        ]
        assert (ends.count(WrongPassword), ends[100:]) == (100, [TooMany] * 2)

    def test_a_restart_and_another_process_do_not_multiply_guesses(self, store: Store) -> None:
        with closing(Store(store.blobs, store.folder, store.clock)) as other:
            ends = [
                ended(lambda n=number: (store, other)[n % 2].open(TOKEN, f"wrong {n}"))  # type: ignore[misc]
                for number in range(14)
            ]
        assert ends == [WrongPassword] * 10 + [TooMany] * 4

    def test_a_wrong_one_costs_no_open(self, store: Store) -> None:
        limited = ByHand(password="right", seed=bytes(24)).upload(store, opens=1)
        with pytest.raises(WrongPassword):
            store.vault.open_once(limited.token, shown("wrong"))
        assert store.take(limited.token, "right")

    def test_how_many_opens_are_left_is_told_only_to_who_knows_the_password(self, store: Store) -> None:
        limited = ByHand(password="right", seed=bytes(24)).upload(store, opens=1)
        ends = [ended(lambda p=p: store.open(limited.token, p)) for p in (None, "wrong", "right")]  # type: ignore[misc]
        assert ends == [PasswordNeeded, WrongPassword, LeaseNeeded]

    def test_a_share_without_a_password_does_not_mind_one(self, store: Store) -> None:
        plain = ByHand(seed=bytes(24)).upload(store)
        assert (store.read(plain.token, password="any"), guesses(store)) == (b"abc", 0)

    def test_who_does_not_have_the_link_guesses_nothing(self, store: Store) -> None:
        other = links.write_token(SEED[:-1] + b"\xff")
        with pytest.raises(NotFound):
            store.open(other, "right")
        assert (guesses(store), watched(store).runs) == (0, 0)

    def test_the_right_one_by_many_at_once_opens_for_all_and_is_no_guess(self, store: Store) -> None:
        passwords = watched(store)
        passwords.gate.clear()
        with ThreadPoolExecutor(15) as threads:
            reading = [threads.submit(store.read, TOKEN, password="right") for _ in range(15)]
            wait_for(lambda: passwords.attempts == 15)
            passwords.gate.set()
        assert ({one.result() for one in reading}, guesses(store)) == ({content(3 * C)}, 0)

    def test_the_same_wrong_one_by_many_at_once_is_one_guess(self, store: Store) -> None:
        passwords = watched(store)
        passwords.gate.clear()
        with ThreadPoolExecutor(15) as threads:
            opening = [threads.submit(ended, lambda: store.open(TOKEN, "wrong")) for _ in range(15)]
            wait_for(lambda: passwords.attempts == 15)
            passwords.gate.set()
        assert ({one.result() for one in opening}, guesses(store)) == ({WrongPassword}, 1)

    def test_two_run_at_once_a_few_wait_and_the_rest_are_told_to_come_back(self, store: Store) -> None:
        passwords = watched(store)
        passwords.gate.clear()
        with ThreadPoolExecutor(25) as threads:
            opening = [threads.submit(self.guess, store, number) for number in range(25)]
            wait_for(lambda: sum(one.done() for one in opening) == 25 - AT_ONCE - 16)
            inside = passwords.inside
            passwords.gate.set()
        ends = [one.result() for one in opening]
        assert (inside, passwords.most) == (AT_ONCE, AT_ONCE)
        assert (ends.count(WrongPassword), ends.count(Busy)) == (AT_ONCE + 16, 25 - AT_ONCE - 16)

    def test_to_come_back_with_the_same_is_no_other_guess(self, store: Store) -> None:
        passwords = watched(store)
        passwords.gate.clear()
        with ThreadPoolExecutor(25) as threads:
            opening = [threads.submit(self.guess, store, number) for number in range(25)]
            wait_for(lambda: sum(one.done() for one in opening) == 25 - AT_ONCE - 16)
            passwords.gate.set()
        assert [self.guess(store, number) for number in range(25)] == [WrongPassword] * 25
        assert guesses(store) == 25

    def guess(self, store: Store, number: int) -> type[Exception] | None:
        """One wrong password, by a client of its own; how it ended."""
        return ended(lambda: store.vault.open(TOKEN, shown(f"wrong {number}", client=bytes([number]) * 16)))


class TestLimitedOpens:
    """N opens are N: what only looks takes none, and a lease reads for a while."""

    @pytest.fixture
    def limited(self, store: Store) -> Store:
        """A store with a share of two opens."""
        ByHand(content(5 * C)).upload(store, opens=2)
        return store

    def left(self, store: Store) -> int:
        """How many opens are told to be left."""
        with pytest.raises(LeaseNeeded) as caught:
            store.open(TOKEN)
        return caught.value.left

    def test_without_a_lease_it_is_told_how_many_are_left(self, limited: Store) -> None:
        found = [self.left(limited)]
        limited.take(TOKEN)
        assert [*found, self.left(limited)] == [2, 1]

    def test_who_only_looks_takes_none(self, limited: Store) -> None:
        for _ in range(20):
            self.left(limited)
        assert limited.rows("SELECT opened FROM shares") == [(0,)]

    def test_under_a_lease_it_is_read(self, limited: Store) -> None:
        assert limited.read(TOKEN, lease=limited.take(TOKEN)) == content(5 * C)

    def test_a_lease_reads_any_ranges_as_often_as_is_liked(self, limited: Store) -> None:
        lease = limited.take(TOKEN)
        found = [limited.read(TOKEN, 0, start, start + 900, lease=lease) for start in range(0, 4 * C, 700)]
        assert found == [content(5 * C)[start : start + 900] for start in range(0, 4 * C, 700)]

    def test_every_open_gives_a_lease_of_its_own(self, limited: Store) -> None:
        first, second = limited.take(TOKEN), limited.take(TOKEN)
        assert first != second
        assert limited.read(TOKEN, lease=first) == limited.read(TOKEN, lease=second)

    def test_a_lease_is_not_kept_as_it_is(self, disk: Store) -> None:
        ByHand(content(5 * C)).upload(disk, opens=2)
        lease = disk.take(TOKEN)
        kept = b"".join(path.read_bytes() for path in disk.folder.rglob("*") if path.is_file())
        assert [secret for secret in (lease.encode(), links.read_token(lease)) if secret in kept] == []

    def test_one_more_open_is_not_found(self, limited: Store) -> None:
        for _ in range(2):
            limited.take(TOKEN)
        assert [ended(lambda: limited.take(TOKEN)), ended(lambda: limited.open(TOKEN))] == [NotFound] * 2

    def test_a_share_without_a_limit_gives_no_lease(self, store: Store) -> None:
        assert store.vault.open_once(store.receive(b"abc").token, shown()) is None

    @pytest.mark.parametrize("lease", ["", "x", OWNER_TOKEN, TOKEN, "é" * 32])
    def test_what_is_no_lease_is_none(self, limited: Store, lease: str) -> None:
        limited.take(TOKEN)
        with pytest.raises(LeaseNeeded):
            limited.open(TOKEN, lease=lease)

    def test_the_lease_of_another_share_is_none(self, limited: Store) -> None:
        other = ByHand(seed=bytes(24)).upload(limited, opens=1)
        with pytest.raises(LeaseNeeded):
            limited.open(TOKEN, lease=limited.take(other.token))

    def test_a_lease_under_which_nothing_was_served_gives_its_open_back(self, limited: Store) -> None:
        leases = [limited.take(TOKEN) for _ in range(2)]
        limited.clock.now += LEASE_TIME
        assert self.left(limited) == 2
        assert ended(lambda: limited.open(TOKEN, lease=leases[0])) is LeaseNeeded

    def test_an_open_that_was_given_back_can_be_taken(self, limited: Store) -> None:
        for _ in range(2):
            limited.take(TOKEN)
        limited.clock.now += LEASE_TIME
        assert limited.read(TOKEN, lease=limited.take(TOKEN)) == content(5 * C)

    def test_to_open_and_to_list_is_not_to_be_served(self, limited: Store) -> None:
        lease = limited.take(TOKEN)
        limited.open(TOKEN, lease=lease).close()
        limited.clock.now += LEASE_TIME
        assert self.left(limited) == 2

    @pytest.mark.parametrize("stop", [1, C, 5 * C])
    def test_one_byte_served_keeps_the_open(self, limited: Store, stop: int) -> None:
        limited.read(TOKEN, 0, 0, stop, lease=limited.take(TOKEN))
        limited.clock.now += LEASE_TIME
        assert self.left(limited) == 1

    @pytest.mark.parametrize(("later", "lives"), [(LEASE_TIME - 1, True), (LEASE_TIME, False)])
    def test_a_lease_lives_for_so_long_after_the_last_byte(self, limited: Store, later: int, lives: bool) -> None:
        lease = limited.take(TOKEN)
        opened = limited.open(TOKEN, lease=lease)
        pieces = opened.read(0)
        for _ in range(3):
            next(pieces)
            limited.clock.now += LEASE_TIME // 2
        opened.close()
        limited.clock.now += later
        assert ended(lambda: limited.open(TOKEN, lease=lease)) is (None if lives else LeaseNeeded)

    def test_a_lease_lives_a_day_at_most(self, limited: Store) -> None:
        lease = limited.take(TOKEN)
        for _ in range(LONGEST_LEASE // (LEASE_TIME // 2) - 1):
            limited.clock.now += LEASE_TIME // 2
            limited.read(TOKEN, 0, 0, 1, lease=lease)
        limited.clock.now += LEASE_TIME // 2
        assert ended(lambda: limited.open(TOKEN, lease=lease)) is LeaseNeeded

    def test_a_lease_that_ends_before_the_first_byte_serves_none(self, limited: Store) -> None:
        opened = limited.open(TOKEN, lease=limited.take(TOKEN))
        limited.clock.now += LEASE_TIME
        with pytest.raises(NotFound):
            next(opened.read(0))
        opened.close()
        assert self.left(limited) == 2

    def test_what_is_being_read_when_its_lease_ends_arrives_whole(self, limited: Store) -> None:
        opened = limited.open(TOKEN, lease=limited.take(TOKEN))
        pieces = opened.read(0)
        got = next(pieces)
        limited.clock.now += 2 * LONGEST_LEASE
        assert got + b"".join(pieces) == content(5 * C)
        opened.close()

    def test_a_used_up_share_is_there_for_who_has_a_lease(self, limited: Store) -> None:
        leases = [limited.take(TOKEN) for _ in range(2)]
        assert [limited.read(TOKEN, lease=lease) for lease in leases] == [content(5 * C)] * 2

    def test_when_the_last_lease_is_over_it_is_gone(self, limited: Store) -> None:
        for _ in range(2):
            limited.read(TOKEN, lease=limited.take(TOKEN))
        limited.clock.now += LEASE_TIME
        assert [ended(lambda: limited.open(TOKEN)), ended(lambda: limited.take(TOKEN))] == [NotFound] * 2

    def test_its_parts_are_swept(self, limited: Store) -> None:
        for _ in range(2):
            limited.read(TOKEN, lease=limited.take(TOKEN))
        limited.pass_time(LEASE_TIME, GRACE)
        assert limited.left() == left_of(links.blob_id(SEED))

    def test_one_whose_lease_lives_is_not_swept(self, limited: Store) -> None:
        leases = [limited.take(TOKEN) for _ in range(2)]
        for lease in leases:
            limited.read(TOKEN, lease=lease)
        limited.clock.now += LEASE_TIME - 1
        assert limited.vault.sweep() == Swept()
        assert limited.read(TOKEN, lease=leases[0]) == content(5 * C)

    def test_one_whose_opens_come_back_is_not_swept(self, limited: Store) -> None:
        for _ in range(2):
            limited.take(TOKEN)
        limited.pass_time(LEASE_TIME, 10 * DAY)
        assert self.left(limited) == 2

    def test_an_expired_share_is_gone_for_leases_too(self, store: Store) -> None:
        ByHand().upload(store, opens=2, life=100)
        lease = store.take(TOKEN)
        store.clock.now += 100
        assert ended(lambda: store.open(TOKEN, lease=lease)) is NotFound

    @pytest.mark.parametrize("opens", [1, 5])
    def test_n_are_n_over_two_processes_databases_whatever_is_tried_at_once(self, disk: Store, opens: int) -> None:
        with closing(Store(disk.blobs, disk.folder, disk.clock)) as other:
            for number in range(4):
                sealed = ByHand(seed=bytes([number]) * 24).upload(disk, opens=opens)
                ends = together(
                    *(lambda s=s, t=sealed.token: s.take(t) for s in (disk, other) * 6),
                    *(lambda s=s, one=sealed: s.vault.lease(one.id, one.proof()) for s in (disk, other) * 2),
                )
                assert (ends.count(NotFound), len({end for end in ends if isinstance(end, str)})) == (16 - opens, opens)


def bounds(sealed: ByHand) -> list[int]:
    """The offsets at which something ends in a container, and those beside them."""
    size = len(sealed.whole)
    ends = [0, STEM_SIZE, HEADER_SIZE, size - TRAILER_SIZE, size, size - len(sealed.end)]
    ends += [HEADER_SIZE + STEP * number for number in range(1, len(sealed.chunks))]
    return sorted({at + by for at in ends for by in (-1, 0, 1) if 0 <= at + by <= size})


class TestSealedDoor:
    """Who knocks sees a little, who has access reads sealed bytes, and nobody else learns that there is anything."""

    def read(self, store: Store, sealed: ByHand, start: int, stop: int, lease: str | None = "") -> bytes:
        """Sealed bytes."""
        opened = store.vault.content(sealed.id, sealed.proof(lease))
        try:
            return b"".join(opened.read(start, stop))
        finally:
            opened.close()

    @pytest.mark.parametrize(("opens", "life"), [(None, None), (3, 50)])
    def test_who_knocks_sees_size_expiry_and_whether_opens_are_limited(
        self, store: Store, opens: int | None, life: int | None
    ) -> None:
        sealed = ByHand().upload(store, opens=opens, life=life)
        found = store.vault.knocked(sealed.id, sealed.knock)
        expires = None if life is None else store.now + life
        assert (found.size, found.expires, found.is_limited) == (len(sealed.whole), expires, opens is not None)

    def test_who_knocks_does_not_see_the_commitment(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        assert store.vault.knocked(sealed.id, sealed.knock).header == sealed.header[:STEM_SIZE]

    def test_to_knock_takes_and_counts_nothing(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store, opens=1)
        before = store.left()
        store.vault.knocked(sealed.id, sealed.knock)
        assert store.left() == before

    @pytest.mark.parametrize("knock", [b"", bytes(16), b"x" * 16, ByHand(seed=bytes(24)).knock])
    def test_a_wrong_knock_is_not_found(self, store: Store, knock: bytes) -> None:
        sealed = ByHand().upload(store)
        with pytest.raises(NotFound):
            store.vault.knocked(sealed.id, knock)

    @pytest.mark.parametrize("share", ["f" * 32, "", "../x", "%"])
    def test_an_id_that_is_not_there_is_not_found(self, store: Store, share: str) -> None:
        sealed = ByHand().upload(store)
        calls: list[Callable[[], object]] = [
            lambda: store.vault.knocked(share, sealed.knock),
            lambda: store.vault.index(share, sealed.proof()),
            lambda: store.vault.lease(share, sealed.proof()),
            lambda: store.vault.content(share, sealed.proof()),
        ]
        assert [ended(call) for call in calls] == [NotFound] * 4

    def admitted(
        self, store: Store, sealed: ByHand, *, access: bytes | None = None, knock: bytes | None = None
    ) -> list[type[Exception] | None]:
        """How each use case that asks for access ends."""
        shown_proof = sealed.proof(access=access, knock=knock)
        return [
            ended(lambda: store.vault.index(sealed.id, shown_proof)),
            ended(lambda: store.vault.lease(sealed.id, shown_proof)),
            ended(lambda: store.vault.content(sealed.id, shown_proof).close()),
        ]

    def test_access_alone_does_where_there_is_no_password(self, store: Store) -> None:
        assert self.admitted(store, ByHand().upload(store), knock=b"") == [None] * 3

    @pytest.mark.parametrize("access", [b"", bytes(32), b"x" * 31])
    def test_without_a_password_a_wrong_access_is_not_found_and_no_guess(self, store: Store, access: bytes) -> None:
        sealed = ByHand().upload(store)
        assert (self.admitted(store, sealed, access=access), guesses(store)) == ([NotFound] * 3, 0)

    def test_with_a_password_access_and_knock_do(self, store: Store) -> None:
        assert self.admitted(store, ByHand(password="x").upload(store)) == [None] * 3

    @pytest.mark.parametrize("access", [None, bytes(32)], ids=["right access", "wrong access"])
    @pytest.mark.parametrize("knock", [b"", bytes(16)])
    def test_with_a_password_who_does_not_knock_is_not_found_and_guesses_nothing(
        self, store: Store, access: bytes | None, knock: bytes
    ) -> None:
        sealed = ByHand(password="x").upload(store)
        ends = self.admitted(store, sealed, access=access, knock=knock)
        assert (ends, guesses(store)) == ([NotFound] * 3, 0)

    def test_a_wrong_access_is_one_guess_however_often_it_comes(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        ends = [end for _ in range(10) for end in self.admitted(store, sealed, access=bytes(32))]
        assert (set(ends), guesses(store)) == ({WrongPassword}, 1)

    @pytest.mark.parametrize("access", [b"", b"x" * 31, b"x" * 33])
    def test_what_cannot_be_an_access_is_no_guess(self, store: Store, access: bytes) -> None:
        sealed = ByHand(password="x").upload(store)
        assert (self.admitted(store, sealed, access=access), guesses(store)) == ([WrongPassword] * 3, 0)

    def test_the_right_access_is_no_guess(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        ends = [end for _ in range(10) for end in self.admitted(store, sealed)]
        assert (set(ends), guesses(store)) == ({None}, 0)

    def test_after_too_many_the_right_one_waits_a_minute(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        for number in range(GUESSES.a_minute):
            store.clock.now += 1
            self.admitted(store, sealed, access=bytes([number]) * 32)
        waiting = self.admitted(store, sealed)
        store.clock.now += 51
        assert (waiting, self.admitted(store, sealed)) == ([TooMany] * 3, [None] * 3)

    def test_guesses_at_both_doors_count_together(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        for number in range(GUESSES.a_minute // 2):
            assert ended(lambda n=number: store.open(TOKEN, f"{n}")) is WrongPassword  # type: ignore[misc]
            self.admitted(store, sealed, access=bytes([number]) * 32)
        assert (ended(lambda: store.open(TOKEN, "x")), self.admitted(store, sealed)) == (TooMany, [TooMany] * 3)

    def test_a_wrong_access_takes_no_open(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store, opens=1)
        self.admitted(store, sealed, access=bytes(32))
        assert store.vault.lease(sealed.id, sealed.proof())

    def test_the_index_is_what_was_sealed(self, store: Store) -> None:
        sealed = ByHand(content(5 * C), files=3).upload(store)
        expected = (sealed.header[STEM_SIZE:], sealed.end[:-TRAILER_SIZE], sealed.end[-TRAILER_SIZE:])
        assert store.vault.index(sealed.id, sealed.proof()) == expected

    def test_the_index_takes_no_open_and_no_lease(self, store: Store) -> None:
        sealed = ByHand().upload(store, opens=1)
        before = store.left()
        for _ in range(5):
            store.vault.index(sealed.id, sealed.proof())
        assert store.left() == before

    def test_what_is_given_can_be_opened_by_its_client(self, store: Store) -> None:
        sealed = ByHand(content(5 * C), password="x").upload(store)
        opener = Opener(BytesSource(self.read(store, sealed, 0, len(sealed.whole))), SEED, "x")
        assert b"".join(opener.range(0, 5 * C)) == content(5 * C)

    @pytest.mark.parametrize("k", [1, 2, 100])
    @pytest.mark.parametrize("size", [0, 1, 2 * C, 4 * C - 1])
    def test_every_range_is_that_of_the_container(self, disk: Store, size: int, k: int) -> None:
        sealed = ByHand(content(size), k=k).upload(disk)
        opened = disk.vault.content(sealed.id, sealed.proof())
        ranges = list(itertools.combinations_with_replacement(bounds(sealed), 2))
        found = [b"".join(opened.read(start, stop)) for start, stop in ranges]
        opened.close()
        assert found == [sealed.whole[start:stop] for start, stop in ranges]

    def test_a_large_container_comes_in_pieces(self, make_store: Callable[..., Store]) -> None:
        store = make_store(chunk_size=LARGE)
        receipt = store.receive(content(K * LARGE + 10))
        seed = links.read_token(receipt.token)
        access = Opener(self.source(store, receipt.id), seed).keys.access
        with closing(store.vault.content(receipt.id, ByHand().proof(access=access))) as opened:
            pieces = list(opened.read(0, opened.size))
        assert max(map(len, pieces)) <= 1 << 18
        assert b"".join(pieces) == self.source(store, receipt.id).whole

    def source(self, store: Store, share: str) -> "Whole":
        """A container as it lies in the parts."""
        found = bytearray()
        for part in store.records.parts(share, 0, 99):
            buffer = bytearray(part.size)
            store.blobs.open(share, part.name).read_into(0, memoryview(buffer))
            found += buffer
        return Whole(bytes(found))

    def test_its_etag_is_that_of_no_file(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        with closing(store.vault.content(sealed.id, sealed.proof())) as opened:
            tag = opened.etag
        assert tag not in {store.open(TOKEN).etag(number) for number in range(3)}
        assert tag.partition("-")[0] == store.open(TOKEN).etag(0).partition("-")[0]

    @pytest.mark.parametrize(
        ("password", "opens", "private"), [(None, None, False), ("x", None, True), (None, 3, True), ("x", 3, True)]
    )
    def test_nobody_may_keep_what_is_limited_or_has_a_password(
        self, store: Store, password: str | None, opens: int | None, private: bool
    ) -> None:
        sealed = ByHand(password=password) if password else ByHand()
        sealed.upload(store, opens=opens)
        lease = store.vault.lease(sealed.id, sealed.proof())
        with closing(store.vault.content(sealed.id, sealed.proof(lease))) as opened:
            assert opened.is_private is private

    def test_a_lease_is_needed_where_opens_are_limited(self, store: Store) -> None:
        sealed = ByHand().upload(store, opens=1)
        with pytest.raises(LeaseNeeded):
            store.vault.content(sealed.id, sealed.proof())

    def test_under_a_lease_it_is_read(self, store: Store) -> None:
        sealed = ByHand(content(5 * C)).upload(store, opens=1)
        lease = store.vault.lease(sealed.id, sealed.proof())
        assert self.read(store, sealed, 0, len(sealed.whole), lease) == sealed.whole

    def test_a_lease_does_not_stand_in_for_access(self, store: Store) -> None:
        sealed = ByHand().upload(store, opens=1)
        lease = store.vault.lease(sealed.id, sealed.proof())
        with pytest.raises(NotFound):
            store.vault.content(sealed.id, sealed.proof(lease, access=bytes(32)))

    def test_a_lease_of_one_door_serves_at_the_other(self, store: Store) -> None:
        sealed = ByHand(content(5 * C)).upload(store, opens=1)
        assert self.read(store, sealed, 0, 5, store.take(TOKEN)) == sealed.whole[:5]

    @pytest.mark.parametrize("size", [0, 3 * C])
    def test_only_what_touches_content_uses_the_open(self, disk: Store, size: int) -> None:
        sealed = ByHand(content(size)).upload(disk, opens=1)
        end, wrong = len(sealed.whole) - len(sealed.end), []
        edges = sorted({0, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + 1, end - 1, end, end + 1, len(sealed.whole)})
        for start, stop in itertools.combinations_with_replacement(edges, 2):
            self.read(disk, sealed, start, stop, disk.vault.lease(sealed.id, sealed.proof()))
            touches = max(start, HEADER_SIZE) < min(stop, end)
            if disk.rows("SELECT served FROM leases") != [(int(touches),)]:
                wrong.append((start, stop))
            disk.change("DELETE FROM leases")
            disk.change("UPDATE shares SET opened = 0")
        assert wrong == []

    def test_what_is_noted_is_noted_before_a_byte_leaves(self, store: Store) -> None:
        sealed = ByHand(content(5 * C)).upload(store, opens=1)
        lease = store.vault.lease(sealed.id, sealed.proof())
        opened = store.vault.content(sealed.id, sealed.proof(lease))
        next(opened.read(HEADER_SIZE, len(sealed.whole)))
        assert store.rows("SELECT served FROM leases") == [(1,)]
        opened.close()

    def test_a_lease_that_ends_before_the_first_byte_serves_none(self, store: Store) -> None:
        sealed = ByHand(content(5 * C)).upload(store, opens=1)
        lease = store.vault.lease(sealed.id, sealed.proof())
        opened = store.vault.content(sealed.id, sealed.proof(lease))
        store.clock.now += LEASE_TIME
        with pytest.raises(NotFound):
            next(opened.read(0, len(sealed.whole)))
        opened.close()

    def test_opens_without_a_limit_are_counted(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        assert store.vault.lease(sealed.id, sealed.proof()) is None
        assert store.vault.owned(sealed.id, sealed.owner).opened == 1

    @pytest.mark.parametrize("end", ["expired", "deleted", "used up"])
    def test_what_has_ended_is_not_found(self, store: Store, end: str) -> None:
        sealed = ByHand().upload(store, life=2 * LEASE_TIME, opens=1)
        if end == "expired":
            store.clock.now += 2 * LEASE_TIME
        elif end == "deleted":
            store.vault.delete(sealed.id, sealed.owner)
        else:
            store.read(TOKEN, lease=store.take(TOKEN))
            store.clock.now += LEASE_TIME
        assert self.admitted(store, sealed) == [NotFound] * 3
        assert ended(lambda: store.vault.knocked(sealed.id, sealed.knock)) is NotFound

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_part_that_is_gone_is_damage(self, store: Store, number: int) -> None:
        sealed = ByHand(content(5 * C))
        parts = sealed.store(store)
        store.blobs.remove(sealed.id, parts[number].name)
        with pytest.raises(Damaged):
            self.read(store, sealed, 0, len(sealed.whole))

    @pytest.mark.parametrize("trailer", [0, 1, 1 << 20, (1 << 32) - 1])
    def test_a_wrong_trailer_is_damage_and_never_makes_an_index_of_content(self, store: Store, trailer: int) -> None:
        sealed = ByHand(content(5 * C))
        sealed.parts[-1] = sealed.parts[-1][:-TRAILER_SIZE] + trailer.to_bytes(TRAILER_SIZE, "big")
        sealed.store(store, opens=1)
        with pytest.raises(Damaged):
            store.vault.index(sealed.id, sealed.proof())

    def test_a_wrong_trailer_does_not_hide_that_content_is_served(self, store: Store) -> None:
        sealed = ByHand(content(5 * C))
        sealed.parts[-1] = sealed.parts[-1][:-TRAILER_SIZE] + b"\xff" * TRAILER_SIZE
        sealed.store(store, opens=1)
        lease = store.vault.lease(sealed.id, sealed.proof())
        with pytest.raises(Damaged):
            self.read(store, sealed, HEADER_SIZE, HEADER_SIZE + STEP, lease)

    def test_a_sealed_only_share_is_opened_here(self, store: Store) -> None:
        sealed = ByHand(content(5 * C), sealed_only=True).upload(store)
        assert self.read(store, sealed, 0, len(sealed.whole)) == sealed.whole

    def test_at_the_direct_door_of_a_sealed_only_share_no_part_is_opened(self, disk: Store, stage: Staged) -> None:
        ByHand(sealed_only=True, password="x").upload(disk)
        stage.before_open = lambda: pytest.fail("a part was opened")
        assert [ended(lambda: disk.open(TOKEN, "x")), ended(lambda: disk.take(TOKEN, "x"))] == [SealedOnly] * 2


class Whole(BytesSource):
    """A container in memory, that can be had whole."""

    def __init__(self, container: bytes) -> None:
        super().__init__(container)
        self.whole = container


class TestCounts:
    """An owner sees how often a share was opened, and in which hour."""

    def owned(self, store: Store, sealed: ByHand) -> Owned:
        """What the owner sees."""
        return store.vault.owned(sealed.id, sealed.owner)

    @pytest.mark.parametrize("opens", [None, 9])
    def test_opens_are_counted(self, store: Store, opens: int | None) -> None:
        sealed = ByHand().upload(store, opens=opens)
        store.clock.now += HOUR - 5
        for _ in range(3):
            store.vault.lease(sealed.id, sealed.proof())
        store.clock.now += 10
        store.vault.lease(sealed.id, sealed.proof())
        found = self.owned(store, sealed)
        assert (found.opened, found.opens, found.last_opened) == (4, opens, store.now - store.now % HOUR)

    def test_a_share_never_opened_says_so(self, store: Store) -> None:
        found = self.owned(store, ByHand().upload(store))
        assert (found.opened, found.last_opened) == (0, None)

    def test_what_the_door_says_was_opened_counts(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        for _ in range(3):
            store.vault.opened(sealed.id)
        assert self.owned(store, sealed).opened == 3

    @pytest.mark.parametrize(
        ("options", "needs_password", "sealed_only"),
        [({}, False, False), ({"password": "x"}, True, False), ({"sealed_only": True}, False, True)],
    )
    def test_an_owner_sees_what_kind_of_share_it_is(
        self, store: Store, options: dict[str, Any], needs_password: bool, sealed_only: bool
    ) -> None:
        found = self.owned(store, ByHand(**options).upload(store))
        assert (found.needs_password, found.sealed_only) == (needs_password, sealed_only)


class TestChangeOpens:
    """An owner changes how often a share may be opened, never to less than was used."""

    @pytest.fixture
    def used(self, store: Store) -> Store:
        """A store with a share of five opens, of which two were taken."""
        ByHand().upload(store, opens=5, life=100)
        for _ in range(2):
            store.take(TOKEN)
        return store

    def change(self, store: Store, **asked: int | None) -> Owned:
        """Change the share; gives what its owner sees then."""
        store.vault.change(links.blob_id(SEED), OWNER_TOKEN, asked)
        return store.vault.owned(links.blob_id(SEED), OWNER_TOKEN)

    @pytest.mark.parametrize("opens", [2, 3, 5, 1000, None])
    def test_what_is_not_less_than_was_used_is_taken(self, used: Store, opens: int | None) -> None:
        assert self.change(used, opens=opens).opens == opens

    @pytest.mark.parametrize("opens", [0, 1])
    def test_less_than_was_used_is_refused_and_changes_nothing(self, used: Store, opens: int) -> None:
        before = used.left()
        with pytest.raises(Unprocessable, match="2 times"):
            self.change(used, opens=opens, expires_in=50)
        assert used.left() == before

    def test_both_can_be_changed_at_once(self, used: Store) -> None:
        found = self.change(used, opens=3, expires_in=50)
        assert (found.opens, found.expires) == (3, used.now + 50)

    def test_what_is_not_asked_for_stays(self, used: Store) -> None:
        found = self.change(used)
        assert (found.opens, found.expires) == (5, used.now + 100)

    def test_with_no_limit_any_more_no_lease_is_needed(self, used: Store) -> None:
        self.change(used, opens=None)
        assert used.read(TOKEN) == b"abc"

    def test_with_a_limit_from_now_on_earlier_opens_count(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        for _ in range(3):
            store.vault.lease(sealed.id, sealed.proof())
        with pytest.raises(Unprocessable, match="3 times"):
            self.change(store, opens=2)
        assert self.change(store, opens=4).opens == 4
        assert [ended(lambda: store.take(TOKEN)) for _ in range(2)] == [None, NotFound]

    def test_a_share_that_was_used_up_can_be_opened_again_while_a_lease_lives(self, store: Store) -> None:
        ByHand().upload(store, opens=1)
        store.take(TOKEN)
        self.change(store, opens=2)
        assert store.take(TOKEN)

    def test_whatever_is_taken_at_once_it_never_goes_below(self, disk: Store) -> None:
        for number in range(15):
            sealed = ByHand(seed=bytes([number]) * 24).upload(disk, opens=5)
            calls: list[Callable[[], object]] = [lambda t=sealed.token: disk.take(t)] * 4  # type: ignore[misc]
            calls.append(lambda one=sealed: disk.vault.change(one.id, one.owner, {"opens": 2}))  # type: ignore[misc]
            *taken, changed = together(*calls)
            (entry,) = disk.vault.entries(sealed.id)
            assert entry.opened == sum(isinstance(end, str) for end in taken)
            assert entry.opens == (5 if changed is Unprocessable else 2)
            assert entry.opened <= entry.opens


class TestDeleteNow:
    """A delete ends leases and whatever else at once; what is being read arrives whole or visibly broken."""

    def test_no_lease_outlives_it(self, store: Store) -> None:
        sealed = ByHand().upload(store, opens=2)
        lease = store.take(TOKEN)
        store.vault.delete(sealed.id, sealed.owner)
        assert ended(lambda: store.open(TOKEN, lease=lease)) is NotFound

    def test_nothing_is_left_of_leases_and_guesses(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store, opens=2)
        store.take(TOKEN, "x")
        ended(lambda: store.open(TOKEN, "wrong"))
        store.vault.delete(sealed.id, sealed.owner)
        assert store.left() == left_of(sealed.id)

    def test_a_lease_does_not_serve_even_where_the_parts_could_not_be_removed(self, disk: Store) -> None:
        sealed = ByHand().upload(disk, opens=2)
        opened = disk.open(TOKEN, lease=disk.take(TOKEN))
        (disk.folder / "blobs" / sealed.id / "folder").mkdir()
        disk.vault.delete(sealed.id, sealed.owner)
        with pytest.raises((NotFound, Damaged)):
            next(opened.read(0))
        opened.close()

    @pytest.mark.parametrize("opens", [None, 2])
    @pytest.mark.parametrize("k", [1, 100])
    @pytest.mark.parametrize("end", ["deleted", "swept"])
    def test_what_is_being_read_is_whole_or_visibly_broken(
        self, store: Store, end: str, k: int, opens: int | None
    ) -> None:
        sealed = ByHand(content(9 * C), k=k).upload(store, opens=opens, life=100)
        opened = store.open(TOKEN, lease=store.vault.open_once(TOKEN, shown()))
        pieces, got = opened.read(0), bytearray()
        got += next(pieces)
        if end == "deleted":
            store.vault.delete(sealed.id, sealed.owner)
        else:
            store.pass_time(100, GRACE)
        try:
            for piece in pieces:
                got += piece
            whole = True
        except (Damaged, NotFound):
            whole = False
        opened.close()
        assert content(9 * C).startswith(got)
        assert (len(got) == 9 * C) is whole
        assert store.left() == left_of(sealed.id)


class TestOperator:
    """What an operator sees and does."""

    def test_a_share_is_erased_whoever_owns_it(self, store: Store) -> None:
        receipt = store.receive(content(3 * C))
        assert store.vault.erase(receipt.id) is True
        assert store.left() == left_of(receipt.id)

    def test_an_upload_is_erased(self, store: Store) -> None:
        sealed = ByHand()
        sealed.begin_and_put(store)
        assert store.vault.erase(sealed.id) is True
        assert store.left() == left_of(sealed.id)

    @pytest.mark.parametrize("share", [BLOB, "f" * 32])
    def test_what_is_not_there_is_not_erased(self, store: Store, share: str) -> None:
        assert store.vault.erase(share) is False

    def test_what_is_stored_of_a_share_is_what_is_recorded(self, disk: Store) -> None:
        sealed = ByHand(content(5 * C)).upload(disk)
        parts, files = disk.vault.holds(sealed.id)
        assert files == {part.name: part.size for part in parts}

    def test_everything_is_listed(self, store: Store) -> None:
        receipt = store.receive(b"abc")
        store.begin()
        assert {(entry.id, entry.state) for entry in store.vault.entries()} == {(receipt.id, "live"), (BLOB, "open")}

    def test_opens_that_were_counted_a_moment_ago_are_told(self, store: Store) -> None:
        sealed = ByHand().upload(store)
        store.vault.opened(sealed.id)
        (entry,) = store.vault.entries(sealed.id)
        assert entry.opened == 1

    def test_totals_tell_what_there_is(self, store: Store) -> None:
        ByHand().upload(store)
        store.begin()
        found = store.vault.totals()
        assert (dict(found.states), found.stored) == ({"open": 1, "live": 1, "dead": 0}, len(ByHand().whole))


class TestUploadSecrets:
    """Wrong upload secrets are slowed down for each client."""

    def tries(self, store: Store, right: bool, *which: int, client: bytes = CLIENT) -> list[bool | type[Exception]]:
        """How tries of secrets end, each told by a number."""
        ends: list[bool | type[Exception]] = []
        for number in which:
            try:
                ends.append(store.vault.try_secret(client, bytes([number]) * 32, lambda: right))
            except TooMany as error:
                ends.append(type(error))
        return ends

    def test_a_few_wrong_ones_may_be_tried(self, store: Store) -> None:
        assert self.tries(store, False, *range(12)) == [False] * SECRETS.a_minute + [TooMany] * 2

    def test_the_same_wrong_one_again_is_one(self, store: Store) -> None:
        assert set(self.tries(store, False, *[1] * 30)) == {False}

    def test_right_ones_cost_nothing(self, store: Store) -> None:
        assert set(self.tries(store, True, *range(30))) == {True}

    def test_who_tried_too_many_has_to_wait_with_the_right_one(self, store: Store) -> None:
        self.tries(store, False, *range(10))
        waiting = self.tries(store, True, 20)
        store.clock.now += 60
        assert (waiting, self.tries(store, True, 20)) == ([TooMany], [True])

    def test_another_client_does_not_wait(self, store: Store) -> None:
        self.tries(store, False, *range(10))
        assert self.tries(store, True, 20, client=OTHER_CLIENT) == [True]

    def test_all_clients_together_may_try_any_number(self, store: Store) -> None:
        ends = [self.tries(store, False, 1, client=bytes([number]) * 16) for number in range(150)]
        assert ends == [[False]] * 150


class TestLimitsUnderAWrongClock:
    """A wrong clock ends no lease early, gives no open back, and locks nobody out for ever."""

    @pytest.fixture
    def taken(self, store: Store) -> tuple[Store, str]:
        """A store with a share of one open, and its lease."""
        ByHand(content(3 * C)).upload(store, opens=1)
        return store, store.take(TOKEN)

    @pytest.mark.parametrize("served", [False, True])
    def test_a_sweep_under_one_that_is_far_ahead_ends_no_lease(self, taken: tuple[Store, str], served: bool) -> None:
        store, lease = taken
        if served:
            store.read(TOKEN, lease=lease)
        before, rows = store.clock.now, store.rows("SELECT * FROM leases")
        store.clock.now += 100 * DAY
        assert store.vault.sweep() == Swept(clock_ahead=True)
        store.clock.now = before
        assert store.rows("SELECT * FROM leases") == rows
        assert store.read(TOKEN, lease=lease) == content(3 * C)

    def test_a_used_up_share_comes_back_when_it_is_put_right(self, taken: tuple[Store, str]) -> None:
        store, lease = taken
        store.read(TOKEN, lease=lease)
        before = store.clock.now
        store.clock.now += 100 * DAY
        assert ended(lambda: store.open(TOKEN, lease=lease)) is NotFound
        store.clock.now = before
        assert store.read(TOKEN, lease=lease) == content(3 * C)

    def test_one_that_is_believed_ends_leases(self, taken: tuple[Store, str]) -> None:
        store, lease = taken
        store.read(TOKEN, lease=lease)
        store.clock.now += 100 * DAY
        store.vault.sweep()
        store.clock.now += HELD
        assert store.vault.sweep() == Swept(marked=1)

    @pytest.mark.parametrize("served", [False, True])
    def test_one_that_jumps_back_ends_no_lease(self, taken: tuple[Store, str], served: bool) -> None:
        store, lease = taken
        if served:
            store.read(TOKEN, lease=lease)
        store.clock.now -= 100 * DAY
        assert store.vault.sweep() == Swept()
        assert store.read(TOKEN, lease=lease) == content(3 * C)

    def test_one_that_jumps_back_gives_no_open_back(self, taken: tuple[Store, str]) -> None:
        store, _ = taken
        store.clock.now -= 100 * DAY
        store.vault.sweep()
        assert ended(lambda: store.take(TOKEN)) is NotFound

    def test_one_that_jumps_back_while_a_share_is_read_does_not_stop_it(self, taken: tuple[Store, str]) -> None:
        store, lease = taken
        opened = store.open(TOKEN, lease=lease)
        pieces = opened.read(0)
        got = next(pieces)
        store.clock.now -= 100 * DAY
        got += next(pieces)
        store.clock.now += 100 * DAY
        assert got + b"".join(pieces) == content(3 * C)
        opened.close()

    def test_n_are_n_though_it_jumps(self, store: Store) -> None:
        ByHand().upload(store, opens=3)
        served = 0
        for jump in (0, 5 * HOUR, -9 * HOUR, 100 * DAY, -100 * DAY, 2 * HOUR, 7 * DAY):
            store.clock.now += jump
            with suppress(OnekeyError):
                served += len(store.read(TOKEN, lease=store.take(TOKEN))) == 3
            store.vault.sweep()
        assert served <= 3

    def test_guesses_that_one_far_ahead_made_do_not_lock_when_it_is_put_right(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        store.clock.now += 100 * DAY
        for number in range(GUESSES.a_minute):
            wrong = sealed.proof(access=bytes([number]) * 32)
            assert ended(lambda p=wrong: store.vault.index(sealed.id, p)) is WrongPassword  # type: ignore[misc]
        store.clock.now -= 100 * DAY
        assert ended(lambda: store.vault.index(sealed.id, sealed.proof())) is None

    def test_a_sweep_forgets_guesses_of_an_hour_ago(self, store: Store) -> None:
        sealed = ByHand(password="x").upload(store)
        ended(lambda: store.vault.index(sealed.id, sealed.proof(access=bytes(32))))
        store.pass_time(HOUR + 1)
        assert guesses(store) == 0


def test_a_check_of_what_works_is_silent(store: Store) -> None:
    store.vault.check()


def test_a_check_raises_what_is_wrong_with_the_disk(disk: Store) -> None:
    (disk.folder / "blobs").rmdir()
    with pytest.raises(FileNotFoundError):
        disk.vault.check()
