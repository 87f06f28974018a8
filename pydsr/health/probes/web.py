"""HTTP and HTTPS: a request is answered with the right status and body."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import replace
from typing import Any

from pydsr.health.attempt import Attempt
from pydsr.health.http import Answer, NoHttpError, request
from pydsr.health.streams import PlainStream, Stream, TlsStream, ended
from pydsr.health.tls import Session, tls_client
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.check_values import host_name
from pydsr.model.checks import HttpCheck, HttpsCheck, WebCheck

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
        client = tls_client(check.verify, check.ca_file)
    except OSError as error:
        reason = error.strerror or str(error)
        return Result(Outcome.BAD_CERTIFICATE, f"ca-file {check.ca_file}: {reason}")
    name = check.sni or host_name(_host(check, attempt))
    now = time.monotonic()
    held = client.session(attempt.target, name, now)
    state = None if held is None else held.state
    try:
        stream = TlsStream(await attempt.connect(), client.context, name, state)
        await stream.greet()
        if held is None or not stream.is_resumed:
            held = Session(None, now, certificate_end(stream.certificate()))
        result = await _ask(check, attempt, stream)
    except ssl.SSLCertVerificationError as error:
        return _bad_certificate(attempt, error.verify_message)
    except ssl.SSLEOFError:
        raise ended() from None
    except ssl.SSLError as error:
        # Its errno is one of OpenSSL's. A server that wants a certificate says so here, or, with
        # TLS 1.3, in place of its answer.
        client.forget(attempt.target, name)
        return _bad_certificate(attempt, f"no TLS: {error.reason or error}")
    client.keep(attempt.target, name, replace(held, state=stream.session), now)
    warning = expiry_warning(held.certificate_ends, check.certificate_days, time.time())
    warnings = (f"{attempt.target}: {warning}",) if warning else ()
    return replace(result, warnings=warnings, certificate_ends=held.certificate_ends)


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


async def _ask(check: WebCheck, attempt: Attempt, stream: Stream) -> Result:
    await stream.send(request(check.method, check.path, _host(check, attempt)))
    answer, data = Answer(), await stream.receive()
    if not data:
        raise ended()
    try:
        answer.feed(data)
        while not _is_enough(check, answer):
            answer.feed(await stream.receive())
    except NoHttpError as error:
        return Result(Outcome.WRONG_ANSWER, f"{attempt.target} answers no HTTP: {error}")
    return _judge(check, attempt, answer)


def _is_enough(check: WebCheck, answer: Answer) -> bool:
    is_body_asked = check.body is not None and check.accepts(answer.status)
    return answer.is_over or (answer.status > 0 and not is_body_asked)


def _judge(check: WebCheck, attempt: Attempt, answer: Answer) -> Result:
    if not check.accepts(answer.status):
        return Result(
            Outcome.WRONG_ANSWER,
            f"{attempt.target} answers status {answer.status} for {check.path}",
            "the server's log on the backend may say why",
        )
    if check.body is None or re.search(check.body, answer.body.decode(errors="replace")):
        return PASSED
    return Result(
        Outcome.WRONG_ANSWER, f"{attempt.target}: {check.body!r} is not in the body of {check.path}"
    )
