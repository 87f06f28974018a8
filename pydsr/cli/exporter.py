"""``pydsr exporter``: metrics without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import LISTEN, runtime_option

if TYPE_CHECKING:
    from pydsr.model.listen import Listen


@click.command()
@click.option(
    "--listen",
    type=LISTEN,
    default="127.0.0.1:9477",
    show_default=True,
    envvar="PYDSR_METRICS",
    help="Address to listen on. The default is for clients on this host only.",
)
@runtime_option
@click.pass_obj
def exporter(directory: Path, listen: Listen, runtime: Path) -> None:
    """Serve metrics for Prometheus, with or without a daemon.

    Use it where no daemon serves /metrics (pydsr run --metrics). It reads the maps, and asks the
    daemon, where one runs, for health and events. Without a balancer it keeps running and reports
    pydsr_up 0. SIGTERM ends it.

    \b
    Examples:
      pydsr exporter
      pydsr exporter --listen 192.0.2.1:9477
      curl -s http://127.0.0.1:9477/metrics
    """
    import asyncio

    from pydsr.daemon.client import socket_path
    from pydsr.daemon.metrics_server import export_metrics

    asyncio.run(export_metrics(directory, socket_path(runtime, directory), listen))
