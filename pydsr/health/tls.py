"""Whom a check by TLS trusts, and the sessions that it takes up again.

A handshake that takes up a session (RFC 8446, section 2.2) costs a fraction of a whole one, for
both ends; HAProxy's checks do the same. But the server shows no certificate in it. So a session
serves for a minute at most: what has become of the certificate is seen after that.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pydsr.health.targets import Target

SESSION_SECONDS = 60.0
"""How long after a whole handshake its session serves."""


@dataclass(frozen=True)
class Session:
    """What a whole handshake has led to.

    Attributes:
        state: what the next handshake takes up: a server may give another each time.
        begun: when the whole handshake was, in seconds of the caller's clock.
        certificate_ends: of the certificate that was shown then, in seconds since the epoch; None
            where it was not verified.
    """

    state: ssl.SSLSession | None
    begun: float
    certificate_ends: int | None


@dataclass(frozen=True)
class TlsClient:
    """One way to trust, with the sessions of those that were trusted so.

    Attributes:
        context: for connections.
    """

    context: ssl.SSLContext
    _sessions: dict[tuple[Target, str], Session] = field(default_factory=dict)

    def session(self, target: Target, name: str, now: float) -> Session | None:
        """Return what may be taken up; None where a whole handshake is due.

        Args:
            target: what is asked.
            name: that it was asked for.
            now: seconds of the caller's clock.
        """
        found = self._sessions.get((target, name))
        return found if found is not None and found.begun + SESSION_SECONDS > now else None

    def forget(self, target: Target, name: str) -> None:
        """Have the next handshake be a whole one, as TLS has failed."""
        self._sessions.pop((target, name), None)

    def keep(self, target: Target, name: str, session: Session, now: float) -> None:
        """Keep a session for the next check, and forget those that nobody asks for any more."""
        self._sessions[target, name] = session
        if session.begun == now:
            old = [
                key for key, held in self._sessions.items() if held.begun + SESSION_SECONDS <= now
            ]
            for key in old:
                del self._sessions[key]


def tls_client(verify: bool, ca_file: str | None) -> TlsClient:
    """Return the client for a check.

    Args:
        verify: whether certificates must be valid and trusted.
        ca_file: of the authorities to trust (PEM); None is those of the system.

    Raises:
        OSError: the file cannot be read, or has no certificates.
    """
    # A file that was renewed makes another client, which trusts by what it says now.
    changed = Path(ca_file).stat().st_mtime_ns if ca_file else 0
    return _client(verify, ca_file, changed)


@lru_cache(maxsize=64)
def _client(verify: bool, ca_file: str | None, _changed: int) -> TlsClient:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return TlsClient(context)
