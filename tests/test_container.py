"""The container of format.md: every vector, every boundary, and nothing changed that is not noticed."""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onekey import container, links
from onekey.container import (
    HEADER_SIZE,
    MAX_SEALED_INDEX,
    MIN_SIZE,
    OVERHEAD,
    BytesSource,
    File,
    Header,
    Keys,
    Opener,
    Sealer,
    Sizes,
    derive,
    spell_password,
    stretch,
)
from onekey.errors import (
    BadRequest,
    ContainerError,
    Damaged,
    NotAContainer,
    PasswordNeeded,
    TooLarge,
    Unsupported,
    WrongKey,
)

C = 1 << 12
E = C + OVERHEAD
SEED = bytes(range(24))
VECTORS = Path(__file__).parent / "vectors"
ERRORS = {
    "not a container": NotAContainer,
    "unsupported": Unsupported,
    "password needed": PasswordNeeded,
    "wrong key": WrongKey,
    "damaged": Damaged,
}
EDGES = [0, 1, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1]

relaxed = settings(deadline=None, max_examples=60)  # the machine may be busy


def text(size: int) -> bytes:
    """Content in which no two chunks are alike."""
    return hashlib.shake_128(b"content").digest(size)


def new_sealer(**options: Any) -> Sealer:
    return Sealer(SEED, **({"chunk_size": C, "iterations": 1, "memory": 13} | options))


def seal(content: bytes, *files: File, **options: Any) -> bytes:
    sealer = new_sealer(**options)
    parts = [sealer.header.pack(), *sealer.update(content)]
    return b"".join(parts + sealer.finish(files or (File("a.bin", "a/b", len(content)),)))


def unseal(sealed: bytes, password: str | None = None) -> bytes:
    opener = Opener(BytesSource(sealed), SEED, password)
    return b"".join(opener.range(0, opener.sizes.length))


def content_of(source: container.Source, seed: bytes, password: str | None) -> Iterator[bytes]:
    opener = Opener(source, seed, password)
    for number in range(len(opener.index.files)):
        yield from opener.range(*opener.index.span(number))


def undetected(changed: Iterator[bytes]) -> list[int]:
    """The numbers of those that open all the same. Any error but a ContainerError fails the test by itself."""
    found = []
    for number, sealed in enumerate(changed):
        try:
            unseal(sealed)
        except ContainerError:
            continue
        found.append(number)
    return found


def released(sealed: bytes) -> bytes:
    """What a reader of all the content gets before it meets the damage."""
    opener = Opener(BytesSource(sealed), SEED)
    pieces: list[bytes] = []
    with pytest.raises(Damaged):
        pieces.extend(opener.range(0, opener.sizes.length))
    return b"".join(pieces)


class Watched(BytesSource):
    """Notes what is read. Fails at read number `failing`, with an error or with one byte missing."""

    def __init__(self, sealed: bytes, failing: int = -1, error: Exception | None = None) -> None:
        super().__init__(sealed)
        self.reads: list[tuple[int, int]] = []
        self.failing, self.error = failing, error

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        self.reads.append((offset, len(buffer)))
        if len(self.reads) - 1 != self.failing:
            return super().read_into(offset, buffer)
        if self.error:
            raise self.error
        return super().read_into(offset, buffer[:-1])


# Vectors


def vectors() -> Iterator[Any]:
    for path in (VECTORS / "vectors.json", VECTORS / "own" / "vectors.json"):
        for vector in json.loads(path.read_text()):
            sealed = (path.parent / vector["file"]).read_bytes()
            yield pytest.param(vector, sealed, id=f"{vector['file']}: {vector['expect']}")


