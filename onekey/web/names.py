"""Names and types of files, which their senders chose: cleaned on the way in, made harmless on the way out."""

import mimetypes
import re
import unicodedata
from typing import Final
from urllib.parse import quote

from onekey.index import valid_name, valid_type

UNNAMED: Final = "file"
OCTETS: Final = "application/octet-stream"
TEXT: Final = "text/plain"
_MAX_NAME: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BIDI: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNSAVEABLE: Final = re.compile(r'[<>:"|?*/\\]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,10}")

# What a browser shows without running anything of it. Everything else is a download.
_INLINE: Final = frozenset(
    [f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif")]
    + [f"video/{kind}" for kind in ("mp4", "webm", "ogg", "quicktime", "x-m4v", "mpeg", "3gpp", "x-matroska")]
    + [f"audio/{kind}" for kind in ("mpeg", "mp4", "aac", "ogg", "opus", "webm", "flac", "wav", "x-wav", "x-m4a")]
    + [TEXT]
)
# The standard library's own table and not the system's, so that every machine gives the same answer.
_TYPES: Final = mimetypes.MimeTypes()
for _type, _suffix in (
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("audio/flac", ".flac"),
    ("audio/ogg", ".ogg"),
    ("audio/ogg", ".oga"),
    ("audio/opus", ".opus"),
    ("audio/mp4", ".m4a"),
    ("video/x-m4v", ".m4v"),
    ("video/x-matroska", ".mkv"),
    (TEXT, ".log"),
    (TEXT, ".md"),
):
    _TYPES.add_type(_type, _suffix)


def clean_name(sent: str | None) -> str:
    """A name that may stand in an index (format.md, section 2): of what was sent the last segment, as far as it may."""
    name = re.split(r"[/\\]", sent or "")[-1]
    name = _CONTROL.sub("_", name).strip(" ")
    name = _shortened(name)
    return name if valid_name(name) else UNNAMED


def _shortened(name: str) -> str:
    """At most 255 bytes of UTF-8, cut before the ending and between characters."""
    if len(name.encode()) <= _MAX_NAME:
        return name
    ending = ending_of(name)
    kept = name[: len(name) - len(ending)].encode()[: _MAX_NAME - len(ending)]
    return kept.decode(errors="ignore") + ending


def ending_of(name: str) -> str:
    """The ending of a name, dot included, if it is one that a link can carry; else nothing."""
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix if stem and _ENDING.fullmatch(dot + suffix) else ""


def media_type(sent: str | None, name: str) -> str:
    """The media type that a client sent, without parameters; by the name where what it sent says nothing."""
    given = (sent or "").partition(";")[0].strip().lower()
    if given and given != OCTETS and valid_type(given):
        return given
    guessed, encoding = _TYPES.guess_type(name.replace(":", "_"), strict=False)
    return guessed if guessed and not encoding else OCTETS  # what is compressed is not what it was


def is_text(piece: bytes) -> bool:
    """Whether the beginning of a nameless file reads as UTF-8 text."""
    try:
        text = piece.decode()
    except UnicodeDecodeError as error:
        if error.start < len(piece) - 3:  # nearer to the end it may be a character that the piece cuts
            return False
        text = piece[: error.start].decode()
    return bool(text) and not any(char < " " and char not in "\t\n\r\f\x1b" for char in text)


def is_inline(media: str) -> bool:
    """Whether a file of this type is shown, and not downloaded."""
    return media in _INLINE


def served_type(media: str) -> str:
    """The Content-Type under which a file of this type goes out."""
    if media == TEXT:
        return "text/plain; charset=utf-8"
    return media if is_inline(media) else OCTETS


def shown_name(name: str) -> str:
    """A name with every mark that turns "gpj.exe" into "exe.jpg" made visible."""
    return _BIDI.sub("\ufffd", name)


def saved_name(name: str) -> str:
    """A name that is what it looks like, and that every system can save."""
    safe = _UNSAVEABLE.sub("_", _BIDI.sub("", unicodedata.normalize("NFC", name))).rstrip(" .").lstrip(" ")
    if not safe or _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    return _shortened(safe)


def disposition(name: str, media: str) -> str:
    """The Content-Disposition of a file: RFC 6266, with `filename*` in UTF-8 (RFC 8187) where ASCII does not do."""
    kind, safe = ("inline" if is_inline(media) else "attachment"), saved_name(name)
    plain = unicodedata.normalize("NFKD", safe).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 !#$&'()+,.;=@\[\]^_`{}~-]", "_", plain).strip(" ") or UNNAMED
    if plain == safe:
        return f'{kind}; filename="{plain}"'
    if ending_of(plain) == plain or plain.startswith("."):
        plain = UNNAMED + plain
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='!#$&+.^_`|~-')}"


def unique(names: list[str]) -> list[str]:
    """The names, in order, each made different from those before it, upper and lower case being the same."""
    taken: set[str] = set()
    last: dict[str, int] = {}  # the numbers that are used up: to try them again for each name takes for ever
    return [_untaken(name, taken, last) for name in names]


def _untaken(name: str, taken: set[str], last: dict[str, int]) -> str:
    candidate, alike = name, _numbered(name, 1).casefold()
    while candidate.casefold() in taken:
        last[alike] = last.get(alike, 1) + 1
        candidate = _numbered(name, last[alike])
    taken.add(candidate.casefold())
    return candidate


def _numbered(name: str, number: int) -> str:
    """A name, behind its folders, with a number before its ending, and no longer than a name may be."""
    folders, slash, name = name.rpartition("/")
    ending = ending_of(name)
    mark = f" ({number}){ending}"
    stem = name[: len(name) - len(ending)].encode()[: _MAX_NAME - len(mark)].decode(errors="ignore")
    return f"{folders}{slash}{stem}{mark}"
