"""Records: what the database knows of shares. Never a name, a type, a key or a token.

Every method is one transaction, durable when it returns. Times are whole seconds since 1970, given by the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from onekey.database import Database, arriving, clock, counts, guesses, leases, parts, shares, tombstones
from onekey.errors import NoRoom, NotOpen, Taken, TooLarge, TooMany

OPEN: Final = "open"
LIVE: Final = "live"
DEAD: Final = "dead"
FAR_AHEAD: Final = 86_400
"""A clock that is this many seconds ahead of the newest time in the database is not believed at once."""
MAX_OPEN: Final = 100
"""How many unfinished uploads one client, or one upload secret, may have."""
STORED: Final = "stored_bytes"
"""The name of the count of all bytes that parts hold."""
_RETRY_BEGIN: Final = 60
_LAST: Final = 1 << 40
# Whose upload it was is forgotten as it dies, but not that its client chose the id.
_NOBODY: Final = sa.case((shares.c.uploader.is_(None), sa.null()), else_=sa.literal(b"", sa.LargeBinary))


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A stored part: its number, the name of its file, its bytes, their SHA-256, and the mark that its client left."""

    number: int
    name: str
    size: int
    sha256: bytes
    mark: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """What is known of a share when its upload begins. The hashes are SHA-256, 32 bytes; `header` is 96 bytes.

    `life` is how long it is to live, in seconds from its finish on (None: for ever), `opens` how often it may be opened
    (None: any number of times). `uploader`, 16 bytes, stands for the client or the secret whose unfinished uploads are
    counted together; None where they need no counting.
    """

    id: str
    header: bytes
    part_chunks: int
    knock_hash: bytes
    access_hash: bytes
    owner_hash: bytes
    created: int
    life: int | None = None
    opens: int | None = None
    uploader: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload, as its owner may see it: unfinished, or finished a while ago."""

    id: str
    state: str
    header: bytes
    part_chunks: int
    owner_hash: bytes
    created: int
    life: int | None
    opens: int | None
    expires: int | None
    size: int | None

    @property
    def is_finished(self) -> bool:
        """Whether it is a share by now."""
        return self.state == LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A finished share: its record. `size` is that of the container, in bytes; `expires` None means never.

    `opens` is how often it may be opened (None: any number of times), `opened` how often it was, leases that were not
    made use of aside; `last_opened` is the hour in which it was opened last. `last` is its last part, whose number
    tells how many there are.
    """

    id: str
    header: bytes
    part_chunks: int
    knock_hash: bytes
    access_hash: bytes
    owner_hash: bytes
    size: int
    created: int
    expires: int | None
    opens: int | None
    opened: int
    last_opened: int | None
    last: PartRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of an operator's list: a share, an unfinished upload, or what is left of a dead one."""

    id: str
    state: str
    header: bytes
    size: int | None
    created: int
    finished: int | None
    expires: int | None
    died: int | None
    opens: int | None
    opened: int
    last_opened: int | None


