"""Types of single values in a configuration file, read by the parsers of the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pydsr.hashing.table import check_table_size
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Tag, parse_address, parse_tags
from pydsr.model.errors import InputError
from pydsr.model.health_policy import Minimum
from pydsr.model.service import parse_seed
from pydsr.model.source_rules import parse_networks

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
    """Return a number as text: a name may be 80, and most VLANs are numbers."""
    return str(value) if type(value) is int else value


class _ParsedBy:
    """Validates a text by a parser of the model.

    A PlainValidator would do the same; it takes 40 ms longer to import, because it also makes the
    schemas of the parsed types.
    """

    def __init__(self, parse: Callable[[str], object], what: str) -> None:
        self._parse = parse
        self._what = what

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: object) -> object:
        text = _as_text(value)
        if not isinstance(text, str):
            raise _error(f"must be {self._what}, as text")
        try:
            return self._parse(text)
        except InputError as error:
            raise refused(error) from None


def _needed(text: str) -> int | None:
    """Parse how many checks must pass; None is all."""
    words = {"all": None, "any": 1}
    if text in words:
        return words[text]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_CHECKS:
        raise InputError(f"{text!r} is not a number of checks", "write all, any, or a number")
    return int(text)


def _checked_source(text: str) -> str:
    parse_networks([text], None)
    return text


def checked_table_size(size: int) -> int:
    """Check the number of slots of a table."""
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
    _ParsedBy(Endpoint.parse, "an endpoint"),
    _schema("198.51.100.10:80", "198.51.100.10:53/udp", "[2001:db8::10]:443", "198.51.100.10:*"),
]
AddressText = Annotated[
    IPAddress,
    _ParsedBy(parse_address, "an IP address"),
    _schema("198.51.100.21", "2001:db8::21"),
]
MacText = Annotated[
    MacAddress, _ParsedBy(MacAddress.parse, "a MAC address"), _schema("02:00:00:00:00:21")
]
VlanText = Annotated[
    tuple[Tag, ...],
    _ParsedBy(parse_tags, "a VLAN"),
    _schema(100, "100.200", kind=["integer", "string"]),
]
SeedText = Annotated[int, _ParsedBy(parse_seed, "a hexadecimal number"), _schema("5ca1ab1e0ddba11")]
SourceText = Annotated[
    str,
    _ParsedBy(_checked_source, "a source"),
    _schema("192.0.2.0/24", "2001:db8::/32", "any"),
]
NeededText = Annotated[
    int | None,
    _ParsedBy(_needed, "a number of checks"),
    WithJsonSchema({"anyOf": [{"enum": ["all", "any"]}, {"type": "integer", "minimum": 1}]}),
]
MinimumText = Annotated[
    Minimum,
    _ParsedBy(Minimum.parse, "a number or a percentage"),
    _schema(2, "50%", kind=["integer", "string"]),
]
