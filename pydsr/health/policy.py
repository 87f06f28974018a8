"""What a service's health is judged by, and what follows: as a file says it. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydsr.health.membership import Minimum
from pydsr.model import BackendState
from pydsr.planner import DesiredBackend

if TYPE_CHECKING:
    # Whoever handles services without checks does not wait for pydantic.
    from pydsr.health.models import Check


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
    minimum: Minimum = field(default_factory=Minimum)
    sorry: DesiredBackend | None = None
    slow_start: float = 0.0
    on_failure: BackendState = BackendState.DOWN
    suspects: bool = True
