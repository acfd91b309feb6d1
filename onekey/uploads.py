"""Uploads: unfinished shares. Every share is stored through here.

The record of an upload is committed first, so every stored byte belongs to one; each part is on the disk before it is
recorded; the commit that finishes a share is durable before `Receipt` is given (the vault's rules 1 and 2).
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from onekey import links
from onekey.blobs import Blobs
from onekey.container import HEADER_SIZE, MAX_SEALED_INDEX, OVERHEAD, TRAILER_SIZE, Sealer
from onekey.errors import Forbidden, NoRoom
from onekey.index import File
from onekey.locks import Allowance
from onekey.records import NewShare, PartRecord, Records
from onekey.vault import Clock, expires_at

MAX_PART: Final = 16 << 20
"""The most bytes that a part may have: the vault's rule 2."""
UNPROVEN: Final = 64
"""How many MiB of uploads may wait for their secret, in all processes together."""
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file on its way in: its name and type, known before its bytes; `pieces` is read once, to its end."""

    name: str
    type: str
    pieces: Iterator[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished share, for its uploader and nobody else: token and owner token are told here once."""

    id: str
    token: str = field(repr=False)
    owner: str = field(repr=False)
    expires: int | None
    files: tuple[File, ...] = field(repr=False)


def part_chunks(chunk_size: int) -> int:
    """How many chunks a part holds, so that the last part has room for the largest index as well."""
    return max(1, (MAX_PART - HEADER_SIZE - MAX_SEALED_INDEX - TRAILER_SIZE) // (chunk_size + OVERHEAD))


class Hold:
    """What one upload stores before its secret was checked: at most UNPROVEN MiB in all, whoever asks."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance, self._units, self._left = allowance, list[int](), 0

    def take(self, size: int) -> None:
        """Count `size` bytes. Raises Forbidden where too much waits already."""
        self._left -= size
        while self._left < 0:
            unit = self._allowance.take()
            if unit is None:
                raise Forbidden(
                    f"More than {UNPROVEN} MiB wait for their secret. Send it first: in the header X-Onekey-Secret, "
                    "or in a field before the file."
                )
            self._units.append(unit)
            self._left += _MIB

    def release(self) -> None:
        """Give it all back."""
        self._allowance.give(self._units)
        self._units, self._left = [], 0


class Uploads:
    """Unfinished shares. Any thread may call any of this at any time, and so may other processes."""

    def __init__(
        self,
        records: Records,
        blobs: Blobs,
        clock: Clock,
        *,
        unproven: Allowance,
        chunk_size: int,
        min_free: int = 0,
        max_expiry: int | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._records, self._blobs, self._clock, self._unproven = records, blobs, clock, unproven
        self._chunk_size, self._min_free, self._max_expiry = chunk_size, min_free, max_expiry
        self._entropy = entropy

    def receive(
        self,
        files: Iterator[Incoming],
        *,
        proven: Callable[[], bool],
        expires_after: Callable[[], int | None],
    ) -> Receipt:
        """Seal files and store them as one share.

        `files` is read to its end, and may raise whatever the door finds wrong. Until `proven()`, what is stored counts
        against what may wait for a secret. `expires_after()`, asked when all was read, gives the share's life in
        seconds, or raises what keeps it from being finished. Whatever is raised, nothing is left. Raises NoRoom,
        Forbidden, BadRequest.
        """
        first = next(files)  # a request that holds no file, or is refused before one, stores nothing
        seed, owner = links.new_seed(self._entropy), links.new_owner(self._entropy)
        blob = links.blob_id(seed)
        sealer = Sealer(seed, chunk_size=self._chunk_size, entropy=self._entropy)
        self._begin(blob, seed, owner, sealer)
        hold, entries = Hold(self._unproven), list[File]()
        try:
            sealed = self._seal(sealer, itertools.chain([first], files), entries, _until(proven, hold))
            parts = self._store(blob, sealer.header.pack(), sealed)
            expires = expires_at(self._now(), expires_after(), self._max_expiry)
            self._records.finish(blob, parts, expires, self._now())
        except BaseException:
            self.abandon(blob)
            raise
        finally:
            hold.release()
        return Receipt(blob, links.write_token(seed), links.write_token(owner), expires, tuple(entries))

    def put_part(self, blob: str, number: int, pieces: Iterable[bytes]) -> PartRecord:
        """Store a part, then record it; one that was there before is replaced. Raises NoRoom, NotOpen."""
        if self._blobs.free() < self._min_free + MAX_PART:
            raise NoRoom("There is no room left on this server.")
        stored = self._blobs.put(blob, number, pieces)
        part = PartRecord(stored.number, stored.name, stored.size, stored.sha256)
        try:
            replaced = self._records.put_part(blob, part, self._now())
        except BaseException:
            self._blobs.remove(blob, stored.name)
            raise
        if replaced:
            self._blobs.remove(blob, replaced)
        return part

    def abandon(self, blob: str) -> None:
        """Give up an open upload and remove what it stored; what cannot be removed now is left to the sweep."""
        if self._records.give_up(blob, self._now()):
            try:
                self._blobs.purge(blob)
            except OSError:
                return
            self._records.bury(blob)

    def _begin(self, blob: str, seed: bytes, owner: bytes, sealer: Sealer) -> None:
        new = NewShare(
            id=blob,
            header=sealer.header.pack(),
            part_chunks=part_chunks(self._chunk_size),
            knock_hash=links.fingerprint(links.knock(seed)),
            access_hash=links.fingerprint(sealer.keys.access),
            owner_hash=links.fingerprint(owner),
            created=self._now(),
        )
        self._records.begin(new)

    def _seal(
        self, sealer: Sealer, files: Iterator[Incoming], entries: list[File], check: Callable[[int], None]
    ) -> Iterator[bytes]:
        """The container, chunk by chunk, as the files come; `entries` is filled with what they turned out to be."""
        for file in files:
            start = sealer.length
            for piece in file.pieces:
                check(len(piece))
                yield from sealer.update(piece)
            entries.append(File(name=file.name, type=file.type, size=sealer.length - start))
        yield from sealer.finish(entries)

    def _store(self, blob: str, header: bytes, sealed: Iterator[bytes]) -> Sequence[PartRecord]:
        """Put the sealed chunks, and what ends the container, in parts of k. With n chunks there are n // k + 1."""
        size, parts = part_chunks(self._chunk_size), list[PartRecord]()
        for first in sealed:
            before = [] if parts else [header]
            pieces = itertools.chain(before, [first], itertools.islice(sealed, size - 1))
            parts.append(self.put_part(blob, len(parts), pieces))
        return parts

    def _now(self) -> int:
        return int(self._clock())


def _until(proven: Callable[[], bool], hold: Hold) -> Callable[[int], None]:
    def check(size: int) -> None:
        if not proven():
            hold.take(size)

    return check
