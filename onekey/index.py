"""The index of a container: what its content is, as JSON in one spelling (format.md, section 2, "Index").

Text in, text out; no keys. Whoever makes a link can seal any index under it, so reading trusts nothing:
whatever the bytes hold, the answer is an Index that keeps every rule, or Damaged. The same rules refuse to
write what could not be read.
"""

import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from onekey.errors import BadRequest, Damaged

BLOCK = 256
MAX_INDEX = 1 << 20
MAX_FILES = 10_000
MAX_NUMBER = (1 << 53) - 1
THUMBNAIL = "thumbnail"

_MAX_DEPTH = 16
_MAX_FOLDERS = 32
_MAX_TEXT = 255

_LETTERS = frozenset(string.ascii_letters)
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
# The two tokens of RFC 9110, section 8.3.1, and any parameters in visible ASCII.
_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: *;[ -~]*)?")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a share.

    size is in bytes, path the folders that it lies in, of the position of the file that a thumbnail is of.
    """

    name: str
    type: str
    size: int
    path: tuple[str, ...] = ()
    role: str | None = None
    of: int | None = None


@dataclass(frozen=True)
class Index:
    """What the content is: its length in bytes, padding included, and its files in the order they lie in."""

    length: int
    files: tuple[File, ...]

    def encode(self) -> bytes:
        """The plaintext, padded to a multiple of 256 bytes. An index that breaks a rule raises BadRequest."""
        problem = _problem(self)
        if problem:
            raise BadRequest(problem)
        text = write_json({"length": self.length, "files": [_members(file) for file in self.files]})
        if len(text) > MAX_INDEX:
            raise BadRequest("The names of the files are too long together.")
        return text.ljust(-(-len(text) // BLOCK) * BLOCK)

    @classmethod
    def decode(cls, plaintext: bytes) -> "Index":
        """The index that a plaintext holds, every rule checked. Raises Damaged and nothing else."""
        if len(plaintext) % BLOCK or not BLOCK <= len(plaintext) <= MAX_INDEX:
            raise _damaged()
        value = read_json(plaintext.rstrip(b" "))
        if not isinstance(value, dict) or not isinstance(value.get("files"), list):
            raise _damaged()
        length: Any = value.get("length")
        index = cls(length, tuple(_file(entry) for entry in value["files"]))
        if _problem(index):
            raise _damaged()
        return index

    def span(self, number: int) -> tuple[int, int]:
        """Where the file of this number (from 0) lies in the content: (start, stop), in bytes."""
        stop = self._stops[number]
        return stop - self.files[number].size, stop

    @cached_property
    def _stops(self) -> tuple[int, ...]:
        return tuple(accumulate(file.size for file in self.files))


def valid_name(name: object) -> bool:
    """Whether this may name a file or a folder in a share."""
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and name not in (".", "..")
        and len(name.encode()) <= _MAX_TEXT
    )


def valid_type(media_type: object) -> bool:
    """Whether this may be the type of a file: a media type of at most 255 ASCII characters."""
    return isinstance(media_type, str) and len(media_type) <= _MAX_TEXT and _TYPE.fullmatch(media_type) is not None


def write_json(value: Any) -> bytes:
    """UTF-8 exactly as ECMAScript's JSON.stringify writes it. Lone surrogates raise UnicodeEncodeError."""
    return _ENCODER.encode(value).encode()


def read_json(text: bytes) -> Any:
    """The value of a text in the one spelling. Raises Damaged and nothing else, however odd the text is."""
    try:
        value = _DECODER.decode(text.decode())
        _check_shape([value], _MAX_DEPTH + 1)
        same = write_json(value) == text
    except (ValueError, RecursionError):  # what is no UTF-8 or no JSON, and what is too deep for the parser
        raise _damaged() from None
    if not same:
        raise _damaged()
    return value


def _integer(digits: str) -> int:
    # The length first: a million digits take for ever to become a number. A -0 is caught by the comparison.
    number = int(digits) if len(digits) <= 16 else -1
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError
    return number


def _refuse(_: str) -> None:
    raise ValueError


# NaN and Infinity pass the decoder and stop at the encoder.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)
_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_refuse)


def _check_shape(value: Any, room: int) -> None:
    """Nesting and member names. JavaScript moves names that are numbers to the front, so none may be one."""
    if not room:
        raise ValueError
    if isinstance(value, dict):
        if not all(name[:1] in _LETTERS for name in value):
            raise ValueError
        value = value.values()
    for member in value:
        if isinstance(member, (dict, list)):
            _check_shape(member, room - 1)


def _damaged() -> Damaged:
    return Damaged("The index of this share is damaged.")


def _members(file: File) -> dict[str, Any]:
    members: dict[str, Any] = {"name": file.name, "type": file.type, "size": file.size}
    if file.path:
        members["path"] = file.path
    if file.role is not None:
        members |= {"role": file.role, "of": file.of}
    return members


def _file(entry: Any) -> File:
    """A File of whatever the members hold: _problem tells whether they are right."""
    if not isinstance(entry, dict) or not isinstance(entry.get("path", []), list):
        raise _damaged()
    if None in (entry.get("role", ""), entry.get("of", 0)):  # null is not the same as no member
        raise _damaged()
    member: Callable[[str], Any] = entry.get
    path = tuple(member("path") or ())
    return File(member("name"), member("type"), member("size"), path, member("role"), member("of"))


def _problem(index: Index) -> str | None:
    """The first rule that an index breaks, as a sentence without names, or None."""
    if not _is_number(index.length):
        return "The content is too long."
    if not 1 <= len(index.files) <= MAX_FILES:
        return f"A share has 1 to {MAX_FILES} files."
    for file in index.files:
        problem = _problem_of(file, len(index.files))
        if problem:
            return problem
    if sum(file.size for file in index.files) > index.length:
        return "The files are longer than the content."
    return None


def _problem_of(file: File, count: int) -> str | None:
    if not valid_name(file.name):
        return "A file has a name that cannot be."
    if not valid_type(file.type):
        return "A file has a type that is no media type."
    if not _is_number(file.size):
        return "A file has a size that cannot be."
    if len(file.path) > _MAX_FOLDERS or not all(map(valid_name, file.path)):
        return "A file lies in a folder that cannot be."
    if (file.role is None) != (file.of is None) or file.role not in (None, THUMBNAIL):
        return "A file has a role that cannot be."
    if file.of is not None and not (_is_number(file.of) and file.of < count):
        return "A thumbnail is of no file of the share."
    return None


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER  # not isinstance: a bool is an int