class Records:
    """Shares and uploads. Any thread may call any of this at any time, and so may other processes."""

    def __init__(self, database: Database | str | sa.URL) -> None:
        self.database = database if isinstance(database, Database) else Database(database)

    @classmethod
    def at(cls, file: Path) -> "Records":
        """Those in an SQLite file, made if need be, readable for its owner only."""
        return cls(Database.at(file))

    def migrate(self) -> None:
        """Bring the schema up to date. Call it under a lock. Raises NewerSchema."""
        self.database.migrate()

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()

    # Unfinished uploads.

    def begin(self, new: NewShare) -> None:
        """Take a blob id, for ever; to begin once more with the same values changes nothing.

        Raises Taken for an id in use or used before, TooMany where the uploader has MAX_OPEN unfinished ones.
        """
        asked = {name: getattr(new, name) for name in NewShare.__slots__}
        with self.database.writing() as db:
            known = db.execute(sa.select(shares).where(shares.c.id == new.id)).mappings().first()
            if known is not None and _is_again(known, asked):
                return
            buried = db.scalar(sa.select(tombstones.c.id).where(tombstones.c.id == bytes.fromhex(new.id)))
            if buried or known:
                raise Taken("This blob id is taken.")
            if new.uploader is not None:
                _check_open(db, new.uploader)
            db.execute(sa.insert(shares).values(state=OPEN, touched=new.created, opened=0, **asked))
            _tick(db, new.created)

    def upload(self, share: str) -> Upload | None:
        """An upload, finished or not; None for one that was given up or was never begun."""
        fields = [shares.c[name] for name in Upload.__slots__]
        with self.database.reading() as db:
            found = sa.select(*fields).where(shares.c.id == share, shares.c.state.in_((OPEN, LIVE)))
            row = db.execute(found).mappings().first()
            return Upload(**row) if row else None

    def arrive(self, part: bytes, more: int, quota: int, now: int) -> None:
        """Reserve room for `more` bytes of a part on its way, known by 16 bytes of its own.

        Raises NoRoom where all that is stored and on its way would be more than `quota`.
        """
        with self.database.writing(durable=False) as db:
            reserved = db.scalar(sa.select(sa.func.sum(arriving.c.size))) or 0
            if _counted(db, STORED) + reserved + more > quota:
                raise NoRoom("There is no room left on this server (MAX_STORED_BYTES).")
            upsert = insert(arriving).values(id=part, size=more, at=now)
            total = {"size": arriving.c.size + upsert.excluded.size}
            db.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=total))

    def leave(self, part: bytes) -> None:
        """Give back the room of a part that did not arrive."""
        with self.database.writing(durable=False) as db:
            db.execute(sa.delete(arriving).where(arriving.c.id == part))

    def put_part(
        self, share: str, part: PartRecord, now: int, *, most: int | None = None, arrived: bytes | None = None
    ) -> str | None:
        """Record a part of an open upload; gives the name of the one it replaces.

        `most` is how many bytes this upload may hold, `arrived` what its room was reserved by. Raises NotOpen,
        TooLarge.
        """
        with self.database.writing() as db:
            touch = sa.update(shares).where(shares.c.id == share, shares.c.state == OPEN).values(touched=now)
            if db.execute(touch).rowcount != 1:
                raise NotOpen("This upload is not open.")
            here = sa.and_(parts.c.share == share, parts.c.number == part.number)
            before = db.execute(sa.select(parts.c.name, parts.c.size).where(here)).first()
            row = {"name": part.name, "size": part.size, "sha256": part.sha256, "mark": part.mark}
            upsert = insert(parts).values(share=share, number=part.number, **row)
            db.execute(upsert.on_conflict_do_update(index_elements=["share", "number"], set_=row))
            if most is not None and _size(db, share) > most:
                raise TooLarge("This is more than the server takes (MAX_UPLOAD_SIZE).")
            _count(db, STORED, part.size - (before.size if before else 0))
            if arrived is not None:
                db.execute(sa.delete(arriving).where(arriving.c.id == arrived))
            _tick(db, now)
            return str(before.name) if before else None

    def stored(self) -> int:
        """Bytes that all parts hold together."""
        with self.database.reading() as db:
            return _counted(db, STORED)

    def finish(
        self, share: str, named: Sequence[PartRecord], *, expires: int | None, opens: int | None, now: int
    ) -> None:
        """Make an upload a share, if its parts are exactly `named`, in order. Raises NotOpen."""
        with self.database.writing() as db:
            if _select_parts(db, share) != tuple(named):
                raise NotOpen("The parts of this upload are not those that were named.")
            state = {
                "state": LIVE,
                "finished": now,
                "expires": expires,
                "opens": opens,
                "size": sum(part.size for part in named),
                "uploader": None,
            }
            done = sa.update(shares).where(shares.c.id == share, shares.c.state == OPEN).values(touched=now, **state)
            if db.execute(done).rowcount != 1:
                raise NotOpen("This upload is not open.")
            _tick(db, now)

    def give_up(self, share: str, now: int) -> bool:
        """Mark an open upload dead; gives whether it was open."""
        with self.database.writing() as db:
            dead = sa.update(shares).where(shares.c.id == share, shares.c.state == OPEN)
            return db.execute(dead.values(state=DEAD, died=now, uploader=_NOBODY)).rowcount == 1

    def is_given_up(self, share: str) -> bool:
        """Whether an id is that of an upload that was given up, of which something may be left."""
        given_up = (shares.c.id == share, shares.c.state == DEAD, shares.c.finished.is_(None))
        with self.database.reading() as db:
            return db.scalar(sa.select(shares.c.id).where(*given_up)) is not None

    # Finished shares.

    def share(self, share: str, now: int) -> Share | None:
        """A share that can be opened at `now`; None for all others alike."""
        # The query of every download. Core's own way to run it takes four times as long, most of it for a transaction
        # that one statement does not need.
        raw = self.database.engine.raw_connection()
        try:
            rows = raw.cursor().execute(_SHARE, [share if name == "id" else now for name in _SHARE_ORDER]).fetchall()
        finally:
            raw.close()
        if not rows:
            return None
        row = rows[0]
        fields = dict(zip(_SHARE_FIELDS, row, strict=False))
        return Share(**fields, last=PartRecord(*row[len(_SHARE_FIELDS) :]))

    def parts(self, share: str, first: int = 0, last: int = _LAST) -> tuple[PartRecord, ...]:
        """The parts from number `first` to `last`, in order."""
        with self.database.reading() as db:
            return tuple(PartRecord(*row) for row in db.execute(_PARTS, {"id": share, "first": first, "last": last}))

    def change(self, share: str, **values: int | None) -> bool:
        """Change when a live share `expires`, or how many `opens` it allows; gives whether that was done.

        It is not where there is no such share, or where it was opened more often than is to be allowed.
        """
        change = sa.update(shares).where(shares.c.id == share, shares.c.state == LIVE)
        if values.get("opens") is not None:
            change = change.where(shares.c.opened <= values["opens"])
        with self.database.writing() as db:
            return db.execute(change.values(**values)).rowcount == 1

    def kill(self, share: str, now: int) -> bool:
        """Mark a share or an upload dead, and end its leases; gives whether it lived."""
        with self.database.writing() as db:
            db.execute(sa.delete(leases).where(leases.c.share == share))  # nothing more begins under one
            dead = sa.update(shares).where(shares.c.id == share, shares.c.state != DEAD)
            return db.execute(dead.values(state=DEAD, died=now)).rowcount == 1

    # The end of both.

    def mark_dead(self, now: int, idle: int) -> int:
        """Mark dead what expired or is used up, and uploads without activity for `idle` seconds; gives how many.

        What was on its way so long ago gives its room back.
        """
        over = sa.or_(shares.c.expires <= now, ~_can_be_opened(sa.literal(now)))
        finished = sa.and_(shares.c.state == LIVE, over)
        abandoned = sa.and_(shares.c.state == OPEN, shares.c.touched <= now - idle)
        with self.database.writing() as db:
            marked = sa.update(shares).where(sa.or_(finished, abandoned)).values(state=DEAD, died=now, uploader=_NOBODY)
            db.execute(sa.delete(arriving).where(arriving.c.at <= now - idle))
            return db.execute(marked).rowcount

    def dead(self, before: int) -> tuple[str, ...]:
        """The ids of what was marked dead at `before` or earlier."""
        with self.database.reading() as db:
            found = sa.select(shares.c.id).where(shares.c.state == DEAD, shares.c.died <= before)
            return tuple(db.scalars(found))

    def bury(self, share: str) -> None:
        """Remove a dead record. An id that a client chose, or that was ever finished, leaves a tombstone."""
        with self.database.writing() as db:
            here = sa.and_(shares.c.id == share, shares.c.state == DEAD)
            row = db.execute(sa.select(shares.c.finished, shares.c.uploader).where(here)).first()
            if row is None:
                return
            _count(db, STORED, -_size(db, share))
            # A put of an upload that was given up may still be on its way, and must not find another of the same id.
            if row.finished is not None or row.uploader is not None:
                db.execute(insert(tombstones).values(id=bytes.fromhex(share)).on_conflict_do_nothing())
            for table in (parts, leases, guesses):
                db.execute(sa.delete(table).where(table.c.share == share))
            db.execute(sa.delete(shares).where(here))

    # The clock's memory: the vault's rule 9.

    def newest(self) -> tuple[int | None, int | None]:
        """The newest time the database has seen, and since when a clock far ahead of it has been seen."""
        with self.database.reading() as db:
            row = db.execute(sa.select(clock.c.newest, clock.c.ahead_since)).first()
            return (row.newest, row.ahead_since) if row else (None, None)

    def tick(self, now: int) -> None:
        """Note a time that is to be believed."""
        with self.database.writing() as db:
            upsert = insert(clock).values(id=1, newest=now)
            believed = {"newest": sa.func.max(clock.c.newest, now), "ahead_since": None}
            db.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=believed))

    def note_ahead(self, since: int | None) -> None:
        """Note since when the clock is far ahead; None where it no longer is."""
        with self.database.writing() as db:
            db.execute(sa.update(clock).values(ahead_since=since))

    # For the operator.

    def states(self) -> dict[str, int]:
        """How many shares and uploads are in each state, OPEN, LIVE and DEAD."""
        with self.database.reading() as db:
            found = db.execute(sa.select(shares.c.state, sa.func.count()).group_by(shares.c.state))
            return {OPEN: 0, LIVE: 0, DEAD: 0, **{row[0]: row[1] for row in found}}

    def entries(self, share: str | None = None) -> tuple[Entry, ...]:
        """Everything that there is, oldest first, or the one entry of an id."""
        found = sa.select(*(shares.c[name] for name in Entry.__slots__)).order_by(shares.c.created, shares.c.id)
        if share is not None:
            found = found.where(shares.c.id == share)
        with self.database.reading() as db:
            return tuple(Entry(**row) for row in db.execute(found).mappings())


