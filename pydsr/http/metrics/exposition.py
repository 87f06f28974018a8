"""``/metrics`` over HTTP: what was read, written as Prometheus reads it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import PROCESS_COLLECTOR, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pydsr.http.listening import new_application, serve
from pydsr.http.metrics.families import Document, View, families
from pydsr.http.metrics.looking import Lookout
from pydsr.http.observer import Observer
from pydsr.http.sharing import FRESH_SECONDS, Shared
from pydsr.model.listen import Listen

PATH = "/metrics"

_FORMATS = ("text/plain", "application/openmetrics-text;version=1.0.0")


class _Reading(Collector):
    """The metrics of a view, and of the processes that serve them."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterable[Family]:
        yield from families(self._view)
        yield from PROCESS_COLLECTOR.collect()
        if self._view.daemon is not None:
            pid = self._view.daemon["pid"]
            yield from ProcessCollector("pydsr_daemon", lambda: pid, registry=None).collect()


class _Page:
    """The page in one format, made once for all who ask at the same time."""

    def __init__(self, look: Callable[[], Awaitable[View]], accepted: str) -> None:
        self._look = look
        self._encode, self.content_type = choose_encoder(accepted)
        self._made = Shared(self._make, FRESH_SECONDS)

    async def body(self) -> bytes:
        """Return the page, compressed."""
        return await self._made.get()

    async def _make(self) -> bytes:
        view = await self._look()
        # Thousands of samples take a tenth of a second, in which others may want to connect.
        return await asyncio.to_thread(lambda: gzip.compress(self._encode(_Reading(view)), 1))


async def serve_metrics(
    observer: Observer,
    ask: Callable[[], Awaitable[Document | None]],
    complain: Callable[[str], object],
    listen: Listen,
) -> None:
    """Serve metrics until cancelled.

    Args:
        observer: reads the maps.
        ask: returns what the daemon says; None where none runs.
        complain: is told why the maps cannot be read, where there is a balancer.
        listen: where to.

    Raises:
        PydsrError: it cannot listen there.
    """
    lookout = Lookout(observer, ask, complain)
    await serve(metrics_application(lookout.look), listen)


def metrics_application(look: Callable[[], Awaitable[View]]) -> web.Application:
    """Return an application that serves metrics.

    Args:
        look: reads what they are made of; what it raises is a defect.
    """
    pages = {accepted: _Page(look, accepted) for accepted in _FORMATS}

    async def answer(request: web.Request) -> web.Response:
        wants_open_metrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        page = pages[_FORMATS[wants_open_metrics]]
        body = await page.body()
        headers = {"Content-Type": page.content_type, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            body = gzip.decompress(body)
        return web.Response(body=body, headers=headers)

    async def point_to_it(_: web.Request) -> web.Response:
        return web.Response(text=f"The metrics of pydsr are at {PATH}\n")

    app = new_application()
    app.router.add_get(PATH, answer)
    app.router.add_get("/", point_to_it)
    return app
