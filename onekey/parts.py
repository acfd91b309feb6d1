"""The parts of a blob: what each holds of a container, and a container read from them. The vault's rule 2.

Part 0 holds the header and the first k chunks, each later one k chunks; the last what remains, index and trailer.
"""

from collections.abc import Sequence
from typing import Final

from onekey.blobs import Blobs, Part
from onekey.container import HEADER_SIZE, MAX_SEALED_INDEX, OVERHEAD, TRAILER_SIZE, Header, Sizes
from onekey.errors import ContainerError, Damaged, Unprocessable
from onekey.records import PartRecord, Records

MAX_PART: Final = 16 << 20
"""The most bytes that a part may have."""
_BATCH: Final = 32


def most_chunks(chunk_size: int) -> int:
    """How many chunks a part may hold, so that the last part has room for the largest index as well."""
    return max(1, (MAX_PART - HEADER_SIZE - MAX_SEALED_INDEX - TRAILER_SIZE) // (chunk_size + OVERHEAD))


def container_size(length: int, chunk_size: int) -> int:
    """The most bytes that a container of `length` bytes of content has."""
    return HEADER_SIZE + length + OVERHEAD * -(-length // chunk_size) + MAX_SEALED_INDEX + TRAILER_SIZE


class Source:
    """The bytes of a container, read from its parts; `last` is the last of them."""

    def __init__(
        self,
        records: Records,
        blobs: Blobs,
        share: str,
        *,
        size: int,
        part_chunks: int,
        chunk_size: int,
        last: PartRecord,
    ) -> None:
        self.size = size
        self._records, self._blobs, self._id = records, blobs, share
        self._stride = max(1, part_chunks) * (chunk_size + OVERHEAD)
        self._last = last
        # Where the last part begins: sooner than the stride says if a short last chunk ends the part before it.
        self._tail = size - last.size
        self._known = {last.number: last}
        self._open: tuple[int, Part] | None = None

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """As in container.Source. Raises Damaged where the records do not fit together, OSError."""
        done = 0
        while done < len(buffer) and offset + done < self.size:
            at = offset + done
            number = self._number(at)
            start, stop = self._span(number)
            if not start <= at < stop:  # the database is wrong
                raise Damaged("The parts of this share do not fit together.")
            wanted = min(len(buffer) - done, stop - at)
            got = self._part(number).read_into(at - start, buffer[done : done + wanted])
            done += got
            if got < wanted:
                break
        return done

    def close(self) -> None:
        """Let go of the stored bytes."""
        if self._open:
            self._open[1].close()
            self._open = None

    def _number(self, offset: int) -> int:
        if offset >= self._tail:
            return self._last.number
        return max(0, offset - HEADER_SIZE) // self._stride

    def _span(self, number: int) -> tuple[int, int]:
        """Where part `number` begins and ends in the container; the last one ends where the container does."""
        if number == self._last.number:
            return self._tail, self.size
        start = HEADER_SIZE + number * self._stride if number else 0
        return start, min(self._tail, HEADER_SIZE + (number + 1) * self._stride)

    def _part(self, number: int) -> Part:
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = (number, self._blobs.open(self._id, self._record(number).name))
        return self._open[1]

    def _record(self, number: int) -> PartRecord:
        if number not in self._known:
            found = self._records.parts(self._id, number, number + _BATCH - 1)
            self._known = {part.number: part for part in found}
        try:
            return self._known[number]
        except KeyError:
            raise Damaged("A part of this share is not there.") from None


def check(blobs: Blobs, share: str, packed: bytes, part_chunks: int, found: Sequence[PartRecord]) -> Sizes:
    """The sizes of the container that stored parts are: by their numbers, their files, its header and trailer.

    What is sealed in it nobody can know here. Raises Unprocessable with what is wrong.
    """
    if [part.number for part in found] != list(range(len(found))) or not found:
        raise Unprocessable("The parts have to be numbered from 0 on, without a gap.")
    there = blobs.sizes(share)
    for part in found:
        if there.get(part.name) != part.size:
            raise Unprocessable(f"Part {part.number} is not there any more: put it again.")
    if _read(blobs, share, found[0], 0, HEADER_SIZE) != packed:
        raise Unprocessable("Part 0 does not begin with the header that this upload began with.")
    trailer = _read(blobs, share, found[-1], found[-1].size - TRAILER_SIZE, TRAILER_SIZE)
    header = Header.parse(packed)
    try:
        sizes = Sizes.of(sum(part.size for part in found), int.from_bytes(trailer, "big"), header.chunk_size)
    except ContainerError:
        raise Unprocessable("The sizes of the parts and the trailer are those of no container.") from None
    stride, before = part_chunks * (header.chunk_size + OVERHEAD), 0
    for part in found[:-1]:
        before += part.size
        if before != min(HEADER_SIZE + (part.number + 1) * stride, sizes.index_offset):
            raise Unprocessable(
                f"Part {part.number} does not hold {part_chunks} chunks, as a part that is not the last has to."
            )
    if len(found) - 1 > sizes.chunks // part_chunks or sizes.chunks > len(found) * part_chunks:
        raise Unprocessable("The last part has to hold the chunks that remain, the index and the trailer.")
    return sizes


def _read(blobs: Blobs, share: str, part: PartRecord, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    if offset < 0:
        return b""
    try:
        opened = blobs.open(share, part.name)
    except Damaged:
        raise Unprocessable("A part was replaced meanwhile: ask again which are there.") from None
    try:
        return bytes(buffer[: opened.read_into(offset, memoryview(buffer))])
    finally:
        opened.close()
