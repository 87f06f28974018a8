"""Decides which failing checks are looked into: not all at once, or looking would delay the rest.

An investigation costs what forty checks do. When a network fails, a thousand checks may fail in a
second; what was found of a target before then has to do for most of them, or what is found of the
same VIP on the same backend by way of another port.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Protocol

from pydsr.health.evidence import Investigation
from pydsr.health.symptoms import NOTHING_KNOWN, Evidence
from pydsr.health.targets import Route, Target

MOST_AT_ONCE = 16
"""How many investigations are under way at most."""

MOST_OF_A_BACKEND = 4
"""How many of them are of one backend: one that is dead is in many services for one reason."""

KEPT_SECONDS = 60.0
"""How long evidence stands in for that of an investigation there was no room for."""


class Startable(Protocol):
    """What can be begun; an investigation."""

    def start(self) -> None:
        """Begin."""


class Inquiries:
    """All there are of one set of checks."""

    def __init__(self) -> None:
        self._under_way: Counter[Route] = Counter()
        self._found: dict[Target, tuple[float, Evidence]] = {}

    def begin(self, route: Route, investigation: Startable) -> bool:
        """Start an investigation if there is room for it, and return whether there was.

        Args:
            route: to the backend that is looked at.
            investigation: what is to be started.
        """
        is_full = self._under_way.total() >= MOST_AT_ONCE
        if is_full or self._under_way[route] >= MOST_OF_A_BACKEND:
            return False
        self._under_way[route] += 1
        investigation.start()
        return True

    def end(self, route: Route) -> None:
        """Make room for another."""
        self._under_way[route] -= 1
        self._under_way += Counter()  # forgets those that are at zero

    def keep(self, target: Target, evidence: Evidence) -> None:
        """Remember what was found, and forget what is too old."""
        now = asyncio.get_running_loop().time()
        recent = {one: at for one, at in self._found.items() if at[0] > now - KEPT_SECONDS}
        # What comes from a wrong source is of the server at that port alone.
        of_vip = replace(evidence, wrong_source=None)
        self._found = recent | {target: (now, evidence), _of_any_port(target): (now, of_vip)}

    def remembered(self, target: Target) -> Evidence:
        """Return what was found of a target not long ago; nothing where it was not looked into."""
        since = asyncio.get_running_loop().time() - KEPT_SECONDS
        for known in (target, _of_any_port(target)):
            found_at, evidence = self._found.get(known, (float("-inf"), NOTHING_KNOWN))
            if found_at > since:
                return evidence
        return NOTHING_KNOWN


def _of_any_port(target: Target) -> Target:
    return replace(target, port=0)


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
        route = self.investigation.target.route
        self._is_under_way = self.inquiries.begin(route, self.investigation)

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
            self.inquiries.end(self.investigation.target.route)
            await self.investigation.cancel()
