"""The list of commands, which --help and completion print without importing the commands."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from pydsr.cli.main import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_shows_the_first_sentence_of_each_commands_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--help"], {}),
        (["--version"], {}),
        ([], {"_PYDSR_COMPLETE": "bash_complete", "COMP_LINE": "pydsr s"}),
        ([], {"_PYDSR_COMPLETE": "zsh_complete", "COMP_WORDS": "pydsr ", "COMP_CWORD": "1"}),
    ],
)
def test_listing_commands_imports_none_of_them(
    arguments: list[str], variables: dict[str, str]
) -> None:
    script = f"""
import atexit, sys
from pydsr.cli.main import main
def show():
    names = [name for name in sys.modules if name.startswith("pydsr.")]
    print(*names, file=sys.stderr)
atexit.register(show)
sys.argv = ["pydsr", *{arguments}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = "0." if arguments == ["--version"] else "services"
    assert listed in done.stdout
    own = {"pydsr.cli", "pydsr.cli.main", "pydsr.cli.completion", "pydsr.model"}
    assert set() == {*done.stderr.split()} - own - {"pydsr.model.errors"}
