"""How errors reach the user: no traceback, a status, what is wrong and what to do."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import click
import pytest

from pydsr.cli import main as module
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.model.errors import ExitStatus, InputError, NotAttachedError


def outcome(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException
) -> tuple[int, list[str]]:
    """Return the exit status and the messages of a command that raises something."""

    def fail(**_: object) -> None:
        raise raised

    monkeypatch.setattr(module.cli, "main", fail)
    monkeypatch.setattr(module, "_discard_output", lambda: None)
    with pytest.raises(SystemExit) as end:
        module.main()
    assert isinstance(end.value.code, int)
    return end.value.code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("raised", "status", "lines"),
    [
        (InputError("no such thing", "look"), 3, ["error: no such thing", "hint: look"]),
        (NotAttachedError("nothing is here"), 1, ["error: nothing is here"]),
        (click.ClickException("cannot"), 1, ["error: cannot"]),
        (click.Abort(), 130, ["interrupted"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, []),
        (
            PermissionError(errno.EACCES, "Permission denied", "/run/x"),
            4,
            ["error: /run/x: not permitted", "hint: run as root (sudo)"],
        ),
        (
            PermissionError(errno.EPERM, "Operation not permitted"),
            4,
            ["error: not permitted", "hint: run as root (sudo)"],
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            [
                "error: output: No space left on device",
                "hint: make room there, or write elsewhere",
            ],
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded", "x.pcapng"),
            1,
            [
                "error: x.pcapng: Disk quota exceeded",
                "hint: make room there, or write elsewhere",
            ],
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            1,
            [
                "error: the system: Too many open files",
                "hint: pydsr --verbose shows where it failed",
            ],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_a_message_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    status: int,
    lines: list[str],
) -> None:
    expected = status, [f"pydsr: {line}" for line in lines]
    assert expected == outcome(monkeypatch, capsys, raised)


def test_wrong_usage_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = outcome(monkeypatch, capsys, click.UsageError("no such option"))
    assert (ExitStatus.USAGE, ["Error: no such option"]) == (status, lines)


def test_a_defect_has_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module.cli, "main", fail)
    with pytest.raises(ZeroDivisionError):
        module.main()


@pytest.mark.parametrize(
    "command",
    [
        ("pydsr", "schema"),
        ("pydsr", "--help"),
        ("pydsr", "realserver", "standalone"),
        ("pydsr.realserver", "setup", "192.0.2.1", "--script", "sh"),
    ],
    ids=" ".join,
)
def test_a_full_disk_is_said_so(command: tuple[str, ...]) -> None:
    """Not blamed on the kernel's memory, and no traceback, not even at exit."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PYTHON, *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment(),
        )
    assert ExitStatus.FAILED == done.returncode
    assert f"error: output: {os.strerror(errno.ENOSPC)}" in done.stderr
    assert "Exception" not in done.stderr
    assert "Traceback" not in done.stderr
