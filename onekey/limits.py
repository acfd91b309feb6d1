"""Limits: opens and their leases, guesses, and counts of what was done. No token, no address, no password.

An open is taken, and a guess held, by one atomic transaction of the database: processes and restarts do not multiply
them. Of a lease SHA-256 is kept; a client is 16 bytes that stand for its address, a guess 32 that stand for what was
tried. Times are whole seconds since 1970, given by the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from onekey.database import Database, counts, guesses, leases, shares
from onekey.records import LIVE

LONGEST_LEASE: Final = 86_400
"""Seconds after which a lease ends, whatever is served under it: the vault's rule 6."""
HOUR: Final = 3600
GIVEN_BACK: Final = "opens_given_back"
"""The name of the count of opens under whose lease nothing was served."""
_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read a limited share until `ends`; `served`: some of its content left under it already."""

    started: int
    ends: int
    served: bool


@dataclass(frozen=True, slots=True)
class Allowed:
    """How many wrong guesses are allowed: by one client in a minute, by all together in an hour (None: any number)."""

    a_minute: int
    an_hour: int | None = None


class Limits:
    """What is used up. Any thread may call any of this at any time, and so may other processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Opens and leases: the vault's rule 6.

    def take(self, share: str, lease: bytes, now: int, lasts: int) -> bool:
        """Take one open of a limited share, and give a lease for it; False where none is left.

        Once more with a lease that lives takes nothing: its client did not hear the answer.
        """
        with self._database.writing() as db:
            _give_back(db, now, sa.or_(leases.c.share == share, leases.c.hash == lease))
            db.execute(sa.delete(leases).where(leases.c.hash == lease, leases.c.ends <= now))
            held = db.scalar(sa.select(leases.c.share).where(leases.c.hash == lease))
            if held is not None:
                return bool(held == share)
            one = sa.update(shares).where(shares.c.id == share, shares.c.state == LIVE)
            one = one.where(shares.c.opened < shares.c.opens)
            one = one.where(sa.or_(shares.c.expires.is_(None), shares.c.expires > now))
            if db.execute(one.values(opened=shares.c.opened + 1, last_opened=_hour(now))).rowcount != 1:
                return False
            row = {"hash": lease, "share": share, "started": now, "ends": now + lasts, "served": False}
            db.execute(sa.insert(leases).values(row))
            return True

    def lease(self, share: str, lease: bytes, now: int) -> Lease | None:
        """A lease that lives; None for all others alike."""
        here = (leases.c.hash == lease, leases.c.share == share, leases.c.ends > now)
        with self._database.reading() as db:
            row = db.execute(sa.select(leases.c.started, leases.c.ends, leases.c.served).where(*here)).first()
            return Lease(*row) if row else None

    def returning(self, share: str, now: int) -> int:
        """How many leases have ended with nothing served: their opens can be taken again."""
        ended = (leases.c.share == share, leases.c.ends <= now, leases.c.served.is_(False))
        with self._database.reading() as db:
            return db.scalar(sa.select(sa.func.count()).where(*ended)) or 0

    def serve(self, share: str, lease: bytes, now: int, lasts: int, *, first: bool) -> bool:
        """Note that content is served under a lease: it goes on, and keeps its open. False where it has ended.

        The `first` time is durable before a byte leaves. Later ones only move the end, and may be lost with the power.
        """
        ends = sa.func.min(leases.c.started + LONGEST_LEASE, now + lasts)
        here = (leases.c.hash == lease, leases.c.share == share, leases.c.ends > now)
        with self._database.writing(durable=first) as db:
            values = {"served": True, "ends": sa.func.max(leases.c.ends, ends)}
            return db.execute(sa.update(leases).where(*here).values(values)).rowcount == 1

    def end_leases(self, now: int) -> None:
        """Remove the leases that are over; those under which nothing was served give their opens back."""
        with self._database.writing() as db:
            _give_back(db, now, sa.true())
            db.execute(sa.delete(leases).where(leases.c.ends <= now))

    # Guesses.

    def guess(self, share: str, client: bytes, guess: bytes, now: int, allowed: Allowed) -> int:
        """Hold a guess before it is looked at; gives 0, or after how many seconds one may be made.

        The same guess again is the same one. It counts until `forgive` says that it was right.
        """
        same = _this(share, client, guess)
        mine = _recent(share, now, _MINUTE).where(guesses.c.client == client)
        all_ = _recent(share, now, HOUR)
        with self._database.writing(durable=False) as db:
            if db.scalar(sa.select(guesses.c.at).where(*same, guesses.c.at > now - HOUR)) is not None:
                return 0
            for found, most, span in ((mine, allowed.a_minute, _MINUTE), (all_, allowed.an_hour, HOUR)):
                at = None if most is None else db.scalar(found.offset(most - 1).limit(1))
                if at is not None:
                    return max(1, at + span - now)
            row = {"share": share, "client": client, "guess": guess, "at": now}
            db.execute(insert(guesses).values(row).on_conflict_do_update(index_elements=_GUESS, set_={"at": now}))
            return 0

    def forgive(self, share: str, client: bytes, guess: bytes) -> None:
        """Say that a guess was right, or that it came to nothing."""
        with self._database.writing(durable=False) as db:
            db.execute(sa.delete(guesses).where(*_this(share, client, guess)))

    def rename(self, share: str, client: bytes, guess: bytes, known_as: bytes, now: int) -> None:
        """Say that a guess was wrong, and under which 32 bytes it is the same guess from now on."""
        row = {"share": share, "client": client, "guess": known_as, "at": now}
        with self._database.writing(durable=False) as db:
            db.execute(sa.delete(guesses).where(*_this(share, client, guess)))
            db.execute(insert(guesses).values(row).on_conflict_do_nothing())

    def forget_guesses(self, now: int) -> None:
        """Forget those that count no more, and those that a wrong clock made."""
        with self._database.writing(durable=False) as db:
            db.execute(sa.delete(guesses).where(~guesses.c.at.between(now - HOUR, now + _MINUTE)))

    # Counts.

    def add(self, more: Mapping[tuple[str, str], float], opened: Mapping[str, tuple[int, int]]) -> None:
        """Add to counts by name and label; and to shares how often, and in which hour, they were opened."""
        rows = [{"name": name, "label": label, "value": value} for (name, label), value in more.items()]
        with self._database.writing(durable=False) as db:
            if rows:
                db.execute(_COUNT, rows)
            for share, (times, hour) in opened.items():
                here = sa.update(shares).where(shares.c.id == share)
                db.execute(here.values(opened=shares.c.opened + times, last_opened=hour))

    def counts(self) -> dict[tuple[str, str], float]:
        """All counts, by name and label."""
        with self._database.reading() as db:
            found = db.execute(sa.select(counts.c.name, counts.c.label, counts.c.value))
            return {(name, label): value for name, label, value in found}


_GUESS: Final = ["share", "client", "guess"]
_MORE: Final = insert(counts)
_COUNT: Final = _MORE.on_conflict_do_update(
    index_elements=["name", "label"], set_={"value": counts.c.value + _MORE.excluded.value}
)


def _this(share: str, client: bytes, guess: bytes) -> tuple[sa.ColumnElement[bool], ...]:
    return guesses.c.share == share, guesses.c.client == client, guesses.c.guess == guess


def _hour(now: int) -> int:
    return now - now % HOUR


def _give_back(db: sa.Connection, now: int, which: sa.ColumnElement[bool]) -> None:
    """Let leases that ended with nothing served give their opens back."""
    ended = sa.and_(which, leases.c.ends <= now, leases.c.served.is_(False))
    given = sa.select(leases.c.share, sa.func.count()).where(ended).group_by(leases.c.share)
    for share, opens in db.execute(given).all():
        back = sa.update(shares).where(shares.c.id == share)
        db.execute(back.values(opened=sa.func.max(0, shares.c.opened - opens)))
        db.execute(_COUNT, {"name": GIVEN_BACK, "label": "", "value": opens})
    db.execute(sa.delete(leases).where(ended))


def _recent(share: str, now: int, span: int) -> sa.Select[int]:
    """When the last guesses at a share were made, newest first. A time to come is a clock's error."""
    return (
        sa.select(guesses.c.at)
        .where(guesses.c.share == share, guesses.c.at.between(now - span + 1, now + _MINUTE))
        .order_by(guesses.c.at.desc())
    )
