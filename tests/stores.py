"""Records, limits, blobs, uploads and the vault over them, for tests; and containers made by a client's own hand."""

import hashlib
import random
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onekey import links
from onekey.blobs import Blobs, MemoryBlobs, Part, Stored
from onekey.container import OVERHEAD, File, Sealer
from onekey.limits import Limits
from onekey.locks import Allowance
from onekey.opened import OpenShare
from onekey.parts import most_chunks
from onekey.passwords import Passwords
from onekey.records import NewShare, PartRecord, Records, Upload
from onekey.tally import Tally
from onekey.uploads import UNPROVEN, Incoming, Named, Plan, Receipt, Terms, Uploads
from onekey.vault import Credentials, Proof, Vault

if TYPE_CHECKING:
    from tests.conftest import Clock

C = 1 << 12
STEP = C + OVERHEAD
LARGE = 1 << 22
K = most_chunks(LARGE)
MIB = 1 << 20
DAY = 86_400
MOST = 1 << 32
BLOB = "0123456789abcdef" * 2
SEED = bytes(range(24))
TOKEN = links.write_token(SEED)
OWNER = bytes(range(100, 124))
OWNER_TOKEN = links.write_token(OWNER)
CLIENT = b"c" * 16
OTHER_CLIENT = b"d" * 16
UPLOADER = b"u" * 16
TYPE = "application/octet-stream"


def content(size: int) -> bytes:
    """Content in which no two chunks are alike."""
    return random.Random(size).randbytes(size)


def incoming(*contents: Iterable[bytes] | bytes, name: str = "file.bin") -> Iterator[Incoming]:
    """Files of these contents, each in one piece or in those given."""
    for given in contents:
        yield Incoming(name, TYPE, iter([given] if isinstance(given, bytes) else given))


def failing(error: BaseException, *pieces: bytes) -> Iterator[bytes]:
    """Pieces, and then an error."""
    yield from pieces
    raise error


