"""``pydsr lab`` as a user runs it: real commands, real requests, a real balancer."""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pydsr.lab import network
from pydsr.lab.demo import Demo
from pydsr.lab.demo_results import DemoOutput
from pydsr.lab.lab import Lab, remove
from pydsr.lab.topology import bpffs_of, records_of
from pydsr.model.errors import ExitStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and XDP take root")

_LAB = (sys.executable, "-m", "pydsr", "lab")
_DEADLINE_SECONDS = 120.0
_numbers = itertools.count()


@pytest.fixture
def name() -> Iterator[str]:
    """A unique name for a lab, which is removed afterwards."""
    name = f"e-{os.getpid()}-{next(_numbers)}"
    yield name
    remove(name)


def pydsr_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*_LAB, *arguments], capture_output=True, text=True, timeout=_DEADLINE_SECONDS, check=False
    )


def in_shell(command: str) -> str:
    """Run a printed command, with this checkout's pydsr instead of the installed one."""
    ours = re.sub(r"\bpydsr (?=--bpffs|lab|realserver)", f"{sys.executable} -m pydsr ", command)
    done = subprocess.run(
        ["bash", "-c", ours], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def assert_nothing_left(name: str) -> None:
    """Check that nothing of a lab is left."""
    assert network.namespaces(name) == []
    assert not records_of(name).exists()
    assert not bpffs_of(name).exists()


def test_the_demo_holds_and_cleans_up(name: str) -> None:
    done = pydsr_lab("demo", "--name", name)
    assert done.returncode == ExitStatus.DONE, done.stdout + done.stderr
    assert "all expectations met" in done.stdout
    assert "300 answered, 0 failed" in done.stdout
    assert re.search(
        r"received 30.0 MB; the balancer's interface sent \d+(\.\d)? [kM]B", done.stdout
    )
    assert "\x1b" not in done.stdout
    assert_nothing_left(name)


def test_the_demo_works_with_more_of_each(name: str) -> None:
    done = pydsr_lab("demo", "--name", name, "--backends", "12", "--clients", "3")
    assert done.returncode == ExitStatus.DONE, done.stdout + done.stderr
    assert_nothing_left(name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["A lab of namespaces", "HTTP requests", "run without pause"])
def test_an_interrupted_demo_leaves_nothing(name: str, number: signal.Signals, moment: str) -> None:
    with subprocess.Popen(
        [*_LAB, "demo", "--name", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as demo:
        assert demo.stdout is not None
        read_until(demo, moment)
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=_DEADLINE_SECONDS)
    assert demo.returncode == ExitStatus.INTERRUPTED, errors
    assert b"Traceback" not in errors
    assert_nothing_left(name)


def test_the_demo_notices_what_does_not_hold(name: str) -> None:
    with Lab(name) as lab:
        lab.serve()
        lab.balance()
        for service, backend in (("10.77.0.80:80", "10.77.0.11"), ("[fd77::80]:80", "fd77::11")):
            lab.pydsr("backends", "remove", service, backend)
        outputs: list[DemoOutput] = []
        conclusion = Demo(lab, outputs.append).run()
    broken = {check.claim for check in conclusion.expectations if not check.is_met}
    assert {
        "every backend answered requests",
        "every other backend answered requests after",
    } == broken
    assert conclusion == outputs[-1]
    assert not conclusion.is_met


def read_until(process: subprocess.Popen[bytes], text: str) -> None:
    """Read a process's output until it has printed a text."""
    assert process.stdout is not None
    deadline = time.monotonic() + _DEADLINE_SECONDS
    seen = b""
    while text.encode() not in seen:
        ready, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        more = os.read(process.stdout.fileno(), 65536) if ready else b""
        assert more, (text, seen)
        seen += more


def test_a_lab_stays_up_and_its_printed_commands_work(name: str) -> None:
    up = pydsr_lab("up", "--backends", "2", "--name", name)
    assert up.returncode == ExitStatus.DONE, up.stderr
    commands = [
        line.strip() for line in up.stdout.splitlines() if re.match(r"  (nsenter|for|pydsr) ", line)
    ]
    curl4, curl6, spread, top, remove_last, check, down = commands

    assert in_shell(curl4) in ("backend1\n", "backend2\n")
    assert in_shell(curl6) in ("backend1\n", "backend2\n")
    assert {"backend1", "backend2"} == set(in_shell(spread).split())
    assert "10.77.0.80" in in_shell(f"{top} --once")
    in_shell(check)
    in_shell(remove_last)
    assert {"backend1"} == set(in_shell(spread).split())

    again = pydsr_lab("up", "--name", name)
    assert again.returncode == ExitStatus.BAD_INPUT
    assert "already" in again.stderr
    assert in_shell(curl4) == "backend1\n"

    in_shell(down)
    assert_nothing_left(name)
    assert pydsr_lab("down", "--name", name).returncode == ExitStatus.DONE


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--backends", "0"),
        ("up", "--clients", "201"),
        ("up", "--name", "Not/This"),
        ("down", "--name", "../x"),
        ("demo", "--backends", "1"),
        ("demo", "--name", ""),
    ],
)
def test_what_no_lab_can_be_is_refused(arguments: tuple[str, ...]) -> None:
    done = pydsr_lab(*arguments)
    assert done.returncode == ExitStatus.BAD_INPUT, done.stderr
    assert "Traceback" not in done.stderr
