"""``pydsr completion``, and the answers to the shells that run its script."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import BashComplete, add_completion_class, shell_complete
from click.shell_completion import get_completion_class as class_for
from click.shell_completion import split_arg_string as split

VARIABLE = "_PYDSR_COMPLETE"
"""The environment variable that asks for completion, with a value such as ``bash_complete``."""

# Bash splits words at the colons, = and @ of endpoints and backends (COMP_WORDBREAKS). So the
# script passes the whole line, and answers leave out what bash has split off before the cursor.
_BASH = """\
# bash completion of pydsr: made by `pydsr completion bash`
%(complete_func)s() {
    local IFS=$'\\n' answer type value
    COMPREPLY=()
    answer=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    while IFS=, read -r type value; do
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain) COMPREPLY+=("$value") ;;
        esac
    done <<<"$answer"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        """Skip click's check: the script may be for another host's bash."""

    def get_completion_args(self) -> tuple[list[str], str]:
        # An extra letter extends the word before the cursor, or starts one.
        *before, last = split(os.environ["COMP_LINE"] + "_")
        return before[1:], last[:-1]

    def complete(self) -> str:
        arguments, incomplete = self.get_completion_args()
        start = _length_split_off(os.environ["COMP_LINE"], incomplete)
        return "\n".join(
            f"{item.type},{item.value[start:] if item.type == 'plain' else item.value}"
            for item in self.get_completions(arguments, incomplete)
        )


def _length_split_off(line: str, incomplete: str) -> int:
    """Return how many characters of the incomplete word bash takes for words before it."""
    if line[: len(line) - len(incomplete)].endswith(("'", '"')):
        return 0  # bash splits no quoted words
    breaks = os.environ.get("COMP_WORDBREAKS", "")
    return max((incomplete.rfind(each) + 1 for each in breaks), default=0)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes a shell complete pydsr commands.

    Services, backends, virtual IPs and interfaces complete to existing ones, for users who may read
    the maps.

    \b
    Examples:
      pydsr completion bash > /usr/share/bash-completion/completions/pydsr
      pydsr completion zsh > /usr/local/share/zsh/site-functions/_pydsr
      pydsr completion fish > /usr/share/fish/vendor_completions.d/pydsr.fish
      source <(pydsr completion bash)
    """
    add_completion_class(_Bash)
    completion_class = class_for(shell)
    assert completion_class is not None  # noqa: S101 - click has a class for each of the choices
    root = context.find_root()
    click.echo(completion_class(root.command, {}, "pydsr", VARIABLE).source(), nl=False)


def answer(command: click.Command, instruction: str) -> NoReturn:
    """Print what a line completes to, and exit; errors print nothing.

    ``instruction`` is the value of the environment variable.
    """
    add_completion_class(_Bash)
    # A message on stderr would appear in the middle of the line that is being typed.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), suppress(Exception):
        shell_complete(command, {}, "pydsr", VARIABLE, instruction)
    sys.exit()
