"""What a service's health is judged by, and what follows: as a file says it. Values only."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydsr.model.errors import InputError
from pydsr.model.service import BackendState, DesiredBackend

if TYPE_CHECKING:
    # Whoever handles services without checks does not wait for pydantic.
    from pydsr.model.checks import Check


@dataclass(frozen=True)
class Minimum:
    """How many backends must stay in service: a number, or a percentage of those there are."""

    number: int = 0
    is_percentage: bool = False

    @classmethod
    def parse(cls, text: str) -> Minimum:
        """Parse ``2`` or ``50%``.

        Raises:
            InputError: it is neither.
        """
        if re.fullmatch(r"[0-9]{1,5}", text):
            return cls(int(text))
        if re.fullmatch(r"[0-9]{1,3}%", text) and int(text[:-1]) <= 100:
            return cls(int(text[:-1]), is_percentage=True)
        raise InputError(
            f"{text!r} is no minimum of healthy backends", "write a number, or 0% to 100%"
        )

    def of(self, backends: int) -> int:
        """Return the number that is meant, for so many backends."""
        if self.is_percentage:
            return math.ceil(backends * self.number / 100)
        return min(self.number, backends)


NO_MINIMUM = Minimum()


@dataclass(frozen=True)
class HealthPolicy:
    """How the health of a service's backends is found, and what is done about it.

    Attributes:
        checks: those that are made of each backend; at least one.
        needed: how many of them must pass; None is all.
        minimum: how many backends are not to be gone below by failures.
        sorry: the backend that stands in when all others have failed. It is among the backends of
            the service, down until then, so that its MAC is known when it is needed.
        slow_start: seconds that a backend's weight takes to rise after it has become healthy.
        on_failure: the state of backends that are unhealthy: down or drain.
        suspects: whether backends are checked at once whose new connections do not come about.
    """

    checks: tuple[Check, ...]
    needed: int | None = None
    minimum: Minimum = NO_MINIMUM
    sorry: DesiredBackend | None = None
    slow_start: float = 0.0
    on_failure: BackendState = BackendState.DOWN
    suspects: bool = True
