"""Uploads on their way in: the body of a request as files, read once, as it arrives.

File parts go straight from the parser to who seals them. Nothing here touches `request.form` or `request.files`:
Werkzeug's own parser would write large files to a temporary file in plaintext.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header
from werkzeug.http import parse_options_header as parse_header
from werkzeug.wrappers import Request

from onekey.errors import BadRequest, ClientGone, TooLarge, TooSlow
from onekey.uploads import Incoming
from onekey.web.names import UNNAMED, clean_name, is_text, media_type

FIELD: Final = "file"
_READ: Final = 1 << 20  # gunicorn is three to seven times slower with 64 KiB
_FIRST_READ: Final = 1 << 16
_MAX_FIELDS: Final = 100
_MAX_FIELD: Final = 64 << 10
_MAX_HEADER: Final = 8 << 10
_UPLOAD_TOO_LARGE: Final = "This is more than the server takes (MAX_UPLOAD_SIZE)."
_FORM_TYPES: Final = {"application/x-www-form-urlencoded", "multipart/form-data"}


class Body:
    """The bytes of a request: read in large pieces, checked to be all there and not too many."""

    def __init__(self, request: Request, limit: int, refusal: str = _UPLOAD_TOO_LARGE) -> None:
        """Raises TooLarge, in the words of `refusal`, at once where the request says that it holds more than `limit`
        bytes."""
        self._stream, self._declared, self._limit, self._count = request.stream, request.content_length, limit, 0
        self._size, self._refusal = _FIRST_READ, refusal
        if self._declared is not None and self._declared > limit:
            raise TooLarge(refusal)

    def __iter__(self) -> Iterator[bytes]:
        """Raises TooLarge, TooSlow, ClientGone."""
        while piece := self._read():
            # Small at first: who sends little and then nothing should not keep much of our memory.
            self._size = min(_READ, 2 * self._size)
            self._count += len(piece)
            if self._count > self._limit:
                raise TooLarge(self._refusal)
            yield piece
        if self._declared is not None and self._count < self._declared:
            raise ClientGone("The request ended before it was whole.")

    def _read(self) -> bytes:
        try:
            return self._stream.read(self._size)
        except TimeoutError:
            raise TooSlow("The request came too slowly.") from None
        except Exception:  # whatever the server that reads for us raises: the rest of this body is not to be had
            raise ClientGone("The request ended before it was whole.") from None


def raw(request: Request, name: str | None, max_size: int) -> Iterator[Incoming]:
    """The body as one file. A nameless one that begins as text is called so, that a browser may show it."""
    pieces = iter(Body(request, max_size))
    first = next(pieces, b"")
    sent = request.mimetype if request.mimetype not in _FORM_TYPES else None
    called = clean_name(name) if name else UNNAMED
    if not name and not media_known(sent) and is_text(first):
        called = f"{UNNAMED}.txt"
    yield Incoming(called, media_type(sent, called), _from(first, pieces))


def media_known(sent: str | None) -> bool:
    """Whether a client's Content-Type says anything."""
    return media_type(sent, UNNAMED) != media_type(None, UNNAMED)


def _from(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _filename(part: MultipartSegment) -> str | None:
    """The name of a file; `filename*` (RFC 8187) goes first, which forms should not have (RFC 7578) and some send."""
    plain: str | None = part.filename
    header: str = part.header("Content-Disposition", "")
    return parse_header(header)[1].get("filename", plain) if "filename*" in header.lower() else plain


class Form:
    """A `multipart/form-data` body (RFC 7578), given file by file; its fields are told as they come."""

    def __init__(self, request: Request, *, max_size: int, max_files: int, field: Callable[[str, str], None]) -> None:
        """`field(name, value)` is called for each field, and may raise. Raises BadRequest, TooLarge."""
        options = parse_options_header(request.headers.get("Content-Type", ""))[1]
        # Each part may add its own headers to what the files hold.
        self._body = Body(request, max_size + (max_files + _MAX_FIELDS) * 2 * _MAX_HEADER)
        self._max_size, self._max_files, self._field = max_size, max_files, field
        self._size = self._files = self._fields = 0
        try:
            self._parser = PushMultipartParser(
                options.get("boundary", ""), max_header_size=_MAX_HEADER, max_header_count=16, strict=False
            )
        except MultipartError:
            raise BadRequest("This form has no boundary between its parts.") from None

    def files(self) -> Iterator[Incoming]:
        """The files, in order; read the pieces of one before the next. Raises BadRequest and what Body does."""
        events = self._events()
        for part in events:
            assert isinstance(part, MultipartSegment)
            if _filename(part) is None and part.name != FIELD:
                self._take_field(part.name, events)
            elif part.filename == "" and part.name == FIELD:
                self._skip_empty(events)
            elif part.name != FIELD:
                raise BadRequest(f"A file belongs in the field {FIELD!r}.")
            else:
                yield self._file(part, events)
        if not self._files:
            raise BadRequest(f"There is no file in this request: it belongs in the field {FIELD!r}.")

    def _file(self, part: MultipartSegment, events: Iterator[Any]) -> Incoming:
        self._files += 1
        if self._files > self._max_files:
            raise TooLarge(f"These are more files than the server takes at once ({self._max_files}).")
        name = clean_name(_filename(part))
        return Incoming(name, media_type(part.content_type, name), self._pieces(events))

    def _pieces(self, events: Iterator[Any]) -> Iterator[bytes]:
        while (piece := next(events)) is not None:
            self._size += len(piece)
            if self._size > self._max_size:
                raise TooLarge(_UPLOAD_TOO_LARGE)
            yield piece

    def _take_field(self, name: str, events: Iterator[Any]) -> None:
        self._fields += 1
        if self._fields > _MAX_FIELDS:
            raise TooLarge("This form has too many fields.")
        value = bytearray()
        while (piece := next(events)) is not None:
            value += piece
            if len(value) > _MAX_FIELD:
                raise TooLarge("A field of this form is too long.")
        try:
            self._field(name, value.decode())
        except UnicodeDecodeError:
            raise BadRequest("A field of this form is not UTF-8.") from None

    def _skip_empty(self, events: Iterator[Any]) -> None:
        """What a browser sends for a file input that nothing was chosen in."""
        if next(events) is not None:
            raise BadRequest("A file of this form has no name.")

    def _events(self) -> Iterator[Any]:
        try:
            for piece in self._body:
                yield from self._parser.parse(piece)
                if self._parser.closed:
                    return
            self._parser.close()
        except ParserLimitReached:
            raise TooLarge("The headers in this form are too long.") from None
        except MultipartError:
            raise BadRequest("This is not a form that can be read (RFC 7578).") from None
