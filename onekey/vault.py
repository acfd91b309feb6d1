"""The vault: finished shares. Open, lease, change, delete, sweep.

Expired, deleted, used up, wrong knock and never there are one answer, `NotFound`. What a share opened here gives was
verified: its index before anything else, each chunk before a byte of it. The clock is passed in, as seconds since 1970.
"""

import hmac
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from onekey import links
from onekey.blobs import Blobs
from onekey.container import ACCESS_SIZE, STEM_SIZE, Header, Keys, Opener
from onekey.errors import (
    BadRequest,
    Damaged,
    LeaseNeeded,
    NotFound,
    PasswordNeeded,
    SealedOnly,
    TooMany,
    Unprocessable,
    WrongKey,
    WrongPassword,
)
from onekey.limits import GIVEN_BACK as GIVEN_BACK
from onekey.limits import Allowed, Limits
from onekey.opened import Clock as Clock
from onekey.opened import OpenShare, Reading, Sealed
from onekey.parts import Source
from onekey.passwords import Passwords
from onekey.records import FAR_AHEAD, Entry, PartRecord, Records, Share
from onekey.tally import Tally

IDLE: Final = 86_400
"""Seconds without activity after which an unfinished upload is dead."""
GRACE: Final = 25 * 3600
"""Seconds from death to the removal of parts: longer than any lease, which lasts a day at most."""
HELD: Final = 3600
"""Seconds for which a clock that is far ahead must have been so before it is believed."""
GUESSES: Final = Allowed(a_minute=10, an_hour=100)
"""How many wrong passwords one client may try a minute, and all together an hour, at one share."""
SECRETS: Final = Allowed(a_minute=10)
"""How many wrong upload secrets one client may try a minute."""
MOST_OPENS: Final = 1_000_000
"""The highest limit of opens that is taken for one."""
_TRIES: Final = 3
_UPLOADS: Final = "upload secret"  # where guesses at shares have a blob id
_PASSWORD: Final = "This share needs a password."  # noqa: S105
_WRONG: Final = "This is not the password of this share."


