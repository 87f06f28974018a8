"""The metrics server of `pydsr exporter`: a process of its own, with or without a daemon."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydsr.daemon.client import NoDaemonError, read_metrics
from pydsr.daemon.tasks import WarnOnce
from pydsr.http.metrics.exposition import serve_metrics
from pydsr.http.metrics.families import Document
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.listen import Listen

_log = logging.getLogger(__name__)


async def export_metrics(directory: Path, socket: Path, listen: Listen) -> None:
    """Serve metrics until SIGTERM or SIGINT.

    Raises:
        PermissionDeniedError: not privileged to read the maps, or to listen at the address.
        PydsrError: the address is taken, or the maps are of another version.
    """
    reader, warnings = SnapshotReader(directory), WarnOnce(_log)

    async def ask_daemon() -> Document | None:
        try:
            return await asyncio.to_thread(read_metrics, socket)
        except NoDaemonError:
            return None
        except PydsrError as error:
            warnings.warn("daemon", error.message)
            return None

    with suppress(NotAttachedError):
        # An error that every scrape would have ends the process at its start.
        await reader.snapshot()
    serving = asyncio.create_task(
        serve_metrics(reader, ask_daemon, partial(warnings.warn, "maps"), listen)
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
