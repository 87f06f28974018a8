"""Serve ``/metrics`` over HTTP in the formats of Prometheus.

``prometheus_client`` collects and encodes the metrics. Its own servers encode the page for every
client, and its handler for aiohttp does so in the event loop; see
docs/decisions/0013-serving-metrics.md.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import PROCESS_COLLECTOR, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pydsr.http.metrics.families import Document, View, families
from pydsr.http.server import new_application, serve
from pydsr.http.snapshot_reader import SharedResult, SnapshotReader
from pydsr.kernel.bpf.layout import LAYOUT_VERSION
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.listen import Listen
from pydsr.model.reasons import all_reasons
from pydsr.model.snapshot import Snapshot

PATH = "/metrics"

_FORMATS = ("text/plain", "application/openmetrics-text;version=1.0.0")


async def serve_metrics(
    reader: SnapshotReader,
    ask_daemon: Callable[[], Awaitable[Document | None]],
    warn: Callable[[str], object],
    listen: Listen,
) -> None:
    """Serve metrics until cancelled.

    Args:
        reader: of the maps.
        ask_daemon: returns the daemon's document; None if no daemon runs.
        warn: called with the reason if there is a balancer that cannot be read.
        listen: where to serve them.

    Raises:
        PydsrError: it is not possible to listen there.
    """

    async def read_snapshot() -> Snapshot | None:
        try:
            return await reader.snapshot()
        except NotAttachedError:
            return None
        except PydsrError as error:
            warn(f"cannot read the balancer for metrics: {error.message}")
            return None

    async def read() -> View:
        return View(await read_snapshot(), await ask_daemon(), all_reasons(), LAYOUT_VERSION)

    await serve(_application(read), listen)


def _application(read: Callable[[], Awaitable[View]]) -> web.Application:
    pages = {accepted: _Page(read, accepted) for accepted in _FORMATS}

    async def metrics(request: web.Request) -> web.Response:
        wants_open_metrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        page = pages[_FORMATS[wants_open_metrics]]
        body = await page.compressed.get()
        headers = {"Content-Type": page.content_type, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            body = gzip.decompress(body)
        return web.Response(body=body, headers=headers)

    async def root(_: web.Request) -> web.Response:
        return web.Response(text=f"The metrics of pydsr are at {PATH}\n")

    app = new_application()
    app.router.add_get(PATH, metrics)
    app.router.add_get("/", root)
    return app


class _Page:
    """The metrics in one format, compressed and shared between clients."""

    def __init__(self, read: Callable[[], Awaitable[View]], accepted: str) -> None:
        self._read = read
        self._encode, self.content_type = choose_encoder(accepted)
        self.compressed = SharedResult(self._make)

    async def _make(self) -> bytes:
        view = await self._read()
        # Encoding thousands of samples takes a tenth of a second; other clients connect meanwhile.
        return await asyncio.to_thread(lambda: gzip.compress(self._encode(_ViewCollector(view)), 1))


class _ViewCollector(Collector):
    """Collects the metrics of a view, and of the exporter's and the daemon's processes."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterable[Family]:
        yield from families(self._view)
        yield from PROCESS_COLLECTOR.collect()
        if self._view.daemon is not None:
            pid = self._view.daemon["pid"]
            yield from ProcessCollector("pydsr_daemon", lambda: pid, registry=None).collect()
