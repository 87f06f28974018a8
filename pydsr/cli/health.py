"""``pydsr health``: what the daemon's checks hold of every backend."""

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
    """Show the health of backends, and what is wrong with those that fail; asks the daemon.

    \b
    Examples:
      pydsr health
      pydsr health --json
    """
    from pydsr.daemon.runtime import socket_path
    from pydsr.daemon.server import read_health

    document = read_health(socket_path(runtime.absolute(), directory))

    def table() -> RenderableType:
        from pydsr.views.text.health import health_table

        return health_table(document)

    show(as_json, lambda: document, table)
