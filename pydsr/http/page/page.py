"""The status page and its data, over HTTP; everything is read only.

``GET /api/stream`` sends, as server-sent events: ``state`` (all of ``/api/state`` but the events),
at first and when anything but rates is another; ``rates`` (its key of that name) again and again;
``events`` (its key of that name), those of the past and then new ones; and ``alive``.
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
from pydsr.http.listening import IDLE_SECONDS, new_application, serve
from pydsr.http.observer import Observer
from pydsr.http.page.documents import About, events_document
from pydsr.http.page.protection import harden
from pydsr.http.page.sampling import Sampler, to_json
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import InputError
from pydsr.model.events import Event, EventLog
from pydsr.model.listen import Listen

MOST_STREAMS = 16
"""How many pages may be watched at once; each of them has a connection all the time."""

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
"""How often a page hears something: it takes the connection for lost otherwise."""

_PAUSE_SECONDS = 0.1
_ALIVE = "event: alive\ndata: {}\n\n"


class StatusPage:
    """Serves the page of one balancer to whoever may connect.

    Args:
        directory: of the pins.
        listen: where.
        log: the daemon's events.
        health: what it holds of the health of backends, as ``pydsr health --json`` has it.
    """

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
        # Rates take two readings: it is never content with one that somebody else has had.
        self._sampler = Sampler(about, Observer(directory, fresh_seconds=0.0), health)
        self._files = dict(_read_files())
        self._streams = 0
        log.subscribe(lambda _: self._sampler.tell())

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            ExceptionGroup: of a PydsrError, where it is not possible to listen there.
        """
        app = new_application()
        harden(app, self._listen)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name}", self._file)
        app.router.add_get("/api/state", self._state)
        app.router.add_get("/api/history", self._history)
        app.router.add_get("/api/stream", self._stream, allow_head=False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sampler.run())
            tasks.create_task(serve(app, self._listen))

    async def _page(self, _: web.Request) -> web.Response:
        return self._files["index.html"]()

    async def _file(self, request: web.Request) -> web.Response:
        make = self._files.get(request.match_info["name"])
        if make is None:
            raise web.HTTPNotFound
        return make()

    async def _state(self, _: web.Request) -> web.Response:
        sample = await self._sampler.recent()
        events = events_document(self._events_after(0))
        return web.json_response(
            {**sample.structure, "rates": sample.rates, "events": events}, dumps=to_json
        )

    async def _history(self, request: web.Request) -> web.Response:
        """Answer with the past of all services, or of the backends of the one that is named."""
        service = request.query.get("service")
        if service is None:
            return web.json_response(self._sampler.history.services(), dumps=to_json)
        try:
            endpoint = Endpoint.parse(service)
        except InputError:
            raise web.HTTPBadRequest(text="That is no service.\n") from None
        return web.json_response(self._sampler.history.backends(endpoint), dumps=to_json)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send the state, its rates again and again, and events, until the client goes."""
        with self._admitted(), self._sampler.watched():
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                await self._send_changes(response)
        return response

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._streams >= MOST_STREAMS:
            raise web.HTTPServiceUnavailable(
                text="There are as many watchers as there may be.\n",
                headers={"Retry-After": str(_BUSY_RETRY_SECONDS)},
            )
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _send_changes(self, response: web.StreamResponse) -> None:
        """Send what is newer than what was sent, whenever there is something.

        A client that is slow is sent less often, and nothing waits for it.
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
            # However much happens, it is told together.
            await asyncio.sleep(_PAUSE_SECONDS)

    def _events_after(self, number: int) -> list[Event]:
        return [event for event in self._log.past() if event.number > number][-_SHOWN_EVENTS:]


def _message(kind: str, document: str) -> str:
    """Return one message of a stream (HTML Living Standard, 9.2): JSON has no line ends."""
    return f"event: {kind}\ndata: {document}\n\n"


def _read_files() -> Iterator[tuple[str, Callable[[], web.Response]]]:
    """Yield what makes the answer with each file of the page, by its name."""
    for path in sorted(_STATIC.iterdir()):
        if kind := _TYPES.get(path.suffix):
            yield path.name, _answering(path.read_bytes(), kind)


def _answering(body: bytes, kind: str) -> Callable[[], web.Response]:
    return lambda: web.Response(body=body, content_type=kind, charset="utf-8")
