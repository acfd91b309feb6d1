"""The database: its tables, its transactions, its schema. What is in them is for records and limits to say.

SQLAlchemy Core, SQLite by default. A transaction that writes begins with BEGIN IMMEDIATE, so that no other writer comes
between, and is durable when it returns (WAL, synchronous=FULL) unless it says that it need not be. Times are whole
seconds since 1970, given by the caller: no clock here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from onekey.errors import NewerSchema

_BUSY_MS: Final = 30_000

metadata = sa.MetaData()
shares = sa.Table(
    "shares",
    metadata,
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
    sa.Column("life", sa.BigInteger),
    sa.Column("opens", sa.BigInteger),
    sa.Column("opened", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_opened", sa.BigInteger),
    sa.Column("uploader", sa.LargeBinary(16)),
)
parts = sa.Table(
    "parts",
    metadata,
    sa.Column("share", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(32), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("mark", sa.LargeBinary(16)),
    sqlite_with_rowid=False,
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("share", sa.String(32), nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("ends", sa.BigInteger, nullable=False),
    sa.Column("served", sa.Boolean, nullable=False),
)
guesses = sa.Table(
    "guesses",
    metadata,
    sa.Column("share", sa.String(32), primary_key=True),
    sa.Column("client", sa.LargeBinary(16), primary_key=True),
    sa.Column("guess", sa.LargeBinary(32), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
counts = sa.Table(
    "counts",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("label", sa.String(64), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
arriving = sa.Table(
    "arriving",
    metadata,
    sa.Column("id", sa.LargeBinary(16), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
tombstones = sa.Table("tombstones", metadata, sa.Column("id", sa.LargeBinary(16), primary_key=True))
clock = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("newest", sa.BigInteger, nullable=False),
    sa.Column("ahead_since", sa.BigInteger),
)


class Database:
    """One database. Any thread may use it at any time, and so may other processes."""

    def __init__(self, url: str | sa.URL) -> None:
        self.engine = sa.create_engine(url, pool_size=8, max_overflow=-1, connect_args={"check_same_thread": False})
        self._writer = threading.Lock()
        event.listen(self.engine, "connect", _on_connect)
        event.listen(self.engine, "begin", _on_begin)

    @classmethod
    def at(cls, file: Path) -> "Database":
        """An SQLite database in a file, made if need be, readable for its owner only."""
        file.touch(mode=0o600)
        return cls(sa.URL.create("sqlite", database=str(file)))

    @classmethod
    def to_look_at(cls, file: Path) -> "Database":
        """An SQLite database that is there, and that cannot be changed through this."""
        address = f"file:{quote(str(file))}"
        found = cls(sa.URL.create("sqlite", database=address, query={"mode": "ro", "uri": "true"}))
        event.remove(found.engine, "connect", _on_connect)  # which would change how the file is written
        return found

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for what only reads."""
        with self.engine.connect() as db:
            yield db

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """One transaction. One that is not durable survives a crash of this process, and may be lost with the power."""
        # SQLite lets writers in as they happen to ask: with many at once, some would ask in vain for too long.
        connect = self.engine.connect
        with self._writer, connect().execution_options(writing=_FULL if durable else _NORMAL) as db, db.begin():
            yield db

    def migrate(self) -> None:
        """Bring the schema up to date, one transaction a step. Call it under a lock. Raises NewerSchema."""
        found, newest = self.schema()
        if found != newest:
            self._upgrade()

    def schema(self) -> tuple[str | None, str | None]:
        """The schema that is there, None before the first, and the newest that is known. Raises NewerSchema."""
        scripts = ScriptDirectory.from_config(_alembic())
        with self.engine.connect() as db:
            found = MigrationContext.configure(db).get_current_revision()
        known = {step.revision for step in scripts.walk_revisions()}
        if found is not None and found not in known:
            raise NewerSchema(
                f"The database has schema {found}, which this onekey does not know: a newer onekey wrote it."
            )
        return found, scripts.get_current_head()

    def damage(self) -> str | None:
        """What SQLite finds wrong with its file, in its own words; None for nothing. Reads all of it."""
        with self.reading() as db:
            found = str(db.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        return None if found == "ok" else found

    def _upgrade(self) -> None:
        config = _alembic()
        with self.engine.connect().execution_options(writing=_FULL) as db:
            config.attributes["connection"] = db
            command.upgrade(config, "head")


_FULL: Final = "FULL"
_NORMAL: Final = "NORMAL"


def _on_connect(connection: Any, _record: object) -> None:
    # None: sqlite3 itself begins nothing, `_on_begin` says when and how.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    if how := connection.get_execution_options().get("writing"):
        connection.exec_driver_sql(f"PRAGMA synchronous={how}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config
