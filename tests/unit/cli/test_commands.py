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


def modules_of(arguments: list[str], **variables: str) -> tuple[str, set[str]]:
    """Run a command; return what it printed, and the modules that it had imported at its end."""
    script = f"""
import atexit, sys
from pydsr.cli.main import main
atexit.register(lambda: sys.stderr.write(" ".join(sys.modules)))
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
    return done.stdout, {*done.stderr.split()}


BASH = {"_PYDSR_COMPLETE": "bash_complete"}
ZSH = {"_PYDSR_COMPLETE": "zsh_complete"}


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["--help"], {}, "services"),
        (["--version"], {}, "pydsr"),
        ([], BASH | {"COMP_LINE": "pydsr s"}, "services"),
        ([], ZSH | {"COMP_WORDS": "pydsr ", "COMP_CWORD": "1"}, "services"),
    ],
)
def test_listing_commands_imports_none_of_them(
    arguments: list[str], variables: dict[str, str], expected: str
) -> None:
    printed, modules = modules_of(arguments, **variables)
    assert expected in printed
    own = {"pydsr.cli", "pydsr.cli.main", "pydsr.cli.completion", "pydsr.model"}
    assert set() == {name for name in modules if name.startswith("pydsr.")} - own - {
        "pydsr.model.errors"
    }


@pytest.mark.parametrize(
    "line",
    [
        "pydsr backends drain ",
        "pydsr backends drain 192.0.2.1:80 ",
        "pydsr backends add 192.0.2.1:80 ",
        "pydsr vips set ",
        "pydsr acl allow ",
    ],
)
def test_completion_of_what_is_live_imports_the_maps_alone(line: str) -> None:
    _, modules = modules_of([], COMP_LINE=line, **BASH)
    assert "pydsr.kernel.bpf.live_state" in modules
    assert set() == {"asyncio", "bcc", "pydantic", "pyroute2", "rich", "yaml"} & modules
    assert set() == {name for name in modules if name.startswith("pyroute2.")}
