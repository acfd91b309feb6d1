"""format.md in code: what onekey stores, sealed and opened. Bytes in, bytes out: no files, sockets or clock.

A Sealer takes content in pieces of any size and gives sealed chunks as they fill. An Opener believes nothing
before its tag is checked: header, sizes, commitment and index when it is made, then only the chunks that a
range touches. Whatever is wrong with a container ends in one of the ContainerErrors, told apart as in
section 4.
"""

import hmac
import os
import struct
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from onekey.errors import BadRequest, Damaged, NotAContainer, PasswordNeeded, TooLarge, Unsupported, WrongKey
from onekey.index import BLOCK, MAX_INDEX
from onekey.index import File as File
from onekey.index import Index as Index
from onekey.links import SEED_SIZE, Entropy, kdf

CHUNK_SIZE = 1 << 18
HEADER_SIZE = 96
STEM_SIZE = 64
ACCESS_SIZE = 32
TRAILER_SIZE = 4
NONCE_SIZE = 12
OVERHEAD = NONCE_SIZE + 16
MIN_SEALED_INDEX = BLOCK + OVERHEAD
MAX_SEALED_INDEX = MAX_INDEX + OVERHEAD
MIN_SIZE = HEADER_SIZE + MIN_SEALED_INDEX + TRAILER_SIZE
MAX_CHUNKS = 1 << 32
MAX_LENGTH = (1 << 53) - 1
MAX_PASSWORD = 1024

_STEM = struct.Struct(">4s8B4s16s32s")
_AAD = struct.Struct(">QB")
_TRAILER = struct.Struct(">I")
_CONTENT, _INDEX = 0, 1
_PASSWORD, _SEALED_ONLY = 1, 2
_TAIL = 1 << 12  # read at once with the trailer: holds the index of a share of a few files


@dataclass(frozen=True, slots=True)
class Header:
    """The first 96 bytes of a container: section 2, "Header".

    chunk_size is in bytes; memory is the log2 of KiB. Without a password iterations, memory and password_salt
    are zero.
    """

    chunk_size: int
    needs_password: bool
    sealed_only: bool
    iterations: int
    memory: int
    password_salt: bytes
    file_salt: bytes
    commitment: bytes = field(repr=False)  # lets a password be guessed without asking anyone

    @classmethod
    def parse(cls, packed: bytes) -> "Header":
        """Checks every field of 96 bytes. Raises NotAContainer or Unsupported."""
        if len(packed) != HEADER_SIZE or packed[:4] != b"1KEY":
            raise NotAContainer("This is not a onekey container.")
        _, version, suite, log, flags, kdf_id, iterations, memory, lanes, reserved, salt, file_salt = _STEM.unpack_from(
            packed
        )
        known = version == 1 and suite == 1 and 12 <= log <= 22 and flags <= 3 and reserved == bytes(4)
        needs_password = bool(flags & _PASSWORD)
        if needs_password:
            known &= kdf_id == 1 and 1 <= iterations <= 4 and 13 <= memory <= 16 and lanes == 1
        else:
            known &= packed[8:32] == bytes(24)
        if not known:
            raise Unsupported("This version of onekey cannot open the container.")
        sealed_only = bool(flags & _SEALED_ONLY)
        commitment = bytes(packed[STEM_SIZE:])
        return cls(1 << log, needs_password, sealed_only, iterations, memory, salt, file_salt, commitment)

    def pack(self) -> bytes:
        """The 96 bytes."""
        return self.stem + self.commitment

    @property
    def stem(self) -> bytes:
        """The first 64 bytes: the salt of every key, and all that a server shows to who only knocks."""
        asked = int(self.needs_password)
        flags = asked * _PASSWORD | self.sealed_only * _SEALED_ONLY
        log = self.chunk_size.bit_length() - 1
        numbers = (1, 1, log, flags, asked, self.iterations, self.memory, asked)
        return _STEM.pack(b"1KEY", *numbers, bytes(4), self.password_salt, self.file_salt)


