"""An index is written in its one spelling and read with every rule checked: what breaks one is Damaged, no more."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onekey.errors import BadRequest, Damaged
from onekey.index import MAX_FILES, MAX_INDEX, MAX_NUMBER, File, Index, read_json, valid_name, write_json

CAT = File("cat.png", "image/png", 123)
FILE: dict[str, Any] = {"name": "cat.png", "type": "image/png", "size": 123}
PLAIN = '{"length":123,"files":[{"name":"cat.png","type":"image/png","size":123}]}'


def pad(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return data.ljust(max(256, -(-len(data) // 256) * 256))


def decode(text: str | bytes) -> Index:
    return Index.decode(pad(text))


def spell(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def with_file(**members: object) -> str:
    """The plain index, these members of its file set; a member set to ... is left out."""
    entry = {name: value for name, value in (FILE | members).items() if value is not ...}
    return spell({"length": 123, "files": [entry]})


def with_index(**members: object) -> str:
    index = {"length": 123, "files": [FILE]} | members
    return spell({name: value for name, value in index.items() if value is not ...})


relaxed = settings(deadline=None, max_examples=200)  # the machine may be busy

names = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1).filter(valid_name)
files = st.builds(File, names, st.sampled_from(["image/png", "text/plain;charset=utf-8"]), st.integers(0, 2**40))


# Writing


def test_encode_writes_the_worked_example() -> None:
    expected = b'{"length":14,"files":[{"name":"hi.txt","type":"text/plain","size":14}]}'.ljust(256)
    assert Index(14, (File("hi.txt", "text/plain", 14),)).encode() == expected


def test_encode_writes_path_role_and_of_only_where_they_are() -> None:
    small = File("s.webp", "image/webp", 1, path=("a", "b"), role="thumbnail", of=0)
    last = Index(124, (CAT, small)).encode().rstrip().partition(b"},")[2]
    assert last == b'{"name":"s.webp","type":"image/webp","size":1,"path":["a","b"],"role":"thumbnail","of":0}]}'


@pytest.mark.parametrize(("over", "size"), [(-1, 256), (0, 256), (1, 512)])
def test_encode_pads_to_the_next_multiple_of_256(over: int, size: int) -> None:
    name = "x" * (256 + over - len(PLAIN) + len("cat.png"))
    assert len(Index(123, (File(name, "image/png", 123),)).encode()) == size


@relaxed
@given(st.lists(files, min_size=1, max_size=5))
def test_what_was_encoded_decodes_to_the_same(listed: list[File]) -> None:
    index = Index(sum(file.size for file in listed), tuple(listed))
    assert Index.decode(index.encode()) == index


BAD_INDEXES = {
    "no file": Index(0, ()),
    "too many files": Index(0, (File("a", "a/b", 0),) * (MAX_FILES + 1)),
    "files longer than the content": Index(122, (CAT,)),
    "length over 2^53": Index(MAX_NUMBER + 1, (CAT,)),
    "length below 0": Index(-1, (File("a", "a/b", 0),)),
    "secret/name": Index(9, (File("secret/name", "a/b", 0),)),
    "lone surrogate": Index(9, (File("secret\ud800", "a/b", 0),)),
    "no media type": Index(9, (File("secret", "text", 0),)),
    "type with a line end": Index(9, (File("secret", "text/plain\r\n", 0),)),
    "negative size": Index(9, (File("secret", "a/b", -1),)),
    "bool for a size": Index(9, (File("secret", "a/b", True),)),
    "folder ..": Index(9, (File("secret", "a/b", 0, path=("..",)),)),
    "33 folders": Index(9, (File("secret", "a/b", 0, path=("f",) * 33),)),
    "unknown role": Index(9, (File("secret", "a/b", 0, role="poster", of=0),)),
    "thumbnail of nothing": Index(9, (File("secret", "a/b", 0, role="thumbnail"),)),
    "thumbnail of no file": Index(9, (File("secret", "a/b", 0, role="thumbnail", of=1),)),
    "over 1 MiB": Index(0, (File("é" * 127, "a/b", 0),) * 4000),
}


@pytest.mark.parametrize("index", BAD_INDEXES.values(), ids=BAD_INDEXES)
def test_encode_refuses_what_could_not_be_read(index: Index) -> None:
    with pytest.raises(BadRequest, match=r"^[^\n]+\.$") as caught:
        index.encode()
    assert "secret" not in str(caught.value)


# Where files lie


@pytest.mark.parametrize(("number", "span"), [(0, (0, 5)), (1, (5, 5)), (2, (5, 12))])
def test_span_follows_the_order_of_the_files(number: int, span: tuple[int, int]) -> None:
    listed = tuple(File(str(size), "a/b", size) for size in (5, 0, 7))
    assert Index(20, listed).span(number) == span


def test_span_of_a_file_that_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Index(123, (CAT,)).span(1)


# Names


@pytest.mark.parametrize(
    "name", ["a", "...", " ", "a b", "über.png", "x" * 255, "é" * 127, "\u202egnp.exe", "CON", "🔑" * 63]
)
def test_a_name_may_be(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "x" * 256, "é" * 128, "\0", "a\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800"],
    ids=ascii,
)
def test_a_name_may_not_be(name: str) -> None:
    assert not valid_name(name)


# Reading what is right


def test_decode_reads_every_member() -> None:
    text = with_index(files=[FILE, {**FILE, "size": 0, "path": ["ü", "x"], "role": "thumbnail", "of": 0}])
    small = File("cat.png", "image/png", 0, ("ü", "x"), "thumbnail", 0)
    assert decode(text) == Index(123, (CAT, small))


GOOD = {
    "unknown members": with_index(later={"a": [None, True, False, 0, "x"]}),
    "unknown members of a file": with_file(later="x"),
    "an empty path": with_file(path=[]),
    "32 folders": with_file(path=["x"] * 32),
    "16 deep": PLAIN[:-1] + ',"a":' + "[" * 15 + "]" * 15 + "}",
    "brackets in a name": with_file(name="[" * 200),
    "control characters in an unknown member": with_index(later='\0\x1f\b\t\n\f\r"\\\x7f\u2028'),
    "padding of the content": with_index(length=MAX_NUMBER),
    "more spaces than needed": PLAIN + " " * 1000,
    "a type with parameters": with_file(type='multipart/x; boundary="a b"'),
    "a type of 255 characters": with_file(type="a/" + "b" * 253),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_decode_takes(text: str) -> None:
    assert decode(text).files[0].size == 123


# Reading what is wrong

HUGE = "1" + "0" * 5000
BROKEN = {
    "nothing": "",
    "no JSON": "hello",
    "half of it": PLAIN[:-1],
    "a list": f"[{PLAIN}]",
    "null": "null",
    "a number": "1",
    "two values": PLAIN + "{}",
    "a byte order mark": "\ufeff" + PLAIN,
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without mark": PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "no UTF-8": PLAIN.replace("cat", "c\0t").encode().replace(b"\0", b"\xff"),
    "an overlong form": PLAIN.encode().replace(b"cat", b"c\xc1\xa1t"),
    "a raw surrogate": with_file(name="\ud800"),
    "an escaped surrogate": PLAIN.replace("cat", "\\ud800"),
    "an escaped surrogate in an unknown member": with_index(later=0).replace(":0}", ':"\\udc00"}'),
    "an escaped pair": PLAIN.replace("cat", "\\ud83d\\udd11"),
    "an escape that need not be": PLAIN.replace("cat", "\\u0063at"),
    "an escaped slash in a type": PLAIN.replace("image/png", "image\\/png"),
    "an escape in capitals": with_index(later="\x1f").replace("\\u001f", "\\u001F"),
    "a long escape": with_index(later="\n").replace("\\n", "\\u000a"),
    "a raw control character": with_index(later="?").replace("?", "\x01"),
    "white space in front": " " + PLAIN,
    "white space between": PLAIN.replace(",", ", "),
    "a line end after": PLAIN + "\n",
    "zero bytes for padding": PLAIN + "\0",
    "a comma too many": PLAIN.replace("}]", "},]"),
    "a repeated member": PLAIN.replace("{", '{"length":5,', 1),
    "a repeated member of a file": PLAIN.replace('"size"', '"size":123,"size"'),
    "a repeated unknown member": PLAIN.replace("{", '{"a":1,"a":1,', 1),
    "NaN": with_index(later=0).replace(":0}", ":NaN}"),
    "Infinity": with_index(later=0).replace(":0}", ":Infinity}"),
    "-Infinity": with_index(later=0).replace(":0}", ":-Infinity}"),
    "a fraction": with_index(later=1.5),
    "a whole fraction": PLAIN.replace("123", "123.0"),
    "an exponent": PLAIN.replace("123", "1e2"),
    "a negative number": with_index(later=-1),
    "minus zero": with_index(later=0).replace(":0}", ":-0}"),
    "a zero in front": PLAIN.replace("123", "0123"),
    "a plus": PLAIN.replace("123", "+123"),
    "2^53": with_index(later=MAX_NUMBER + 1),
    "a huge number": with_index(later=0).replace(":0}", f":{HUGE}}}"),
    "a million digits": PLAIN.replace("123", "9" * 1_000_000),
    "a huge size": with_file(size=0).replace(":0}", f":{HUGE}}}"),
    "a huge fraction": with_index(later=0).replace(":0}", f":0.{HUGE}}}"),
    "a huge exponent": with_index(later=0).replace(":0}", f":1e{HUGE}}}"),
    "a member name that is empty": with_index(**{"": 0}),
    "a member name that is a number": with_index(**{"1": 0}),
    "a member name that begins with _": with_index(__proto__=0),
    "a member name with a digit deep inside": with_index(later=[{"a": {"1": 0}}]),
    "17 deep": PLAIN[:-1] + ',"a":' + "[" * 16 + "]" * 16 + "}",
    "17 deep in objects": PLAIN[:-1] + ',"a":' + '{"a":' * 16 + "0" + "}" * 16 + "}",
    "100 000 lists": "[" * 100_000 + "]" * 100_000,
    "a million lists left open": "[" * MAX_INDEX,
    "objects left open": '{"a":' * 200_000,
    "half a million zeros": "[" + "0," * (MAX_INDEX // 2 - 2) + "0]",
    "no length": with_index(length=...),
    "no files": with_index(files=...),
    "an empty list of files": with_index(files=[]),
    "too many files": spell({"length": 0, "files": [FILE | {"size": 0}] * (MAX_FILES + 1)}),
    "files in an object": with_index(files={"a": FILE}),
    "files in a text": with_index(files="abc"),
    "a file that is a list": with_index(files=[[]]),
    "a file that is null": with_index(files=[None]),
    "a length in a text": with_index(length="123"),
    "true for a length": with_index(length=True, files=[FILE | {"size": 0}]),
    "null for a length": with_index(length=None),
    "a length below the sizes": with_index(length=122),
    "no name": with_file(name=...),
    "no type": with_file(type=...),
    "no size": with_file(size=...),
    "a name that is null": with_file(name=None),
    "a name that is a number": with_file(name=1),
    "a name that is a list": with_file(name=["a"]),
    "an empty name": with_file(name=""),
    "the name ..": with_file(name=".."),
    "a slash in a name": with_file(name="a/b"),
    "a backslash in a name": with_file(name="a\\b"),
    "a line end in a name": with_file(name="a\n"),
    "256 bytes of name": with_file(name="é" * 128),
    "a type without slash": with_file(type="text"),
    "a type with a line end": with_file(type="text/plain\n"),
    "a type with two slashes": with_file(type="a/b/c"),
    "a type that is not ASCII": with_file(type="text/plain; name=é"),
    "a type of 256 characters": with_file(type="a/" + "b" * 254),
    "a type that is null": with_file(type=None),
    "true for a size": with_file(size=True),
    "a size in a text": with_file(size="1"),
    "a size that is null": with_file(size=None),
    "a path in a text": with_file(path="abc"),
    "a path that is null": with_file(path=None),
    "a path of numbers": with_file(path=[1]),
    "a path up": with_file(path=["a", ".."]),
    "33 folders": with_file(path=["x"] * 33),
    "a role of null": with_file(role=None),
    "a role and of of null": with_file(role=None, of=None),
    "an unknown role": with_file(role="poster", of=0),
    "a role that is a list": with_file(role=["thumbnail"], of=0),
    "a role without of": with_file(role="thumbnail"),
    "of without a role": with_file(of=0),
    "of true": with_file(role="thumbnail", of=True),
    "of a file that is not there": with_file(role="thumbnail", of=1),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_decode_answers_damaged_to(text: str | bytes) -> None:
    with pytest.raises(Damaged):
        decode(text)


@pytest.mark.parametrize("size", [0, 255, 257, MAX_INDEX + 256])
def test_decode_answers_damaged_to_a_size_of(size: int) -> None:
    with pytest.raises(Damaged):
        Index.decode(PLAIN.encode().ljust(size)[:size])


# What no one thought of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["length", "files", "name", "type", "size", "path", "role", "of", "a", "1", ""]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def opens_or_is_damaged(plaintext: bytes) -> bool:
    try:
        index = Index.decode(plaintext)
    except Damaged:
        return True
    return Index.decode(index.encode()) == index


@relaxed
@given(json_values)
def test_any_json_opens_or_is_damaged(value: object) -> None:
    assert opens_or_is_damaged(pad(spell(value)))


@relaxed
@given(st.fixed_dictionaries(dict.fromkeys(["name", "type", "size"], json_values), optional={"of": json_values}))
def test_any_file_opens_or_is_damaged(entry: dict[str, object]) -> None:
    assert opens_or_is_damaged(pad(with_file(**entry)))


@relaxed
@given(st.integers(0, len(PLAIN)), st.integers(0, 8), st.binary(max_size=4))
def test_any_splice_opens_or_is_damaged(at: int, removed: int, inserted: bytes) -> None:
    text = PLAIN.encode()
    assert opens_or_is_damaged(pad(text[:at] + inserted + text[at + removed :]))


@relaxed
@given(st.binary(max_size=300))
def test_any_bytes_open_or_are_damaged(data: bytes) -> None:
    assert opens_or_is_damaged(pad(data))


@relaxed
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_write_json_escapes_only_what_must_be(text: str) -> None:
    written = write_json(text).decode()
    escapes = re.findall(r'\\(?:u00[01][0-9a-f]|[bfnrt"\\])', written)
    assert len(escapes) == sum(char < " " or char in '"\\' for char in text)


@relaxed
@given(st.dictionaries(st.from_regex(r"[A-Za-z].{0,3}", fullmatch=True), st.integers(0, MAX_NUMBER) | st.text()))
def test_read_json_reads_what_write_json_wrote(value: dict[str, object]) -> None:
    assert read_json(write_json(value)) == value
