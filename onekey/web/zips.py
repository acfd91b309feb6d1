"""A share as one zip, written while it goes out: stored, with times that never change, of a length known beforehand."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Final, cast

# PKWARE's APPNOTE 6.3.10: a local header is 30 bytes and its name, an entry of the directory 46 and its name, the end
# 22. What passes 2 GiB, zipfile's limit, adds 20 bytes to the local header, 8 to its data descriptor of 16, and 76 to
# the end.
_LIMIT: Final = zipfile.ZIP64_LIMIT
_COUNT: Final = zipfile.ZIP_FILECOUNT_LIMIT
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive: its name there, its size in bytes, and where they come from, read once."""

    name: str
    size: int
    pieces: Iterable[bytes]


def length(entries: Iterable[tuple[str, int]]) -> int:
    """The bytes of the archive that `write` gives for entries of these names and sizes."""
    offset = directory = count = 0
    for name, size in entries:
        spelled, big = len(name.encode()), size > _LIMIT
        far = 8 * (2 * big + (offset > _LIMIT))
        directory += 46 + spelled + (4 + far if far else 0)
        offset += 30 + spelled + (20 if big else 0) + size + (24 if big else 16)
        count += 1
    return offset + directory + 22 + (76 if count > _COUNT or max(offset, directory) > _LIMIT else 0)


def write(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive, piece by piece. Raises what the pieces raise."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w") as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _EPOCH)
            info.external_attr = 0o600 << 16
            with archive.open(info, "w", force_zip64=entry.size > _LIMIT) as file:
                for piece in entry.pieces:
                    file.write(piece)
                    yield sink.taken()
    yield sink.taken()


class _Sink:
    """What zipfile writes to; having no `tell`, it is taken for a stream."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(data)
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        written, self._written = b"".join(self._written), []
        return written
