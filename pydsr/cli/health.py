"""``pydsr health``: the results of the daemon's health checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import runtime_option
from pydsr.cli.output import json_option, show

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command()
@json_option
@runtime_option
@click.pass_obj
def health(directory: Path, as_json: bool, runtime: Path) -> None:
    """Show the health of backends, and why checks fail.

    It asks the running daemon, which checks backends.

    \b
    Examples:
      pydsr health
      pydsr health --json
    """
    from pydsr.daemon.client import read_health, socket_path

    document = read_health(socket_path(runtime, directory))

    def table() -> RenderableType:
        from pydsr.views.text.diagnosis import health_table

        return health_table(document)

    show(as_json, lambda: document, table)