class Keys:
    """The keys of one container, 32 bytes each: section 2. Each is derived when it is first needed."""

    def __init__(self, header: Header, ikm: bytes) -> None:
        self._derive = partial(kdf, ikm, header.stem, size=32)

    @cached_property
    def content(self) -> bytes:
        """Seals chunks and index."""
        return self._derive(label="content")

    @cached_property
    def access(self) -> bytes:
        """Proves to a server that a client knows the key, password included."""
        return self._derive(label="access")

    @cached_property
    def mark(self) -> bytes:
        """Keys the marks of parts."""
        return self._derive(label="mark")

    def mark_of(self, part: int, *pieces: bytes | memoryview) -> bytes:
        """The mark of a part, 16 bytes: proves later what plaintext it was made of. Section 2, "Chunks"."""
        mac = hmac.new(self.mark, part.to_bytes(8, "big"), "sha256")
        for piece in pieces:
            mac.update(piece)
        return mac.digest()[:16]


def spell_password(password: str) -> bytes:
    """A password as it is hashed: 1 to 1024 bytes of UTF-8, in NFC, not trimmed. Raises BadRequest."""
    try:
        # NFC is slow on long runs of accents. It joins at most two characters for each byte that it leaves,
        # so what is cut here is still refused below.
        spelled = unicodedata.normalize("NFC", password[: 4 * MAX_PASSWORD]).encode()
    except UnicodeEncodeError:
        spelled = b""
    if not 1 <= len(spelled) <= MAX_PASSWORD:
        raise BadRequest(f"A password has 1 to {MAX_PASSWORD} bytes.")
    return spelled


def stretch(header: Header, seed: bytes, password: str | None = None) -> bytes:
    """The ikm of a container: the seed, and Argon2id of the password where the header asks for one.

    Slow then, by intent: up to 64 MiB and some tenths of a second. A password that is not asked for is
    ignored. Raises PasswordNeeded, and WrongKey for a text that cannot be a password.
    """
    assert len(seed) == SEED_SIZE
    if not header.needs_password:
        return seed
    if password is None:
        raise PasswordNeeded("This share needs a password.")
    try:
        spelled = spell_password(password)
    except BadRequest:
        raise _wrong_key() from None
    cost = 1 << header.memory
    argon = Argon2id(salt=header.password_salt, length=32, iterations=header.iterations, lanes=1, memory_cost=cost)
    return seed + argon.derive(spelled)


def derive(header: Header, ikm: bytes) -> Keys:
    """The keys of a container, from the ikm of stretch(). Raises WrongKey if the commitment differs."""
    # AES-GCM does not commit to its key: without this, one ciphertext could be made to open under many.
    if not hmac.compare_digest(_commitment(header, ikm), header.commitment):
        raise _wrong_key()
    return Keys(header, ikm)


def _commitment(header: Header, ikm: bytes) -> bytes:
    return kdf(ikm, header.stem, "commit", 32)


