"""HTTP requests over TLS, which resume earlier sessions.

A resumed handshake (RFC 8446, section 2.2) costs both ends half of a full one, which is why
HAProxy's checks resume too. But the server shows no certificate in it. So a session is used for at
most a minute, after which a full handshake checks the certificate again.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydsr.health.attempt import Attempt
from pydsr.health.probes.http import host_header, request_page
from pydsr.health.sockets import PlainStream, PolledSocket, connection_ended
from pydsr.health.targets import CheckTarget
from pydsr.model.check_result import Outcome, Result
from pydsr.model.check_values import host_name
from pydsr.model.checks import HttpsCheck

SESSION_SECONDS = 60.0
"""Seconds for which a session is used after its full handshake."""

_DAY = 24 * 3600
_CHUNK = 16384
_T = TypeVar("_T")


async def probe_https(check: HttpsCheck, attempt: Attempt) -> Result:
    """Request a page over TLS, and check the certificate."""
    try:
        client = tls_client(check.verify, check.ca_file)
    except OSError as error:
        reason = error.strerror or str(error)
        return Result(Outcome.BAD_CERTIFICATE, f"ca-file {check.ca_file}: {reason}")
    name = check.sni or host_name(host_header(check, attempt))
    now = time.monotonic()
    session = client.session(attempt.target, name, now)
    state = None if session is None else session.state
    try:
        stream = TlsStream(await attempt.connect(), client.context, name, state)
        await stream.handshake()
        if session is None or not stream.is_resumed:
            session = Session(None, now, certificate_end(stream.certificate()))
        result = await request_page(check, attempt, stream)
    except ssl.SSLCertVerificationError as error:
        return _bad_certificate(attempt, error.verify_message)
    except ssl.SSLEOFError:
        raise connection_ended() from None
    except ssl.SSLError as error:
        # Its errno is OpenSSL's. A server that wants a client certificate says so here; with
        # TLS 1.3, instead of its answer.
        client.forget(attempt.target, name)
        return _bad_certificate(attempt, f"no TLS: {error.reason or error}")
    client.keep(attempt.target, name, replace(session, state=stream.session), now)
    warning = expiry_warning(session.certificate_ends, check.certificate_days, time.time())
    warnings = (f"{attempt.target}: {warning}",) if warning else ()
    return replace(result, warnings=warnings, certificate_ends=session.certificate_ends)


def certificate_end(certificate: dict[str, object]) -> int | None:
    """Return when a certificate (``getpeercert``) expires, in seconds since the epoch; or None."""
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if certificate else None


def expiry_warning(ends: int | None, days: int, now: float) -> str:
    """Return a warning if a certificate expires in fewer days; 0 is never. Else empty."""
    if not days or ends is None:
        return ""
    left = (ends - now) / _DAY
    return f"the certificate expires in {left:.1f} days" if left < days else ""


def _bad_certificate(attempt: Attempt, reason: str) -> Result:
    return Result(
        Outcome.BAD_CERTIFICATE,
        f"{attempt.target}: {reason}",
        "sni is the name that the certificate must have, ca-file who signed it; `verify: false` "
        "accepts any",
    )


@dataclass(frozen=True)
class Session:
    """A session, and the certificate of its full handshake.

    Attributes:
        state: to resume; a server may give another one each time.
        begun: when the full handshake was, in seconds of the caller's clock.
        certificate_ends: when the certificate expires, in seconds since the epoch; None if it was
            not verified.
    """

    state: ssl.SSLSession | None
    begun: float
    certificate_ends: int | None


@dataclass(frozen=True)
class TlsClient:
    """A TLS context with its trusted authorities, and the sessions begun with it."""

    context: ssl.SSLContext
    _sessions: dict[tuple[CheckTarget, str], Session] = field(default_factory=dict)

    def session(self, target: CheckTarget, name: str, now: float) -> Session | None:
        """Return the session to resume; None if a full handshake is due."""
        session = self._sessions.get((target, name))
        return session if session is not None and session.begun + SESSION_SECONDS > now else None

    def forget(self, target: CheckTarget, name: str) -> None:
        """Forget the session after a TLS failure: the next handshake is a full one."""
        self._sessions.pop((target, name), None)

    def keep(self, target: CheckTarget, name: str, session: Session, now: float) -> None:
        """Keep a session for the next check, and drop sessions that are too old."""
        self._sessions[target, name] = session
        if session.begun == now:
            oldest = now - SESSION_SECONDS
            for key in [key for key, kept in self._sessions.items() if kept.begun <= oldest]:
                del self._sessions[key]


def tls_client(verify: bool, ca_file: str | None) -> TlsClient:
    """Return the TLS client of checks with these options.

    Raises:
        OSError: the file cannot be read, or has no certificates.
    """
    # A changed file needs a new client.
    changed = Path(ca_file).stat().st_mtime_ns if ca_file else 0
    return _client(verify, ca_file, changed)


@lru_cache(maxsize=64)
def _client(verify: bool, ca_file: str | None, _changed: int) -> TlsClient:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return TlsClient(context)


class TlsStream:
    """A TLS connection (see "Memory BIO Support" of Python's ``ssl``)."""

    def __init__(
        self,
        connection: PolledSocket,
        context: ssl.SSLContext,
        name: str,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._plain = PlainStream(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=name, session=session
        )

    async def handshake(self) -> None:
        """Do the handshake, which resumes the session if the server agrees.

        Raises:
            ssl.SSLError: the certificate is not trusted, or this is not TLS.
        """
        await self._until_done(self._tls.do_handshake)

    @property
    def is_resumed(self) -> bool:
        """Whether the handshake has resumed a session, so that there was no certificate."""
        return bool(self._tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session to resume later; with TLS 1.3, there is one after the first answer."""
        return self._tls.session

    def certificate(self) -> dict[str, object]:
        """Return the certificate as ``SSLObject.getpeercert`` does; empty if not verified."""
        return dict(self._tls.getpeercert() or {})

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._until_done(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        """Return the next bytes; empty at the end."""
        try:
            return await self._until_done(lambda: self._tls.read(_CHUNK))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def _until_done(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._plain.receive()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._plain.send(self._outgoing.read())
