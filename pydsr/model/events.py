"""Events of the daemon, and a log of the newest ones."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

KEPT_EVENTS, KEPT_BYTES = 1000, 512 * 1024
"""Limits of the log: events, and their total length as lines of JSON.

The event of a reload takes some kilobytes, and four times as much memory.
"""


class EventKind(StrEnum):
    """Kinds of events."""

    STARTED = "started"
    APPLIED = "applied"
    RELOADED = "reloaded"
    RELOAD_FAILED = "reload-failed"
    STOPPING = "stopping"
    DETACHED = "detached"
    MAC_CHANGED = "mac-changed"
    BACKEND_MOVED = "backend-moved"
    MAC_REFUSED = "mac-refused"
    DUPLICATE_ADDRESS = "duplicate-address"
    BACKEND_SILENT = "backend-silent"
    BACKEND_ANSWERS = "backend-answers"
    BACKEND_WAITING = "backend-waiting"
    BACKEND_ADDED = "backend-added"
    BACKEND_UNHEALTHY = "backend-unhealthy"
    BACKEND_HEALTHY = "backend-healthy"
    BACKEND_CHANGED = "backend-changed"
    BACKEND_SUSPECTED = "backend-suspected"
    CHECK_WARNING = "check-warning"
    VIP_CLAIMED = "vip-claimed"
    VIP_RELEASED = "vip-released"
    VIPS_TAKEN = "vips-taken"
    VIPS_LEFT = "vips-left"
    LINK_LOST = "link-lost"
    LINK_BACK = "link-back"
    LINK_DOWN = "link-down"
    LINK_UP = "link-up"
    NEWS_LOST = "news-lost"


TROUBLES = frozenset(
    {
        EventKind.RELOAD_FAILED,
        EventKind.MAC_REFUSED,
        EventKind.DUPLICATE_ADDRESS,
        EventKind.BACKEND_SILENT,
        EventKind.BACKEND_WAITING,
        EventKind.BACKEND_UNHEALTHY,
        EventKind.BACKEND_SUSPECTED,
        EventKind.CHECK_WARNING,
        EventKind.VIP_CLAIMED,
        EventKind.LINK_LOST,
        EventKind.LINK_DOWN,
        EventKind.NEWS_LOST,
    }
)
"""Kinds of events that may need attention."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        object: what it happened to: a backend, an interface or a file.
        cause: why, in words.
        seconds: duration of the action, or of the state that it ends; None if there is none.
        details: further keys of its JSON document.
        time: wall clock time.
        number: position in its log, from 1.
    """

    kind: EventKind
    object: str
    cause: str
    seconds: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    number: int = 0

    def document(self) -> dict[str, Any]:
        """Return the event as a JSON document."""
        return {
            "number": self.number,
            "time": self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": self.kind.value,
            "object": self.object,
            "cause": self.cause,
            "duration": None if self.seconds is None else round(self.seconds, 6),
            **self.details,
        }

    def line(self) -> str:
        """Return the event as one line of JSON, without the newline."""
        return json.dumps(self.document())


Listener = Callable[[Event], None]


class EventLog:
    """Keeps the newest events, and passes new ones to listeners.

    Args:
        kept: the maximum number of events.
        kept_bytes: their maximum total length, as lines of JSON.
    """

    def __init__(self, kept: int = KEPT_EVENTS, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept, self._kept_bytes = kept, kept_bytes
        self._events: deque[Event] = deque()
        self._lengths: deque[int] = deque()
        self._length = 0
        self._listeners: list[Listener] = []
        self._recorded = 0

    def record(self, event: Event) -> Event:
        """Number and keep an event, dropping the oldest if full, and pass it to every listener."""
        self._recorded += 1
        numbered = replace(event, number=self._recorded)
        self._keep(numbered)
        for listener in tuple(self._listeners):
            listener(numbered)
        return numbered

    def _keep(self, event: Event) -> None:
        length = len(event.line())
        self._events.append(event)
        self._lengths.append(length)
        self._length += length
        while len(self._events) > 1 and (
            len(self._events) > self._kept or self._length > self._kept_bytes
        ):
            self._events.popleft()
            self._length -= self._lengths.popleft()

    def past(self) -> tuple[Event, ...]:
        """Return the kept events, oldest first."""
        return tuple(self._events)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call a function with each new event; return a function that ends this."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe
