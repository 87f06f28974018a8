"""The addresses at which servers listen, and the Host headers that they accept."""

from __future__ import annotations

import pytest

from pydsr.http.server import is_loopback_name
from pydsr.model.errors import InputError
from pydsr.model.listen import Listen


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("127.0.0.1:9477", True),
        ("127.8.9.1:1", True),
        ("[::1]:65535", True),
        ("0.0.0.0:80", False),
        ("[::]:9477", False),
        ("192.0.2.1:9477", False),
        ("[2001:db8::1]:9477", False),
    ],
)
def test_an_address_with_a_port_is_parsed_and_written_alike(text: str, is_local: bool) -> None:
    """And it says whether other hosts can connect."""
    listen = Listen.parse(text)
    assert (text, is_local) == (str(listen), listen.is_local)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":9477",
        "9477",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:http",
        "127.0.0.1:+80",
        "127.0.0.1:٣",
        "localhost:9477",
        "[127.0.0.1]:9477",
        "::1:9477",
        "[::1]",
        "[::1:9477",
        "127.0.0.1:9477/tcp",
        " 127.0.0.1:9477",
        "*:9477",
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    """The message quotes it, and the hint has an example."""
    with pytest.raises(InputError, match=r"is not a valid address|must be a number") as raised:
        Listen.parse(text)
    assert (True, True) == (repr(text) in raised.value.message, "write it as" in raised.value.hint)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:9477", True),
        ("localhost:9477", True),
        ("LOCALHOST", True),
        ("[::1]:9477", True),
        ("", False),
        ("evil.example:9477", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:9477", False),
        ("192.0.2.1:9477", False),
        ("[2001:db8::1]", False),
        ("127.0.0.1:9477:9477", False),
    ],
)
def test_a_host_header_names_a_loopback_address_or_not(host: str, expected: bool) -> None:
    """Only loopback addresses and localhost do, with any port."""
    assert expected == is_loopback_name(host)
