"""A client of the sealed door, written against docs/http.md and docs/format.md alone: without a line of the package.

A script and a module. It seals one file and sends it in parts, goes on in another process with no more than seed, owner
token and file, opens links whole or by ranges, and speaks for the owner. Memory does not grow with the file.
"""

import argparse
import hashlib
import hmac
import http.client
import itertools
import json
import mimetypes
import re
import secrets
import struct
import sys
import threading
import time
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TRIES = 12
"""How often one request is tried, or one range without a chunk of progress."""
PATIENCE = 60.0
SEED, OWNER, HEAD, HEADER, NONCE, OVERHEAD, TRAILER = 24, 24, 64, 96, 12, 28, 4
INDEX_STEP, INDEX_MOST = 256, 1 << 20
CHUNK_LOG, ITERATIONS, MEMORY = 18, 3, 16
BROKEN = (OSError, http.client.HTTPException)


class Failure(Exception):
    """What ends a command: one sentence, and the exit status that tells it apart."""

    status = 1


class Refused(Failure):
    """The server said no."""

    def __init__(self, answer: "Answer") -> None:
        found = answer.json if answer.headers.get("content-type", "").startswith("application/json") else {}
        self.code, self.error = answer.status, str(found.get("error"))
        self.retry_after = answer.headers.get("retry-after")
        super().__init__(f"{answer.status} {self.error}: {found.get('message')}")


class Unreachable(Failure):
    """Every try ended in a broken connection."""


class Changed(Failure):
    """The file is not the one that this seed began to seal."""

    status = 3

    def __init__(self, what: str) -> None:
        super().__init__(f"the file was changed since the upload began ({what}): start over with a new seed")


class WrongKey(Failure):
    """The commitment differs: wrong link, wrong password."""

    status = 4


class Damaged(Failure):
    """What the server gave is not what was sealed."""

    status = 5


# Spelling and keys: format.md, sections 1 and 2


def spell(data: bytes) -> str:
    """Bytes as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unspell(text: str) -> bytes:
    """The bytes that `spell` spelt so."""
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if spell(data) != text:
        raise ValueError("not base64url without padding")
    return data


def kdf(ikm: bytes, salt: bytes, label: str, size: int = 32) -> bytes:
    """Section 1's KDF."""
    return HKDF(SHA256(), size, salt, b"onekey v1 " + label.encode()).derive(ikm)


def blob_id(seed: bytes) -> str:
    """The name of a container."""
    return kdf(seed, b"", "id", 16).hex()


def knock(seed: bytes) -> bytes:
    """The proof that one holds the link."""
    return kdf(seed, b"", "knock", 16)


def new_seed() -> bytes:
    """A fresh seed, whose token no program that looks for links cuts short."""
    return next(
        seed
        for seed in iter(lambda: secrets.token_bytes(SEED), b"")
        if not {spell(seed)[0], spell(seed)[-1]} & set("-_")
    )


def new_head(
    password: bytes | None, chunk_log: int = CHUNK_LOG, iterations: int = ITERATIONS, memory: int = MEMORY
) -> bytes:
    """The first 64 bytes of a fresh header."""
    asked = bytes([1, 1, iterations, memory, 1]) if password is not None else bytes(5)
    salt = secrets.token_bytes(16) if password is not None else bytes(16)
    return b"1KEY" + bytes([1, 1, chunk_log]) + asked + bytes(4) + salt + secrets.token_bytes(32)


def check_head(head: bytes) -> None:
    """Every field of the header's table, before anything is derived."""
    version, suite, chunk_log, flags, by, iterations, memory, lanes = head[4:12]
    if head[:4] != b"1KEY":
        raise Damaged("not a container")
    bounds = 1 <= iterations <= 4 and 13 <= memory <= 16 and lanes == 1 if flags & 1 else not any(head[9:32])
    known = version == suite == 1 and 12 <= chunk_log <= 22 and flags < 4 and by == flags & 1 and not any(head[12:16])
    if not (len(head) == HEAD and bounds and known):
        raise Damaged("unsupported")


