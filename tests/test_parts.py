"""The parts of a blob: a container is read from them as it was cut, wherever a read begins and ends."""

import itertools

import pytest

from onekey.container import HEADER_SIZE, MAX_SEALED_INDEX, OVERHEAD, TRAILER_SIZE, Sizes
from onekey.errors import Damaged, Unprocessable
from onekey.parts import MAX_PART, Source, check, container_size, most_chunks
from tests.stores import LARGE, MIB, STEP, ByHand, C, Store, content

CHUNK_SIZES = [1 << log for log in range(12, 23)]


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
class TestSizes:
    """How much a part and a container hold at most."""

    def test_a_full_part_has_room_for_the_largest_index(self, chunk_size: int) -> None:
        chunks = most_chunks(chunk_size) * (chunk_size + OVERHEAD)
        assert HEADER_SIZE + chunks + MAX_SEALED_INDEX + TRAILER_SIZE <= MAX_PART == 16 * MIB

    def test_one_chunk_more_would_not_fit(self, chunk_size: int) -> None:
        chunks = (most_chunks(chunk_size) + 1) * (chunk_size + OVERHEAD)
        assert HEADER_SIZE + chunks + MAX_SEALED_INDEX + TRAILER_SIZE > MAX_PART

    @pytest.mark.parametrize("chunks", [0, 1, 5])
    @pytest.mark.parametrize("by", [-1, 0, 1])
    def test_no_container_of_so_much_content_is_larger(self, chunk_size: int, chunks: int, by: int) -> None:
        length = max(0, chunks * chunk_size + by)
        total = container_size(length, chunk_size)
        assert Sizes.of(total, MAX_SEALED_INDEX, chunk_size).length == length


class Laid:
    """A container that lies in parts."""

    def __init__(self, store: Store, sealed: ByHand) -> None:
        self.store, self.sealed, self.parts = store, sealed, sealed.store(store)

    def source(self, *, size: int | None = None, part_chunks: int | None = None) -> Source:
        """What reads it, with what is recorded of it, or with something else."""
        return Source(
            self.store.records,
            self.store.blobs,
            self.sealed.id,
            size=len(self.sealed.whole) if size is None else size,
            part_chunks=self.sealed.k if part_chunks is None else part_chunks,
            chunk_size=C,
            last=self.parts[-1],
        )

    def edges(self) -> list[int]:
        """Where its parts and chunks end, and the offsets beside."""
        ends = list(itertools.accumulate(len(part) for part in self.sealed.parts))
        ends += [0, HEADER_SIZE, *(HEADER_SIZE + STEP * number for number in range(1, 4))]
        return sorted({at + by for at in ends for by in (-1, 0, 1) if 0 <= at + by <= ends[-1] + 3})


def read(source: Source, start: int, stop: int) -> bytes:
    """What one read gives."""
    buffer = bytearray(stop - start)
    return bytes(buffer[: source.read_into(start, memoryview(buffer))])


@pytest.fixture
def laid(store: Store) -> Laid:
    """A container of seven chunks in four parts."""
    return Laid(store, ByHand(content(7 * C - 5)))


