"""Decides which failing checks are looked into: not all at once, or looking would delay the rest.

An investigation costs ten times what a check does. When a network fails, a thousand checks may
fail in a second; what was found of a target before then has to do for most of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from pydsr.health.evidence import Investigation
from pydsr.health.symptoms import NOTHING_KNOWN, Evidence
from pydsr.health.targets import Target

MOST_AT_ONCE = 16
"""How many investigations are under way at most."""

KEPT_SECONDS = 60.0
"""How long evidence stands in for that of an investigation there was no room for."""


class Startable(Protocol):
    """What can be begun; an investigation."""

    def start(self) -> None:
        """Begin."""


class Inquiries:
    """All there are of one set of checks."""

    def __init__(self) -> None:
        self._under_way = 0
        self._found: dict[Target, tuple[float, Evidence]] = {}

    def begin(self, investigation: Startable) -> bool:
        """Start an investigation if there is room for it, and return whether there was."""
        if self._under_way >= MOST_AT_ONCE:
            return False
        self._under_way += 1
        investigation.start()
        return True

    def end(self) -> None:
        """Make room for another."""
        self._under_way -= 1

    def keep(self, target: Target, evidence: Evidence) -> None:
        """Remember what was found, and forget what is too old."""
        now = asyncio.get_running_loop().time()
        recent = {one: at for one, at in self._found.items() if at[0] > now - KEPT_SECONDS}
        self._found = recent | {target: (now, evidence)}

    def remembered(self, target: Target) -> Evidence:
        """Return what was found of a target not long ago; nothing where it was not looked into."""
        found_at, evidence = self._found.get(target, (float("-inf"), NOTHING_KNOWN))
        is_recent = found_at > asyncio.get_running_loop().time() - KEPT_SECONDS
        return evidence if is_recent else NOTHING_KNOWN


@dataclass
class Inquiry:
    """The looking around beside one attempt, which begins when that has waited for some time.

    Attributes:
        inquiries: that it is one of.
        investigation: what it would do.
    """

    inquiries: Inquiries
    investigation: Investigation
    _is_under_way: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Begin, if there is room."""
        self._is_under_way = self.inquiries.begin(self.investigation)

    async def evidence(self) -> Evidence:
        """Return what is known, for an attempt that has failed."""
        target = self.investigation.target
        if not self._is_under_way:
            return self.inquiries.remembered(target)
        evidence = await self.investigation.end()
        self.inquiries.keep(target, evidence)
        return evidence

    async def close(self) -> None:
        """End it, whether it has begun or not."""
        if self._is_under_way:
            self._is_under_way = False
            self.inquiries.end()
            await self.investigation.cancel()
