"""What keeps the status page from those who mean it no good, and their pages from its readers."""

from __future__ import annotations

import ipaddress
import re
import socket

from aiohttp import web
from aiohttp.typedefs import Handler

from pydsr.model.listen import Listen

HEADERS = {
    # All of the page comes from here, nothing is written into it, and nothing may frame it.
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
"""Sent with every answer, those that refuse included."""

_OTHER_SITES = ("cross-site", "same-site")


def harden(app: web.Application, listen: Listen) -> None:
    """Have an application send the headers, and refuse what other sites ask it for.

    Args:
        app: that only reads.
        listen: where it is to be served. At a loopback address what serves it refuses names of
            other machines; elsewhere this does.
    """
    app.on_response_prepare.append(_add_headers)
    app.middlewares.append(_refuse_other_sites)
    if not listen.is_local:
        app.middlewares.append(_refuse_other_names)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


@web.middleware
async def _refuse_other_sites(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what scripts and tags of other sites ask for; a link to the page may be followed."""
    site = request.headers.get("Sec-Fetch-Site", "")
    if site in _OTHER_SITES and request.headers.get("Sec-Fetch-Mode") != "navigate":
        raise web.HTTPForbidden(text="This is for its own page.\n")
    return await handler(request)


def is_own_name(host: str, own: str) -> bool:
    """Return whether a Host header is an address, localhost or this machine's name.

    Whoever lets the name of a site of theirs mean this machine (DNS rebinding) has none of these.

    Args:
        host: the header.
        own: this machine's name.
    """
    name = re.sub(r":[0-9]*$", "", host).lower()
    if name in ("localhost", own.lower()):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


@web.middleware
async def _refuse_other_names(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not is_own_name(request.headers.get("Host", ""), socket.gethostname()):
        raise web.HTTPMisdirectedRequest(text="Ask for it by this machine's address or name.\n")
    return await handler(request)
