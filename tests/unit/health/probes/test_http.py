"""Answers of HTTP, read as they come, whatever a server sends."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pydsr.health.attempt import Attempt
from pydsr.health.probes.http import (
    MAX_ANSWER,
    MAX_BODY,
    Answer,
    NoHttpError,
    request,
    request_page,
)
from pydsr.health.targets import CheckTarget, Route
from pydsr.model.check_result import Result
from pydsr.model.checks import HttpCheck

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;extension=1\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"
)
WHOLE = {
    "of a length": b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    "in chunks": CHUNKED,
    "after one that informs": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED,
    "with more behind it": b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world, and more",
}


def fed(*parts: bytes) -> Answer:
    """Return an answer that has come in parts."""
    answer = Answer()
    for part in parts:
        answer.feed(part)
    return answer


def test_a_request_has_the_usual_headers() -> None:
    expected = (
        b"HEAD /status?a=b HTTP/1.1\r\nHost: www.example:8080\r\nUser-Agent: pydsr\r\n"
        b"Accept: */*\r\nConnection: close\r\n\r\n"
    )
    assert expected == request("HEAD", "/status?a=b", "www.example:8080")


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_may_come_in_parts_of_any_length(sent: bytes) -> None:
    for length in range(1, len(sent) + 1):
        answer = fed(*(sent[at : at + length] for at in range(0, len(sent), length)))
        assert (200, b"hello world", True) == (answer.status, answer.body, answer.is_complete), (
            length
        )


def test_a_body_without_a_length_is_complete_when_the_server_ends() -> None:
    answer = fed(b"HTTP/1.0 404 Not Found\r\n\r\n", b"no such")
    assert (404, False) == (answer.status, answer.is_complete)
    answer.feed(b" page")
    answer.feed(b"")
    assert (b"no such page", True) == (answer.body, answer.is_complete)


def test_a_truncated_body_has_what_came() -> None:
    answer = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", b"")
    assert (b"hello", True) == (answer.body, answer.is_complete)


def test_a_damaged_body_has_what_came_before() -> None:
    answer = fed(CHUNKED.replace(b"6;", b"x;"))
    assert (b"hello", True) == (answer.body, answer.is_complete)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"220 mail.example ready\r\n", "Expected HTTP/"),
        (b"HTTP/1.1 ok\r\n\r\n", "Invalid status"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "Expected HTTP/"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "Invalid header"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "another protocol",
        ),
    ],
)
def test_other_protocols_are_refused(sent: bytes, reason: str) -> None:
    with pytest.raises(NoHttpError, match=reason):
        fed(sent)


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\nServer: x\r\n", b"HTTP", b""])
def test_an_end_within_the_headers_is_refused(sent: bytes) -> None:
    with pytest.raises(NoHttpError, match="it ends within its headers"):
        fed(*([sent] if sent else []), b"")


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: " + 1000 * b"y" + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", 1000 * b"y"),
        (b"HTTP/1.1 100 Go on\r\n\r\n", b"HTTP/1.1 100 Go on\r\n\r\n"),
    ],
)
def test_headers_without_an_end_are_refused(first: bytes, line: bytes) -> None:
    lines = [line] * (MAX_ANSWER // len(line))
    with pytest.raises(NoHttpError, match="its headers do not end within 256 KiB"):
        fed(first, *lines, line)


def test_an_endless_body_is_read_up_to_the_limit() -> None:
    answer = fed(b"HTTP/1.1 200 OK\r\n\r\n", MAX_BODY * b"a", b"b")
    assert (MAX_BODY * b"a", True) == (answer.body, answer.is_complete)


def test_tiny_chunks_are_read_up_to_the_limit() -> None:
    answer = fed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"1;" + 1000 * b"x" + b"\r\na\r\n"
    for _ in range(MAX_ANSWER // len(chunk) + 1):
        answer.feed(chunk)
    assert answer.is_complete


@given(st.lists(st.binary(min_size=1) | st.sampled_from([CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n"])))
def test_random_bytes_are_at_most_refused(parts: list[bytes]) -> None:
    answer = Answer()
    try:
        for part in (*parts, b""):
            answer.feed(part)
    except NoHttpError:
        assert 0 == answer.status
    else:
        assert 200 <= answer.status <= 999
        assert answer.is_complete


# Whole checks, over a connection that the test plays


class Played:
    """A connection that returns parts, and then nothing any more."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = [*parts]
        self.sent = b""

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def receive(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    @property
    def left(self) -> int:
        """How many parts were not read."""
        return len(self._parts)


def checked(connection: Played, vip: str = "192.0.2.80", **options: Any) -> Result:
    """Return the result of a check over a connection."""
    check = TypeAdapter(HttpCheck).validate_python({"type": "http", **options})
    target = CheckTarget(ip_address(vip), 80, Route(ip_address("192.0.2.11"), 2))
    return asyncio.run(request_page(check, Attempt(target, 0), connection))


OK, NOT_FOUND = (f"HTTP/1.1 {status} X\r\n".encode() for status in (200, 404))
HELLO = b"Content-Length: 11\r\n\r\nhello world"


@pytest.mark.parametrize(
    ("what", "parts", "options", "message"),
    [
        ("as expected", [OK + HELLO], {}, ""),
        ("another status", [NOT_FOUND + HELLO], {}, "answers status 404 for /"),
        ("a status that is expected", [NOT_FOUND + HELLO], {"status": [404]}, ""),
        ("a body with it", [OK + HELLO], {"body": "wor.d"}, ""),
        ("a body without it", [OK + HELLO], {"body": "moon"}, "'moon' is not in the body of /"),
        ("the status first", [NOT_FOUND + HELLO], {"body": "moon"}, "answers status 404 for /"),
        ("in two parts", [OK + HELLO[:-3], HELLO[-3:]], {"body": "world"}, ""),
        ("cut off before", [OK + HELLO[:-3]], {"body": "world"}, "'world' is not in the body"),
        ("not HTTP", [b"SSH-2.0-OpenSSH\r\n"], {}, "does not answer by HTTP"),
        ("the end in its headers", [OK], {}, "it ends within its headers"),
    ],
)
def test_a_page_is_compared_with_what_is_expected(
    what: str, parts: list[bytes], options: dict[str, Any], message: str
) -> None:
    result = checked(Played(*parts), **options)
    assert message in result.message, what
    assert (not message, not message) == (result.passed, not result.message)


def test_a_connection_that_ends_without_an_answer_was_reset() -> None:
    with pytest.raises(ConnectionResetError):
        checked(Played())


def test_no_more_is_read_than_is_needed() -> None:
    """A body that nobody looks for, or that of a wrong status."""
    every: tuple[dict[str, Any], ...] = ({}, {"body": "x", "status": [200]})
    for options in every:
        connection = Played(NOT_FOUND + b"Content-Length: 100\r\n\r\n", b"never")
        checked(connection, **options)
        assert 1 == connection.left


@pytest.mark.parametrize(
    ("vip", "options", "host"),
    [
        ("192.0.2.80", {}, b"Host: 192.0.2.80\r\n"),
        ("2001:db8::80", {}, b"Host: [2001:db8::80]\r\n"),
        ("192.0.2.80", {"host": "www.example"}, b"Host: www.example\r\n"),
    ],
)
def test_the_vip_is_asked_for_unless_a_name_is_given(
    vip: str, options: dict[str, Any], host: bytes
) -> None:
    connection = Played(OK + HELLO)
    checked(connection, vip, path="/health", method="HEAD", **options)
    assert connection.sent.startswith(b"HEAD /health HTTP/1.1\r\n")
    assert host in connection.sent
