"""The reasons for the program's verdicts, read from ``xdp/reasons.h``."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pydsr.model.errors import InternalError
from pydsr.model.sources import xdp_directory

_REASON = re.compile(r'^REASON\((\d+), (\w+), (TX|PASS|DROP),\s*"([^"]*)"\)$', re.MULTILINE)


@dataclass(frozen=True)
class Reason:
    """Why a packet left: the counter's name, the verdict (tx, pass, drop), and an explanation."""

    name: str
    verdict: str
    text: str


@cache
def all_reasons() -> tuple[Reason, ...]:
    """Return every reason; its position is its number in the program."""
    return parse_reasons((xdp_directory() / "reasons.h").read_text(encoding="utf-8"))


def parse_reasons(header: str) -> tuple[Reason, ...]:
    """Return the reasons of a header in the order of their numbers.

    Raises:
        InternalError: the numbers have gaps or duplicates.
    """
    reasons = {
        int(number): Reason(name.lower(), verdict.lower(), text)
        for number, name, verdict, text in _REASON.findall(header)
    }
    if set(reasons) != set(range(header.count("\nREASON("))):
        raise InternalError(
            "the numbers in xdp/reasons.h have gaps or duplicates, or a line cannot be parsed",
            "give a new reason the next free number",
        )
    return tuple(reasons[number] for number in sorted(reasons))


def reasons_fingerprint(reasons: Sequence[Reason]) -> int:
    """Return a checksum of the names in the order of their numbers."""
    return zlib.crc32(" ".join(each.name for each in reasons).encode())
