"""A service's checks and its health options, as in the file. Values only."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydsr.model.errors import InputError
from pydsr.model.service import BackendState, DesiredBackend

if TYPE_CHECKING:
    # Commands on services without checks start without pydantic.
    from pydsr.model.checks import Check


@dataclass(frozen=True)
class Minimum:
    """How many backends must stay in service: a number, or a percentage of all."""

    number: int = 0
    is_percentage: bool = False

    @classmethod
    def parse(cls, text: str) -> Minimum:
        """Parse ``2`` or ``50%``.

        Raises:
            InputError: the text is neither.
        """
        if re.fullmatch(r"[0-9]{1,5}", text):
            return cls(int(text))
        if re.fullmatch(r"[0-9]{1,3}%", text) and int(text[:-1]) <= 100:
            return cls(int(text[:-1]), is_percentage=True)
        raise InputError(
            f"{text!r} is not a minimum of healthy backends", "write a number, or 0% to 100%"
        )

    def of(self, backends: int) -> int:
        """Return the number, for so many backends."""
        if self.is_percentage:
            return math.ceil(backends * self.number / 100)
        return min(self.number, backends)


NO_MINIMUM = Minimum()


@dataclass(frozen=True)
class HealthPolicy:
    """The checks of a service's backends, and the consequences.

    Attributes:
        checks: of each backend; at least one.
        needed: how many must pass; None is all.
        minimum: how many backends stay in service even if more fail.
        sorry: the backend that takes over when all others have failed. It is one of the service's
            backends, and down until then, so that its MAC is known when it is needed.
        slow_start: seconds until a backend has its full weight after it became healthy.
        on_failure: the state of unhealthy backends: down or drain.
        suspects: whether to check a backend at once if none of its new connections is established.
    """

    checks: tuple[Check, ...]
    needed: int | None = None
    minimum: Minimum = NO_MINIMUM
    sorry: DesiredBackend | None = None
    slow_start: float = 0.0
    on_failure: BackendState = BackendState.DOWN
    suspects: bool = True
