"""Uploads: unfinished shares. Every share is stored through here, sealed by us or by its client.

The record of an upload is committed first, so every stored byte belongs to one; each part is on the disk before it is
recorded; the commit that finishes a share is durable before anyone hears of it (the vault's rules 1 and 2).
"""

import hmac
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from onekey import links, parts
from onekey.blobs import Blobs
from onekey.container import Header, Sealer
from onekey.errors import BadRequest, ContainerError, Forbidden, NoRoom, NotFound, NotOpen, TooLarge, Unprocessable
from onekey.index import File
from onekey.locks import Allowance
from onekey.parts import MAX_PART
from onekey.passwords import Passwords
from onekey.records import NewShare, PartRecord, Records, Upload
from onekey.tally import Tally
from onekey.vault import Clock, expires_at

UNPROVEN: Final = 64
"""How many MiB of uploads may wait for their secret, in all processes together."""
StoredPart = PartRecord
_MIB: Final = 1 << 20
_SMALL_PARTS: Final = 64
_FULL: Final = "There is no room left on this server."


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file on its way in: its name and type, known before its bytes; `pieces` is read once, to its end."""

    name: str
    type: str
    pieces: Iterator[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a share lives, in seconds from its finish on (None: for ever), and how often it may be opened (None: any
    number of times)."""

    life: int | None = None
    opens: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished share, for its uploader and nobody else: token and owner token are told here once."""

    id: str
    token: str = field(repr=False)
    owner: str = field(repr=False)
    expires: int | None
    files: tuple[File, ...] = field(repr=False)
    opens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A sealed upload to begin: what its client says of it. The hashes are SHA-256, 32 bytes; `header` is 96 bytes."""

    id: str
    header: bytes = field(repr=False)
    part_chunks: int
    knock_hash: bytes = field(repr=False)
    access_hash: bytes = field(repr=False)
    owner_hash: bytes = field(repr=False)
    terms: Terms