@dataclass(frozen=True)
class Keys:
    """What the seed, 64 bytes of header and the password give."""

    commitment: bytes
    content: bytes
    access: bytes
    mark: bytes

    @classmethod
    def derive(cls, seed: bytes, head: bytes, password: bytes | None) -> "Keys":
        """Derive all four; Argon2id runs where the header says that there is a password."""
        check_head(head)
        ikm = seed
        if head[7] & 1:
            if password is None:
                raise WrongKey("password needed")
            ikm += Argon2id(salt=head[16:32], length=32, iterations=head[9], lanes=1, memory_cost=1 << head[10]).derive(
                password
            )
        return cls(*(kdf(ikm, head, label) for label in ("commit", "content", "access", "mark")))


def read_password(data: bytes) -> bytes:
    """A password as it enters the derivation."""
    found = unicodedata.normalize("NFC", data.decode()).encode()
    if not 1 <= len(found) <= 1024:
        raise Failure("a password has 1 to 1024 bytes")
    return found


def additional(position: int, kind: int) -> bytes:
    """What a chunk's tag vouches for besides the chunk."""
    return struct.pack(">QB", position, kind)


# HTTP: one connection for each request, a bounded number of tries


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


Body = Callable[[], Iterable[bytes]]


class Server:
    """The sealed door of one server, or of several on one store, which are then asked in turn."""

    def __init__(self, *urls: str, secret: str | None = None) -> None:
        self.urls, self.secret = [url.rstrip("/") for url in urls], secret
        self._turns = itertools.cycle(urlsplit(url) for url in self.urls)

    def call(
        self,
        method: str,
        path: str,
        bearer: bytes | None = None,
        json_body: Any = None,
        *,
        tries: int = TRIES,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask with a JSON body or none; the answer's JSON."""
        data = b"" if json_body is None else json.dumps(json_body).encode()
        sent = {**({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        answer = self.send(method, path, bearer, lambda: [data], len(data), sent, tries)
        return answer.json if answer.body else None

    def send(
        self,
        method: str,
        path: str,
        bearer: bytes | None,
        body: Body,
        size: int,
        headers: Mapping[str, str],
        tries: int = TRIES,
    ) -> Answer:
        """Ask until there is an answer; raises Refused where it is a refusal."""
        sent = {"Accept": "application/json", "Content-Length": str(size), **headers, **_bearer(bearer)}
        for attempt in range(tries):
            if attempt:
                time.sleep(_pause(attempt))
            try:
                answer = self._once(method, path, body, sent)
            except BROKEN as error:
                broken = error
                continue
            if answer.status in (408, 503) and attempt + 1 < tries:
                time.sleep(min(5.0, float(answer.headers.get("retry-after", "0"))))
                continue
            if answer.status >= 300:
                raise Refused(answer)
            return answer
        raise Unreachable(f"{method}: gave up after {tries} tries: {broken!r}")

    def connect(
        self, method: str, path: str, body: Iterable[bytes], headers: Mapping[str, str]
    ) -> http.client.HTTPConnection:
        """Send a request over a connection of its own."""
        where = next(self._turns)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(where.netloc, timeout=PATIENCE)
        try:
            connection.request(method, f"{where.path}/api/v1{path}", body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server that refuses early has answered, perhaps
        except BaseException:
            connection.close()
            raise
        return connection

    def _once(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> Answer:
        connection = self.connect(method, path, body(), headers)
        try:
            response = connection.getresponse()
            found = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()


def _pause(tries: int) -> float:
    return min(0.25, 0.01 * 2.0**tries)


def _bearer(proof: bytes | None) -> dict[str, str]:
    return {} if proof is None else {"Authorization": f"Bearer {spell(proof)}"}


# Sealing


class Gate:
    """Where a test may have the client stand still: every sender waits once so many parts are stored."""

    def __init__(self, after: int | None = None) -> None:
        self._left, self._lock, self._never = after, threading.Lock(), threading.Event()

    def stored(self) -> None:
        """One part more is stored."""
        with self._lock:
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    print("stopped", flush=True)

    def wait(self) -> None:
        """Return at once while the gate is open, and else never within the patience of anybody."""
        if self._left is not None and self._left <= 0 and not self._never.wait(PATIENCE):
            raise Failure("nobody ended the process that was to stop")


class Sealing:
    """A file, its header and keys: any part of its container, as often as need be, never with the same nonce."""

    def __init__(self, file: Path, header: bytes, keys: Keys, part_chunks: int, gate: Gate | None = None) -> None:
        self.file, self.header, self.keys, self.part_chunks = file, header, keys, part_chunks
        self.gate = gate or Gate()
        self.length, self.chunk = file.stat().st_size, 1 << header[6]
        self.chunks = -(-self.length // self.chunk)
        self.parts = max(1, -(-self.chunks // part_chunks))

    @cached_property
    def index(self) -> bytes:
        """The plaintext of the index."""
        kind = mimetypes.guess_type(self.file.name)[0] or "application/octet-stream"
        files = [{"name": self.file.name, "type": kind, "size": self.length}]
        text = json.dumps({"length": self.length, "files": files}, ensure_ascii=False, separators=(",", ":")).encode()
        return text.ljust(-(-len(text) // INDEX_STEP) * INDEX_STEP)

    def content_size(self, number: int) -> int:
        """How many bytes of the file a part holds."""
        span = self.part_chunks * self.chunk
        return max(0, min(self.length, (number + 1) * span) - number * span)

    def size(self, number: int) -> int:
        """The length of a part."""
        plain = self.content_size(number)
        end = len(self.index) + OVERHEAD + TRAILER if number == self.parts - 1 else 0
        return HEADER * (number == 0) + plain + -(-plain // self.chunk) * OVERHEAD + end

    def plaintext(self, number: int) -> Iterator[bytes]:
        """The content of a part, chunk by chunk."""
        left = self.content_size(number)
        with self.file.open("rb") as file:
            file.seek(number * self.part_chunks * self.chunk)
            while left:
                piece = file.read(min(left, self.chunk))
                if not piece:
                    raise Changed("it became shorter")
                left -= len(piece)
                yield piece

    def mark(self, number: int) -> bytes:
        """What proves later that a part was sealed from this content."""
        return _digest(self._mac(number), self.plaintext(number))

    def _mac(self, number: int) -> hmac.HMAC:
        return hmac.new(self.keys.mark, struct.pack(">Q", number), "sha256")

    def sealed(self, number: int, mark: bytes) -> Iterator[bytes]:
        """A part, sealed anew. Its end is held back until its content was found to be that of the mark."""
        mac = self._mac(number)
        held = self.header if number == 0 else b""
        for position, piece in enumerate(self.plaintext(number), number * self.part_chunks):
            self.gate.wait()
            mac.update(piece)
            yield held
            held = self._seal(piece, position, 0)
        if mac.digest()[:16] != mark:
            raise Changed("while it was read")
        if number == self.parts - 1:
            end = self._seal(self.index, self.chunks, 1)
            held += end + struct.pack(">I", len(end))
        yield held

    def _seal(self, plain: bytes, position: int, kind: int) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return nonce + AESGCM(self.keys.content).encrypt(nonce, plain, additional(position, kind))


def _digest(mac: hmac.HMAC, pieces: Iterable[bytes]) -> bytes:
    for piece in pieces:
        mac.update(piece)
    return mac.digest()[:16]


def most_chunks(chunk: int, max_part_size: int) -> int:
    """How many chunks a part may have, whatever the index turns out to be."""
    return (max_part_size - HEADER - TRAILER - INDEX_MOST - OVERHEAD) // (chunk + OVERHEAD)


# Uploading


@dataclass(frozen=True)
class Upload:
    """An upload that is begun: where, which, and by whose right."""

    server: Server
    id: str
    owner: bytes

    @classmethod
    def begin(
        cls,
        server: Server,
        seed: bytes,
        owner: bytes,
        header: bytes,
        access: bytes,
        part_chunks: int,
        **options: int | None,
    ) -> "Upload":
        """Step 1, with `expires_in` and `opens` as options."""
        name = blob_id(seed)
        hashes = {"knock_hash": knock(seed), "access_hash": access, "owner_hash": owner}
        asked = {key: spell(hashlib.sha256(proof).digest()) for key, proof in hashes.items()}
        body = {"id": name, "header": spell(header), "part_chunks": part_chunks, **asked, **options}
        secret = {"X-Onekey-Secret": server.secret} if server.secret else {}
        found = server.call("POST", "/uploads", json_body=body, headers=secret)
        if found["id"] != name:
            raise Damaged("another upload was begun")
        return cls(server, name, owner)

    def state(self) -> Any:
        """What is stored, by the server's word."""
        return self.server.call("GET", f"/uploads/{self.id}", self.owner)

    def put(self, number: int, size: int, mark: bytes, body: Body) -> dict[str, Any]:
        """Step 2, one part: it is sent until it is stored as it was sent."""
        sent = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            nonlocal sent
            sent = hashlib.sha256()
            for piece in body():
                sent.update(piece)
                yield piece

        path = f"/uploads/{self.id}/parts/{number}"
        headers = {"Content-Type": "application/octet-stream", "X-Onekey-Mark": spell(mark)}
        found: dict[str, Any] = self.server.send("PUT", path, self.owner, hashed, size, headers).json
        if found != {"number": number, "size": size, "sha256": spell(sent.digest()), "mark": spell(mark)}:
            raise Damaged("another part is stored than was sent")
        return found

    def finish(self, parts: Iterable[Mapping[str, Any]]) -> Any:
        """Step 3, with what was answered for each part."""
        named = [{key: part[key] for key in ("number", "size", "sha256")} for part in parts]
        body = {"parts": sorted(named, key=lambda part: part["number"])}
        return self.server.call("POST", f"/uploads/{self.id}/finish", self.owner, body)


@dataclass(frozen=True)
class Report:
    """What came of an upload."""

    link: str
    id: str
    sent: list[int]
    kept: list[int]
    finished: Any


def seal_and_upload(
    server: Server,
    file: Path,
    seed: bytes,
    owner: bytes,
    password: bytes | None = None,
    *,
    at_once: int = 3,
    part_chunks: int | None = None,
    chunk_log: int = CHUNK_LOG,
    gate: Gate | None = None,
    **options: int | None,
) -> Report:
    """Seal a file and store it."""
    head = new_head(password, chunk_log)
    keys = Keys.derive(seed, head, password)
    header = head + keys.commitment
    k = part_chunks or most_chunks(1 << chunk_log, server.call("GET", "/info")["max_part_size"])
    upload = Upload.begin(server, seed, owner, header, keys.access, k, **options)
    return _send(upload, Sealing(file, header, keys, k, gate), seed, [], at_once)


def resume(
    server: Server, file: Path, seed: bytes, owner: bytes, password: bytes | None = None, *, at_once: int = 3
) -> Report:
    """Go on with what another process began: only with the same content, and only with what is missing."""
    upload = Upload(server, blob_id(seed), owner)
    state = upload.state()
    header = unspell(state["header"])
    keys = Keys.derive(seed, header[:HEAD], password)
    if not hmac.compare_digest(keys.commitment, header[HEAD:]):
        raise WrongKey("wrong password, or another seed")
    sealing = Sealing(file, header, keys, state["part_chunks"])
    for part in state["parts"]:
        number = part["number"]
        if number >= sealing.parts or part["size"] != sealing.size(number):
            raise Changed("its length")
        if part["mark"] != spell(sealing.mark(number)):
            raise Changed(f"in part {number}")
    return _send(upload, sealing, seed, state["parts"], at_once)


def _send(upload: Upload, sealing: Sealing, seed: bytes, stored: Sequence[Mapping[str, Any]], at_once: int) -> Report:
    """The last part goes first and alone: once it is stored, no later process can take another length for the same."""
    kept = [part["number"] for part in stored]
    missing = [number for number in (sealing.parts - 1, *range(sealing.parts - 1)) if number not in kept]

    def put(number: int) -> dict[str, Any]:
        sealing.gate.wait()
        mark = sealing.mark(number)
        answer = upload.put(number, sealing.size(number), mark, lambda: sealing.sealed(number, mark))
        sealing.gate.stored()
        return answer

    first = [put(number) for number in missing if number == sealing.parts - 1]
    with ThreadPoolExecutor(at_once) as pool:
        try:
            rest = list(pool.map(put, missing[len(first) :]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    finished = upload.finish([*stored, *first, *rest])
    return Report(f"{upload.server.urls[0]}/#{spell(seed)}", upload.id, missing, kept, finished)


def store_container(
    server: Server,
    seed: bytes,
    owner: bytes,
    container: bytes,
    password: bytes | None,
    part_chunks: int,
    **options: int | None,
) -> Any:
    """Store a container that is sealed already, part by part."""
    header = container[:HEADER]
    keys = Keys.derive(seed, header[:HEAD], password)
    upload = Upload.begin(server, seed, owner, header, keys.access, part_chunks, **options)
    parts = cut(container, part_chunks)
    return upload.finish(
        [upload.put(number, len(part), bytes(16), partial(list, [part])) for number, part in enumerate(parts)]
    )


def cut(container: bytes, part_chunks: int) -> list[bytes]:
    """A container's parts."""
    sizes = Sizes.of(container, len(container), container[-TRAILER:])
    span = part_chunks * (sizes.chunk + OVERHEAD)
    starts = [0, *range(HEADER + span, sizes.index_at, span)]
    return [container[start:end] for start, end in zip(starts, [*starts[1:], len(container)], strict=True)]


# Opening


@dataclass(frozen=True)
class Sizes:
    """Section 2's arithmetic."""

    chunk: int
    chunks: int
    length: int
    index_at: int

    @classmethod
    def of(cls, head: bytes, size: int, trailer: bytes) -> "Sizes":
        """From the header, the container's size and the trailer; an impossible size is damage."""
        chunk, (index,) = 1 << head[6], struct.unpack(">I", trailer)
        body = size - HEADER - TRAILER - index
        n = -(-body // (chunk + OVERHEAD))
        fits = INDEX_STEP <= index - OVERHEAD <= INDEX_MOST and (index - OVERHEAD) % INDEX_STEP == 0 and body >= 0
        if not fits or (n and body - (n - 1) * (chunk + OVERHEAD) <= OVERHEAD):
            raise Damaged("impossible size")
        return cls(chunk, n, body - n * OVERHEAD, HEADER + body)


class Opened:
    """A share that was opened: its index, and any range of its content."""

    def __init__(self, server: Server, seed: bytes, password: bytes | None = None) -> None:
        self.server, self.path = server, f"/shares/{blob_id(seed)}"
        self.info = server.call("GET", self.path, knock(seed))
        head = unspell(self.info["header"])
        self.keys, self._shown = Keys.derive(seed, head, password), {"X-Onekey-Knock": spell(knock(seed))}
        found = server.send("GET", f"{self.path}/index", self.keys.access, list, 0, self._shown).body
        if not hmac.compare_digest(found[:32], self.keys.commitment):
            raise WrongKey("wrong link or password")
        self.sizes = Sizes.of(head, self.info["size"], found[-TRAILER:])
        text = self._unseal(found[32:-TRAILER], self.sizes.chunks, 1)
        self.index = json.loads(text)
        spelt = json.dumps(self.index, ensure_ascii=False, separators=(",", ":")).encode()
        if spelt.ljust(-(-len(spelt) // INDEX_STEP) * INDEX_STEP) != text or self.index["length"] != self.sizes.length:
            raise Damaged("the index")

    def take(self) -> None:
        """Step 3. Where opens are limited it is asked once: an answer that was lost has spent its open all the same."""
        tries = 1 if self.info["opens_limited"] else TRIES
        lease = self.server.call("POST", f"{self.path}/open", self.keys.access, tries=tries, headers=self._shown)[
            "lease"
        ]
        if lease is not None:
            self._shown = {**self._shown, "X-Onekey-Lease": lease}

    def read(self, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """A range of the content, checked before it is given."""
        end = self.sizes.length if size is None else min(self.sizes.length, start + size)
        chunk = self.sizes.chunk
        if start < end:
            for position, plain in self._chunks(start // chunk, -(-end // chunk)):
                at = position * chunk
                yield plain[max(0, start - at) : end - at]

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        done, broken = first, 0
        while done < last:
            try:
                for sealed in self._sealed(done, last):
                    yield done, self._unseal(sealed, done, 0)
                    done, broken = done + 1, 0
            except BROKEN as error:
                broken += 1
                if broken == TRIES:
                    raise Unreachable(f"content: gave up after {TRIES} tries: {error!r}") from error
                time.sleep(_pause(broken))

    def _sealed(self, first: int, last: int) -> Iterator[bytes]:
        """The sealed chunks from first to before last, as far as the connection holds."""
        each = self.sizes.chunk + OVERHEAD
        start, end = HEADER + first * each, min(self.sizes.index_at, HEADER + last * each)
        asked = {"Range": f"bytes={start}-{end - 1}", **self._shown, **_bearer(self.keys.access)}
        connection = self.server.connect("GET", f"{self.path}/content", [], asked)
        try:
            response = connection.getresponse()
            if response.status != 206:
                found = {name.lower(): text for name, text in response.getheaders()}
                raise Refused(Answer(response.status, found, response.read()))
            if response.getheader("Content-Range") != f"bytes {start}-{end - 1}/{self.info['size']}":
                raise Damaged("another range than was asked for")
            for at in range(start, end, each):
                yield _exactly(response, min(each, end - at))
        finally:
            connection.close()

    def _unseal(self, sealed: bytes, position: int, kind: int) -> bytes:
        try:
            return AESGCM(self.keys.content).decrypt(sealed[:NONCE], sealed[NONCE:], additional(position, kind))
        except InvalidTag:
            raise Damaged(f"chunk {position}" if kind == 0 else "the index") from None


def _exactly(response: http.client.HTTPResponse, size: int) -> bytes:
    data = response.read(size)
    if len(data) < size:
        raise http.client.IncompleteRead(data, size - len(data))
    return data


def read_link(link: str) -> tuple[str | None, bytes]:
    """The server, where the link names one, and the seed: of a link of either form, or a token."""
    parts = urlsplit(link)
    token = parts.fragment or parts.path.lstrip("/").partition(".")[0].partition("/")[0]
    if not re.fullmatch("[A-Za-z0-9_-]{32}", token):
        raise Failure("that is no link")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None, unspell(token)


# The command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("seal-and-upload", "resume"):
        one = commands.add_parser(name)
        one.add_argument(
            "--server", action="append", required=True, help="of one store; more than one are asked in turn"
        )
        one.add_argument("--seed-file", type=Path, required=True)
        one.add_argument("--owner-file", type=Path, required=True)
        one.add_argument("--parts-at-once", type=int, default=3)
        one.add_argument("file", type=Path)
        if name == "seal-and-upload":
            one.add_argument("--secret")
            one.add_argument("--opens", type=_or_none("unlimited"), default=argparse.SUPPRESS)
            one.add_argument("--expires-in", type=_or_none("never"), default=argparse.SUPPRESS)
            one.add_argument("--part-chunks", type=int)
            one.add_argument("--stop-after", type=int, help="stand still, to be killed, once so many parts are stored")
    for name in ("open", "range"):
        one = commands.add_parser(name)
        one.add_argument("link", help="of either form, or a token")
        if name == "range":
            one.add_argument("start", type=int)
            one.add_argument("size", type=int)
        one.add_argument("-o", "--output", type=Path, required=True, help="the files, laid end to end")
        one.add_argument("--server", action="append")
    owner = commands.add_parser("owner")
    owner.add_argument("what", choices=["get", "patch", "delete"])
    owner.add_argument("link")
    owner.add_argument("--server", action="append")
    owner.add_argument("--owner-file", type=Path, required=True)
    owner.add_argument("--opens", type=_or_none("unlimited"), default=argparse.SUPPRESS)
    owner.add_argument("--expires-in", type=_or_none("never"), default=argparse.SUPPRESS)
    for one in commands.choices.values():
        one.add_argument("--password-file", type=Path, help="its content is the password, to the last byte")
    return parser


def _or_none(word: str) -> Callable[[str], int | None]:
    def number(text: str) -> int | None:
        return None if text == word else int(text)

    return number


def _keep(path: Path, secret: bytes) -> bytes:
    """Write a new secret down before it is used; a seed that was used is never taken again."""
    try:
        path.touch(0o600, exist_ok=False)
    except FileExistsError:
        raise Failure(f"{path} is there already: resume what it began, or name another") from None
    path.write_text(spell(secret))
    return secret


def _options(asked: argparse.Namespace) -> dict[str, int | None]:
    return {name: value for name, value in vars(asked).items() if name in ("opens", "expires_in")}


def _run(asked: argparse.Namespace) -> Any:
    password = read_password(asked.password_file.read_bytes()) if asked.password_file else None
    if asked.command == "seal-and-upload":
        seed, owner = _keep(asked.seed_file, new_seed()), _keep(asked.owner_file, secrets.token_bytes(OWNER))
        more: dict[str, Any] = {"part_chunks": asked.part_chunks, "gate": Gate(asked.stop_after), **_options(asked)}
        server = Server(*asked.server, secret=asked.secret)
        return vars(seal_and_upload(server, asked.file, seed, owner, password, at_once=asked.parts_at_once, **more))
    if asked.command == "resume":
        seed, owner = (unspell(path.read_text()) for path in (asked.seed_file, asked.owner_file))
        return vars(resume(Server(*asked.server), asked.file, seed, owner, password, at_once=asked.parts_at_once))
    url, seed = read_link(asked.link)
    server = Server(*(asked.server or [url]))
    if asked.command == "owner":
        owner, body = unspell(asked.owner_file.read_text()), _options(asked) if asked.what == "patch" else None
        return server.call(asked.what.upper(), f"/shares/{blob_id(seed)}/owner", owner, body)
    return _open(Opened(server, seed, password), asked)


def _open(share: Opened, asked: argparse.Namespace) -> Any:
    """Write what was asked for. The output has its name only once it is whole."""
    share.take()
    unfinished = asked.output.with_name(asked.output.name + ".unfinished")
    with unfinished.open("wb") as file:
        if asked.command == "range":
            file.writelines(share.read(asked.start, asked.size))
        else:
            file.writelines(share.read())
            file.truncate(sum(one["size"] for one in share.index["files"]))
    unfinished.replace(asked.output)
    return share.index


def _peak() -> int:
    """The most memory that this process has had, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; prints one line of JSON."""
    asked = _parser().parse_args(arguments)
    try:
        found = _run(asked)
    except Failure as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return failure.status
    print(json.dumps({"answer": found, "peak_kib": _peak()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