@cache
def migrated() -> bytes:
    """A database without a row, up to date: the bytes of its file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "onekey.db"
        with closing(Records(f"sqlite:///{file}")) as made:
            made.migrate()
        return file.read_bytes()


def shown(password: str | None = None, lease: str = "", client: bytes = CLIENT) -> Credentials:
    """What a client of the direct door shows."""
    return Credentials(client, password, lease)


TABLES = ("shares", "parts", "leases", "guesses", "tombstones")


def left_of(*shares: str) -> tuple[object, ...]:
    """All that may be left of shares that were finished: their tombstones."""
    return ([], [], [], [], [(bytes.fromhex(share),) for share in shares], 0, 0)


NOTHING = left_of()


class Store:
    """All that a server stores and the use cases over it, in one folder, under a clock that tests set."""

    def __init__(
        self,
        blobs: Blobs,
        folder: Path,
        clock: "Clock",
        *,
        chunk_size: int = C,
        units: int = UNPROVEN,
        max_size: int = MOST,
        max_expiry: int | None = None,
        lease_time: int = 3600,
        passwords: type[Passwords] = Passwords,
        **more: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.clock, self.blobs = folder, clock, blobs
        file = folder / "onekey.db"
        if not file.exists():
            file.write_bytes(migrated())
        self.records = Records.at(file)
        self.limits = Limits(self.records.database)
        self.passwords, self.tally = passwords(clock, lease_time), Tally(self.limits)
        parts = (self.records, self.limits, blobs, self.passwords, self.tally, clock)
        self.vault = Vault(*parts, max_expiry=max_expiry, lease_time=lease_time)
        self.uploads = Uploads(
            self.records,
            blobs,
            self.passwords,
            clock,
            unproven=Allowance(folder / "unproven.lock", units),
            chunk_size=chunk_size,
            max_size=max_size,
            max_expiry=max_expiry,
            **more,
        )

    @property
    def now(self) -> int:
        """The time, in whole seconds."""
        return int(self.clock())

    def receive(
        self,
        *contents: Iterable[bytes] | bytes,
        proven: Callable[[], bool] = lambda: True,
        expires: int | None = None,
        opens: int | None = None,
        password: str | None = None,
    ) -> Receipt:
        """Upload files of these contents, to be sealed here."""
        terms = Terms(expires, opens)
        return self.uploads.receive(incoming(*contents), proven=proven, terms=lambda: terms, password=lambda: password)

    def open(self, token: str, password: str | None = None, lease: str | None = "") -> OpenShare:
        """What a link opens."""
        return self.vault.open(token, shown(password, lease or ""))

    def read(
        self,
        token: str,
        number: int = 0,
        start: int = 0,
        stop: int | None = None,
        *,
        password: str | None = None,
        lease: str | None = "",
    ) -> bytes:
        """The bytes that a link opens."""
        opened = self.open(token, password, lease)
        try:
            return b"".join(opened.read(number, start, stop))
        finally:
            opened.close()

    def take(self, token: str, password: str | None = None) -> str:
        """Take an open of a limited share; gives the lease."""
        lease = self.vault.open_once(token, shown(password))
        assert lease is not None
        return lease

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in the database."""
        with closing(sqlite3.connect(self.folder / "onekey.db")) as raw:
            return raw.execute(query).fetchall()

    def change(self, statement: str, *values: object) -> None:
        """Change the database behind our back."""
        with closing(sqlite3.connect(self.folder / "onekey.db")) as raw, raw:
            raw.execute(statement, values)

    def files(self) -> list[Path]:
        """The files that blobs on a disk consist of."""
        return [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]

    def stored(self) -> int:
        """How many bytes the blobs hold, and one more for each file or folder of theirs."""
        if isinstance(self.blobs, MemoryBlobs):
            return (1 << 30) - self.blobs.free()
        found = list((self.folder / "blobs").rglob("*"))
        return sum(1 + (path.stat().st_size if path.is_file() else 0) for path in found)

    def sums(self) -> tuple[int, int, int]:
        """Stored bytes as they are counted, as the parts add up, and as the blobs hold them: one number."""
        ((recorded,),) = self.rows("SELECT coalesce(sum(size), 0) FROM parts")
        if isinstance(self.blobs, MemoryBlobs):
            return self.records.stored(), recorded, (1 << 30) - self.blobs.free()
        return self.records.stored(), recorded, sum(path.stat().st_size for path in self.files())

    def left(self) -> tuple[object, ...]:
        """All that an upload could have left: rows, bytes, what is counted as stored."""
        found = (self.rows(f"SELECT * FROM {table}") for table in TABLES)
        return (*found, self.stored(), self.records.stored())

    def begin(self, share: str = BLOB) -> None:
        """Begin an upload of OWNER by hand."""
        header, owner = Sealer(SEED, chunk_size=C).header.pack(), links.fingerprint(OWNER)
        fields: dict[str, Any] = {"id": share, "header": header, "part_chunks": 1, "owner_hash": owner}
        new = NewShare(created=self.now, knock_hash=bytes(32), access_hash=bytes(32), **fields)
        self.records.begin(new)

    def put(self, number: int, *pieces: bytes, share: str = BLOB, mark: bytes | None = None) -> PartRecord:
        """Put a part of an upload of OWNER."""
        return self.uploads.put(share, OWNER_TOKEN, number, pieces, mark)

    def pass_time(self, *spans: int) -> None:
        """Let spans of time pass, with a sweep every twelve hours and one at the end of each."""
        for seconds in spans:
            end = self.clock.now + seconds
            while self.clock.now < end:
                self.clock.now = min(end, self.clock.now + 12 * 3600)
                self.vault.sweep()

    def close(self) -> None:
        """Let go of the database."""
        self.tally.flush()
        self.records.close()


