"""Settings: frozen, read once from the environment or from a file in that form.

Every variable is one row of `VARIABLES`: how its text is read, and the text that stands for its default. A value that
cannot be is refused with `BadSetting`, in a sentence that names the variable, the value and what would do.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from onekey.errors import BadSetting

_SIZE = re.compile(r"(\d{1,15})\s*([kmgt]i?b?|b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,12})\s*([smhdw])?", re.IGNORECASE)
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):(?P<port>\d{1,5})")
_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+")
_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_POWERS: Final = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
NEVER: Final = "never"
LONGEST: Final = 100 * 365 * 86_400
"""The longest duration that is taken for one: a hundred years, in seconds."""


def duration(text: str) -> int:
    """Seconds in `text`: a whole number, or one with s, m, h, d or w behind it (`90`, `1h`, `7d`).

    Raises ValueError for anything else, for 0 and for more than a hundred years.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * _SECONDS[(match[2] or "s").lower()] if match else 0
    if not 1 <= seconds <= LONGEST:
        raise ValueError("a duration such as 90 (seconds), 30m, 12h or 7d")
    return seconds


def _up_to_a_day(text: str) -> int:
    if duration(text) > _SECONDS["d"]:
        raise ValueError("a duration of a day at most, such as 30m or 1h")
    return duration(text)


def expiry(text: str) -> int | None:
    """Seconds in `text`, as of `duration`, or None for `never`. Raises ValueError."""
    if text.strip().lower() == NEVER:
        return None
    try:
        return duration(text)
    except ValueError:
        raise ValueError("a duration such as 12h or 7d, or never") from None


def size(text: str) -> int:
    """Bytes in `text`: a whole number, or one with KiB, MiB, GiB, TiB (powers of 1024) or KB, MB… (of 1000)."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("a number of bytes such as 1048576, 500 MB or 4 GiB")
    unit = (match[2] or "b").lower()
    base = 1000 if unit[1:] == "b" else 1024
    return int(match[1]) * int(base ** _POWERS[unit[0]])


def _chunk_size(text: str) -> int:
    value = size(text)
    if value not in {1 << log for log in range(12, 23)}:
        raise ValueError("a power of two from 4096 to 4194304 (format.md, section 2)")
    return value


def _between(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\s*\d{1,9}\s*", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _addresses(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    matches = [_ADDRESS.fullmatch(address) for address in found]
    if not found or not all(match and 0 <= int(match["port"]) <= 65_535 for match in matches):
        raise ValueError("addresses such as 127.0.0.1:8000, [::1]:8000 or :9000, with commas between them")
    return found


def _hosts(text: str) -> tuple[str, ...]:
    found = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    if not all(_HOST.fullmatch(host) for host in found):
        raise ValueError("host names such as files.example.org, with commas between them and without ports")
    return found


def _url(text: str) -> SplitResult | None:
    """An address of http or https, taken apart; None for anything else."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # its words are not ours
        return None
    return parts if usable and re.fullmatch(r"[\x21-\x7e]+", text) else None


def _public_url(text: str) -> str:
    parts = _url(text.strip().rstrip("/"))
    if parts is None or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an address such as https://files.example.org, without a path")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _redirect(text: str) -> str:
    if _url(text.strip()) is None:
        raise ValueError("an address such as https://example.org/")
    return text.strip()


def _secret(text: str) -> str:
    if not text.isprintable() or text != text.strip() or len(text.encode()) > 1024:
        raise ValueError("up to 1024 bytes of printable text, without spaces at its ends")
    return text


def _secrets(text: str) -> tuple[tuple[str, str], ...]:
    """Label and secret of each."""
    found = tuple(part.strip().partition(":") for part in text.split(",") if part.strip())
    labels = [label for label, _, _ in found]
    whole = all(_LABEL.fullmatch(label) and secret for label, _, secret in found)
    if not text.isprintable() or not whole or len(set(labels)) < len(labels) or len(text.encode()) > 1 << 16:
        raise ValueError("secrets with a label of its own each, such as phone:…,laptop:…, and no comma in a secret")
    return tuple((label, _secret(secret)) for label, _, secret in found)


def _path(text: str) -> Path | None:
    """A path, ~ included; None for what cannot be one."""
    try:
        return Path(text).expanduser() if "\0" not in text else None
    except RuntimeError:  # the ~ of nobody
        return None


def _folder(text: str) -> Path:
    path = _path(text)
    if path is None:
        raise ValueError("a folder such as ./content")
    return path


