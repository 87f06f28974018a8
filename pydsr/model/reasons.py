"""The reasons a packet leaves the program with, as ``xdp/reasons.h`` defines them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from pydsr.model.sources import xdp_directory

_REASON = re.compile(r'^REASON\((\w+),\s*(TX|PASS|DROP),\s*"([^"]*)"\)$', re.MULTILINE)


@dataclass(frozen=True)
class Reason:
    """One way out: its counter's name, what becomes of the packet (tx, pass, drop), and why."""

    name: str
    verdict: str
    text: str


@cache
def all_reasons() -> tuple[Reason, ...]:
    """Return every reason; the position is its number in the program."""
    header = (xdp_directory() / "reasons.h").read_text(encoding="utf-8")
    return tuple(
        Reason(name.lower(), verdict.lower(), text)
        for name, verdict, text in _REASON.findall(header)
    )
