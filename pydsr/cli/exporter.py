"""``pydsr exporter``: metrics without a daemon."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import LISTEN, runtime_option
from pydsr.daemon.runtime import socket_path
from pydsr.daemon.server import NoDaemonError, read_metrics
from pydsr.daemon.supervision import Complaints
from pydsr.http.metrics.exposition import serve_metrics
from pydsr.http.metrics.families import Document
from pydsr.http.observer import Observer
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.listen import Listen

if TYPE_CHECKING:
    from pydsr.model.listen import Listen

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

    asyncio.run(export_metrics(directory, runtime.absolute(), listen))


_log = logging.getLogger(__name__)


async def export_metrics(directory: Path, runtime: Path, listen: Listen) -> None:
    """Serve metrics until SIGTERM or SIGINT.

    Args:
        directory: of the pins; there need be none yet.
        runtime: directory of the daemon's socket.
        listen: where to.

    Raises:
        PermissionDeniedError: not privileged to read the maps, or to listen there.
        PydsrError: it cannot listen there, or the maps are of another version.
    """
    observer, complaints = Observer(directory), Complaints(_log)
    path = socket_path(runtime, directory)

    async def ask() -> Document | None:
        try:
            return await asyncio.to_thread(read_metrics, path)
        except NoDaemonError:
            return None
        except PydsrError as error:
            complaints.say("daemon", error.message)
            return None

    with suppress(NotAttachedError):
        # What will never work ends it here, and not at every scrape.
        await observer.snapshot()
    serving = asyncio.create_task(
        serve_metrics(observer, ask, partial(complaints.say, "maps"), listen)
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
