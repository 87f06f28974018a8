"""Log to stderr, with priorities if that is the journal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping

from pydsr.model.events import TROUBLES, Event, EventKind

_log = logging.getLogger(__name__)

_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG_PRIORITY = 7


class LineFormatter(logging.Formatter):
    """Starts every line of a record with a prefix."""

    def __init__(self, prefix: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as lines."""
        prefix = self._prefix(record)
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def journal_prefix(record: logging.LogRecord) -> str:
    """Return the priority of a record, as sd-daemon(3) defines it."""
    reached = (number for level, number in _PRIORITIES if record.levelno >= level)
    return f"<{next(reached, _DEBUG_PRIORITY)}>"


def plain_prefix(record: logging.LogRecord) -> str:
    """Return the prefix that messages of commands have."""
    return f"pydsr: {record.levelname.lower()}: "


def goes_to_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Return whether systemd has connected a descriptor to the journal.

    JOURNAL_STREAM is device:inode (systemd.exec(5)). A child whose stderr was redirected inherits
    the variable, so the descriptor is compared with it.
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def set_up_logging() -> bool:
    """Log to stderr at info level, or debug level with -v; return whether that is the journal."""
    root = logging.getLogger()
    root.setLevel(min(root.level, logging.INFO))
    handler = logging.StreamHandler(sys.stderr)
    in_journal = goes_to_journal(os.environ, sys.stderr.fileno())
    handler.setFormatter(LineFormatter(journal_prefix if in_journal else plain_prefix))
    root.handlers = [handler]
    return in_journal


def log_event(event: Event) -> None:
    """Log an event at the level of its kind, and its changes at debug level."""
    level = logging.WARNING if event.kind in TROUBLES else logging.INFO
    if event.kind is EventKind.RELOAD_FAILED:
        level = logging.ERROR
    change = (
        f"{event.details['from']} -> {event.details['to']}: " if "from" in event.details else ""
    )
    took = "" if event.seconds is None else f" ({1000 * event.seconds:.0f} ms)"
    _log.log(level, "%s: %s: %s%s%s", event.kind.value, event.object, change, event.cause, took)
    for change in event.details.get("changes", ()):
        _log.debug("%(action)s: %(object)s: %(from)s -> %(to)s", change)