@pytest.mark.parametrize(("vector", "sealed"), list(vectors()))
def test_a_vector_ends_as_it_says(vector: dict[str, Any], sealed: bytes) -> None:
    seed = links.read_token(vector["token"])
    outcome: tuple[object, str | None]
    try:
        pieces = list(content_of(BytesSource(sealed), seed, vector["password"]))
        outcome = ("ok", hashlib.sha256(b"".join(pieces)).hexdigest())
    except ContainerError as error:
        outcome = (type(error), None)
    assert outcome == (ERRORS.get(vector["expect"], "ok"), vector["sha256"])


@pytest.mark.parametrize("path", sorted(VECTORS.rglob("*.1key")), ids=lambda path: path.name)
def test_a_vector_file_is_listed(path: Path) -> None:
    listed = json.loads((path.parent / "vectors.json").read_text())
    assert path.name in {vector["file"] for vector in listed}


class TestWorkedExample:
    @staticmethod
    def sealer() -> Sealer:
        drawn = iter(bytes(range(0x20, 0x40)) + bytes(range(0x64, 0x7C)))
        return Sealer(SEED, chunk_size=C, entropy=lambda size: bytes(next(drawn) for _ in range(size)))

    def test_the_commitment(self) -> None:
        expected = "b3be219750abf654f0eb3c16e9cb661194a5054dabbde6811b113bf92e7f45a0"
        assert self.sealer().header.commitment.hex() == expected

    def test_the_content_key(self) -> None:
        expected = "797db7af22f93a41858758db4f9f0d3e3b8c432709d1318c2b0c804b9d3eccd5"
        assert self.sealer().keys.content.hex() == expected

    def test_access(self) -> None:
        expected = "a18a7277fc36bf17156ae5f01de92d49bf3181c90255e61ab501b27a8fed619e"
        assert self.sealer().keys.access.hex() == expected

    @pytest.mark.parametrize("pieces", [(b"hello, onekey\n",), (b"hello, ", memoryview(b"onekey\n"))])
    def test_the_mark_of_part_0(self, pieces: tuple[bytes, ...]) -> None:
        assert self.sealer().keys.mark_of(0, *pieces).hex() == "cf12f8b10465bcb898aa1e0411833215"

    def test_the_container(self) -> None:
        sealer = self.sealer()
        parts = [sealer.header.pack(), *sealer.update(b"hello, onekey\n")]
        sealed = b"".join(parts + sealer.finish([File("hi.txt", "text/plain", 14)]))
        expected = "e4b2d0daa2c7082475b86fcfb6434a9a0e445b12415fa458f9439e046976ec68"
        assert hashlib.sha256(sealed).hexdigest() == expected


# Sealing


