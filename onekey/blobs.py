"""Blobs: containers at rest, in parts, opaque to the store.

A part is written once, whole or not at all, under a name that nobody chose: a put never meets another's file. What is
put is on the disk, file and folder, before its name is given back (design: the vault's rules 1 and 2). Names that come
back from the database are checked against the form that this module gives them: a database is hostile too.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onekey.errors import Damaged, NoRoom, NotOpen

_BLOB = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"(0|[1-9][0-9]{0,9})-[0-9a-f]{16}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Stored:
    """A part that is on the disk: its number, the name of its file, its bytes and their SHA-256."""

    number: int
    name: str
    size: int
    sha256: bytes


class Part(Protocol):
    """A stored part, open for reading."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from byte `offset` on; gives how many bytes were there. Raises OSError."""

    def close(self) -> None:
        """Let go of it. Closing twice does nothing."""


class Blobs(Protocol):
    """The store. Any thread and any process may call any of this at any time."""

    def put(self, blob: str, number: int, pieces: Iterable[bytes]) -> Stored:
        """Write a part as it comes. Raises NoRoom, NotOpen where `purge` ran meanwhile, and
        whatever `pieces` raises; nothing is left then."""

    def open(self, blob: str, name: str) -> Part:
        """A part for reading. Raises Damaged where it is not there."""

    def remove(self, blob: str, name: str) -> None:
        """Remove one part; none there is no error."""

    def purge(self, blob: str) -> None:
        """Remove all that is stored under a blob id, what no record names included.

        Raises OSError where a put came between; the caller tries again later.
        """

    def tidy(self, blob: str) -> None:
        """Remove what a put into a blob that was purged may have left, where nothing is stored there."""

    def keep(self, blob: str, names: Set[str]) -> None:
        """Remove what is stored under a blob id by other names than these, what no record names included."""

    def sizes(self, blob: str) -> dict[str, int]:
        """Of all that is stored under a blob id, what no record names included, the names and their bytes."""

    def free(self) -> int:
        """Bytes that can still be stored."""


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise Damaged("The database names a part that cannot be.")
    return text


def new_name(number: int) -> str:
    """A fresh name for part `number`: `<number>-<16 random hexadecimal digits>`."""
    return f"{number}-{secrets.token_hex(8)}"


class _DiskPart:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


class DiskBlobs:
    """Parts as 0600 files, `<root>/<blob id>/<number>-<random>`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, blob: str, number: int, pieces: Iterable[bytes]) -> Stored:
        folder, name = self._folder(blob), new_name(number)
        try:
            with suppress(FileExistsError):  # not exist_ok=True, which fails where `purge` comes between
                folder.mkdir(mode=0o700)
            _flush_folder(self._root)  # always: another put may have made the folder and not come to this line
            size, digest = _write(folder / name, pieces)
        except FileNotFoundError:
            raise NotOpen("This upload was given up.") from None
        except OSError as error:
            if error.errno in _FULL:
                raise NoRoom("There is no room left on this server.") from None
            raise
        return Stored(number, name, size, digest)

    def open(self, blob: str, name: str) -> Part:
        path = (
            f"{self._root}/{_checked(_BLOB, blob)}/{_checked(_NAME, name)}"  # pathlib's own way takes longer than open
        )
        try:
            return _DiskPart(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError:
            raise Damaged("A part of this share is not there.") from None

    def remove(self, blob: str, name: str) -> None:
        (self._folder(blob) / _checked(_NAME, name)).unlink(missing_ok=True)

    def purge(self, blob: str) -> None:
        folder = self._folder(blob)
        if folder.is_symlink():  # what it leads to is not the store's
            folder.unlink()
        with suppress(FileNotFoundError):
            for entry in list(folder.iterdir()):
                entry.unlink(missing_ok=True)
            folder.rmdir()
            _flush_folder(self._root)

    def tidy(self, blob: str) -> None:
        with suppress(OSError):  # it is not empty, or not there
            self._folder(blob).rmdir()

    def keep(self, blob: str, names: Set[str]) -> None:
        for entry in list(self._folder(blob).iterdir()):
            if entry.name not in names:
                entry.unlink(missing_ok=True)

    def sizes(self, blob: str) -> dict[str, int]:
        found = dict[str, int]()
        with suppress(FileNotFoundError), os.scandir(self._folder(blob)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it was removed a moment ago
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def free(self) -> int:
        return shutil.disk_usage(self._root).free

    def _folder(self, blob: str) -> Path:
        return self._root / _checked(_BLOB, blob)


def _write(path: Path, pieces: Iterable[bytes]) -> tuple[int, bytes]:
    """Write a new file from pieces, flushed; whatever goes wrong, it is gone again. Gives size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            for piece in pieces:
                _write_all(descriptor, piece)
                digest.update(piece)
                size += len(piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
        _flush_folder(path.parent)
    except BaseException:
        for left in (temporary, path):
            left.unlink(missing_ok=True)
        raise
    return size, digest.digest()


def _write_all(descriptor: int, piece: bytes) -> None:
    done = os.write(descriptor, piece)
    while done < len(piece):
        done += os.write(descriptor, memoryview(piece)[done:])


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _MemoryPart:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self._data[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._data = b""


class MemoryBlobs:
    """The same in memory, `room` bytes of it."""

    def __init__(self, room: int = 1 << 30) -> None:
        self._room = room
        self._parts: dict[tuple[str, str], bytes] = {}
        self._putting: set[tuple[str, str]] = set()
        self._mutex = threading.Lock()

    def put(self, blob: str, number: int, pieces: Iterable[bytes]) -> Stored:
        key = (_checked(_BLOB, blob), new_name(number))
        self._putting.add(key)
        try:
            data = b"".join(pieces)
            with self._mutex:
                if key not in self._putting:
                    raise NotOpen("This upload was given up.")
                if len(data) > self.free():
                    raise NoRoom("There is no room left on this server.")
                self._parts[key] = data
        finally:
            self._putting.discard(key)
        return Stored(number, key[1], len(data), hashlib.sha256(data).digest())

    def open(self, blob: str, name: str) -> Part:
        try:
            return _MemoryPart(self._parts[_checked(_BLOB, blob), _checked(_NAME, name)])
        except KeyError:
            raise Damaged("A part of this share is not there.") from None

    def remove(self, blob: str, name: str) -> None:
        self._parts.pop((_checked(_BLOB, blob), _checked(_NAME, name)), None)

    def purge(self, blob: str) -> None:
        _checked(_BLOB, blob)
        with self._mutex:
            for key in [*self._putting, *self._parts]:
                if key[0] == blob:
                    self._putting.discard(key)
                    self._parts.pop(key, None)

    def tidy(self, blob: str) -> None:
        _checked(_BLOB, blob)

    def keep(self, blob: str, names: Set[str]) -> None:
        _checked(_BLOB, blob)
        with self._mutex:
            for key in [*self._putting, *self._parts]:
                if key[0] == blob and key[1] not in names:
                    self._putting.discard(key)
                    self._parts.pop(key, None)

    def sizes(self, blob: str) -> dict[str, int]:
        _checked(_BLOB, blob)
        with self._mutex:
            return {name: len(data) for (owner, name), data in self._parts.items() if owner == blob}

    def free(self) -> int:
        return self._room - sum(map(len, self._parts.values()))
