"""What a configuration file can say of checks, and what it is told where it says wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pydsr.model.checks import Check, HttpCheck, HttpsCheck, UdpCheck

CHECKS: TypeAdapter[Check] = TypeAdapter(Check)

LEAST: dict[str, dict[str, Any]] = {
    "tcp": {},
    "http": {},
    "https": {},
    "dns": {"name": "www.example"},
    "udp": {"send": "ping"},
    "icmp": {},
    "command": {"argv": ["/bin/true"]},
    "agent": {"port": 9999},
}


@pytest.mark.parametrize("kind", LEAST)
def test_little_has_to_be_said(kind: str) -> None:
    check = CHECKS.validate_python({"type": kind, **LEAST[kind]})
    assert kind == check.type
    times = check.interval, check.fast_interval, check.jitter, check.timeout
    assert ((2, 1, 0.1, 1), (2, 3)) == (times, (check.rise, check.fall))
    assert check == CHECKS.validate_python(check.model_dump(by_alias=True))
    assert 1 == len({check, CHECKS.validate_python({"type": kind, **LEAST[kind]})})


@pytest.mark.parametrize("kind", [kind for kind in LEAST if LEAST[kind]])
def test_what_has_no_default_has_to_be_said(kind: str) -> None:
    with pytest.raises(ValidationError):
        CHECKS.validate_python({"type": kind})


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ({"type": "telnet"}, (), "'telnet'"),
        ({}, (), "discriminator 'type'"),
        ({"type": "tcp", "intervall": 2}, ("tcp", "intervall"), "not permitted"),
        ({"type": "tcp", "interval": "2"}, ("tcp", "interval"), "valid number"),
        ({"type": "tcp", "interval": 0}, ("tcp", "interval"), "greater than 0"),
        ({"type": "tcp", "timeout": 3}, ("tcp",), "timeout 3 is above interval 2"),
        ({"type": "tcp", "fast": 3}, ("tcp",), "fast 3 is above interval 2"),
        ({"type": "tcp", "port": 0}, ("tcp", "port"), "greater than or equal to 1"),
        ({"type": "tcp", "fall": 0}, ("tcp", "fall"), "greater than or equal to 1"),
        ({"type": "http", "body": "("}, ("http", "body"), "not a regular expression"),
        ({"type": "http", "path": "x"}, ("http", "path"), "must begin with /"),
        ({"type": "http", "path": "/a b"}, ("http", "path"), "have no spaces"),
        ({"type": "http", "host": "a\r\nb"}, ("http", "host"), "not a host name"),
        ({"type": "http", "status": [99]}, ("http", "status", 0), "a class such as 2xx"),
        ({"type": "http", "status": []}, ("http", "status"), "at least one entry"),
        ({"type": "http", "verify": False}, ("http", "verify"), "not permitted"),
        ({"type": "dns", "name": "a..b"}, ("dns", "name"), "not a DNS name"),
        ({"type": "dns", "name": "a", "record": "1"}, ("dns", "record"), "record type"),
        ({"type": "dns", "name": "a", "rcode": "OK"}, ("dns", "rcode"), "a response code"),
        ({"type": "udp"}, ("udp",), "needs one of send and send-hex"),
        ({"type": "udp", "send-hex": "0g"}, ("udp", "send-hex"), "in hexadecimal"),
        ({"type": "command", "argv": []}, ("command", "argv"), "at least one entry"),
        ({"type": "command", "argv": ["a\0"]}, ("command", "argv", 0), "NUL"),
        ({"type": "https", "sni": "a..b"}, ("https", "sni"), "not a host name"),
        ({"type": "https", "host": ":443"}, ("https", "host"), "not a host name"),
    ],
)
def test_what_is_wrong_is_said_of_its_key(
    settings: dict[str, Any], place: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        CHECKS.validate_python(settings)
    (error,) = raised.value.errors()
    assert place == error["loc"]
    assert message in error["msg"]


def test_fast_checks_leave_room_for_the_timeout() -> None:
    check = CHECKS.validate_python({"type": "tcp", "interval": 4, "timeout": 3})
    assert 3 == check.fast_interval


def test_statuses_are_numbers_and_classes() -> None:
    check = CHECKS.validate_python({"type": "http", "status": [204, "3xx"]})
    assert isinstance(check, HttpCheck)
    assert [204, 301] == [status for status in (200, 204, 301, 404) if check.accepts(status)]


def test_https_has_what_http_has() -> None:
    assert set(HttpCheck.model_fields) <= set(HttpsCheck.model_fields)


def test_payloads_are_text_or_hexadecimal() -> None:
    for settings in ({"send": "é"}, {"send-hex": "c3a9"}):
        check = CHECKS.validate_python({"type": "udp", **settings})
        assert isinstance(check, UdpCheck)
        assert b"\xc3\xa9" == check.payload


def test_editors_are_told_which_checks_there_are() -> None:
    schema = CHECKS.json_schema(by_alias=True)
    assert set(LEAST) == set(schema["discriminator"]["mapping"])
    https = schema["$defs"]["HttpsCheck"]["properties"]
    assert "expires in fewer days" in https["certificate-days"]["description"]
