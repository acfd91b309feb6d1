"""The vault: finished shares. Open, change, delete, sweep.

Expired, deleted, wrong knock and never there are one answer, `NotFound`. What an opened share gives was verified: its
index before anything else, each chunk before a byte of it. The clock is passed in, as seconds since 1970.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from onekey import links
from onekey.blobs import Blobs, Part
from onekey.container import HEADER_SIZE, OVERHEAD, Header, Opener
from onekey.errors import BadRequest, Damaged, NotFound, SealedOnly, WrongKey
from onekey.index import File
from onekey.records import FAR_AHEAD, PartRecord, Records, Share

IDLE: Final = 86_400
"""Seconds without activity after which an unfinished upload is dead."""
GRACE: Final = 25 * 3600
"""Seconds from death to the removal of parts: longer than any lease, which lasts a day at most."""
HELD: Final = 3600
"""Seconds for which a clock that is far ahead must have been so before it is believed."""
_BATCH: Final = 32

Clock = Callable[[], float]


class _Source:
    """The bytes of a share's container, read from its parts (the vault's rule 2 says what each holds)."""

    def __init__(self, records: Records, blobs: Blobs, share: Share, chunk_size: int) -> None:
        self.size = share.size
        self._records, self._blobs, self._id = records, blobs, share.id
        self._stride = max(1, share.part_chunks) * (chunk_size + OVERHEAD)
        self._last = share.last
        # Where the last part begins: sooner than the stride says if a short last chunk ends the part before it.
        self._tail = share.size - share.last.size
        self._known = {self._last.number: self._last}
        self._open: tuple[int, Part] | None = None

    def read_into(self, offset: int, buffer: memoryview) -> int:
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


class OpenShare:
    """A share opened with its link. Close it when done."""

    def __init__(self, record: Share, source: _Source, opener: Opener) -> None:
        self.id, self.expires = record.id, record.expires
        self._source, self._opener = source, opener

    @property
    def files(self) -> tuple[File, ...]:
        """The files, in order, thumbnails included."""
        return self._opener.index.files

    def etag(self, number: int) -> str:
        """A name for the bytes of file `number`, counted from 0, that says nothing of the link."""
        return f"{hashlib.sha256(self._opener.header.file_salt).hexdigest()[:32]}-{number + 1}"

    def read(self, number: int, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop) of file `number`, piece by piece, each verified. The iterator raises Damaged."""
        first, end = self._opener.index.span(number)
        return self._opener.range(first + start, end if stop is None else min(end, first + stop))

    def close(self) -> None:
        """Let go of the stored bytes."""
        self._source.close()


@dataclass(frozen=True, slots=True)
class Owned:
    """A share as its owner sees it: bytes of its container, and times in seconds since 1970 (None: never)."""

    id: str
    size: int
    created: int
    expires: int | None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: shares and uploads marked dead, removed, and left for the next time; or that it did nothing
    because the clock is far ahead of the database."""

    marked: int = 0
    removed: int = 0
    left: int = 0
    clock_ahead: bool = False


class Vault:
    """Finished shares. Any thread may call any of this at any time, and so may other processes."""

    def __init__(self, records: Records, blobs: Blobs, clock: Clock, max_expiry: int | None = None) -> None:
        self._records, self._blobs, self._clock, self._max_expiry = records, blobs, clock, max_expiry

    def open(self, token: str) -> OpenShare:
        """Open a share with the token of its link. Raises NotFound, SealedOnly, PasswordNeeded, Damaged."""
        try:
            seed = links.read_token(token)
        except BadRequest:
            raise NotFound() from None
        share = self._records.share(links.blob_id(seed), self._now())
        if share is None or not _proves(links.knock(seed), share.knock_hash):
            raise NotFound()
        header = Header.parse(share.header)
        if header.sealed_only:
            raise SealedOnly("This share can be opened only in the browser or on the command line of who has its link.")
        source = _Source(self._records, self._blobs, share, header.chunk_size)
        try:
            return OpenShare(share, source, Opener(source, seed, header=header))
        except WrongKey:
            raise NotFound() from None

    def owned(self, share: str, owner: str) -> Owned:
        """What an owner may know of a share, for who has its owner token. Raises NotFound."""
        try:
            proof = links.read_token(owner)
        except BadRequest:
            raise NotFound() from None
        found = self._records.share(share, self._now())
        if found is None or not _proves(proof, found.owner_hash):
            raise NotFound()
        return Owned(found.id, found.size, found.created, found.expires)

    def expire(self, share: str, owner: str, after: int | None) -> None:
        """Let a share expire `after` seconds from now, or never. Raises NotFound; BadRequest beyond MAX_EXPIRY."""
        found = self.owned(share, owner)
        self._records.expire(found.id, expires_at(self._now(), after, self._max_expiry))

    def delete(self, share: str, owner: str) -> None:
        """Delete a share for good: no request finds it from here on, and its bytes are gone. Raises NotFound."""
        found = self.owned(share, owner)
        self._records.kill(found.id, self._now())
        with suppress(OSError):  # nobody finds it any more; what could not be removed, the next sweep removes
            self.remove(found.id)

    def remove(self, share: str) -> None:
        """Remove what is left of a dead share or upload, the record last."""
        self._blobs.purge(share)
        self._records.bury(share)

    def check(self) -> None:
        """Raises whatever keeps the database or the disk from answering."""
        self._records.newest()
        self._blobs.free()

    def sweep(self) -> Swept:
        """Mark what is dead, and remove what has been dead for GRACE: the vault's rule 9. One at a time."""
        now = self._now()
        if not self._believes(now):
            return Swept(clock_ahead=True)
        marked = self._records.mark_dead(now, IDLE)
        removed = left = 0
        for share in self._records.dead(now - GRACE):
            try:
                self.remove(share)
                removed += 1
            except (OSError, Damaged):  # a put came between, the disk will not, or the id cannot be: the record stays
                left += 1
        self._records.tick(now)
        return Swept(marked, removed, left)

    def _believes(self, now: int) -> bool:
        newest, since = self._records.newest()
        if newest is None or now <= newest + FAR_AHEAD:
            if since is not None:
                self._records.note_ahead(None)
            return True
        if since is None or since > now:
            self._records.note_ahead(now)
            return False
        return now - since >= HELD

    def _now(self) -> int:
        return int(self._clock())


def expires_at(now: int, after: int | None, longest: int | None) -> int | None:
    """The time at which something expires `after` seconds from `now`. Raises BadRequest beyond `longest`."""
    if longest is not None and (after is None or after > longest):
        raise BadRequest(f"A share here may expire after {longest} seconds at the latest (MAX_EXPIRY).")
    return None if after is None else now + after


def _proves(proof: bytes, kept: bytes) -> bool:
    return hmac.compare_digest(links.fingerprint(proof), kept)
