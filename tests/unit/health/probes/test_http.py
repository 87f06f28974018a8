"""Answers of HTTP, read as they come, whatever a server sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.health.probes.http import MAX_ANSWER, MAX_BODY, Answer, NoHttpError, request

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
