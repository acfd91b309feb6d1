"""Records: what the database knows of shares. Never a name, a type, a key or a token.

SQLAlchemy Core, SQLite by default. Every method is one transaction, durable when it returns (WAL, synchronous=FULL).
What reads and then writes begins with BEGIN IMMEDIATE, so that no other writer comes between. Times are whole seconds
since 1970, given by the caller: no clock here.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from onekey.errors import NewerSchema, NotOpen, Taken

OPEN: Final = "open"
LIVE: Final = "live"
DEAD: Final = "dead"
FAR_AHEAD: Final = 86_400
"""A clock that is this many seconds ahead of the newest time in the database is not believed at once."""
_BUSY_MS: Final = 30_000

_metadata = sa.MetaData()
_shares = sa.Table(
    "shares",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(4), nullable=False),
    sa.Column("header", sa.LargeBinary(96), nullable=False),
    sa.Column("part_chunks", sa.Integer, nullable=False),
    sa.Column("knock_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("access_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("owner_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("touched", sa.BigInteger, nullable=False),
    sa.Column("finished", sa.BigInteger),
    sa.Column("expires", sa.BigInteger),
    sa.Column("died", sa.BigInteger),
)
_parts = sa.Table(
    "parts",
    _metadata,
    sa.Column("share", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(32), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)
_tombstones = sa.Table("tombstones", _metadata, sa.Column("id", sa.LargeBinary(16), primary_key=True))
_clock = sa.Table(
    "clock",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("newest", sa.BigInteger, nullable=False),
    sa.Column("ahead_since", sa.BigInteger),
)


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A stored part: its number, the name of its file, its bytes and their SHA-256."""

    number: int
    name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """What is known of a share when its upload begins. The hashes are SHA-256, 32 bytes; `header` is 96 bytes."""

    id: str
    header: bytes
    part_chunks: int
    knock_hash: bytes
    access_hash: bytes
    owner_hash: bytes
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A finished share: its record. `size` is that of the container, in bytes; `expires` None means never.

    `last` is its last part, whose number tells how many there are.
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
    last: PartRecord


