"""From health to who takes flows: how many must stay, who stands in, how weights rise. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydsr.model.addresses import IPAddress
from pydsr.model.health_policy import NO_MINIMUM, Minimum


@dataclass(frozen=True)
class Candidate:
    """A backend of a service that is wanted in it.

    Attributes:
        address: which one.
        is_healthy: by all that is known.
        since: when that began, in seconds of the caller's clock.
        is_in_service: whether it takes flows now.
    """

    address: IPAddress
    is_healthy: bool
    since: float = 0.0
    is_in_service: bool = True


@dataclass(frozen=True)
class Membership:
    """Who is to take flows.

    Attributes:
        in_service: those backends.
        held: those among them that are kept although they are unhealthy.
        is_sorry: whether the sorry backend takes flows in their place.
    """

    in_service: frozenset[IPAddress] = frozenset()
    held: frozenset[IPAddress] = frozenset()
    is_sorry: bool = False


def choose(
    candidates: Iterable[Candidate], minimum: Minimum = NO_MINIMUM, has_sorry: bool = False
) -> Membership:
    """Decide which backends take flows.

    Healthy ones do. When fewer are left than the minimum, those that failed last stay, as checks
    that fail everywhere at once are more likely wrong than the servers; what is out already
    stays out. With a sorry backend nobody is held once all have failed: it takes their place.

    Args:
        candidates: the service's backends, without the sorry one.
        minimum: how many are not to be gone below.
        has_sorry: whether there is a sorry backend.
    """
    candidates = list(candidates)
    healthy = frozenset(one.address for one in candidates if one.is_healthy)
    if not healthy and has_sorry:
        return Membership(is_sorry=True)
    missing = max(0, minimum.of(len(candidates)) - len(healthy))
    failed = [one for one in candidates if one.is_in_service and not one.is_healthy]
    latest = sorted(failed, key=lambda one: (-one.since, one.address.version, one.address.packed))
    held = frozenset(one.address for one in latest[:missing])
    return Membership(healthy | held, held)


def ramped(weight: int, elapsed: float, duration: float, steps: int = 10) -> int:
    """Return the weight of a backend that has become healthy not long ago (slow start).

    It rises by steps, because every change of a weight moves slots.

    Args:
        weight: the configured one, which it has in the end.
        elapsed: seconds since it became healthy.
        duration: seconds that the rise takes; 0 is none.
        steps: how many different weights there are on the way.

    Returns:
        At least 1, unless the configured weight is 0.
    """
    if elapsed >= duration or not weight:
        return weight
    step = math.floor(max(elapsed, 0) / duration * steps) + 1
    return max(1, min(weight, weight * step // steps))


def next_step(elapsed: float, duration: float, steps: int = 10) -> float | None:
    """Return how many seconds from now a ramped weight changes next; None once it is whole."""
    if elapsed >= duration:
        return None
    step = math.floor(max(elapsed, 0) / duration * steps) + 1
    return duration * step / steps - elapsed