def _can_be_opened(now: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a share has opens left, or a lease that lives or that will give its open back."""
    lives = sa.or_(leases.c.ends > now, leases.c.served.is_(False))
    used = sa.exists().where(leases.c.share == shares.c.id, lives)
    return sa.or_(shares.c.opens.is_(None), shares.c.opened < shares.c.opens, used.correlate(shares))


_SHARE_FIELDS: Final = tuple(name for name in Share.__slots__ if name != "last")
_PART_FIELDS: Final = tuple(parts.c[name] for name in PartRecord.__slots__)
_COMPILED: Final = (
    sa.select(*(shares.c[name] for name in _SHARE_FIELDS), *_PART_FIELDS)
    .join(parts, parts.c.share == shares.c.id)
    .where(shares.c.id == sa.bindparam("id"), shares.c.state == sa.literal_column(f"'{LIVE}'"))
    .where(sa.or_(shares.c.expires.is_(None), shares.c.expires > sa.bindparam("now")))
    .where(_can_be_opened(sa.bindparam("now", type_=sa.BigInteger)))
    .order_by(parts.c.number.desc())
    .compile(dialect=sqlite.dialect())
)
_SHARE: Final = f"{_COMPILED} LIMIT 1"
_SHARE_ORDER: Final = tuple(_COMPILED.positiontup or ())
_PARTS = (
    sa.select(*_PART_FIELDS)
    .where(parts.c.share == sa.bindparam("id"))
    .where(parts.c.number.between(sa.bindparam("first"), sa.bindparam("last")))
    .order_by(parts.c.number)
)


def _is_again(known: sa.RowMapping, asked: Mapping[str, Any]) -> bool:
    """Whether an upload is begun once more: everything but the time and who asks is the same."""
    same = all(known[name] == asked[name] for name in asked if name not in {"created", "uploader"})
    return same and known["state"] in (OPEN, LIVE)


def _check_open(db: sa.Connection, uploader: bytes) -> None:
    found = sa.select(sa.func.count()).where(shares.c.uploader == uploader, shares.c.state == OPEN)
    if (db.scalar(found) or 0) >= MAX_OPEN:
        raise TooMany(f"{MAX_OPEN} uploads are unfinished already: finish or give up some of them.", _RETRY_BEGIN)


def _size(db: sa.Connection, share: str) -> int:
    return int(db.scalar(sa.select(sa.func.sum(parts.c.size)).where(parts.c.share == share)) or 0)


def _count(db: sa.Connection, name: str, more: int) -> None:
    """Add to one of the counts."""
    upsert = insert(counts).values(name=name, label="", value=more)
    total = {"value": counts.c.value + upsert.excluded.value}
    db.execute(upsert.on_conflict_do_update(index_elements=["name", "label"], set_=total))


def _counted(db: sa.Connection, name: str) -> int:
    return int(db.scalar(sa.select(counts.c.value).where(counts.c.name == name, counts.c.label == "")) or 0)


def _select_parts(db: sa.Connection, share: str) -> tuple[PartRecord, ...]:
    return tuple(PartRecord(*row) for row in db.execute(_PARTS, {"id": share, "first": 0, "last": _LAST}))


def _tick(db: sa.Connection, now: int) -> None:
    # What happens under a clock that is far ahead is no proof that the clock is right: only `tick` may say so.
    upsert = insert(clock).values(id=1, newest=now)
    believable = clock.c.newest.between(now - FAR_AHEAD, now)
    db.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={"newest": now}, where=believable))
