"""Types of single values in a configuration file, read by the parsers of the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pydsr.hashing.table import check_table_size
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Tag, parse_address, parse_tags
from pydsr.model.errors import InputError
from pydsr.model.health_policy import Minimum
from pydsr.model.service import parse_seed
from pydsr.model.source_rules import parse_networks

_T = TypeVar("_T")

MAX_CHECKS = 100
"""The highest number of checks that can be needed."""


def in_words(error: InputError) -> str:
    """Return the message and the hint of an error in one line."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def refused(error: InputError) -> PydanticCustomError:
    """Return the error that a validator raises for an error of the model."""
    return _error(in_words(error))


def _error(words: str) -> PydanticCustomError:
    return PydanticCustomError("input", "{words}", {"words": words})


def _as_text(value: Any) -> Any:
    """Take a number as the text it is written as: a name may be 80, and a VLAN mostly is."""
    return str(value) if type(value) is int else value


def _parsed_by(parse: Callable[[str], _T], what: str) -> PlainValidator:
    """Return the validator of a text that a parser of the model reads."""

    def validate(value: Any) -> _T:
        text = _as_text(value)
        if not isinstance(text, str):
            raise _error(f"must be {what}, as text")
        try:
            return parse(text)
        except InputError as error:
            raise refused(error) from None

    return PlainValidator(validate)


def _needed(text: str) -> int | None:
    """Parse how many checks must pass; None is all."""
    words = {"all": None, "any": 1}
    if text in words:
        return words[text]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_CHECKS:
        raise InputError(f"{text!r} is no number of checks", "write all, any, or a number")
    return int(text)


def _checked_source(text: str) -> str:
    parse_networks([text], None)
    return text


def checked_table_size(size: int) -> int:
    """Return a number of slots that a table can have, or refuse it."""
    try:
        check_table_size(size)
    except InputError as error:
        raise refused(error) from None
    return size


def _schema(*examples: Any, kind: str | list[str] = "string") -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "examples": list(examples)})


Text = Annotated[str, BeforeValidator(_as_text)]

EndpointText = Annotated[
    Endpoint,
    _parsed_by(Endpoint.parse, "an endpoint"),
    _schema("198.51.100.10:80", "198.51.100.10:53/udp", "[2001:db8::10]:443", "198.51.100.10:*"),
]
AddressText = Annotated[
    IPAddress,
    _parsed_by(parse_address, "an IP address"),
    _schema("198.51.100.21", "2001:db8::21"),
]
MacText = Annotated[
    MacAddress, _parsed_by(MacAddress.parse, "a MAC address"), _schema("02:00:00:00:00:21")
]
VlanText = Annotated[
    tuple[Tag, ...],
    _parsed_by(parse_tags, "a VLAN"),
    _schema(100, "100.200", kind=["integer", "string"]),
]
SeedText = Annotated[
    int, _parsed_by(parse_seed, "a hexadecimal number"), _schema("5ca1ab1e0ddba11")
]
SourceText = Annotated[
    str,
    _parsed_by(_checked_source, "a source"),
    _schema("192.0.2.0/24", "2001:db8::/32", "any"),
]
NeededText = Annotated[
    int | None,
    _parsed_by(_needed, "a number of checks"),
    WithJsonSchema({"anyOf": [{"enum": ["all", "any"]}, {"type": "integer", "minimum": 1}]}),
]
MinimumText = Annotated[
    Minimum,
    _parsed_by(Minimum.parse, "a number or a percentage"),
    _schema(2, "50%", kind=["integer", "string"]),
]
