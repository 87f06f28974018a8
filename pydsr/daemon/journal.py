"""How the daemon logs: plain lines on stderr, with priorities where the journal reads them."""

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
    """Begins every line with its priority, as sd-daemon(3) defines it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        reached = (number for level, number in _PRIORITIES if record.levelno >= level)
        mark = f"<{next(reached, _DEBUG_PRIORITY)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines())


class PlainFormatter(logging.Formatter):
    """Begins every line as the command's messages begin."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        mark = f"pydsr: {record.levelname.lower()}: "
        return "\n".join(mark + line for line in super().format(record).splitlines())


def goes_to_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Return whether a descriptor is the stream that systemd says goes to the journal.

    JOURNAL_STREAM is device:inode (systemd.exec(5)): a child whose stderr was redirected has the
    variable as well.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_up_logging() -> bool:
    """Have what happens logged on stderr; more of it where the command was told -v.

    Returns:
        Whether the journal reads it.
    """
    root = logging.getLogger()
    root.setLevel(min(root.level, logging.INFO))
    handler = logging.StreamHandler(sys.stderr)
    in_journal = goes_to_journal(os.environ, sys.stderr.fileno())
    handler.setFormatter(JournalFormatter() if in_journal else PlainFormatter())
    root.handlers = [handler]
    return in_journal


def log_event(event: Event) -> None:
    """Log an event, by how much it matters."""
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
