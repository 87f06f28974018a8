"""``pydsr exporter``: metrics without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import LISTEN, runtime_option

if TYPE_CHECKING:
    from pydsr.serving.listening import Listen

_DEFAULT_LISTEN = "127.0.0.1:9477"


@click.command()
@click.option(
    "--listen",
    type=LISTEN,
    default=_DEFAULT_LISTEN,
    show_default=True,
    envvar="PYDSR_METRICS",
    help="Where to; others than this machine can only connect if it says so.",
)
@runtime_option
@click.pass_obj
def exporter(directory: Path, listen: Listen, runtime: Path) -> None:
    """Serve /metrics for Prometheus, where no daemon does (pydsr run --metrics).

    It reads the maps, and asks the daemon for health and events where one runs. It goes on while
    there is no balancer, and says so by pydsr_up 0. SIGTERM ends it.

    \b
    Examples:
      pydsr exporter
      pydsr exporter --listen 192.0.2.1:9477
      curl -s http://127.0.0.1:9477/metrics
    """
    import asyncio

    from pydsr.exporting import export_metrics

    asyncio.run(export_metrics(directory, runtime.absolute(), listen))
