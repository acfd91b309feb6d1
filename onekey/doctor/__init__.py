"""`onekey doctor`: looks at what a server runs on, and at what is in front of it, and says what to do.

A check is a generator of findings, and a row of a table; where it finds nothing, all is well. None changes anything: a
file is written to CONTENT_DIR and removed again, twice at most, and the database is opened to be read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from onekey.doctor.findings import Finding, Found
from onekey.doctor.front import Front, logs_of
from onekey.doctor.local import CHECKS, swap
from onekey.errors import BadSetting
from onekey.logs import place
from onekey.settings import Settings, from_environment

Named = Iterator[tuple[str, Finding]]


def examine(logs: Sequence[Path] = ()) -> Named:
    """All checks, by name, with the settings of this process; without settings only those that need none."""
    try:
        settings = from_environment()
    except BadSetting as error:
        yield "settings", Finding("problem", str(error), "Set it right, and ask again for all that was not looked at.")
    else:
        yield from _of_server(settings, logs)
    yield from _made("swap", swap(), "There is no swap that keys could be written to.")


def _of_server(settings: Settings, logs: Sequence[Path]) -> Named:
    for name, check, fine in CHECKS:
        yield from _made(name, check(settings), fine)
    front = Front(settings)
    yield from _made("server", front.reached(), "")
    for name, ask, fine in front.checks():
        yield from _made(name, ask, fine)
    if logs:
        yield from _made("logs", logs_of(front.base, logs), "")


def _made(name: str, found: Found, fine: str) -> Named:
    """What a check finds; one that fails is a finding too, and keeps no other from being made."""
    nothing = True
    try:
        for one in found:
            nothing = False
            yield name, one
    except OSError as error:
        why = error.strerror or type(error).__name__
        yield name, Finding("warning", f"This could not be looked at: {why}.", "Run this as who serves.")
    except Exception as error:
        yield name, Finding("warning", f"This could not be looked at: {place(error)}.", "Please report it.")
    else:
        if nothing and fine:
            yield name, Finding("ok", fine)
