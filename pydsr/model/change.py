"""What a command changes, or with --plan would change. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One difference: what happens to which object, and its value before and after."""

    action: str
    object: str
    before: str | int | None = None
    after: str | int | None = None


@dataclass(frozen=True)
class Impact:
    """What a change of tables means for traffic.

    Attributes:
        changes: what is done.
        slots_moved: slots whose new flows go to another backend than before.
        slots: slots of the service.
        flows_moved: recorded flows that lose their backend. Flows are recorded only while
            slots change: at rest, what a removal moves is known by its slots alone.
        notes: what differs and is left alone.
    """

    changes: tuple[Change, ...]
    slots_moved: int = 0
    slots: int = 0
    flows_moved: int = 0
    notes: tuple[str, ...] = ()
