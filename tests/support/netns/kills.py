"""Kills a command, which runs in a fork, before a chosen step."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

from tests.support.netns.command import Pydsr

_CHANGING = re.compile(r"_?(write|delete|map_(create|update|delete)|pin|link_|put|zero|set_)")
"""The functions of pydsr/kernel/ that a kill is placed before."""


def killed_before(
    functions: Collection[str], nth: int, within: str = "/pydsr/kernel/"
) -> Callable[[], None]:
    """Return what has this process killed before its Nth call of functions of a package.

    Args:
        functions: their names.
        nth: counted from 1, over all of them.
        within: the package, as it is in the paths of its modules.
    """
    passed = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal passed
        code = frame.f_code
        if event != "call" or code.co_name not in functions:
            return
        if within in code.co_filename:
            passed += 1
            if passed == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.setprofile(watch)


def killed_at_step(step: int) -> Callable[[], None]:
    """Return what has this process killed before its Nth call of a function that changes things.

    After one such call is before the next, or the end.

    Args:
        step: counted from 1.
    """
    passed = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal passed
        code = frame.f_code
        if event != "call" or "/pydsr/kernel/" not in code.co_filename:
            return
        if _CHANGING.match(code.co_name):
            passed += 1
            if passed == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.setprofile(watch)


def ended(pid: int) -> bool:
    """Wait for a process, and return whether it ended by itself, which must be a success."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def ends(
    pydsr: Pydsr,
    *command: str,
    functions: Collection[str],
    nth: int,
    within: str = "/pydsr/kernel/",
) -> bool:
    """Run a command with a kill in it; return whether it succeeded before the kill."""
    kill = killed_before(functions, nth, within)
    return ended(pydsr.fork(*command, prepare=kill))
