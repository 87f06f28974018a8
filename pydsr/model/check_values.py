"""Validators of single values of health checks, with messages."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic_core import PydanticCustomError

_T = TypeVar("_T")


def problem(words: str) -> PydanticCustomError:
    """Return the error for a wrong value."""
    # Errors of this type are shown unchanged.
    return PydanticCustomError("input", "{words}", {"words": words})


def number_of(value: object) -> object:
    """Return the number in a text, and anything else unchanged.

    The file's reader leaves 0.5 as text, because 100.200 may be a VLAN.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", value):
        return float(value)
    return value


def checked_pattern(text: str) -> str:
    """Check a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise problem(f"is not a regular expression: {error}") from None
    return text


def checked_path(text: str) -> str:
    """Check the path of an HTTP request."""
    if not re.fullmatch(r"/[!-~]*", text):
        raise problem("must begin with / and have no spaces: write %20 instead")
    return text


def host_name(host: str) -> str:
    """Return a Host header without its port and an IPv6 address's brackets."""
    return re.sub(r":[0-9]*$", "", host).strip("[]")


def checked_host(text: str) -> str:
    """Check a host, with or without a port."""
    try:
        # TLS encodes the server name likewise.
        is_name = bool(host_name(text).encode("idna")) and re.fullmatch(r"[!-~]+", text)
    except UnicodeError:
        is_name = None
    if not is_name or text.startswith("."):
        raise problem("is not a host name")
    return text


def checked_argument(text: str) -> str:
    """Check an argument of a command."""
    if "\0" in text:
        raise problem("must not contain NUL")
    return text


def checked_not_empty(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Check that there is a value."""
    if not values:
        raise problem("must have at least one entry")
    return values


def checked_status(entry: int | str) -> int | str:
    """Check an HTTP status, or a class of them."""
    good = 100 <= entry <= 599 if isinstance(entry, int) else re.fullmatch("[1-5]xx", entry)
    if not good:
        raise problem("must be a status such as 200, or a class such as 2xx")
    return entry


def checked_hexadecimal(text: str) -> str:
    """Check bytes in hexadecimal."""
    try:
        bytes.fromhex(text)
    except ValueError:
        raise problem("must be bytes in hexadecimal, such as 0a0b") from None
    return text


def checked_type(text: str) -> str:
    """Check a DNS record type."""
    import dns.rdatatype

    try:
        dns.rdatatype.from_text(text)
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        raise problem("must be a record type, such as A, AAAA or TXT") from None
    return text


def checked_rcode(text: str) -> str:
    """Check a DNS response code, and return its usual spelling."""
    import dns.rcode

    try:
        return dns.rcode.to_text(dns.rcode.from_text(text))
    except (dns.rcode.UnknownRcode, ValueError):
        raise problem("must be a response code, such as NOERROR or NXDOMAIN") from None


def checked_name(text: str) -> str:
    """Check a DNS name."""
    import dns.exception
    import dns.name

    try:
        dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise problem(f"is not a DNS name: {error}") from None
    return text
