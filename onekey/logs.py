"""What may be logged: never a URL, a name, a token, a key, nor the text of an exception.

A record factory, because a filter on a logger misses the loggers below it. Other libraries' messages keep their words
and numbers and lose every text that was put into them; an exception is told by its class and its place.
"""

import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Final

log = logging.getLogger("onekey")

# To the end of the message: a path that was decoded holds spaces and newlines. Only a day such as 21/Nov/2026 is none,
# and an address without a path, which servers print at their start.
_ADDRESS: Final = r"https?://[A-Za-z0-9.:\[\]-]+(?=\s|$)"
_PATH: Final = re.compile(rf"({_ADDRESS})|(?<!\[\d\d)(?<!\[\d\d/[A-Z][a-z][a-z])(?:https?://\S|/)[\s\S]*")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{32,}")
_HIDDEN: Final = "…"


def install() -> None:
    """Make every log record of this process one that may be kept. Calling it twice does nothing."""
    current = logging.getLogRecordFactory()
    if getattr(current, "hides", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return _cleaned(current(*args, **kwargs))

    factory.hides = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)
    threading.excepthook = lambda args: log.error("A thread ended: %s.", place(args.exc_value))
    sys.unraisablehook = lambda args: log.error("Nobody could be told: %s.", place(args.exc_value))


def place(error: BaseException | None) -> str:
    """Class and place of an exception: all of it that may be told."""
    if error is None:
        return "no exception"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"
    return f"{type(error).__qualname__} at {where}"


def _cleaned(record: logging.LogRecord) -> logging.LogRecord:
    if record.name != log.name:
        record.msg = _foreign(record)
        record.args = None
    if record.exc_info:
        record.msg = f"{record.getMessage()} [{place(_error(record.exc_info))}]"
        record.args = record.exc_info = record.exc_text = None
    record.stack_info = None
    return record


def _foreign(record: logging.LogRecord) -> str:
    """Another library's message: what it was formatted with may be a request's, so only numbers stay."""
    if not isinstance(record.msg, str):
        return place(record.msg) if isinstance(record.msg, BaseException) else _HIDDEN
    args = record.args
    if isinstance(args, dict):
        record.args = {key: _shown(value) for key, value in args.items()}
    elif args:
        record.args = tuple(_shown(value) for value in args)
    try:
        text = record.getMessage()
    except Exception:  # a message that does not fit its arguments is the library's fault, and no reason to fail
        text = str(record.msg)
    return _SECRET.sub(_HIDDEN, _PATH.sub(lambda match: match[1] or _HIDDEN, text))


def _shown(value: object) -> object:
    return value if isinstance(value, int | float) else _HIDDEN


def _error(info: object) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple) and len(info) == 3 and isinstance(info[2], TracebackType | None):
        return info[1] if isinstance(info[1], BaseException) else None
    return None
