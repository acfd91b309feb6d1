"""Sizes and times in words, for pages and plain answers."""

from datetime import UTC, datetime

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """Bytes as people read them: `512 bytes`, `1.4 MiB`."""
    if count < 1024:
        return f"{count} byte{'' if count == 1 else 's'}"
    value, unit = count / 1024, 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}".removesuffix(".0") + f" {_UNITS[unit]}"


def span(seconds: int) -> str:
    """A duration in its largest whole unit: `7 days`, `90 minutes`."""
    for length, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise ValueError("a whole number of seconds")


def moment(seconds: int | None) -> str | None:
    """A time since 1970 as `2026-11-21 14:05 UTC`; None for never."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def iso(seconds: int | None) -> str | None:
    """The same in the form of RFC 3339: `2026-11-21T14:05:00Z`."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"