def pieces_of(content: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    return [content[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("length", EDGES)
def test_content_comes_back_when_sealed_whole(length: int) -> None:
    assert unseal(seal(text(length))) == text(length)


@pytest.mark.parametrize("length", EDGES)
def test_content_comes_back_when_sealed_byte_by_byte(length: int) -> None:
    sealer = new_sealer()
    parts = [sealer.header.pack()]
    for byte in text(length):
        parts += sealer.update(bytes([byte]))
    parts += sealer.finish([File("a", "a/b", length)])
    assert unseal(b"".join(parts)) == text(length)


@relaxed
@given(st.integers(0, 5 * C), st.lists(st.integers(0, 5 * C)), st.sampled_from([bytes, bytearray, memoryview]))
def test_content_comes_back_when_sealed_in_any_pieces(
    length: int, cuts: list[int], kind: Callable[[bytes], bytes]
) -> None:
    sealer = new_sealer()
    parts = [sealer.header.pack()]
    for piece in pieces_of(text(length), cuts):
        parts += sealer.update(kind(piece))
    parts += sealer.finish([File("a", "a/b", length)])
    assert unseal(b"".join(parts)) == text(length)


@relaxed
@given(st.integers(0, 4 * C), st.lists(st.integers(0, 4 * C)))
def test_every_element_but_the_last_is_one_sealed_chunk(length: int, cuts: list[int]) -> None:
    sealer = new_sealer()
    elements = [sealed for piece in pieces_of(text(length), cuts) for sealed in sealer.update(piece)]
    elements += sealer.finish([File("a", "a/b", length)])
    sizes = Sizes.of(HEADER_SIZE + sum(map(len, elements)), len(elements[-1]) - 4, C)
    assert list(map(len, elements[:-1])) == [sizes.chunk_span(number)[1] for number in range(sizes.chunks)]


@pytest.mark.parametrize(("length", "counts"), [(C - 1, (0, 2)), (C, (1, 1)), (2 * C + 1, (2, 2))])
def test_a_chunk_is_given_once_it_is_full(length: int, counts: tuple[int, int]) -> None:
    sealer = new_sealer()
    early = sealer.update(text(length))
    assert (len(early), len(sealer.finish([File("a", "a/b", length)]))) == counts


def test_length_counts_the_content_so_far() -> None:
    sealer = new_sealer()
    sealer.update(text(C + 1))
    sealer.update(b"x")
    assert sealer.length == C + 2


def test_a_piece_may_change_after_it_was_taken() -> None:
    sealer, piece = new_sealer(), bytearray(b"before")
    parts = [sealer.header.pack(), *sealer.update(piece)]
    piece[:] = b"behind"
    assert unseal(b"".join(parts + sealer.finish([File("a", "a/b", 6)]))) == b"before"


@pytest.mark.parametrize("call", [lambda s: s.update(b"x"), lambda s: s.finish([File("a", "a/b", 0)])])
def test_a_finished_sealer_takes_no_more(call: Callable[[Sealer], object]) -> None:
    sealer = new_sealer()
    sealer.finish([File("a", "a/b", 0)])
    with pytest.raises(RuntimeError):
        call(sealer)


def test_finish_refuses_files_longer_than_the_content() -> None:
    with pytest.raises(BadRequest):
        new_sealer().finish([File("a", "a/b", 1)])


def test_finish_can_be_tried_again_with_better_files() -> None:
    sealer = new_sealer()
    parts = [sealer.header.pack(), *sealer.update(b"abc")]
    with pytest.raises(BadRequest):
        sealer.finish([])
    assert unseal(b"".join(parts + sealer.finish([File("a", "a/b", 3)]))) == b"abc"


def test_no_two_nonces_of_a_container_are_alike() -> None:
    sealed = seal(text(5 * C))
    nonces = {sealed[offset : offset + 12] for offset in range(HEADER_SIZE, len(sealed) - 284, E)}
    assert len(nonces) == 6


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunk_size": C + 1}, ValueError),
        ({"chunk_size": C // 2}, Unsupported),
        ({"chunk_size": 1 << 23}, Unsupported),
        ({"password": "x", "iterations": 5}, Unsupported),
        ({"password": "x", "memory": 17}, Unsupported),
    ],
)
def test_a_sealer_writes_nothing_that_cannot_be_opened(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        new_sealer(**options)


@pytest.mark.parametrize("limit", ["MAX_CHUNKS", "MAX_LENGTH"])
def test_a_container_takes_no_more_than_it_can_hold(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, limit, 2)
    with pytest.raises(TooLarge):
        new_sealer().update(text(3 * C))


# Header, keys, passwords


def header_with(at: int, value: int, **options: Any) -> bytes:
    packed = bytearray(new_sealer(**options).header.pack())
    packed[at] = value
    return bytes(packed)


@pytest.mark.parametrize("options", [{}, {"sealed_only": True}, {"password": "x"}, {"chunk_size": 1 << 22}])
def test_a_header_is_packed_as_it_was_parsed(options: dict[str, Any]) -> None:
    packed = new_sealer(**options).header.pack()
    assert Header.parse(packed).pack() == packed


def test_a_header_tells_what_it_was_made_with() -> None:
    header = Header.parse(new_sealer(password="x", sealed_only=True).header.pack())
    assert (header.needs_password, header.sealed_only, header.chunk_size) == (True, True, C)


@pytest.mark.parametrize(
    "packed", [b"", bytes(96), header_with(0, ord("2")), new_sealer().header.pack() + b"x"], ids=len
)
def test_what_has_another_magic_or_size_is_no_header(packed: bytes) -> None:
    with pytest.raises(NotAContainer):
        Header.parse(packed)


@pytest.mark.parametrize(
    ("at", "value"),
    [(4, 0), (4, 2), (5, 0), (5, 2), (6, 11), (6, 23), (6, 255), (7, 4), (7, 128), (7, 1)]
    + [(at, 1) for at in range(8, 32)],
)
def test_a_field_without_password_that_cannot_be_is_unsupported(at: int, value: int) -> None:
    with pytest.raises(Unsupported):
        Header.parse(header_with(at, value))


BAD_COSTS = [(8, 0), (8, 2), (9, 0), (9, 5), (9, 255), (10, 12), (10, 17), (10, 255), (11, 0), (11, 2)]
BAD_COSTS += [(at, 1) for at in range(12, 16)]


def refuse_to_derive(*_: object, **__: object) -> None:
    pytest.fail("something was derived")


@pytest.mark.parametrize(("at", "value"), BAD_COSTS)
def test_a_cost_that_cannot_be_is_refused_before_anything_is_derived(
    at: int, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = header_with(at, value, password="x") + seal(b"abc", password="x")[HEADER_SIZE:]
    monkeypatch.setattr(container, "Argon2id", refuse_to_derive)
    monkeypatch.setattr(container, "kdf", refuse_to_derive)
    with pytest.raises(Unsupported):
        Opener(BytesSource(sealed), SEED, "x")


def test_a_size_that_cannot_be_is_refused_before_anything_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal(b"abc", password="x")[:-1] + b"\0"
    monkeypatch.setattr(container, "Argon2id", refuse_to_derive)
    monkeypatch.setattr(container, "kdf", refuse_to_derive)
    with pytest.raises(Damaged):
        Opener(BytesSource(sealed), SEED, "x")


def test_a_password_that_is_not_needed_is_ignored() -> None:
    assert unseal(seal(b"abc"), "x") == b"abc"


def test_a_password_is_needed() -> None:
    with pytest.raises(PasswordNeeded):
        unseal(seal(b"abc", password="x"))


@pytest.mark.parametrize("wrong", ["y", "", "X", "x ", " x", "x" * 1025, "\ud800", "x\0"], ids=ascii)
def test_another_password_is_wrong(wrong: str) -> None:
    with pytest.raises(WrongKey):
        unseal(seal(b"abc", password="x"), wrong)


@pytest.mark.parametrize("password", ["x", " ", "Zoe\u0308", "x" * 1024, "\u1fa7" * 341, "\0"], ids=ascii)
def test_a_password_opens_what_it_sealed(password: str) -> None:
    assert unseal(seal(b"abc", password=password), password) == b"abc"


@pytest.mark.parametrize("composed", ["Zo\xeb", "\u1fa7" * 341, "\uac01"], ids=ascii)
def test_a_password_is_spelled_in_nfc(composed: str) -> None:
    decomposed = unicodedata.normalize("NFD", composed)
    assert spell_password(decomposed) == composed.encode()


@pytest.mark.parametrize(
    "password", ["", "x" * 1025, "é" * 513, "\ud800", "\u0301" * 1_000_000, "x" * 10_000_000], ids=len
)
def test_a_text_that_cannot_be_a_password_is_a_bad_request(password: str) -> None:
    with pytest.raises(BadRequest):
        new_sealer(password=password)


def test_another_seed_is_wrong() -> None:
    with pytest.raises(WrongKey):
        Opener(BytesSource(seal(b"abc")), bytes(24))


def test_the_ikm_opens_without_seed_or_password() -> None:
    source = BytesSource(seal(b"abc", password="x"))
    ikm = Opener(source, SEED, "x").ikm
    assert b"".join(Opener(source, bytes(24), ikm=ikm).range(0, 3)) == b"abc"


def test_the_ikm_of_another_container_is_wrong() -> None:
    with pytest.raises(WrongKey):
        Opener(BytesSource(seal(b"abc", password="x")), SEED, ikm=SEED)


def test_derive_gives_the_keys_of_the_sealer() -> None:
    sealer = new_sealer(password="x")
    keys = derive(sealer.header, stretch(sealer.header, SEED, "x"))
    assert (keys.content, keys.access) == (sealer.keys.content, sealer.keys.access)


def shown_things() -> dict[str, object]:
    sealed = seal(b"abc")
    opener = Opener(BytesSource(sealed), SEED)
    return {"Keys": opener.keys, "Sealer": new_sealer(), "Opener": opener, "Header": opener.header}


@pytest.mark.parametrize("shown", shown_things().values(), ids=shown_things())
def test_a_repr_shows_no_key(shown: object) -> None:
    keys = shown if isinstance(shown, Keys) else getattr(shown, "keys", new_sealer().keys)
    header = shown if isinstance(shown, Header) else getattr(shown, "header", new_sealer().header)
    secrets = [keys.content, keys.access, keys.mark, SEED, header.commitment]
    written = repr(shown)
    assert not any(secret.hex() in written or repr(secret)[2:-1] in written for secret in secrets)


# Sizes


@pytest.mark.parametrize("length", [*EDGES, 10 * C + 5])
def test_sizes_know_the_length_of_the_content(length: int) -> None:
    assert Sizes.of(len(seal(text(length))), 284, C).length == length


def test_sizes_of_a_large_container() -> None:
    sizes = Sizes.of(HEADER_SIZE + (1 << 32) * E + 288, 284, C)
    assert (sizes.chunks, sizes.length) == (1 << 32, 1 << 44)


@pytest.mark.parametrize("total", [0, 96, MIN_SIZE - 1])
def test_sizes_below_the_least_are_no_container(total: int) -> None:
    with pytest.raises(NotAContainer):
        Sizes.of(total, 284, C)


@pytest.mark.parametrize(
    ("body", "sealed_index"),
    [
        (0, 0),
        (0, 28),
        (0, 283),
        (0, 285),
        (1000, 284 + 128),
        (1 << 22, MAX_SEALED_INDEX + 256),
        (0, 0xFFFFFFFF),
        (0, 284 + 256),
        (1, 284),
        (28, 284),
        (E + 1, 284),
        (E + 28, 284),
        ((1 << 32) * E + 29, 284),
    ],
)
def test_sizes_that_cannot_be_are_damage(body: int, sealed_index: int) -> None:
    with pytest.raises(Damaged):
        Sizes.of(MIN_SIZE + body, sealed_index, C)


def test_a_length_over_2_to_the_53_is_damage() -> None:
    large = 1 << 22
    with pytest.raises(Damaged):
        Sizes.of(MIN_SIZE + (1 << 31) * (large + OVERHEAD), 284, large)


@pytest.mark.parametrize(
    ("number", "span"), [(0, (96, E)), (1, (96 + E, E)), (2, (96 + 2 * E, 29))], ids=["first", "full", "last"]
)
def test_chunk_span_of_the(number: int, span: tuple[int, int]) -> None:
    assert Sizes.of(MIN_SIZE + 2 * E + 29, 284, C).chunk_span(number) == span


@pytest.mark.parametrize("number", [-1, 2])
def test_chunk_span_of_no_chunk_is_an_index_error(number: int) -> None:
    with pytest.raises(IndexError):
        Sizes.of(MIN_SIZE + 2 * E, 284, C).chunk_span(number)


# Ranges

LONG = text(4 * C + 100)
SEALED_LONG = seal(LONG)
MANY = [File("é" * 127, "a/b", 0)] * 1000  # an index that is longer than the tail read at first

near_edges = st.sampled_from([edge for edge in EDGES if edge <= len(LONG)])
offsets = st.integers(0, len(LONG)) | near_edges


@settings(deadline=None, max_examples=200)
@given(offsets, offsets)
def test_a_range_is_the_slice(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    assert b"".join(Opener(BytesSource(SEALED_LONG), SEED).range(start, stop)) == LONG[start:stop]


@settings(deadline=None, max_examples=200)
@given(offsets, offsets)
def test_a_range_reads_the_chunks_that_it_touches_and_no_more(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    source = Watched(SEALED_LONG)
    opener = Opener(source, SEED)
    source.reads.clear()
    list(opener.range(start, stop))
    touched = range(start // C, (stop - 1) // C + 1) if start < stop else range(0)
    assert source.reads == [opener.sizes.chunk_span(number) for number in touched]


@relaxed
@given(offsets, offsets)
def test_a_range_never_yields_an_empty_piece(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    assert all(Opener(BytesSource(SEALED_LONG), SEED).range(start, stop))


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (2, 1), (0, len(LONG) + 1), (len(LONG) + 1,) * 2])
def test_a_range_that_leaves_the_content_is_refused_at_once(start: int, stop: int) -> None:
    opener = Opener(BytesSource(SEALED_LONG), SEED)
    with pytest.raises(ValueError, match="range"):
        opener.range(start, stop)


def test_two_ranges_may_be_read_by_turns() -> None:
    opener = Opener(BytesSource(SEALED_LONG), SEED)
    turns = zip(opener.range(0, 2 * C), opener.range(2 * C, 4 * C), strict=True)
    assert [piece for pair in turns for piece in pair] == [
        LONG[:C], LONG[2 * C : 3 * C], LONG[C : 2 * C], LONG[3 * C : 4 * C]
    ]  # fmt: skip


# Opening


def test_opening_reads_the_header_and_the_tail_once() -> None:
    source = Watched(SEALED_LONG)
    Opener(source, SEED)
    assert source.reads == [(0, 96), (source.size - 4096, 4096)]


def test_opening_a_small_container_reads_no_more_than_there_is() -> None:
    source = Watched(seal(b"x"))
    Opener(source, SEED)
    assert source.reads == [(0, 96), (96, source.size - 96)]


def test_an_index_longer_than_the_tail_is_read_again() -> None:
    source = Watched(seal(b"", *MANY))
    assert Opener(source, SEED).index.files == tuple(MANY)


def test_a_chunk_in_which_one_range_ends_and_the_next_begins_is_read_once() -> None:
    source = Watched(SEALED_LONG)
    opener = Opener(source, SEED)
    before = len(source.reads)
    pieces = [b"".join(opener.range(at, at + 10)) for at in range(0, 100, 10)]
    assert (b"".join(pieces), len(source.reads) - before) == (text(100), 1)


def test_a_header_at_hand_is_not_read() -> None:
    source = Watched(SEALED_LONG)
    Opener(source, SEED, header=Header.parse(SEALED_LONG[:96]))
    assert source.reads == [(source.size - 4096, 4096)]


@pytest.mark.parametrize("error", [None, OSError("disk"), ConnectionResetError(), TimeoutError()])
@pytest.mark.parametrize("failing", [0, 1, 2, 3, 4])
def test_a_read_that_fails_is_damage(failing: int, error: Exception | None) -> None:
    source = Watched(seal(text(2 * C), *MANY), failing, error)
    with pytest.raises(Damaged):
        list(content_of(source, SEED, None)) + list(Opener(source, SEED).range(0, 2 * C))


def test_the_length_of_the_index_is_that_of_the_content() -> None:
    sealer = new_sealer()
    sealer.length = 1  # a writer that lies
    sealed = sealer.header.pack() + b"".join(sealer.finish([File("a", "a/b", 0)]))
    with pytest.raises(Damaged):
        unseal(sealed)


# Whatever is changed is noticed

SMALL = seal(b"hello, onekey\n")
REGIONS = {
    "header": range(96),
    "chunk": range(96, 96 + 42),
    "index": range(96 + 42, len(SMALL) - 4),
    "trailer": range(len(SMALL) - 4, len(SMALL)),
}


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF], ids=hex)
def test_every_flipped_byte_is_noticed_in_the(region: range, mask: int) -> None:
    flipped = (SMALL[:at] + bytes([SMALL[at] ^ mask]) + SMALL[at + 1 :] for at in region)
    assert undetected(flipped) == []


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_every_removed_byte_is_noticed_in_the(region: range) -> None:
    assert undetected(SMALL[:at] + SMALL[at + 1 :] for at in region) == []


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_every_doubled_byte_is_noticed_in_the(region: range) -> None:
    assert undetected(SMALL[: at + 1] + SMALL[at:] for at in region) == []


def test_every_cut_is_noticed() -> None:
    assert undetected(SMALL[:at] for at in range(len(SMALL))) == []


def test_every_cut_at_the_front_is_noticed() -> None:
    assert undetected(SMALL[at:] for at in range(1, len(SMALL))) == []


@pytest.mark.parametrize("junk", [b"\0", b"\n", b"x" * 4, SMALL[-4:], SMALL[-288:], SMALL, SMALL[96:]], ids=len)
def test_trailing_junk_is_noticed(junk: bytes) -> None:
    assert undetected(iter([SMALL + junk])) == []


def chunks_of(sealed: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Header, content chunks, sealed index with the trailer."""
    end = len(sealed) - 288
    return sealed[:96], [sealed[at : min(at + E, end)] for at in range(96, end, E)], sealed[end:]


@relaxed
@given(st.lists(st.integers(0, 4), max_size=6).filter(lambda order: order != [0, 1, 2, 3, 4]))
def test_chunks_in_any_other_order_or_number_are_noticed(order: list[int]) -> None:
    header, chunks, end = chunks_of(SEALED_LONG)
    assert undetected(iter([b"".join([header, *(chunks[number] for number in order), end])])) == []


@pytest.mark.parametrize("number", range(5))
def test_a_chunk_of_another_container_of_the_seed_is_noticed(number: int) -> None:
    header, chunks, end = chunks_of(SEALED_LONG)
    chunks[number] = chunks_of(seal(LONG))[1][number]
    assert undetected(iter([b"".join([header, *chunks, end])])) == []


def test_an_index_is_not_taken_for_content() -> None:
    sealer = new_sealer()
    *_, end = sealer.finish([File("a", "a/b", 0)])
    sealed_index = end[:-4]
    assert undetected(iter([sealer.header.pack() + sealed_index + end])) == []


@pytest.mark.parametrize("number", range(5))
def test_what_is_released_before_a_bad_chunk_is_a_true_prefix(number: int) -> None:
    sealed = bytearray(SEALED_LONG)
    sealed[96 + number * E + 50] ^= 1
    assert released(bytes(sealed)) == LONG[: number * C]


@relaxed
@given(st.integers(96, len(SEALED_LONG) - 289), st.binary(min_size=1, max_size=40))
def test_what_is_released_before_any_damage_is_a_true_prefix(at: int, junk: bytes) -> None:
    sealed = bytearray(SEALED_LONG)
    sealed[at] ^= 1
    sealed[at + 1 : min(at + 1 + len(junk), len(sealed) - 288)] = junk[: len(sealed) - 288 - at - 1]
    assert LONG.startswith(released(bytes(sealed)))


@relaxed
@given(st.binary(max_size=600))
def test_any_bytes_end_in_a_container_error(data: bytes) -> None:
    assert undetected(iter([data, SMALL[:96] + data, SMALL[:8] + data + SMALL[-4:]])) == []
