"""Serve the status page and its data over HTTP, all read-only.

``GET /api/stream`` sends server-sent events: ``state`` (all of ``/api/state`` but its events) first
and whenever anything but the rates changes; ``rates`` (that key) regularly; ``events`` (that key),
first past and then new ones; and ``alive``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from pydsr import __version__
from pydsr.http.page.documents import About, events_document
from pydsr.http.page.sampler import Sampler, to_json
from pydsr.http.server import IDLE_SECONDS, new_application, protect_page, serve
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import InputError
from pydsr.model.events import Event, EventLog
from pydsr.model.listen import Listen

STREAMS_MAX = 16
"""Pages that may be open at once; each keeps a connection."""

_STATIC = Path(__file__).with_name("static")
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_SHOWN_EVENTS = 200
_BUSY_RETRY_SECONDS = 5
_ALIVE_SECONDS = 5.0
"""The longest silence on a stream; the page expects a message at least every 15 seconds."""

_PAUSE_SECONDS = 0.1
_ALIVE = "event: alive\ndata: {}\n\n"


class StatusPage:
    """Serves the page of one balancer."""

    def __init__(
        self,
        directory: Path,
        listen: Listen,
        log: EventLog,
        health: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._listen = listen
        self._log = log
        about = About(socket.gethostname(), __version__, datetime.now(UTC))
        # Rates need two different snapshots, so none is shared.
        self._sampler = Sampler(about, SnapshotReader(directory, fresh_seconds=0.0), health)
        self._files = {
            path.name: (path.read_bytes(), kind)
            for path in _STATIC.iterdir()
            if (kind := _TYPES.get(path.suffix))
        }
        self._streams = 0
        log.subscribe(lambda _: self._sampler.wake())

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            ExceptionGroup: of a PydsrError, if it is not possible to listen there.
        """
        app = new_application()
        protect_page(app, self._listen)
        app.router.add_get("/", self._file)
        app.router.add_get("/static/{name}", self._file)
        app.router.add_get("/api/state", self._state)
        app.router.add_get("/api/history", self._history)
        app.router.add_get("/api/stream", self._stream, allow_head=False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sampler.run())
            tasks.create_task(serve(app, self._listen))

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in self._files:
            raise web.HTTPNotFound
        body, kind = self._files[name]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _state(self, _: web.Request) -> web.Response:
        sample = await self._sampler.recent()
        events = events_document(self._events_after(0))
        return web.json_response(
            {**sample.structure, "rates": sample.rates, "events": events}, dumps=to_json
        )

    async def _history(self, request: web.Request) -> web.Response:
        """Return the history of all services, or of the backends of one."""
        service = request.query.get("service")
        if service is None:
            return web.json_response(self._sampler.history.services(), dumps=to_json)
        try:
            endpoint = Endpoint.parse(service)
        except InputError:
            raise web.HTTPBadRequest(text="Not a valid service.\n") from None
        return web.json_response(self._sampler.history.backends(endpoint), dumps=to_json)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send state, rates and events until the client disconnects."""
        with self._admitted(), self._sampler.watched():
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                await self._send_changes(response)
        return response

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._streams >= STREAMS_MAX:
            raise web.HTTPServiceUnavailable(
                text="Too many pages are open.\n",
                headers={"Retry-After": str(_BUSY_RETRY_SECONDS)},
            )
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _send_changes(self, response: web.StreamResponse) -> None:
        """Send whatever is newer than the last message.

        A slow client gets fewer messages, and delays nothing else.
        """
        await self._sampler.recent()
        sent, structure_sent, event_sent = 0, 0, 0
        while True:
            changed = self._sampler.changed
            sample = self._sampler.sample
            messages = []
            if sample.structure_number != structure_sent:
                messages.append(_message("state", sample.state_json))
            elif sample.number != sent and sample.rates:
                messages.append(_message("rates", sample.rates_json))
            sent, structure_sent = sample.number, sample.structure_number
            if events := self._events_after(event_sent):
                event_sent = events[-1].number
                messages.append(_message("events", to_json(events_document(events))))
            async with asyncio.timeout(IDLE_SECONDS):
                await response.write("".join(messages or [_ALIVE]).encode())
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALIVE_SECONDS):
                    await changed.wait()
            # Collect events in short succession into one message.
            await asyncio.sleep(_PAUSE_SECONDS)

    def _events_after(self, number: int) -> list[Event]:
        return [event for event in self._log.past() if event.number > number][-_SHOWN_EVENTS:]


def _message(kind: str, document: str) -> str:
    """Return a message of a stream (HTML Living Standard, 9.2); JSON contains no newlines."""
    return f"event: {kind}\ndata: {document}\n\n"
