"""An exporter of its own: metrics of a balancer, whether or not a daemon runs for it."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydsr.daemon.runtime import socket_path
from pydsr.daemon.server import NoDaemonError, read_metrics
from pydsr.daemon.supervision import Complaints
from pydsr.errors import NotAttachedError, PydsrError
from pydsr.metrics.exposition import serve_metrics
from pydsr.metrics.families import Document
from pydsr.serving.listening import Listen
from pydsr.serving.observer import Observer

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