class TestSource:
    """A container, read from its parts."""

    @pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
    @pytest.mark.parametrize("k", [1, 2, 100])
    @pytest.mark.parametrize("size", [0, 1, 2 * C, 4 * C - 1, 4 * C])
    def test_every_read_gives_what_is_there(self, disk: Store, size: int, k: int, joined: bool) -> None:
        laid = Laid(disk, ByHand(content(size), k=k, joined=joined))
        source, whole = laid.source(), laid.sealed.whole
        ranges = list(itertools.combinations_with_replacement(laid.edges(), 2))
        found = [read(source, start, stop) for start, stop in ranges]
        source.close()
        assert found == [whole[start:stop] for start, stop in ranges]

    def test_reads_may_come_in_any_order(self, laid: Laid) -> None:
        source, whole = laid.source(), laid.sealed.whole
        found = [read(source, at, at + 7) for at in reversed(range(0, len(whole), 999))]
        source.close()
        assert found == [whole[at : at + 7] for at in reversed(range(0, len(whole), 999))]

    def test_more_parts_than_are_fetched_at_once_are_read(self, disk: Store) -> None:
        laid = Laid(disk, ByHand(content(80 * C), k=1))
        source = laid.source()
        assert read(source, 0, len(laid.sealed.whole)) == laid.sealed.whole
        source.close()

    def test_past_the_end_there_is_nothing(self, laid: Laid) -> None:
        source, size = laid.source(), len(laid.sealed.whole)
        assert (read(source, size, size + 9), read(source, size - 2, size + 9)) == (b"", laid.sealed.whole[-2:])
        source.close()

    def test_it_can_be_closed_twice_and_read_again(self, laid: Laid) -> None:
        source = laid.source()
        first = read(source, 0, 200)
        source.close()
        source.close()
        assert read(source, 0, 200) == first
        source.close()

    @pytest.mark.parametrize("number", range(4))
    def test_a_part_that_is_gone_is_damage(self, laid: Laid, number: int) -> None:
        laid.store.blobs.remove(laid.sealed.id, laid.parts[number].name)
        with pytest.raises(Damaged):
            read(laid.source(), 0, len(laid.sealed.whole))

    @pytest.mark.parametrize("number", range(3))
    def test_a_part_that_was_never_recorded_is_damage(self, laid: Laid, number: int) -> None:
        laid.store.change("DELETE FROM parts WHERE number = ?", number)
        with pytest.raises(Damaged):
            read(laid.source(), 0, len(laid.sealed.whole))

    @pytest.mark.parametrize("number", range(4))
    def test_a_part_that_is_too_short_ends_the_read(self, disk: Store, number: int) -> None:
        laid = Laid(disk, ByHand(content(7 * C - 5)))
        file = disk.folder / "blobs" / laid.sealed.id / laid.parts[number].name
        file.write_bytes(file.read_bytes()[:-3])
        end = sum(len(part) for part in laid.sealed.parts[: number + 1]) - 3
        source = laid.source()
        assert read(source, 0, len(laid.sealed.whole)) == laid.sealed.whole[:end]
        source.close()

    @pytest.mark.parametrize("size", [1 << 20, 1 << 62])
    def test_a_size_that_does_not_fit_the_parts_is_damage(self, laid: Laid, size: int) -> None:
        with pytest.raises(Damaged):
            read(laid.source(size=size), size - 100_000, size)

    @pytest.mark.parametrize("k", [0, -1, 1])
    def test_parts_that_do_not_hold_what_is_recorded_are_no_container(self, laid: Laid, k: int) -> None:
        source = laid.source(part_chunks=k)
        try:
            found = read(source, 0, len(laid.sealed.whole))
        except Damaged:
            found = b""
        assert found != laid.sealed.whole


class TestCheck:
    """Whether stored parts are a container, as far as who has no key can know."""

    @pytest.fixture
    def laid(self, disk: Store) -> Laid:
        """A container of seven chunks in four parts."""
        return Laid(disk, ByHand(content(7 * C - 5)))

    def test_a_container_is_one(self, laid: Laid) -> None:
        check(laid.store.blobs, laid.sealed.id, laid.sealed.header, laid.sealed.k, laid.parts)

    @pytest.mark.parametrize("k", [1, 3, 4, 100])
    def test_with_another_number_of_chunks_in_a_part_it_is_none(self, laid: Laid, k: int) -> None:
        with pytest.raises(Unprocessable):
            check(laid.store.blobs, laid.sealed.id, laid.sealed.header, k, laid.parts)

    def test_under_another_header_it_is_none(self, laid: Laid) -> None:
        other = ByHand(seed=bytes(24)).header
        with pytest.raises(Unprocessable, match="header"):
            check(laid.store.blobs, laid.sealed.id, other, laid.sealed.k, laid.parts)

    @pytest.mark.parametrize("number", [0, 3])
    def test_a_part_that_was_replaced_meanwhile_is_told(self, laid: Laid, number: int) -> None:
        laid.store.blobs.remove(laid.sealed.id, laid.parts[number].name)
        with pytest.raises(Unprocessable, match="not there any more"):
            check(laid.store.blobs, laid.sealed.id, laid.sealed.header, laid.sealed.k, laid.parts)

    def test_it_does_not_believe_what_it_cannot_know(self, laid: Laid) -> None:
        sealed = ByHand(content(7 * C - 5), seed=bytes(24))
        sealed.parts[1] = bytes(len(sealed.parts[1]))
        parts = sealed.store(laid.store)
        check(laid.store.blobs, sealed.id, sealed.header, sealed.k, parts)


def test_the_largest_chunks_leave_room_for_some_in_a_part() -> None:
    assert most_chunks(LARGE) == 3