class Records:
    """The database. Any thread may call any of this at any time, and so may other processes."""

    def __init__(self, url: str | sa.URL) -> None:
        self._engine = sa.create_engine(url, pool_size=8, max_overflow=-1, connect_args={"check_same_thread": False})
        self._writer = threading.Lock()
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)

    @classmethod
    def at(cls, file: Path) -> "Records":
        """An SQLite database in a file, made if need be, readable for its owner only."""
        file.touch(mode=0o600)
        return cls(sa.URL.create("sqlite", database=str(file)))

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    # Unfinished uploads.

    def begin(self, new: NewShare) -> None:
        """Take a blob id, for ever. Raises Taken for one in use or used before."""
        with self._writing() as db:
            buried = db.scalar(sa.select(_tombstones.c.id).where(_tombstones.c.id == bytes.fromhex(new.id)))
            known = db.scalar(sa.select(_shares.c.id).where(_shares.c.id == new.id))
            if buried or known:
                raise Taken("This blob id is taken.")
            row = {name: getattr(new, name) for name in NewShare.__slots__}
            db.execute(sa.insert(_shares).values(state=OPEN, touched=new.created, **row))
            _tick(db, new.created)

    def put_part(self, share: str, part: PartRecord, now: int) -> str | None:
        """Record a part of an open upload; gives the name of the one it replaces. Raises NotOpen."""
        with self._writing() as db:
            touch = sa.update(_shares).where(_shares.c.id == share, _shares.c.state == OPEN).values(touched=now)
            if db.execute(touch).rowcount != 1:
                raise NotOpen("This upload is not open.")
            here = sa.and_(_parts.c.share == share, _parts.c.number == part.number)
            replaced = db.scalar(sa.select(_parts.c.name).where(here))
            row = {"name": part.name, "size": part.size, "sha256": part.sha256}
            upsert = insert(_parts).values(share=share, number=part.number, **row)
            db.execute(upsert.on_conflict_do_update(index_elements=["share", "number"], set_=row))
            _tick(db, now)
            return replaced

    def finish(self, share: str, parts: Sequence[PartRecord], expires: int | None, now: int) -> None:
        """Make an upload a share, if its parts are exactly `parts`, in order. Raises NotOpen."""
        with self._writing() as db:
            if _select_parts(db, share) != tuple(parts):
                raise NotOpen("The parts of this upload are not those that were named.")
            state = {
                "state": LIVE,
                "finished": now,
                "expires": expires,
                "size": sum(part.size for part in parts),
            }
            done = sa.update(_shares).where(_shares.c.id == share, _shares.c.state == OPEN).values(touched=now, **state)
            if db.execute(done).rowcount != 1:
                raise NotOpen("This upload is not open.")
            _tick(db, now)

    def give_up(self, share: str, now: int) -> bool:
        """Mark an open upload dead; gives whether it was open."""
        with self._writing() as db:
            dead = sa.update(_shares).where(_shares.c.id == share, _shares.c.state == OPEN)
            return db.execute(dead.values(state=DEAD, died=now)).rowcount == 1

    # Finished shares.

    def share(self, share: str, now: int) -> Share | None:
        """A share that can be opened at `now`; None for all others alike."""
        # The query of every download. Core's own way to run it takes four times as long, most of it for a transaction
        # that one statement does not need.
        raw = self._engine.raw_connection()
        try:
            rows = raw.cursor().execute(_SHARE, (share, now)).fetchall()
        finally:
            raw.close()
        if not rows:
            return None
        row = rows[0]
        fields = dict(zip(_SHARE_FIELDS, row, strict=False))
        return Share(**fields, last=PartRecord(*row[len(_SHARE_FIELDS) :]))

    def parts(self, share: str, first: int, last: int) -> tuple[PartRecord, ...]:
        """The parts from number `first` to `last`, in order."""
        with self._reading() as db:
            return tuple(PartRecord(*row) for row in db.execute(_PARTS, {"id": share, "first": first, "last": last}))

    def expire(self, share: str, expires: int | None) -> bool:
        """Change when a live share expires; gives whether there was one."""
        with self._writing() as db:
            change = sa.update(_shares).where(_shares.c.id == share, _shares.c.state == LIVE)
            return db.execute(change.values(expires=expires)).rowcount == 1

    def kill(self, share: str, now: int) -> bool:
        """Mark a live share dead; gives whether it was live."""
        with self._writing() as db:
            dead = sa.update(_shares).where(_shares.c.id == share, _shares.c.state == LIVE)
            return db.execute(dead.values(state=DEAD, died=now)).rowcount == 1

    # The end of both.

    def mark_dead(self, now: int, idle: int) -> int:
        """Mark dead what expired, and open uploads without activity for `idle` seconds; gives how many."""
        expired = sa.and_(_shares.c.state == LIVE, _shares.c.expires <= now)
        abandoned = sa.and_(_shares.c.state == OPEN, _shares.c.touched <= now - idle)
        with self._writing() as db:
            marked = sa.update(_shares).where(sa.or_(expired, abandoned)).values(state=DEAD, died=now)
            return db.execute(marked).rowcount

    def dead(self, before: int) -> tuple[str, ...]:
        """The ids of what was marked dead at `before` or earlier."""
        with self._reading() as db:
            found = sa.select(_shares.c.id).where(_shares.c.state == DEAD, _shares.c.died <= before)
            return tuple(db.scalars(found))

    def bury(self, share: str) -> None:
        """Remove a dead share's record; an id that was ever finished leaves a tombstone."""
        with self._writing() as db:
            here = sa.and_(_shares.c.id == share, _shares.c.state == DEAD)
            row = db.execute(sa.select(_shares.c.finished).where(here)).first()
            if row is None:
                return
            if row.finished is not None:
                db.execute(insert(_tombstones).values(id=bytes.fromhex(share)).on_conflict_do_nothing())
            db.execute(sa.delete(_parts).where(_parts.c.share == share))
            db.execute(sa.delete(_shares).where(here))

    # The clock's memory: the vault's rule 9.

    def newest(self) -> tuple[int | None, int | None]:
        """The newest time the database has seen, and since when a clock far ahead of it has been seen."""
        with self._reading() as db:
            row = db.execute(sa.select(_clock.c.newest, _clock.c.ahead_since)).first()
            return (row.newest, row.ahead_since) if row else (None, None)

    def tick(self, now: int) -> None:
        """Note a time that is to be believed."""
        with self._writing() as db:
            upsert = insert(_clock).values(id=1, newest=now)
            believed = {"newest": sa.func.max(_clock.c.newest, now), "ahead_since": None}
            db.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=believed))

    def note_ahead(self, since: int | None) -> None:
        """Note since when the clock is far ahead; None where it no longer is."""
        with self._writing() as db:
            db.execute(sa.update(_clock).values(ahead_since=since))

    # The schema.

    def migrate(self) -> None:
        """Bring the schema up to date, one transaction a step. Call it under a lock. Raises NewerSchema."""
        scripts = ScriptDirectory.from_config(_alembic())
        with self._engine.connect() as db:
            found = MigrationContext.configure(db).get_current_revision()
        known = {step.revision for step in scripts.walk_revisions()}
        if found is not None and found not in known:
            raise NewerSchema(
                f"The database has schema {found}, which this onekey does not know: a newer onekey wrote it."
            )
        if found != scripts.get_current_head():
            self._upgrade()

    def _upgrade(self) -> None:
        config = _alembic()
        with self._engine.connect().execution_options(writing=True) as db:
            config.attributes["connection"] = db
            command.upgrade(config, "head")

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # SQLite lets writers in as they happen to ask: with many at once, some would ask in vain for too long.
        with self._writer, self._engine.connect().execution_options(writing=True) as db, db.begin():
            yield db


