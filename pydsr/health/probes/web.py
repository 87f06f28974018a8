"""HTTP and HTTPS: a request is answered with the right status and body."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

import h11

from pydsr.health.attempt import Attempt
from pydsr.health.models import HttpCheck, HttpsCheck, WebCheck
from pydsr.health.outcome import Outcome, Result
from pydsr.health.streams import PlainStream, Stream, TlsStream, ended
from pydsr.health.validation import host_name

MAX_BODY = 64 * 1024
"""How much of a body is looked at, in bytes."""

_USER_AGENT = b"pydsr"
_DAY = 24 * 3600


async def probe_http(check: HttpCheck, attempt: Attempt) -> Result:
    """Ask for a page.

    Raises:
        OSError: there is no answer to be had.
    """
    return await _ask(check, attempt, PlainStream(await attempt.connect()))


async def probe_https(check: HttpsCheck, attempt: Attempt) -> Result:
    """Ask for a page over TLS, and look at the certificate.

    Raises:
        OSError: there is no answer to be had.
    """
    try:
        context = _context(check.verify, check.ca_file)
    except OSError as error:
        reason = error.strerror or str(error)
        return Result(Outcome.BAD_CERTIFICATE, f"ca-file {check.ca_file}: {reason}")
    try:
        connection = await attempt.connect()
        name = check.sni or host_name(_host(check, attempt))
        stream = TlsStream(connection, context, name)
        certificate = await stream.greet()
        ends = certificate_end(certificate)
        warning = expiry_warning(ends, check.certificate_days, time.time())
        result = await _ask(check, attempt, stream)
    except ssl.SSLCertVerificationError as error:
        return _bad_certificate(attempt, error.verify_message)
    except ssl.SSLEOFError:
        raise ended() from None
    except ssl.SSLError as error:
        # Its errno is one of OpenSSL's. A server that wants a certificate says so here, or, with
        # TLS 1.3, in place of its answer.
        return _bad_certificate(attempt, f"no TLS: {error.reason or error}")
    warnings = (f"{attempt.target}: {warning}",) if warning else ()
    return replace(result, warnings=warnings, certificate_ends=ends)


def certificate_end(certificate: dict[str, Any]) -> int | None:
    """Return when a certificate ends, in seconds since the epoch; None where that is not known.

    Args:
        certificate: as ``SSLSocket.getpeercert`` has it; empty where it was not verified.
    """
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None


def expiry_warning(ends: int | None, days: int, now: float) -> str:
    """Return what is to be said of a certificate that ends soon; empty where nothing is.

    Args:
        ends: when, in seconds since the epoch; None where it is not known.
        days: how early to warn; 0 is never.
        now: seconds since the epoch.
    """
    if not days or ends is None:
        return ""
    left = (ends - now) / _DAY
    return f"the certificate ends in {left:.1f} days" if left < days else ""


@lru_cache(maxsize=64)
def _context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _bad_certificate(attempt: Attempt, reason: str) -> Result:
    return Result(
        Outcome.BAD_CERTIFICATE,
        f"{attempt.target}: {reason}",
        "sni names what the certificate is for, ca-file who has signed it; `verify: false` takes "
        "any",
    )


def _host(check: WebCheck, attempt: Attempt) -> str:
    vip = attempt.target.vip
    return check.host or (f"[{vip}]" if vip.version == 6 else str(vip))


@lru_cache(maxsize=1024)
def _request(method: str, path: str, host: str) -> h11.Request:
    """Return a request, whose headers h11 looks at but once: that takes as long as an answer's."""
    headers = [
        (b"Host", host.encode()),
        (b"User-Agent", _USER_AGENT),
        (b"Accept", b"*/*"),
        (b"Connection", b"close"),
    ]
    return h11.Request(method=method, target=path, headers=headers)


async def _ask(check: WebCheck, attempt: Attempt, stream: Stream) -> Result:
    http = h11.Connection(h11.CLIENT)
    request = _request(check.method, check.path, _host(check, attempt))
    await stream.send((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    try:
        return await _answer(check, attempt, http, stream)
    except h11.RemoteProtocolError as error:
        return Result(Outcome.WRONG_ANSWER, f"{attempt.target} answers no HTTP: {error}")


async def _answer(
    check: WebCheck, attempt: Attempt, http: h11.Connection, stream: Stream
) -> Result:
    body, is_heard = b"", False
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await stream.receive()
            if not data and not is_heard:
                raise ended()
            is_heard = True
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            if not check.accepts(event.status_code):
                return Result(
                    Outcome.WRONG_ANSWER,
                    f"{attempt.target} answers status {event.status_code} for {check.path}",
                    "the server's log on the backend may say why",
                )
            if check.body is None:
                return Result.good()
        elif isinstance(event, h11.Data):
            body += event.data
        if isinstance(event, h11.EndOfMessage) or len(body) >= MAX_BODY:
            return _judge_body(check, attempt, body[:MAX_BODY])


def _judge_body(check: WebCheck, attempt: Attempt, body: bytes) -> Result:
    if check.body is None or re.search(check.body, body.decode(errors="replace")):
        return Result.good()
    return Result(
        Outcome.WRONG_ANSWER, f"{attempt.target}: {check.body!r} is not in the body of {check.path}"
    )
