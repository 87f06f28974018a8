"""Directories and files that an ordinary user may not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import pytest

from pydsr.cli.main import cli
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import AS_NOBODY, Pydsr

FILE = "balancer.yaml"
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "apply": (FILE,),
    "diff": (FILE,),
    "doctor": ("eth0",),
    "events": (),
    "exporter": (),
    "health": (),
    "run": (FILE,),
    "top": ("--once",),
}
"""Every command that takes --runtime-directory, with the other arguments that it needs."""


def test_every_command_with_a_runtime_directory_is_listed() -> None:
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    assert set(ARGUMENTS) == {
        name
        for name, command in commands.items()
        if command and any(parameter.name == "runtime" for parameter in command.params)
    }


@pytest.mark.parametrize("command", ARGUMENTS)
def test_an_ordinary_user_is_told_what_is_not_permitted(
    quick: Pydsr, tmp_path: Path, command: str
) -> None:
    """The runtime directory is as the daemon makes it: only root may enter it."""
    runtime, file = tmp_path / "runtime", tmp_path / FILE
    tmp_path.chmod(0o755)
    runtime.mkdir(mode=0o700)
    file.write_text("services: []\n")
    arguments = (str(file) if each == FILE else each for each in ARGUMENTS[command])
    user = replace(quick, wrapper=AS_NOBODY)
    done = user(command, *arguments, "--runtime-directory", str(runtime))
    assert ExitStatus.CANNOT == done.status, done.stderr
    assert "run as root" in done.stderr or command == "doctor"
    assert "not readable" not in done.stderr


@pytest.mark.parametrize("command", ["apply", "diff"])
def test_a_file_that_may_not_be_read_is_named(quick: Pydsr, tmp_path: Path, command: str) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / FILE
    file.touch(mode=0o600)
    done = replace(quick, wrapper=AS_NOBODY)(command, str(file))
    assert ExitStatus.BAD_INPUT == done.status
    assert str(file) in done.stderr
    assert "Permission denied" in done.stderr