class ByHand:
    """A container sealed by its client, with k chunks in a part, so that small shares have many parts.

    Where k divides the number of chunks, index and trailer lie in a part of their own, unless `joined`.
    """

    def __init__(
        self,
        data: bytes = b"abc",
        *,
        k: int = 2,
        files: int = 1,
        seed: bytes = SEED,
        owner: bytes = OWNER,
        joined: bool = False,
        **options: Any,
    ) -> None:
        if "password" in options:
            options |= {"iterations": 1, "memory": 13}
        sealer = Sealer(seed, chunk_size=C, **options)
        each = len(data) // files
        entries = [File(f"{number}", "a/b", each) for number in range(files - 1)]
        entries.append(File(f"{files - 1}", "a/b", len(data) - each * (files - 1)))
        chunks = sealer.update(data)
        *rest, self.end = sealer.finish(entries)
        self.chunks = [*chunks, *rest]
        self.k, self.header, self.access = k, sealer.header.pack(), sealer.keys.access
        self.id, self.knock = links.blob_id(seed), links.knock(seed)
        self.token, self.owner, self._owner = links.write_token(seed), links.write_token(owner), owner
        parts = [b"".join(self.chunks[start : start + k]) for start in range(0, len(self.chunks), k)]
        if not parts or (len(self.chunks) % k == 0 and not joined):
            parts.append(b"")
        parts[0] = self.header + parts[0]
        parts[-1] += self.end
        self.parts = parts

    @property
    def whole(self) -> bytes:
        """The container."""
        return b"".join(self.parts)

    @property
    def named(self) -> list[Named]:
        """The parts as a client names them that finishes."""
        return [Named(number, len(data), hashlib.sha256(data).digest()) for number, data in enumerate(self.parts)]

    def proof(
        self, lease: str | None = "", *, access: bytes | None = None, knock: bytes | None = None, client: bytes = CLIENT
    ) -> Proof:
        """What a client of the sealed door shows; access and knock are right unless others are given."""
        shown_access = self.access if access is None else access
        return Proof(shown_access, self.knock if knock is None else knock, client, lease or "")

    def plan(self, terms: Terms | None = None, **changes: Any) -> Plan:
        """What its client says of it when it begins."""
        fields: dict[str, Any] = {
            "id": self.id,
            "header": self.header,
            "part_chunks": self.k,
            "knock_hash": links.fingerprint(self.knock),
            "access_hash": links.fingerprint(self.access),
            "owner_hash": links.fingerprint(self._owner),
            "terms": terms or Terms(),
        }
        return Plan(**(fields | changes))

    def begin(self, store: Store, terms: Terms | None = None) -> None:
        """Begin its upload."""
        store.uploads.begin(self.plan(terms), UPLOADER)

    def put(self, store: Store, number: int, data: bytes | None = None) -> PartRecord:
        """Put one of its parts, or other bytes in its place."""
        return store.uploads.put(self.id, self.owner, number, [self.parts[number] if data is None else data], None)

    def finish(self, store: Store, named: Sequence[Named] | None = None) -> Upload:
        """Finish its upload."""
        return store.uploads.finish(self.id, self.owner, self.named if named is None else named)

    def begin_and_put(self, store: Store, terms: Terms | None = None) -> None:
        """Upload all of it, and do not finish."""
        self.begin(store, terms)
        for number in range(len(self.parts)):
            self.put(store, number)

    def upload(self, store: Store, **terms: int | None) -> "ByHand":
        """Upload all of it, and finish."""
        self.begin_and_put(store, Terms(**terms))
        self.finish(store)
        return self

    def store(self, store: Store, **changes: Any) -> list[PartRecord]:
        """Store it past every check, with changes to its record; gives what was recorded of the parts."""
        expires, opens = changes.pop("expires", None), changes.pop("opens", None)
        plan = self.plan()
        fields: Mapping[str, Any] = {name: getattr(plan, name) for name in plan.__slots__ if name != "terms"}
        new = NewShare(**{**fields, "created": store.now, **changes})
        store.records.begin(new)
        for number, data in enumerate(self.parts):
            stored = store.blobs.put(new.id, number, [data])
            store.records.put_part(new.id, PartRecord(number, stored.name, stored.size, stored.sha256), store.now)
        parts = store.records.parts(new.id, 0, 999)
        store.records.finish(new.id, parts, expires=expires, opens=opens, now=store.now)
        return list(parts)


class Staged:
    """A store of blobs that calls back just before and after a put, and before a part is opened, so that a test can
    let something come between."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.before_put: Callable[[], object] = _nothing
        self.after_put: Callable[[], object] = _nothing
        self.before_open: Callable[[], object] = _nothing

    def put(self, blob: str, number: int, pieces: Iterable[bytes]) -> Stored:
        """As in Blobs."""
        self._once("before_put")
        stored = self._blobs.put(blob, number, pieces)
        self._once("after_put")
        return stored

    def open(self, blob: str, name: str) -> Part:
        """As in Blobs."""
        self._once("before_open")
        return self._blobs.open(blob, name)

    def remove(self, blob: str, name: str) -> None:
        """As in Blobs."""
        self._blobs.remove(blob, name)

    def purge(self, blob: str) -> None:
        """As in Blobs."""
        self._blobs.purge(blob)

    def tidy(self, blob: str) -> None:
        """As in Blobs."""
        self._blobs.tidy(blob)

    def keep(self, blob: str, names: Set[str]) -> None:
        """As in Blobs."""
        self._blobs.keep(blob, names)

    def sizes(self, blob: str) -> dict[str, int]:
        """As in Blobs."""
        return self._blobs.sizes(blob)

    def free(self) -> int:
        """As in Blobs."""
        return self._blobs.free()

    def _once(self, stage: str) -> None:
        call = getattr(self, stage)
        setattr(self, stage, _nothing)
        call()


def _nothing() -> None:
    pass


def together(*calls: Callable[[], object]) -> list[object]:
    """Make calls at one moment, each in a thread of its own; gives what each gave, or the class of what it raised."""
    barrier, ends = threading.Barrier(len(calls)), dict[int, object]()

    def run(which: int) -> None:
        barrier.wait(60)
        try:
            ends[which] = calls[which]()
        except Exception as error:
            ends[which] = type(error)

    threads = [threading.Thread(target=run, args=(which,)) for which in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ends[which] for which in range(len(calls))]
