"""What a check finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it: a problem keeps something from working or from being safe."""

    level: Literal["ok", "note", "warning", "problem"]
    what: str
    do: str | None = None


Found = Iterator[Finding]
