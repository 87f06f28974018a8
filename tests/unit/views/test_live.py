"""The live view's loop: in a terminal, without one, and where its sources fail or hang."""

from __future__ import annotations

import io
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from pydsr.model.errors import InputError, PydsrError
from pydsr.model.snapshot import Counters, Snapshot
from pydsr.views.top.choices import Choices
from pydsr.views.top.live import BackgroundQuery, Sources, run_live, show_once
from tests.support.sample_traffic import backend, line_with, service
from tests.support.terminal import Terminal, in_terminal


def two_reads() -> Sources:
    web = service("192.0.2.1:80", backend(1))
    snapshots = iter(Snapshot(float(t), (web,), {1: Counters(1500 * t, 0, 0)}) for t in (1, 2))
    return Sources(lambda: next(snapshots))


def test_once_prints_one_frame_with_rates_where_stdout_is_no_terminal() -> None:
    output = io.StringIO()
    show_once(two_reads(), Choices(0.1), Console(file=output, width=80))
    assert line_with(output.getvalue().splitlines(), "10.0.0.1").split()[1] == "1.5k"
    assert "\x1b" not in output.getvalue()
    assert "quit" not in output.getvalue()


def test_without_a_terminal_the_error_names_the_way_that_works() -> None:
    with pytest.raises(InputError) as caught:
        run_live(two_reads(), Choices(), Console(file=io.StringIO()))
    assert "--once" in caught.value.hint
    assert "stats --watch" in caught.value.hint


@pytest.mark.parametrize("interval", [0.0, -1.0, 61.0, float("nan")])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    with pytest.raises(InputError, match="interval"):
        show_once(two_reads(), Choices(interval), Console(file=io.StringIO()))


LIVE_PROGRAM = """
import itertools, sys, time
from rich.console import Console
from pydsr.model.errors import NotAttachedError
from pydsr.model.snapshot import Snapshot
from pydsr.views.top.choices import Choices
from pydsr.views.top.live import Sources, run_live

reads = itertools.count(1)
gone, failed = map(int, sys.argv[1:])

def read():
    number = next(reads)
    if number > failed:
        raise RuntimeError("the counters are gone")
    if gone <= number < gone + 5:
        raise NotAttachedError("no balancer is attached")
    return Snapshot(float(number), (), {}, {"forwarded": 1000 * number})

def hang():
    time.sleep(3600)

run_live(Sources(read, hang, hang), Choices(0.1), Console())
"""
NEVER = 1_000_000


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal with the live view in it, whose slower sources hang.

    Its parameters are the number of the reading at which the balancer is gone, for five of them,
    and that of the last one before a defect.
    """
    numbers = getattr(request, "param", (NEVER, NEVER))
    with in_terminal([sys.executable, "-c", LIVE_PROGRAM, *map(str, numbers)]) as made:
        yield made


def test_q_quits_and_restores_the_terminal(terminal: Terminal) -> None:
    terminal.wait_for("sort by name")
    assert termios.tcgetattr(terminal.slave) != terminal.attributes
    terminal.type("q")
    assert terminal.left() == 0
    assert termios.tcgetattr(terminal.slave) == terminal.attributes


def test_keys_pause_sort_and_change_the_interval(terminal: Terminal) -> None:
    terminal.wait_for("every 0.1 s")
    terminal.type("s")
    terminal.wait_for("sort by packets")
    terminal.type("+")
    terminal.wait_for("every 0.2 s")
    terminal.type("\x1bOqp")
    terminal.wait_for("paused")
    terminal.type("q")
    assert terminal.left() == 0


def test_a_filter_and_pages_are_typed_and_left_by_escape(terminal: Terminal) -> None:
    terminal.wait_for("no services")
    terminal.type("/wéb")
    terminal.wait_for("wéb")
    terminal.type("\x1b")
    terminal.wait_for("quit")
    terminal.type("r")
    terminal.wait_for("sent to the backend of its slot")
    terminal.type("?")
    terminal.wait_for("share compared with weight")
    terminal.type("\x1b")
    terminal.wait_for("no services")
    terminal.type("q")
    assert terminal.left() == 0


def test_another_size_is_followed_at_once_even_while_paused(terminal: Terminal) -> None:
    terminal.wait_for("help")
    terminal.type("++++++++p")
    terminal.wait_for("paused")
    for columns, rows in ((40, 3), (200, 60)):
        terminal.resize(columns, rows)
        # Paused, it would draw the next frame after its interval, which is a minute.
        terminal.wait_for(f"\x1b[{rows};1H", seconds=50)


@pytest.mark.parametrize("terminal", [(5, NEVER)], indirect=True)
def test_a_balancer_that_is_purged_and_attached_again_is_waited_for(terminal: Terminal) -> None:
    terminal.wait_for("no balancer is attached")
    terminal.wait_for("forwarded")
    terminal.type("q")
    assert terminal.left() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_restores_the_terminal(terminal: Terminal, number: signal.Signals) -> None:
    terminal.wait_for("sort by name")
    terminal.process.send_signal(number)
    assert terminal.left() != 0
    assert termios.tcgetattr(terminal.slave) == terminal.attributes


@pytest.mark.parametrize("terminal", [(NEVER, 3)], indirect=True)
def test_a_failed_read_restores_the_terminal_and_is_told(terminal: Terminal) -> None:
    terminal.wait_for("the counters are gone")
    assert terminal.process.wait(timeout=60) == 1
    assert termios.tcgetattr(terminal.slave) == terminal.attributes


def test_a_background_query_delays_nothing_and_a_failure_clears_its_answer() -> None:
    may_answer = threading.Event()
    answers: Iterator[int | PydsrError] = iter([1, PydsrError("no daemon"), 3])

    def ask() -> int:
        may_answer.wait(60)
        answer = next(answers)
        if isinstance(answer, PydsrError):
            raise answer
        return answer

    source = BackgroundQuery(ask, 0, pause=0.0)
    assert 0 == source.latest()
    may_answer.set()
    seen = [0]
    deadline = time.monotonic() + 60
    while seen[-1] != 3 and time.monotonic() < deadline:
        source.wait(1)
        if (answer := source.latest()) != seen[-1]:
            seen.append(answer)
    assert [0, 1, 0, 3] == seen
