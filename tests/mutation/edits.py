"""A change of some bytes of a source file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Edit:
    """Replaces the bytes from ``start`` to ``end``."""

    start: int
    end: int
    replacement: bytes

    def applied_to(self, source: bytes) -> bytes:
        """Return the source with the change."""
        return source[: self.start] + self.replacement + source[self.end :]

    def line(self, source: bytes) -> int:
        """Return the number of the first line that changes."""
        return source.count(b"\n", 0, self.start) + 1

    def diff(self, source: bytes) -> str:
        """Return the lines that change, as a diff without headers."""
        before, after = (text.decode().splitlines() for text in (source, self.applied_to(source)))
        lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[3:]
        return "\n".join(f"    {line}" for line in lines)
