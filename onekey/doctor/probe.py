"""What `onekey doctor` asks a server, through whatever is in front: how an answer arrives, and what a log keeps."""

import http.client
import json
import os
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from onekey.web.checkup import FILE, PAUSE, PIECE

_PATIENCE: Final = 10.0
_LOG_TIME: Final = 3.0
_MOST_OF_LOG: Final = 16 << 20


class Unreachable(Exception):
    """No answer came; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came from an address: `facts` where it was what `web.checkup` says, `held` whether its first piece waited
    for the last, `date` the server's time in seconds since 1970."""

    status: int
    facts: Mapping[str, Any] | None
    held: bool
    date: float | None


@contextmanager
def invited(content: Path) -> Iterator[str]:
    """A nonce that the server of this CONTENT_DIR answers to while the block runs. Raises OSError."""
    nonce, file, owner = secrets.token_urlsafe(24), content / FILE, content.stat()
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(sha256(nonce.encode()).hexdigest().encode())
            if os.geteuid() == 0:  # the server that is to read it may be somebody else
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        yield nonce
    finally:
        file.unlink(missing_ok=True)


def ask(base: str, nonce: str) -> Answer:
    """Ask for the slow answer. Raises Unreachable."""
    answer = _ask(base, nonce)
    # Held, it seems: it may be that we were slow ourselves, but hardly twice.
    return _ask(base, nonce) if answer.held else answer


def _ask(base: str, nonce: str) -> Answer:
    with _answer(base, f"/checkup/{nonce}") as response:
        date = _date(response.headers["Date"])
        if response.status != 200:
            return Answer(response.status, None, held=False, date=date)
        first = response.read(PIECE)
        since = time.monotonic()
        response.read(PIECE)
        return Answer(200, _facts(first), held=time.monotonic() - since < PAUSE / 2, date=date)


@contextmanager
def _answer(base: str, path: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET. No proxy of the environment is asked, and no redirect followed. Raises Unreachable."""
    address = urlsplit(base)
    assert address.hostname
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=_PATIENCE, context=context)
    else:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers={"Accept": "application/json", "User-Agent": "onekey-doctor"})
        yield connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"its certificate is not to be believed ({error.verify_message})") from None
    except TimeoutError:
        raise Unreachable(f"nothing came for {_PATIENCE:.0f} s") from None
    except OSError as error:
        raise Unreachable(error.strerror or type(error).__name__) from None
    except http.client.HTTPException as error:
        raise Unreachable(f"no answer of HTTP ({type(error).__name__})") from None
    finally:
        connection.close()


def _facts(piece: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(piece)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "proxy_hops" in found else None


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None


class Log:
    """A log file, from where it ends now. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._end = file.seek(0, os.SEEK_END)

    def appended(self) -> bytes:
        """What was written since, the last 16 MiB of it. Raises OSError."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = self._end if self._end <= size else 0  # begun anew
            file.seek(max(start, size - _MOST_OF_LOG))
            return file.read(_MOST_OF_LOG)


def logged(base: str, logs: list[Log]) -> list[Path]:
    """Ask for links that never were, and give the logs in which they are then. Raises Unreachable, OSError."""
    mark = secrets.token_urlsafe(24)
    for path in (f"/{mark}", f"/{mark}.png?lease={mark}"):
        with _answer(base, path) as response:
            response.read(_MOST_OF_LOG)
    end = time.monotonic() + _LOG_TIME
    while True:
        found = [log.path for log in logs if mark.encode() in log.appended()]
        if len(found) == len(logs) or time.monotonic() > end:
            return found
        time.sleep(0.1)
