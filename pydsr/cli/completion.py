"""``pydsr completion``, and the answers to the shells that run what it prints."""

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
"""What asks for completion, as click names it: ``bash_complete`` and the like."""

# Bash cuts words at the colons, = and @ of endpoints and backends (COMP_WORDBREAKS), so it is the
# line that is passed on; and what it has cut off before the cursor is no part of an answer.
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
        """Ask no bash: it is not the one here that the script is for."""

    def get_completion_args(self) -> tuple[list[str], str]:
        # One more letter goes to the word that is being typed, or begins it.
        *before, last = split(os.environ["COMP_LINE"] + "_")
        return before[1:], last[:-1]

    def complete(self) -> str:
        arguments, incomplete = self.get_completion_args()
        cut_off = _cut_off(os.environ["COMP_LINE"], incomplete)
        return "\n".join(
            f"{item.type},{item.value[cut_off:] if item.type == 'plain' else item.value}"
            for item in self.get_completions(arguments, incomplete)
        )


def _cut_off(line: str, incomplete: str) -> int:
    """Return how much of the word that is typed bash takes for words before it."""
    if line[: len(line) - len(incomplete)].endswith(("'", '"')):
        return 0  # within quotes it cuts nothing
    breaks = os.environ.get("COMP_WORDBREAKS", "")
    return max((incomplete.rfind(each) + 1 for each in breaks), default=0)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes the command.

    Services, backends, virtual IPs and interfaces complete to those there are, for whoever may
    read them.

    \b
    Examples:
      pydsr completion bash > /usr/share/bash-completion/completions/pydsr
      pydsr completion zsh > /usr/local/share/zsh/site-functions/_pydsr
      pydsr completion fish > /usr/share/fish/vendor_completions.d/pydsr.fish
      source <(pydsr completion bash)
    """
    add_completion_class(_Bash)
    made = class_for(shell)
    assert made is not None  # noqa: S101 - the choice above is of those there are
    root = context.find_root()
    click.echo(made(root.command, {}, "pydsr", VARIABLE).source(), nl=False)


def answer(command: click.Command, instruction: str) -> NoReturn:
    """Answer a shell and end; with nothing where anything is wrong.

    Args:
        command: whose line is completed.
        instruction: the value of the variable that asks.
    """
    add_completion_class(_Bash)
    # What is said on stderr would stand in the middle of the line that is being typed.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), suppress(Exception):
        shell_complete(command, {}, "pydsr", VARIABLE, instruction)
    sys.exit()
