"""The server's half of `onekey doctor`: one slow answer, for who can write in CONTENT_DIR and for nobody else.

`GET /checkup/<nonce>` is there while CONTENT_DIR/checkup holds the SHA-256 of the nonce, in hex, and is not older than
MAX_AGE; else it is as unknown as everything unknown. It says at once how the request arrived, as JSON padded with
spaces to PIECE bytes, and after PAUSE seconds sends as many spaces again: what lies between must not wait for them.
"""

import hmac
import ipaddress
import json
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from flask import Blueprint, Response, request

from onekey.errors import NotFound
from onekey.web import policy, streaming
from onekey.web.services import services

FILE: Final = "checkup"
MAX_AGE: Final = 300
PIECE: Final = 8 << 10
PAUSE: Final = 1.5
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{32}")
checkup = Blueprint("checkup", __name__)


@checkup.get("/checkup/<nonce>")
def look(nonce: str) -> Response:
    """What `onekey doctor` asks for. Raises NotFound for everybody else."""
    if not _NONCE.fullmatch(nonce) or not hmac.compare_digest(sha256(nonce.encode()).hexdigest().encode(), _expected()):
        raise NotFound
    first = json.dumps(_facts()).encode().ljust(PIECE)
    response = streaming.stream(request, _slowly(first), 2 * PIECE, lambda: None)
    response.headers.extend(policy.CONTENT)
    response.headers["Content-Type"] = "application/json"
    return response


def _expected() -> bytes:
    """The hash that is waited for; empty where none is, which no hash equals."""
    file = services().settings.content_dir / FILE
    try:
        with file.open("rb") as content:
            return content.read(64) if 0 <= services().clock() - file.stat().st_mtime < MAX_AGE else b""
    except OSError:
        return b""


def _facts() -> dict[str, Any]:
    """How the request arrived, before anything that PROXY_HOPS says is believed."""
    forwarded = [hop for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    return {
        "forwarded": len(forwarded),
        "proto": "X-Forwarded-Proto" in request.headers,
        "scheme": request.scheme,
        "host": request.host,
        "loopback": _is_loopback(str(request.environ.get("REMOTE_ADDR"))),
        "proxy_hops": services().settings.proxy_hops,
    }


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a socket of this machine has no address
        return not address


def _slowly(first: bytes) -> Iterator[bytes]:
    yield first
    time.sleep(PAUSE)
    yield b" " * PIECE
