"""Where an HTTP server listens, and how it is kept from those who mean it no good."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import re
import socket
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError, PydsrError
from pydsr.model.listen import Listen

MOST_CONNECTIONS = 64
"""How many clients there may be at once: whoever opens more must not take the files of checks."""

IDLE_SECONDS = 30
"""How long a connection may be without a whole request, and a client without taking its answer."""

_LONGEST_LINE_BYTES = 4096
_MOST_HEADERS = 64
_LONGEST_BODY_BYTES = 64 * 1024
_END_SECONDS = 1.0
_BACKLOG = 64

_log = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether an error is the server's; what clients do wrong is not worth a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_log.addFilter(_is_ours)


class AddressTakenError(PydsrError):
    """Something else listens there."""


async def serve(app: web.Application, listen: Listen) -> None:
    """Serve an application until cancelled; connections are closed then.

    At a loopback address only requests for that are answered: a page from elsewhere whose name
    suddenly means 127.0.0.1 (DNS rebinding) learns nothing.

    Args:
        app: that was not served before; it is not used again either.
        listen: where.

    Raises:
        AddressTakenError: something else listens there.
        PermissionDeniedError: not privileged to listen there.
        EnvironmentCannotError: this machine has no such address, or the system refuses otherwise.
    """
    app.on_response_prepare.append(_without_banner)
    if listen.is_local:
        app.middlewares.append(_only_for_this_machine)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_log,
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=_END_SECONDS,
        shutdown_timeout=_END_SECONDS,
        max_line_size=_LONGEST_LINE_BYTES,
        max_field_size=_LONGEST_LINE_BYTES,
        max_headers=_MOST_HEADERS,
    )
    with _listening(listen) as sock:
        await runner.setup()
        try:
            server = await _started(runner, sock)
            async with server:
                _log.info("listening at %s", listen)
                await server.serve_forever()
        finally:
            await runner.cleanup()


def new_application() -> web.Application:
    """Return an application that takes no large bodies."""
    return web.Application(client_max_size=_LONGEST_BODY_BYTES)


async def _started(runner: web.AppRunner, sock: socket.socket) -> asyncio.Server:
    accept = cast("web.Server", runner.server)

    def connected() -> asyncio.Protocol:
        return _Refusal() if len(accept.connections) >= MOST_CONNECTIONS else accept()

    loop = asyncio.get_running_loop()
    return await loop.create_server(connected, sock=sock, backlog=_BACKLOG)


class _Refusal(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).abort()


def _listening(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if listen.address.version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: one whose client takes nothing ends.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, IDLE_SECONDS * 1000)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((str(listen.address), listen.port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _in_words(error, listen) from None
    return made


def _in_words(error: OSError, listen: Listen) -> PydsrError:
    if error.errno == errno.EADDRINUSE:
        return AddressTakenError(
            f"something else listens at {listen}",
            f"choose another port, or see what it is: ss -ltnp 'sport = :{listen.port}'",
        )
    if isinstance(error, PermissionError):
        return PermissionDeniedError(
            f"listening at {listen} is not permitted",
            "choose a port from 1024 on, or run with CAP_NET_BIND_SERVICE",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return EnvironmentCannotError(
            f"{listen.address} is no address of this machine", "`ip address` lists those there are"
        )
    return EnvironmentCannotError(f"cannot listen at {listen}: {error.strerror}")


def names_this_machine(host: str) -> bool:
    """Return whether a Host header names a loopback address, or localhost."""
    name = re.sub(r":[0-9]*$", "", host)
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


@web.middleware
async def _only_for_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not names_this_machine(request.headers.get("Host", "")):
        raise web.HTTPMisdirectedRequest(
            text="This listens at a loopback address; ask for it by that, or as localhost.\n"
        )
    return await handler(request)


async def _without_banner(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