@dataclass(frozen=True, slots=True)
class Knocked:
    """A share as who knocks may see it: the first 64 bytes of its header, bytes of its container, when it expires
    (seconds since 1970; None: never), and whether its opens are limited."""

    header: bytes
    size: int
    expires: int | None
    is_limited: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client of the sealed door shows beside a blob id. `client`, 16 bytes, stands for its address."""

    access: bytes = field(repr=False)
    knock: bytes = field(repr=False)
    client: bytes
    lease: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client of the direct door shows beside a token. `client`, 16 bytes, stands for its address."""

    client: bytes
    password: str | None = field(default=None, repr=False)
    lease: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Owned:
    """A share as its owner sees it: bytes of its container, and times in seconds since 1970 (None: never).

    `opens` is how often it may be opened (None: any number of times), `opened` how often it was, `last_opened` the hour
    in which it was last.
    """

    id: str
    size: int
    created: int
    expires: int | None
    opens: int | None
    opened: int
    last_opened: int | None
    needs_password: bool
    sealed_only: bool


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: shares and uploads marked dead, removed, and left for the next time; or that it did nothing
    because the clock is far ahead of the database."""

    marked: int = 0
    removed: int = 0
    left: int = 0
    clock_ahead: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """What there is in all, and what was counted by name and label. `states` is how many shares and uploads are in
    each state, `stored` the bytes that all parts hold, `free` those that the disk has left."""

    states: Mapping[str, int]
    stored: int
    free: int
    counts: Mapping[tuple[str, str], float]


class Vault:
    """Finished shares. Any thread may call any of this at any time, and so may other processes."""

    def __init__(
        self,
        records: Records,
        limits: Limits,
        blobs: Blobs,
        passwords: Passwords,
        tally: Tally,
        clock: Clock,
        *,
        max_expiry: int | None = None,
        lease_time: int = 3600,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._records, self._limits, self._blobs, self._passwords = records, limits, blobs, passwords
        self._tally, self._clock, self._max_expiry, self._lease_time = tally, clock, max_expiry, lease_time
        self._entropy = entropy

    # The direct door: who has a token.

    def open(self, token: str, shown: Credentials) -> OpenShare:
        """Open a share with the token of its link.

        Raises NotFound, SealedOnly, PasswordNeeded, WrongPassword, TooMany, Busy, LeaseNeeded, Damaged.
        """
        share, header, seed = self._find(token)
        ikm = self._unlock(share, header, seed, shown)
        reading = self._reading(share, shown.lease)
        source = self._source(share, header)
        try:
            return OpenShare(share, source, Opener(source, seed, header=header, ikm=ikm), reading)
        except WrongKey:
            raise NotFound() from None
        except BaseException:
            source.close()
            raise

    def open_once(self, token: str, shown: Credentials) -> str | None:
        """Take an open of the share of a link; gives the lease, None where opens are not limited. Raises as `open`."""
        share, header, seed = self._find(token)
        self._unlock(share, header, seed, shown)
        return None if share.opens is None else self._take(share)  # what is read next is counted then

    def _find(self, token: str) -> tuple[Share, Header, bytes]:
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
        return share, header, seed

    def _unlock(self, share: Share, header: Header, seed: bytes, shown: Credentials) -> bytes:
        """The ikm of a share. A wrong password is one guess, however often it comes; none at all is no guess."""
        if not header.needs_password:
            return seed
        if shown.password is None:
            raise PasswordNeeded(_PASSWORD)
        name = self._passwords.name(header, seed, shown.password)
        tried = self._passwords.known(name)
        if tried is not None and not tried.is_right:
            raise WrongPassword(_WRONG)
        # What Argon2id will make of it nobody knows yet. Where it is Busy the guess stays held: another request may be
        # trying the same, and to try again is no other guess.
        self._hold(share.id, shown.client, name)
        tried = self._passwords.attempt(name, header, seed, shown.password)
        if tried.ikm is not None and tried.is_right:
            self._limits.forgive(share.id, shown.client, name)
            return tried.ikm
        if tried.ikm is not None:  # from now on the guess is known by what it gave, which is the same in every process
            guess = links.fingerprint(Keys(header, tried.ikm).access)
            self._limits.rename(share.id, shown.client, name, guess, self._now())
        raise WrongPassword(_WRONG)

    # The sealed door: who knocks, and who has access.

    def knocked(self, share: str, knock: bytes) -> Knocked:
        """What who knocks may know. Raises NotFound."""
        found = self._records.share(share, self._now())
        if found is None or not _proves(knock, found.knock_hash):
            raise NotFound()
        return Knocked(found.header[:STEM_SIZE], found.size, found.expires, found.opens is not None)

    def index(self, share: str, proof: Proof) -> tuple[bytes, bytes, bytes]:
        """Commitment, sealed index and trailer: takes no open. Raises NotFound, WrongPassword, TooMany, Damaged."""
        found = self._admit(share, proof)
        sealed = Sealed(found, self._source(found, Header.parse(found.header)), None)
        try:
            return sealed.index()
        finally:
            sealed.close()

    def lease(self, share: str, proof: Proof) -> str | None:
        """Take an open; gives the lease, None where opens are not limited.

        A lease that the client drew by itself and shows becomes the lease, and asked for again takes no other open.
        Raises BadRequest, NotFound, WrongPassword, TooMany.
        """
        return self._take(self._admit(share, proof), proof.lease)

    def content(self, share: str, proof: Proof) -> Sealed:
        """The sealed bytes. Raises NotFound, WrongPassword, TooMany, LeaseNeeded."""
        found = self._admit(share, proof)
        reading = self._reading(found, proof.lease)
        return Sealed(found, self._source(found, Header.parse(found.header)), reading)

    def _admit(self, share: str, proof: Proof) -> Share:
        """A share, for who has access. Where a password could be guessed, only who knocks may try, and tries count."""
        found = self._records.share(share, self._now())
        if found is None:
            raise NotFound()
        if not Header.parse(found.header).needs_password:
            if not _proves(proof.access, found.access_hash):
                raise NotFound()
            return found
        if not _proves(proof.knock, found.knock_hash):
            raise NotFound()
        if len(proof.access) != ACCESS_SIZE:  # nobody guesses so
            raise WrongPassword(_WRONG)
        guess = links.fingerprint(proof.access)
        self._hold(share, proof.client, guess)
        if not _proves(proof.access, found.access_hash):
            raise WrongPassword(_WRONG)
        self._limits.forgive(share, proof.client, guess)
        return found

    # What both doors share.

    def _hold(self, share: str, client: bytes, guess: bytes) -> None:
        wait = self._limits.guess(share, client, guess, self._now(), GUESSES)
        if wait:
            self._tally.add("guesses_refused", "password")
            raise TooMany(f"Too many wrong passwords: try again in {wait} seconds.", wait)

    def _take(self, share: Share, drawn: str = "") -> str | None:
        if share.opens is None:
            self.opened(share.id)
            return None
        lease = links.read_token(drawn) if drawn else links.new_lease(self._entropy)
        if not self._limits.take(share.id, links.fingerprint(lease), self._now(), self._lease_time):
            raise NotFound()
        self._tally.add("opens", "limited")
        return links.write_token(lease)

    def _reading(self, share: Share, lease: str) -> Reading | None:
        """The right to read. Without a lease who comes is told to take one, while there are opens to be had."""
        if share.opens is None:
            return None
        try:
            hashed = links.fingerprint(links.read_token(lease))
        except BadRequest:
            hashed = b""
        held = self._limits.lease(share.id, hashed, self._now()) if hashed else None
        if held is not None:
            return Reading(self._limits, self._clock, share.id, hashed, held, self._lease_time)
        left = share.opens - share.opened + self._limits.returning(share.id, self._now())
        raise LeaseNeeded(left) if left > 0 else NotFound()

    def _source(self, share: Share, header: Header) -> Source:
        return Source(
            self._records,
            self._blobs,
            share.id,
            size=share.size,
            part_chunks=share.part_chunks,
            chunk_size=header.chunk_size,
            last=share.last,
        )

    def opened(self, share: str) -> None:
        """Count that a share without a limit was opened."""
        self._tally.opened(share, self._now())
        self._tally.add("opens", "unlimited")

    # Upload secrets.

    def try_secret(self, client: bytes, guess: bytes, is_right: Callable[[], bool]) -> bool:
        """Whether an upload secret is right, `guess` being 32 bytes that stand for it. Raises TooMany."""
        wait = self._limits.guess(_UPLOADS, client, guess, self._now(), SECRETS)
        if wait:
            self._tally.add("guesses_refused", "secret")
            raise TooMany(f"Too many wrong upload secrets: try again in {wait} seconds.", wait)
        if not is_right():
            return False
        self._limits.forgive(_UPLOADS, client, guess)
        return True

    # The owner.

    def owned(self, share: str, owner: str) -> Owned:
        """What an owner may know of a share, for who has its owner token. Raises NotFound."""
        try:
            proof = links.read_token(owner)
        except BadRequest:
            raise NotFound() from None
        found = self._records.share(share, self._now())
        if found is None or not _proves(proof, found.owner_hash):
            raise NotFound()
        self._tally.flush()
        found = self._records.share(share, self._now()) or found
        header = Header.parse(found.header)
        return Owned(
            found.id,
            found.size,
            found.created,
            found.expires,
            found.opens,
            found.opened,
            found.last_opened,
            header.needs_password,
            header.sealed_only,
        )

    def change(self, share: str, owner: str, asked: Mapping[str, int | None]) -> None:
        """Change a share: `expires_in` seconds from now on (None: never), `opens` times in all (None: any number).

        What is not asked for stays. Raises NotFound; BadRequest beyond MAX_EXPIRY; Unprocessable below what was used.
        """
        found = self.owned(share, owner)
        values = {"opens": asked["opens"]} if "opens" in asked else {}
        if "expires_in" in asked:
            values["expires"] = expires_at(self._now(), asked["expires_in"], self._max_expiry)
        if values and not self._records.change(found.id, **values):
            used = self.owned(share, owner).opened
            raise Unprocessable(f"This share was opened {used} times already: not fewer opens may be allowed.")

    def delete(self, share: str, owner: str) -> None:
        """Delete a share for good: no request finds it from here on, and its bytes are gone. Raises NotFound."""
        self.erase(self.owned(share, owner).id)

    # The operator, and the end.

    def entries(self, share: str | None = None) -> tuple[Entry, ...]:
        """Everything that there is, oldest first, or the one entry of a blob id."""
        self._tally.flush()
        return self._records.entries(share)

    def holds(self, share: str) -> tuple[tuple[PartRecord, ...], dict[str, int]]:
        """The parts of a share or upload as they were recorded, and the names and bytes of its files in the store."""
        return self._records.parts(share), self._blobs.sizes(share)

    def totals(self) -> Totals:
        """What there is in all, and what was counted."""
        self._tally.flush()
        records = self._records
        return Totals(records.states(), records.stored(), self._blobs.free(), self._limits.counts())

    def erase(self, share: str) -> bool:
        """Delete a share or an unfinished upload, whoever owns it; gives whether there was one."""
        self._records.kill(share, self._now())
        found = self._records.entries(share)
        if found:
            self._remove_now(share)
        return bool(found)

    def _remove_now(self, share: str) -> None:
        """Nobody finds it any more; what cannot be removed, even if a put comes between, the next sweep removes."""
        for _ in range(_TRIES):
            with suppress(OSError):
                self.remove(share)
                return

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
            self._tally.add("sweeps", "clock_ahead")
            return Swept(clock_ahead=True)
        self._limits.end_leases(now)
        self._limits.forget_guesses(now)
        marked = self._records.mark_dead(now, IDLE)
        removed = left = 0
        for share in self._records.dead(now - GRACE):
            try:
                self.remove(share)
                removed += 1
            except (OSError, Damaged):  # a put came between, the disk will not, or the id cannot be: the record stays
                left += 1
        self._records.tick(now)
        self._tally.add("sweeps", "done")
        for what, count in (("marked", marked), ("removed", removed), ("left", left)):
            self._tally.add("swept", what, count)
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
