"""What the sealed API takes and gives, as pydantic models: they validate the requests, and the OpenAPI document is made
from them.

Bytes are base64url without padding, sizes bytes, durations seconds, times RFC 3339 in UTC. null stands for never, none
and any number of times.
"""

import base64
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from onekey.settings import LONGEST
from onekey.vault import MOST_OPENS

_LAST: Final = {0: "", 1: "[AQgw]", 2: "[AEIMQUYcgkosw048]"}  # the characters whose unused bits are zero
_PARTS: Final = 1 << 17
MARK_SIZE: Final = 16
"""Bytes of a mark."""


def spell(data: bytes) -> str:
    """Bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unspell(text: str) -> bytes:
    """The bytes that base64url without padding spells, in their one spelling. Raises ValueError."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    if spell(data) != text:
        raise ValueError("another spelling of the same bytes")
    return data


def pattern(size: int) -> str:
    """What `size` bytes of base64url look like, in their one spelling."""
    whole, rest = divmod(size, 3)
    return f"^[A-Za-z0-9_-]{{{4 * whole + rest}}}{_LAST[rest]}$"


def _bytes(size: int, what: str, example: bytes) -> Any:
    return Field(pattern=pattern(size), description=f"{what}: {size} bytes.", examples=[spell(example)])


def _integral(value: object) -> object:
    """JSON knows no integers, only numbers: 2.0 is 2. The strict mode of pydantic would refuse it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bounds(low: int, high: int, what: str, example: int) -> Any:
    return Field(ge=low, le=high, description=what, examples=[example])


_HASH: Final = bytes(range(32))
_SHA256: Final = _bytes(32, "SHA-256 of the part", _HASH)
_ID: Final = "49c1b179cc60a412747f4a716703b574"
_TIME: Final = "2026-11-28T12:00:00Z"
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="A blob id: 32 hexadecimal digits.", examples=[_ID])]
# The bounds have to come before BeforeValidator, or they are left out of the schema.
_integer: Final = BeforeValidator(_integral)
_LIFE: Final = "How many seconds a share lives, from its finish or from now on; null: for ever."
_OPENS: Final = "How often a share may be opened, in all; null: any number of times."
ExpiresIn = Annotated[int, Strict(), _bounds(1, LONGEST, _LIFE, 604800), _integer]
Opens = Annotated[int, Strict(), _bounds(1, MOST_OPENS, _OPENS, 1), _integer]
Number = Annotated[int, Strict(), _bounds(0, _PARTS, "The number of a part, from 0.", 0), _integer]
Size = Annotated[int, Strict(), _bounds(0, 1 << 53, "Bytes.", 426), _integer]
PartChunks = Annotated[int, Strict(), _bounds(1, 1 << 13, "Chunks in each part but the last.", 32), _integer]
Time = Annotated[str, Field(description="RFC 3339, in UTC.", examples=[_TIME])]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Given):
    """Every error."""

    error: str = Field(description="What went wrong, for programs.", examples=["not_found"])
    message: str = Field(description="The same, as a sentence.", examples=["There is nothing here."])


class Info(_Given):
    """What this server takes."""

    version: str = Field(examples=["1.0.0"])
    needs_secret: bool = Field(description="Whether uploads need X-Onekey-Secret.")
    max_upload_size: int = Field(description="Bytes of content that a share may hold.", examples=[1 << 32])
    max_files: int = Field(examples=[1000])
    max_part_size: int = Field(description="Bytes that a part may hold.", examples=[16 << 20])
    default_expires_in: int | None = Field(description="Seconds, where an upload does not say.", examples=[None])
    max_expires_in: int | None = Field(description="Seconds.", examples=[None])
    max_opens: int = Field(description="The highest limit of opens.", examples=[MOST_OPENS])
    lease_time: int = Field(description="Seconds from the last byte served under a lease to its end.", examples=[3600])


class NewUpload(_Taken):
    """Begin an upload."""

    id: Id
    header: str = _bytes(96, "The container's header", b"1KEY" + bytes(92))
    part_chunks: PartChunks
    knock_hash: str = _bytes(32, "SHA-256 of the knock", _HASH)
    access_hash: str = _bytes(32, "SHA-256 of the access", _HASH)
    owner_hash: str = _bytes(32, "SHA-256 of the owner token", _HASH)
    expires_in: ExpiresIn | None = Field(None, description="Absent: the server's default.")
    opens: Opens | None = None


class Begun(_Given):
    """An upload that has begun."""

    id: Id
    max_part_size: int = Field(description="Bytes that a part may hold.", examples=[16 << 20])


class NamedPart(_Taken):
    """A part that belongs to the container."""

    number: Number
    size: Size
    sha256: str = _SHA256


class StoredPart(_Given):
    """A part that is stored."""

    number: int = Field(examples=[0])
    size: int = Field(description="Bytes.", examples=[426])
    sha256: str = _SHA256
    mark: str | None = Field(description="What the client left as X-Onekey-Mark.", examples=[spell(_HASH[:16])])


class Upload(_Given):
    """An upload, finished or not."""

    id: Id
    finished: bool
    header: str = _bytes(96, "The container's header", b"1KEY" + bytes(92))
    part_chunks: int = Field(examples=[32])
    parts: list[StoredPart]
    expires_in: int | None = Field(description="Seconds from the finish on.", examples=[604800])
    opens: int | None = Field(examples=[1])


def _numbered(parts: list[NamedPart]) -> list[NamedPart]:
    return sorted(parts, key=lambda part: part.number)


class Finish(_Taken):
    """Finish an upload: all of its parts, in any order."""

    parts: Annotated[list[NamedPart], Field(min_length=1, max_length=_PARTS), AfterValidator(_numbered)]


class Finished(_Given):
    """An upload that is a share now."""

    id: Id
    size: int = Field(description="Bytes of the container.", examples=[426])
    expires: Time | None
    opens: int | None = Field(examples=[1])


class Share(_Given):
    """A share, as who knocks may see it."""

    id: Id
    header: str = _bytes(64, "The first bytes of the header, without the commitment", b"1KEY" + bytes(60))
    size: int = Field(description="Bytes of the container.", examples=[426])
    expires: Time | None
    opens_limited: bool


class Lease(_Given):
    """The right to read the content."""

    lease: str | None = Field(
        description="To be shown as X-Onekey-Lease; null where opens are not limited, and no lease is needed.",
        examples=[spell(bytes(range(24)))],
    )


class OwnedShare(_Given):
    """A share, as its owner sees it."""

    id: Id
    size: int = Field(description="Bytes of the container.", examples=[426])
    created: Time
    expires: Time | None
    opens: int | None = Field(description="How often it may be opened, in all.", examples=[3])
    opened: int = Field(description="How often it was opened.", examples=[1])
    last_opened: Time | None = Field(description="The hour in which it was opened last.")
    needs_password: bool
    sealed_only: bool


class Change(_Taken):
    """Change a share. What is absent stays."""

    expires_in: ExpiresIn | None = Field(None, description="Seconds from now.")
    opens: Opens | None = Field(None, description="Never fewer than were used.")


FIELDS: Final[Mapping[str, str]] = {
    "id": "a blob id: 32 hexadecimal digits.",
    "header": "the 96 bytes of a container's header, in base64url without padding.",
    "part_chunks": "how many chunks each part but the last holds: a whole number from 1 on.",
    "knock_hash": "the SHA-256 of the knock: 32 bytes in base64url without padding.",
    "access_hash": "the SHA-256 of the access: 32 bytes in base64url without padding.",
    "owner_hash": "the SHA-256 of the owner token: 32 bytes in base64url without padding.",
    "expires_in": f"a whole number of seconds from 1 to {LONGEST}, or null for ever.",
    "opens": f"a whole number from 1 to {MOST_OPENS}, or null for any number of times.",
    "parts": "the list of all parts, each with number, size and sha256.",
    "number": "the number of a part, from 0 on.",
    "size": "a whole number of bytes.",
    "sha256": "the SHA-256 of a part: 32 bytes in base64url without padding.",
}
"""What each field of a request is, as the end of a sentence."""