def _on_connect(connection: Any, _record: object) -> None:
    # None: sqlite3 itself begins nothing, `_on_begin` says when and how.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


_SHARE_FIELDS: Final = tuple(name for name in Share.__slots__ if name != "last")
_PART_FIELDS: Final = tuple(_parts.c[name] for name in PartRecord.__slots__)
_SHARE: Final = (
    str(
        sa.select(*(_shares.c[name] for name in _SHARE_FIELDS), *_PART_FIELDS)
        .join(_parts, _parts.c.share == _shares.c.id)
        .where(_shares.c.id == sa.bindparam("id"), _shares.c.state == sa.literal_column(f"'{LIVE}'"))
        .where(sa.or_(_shares.c.expires.is_(None), _shares.c.expires > sa.bindparam("now")))
        .order_by(_parts.c.number.desc())
        .compile(dialect=sqlite.dialect())
    )
    + " LIMIT 1"
)
_PARTS = (
    sa.select(*_PART_FIELDS)
    .where(_parts.c.share == sa.bindparam("id"))
    .where(_parts.c.number.between(sa.bindparam("first"), sa.bindparam("last")))
    .order_by(_parts.c.number)
)


def _select_parts(db: sa.Connection, share: str) -> tuple[PartRecord, ...]:
    return tuple(PartRecord(*row) for row in db.execute(_PARTS, {"id": share, "first": 0, "last": 1 << 40}))


def _tick(db: sa.Connection, now: int) -> None:
    # What happens under a clock that is far ahead is no proof that the clock is right: only `tick` may say so.
    upsert = insert(_clock).values(id=1, newest=now)
    believable = _clock.c.newest.between(now - FAR_AHEAD, now)
    db.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={"newest": now}, where=believable))


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config
