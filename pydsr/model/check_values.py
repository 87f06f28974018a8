"""Checks single values of a configuration's health checks, with words for what is wrong."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic_core import PydanticCustomError

_T = TypeVar("_T")


def problem(words: str) -> PydanticCustomError:
    """Return the error of a value that is wrong."""
    # Of the type that the configuration's own problems have: shown as it is.
    return PydanticCustomError("input", "{words}", {"words": words})


def number_of(value: Any) -> Any:
    """Return the number that a text is written as, and anything else as it is.

    The file's reader leaves 0.5 a text, as it would a VLAN such as 100.200.
    """
    is_number = isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", value)
    return float(value) if is_number else value


def checked_pattern(text: str) -> str:
    """Return a text that must be a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise problem(f"is no regular expression: {error}") from None
    return text


def checked_path(text: str) -> str:
    """Return a text that must be what HTTP can ask for."""
    if not re.fullmatch(r"/[!-~]*", text):
        raise problem("must begin with / and have no spaces: write those as %20")
    return text


def host_name(host: str) -> str:
    """Return a Host header without its port, and an IPv6 address without its brackets."""
    return re.sub(r":[0-9]*$", "", host).strip("[]")


def checked_host(text: str) -> str:
    """Return a text that must be a host, with a port perhaps."""
    try:
        # What TLS is asked for goes through the same encoding.
        is_name = bool(host_name(text).encode("idna")) and re.fullmatch(r"[!-~]+", text)
    except UnicodeError:
        is_name = None
    if not is_name or text.startswith("."):
        raise problem("is no name of a host")
    return text


def checked_argument(text: str) -> str:
    """Return a text that must be an argument of a command."""
    if "\0" in text:
        raise problem("must not have a NUL in it")
    return text


def checked_not_empty(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Return values of which there must be one."""
    if not values:
        raise problem("must have at least one entry")
    return values


def checked_status(entry: int | str) -> int | str:
    """Return what must be a status of HTTP, or a class of them."""
    good = 100 <= entry <= 599 if isinstance(entry, int) else re.fullmatch("[1-5]xx", entry)
    if not good:
        raise problem("must be a status such as 200, or a class such as 2xx")
    return entry


def checked_hexadecimal(text: str) -> str:
    """Return a text that must be bytes in hexadecimal."""
    try:
        bytes.fromhex(text)
    except ValueError:
        raise problem("must be bytes in hexadecimal, such as 0a0b") from None
    return text


def checked_type(text: str) -> str:
    """Return a text that must be the type of a DNS record."""
    import dns.rdatatype

    try:
        dns.rdatatype.from_text(text)
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        raise problem("must be the type of a record, such as A, AAAA or TXT") from None
    return text


def checked_rcode(text: str) -> str:
    """Return a text that must be a response code of DNS, as it is usually written."""
    import dns.rcode

    try:
        return dns.rcode.to_text(dns.rcode.from_text(text))
    except (dns.rcode.UnknownRcode, ValueError):
        raise problem("must be a response code, such as NOERROR or NXDOMAIN") from None


def checked_name(text: str) -> str:
    """Return a text that must be a name of DNS."""
    import dns.exception
    import dns.name

    try:
        dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise problem(f"is no name that can be asked for: {error}") from None
    return text
