"""Content on its way out: what was promised arrives whole or visibly broken.

Every answer has a Content-Length, and the first piece was verified before the status line goes out. Whatever goes
wrong later ends in one place, `Guard`: it resets the connection, so that no client can take what it got for the whole.
"""

import errno
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from flask import Response
from werkzeug.datastructures import Range
from werkzeug.wrappers import Request

from onekey.errors import Damaged
from onekey.logs import log, place

_CLOSE: Final = 200 << 10


class Guard:
    """The body of an answer: counts its bytes, and cuts the connection where they end too soon or too late."""

    def __init__(
        self, pieces: Iterator[bytes], length: int, environ: dict[str, Any], close: Callable[[], None]
    ) -> None:
        self._pieces, self._left, self._environ, self._close = pieces, length, environ, close

    def __iter__(self) -> "Guard":
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces, None)
            self._left -= len(piece or b"")
            if self._left < 0 or (piece is None and self._left):
                raise Damaged("What was promised is not there.")
        except Exception as error:
            name = self._environ.setdefault("onekey.request", secrets.token_hex(4))
            log.error("A download was cut short: %s. Request %s.", place(error), name)
            reset(self._environ)
            # gunicorn drops this one without a line in its log. To end without an exception would be worse: on a
            # connection that is kept alive the client would take the next answer for the rest of the file.
            raise ConnectionResetError(errno.ECONNRESET, "cut short") from None
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Called by the server when the answer is over, however it ended."""
        self._close()


def reset(environ: dict[str, Any]) -> None:
    """Reset the client's connection (RST), so that it sees a broken transfer, and let nothing more be written to it.

    The descriptor is replaced and not closed: whoever still holds the socket meets one whose other end has gone away,
    never a stranger's that got the same number. Only where the server lends us its socket, and it is this request's
    alone.
    """
    lent = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if lent is None or not str(environ.get("SERVER_PROTOCOL")).startswith("HTTP/1"):
        return
    lent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        fresh, gone = socket.socketpair()
    except OSError:  # no descriptor is to be had
        lent.shutdown(socket.SHUT_RDWR)
        return
    gone.close()  # every server knows how to go on from there; reading from an unconnected one would be an error
    with fresh:
        os.dup2(fresh.fileno(), lent.fileno(), inheritable=False)


def _stay_close(environ: dict[str, Any]) -> None:
    """Let little lie between us and a client on this machine, a proxy say: what it takes is then still in the cache.

    A third of a download's time, measured. To clients that are far away the system adapts the buffer by itself.
    """
    lent, address = environ.get("gunicorn.socket"), str(environ.get("REMOTE_ADDR"))
    if lent is not None and (address.startswith("127.") or address == "::1"):
        lent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CLOSE)


def stream(request: Request, pieces: Iterator[bytes], length: int, close: Callable[[], None]) -> Response:
    """An answer of `length` bytes. Its first piece is taken here, so what is wrong with it is raised here."""
    body: Guard | None = None
    if request.method == "HEAD":
        close()
    else:
        first = next(pieces, b"") if length else b""
        if length > len(first):
            _stay_close(request.environ)
        body = Guard(_after(first, pieces), length, request.environ, close)
    response = Response(body, direct_passthrough=True)
    response.headers.clear()  # of the type that Flask takes for granted
    response.headers.add("Content-Length", str(length))
    return response


def _after(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    del first  # or it would stay in memory for as long as the download lasts
    yield from pieces


def bare(status: int, headers: list[tuple[str, str]]) -> Response:
    """An answer that is its status and headers, without the type that Flask takes for granted."""
    response = Response(status=status)
    response.headers.remove("Content-Type")
    response.headers.extend(headers)
    return response


class Unsatisfiable(Exception):
    """A range begins behind the end of what there is."""


def wanted(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """The range of bytes [start, stop) that a request asks for, None for the whole: RFC 9110, section 14.

    One range a request; several, or what is no range of bytes, get the whole, and so does an If-Range that names other
    bytes. Raises Unsatisfiable.
    """
    asked: Range | None = request.range if "Range" in request.headers and request.method == "GET" else None
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if "If-Range" in request.headers and not _same(request, etag):
        return None
    if size < -asked.ranges[0][0]:  # the last bytes, more of them than there are: the whole of it
        return (0, size) if size else None
    span = asked.range_for_length(size)
    if span is None:
        raise Unsatisfiable
    return span


def _same(request: Request, etag: str) -> bool:
    """If-Range compares strongly, and we give no date that it could hold: RFC 9110, section 13.1.5."""
    return request.headers["If-Range"].strip() == f'"{etag}"'


def not_modified(request: Request, etag: str) -> bool:
    """Whether the client has these bytes already: If-None-Match, compared weakly."""
    return "If-None-Match" in request.headers and request.if_none_match.contains_weak(etag)
