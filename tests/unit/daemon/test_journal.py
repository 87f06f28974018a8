"""What the daemon logs of its events, and at which priority."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydsr.daemon.journal import (
    LineFormatter,
    goes_to_journal,
    journal_prefix,
    log_event,
    set_up_logging,
)
from pydsr.model.events import TROUBLES, Event, EventKind


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, "<2>"),
        (logging.ERROR, "<3>"),
        (logging.WARNING, "<4>"),
        (logging.WARNING - 1, "<6>"),
        (logging.INFO, "<6>"),
        (logging.INFO - 1, "<7>"),
        (logging.DEBUG, "<7>"),
    ],
)
def test_a_level_has_the_priority_of_syslog(level: int, priority: str) -> None:
    record = logging.LogRecord("pydsr", level, "", 0, "text", None, None)
    assert priority == journal_prefix(record)


@pytest.mark.parametrize("kind", EventKind)
def test_troubles_are_warnings_and_a_failed_reload_is_an_error(
    kind: EventKind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    log_event(Event(kind, "eth0", "why"))
    level = logging.WARNING if kind in TROUBLES else logging.INFO
    if kind is EventKind.RELOAD_FAILED:
        level = logging.ERROR
    (record,) = caplog.records
    assert (level, f"{kind.value}: eth0: why") == (record.levelno, record.getMessage())


def test_an_event_is_logged_with_its_change_and_duration(caplog: pytest.LogCaptureFixture) -> None:
    """Changes of a reload are for debugging."""
    caplog.set_level(logging.DEBUG)
    log_event(Event(EventKind.MAC_CHANGED, "10.66.0.11", "why", 0.0414, {"from": "a", "to": "b"}))
    change = {"action": "add backend", "object": "web", "from": None, "to": "up"}
    log_event(Event(EventKind.RELOADED, "file", "why", 0.0, {"changes": [change]}))
    assert [
        (logging.INFO, "mac-changed: 10.66.0.11: a -> b: why (41 ms)"),
        (logging.INFO, "reloaded: file: why (0 ms)"),
        (logging.DEBUG, "add backend: web: None -> up"),
    ] == [(record.levelno, record.getMessage()) for record in caplog.records]


def test_a_closed_stderr_is_not_the_journal() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert not goes_to_journal({"JOURNAL_STREAM": "1:2"}, writer)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, restored afterwards."""
    logger = logging.getLogger()
    level, handlers = logger.level, logger.handlers
    yield logger
    logger.level, logger.handlers = level, handlers


@pytest.mark.parametrize(
    ("before", "after"),
    [(logging.WARNING, logging.INFO), (logging.INFO, logging.INFO), (logging.DEBUG, logging.DEBUG)],
)
@pytest.mark.parametrize("in_journal", [False, True])
def test_the_daemon_logs_to_stderr_as_it_is_asked_to(
    root: logging.Logger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: int,
    after: int,
    in_journal: bool,
) -> None:
    """At info level, or debug level with -v; with priorities in the journal."""
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        name = f"{status.st_dev}:{status.st_ino}" if in_journal else "1:2"
        monkeypatch.setenv("JOURNAL_STREAM", name)
        monkeypatch.setattr("sys.stderr", stream)
        root.setLevel(before)
        assert in_journal == set_up_logging()
        logging.getLogger("pydsr.x").warning("one\ntwo")
    prefix = "<4>" if in_journal else "pydsr: warning: "
    assert f"{prefix}one\n{prefix}two\n" == (tmp_path / "log").read_text()
    (handler,) = root.handlers
    assert isinstance(handler.formatter, LineFormatter)
    assert after == root.level