@dataclass(frozen=True, slots=True)
class Named:
    """A part as a client names it that finishes its upload: number, bytes and SHA-256."""

    number: int
    size: int
    sha256: bytes


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
        passwords: Passwords,
        clock: Clock,
        *,
        unproven: Allowance,
        chunk_size: int,
        max_size: int,
        min_free: int = 0,
        quota: int | None = None,
        max_expiry: int | None = None,
        tally: Tally | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`max_size` is the most bytes of content that a share may have, `quota` the most that all parts may hold."""
        self._records, self._blobs, self._passwords, self._clock = records, blobs, passwords, clock
        self._unproven, self._chunk_size, self._max_size, self._min_free = unproven, chunk_size, max_size, min_free
        self._quota, self._max_expiry, self._tally, self._entropy = quota, max_expiry, tally, entropy

    # Sealed by us, for the direct door.

    def receive(
        self,
        files: Iterator[Incoming],
        *,
        proven: Callable[[], bool],
        terms: Callable[[], Terms],
        password: Callable[[], str | None] = lambda: None,
    ) -> Receipt:
        """Seal files and store them as one share.

        `files` is read to its end, and may raise whatever the door finds wrong. Until `proven()`, what is stored counts
        against what may wait for a secret. `password()` is asked when the first file has begun, `terms()` when all was
        read; it may raise what keeps the share from being finished. Whatever is raised, nothing is left. Raises NoRoom,
        Forbidden, BadRequest, Busy.
        """
        first = next(files)  # a request that holds no file, or is refused before one, stores nothing
        seed, owner = links.new_seed(self._entropy), links.new_owner(self._entropy)
        blob = links.blob_id(seed)
        sealer = self._sealer(seed, password(), proven)
        self._records.begin(self._new(blob, seed, owner, sealer))
        hold, entries = Hold(self._unproven), list[File]()
        try:
            sealed = self._seal(sealer, itertools.chain([first], files), entries, _until(proven, hold))
            stored = self._store(blob, sealer.header.pack(), sealed)
            wanted = terms()
            expires = expires_at(self._now(), wanted.life, self._max_expiry)
            self._records.finish(blob, stored, expires=expires, opens=wanted.opens, now=self._now())
        except BaseException:
            self.abandon(blob)
            raise
        finally:
            hold.release()
        self._count("direct")
        return Receipt(blob, links.write_token(seed), links.write_token(owner), expires, tuple(entries), wanted.opens)

    # Sealed by the client, part by part.

    def begin(self, plan: Plan, uploader: bytes) -> None:
        """Begin an upload; once more with the same values changes nothing.

        `uploader`, 16 bytes, stands for whose unfinished uploads are counted together. Raises Unprocessable,
        BadRequest, Taken, TooMany.
        """
        try:
            header = Header.parse(plan.header)
        except ContainerError:
            raise Unprocessable("The field header is not the header of a container (format.md, section 2).") from None
        most = parts.most_chunks(header.chunk_size)
        if not 1 <= plan.part_chunks <= most:
            raise Unprocessable(
                f"The field part_chunks has to be from 1 to {most} with chunks of {header.chunk_size} bytes."
            )
        expires_at(self._now(), plan.terms.life, self._max_expiry)
        new = NewShare(
            id=plan.id,
            header=plan.header,
            part_chunks=plan.part_chunks,
            knock_hash=plan.knock_hash,
            access_hash=plan.access_hash,
            owner_hash=plan.owner_hash,
            created=self._now(),
            life=plan.terms.life,
            opens=plan.terms.opens,
            uploader=uploader,
        )
        self._records.begin(new)

    def look(self, blob: str, owner: str) -> tuple[Upload, tuple[PartRecord, ...]]:
        """An upload and its stored parts, for who has its owner token, finished or not. Raises NotFound."""
        upload = self._owned(blob, owner)
        return upload, self._records.parts(blob)

    def put(self, blob: str, owner: str, number: int, pieces: Iterable[bytes], mark: bytes | None) -> PartRecord:
        """Store a part of at most MAX_PART bytes; one that was there before is replaced.

        Raises NotFound, NotOpen, TooLarge, NoRoom, Unprocessable, and whatever `pieces` does.
        """
        upload = self._owned(blob, owner)
        if upload.is_finished:
            raise NotOpen("This upload is finished: its parts cannot be changed.")
        most = parts.container_size(self._max_size, Header.parse(upload.header).chunk_size)
        last = most // _MIB + _SMALL_PARTS  # or a few bytes each could use up the disk's files
        if number > last:
            raise Unprocessable(f"Parts are numbered from 0 to {last} at most here: put more chunks into each.")
        return self._put(blob, number, pieces, mark, most)

    def finish(self, blob: str, owner: str, named: Sequence[Named]) -> Upload:
        """Make an upload a share, if the parts that are named are those that are stored, and a container.

        Once more with the same parts changes nothing. Raises NotFound, NotOpen, TooLarge, Unprocessable; nothing is
        lost then.
        """
        upload, stored = self.look(blob, owner)
        if [Named(part.number, part.size, part.sha256) for part in stored] != list(named):
            if upload.is_finished:
                raise NotOpen("This upload is finished, with other parts.")
            raise Unprocessable("The parts that were named are not those that are stored: ask which are there.")
        if not upload.is_finished:
            if parts.check(self._blobs, blob, upload.header, upload.part_chunks, stored).length > self._max_size:
                raise TooLarge("This is more than the server takes (MAX_UPLOAD_SIZE).")
            expires = expires_at(self._now(), upload.life, self._max_expiry)
            try:
                self._records.finish(blob, stored, expires=expires, opens=upload.opens, now=self._now())
            except NotOpen:
                return self._finished_by_another(blob, owner, named)
            self._count("sealed")
            with suppress(OSError):  # what a crash left of puts that were not recorded
                self._blobs.keep(blob, {part.name for part in stored})
        return self._owned(blob, owner)

    def _finished_by_another(self, blob: str, owner: str, named: Sequence[Named]) -> Upload:
        """What a finish that came between made of it; or a part did."""
        upload, stored = self.look(blob, owner)
        if upload.is_finished and [Named(part.number, part.size, part.sha256) for part in stored] == list(named):
            return upload
        raise NotOpen("The parts of this upload changed meanwhile: ask which are there.")

    def give_up(self, blob: str, owner: str) -> None:
        """Give up an upload that is not finished, and remove what it stored. Raises NotFound, NotOpen."""
        self._owned(blob, owner)
        if not self.abandon(blob):
            self._owned(blob, owner)  # or another gave it up a moment ago
            raise NotOpen("This upload is finished: it is a share now, which its owner can delete.")

    def abandon(self, blob: str) -> bool:
        """Give up an open upload and remove what it stored; what cannot be removed now is left to the sweep. Gives
        whether it was open."""
        if not self._records.give_up(blob, self._now()):
            return False
        with suppress(OSError):
            self._blobs.purge(blob)
            self._records.bury(blob)
        return True

    def _owned(self, blob: str, owner: str) -> Upload:
        try:
            proof = links.read_token(owner)
        except BadRequest:
            raise NotFound() from None
        upload = self._records.upload(blob)
        if upload is None or not hmac.compare_digest(links.fingerprint(proof), upload.owner_hash):
            raise NotFound()
        return upload

    def _put(
        self, blob: str, number: int, pieces: Iterable[bytes], mark: bytes | None = None, most: int | None = None
    ) -> PartRecord:
        """Store a part, then record it."""
        if self._blobs.free() < self._min_free + MAX_PART:
            raise NoRoom(_FULL)
        if self._quota is not None and self._records.stored() >= self._quota:  # before anything is read
            raise NoRoom("There is no room left on this server (MAX_STORED_BYTES).")
        arriving = os.urandom(16)
        try:
            stored = self._blobs.put(blob, number, self._arriving(arriving, pieces))
            part = PartRecord(stored.number, stored.name, stored.size, stored.sha256, mark)
            replaced = self._record(blob, part, most, arriving)
        except BaseException:
            if self._quota is not None:
                self._records.leave(arriving)
            self._clear_up(blob)
            raise
        if replaced:
            self._blobs.remove(blob, replaced)
        return part

    def _arriving(self, arriving: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of a part, as long as there is room for them; of the quota it is reserved as they come."""
        for piece in pieces:
            if self._blobs.free() < self._min_free + len(piece):
                raise NoRoom(_FULL)
            if self._quota is not None:
                self._records.arrive(arriving, len(piece), self._quota, self._now())
            yield piece

    def _record(self, blob: str, part: PartRecord, most: int | None, arriving: bytes) -> str | None:
        arrived = arriving if self._quota is not None else None
        try:
            return self._records.put_part(blob, part, self._now(), most=most, arrived=arrived)
        except BaseException:
            self._blobs.remove(blob, part.name)
            raise

    def _clear_up(self, blob: str) -> None:
        """Leave nothing of a put that failed because its upload was given up meanwhile: it may have made its folder
        anew, or kept who gave up from removing it."""
        if self._records.is_given_up(blob):
            with suppress(OSError):
                self._blobs.purge(blob)
                self._records.bury(blob)
        elif self._records.upload(blob) is None:
            self._blobs.tidy(blob)

    def _sealer(self, seed: bytes, password: str | None, proven: Callable[[], bool]) -> Sealer:
        if password is None:
            return Sealer(seed, chunk_size=self._chunk_size, entropy=self._entropy)
        if not proven():
            raise Forbidden("A share with a password needs the upload secret before the file.")
        with self._passwords.turn_to_seal():
            return Sealer(seed, chunk_size=self._chunk_size, password=password, entropy=self._entropy)

    def _new(self, blob: str, seed: bytes, owner: bytes, sealer: Sealer) -> NewShare:
        return NewShare(
            id=blob,
            header=sealer.header.pack(),
            part_chunks=parts.most_chunks(self._chunk_size),
            knock_hash=links.fingerprint(links.knock(seed)),
            access_hash=links.fingerprint(sealer.keys.access),
            owner_hash=links.fingerprint(owner),
            created=self._now(),
        )

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
        size, stored = parts.most_chunks(self._chunk_size), list[PartRecord]()
        for first in sealed:
            before = [] if stored else [header]
            pieces = itertools.chain(before, [first], itertools.islice(sealed, size - 1))
            stored.append(self._put(blob, len(stored), pieces))
        return stored

    def _count(self, door: str) -> None:
        if self._tally:
            self._tally.add("uploads", door)

    def _now(self) -> int:
        return int(self._clock())


def _until(proven: Callable[[], bool], hold: Hold) -> Callable[[int], None]:
    def check(size: int) -> None:
        if not proven():
            hold.take(size)

    return check
