"""Tasks that fail are started again, and each problem is said once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import pytest

from pydsr.daemon.tasks import LONGEST_PAUSE_SECONDS, WarnOnce, keep_running
from pydsr.model.errors import PydsrError
from tests.support.virtual_time import run_in_virtual_time

log = logging.getLogger("test")


class Task:
    """A task that runs for some seconds each time, and then fails or returns."""

    def __init__(self, *runs: tuple[float, BaseException | None]) -> None:
        self._runs = deque(runs)
        self.started: list[float] = []
        self._began = 0.0

    async def start(self) -> None:
        now = asyncio.get_running_loop().time()
        self._began = self._began or now
        self.started.append(round(now - self._began, 3))
        seconds, error = self._runs.popleft()
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    def run(self) -> None:
        """Run it until nothing is left, which is a defect."""

        async def group() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keep_running("work", self.start))

        with pytest.raises(ExceptionGroup):
            run_in_virtual_time(group())


def test_the_pause_doubles_up_to_half_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    task = Task(*[(0.0, OSError(5, "Input/output error"))] * 9)
    task.run()
    moments = [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5, 121.5]
    assert moments == task.started
    assert ["work: [Errno 5] Input/output error; trying again"] == caplog.messages


@pytest.mark.parametrize(
    ("seconds", "pause", "said"),
    [(LONGEST_PAUSE_SECONDS, 1.0, 1), (LONGEST_PAUSE_SECONDS + 0.1, 0.5, 2)],
)
def test_a_task_that_has_worked_for_long_starts_anew(
    caplog: pytest.LogCaptureFixture, seconds: float, pause: float, said: int
) -> None:
    """With a short pause, and a message even if it is the same."""
    error = PydsrError("the kernel refuses")
    task = Task((0.0, error), (seconds, error))
    task.run()
    assert [0.0, 0.5, round(0.5 + seconds + pause, 3)] == task.started
    assert ["work: the kernel refuses; trying again"] * said == caplog.messages


def test_a_task_that_returns_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    task = Task((1.0, None), (1.0, None))
    task.run()
    assert [0.0, 1.5, 3.5] == task.started
    assert [] == caplog.messages


def test_all_errors_of_a_group_are_said(caplog: pytest.LogCaptureFixture) -> None:
    inner = ExceptionGroup("inner", [PydsrError("two", "a hint"), OSError(5, "three")])
    Task((0.0, ExceptionGroup("outer", [PydsrError("one"), inner]))).run()
    assert ["work: one; two; [Errno 5] three; trying again"] == caplog.messages


def test_a_defect_ends_everything_even_beside_failures() -> None:
    task = Task((0.0, ExceptionGroup("both", [OSError(5, "x"), ValueError("defect")])), (0.0, None))
    task.run()
    assert [0.0] == task.started


def test_a_warning_is_said_until_its_text_changes(caplog: pytest.LogCaptureFixture) -> None:
    warnings = WarnOnce(log)
    for topic, text in (("a", "1"), ("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")):
        warnings.warn(topic, text)
    warnings.clear("a")
    warnings.clear("never said")
    warnings.warn("a", "1")
    assert ["1", "1", "2", "1", "1"] == caplog.messages


@pytest.mark.parametrize(("others", "is_new"), [(2, False), (3, True)])
def test_the_topic_that_was_silent_for_longest_is_forgotten(others: int, is_new: bool) -> None:
    """One that repeats itself is not."""
    warnings = WarnOnce(log, kept=3)
    warnings.is_new("first", "text")
    warnings.is_new("second", "text")
    warnings.is_new("first", "text")
    for number in range(others):
        warnings.is_new(f"other {number}", "text")
    assert is_new == warnings.is_new("first", "text")


def test_a_thousand_topics_are_kept() -> None:
    warnings = WarnOnce(log)
    for number in range(1000):
        warnings.is_new(f"topic {number}", "text")
    assert not warnings.is_new("topic 0", "text")
    warnings.is_new("one more", "text")
    assert warnings.is_new("topic 1", "text")
