"""Log to stderr, with priorities if that is the journal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from pydsr.model.events import TROUBLES, Event, EventKind

_log = logging.getLogger(__name__)

_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG_PRIORITY = 7


class JournalFormatter(logging.Formatter):
    """Starts every line with its priority, as sd-daemon(3) defines it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as lines."""
        reached = (number for level, number in _PRIORITIES if record.levelno >= level)
        mark = f"<{next(reached, _DEBUG_PRIORITY)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines())


class PlainFormatter(logging.Formatter):
    """Starts every line like the messages of commands."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as lines."""
        mark = f"pydsr: {record.levelname.lower()}: "
        return "\n".join(mark + line for line in super().format(record).splitlines())


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
    handler.setFormatter(JournalFormatter() if in_journal else PlainFormatter())
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
