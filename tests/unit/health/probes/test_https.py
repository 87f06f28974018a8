"""Sessions of TLS: whose, and for how long."""

from __future__ import annotations

import ssl
from ipaddress import ip_address

from pydsr.health.probes.https import SESSION_SECONDS, Session, TlsClient
from pydsr.health.targets import CheckTarget, Route

FIRST, SECOND = (
    CheckTarget(ip_address("192.0.2.80"), 443, Route(ip_address(backend), 2))
    for backend in ("192.0.2.11", "192.0.2.12")
)


def made() -> TlsClient:
    """Return a client without sessions."""
    return TlsClient(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def test_a_session_is_for_one_backend_name_and_minute() -> None:
    client, session = made(), Session(None, begun=100.0, certificate_ends=7)
    client.keep(FIRST, "www.example", session, 100.0)
    assert session == client.session(FIRST, "www.example", 100.0 + SESSION_SECONDS - 1)
    assert client.session(FIRST, "www.example", 100.0 + SESSION_SECONDS) is None
    assert client.session(FIRST, "other.example", 101.0) is None
    assert client.session(SECOND, "www.example", 101.0) is None


def test_after_a_tls_failure_the_handshake_is_a_full_one() -> None:
    client = made()
    client.keep(FIRST, "www.example", Session(None, 100.0, None), 100.0)
    client.forget(FIRST, "www.example")
    client.forget(FIRST, "www.example")
    assert client.session(FIRST, "www.example", 101.0) is None


def test_sessions_of_backends_that_are_gone_are_not_kept() -> None:
    client = made()
    client.keep(FIRST, "www.example", Session(None, 100.0, None), 100.0)
    later = 100.0 + SESSION_SECONDS
    client.keep(SECOND, "www.example", Session(None, later, None), later)
    assert client.session(FIRST, "www.example", 101.0) is None
    assert client.session(SECOND, "www.example", later) is not None
