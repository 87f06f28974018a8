"""How commands print: tables for people, JSON for scripts; data on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from pydsr.model.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pydsr.control.edits import Edit
    from pydsr.model.change import Impact

_WIDTH_NOT_ON_A_TERMINAL = 200
_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """Add ``--json`` to a command that reads."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def plan_option(command: _Command) -> _Command:
    """Add ``--plan`` and ``--json`` to a command that changes."""
    command = click.option(
        "--plan", "plan_only", is_flag=True, help="Print what would change; change nothing."
    )(command)
    return json_option(command)


def edit_command(command: Callable[..., Edit]) -> Callable[..., None]:
    """Make a command of a function that returns an edit: commit it and print its impact.

    The command has ``--plan`` and ``--json``.
    """

    @plan_option
    @click.pass_obj
    @wraps(command)
    def run(directory: Path, /, *, plan_only: bool, as_json: bool, **arguments: Any) -> None:
        change(directory, command(**arguments), plan_only, as_json)

    return run


def change(directory: Path, edit: Edit, plan_only: bool, as_json: bool) -> None:
    """Commit an edit, or plan it only, and print its impact."""
    from pydsr.control.balancer import Balancer

    with Balancer(directory) as balancer:
        impact = balancer.change(edit, plan_only)
    show_impact(impact, plan_only, as_json)


def open_bytes(path: str, mode: str) -> IO[bytes]:
    """Open a file to read ("rb") or write ("wb"); "-" is stdin or stdout.

    Raises:
        InputError: the file cannot be opened.
    """
    try:
        file: IO[bytes] = click.open_file(path, mode)
    except OSError as error:
        verb = "read" if mode == "rb" else "write"
        raise InputError(f"cannot {verb} {path}: {error.strerror}", "name another file") from None
    return file


def console() -> Console:
    """Return a console on stdout, with a fixed wide width where stdout is no terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_NOT_ON_A_TERMINAL
    return Console(width=width, highlight=False, soft_wrap=False)


def show(as_json: bool, document: Callable[[], Any], table: Callable[[], RenderableType]) -> None:
    """Print a document or a table; only one of them is built."""
    if as_json:
        click.echo(json.dumps(document(), indent=2))
        return
    from pydsr.views.text.tables import is_large, plain_lines

    rendered = table()
    if is_large(rendered):
        click.echo("\n".join(plain_lines(rendered)))
    else:
        console().print(rendered)


def show_impact(impact: Impact, plan_only: bool, as_json: bool) -> None:
    """Print what a change did, or would do."""
    for note in impact.notes:
        click.echo(f"pydsr: note: {note}", err=True)
    if plan_only or as_json:
        from pydsr.views.json import documents
        from pydsr.views.text import tables

        show(
            as_json,
            lambda: documents.plan_document(impact),
            lambda: tables.plan_table(impact),
        )
        return
    if not impact.changes:
        click.echo("nothing to change", err=True)
    else:
        lines = (f"{change.action}: {change.object}" for change in impact.changes)
        click.echo("\n".join(lines), err=True)