def _file(text: str) -> Path:
    path = _path(text)
    if path is None or not path.is_file():
        raise ValueError("a file that is there and can be read")
    return path


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting: how its text is read, the default as it would be written (empty: none), and whether it is a secret,
    which no error shows."""

    read: Callable[[str], Any]
    default: str = ""
    is_secret: bool = False


VARIABLES: Final[Mapping[str, Variable]] = {
    "BIND": Variable(_addresses, "127.0.0.1:8000"),
    "PUBLIC_URL": Variable(_public_url),
    "TRUSTED_HOSTS": Variable(_hosts),
    "PROXY_HOPS": Variable(_between(0, 9), "0"),
    "TLS_CERT": Variable(_file),
    "TLS_KEY": Variable(_file),
    "CONTENT_DIR": Variable(_folder, "./content"),
    "CHUNK_SIZE": Variable(_chunk_size, "262144"),
    "UPLOAD_SECRET": Variable(_secret, is_secret=True),
    "UPLOAD_SECRETS": Variable(_secrets, is_secret=True),
    "UPLOAD_REDIRECT": Variable(_redirect),
    "MAX_UPLOAD_SIZE": Variable(size, "4 GiB"),
    "MAX_FILES": Variable(_between(1, 10_000), "1000"),
    "DEFAULT_EXPIRY": Variable(expiry, NEVER),
    "MAX_EXPIRY": Variable(expiry, NEVER),
    "MIN_FREE_SPACE": Variable(size, "1 GiB"),
    "MAX_STORED_BYTES": Variable(size),
    "LEASE_TIME": Variable(_up_to_a_day, "1h"),
    "SWEEP_INTERVAL": Variable(duration, "10m"),
    "WORKERS": Variable(_between(1, 256), "2"),
    "THREADS": Variable(_between(1, 1000), "64"),
    "STALL_TIME": Variable(duration, "60s"),
    "STOP_TIME": Variable(duration, "60s"),
    "METRICS_TOKEN": Variable(_secret, is_secret=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one server runs with. Sizes are bytes, durations seconds; None stands for never, none or not set."""

    bind: tuple[str, ...]
    public_url: str | None
    trusted_hosts: tuple[str, ...] | None
    proxy_hops: int
    tls_cert: Path | None
    tls_key: Path | None
    content_dir: Path
    chunk_size: int
    upload_secret: str | None = field(repr=False)
    upload_secrets: tuple[tuple[str, str], ...] | None = field(repr=False)
    upload_redirect: str | None
    max_upload_size: int
    max_files: int
    default_expiry: int | None
    max_expiry: int | None
    min_free_space: int
    max_stored_bytes: int | None
    lease_time: int
    sweep_interval: int
    workers: int
    threads: int
    stall_time: int
    stop_time: int
    metrics_token: str | None = field(repr=False)

    @property
    def secrets(self) -> tuple[tuple[str, str], ...]:
        """Label and text of every upload secret; that of UPLOAD_SECRET has no label. Empty: anyone may upload."""
        first = (("", self.upload_secret),) if self.upload_secret is not None else ()
        return (*first, *(self.upload_secrets or ()))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings from variables; an empty one counts as not set. Raises BadSetting."""
        values = {name.lower(): _value(name, environ) for name in VARIABLES}
        return cls(**values)._checked()

    def _checked(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise BadSetting("TLS_CERT and TLS_KEY go together: set both, or neither.")
        if self.max_expiry is not None and (self.default_expiry or 0) > self.max_expiry:
            raise BadSetting(
                f"DEFAULT_EXPIRY is {self.default_expiry} s, more than MAX_EXPIRY ({self.max_expiry} s): "
                "a default within the longest expiry would do."
            )
        return self


def _value(name: str, environ: Mapping[str, str]) -> Any:
    variable = VARIABLES[name]
    text = environ.get(name, "") or variable.default
    if not text:
        return None
    try:
        return variable.read(text)
    except ValueError as error:
        shown = "what is set" if variable.is_secret else repr(text)
        raise BadSetting(f"{name} cannot be {shown}: what would do is {error}.") from None


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Settings from a file (`NAME=value` lines, `config.example.env`) and the environment, which wins.

    Raises BadSetting, also for a name in the file that is no setting: a typing error there must not pass for a default.
    """
    if file is None:
        return Settings.read(environ)
    lines = _lines(file)
    unknown = sorted(set(lines) - set(VARIABLES))
    if unknown:
        raise BadSetting(f"{file} sets {unknown[0]!r}, which is no setting: one of {', '.join(VARIABLES)} would do.")
    # An empty variable counts as not set here too: it must not switch off a secret that the file sets.
    return Settings.read({**lines, **{name: text for name, text in environ.items() if text}})


def _lines(file: Path) -> dict[str, str]:
    """What a file sets; dotenv itself would only warn of a line that it does not understand."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise BadSetting(
            f"{str(file)!r} cannot be read as a settings file: a text in the form of config.example.env would do."
        ) from None
    for line in parse_stream(StringIO(text)):
        if line.error:
            blank, _, _ = line.original.string.partition(line.original.string.strip())
            number = line.original.line + blank.count("\n")
            raise BadSetting(f"{file} says nothing in line {number}: NAME=value, or # and a comment, would do.")
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value or "" for name, value in found.items()}


def from_environment() -> Settings:
    """Settings of this process: its environment, and the file that ONEKEY_CONFIG names. Raises BadSetting."""
    file = os.environ.get("ONEKEY_CONFIG")
    return load(os.environ, Path(file) if file else None)
