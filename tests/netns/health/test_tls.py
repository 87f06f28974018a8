"""Certificates: what is wrong with them, and what soon will be."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pydsr.model.check_result import Outcome
from tests.support.netns.checked_host import Checked, made_check, needs
from tests.support.netns.namespaces import Host, eventually

TLS = """
ssl_protocols {protocols};
listen 443 ssl;
ssl_certificate {directory}/{name}.crt;
ssl_certificate_key {directory}/{name}.key;
"""

PROTOCOLS = ["TLSv1.2", "TLSv1.3"]

_AUTHORITY = """
[ca]
default_ca = own
[own]
database = {directory}/index
new_certs_dir = {directory}
default_md = sha256
policy = any
rand_serial = yes
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


def tls(directory: Path, name: str, *protocols: str) -> str:
    """Return the lines of a server that has a certificate."""
    return TLS.format(directory=directory, name=name, protocols=" ".join(protocols or PROTOCOLS))


def make_certificate(directory: Path, name: str, days: int) -> None:
    """Make a self-signed certificate of www.example that ends so many days from now.

    By ``openssl ca``, as other commands of OpenSSL have come to refuse an end that is past.
    """
    needs("openssl")
    key, request, certificate = (str(directory / f"{name}.{end}") for end in ("key", "csr", "crt"))
    configuration = directory / "ca.conf"
    configuration.write_text(_AUTHORITY.format(directory=directory))
    (directory / "index").touch()
    end = datetime.now(UTC) + timedelta(days=days)
    dates = [f"{one:%Y%m%d%H%M%SZ}" for one in (end - timedelta(days=365), end)]
    asked = ["-subj", "/CN=www.example", "-addext", "subjectAltName=DNS:www.example"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key]
    signed = ["-config", str(configuration), "-keyfile", key, "-selfsign", "-batch", "-notext"]
    valid = ["-startdate", dates[0], "-enddate", dates[1]]
    for command in (
        ["req", "-new", *new_key, *asked, "-out", request],
        ["ca", *signed, *valid, "-in", request, "-out", certificate],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True, timeout=60)


@pytest.fixture
def checked(lb: Host, peer: Host) -> Checked:
    """A backend without a server, which has the VIP."""
    made = Checked(lb, peer)
    made.add_vip()
    return made


@pytest.fixture
def served(checked: Checked, tmp_path: Path) -> Iterator[str]:
    """The file of a certificate for 30 days, which the backend's web server has."""
    make_certificate(tmp_path, "good", 30)
    with checked.nginx(tmp_path, tls(tmp_path, "good")):
        yield str(tmp_path / "good.crt")


def test_a_certificate_is_verified_for_the_name_that_is_asked(
    checked: Checked, served: str
) -> None:
    trusted: dict[str, Any] = {"ca_file": served}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("", trusted | {"host": "www.example"}),
        ("", trusted | {"sni": "www.example", "host": "other.example"}),
        ("", trusted | {"host": "www.example:443", "body": "hello www.example"}),
        ("", {"verify": False}),
        ("Hostname mismatch", trusted | {"host": "other.example"}),
        ("IP address mismatch", trusted),
        ("self-signed certificate", {"host": "www.example"}),
        ("ca-file /nowhere: No such file", {"ca_file": "/nowhere"}),
    ]
    jobs = [checked.job(made_check("https", **settings), 443) for _, settings in cases]
    for (message, settings), result in zip(cases, checked.results(*jobs), strict=True):
        wanted = Outcome.BAD_CERTIFICATE if message else Outcome.PASSED
        assert wanted == result.outcome, settings
        assert message in result.message


def test_a_wrong_status_over_tls_is_a_wrong_answer(checked: Checked, served: str) -> None:
    settings = {"ca_file": served, "host": "www.example", "path": "/broken"}
    assert Outcome.WRONG_ANSWER == checked.result("https", 443, **settings).outcome


def test_the_end_of_a_certificate_is_a_warning(checked: Checked, served: str) -> None:
    settings = {"ca_file": served, "host": "www.example"}
    result = checked.result("https", 443, **settings, certificate_days=31)
    (warning,) = result.warnings
    assert "the certificate expires in 30.0 days" in warning
    assert 30 * 86400 == pytest.approx((result.certificate_ends or 0) - time.time(), abs=600)
    assert checked.result("https", 443, verify=False).certificate_ends is None
    assert () == checked.result("https", 443, **settings, certificate_days=29).warnings
    assert () == checked.result("https", 443, **settings, certificate_days=0).warnings


def test_an_expired_certificate_is_bad(checked: Checked, tmp_path: Path) -> None:
    make_certificate(tmp_path, "old", -1)
    with checked.nginx(tmp_path, tls(tmp_path, "old")):
        settings = {"ca_file": str(tmp_path / "old.crt"), "host": "www.example"}
        result = checked.result("https", 443, **settings)
    assert Outcome.BAD_CERTIFICATE == result.outcome
    assert "certificate has expired" in result.message


def test_a_server_without_tls_is_not_taken_for_a_bad_certificate(
    checked: Checked, tmp_path: Path
) -> None:
    with checked.nginx(tmp_path):
        result = checked.result("https")
    assert Outcome.BAD_CERTIFICATE == result.outcome
    assert "no TLS" in result.message


def test_a_server_that_wants_a_client_certificate_fails(checked: Checked, tmp_path: Path) -> None:
    make_certificate(tmp_path, "good", 30)
    files = ["-cert", str(tmp_path / "good.crt"), "-key", str(tmp_path / "good.key")]
    server = ["openssl", "s_server", "-quiet", "-www", "-port", "443", *files, "-Verify", "1"]
    with checked.backend.running(*server):
        assert eventually(lambda: checked.result("tcp", 443).passed)
        result = checked.result("https", 443, verify=False)
    assert Outcome.BAD_CERTIFICATE == result.outcome
    assert "CERTIFICATE_REQUIRED" in result.message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_is_resumed_until_the_certificate_is_due(
    checked: Checked, tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path, "good", 30)
    is_resumed = {
        "ca_file": str(tmp_path / "good.crt"),
        "host": "www.example",
        "path": "/session",
        "body": "^r$",
    }
    with checked.nginx(tmp_path, tls(tmp_path, "good", protocol)):
        assert Outcome.WRONG_ANSWER == checked.result("https", 443, **is_resumed).outcome
        results = [checked.result("https", 443, **is_resumed) for _ in range(3)]
        assert [True] * 3 == [one.passed for one in results]
        (ends,) = {one.certificate_ends for one in results}
        assert 30 * 86400 == pytest.approx((ends or 0) - time.time(), abs=600)
        monkeypatch.setattr("pydsr.health.probes.https.SESSION_SECONDS", 0.0)
        assert Outcome.WRONG_ANSWER == checked.result("https", 443, **is_resumed).outcome


def test_a_changed_certificate_and_authority_file_are_used_at_once(
    checked: Checked, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.crt"
    settings = {"ca_file": str(trusted), "host": "www.example"}
    for name in ("good", "other"):
        make_certificate(tmp_path, name, 30)
    trusted.write_bytes((tmp_path / "good.crt").read_bytes())
    with checked.nginx(tmp_path, tls(tmp_path, "good")):
        assert checked.result("https", 443, **settings).passed
    with checked.nginx(tmp_path, tls(tmp_path, "other")):
        assert Outcome.BAD_CERTIFICATE == checked.result("https", 443, **settings).outcome
        trusted.write_bytes((tmp_path / "other.crt").read_bytes())
        assert checked.result("https", 443, **settings).passed
