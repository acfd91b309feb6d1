"""Opened shares: what the vault gives to who may read. Close each when done.

What `OpenShare` gives was verified. What `Sealed` gives only its client can verify. Under a lease, content is noted as
served before a byte of it leaves.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from onekey.container import HEADER_SIZE, STEM_SIZE, TRAILER_SIZE, Header, Opener, Sizes
from onekey.errors import ContainerError, Damaged, NotFound
from onekey.index import File
from onekey.limits import Lease, Limits
from onekey.logs import log, place
from onekey.parts import Source
from onekey.records import Share

_PIECE: Final = 1 << 18

Clock = Callable[[], float]


class Reading:
    """The right to read a share's content, used as it is read: under a lease, if its opens are limited."""

    def __init__(self, limits: Limits, clock: Clock, share: str, lease: bytes, held: Lease, lasts: int) -> None:
        self._limits, self._clock, self._share, self._lease, self._lasts = limits, clock, share, lease, lasts
        self._served, self._used = held.served, False
        self._noted = held.ends - lasts  # when the lease was last moved on, as far as it was

    def serve(self) -> None:
        """Called before each piece of content leaves. Raises NotFound where the lease has ended before the first."""
        self._used = True
        now = int(self._clock())
        if self._served and 0 <= now - self._noted < self._lasts / 8:  # not for each piece
            return
        alive = self._limits.serve(self._share, self._lease, now, self._lasts, first=not self._served)
        if not self._served and not alive:
            raise NotFound()
        self._served, self._noted = True, now

    def close(self) -> None:
        """The last byte was served now: the lease ends so long from now."""
        now = int(self._clock())
        if self._used and now != self._noted:
            try:
                self._limits.serve(self._share, self._lease, now, self._lasts, first=False)
            except Exception as error:  # all that was asked for has left: the lease ends a little sooner
                log.error("A lease could not be moved on: %s.", place(error))


class OpenShare:
    """A share opened with its link. Close it when done."""

    def __init__(self, record: Share, source: Source, opener: Opener, reading: Reading | None) -> None:
        self.id, self.expires = record.id, record.expires
        self.is_private = opener.header.needs_password or record.opens is not None
        """Whether nobody may keep a copy for the next request: it needs a password, or has limited opens."""
        self.is_limited = record.opens is not None
        self._source, self._opener, self._reading = source, opener, reading

    @property
    def files(self) -> tuple[File, ...]:
        """The files, in order, thumbnails included."""
        return self._opener.index.files

    def etag(self, number: int) -> str:
        """A name for the bytes of file `number`, counted from 0, that says nothing of the link."""
        return f"{hashlib.sha256(self._opener.header.file_salt).hexdigest()[:32]}-{number + 1}"

    def read(self, number: int, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop) of file `number`, each piece verified. The iterator raises Damaged, NotFound."""
        first, end = self._opener.index.span(number)
        pieces = self._opener.range(first + start, end if stop is None else min(end, first + stop))
        return _under(self._reading, pieces) if self._reading else pieces

    def close(self) -> None:
        """Let go of the stored bytes."""
        self._source.close()
        if self._reading:
            self._reading.close()


def _under(reading: Reading, pieces: Iterator[bytes]) -> Iterator[bytes]:
    served = False
    for piece in pieces:
        reading.serve()
        served = True
        yield piece
    if not served:  # a file without a byte was read to its end all the same
        reading.serve()


class Sealed:
    """The sealed bytes of a share, for who has access. Close it when done."""

    def __init__(self, record: Share, source: Source, reading: Reading | None) -> None:
        self.size = record.size
        """Bytes of the container."""
        header = Header.parse(record.header)
        self.is_private = record.opens is not None or header.needs_password
        self._source, self._reading, self._salt = source, reading, record.header[STEM_SIZE - 32 : STEM_SIZE]
        self._chunk_size = header.chunk_size
        self._commitment = record.header[STEM_SIZE:]

    @property
    def etag(self) -> str:
        """A name for these bytes that says nothing of the link."""
        return f"{hashlib.sha256(self._salt).hexdigest()[:32]}-0"

    def index(self) -> tuple[bytes, bytes, bytes]:
        """Commitment, sealed index and trailer. Raises ContainerError."""
        (trailer,) = self._read(self.size - TRAILER_SIZE, self.size)
        # Checked here too, or a trailer that was changed could make content of the index, and all of it in memory.
        sizes = Sizes.of(self.size, int.from_bytes(trailer, "big"), self._chunk_size)
        end = b"".join(self._read(sizes.index_offset, self.size))
        return self._commitment, end[:-TRAILER_SIZE], end[-TRAILER_SIZE:]

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of the container. Those between header and index are content, and use a lease. Raises
        Damaged, and so does the iterator, NotFound too."""
        pieces = self._read(start, stop)
        if self._reading and max(start, HEADER_SIZE) < min(stop, self._index_offset()):
            return _under(self._reading, pieces)
        return pieces

    def close(self) -> None:
        """Let go of the stored bytes."""
        self._source.close()
        if self._reading:
            self._reading.close()

    def _index_offset(self) -> int:
        trailer = b"".join(self._read(max(0, self.size - TRAILER_SIZE), self.size))
        try:  # or a damaged trailer would make an index of the content, which takes no open
            return Sizes.of(self.size, int.from_bytes(trailer, "big"), self._chunk_size).index_offset
        except ContainerError:
            raise Damaged("The container has a size that cannot be.") from None

    def _read(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            buffer = bytearray(min(_PIECE, stop - start))
            try:
                count = self._source.read_into(start, memoryview(buffer))
            except OSError as error:
                raise Damaged("A part of this share cannot be read.") from error
            if count < len(buffer):
                raise Damaged("A part of this share is missing.")
            yield bytes(buffer)
            start += count