def _wrong_key() -> WrongKey:
    return WrongKey("The link or the password is wrong.")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where everything lies in a container of `total` bytes: section 2, "Sizes". All in bytes."""

    total: int
    sealed_index: int
    chunk_size: int

    @classmethod
    def of(cls, total: int, sealed_index: int, chunk_size: int) -> "Sizes":
        """Raises NotAContainer if the total is too small for any, Damaged for every other impossible size."""
        if total < MIN_SIZE:
            raise NotAContainer("This is too short for a onekey container.")
        if not MIN_SEALED_INDEX <= sealed_index <= MAX_SEALED_INDEX or (sealed_index - OVERHEAD) % BLOCK:
            raise _impossible()
        sizes = cls(total, sealed_index, chunk_size)
        body = sizes.index_offset - HEADER_SIZE
        if body < 0 or 0 < body % (chunk_size + OVERHEAD) <= OVERHEAD:
            raise _impossible()
        if sizes.chunks > MAX_CHUNKS or sizes.length > MAX_LENGTH:
            raise _impossible()
        return sizes

    @property
    def index_offset(self) -> int:
        """Where the sealed index begins, and the chunks end."""
        return self.total - TRAILER_SIZE - self.sealed_index

    @property
    def chunks(self) -> int:
        """n, the number of content chunks."""
        return -((HEADER_SIZE - self.index_offset) // (self.chunk_size + OVERHEAD))

    @property
    def length(self) -> int:
        """P, the length of the content."""
        return self.index_offset - HEADER_SIZE - OVERHEAD * self.chunks

    def chunk_span(self, number: int) -> tuple[int, int]:
        """(offset, length) of a sealed content chunk in the container."""
        if not 0 <= number < self.chunks:
            raise IndexError(number)
        offset = HEADER_SIZE + number * (self.chunk_size + OVERHEAD)
        return offset, min(self.chunk_size + OVERHEAD, self.index_offset - offset)


def _impossible() -> Damaged:
    return Damaged("The container has a size that cannot be.")


class Sealer:
    """Seals content of unknown length as it arrives. Holds at most one chunk of it.

    What goes into the container is, in this order: header.pack(), every element of update(), every element of
    finish(). One seed seals one container.
    """

    header: Header
    keys: Keys
    length: int

    def __init__(
        self,
        seed: bytes,
        *,
        chunk_size: int = CHUNK_SIZE,
        password: str | None = None,
        sealed_only: bool = False,
        entropy: Entropy = os.urandom,
        iterations: int = 3,
        memory: int = 16,
    ) -> None:
        """A new container. Lower costs are for tests. Raises BadRequest for what cannot be a password."""
        asked = password is not None
        if password is not None:
            spell_password(password)
        blank = Header(
            chunk_size=chunk_size,
            needs_password=asked,
            sealed_only=sealed_only,
            iterations=iterations if asked else 0,
            memory=memory if asked else 0,
            password_salt=entropy(16) if asked else bytes(16),
            file_salt=entropy(32),
            commitment=bytes(32),
        )
        if Header.parse(blank.pack()) != blank:
            raise ValueError("a chunk size is a power of two")
        ikm = stretch(blank, seed, password)
        self._begin(replace(blank, commitment=_commitment(blank, ikm)), ikm, entropy)

    def _begin(self, header: Header, ikm: bytes, entropy: Entropy) -> None:
        self.header = header
        self.keys = derive(header, ikm)
        self.length = self._position = 0
        self._entropy = entropy
        self._cipher = AESGCM(self.keys.content)
        self._held = 0
        self._finished = False

    @cached_property
    def _chunk(self) -> memoryview:
        return memoryview(bytearray(self.header.chunk_size))

    @cached_property
    def _sealed(self) -> memoryview:
        # Kept: with a fresh one for each chunk malloc gives memory back and fetches it again all the time.
        return memoryview(bytearray(self.header.chunk_size + OVERHEAD))

    def update(self, piece: bytes | bytearray | memoryview) -> list[bytes]:
        """The sealed chunks that this piece of content fills: each element is exactly one."""
        self._check_open()
        rest = memoryview(piece)
        self.length += len(rest)
        sealed = []
        if self._held:
            rest = self._hold(rest)
            if self._held == len(self._chunk):
                sealed.append(self._seal_chunk(self._chunk))
                self._held = 0
        size = self.header.chunk_size
        while len(rest) >= size:  # straight from the caller's piece
            sealed.append(self._seal_chunk(rest[:size]))
            rest = rest[size:]
        if rest:
            self._hold(rest)
        return sealed

    def finish(self, files: Sequence[File]) -> list[bytes]:
        """The last chunk, if any content is left, then sealed index and trailer in one element.

        Raises BadRequest, and stays open, if the files break a rule of the index.
        """
        self._check_open()
        index = Index(self.length, tuple(files)).encode()
        last = [self._seal_chunk(self._chunk[: self._held])] if self._held else []
        sealed_index = self._seal(index, _INDEX, memoryview(bytearray(len(index) + OVERHEAD)))
        self._finished = True
        return [*last, sealed_index + _TRAILER.pack(len(sealed_index))]

    def _check_open(self) -> None:
        if self._finished:
            raise RuntimeError("this container is finished")

    def _hold(self, rest: memoryview) -> memoryview:
        """Keeps as much as the chunk has room for; returns what it has not."""
        taken = min(len(rest), len(self._chunk) - self._held)
        self._chunk[self._held : self._held + taken] = rest[:taken]
        self._held += taken
        return rest[taken:]

    def _seal_chunk(self, plaintext: memoryview) -> bytes:
        # Random nonces are safe up to here: section 7.
        if self._position >= MAX_CHUNKS or self.length > MAX_LENGTH:
            raise TooLarge("One container cannot hold so much.")
        sealed = self._seal(plaintext, _CONTENT, self._sealed[: len(plaintext) + OVERHEAD])
        self._position += 1
        return sealed

    def _seal(self, plaintext: bytes | memoryview, kind: int, buffer: memoryview) -> bytes:
        nonce = self._entropy(NONCE_SIZE)
        buffer[:NONCE_SIZE] = nonce
        self._cipher.encrypt_into(nonce, plaintext, _AAD.pack(self._position, kind), buffer[NONCE_SIZE:])
        return bytes(buffer)


class Source(Protocol):
    """Where an Opener reads a container from."""

    @property
    def size(self) -> int:
        """The size of the container, in bytes."""

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        """Fills the buffer from this offset with as much as is there. Returns the count; short means missing.

        What cannot be read raises OSError.
        """


class BytesSource:
    """A container in memory."""

    def __init__(self, container: bytes) -> None:
        self._container = memoryview(container)

    @property
    def size(self) -> int:
        """The size of the container, in bytes."""
        return len(self._container)

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        """As in Source."""
        found = self._container[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)


class Opener:
    """An open container: header, keys, sizes and index are right once it is made, in the order of section 3.

    Raises any ContainerError when made, and only Damaged afterwards. Who keeps the ikm can open the container
    again without paying for Argon2id. Several threads may read ranges at once if the source allows it.
    """

    def __init__(
        self,
        source: Source,
        seed: bytes,
        password: str | None = None,
        *,
        header: Header | None = None,
        ikm: bytes | None = None,
    ) -> None:
        """`header` is the container's, if at hand; `ikm` stands in for the seed and the password."""
        if source.size < MIN_SIZE:
            raise NotAContainer("This is too short for a onekey container.")
        self._source = source
        self.header = header or Header.parse(bytes(_read(source, 0, HEADER_SIZE)))
        tail = _read_tail(source, min(source.size - HEADER_SIZE, _TAIL))
        (sealed_index,) = _TRAILER.unpack(tail[-TRAILER_SIZE:])
        self.sizes = Sizes.of(source.size, sealed_index, self.header.chunk_size)
        self.ikm = stretch(self.header, seed, password) if ikm is None else ikm
        self.keys = derive(self.header, self.ikm)
        self._cipher = AESGCM(self.keys.content)
        self._last: tuple[int, bytes] | None = None
        self.index = self._open_index(tail)

    def _open_index(self, tail: bytearray) -> Index:
        size = self.sizes.sealed_index + TRAILER_SIZE
        if len(tail) < size:
            tail = _read_tail(self._source, size)
        sealed = tail[-size:-TRAILER_SIZE]
        index = Index.decode(self._unseal(sealed, self.sizes.chunks, _INDEX))
        if index.length != self.sizes.length:
            raise Damaged("The index is not that of this container.")
        return index

    def range(self, start: int, stop: int) -> Iterator[bytes]:
        """The content's bytes from start to before stop, chunk by chunk, each verified before it is given.

        Reads and opens only the chunks that the range touches. A range that leaves the content raises
        ValueError at once. The iterator raises Damaged: what came before it is a true prefix.
        """
        if not 0 <= start <= stop <= self.sizes.length:
            raise ValueError("a range lies in the content")
        return self._range(start, stop) if start < stop else iter(())

    def _range(self, start: int, stop: int) -> Iterator[bytes]:
        size = self.header.chunk_size
        first, end = start // size, -(-stop // size)
        buffer = memoryview(bytearray(max(self.sizes.chunk_span(first)[1], self.sizes.chunk_span(end - 1)[1])))
        for number in range(first, end):
            plaintext = self._open_chunk(number, buffer)
            begin = number * size
            yield plaintext[max(start - begin, 0) : stop - begin]
        # Where a range ends within a chunk the next may begin: small files one after another, for a zip.
        self._last = (end - 1, plaintext) if stop % size else None

    def _open_chunk(self, number: int, buffer: memoryview) -> bytes:
        if self._last and self._last[0] == number:
            return self._last[1]
        offset, length = self.sizes.chunk_span(number)
        _fill(self._source, offset, buffer[:length])
        return self._unseal(buffer[:length], number, _CONTENT)

    def _unseal(self, sealed: bytearray | memoryview, position: int, kind: int) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _AAD.pack(position, kind))
        except InvalidTag:
            raise Damaged("A part of this share is damaged.") from None


def _read(source: Source, offset: int, size: int) -> bytearray:
    buffer = bytearray(size)
    _fill(source, offset, memoryview(buffer))
    return buffer


def _read_tail(source: Source, size: int) -> bytearray:
    return _read(source, source.size - size, size)


def _fill(source: Source, offset: int, buffer: memoryview) -> None:
    try:
        count = source.read_into(offset, buffer)
    except OSError as error:
        raise Damaged("A part of this share cannot be read.") from error
    if count != len(buffer):
        raise Damaged("A part of this share is missing.")
