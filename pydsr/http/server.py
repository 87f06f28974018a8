"""Serve an aiohttp application at one address, protected against hostile clients and pages."""

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

CONNECTIONS_MAX = 64
"""Clients at once; more could use up the file descriptors that health checks need."""

IDLE_SECONDS = 30
"""How long a client may take to send a whole request, or to accept an answer."""

PAGE_HEADERS = {
    # The page loads only its own files, contains no inline code, and may not be framed.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent with every answer of the status page, including refusals."""

_OTHER_SITES = ("cross-site", "same-site")
_LINE_BYTES_MAX = 4096
_HEADERS_MAX = 64
_BODY_BYTES_MAX = 64 * 1024
_SHUTDOWN_SECONDS = 1.0
_BACKLOG = 64

_log = logging.getLogger(__name__)


def _is_our_error(record: logging.LogRecord) -> bool:
    """Return whether an error is the server's; malformed requests need no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_log.addFilter(_is_our_error)


class AddressTakenError(PydsrError):
    """Another process listens at the address."""


def new_application() -> web.Application:
    """Return an application that accepts no large bodies."""
    return web.Application(client_max_size=_BODY_BYTES_MAX)


def protect_page(app: web.Application, listen: Listen) -> None:
    """Add the headers, and refuse requests that pages of other sites make."""
    app.on_response_prepare.append(_add_headers)
    app.middlewares.append(_refuse_other_sites)
    # At a loopback address, serve() has a stricter rule.
    if not listen.is_local:
        app.middlewares.append(_only_by_own_name)


async def serve(app: web.Application, listen: Listen) -> None:
    """Serve an application until cancelled, then close all connections.

    At a loopback address, the Host header must name one. Otherwise a page from elsewhere whose name
    suddenly resolves to 127.0.0.1 (DNS rebinding) could read the answers.

    Args:
        app: used only once.
        listen: where to serve it.

    Raises:
        AddressTakenError: another process listens there.
        PermissionDeniedError: not privileged to listen there.
        EnvironmentCannotError: the host does not have the address, or the system refuses otherwise.
    """
    app.on_response_prepare.append(_remove_banner)
    if listen.is_local:
        app.middlewares.append(_only_by_loopback)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_log,
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=_SHUTDOWN_SECONDS,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        max_line_size=_LINE_BYTES_MAX,
        max_field_size=_LINE_BYTES_MAX,
        max_headers=_HEADERS_MAX,
    )
    with _listening_socket(listen) as sock:
        await runner.setup()
        try:
            server = await _start(runner, sock)
            _log.info("listening at %s", listen)
            try:
                # Not serve_forever(): it waits for clients since Python 3.12, and a page stays
                # connected until the clean-up below.
                await asyncio.get_running_loop().create_future()
            finally:
                server.close()
        finally:
            await runner.cleanup()


async def _start(runner: web.AppRunner, sock: socket.socket) -> asyncio.Server:
    accept = cast("web.Server", runner.server)

    def connected() -> asyncio.Protocol:
        return _Refusal() if len(accept.connections) >= CONNECTIONS_MAX else accept()

    loop = asyncio.get_running_loop()
    return await loop.create_server(connected, sock=sock, backlog=_BACKLOG)


class _Refusal(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).abort()


def _listening_socket(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if listen.address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: one whose client acknowledges nothing ends.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, IDLE_SECONDS * 1000)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((str(listen.address), listen.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _listen_error(error, listen) from None
    return sock


def _listen_error(error: OSError, listen: Listen) -> PydsrError:
    if error.errno == errno.EADDRINUSE:
        return AddressTakenError(
            f"another process listens at {listen}",
            f"choose another port, or find the process: ss -ltnp 'sport = :{listen.port}'",
        )
    if isinstance(error, PermissionError):
        return PermissionDeniedError(
            f"listening at {listen} is not permitted",
            "choose a port from 1024 on, or run with CAP_NET_BIND_SERVICE",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return EnvironmentCannotError(
            f"this host does not have the address {listen.address}",
            "list its addresses with `ip address`",
        )
    return EnvironmentCannotError(f"cannot listen at {listen}: {error.strerror}")


# Host headers and sites


def _host_name(header: str) -> str:
    return re.sub(r":[0-9]*$", "", header).lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_loopback_name(header: str) -> bool:
    """Return whether a Host header names a loopback address or localhost."""
    name = _host_name(header)
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def is_own_name(header: str, hostname: str) -> bool:
    """Return whether a Host header is an IP address, localhost or this host's name.

    An attacker's name that resolves to this host (DNS rebinding) is none of these.
    """
    name = _host_name(header)
    return name in ("localhost", hostname.lower()) or _address(name) is not None


@web.middleware
async def _only_by_loopback(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not is_loopback_name(request.headers.get("Host", "")):
        raise web.HTTPMisdirectedRequest(
            text="This server listens at a loopback address: use that or localhost.\n"
        )
    return await handler(request)


@web.middleware
async def _only_by_own_name(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not is_own_name(request.headers.get("Host", ""), socket.gethostname()):
        raise web.HTTPMisdirectedRequest(text="Use this host's address or name.\n")
    return await handler(request)


@web.middleware
async def _refuse_other_sites(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests by scripts and tags of other sites; links to the page may be followed."""
    site = request.headers.get("Sec-Fetch-Site", "")
    if site in _OTHER_SITES and request.headers.get("Sec-Fetch-Mode") != "navigate":
        raise web.HTTPForbidden(text="Only the status page itself may ask for this.\n")
    return await handler(request)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(PAGE_HEADERS)


async def _remove_banner(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
