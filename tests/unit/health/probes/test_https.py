"""Sessions of TLS: whose, and for how long."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.health.probes.https import (
    SESSION_SECONDS,
    Session,
    TlsClient,
    expiry_warning,
    tls_client,
)
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


def test_a_session_is_used_for_a_minute_after_its_full_handshake() -> None:
    """Also if it was kept again by resumed ones meanwhile."""
    client = made()
    session = Session(None, 100.0, None)
    for now in (100.0, 130.0, 159.0):
        client.keep(FIRST, "www.example", session, now)
    assert 60.0 == SESSION_SECONDS
    assert session == client.session(FIRST, "www.example", 159.999)
    assert client.session(FIRST, "www.example", 160.0) is None


def test_only_sessions_that_are_too_old_are_dropped() -> None:
    client = made()
    client.keep(FIRST, "www.example", Session(None, 100.0, None), 100.0)
    client.keep(SECOND, "www.example", Session(None, 159.9, None), 159.9)
    assert client.session(FIRST, "www.example", 159.9) is not None
    client.keep(SECOND, "other.example", Session(None, 160.0, None), 160.0)
    assert {(SECOND, "www.example"), (SECOND, "other.example")} == client._sessions.keys()


@pytest.mark.parametrize(
    ("left", "days", "is_warned"),
    [(29.99, 30, True), (30.0, 30, False), (1.0, 0, False), (-1.0, 30, True)],
)
def test_an_expiry_is_warned_of_when_fewer_days_are_left(
    left: float, days: int, is_warned: bool
) -> None:
    """Never for 0 days, nor for a certificate that was not verified."""
    now = 1_900_000_000.0
    assert is_warned == bool(expiry_warning(int(now + left * 86400), days, now))
    assert "" == expiry_warning(None, days, now)


def test_a_changed_authority_begins_new_sessions(tmp_path: Path) -> None:
    """A missing or empty file is an error of the check."""
    authority = tmp_path / "ca.crt"
    with pytest.raises(FileNotFoundError):
        tls_client(True, str(authority))
    authority.write_text("no certificate")
    with pytest.raises(OSError, match="NO_CERTIFICATE"):
        tls_client(True, str(authority))
    assert tls_client(True, None) is tls_client(True, None)
    unverified = tls_client(False, None)
    assert unverified is not tls_client(True, None)
    assert (ssl.CERT_NONE, False) == (
        unverified.context.verify_mode,
        unverified.context.check_hostname,
    )
    assert ssl.CERT_REQUIRED == tls_client(True, None).context.verify_mode
