"""The options of a service, each declared once.

A field of :class:`ServiceOptions` is an option. Its declaration says how users write it and which
values it may have; the command line, the configuration file and its JSON Schema, the documents of
``--json``, tables and plans derive from that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from pydsr.model.addresses import Endpoint
from pydsr.model.errors import InputError
from pydsr.model.features import NO_FEATURES, Feature

_T = TypeVar("_T")

MAX_NAME_BYTES = 63
"""The longest service name, in UTF-8 bytes."""

DEFAULT_LEARN_SECONDS = {"tcp": 900, "udp": 120, "sctp": 900}
"""How long a service learns flows after a change, by protocol."""

MAX_LEARN_SECONDS = 7 * 24 * 3600

MAX_NEW_FLOWS = 10_000_000
"""The highest limit of new flows per second."""


class Affinity(StrEnum):
    """What the balancer hashes to choose a backend."""

    FLOW = "flow"
    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True)
class Option:
    """How users write an option of a service, and which values it may have.

    Attributes:
        help: what it does; for ``--help``, manual pages and editors.
        off_help: the same for the flag ``--no-NAME`` of an option that is on by default.
        default_text: the default in words, if the value None stands for it.
        metavar: what ``--help`` calls the value.
        limits: the lowest and the highest number allowed.
        unit: what the number counts, for messages.
        zero_means: the meaning of 0, if it is not a plain number.
        rehashes: whether a new value moves flows to other slots.
        feature: the program feature that any other value than the default needs.
        name, default: of the field; OPTIONS fills them in.
    """

    help: str
    off_help: str = ""
    default_text: str = ""
    metavar: str | None = None
    limits: tuple[int, int] | None = None
    unit: str = ""
    zero_means: str = ""
    rehashes: bool = False
    feature: Feature = NO_FEATURES
    name: str = ""
    default: str | int | bool | None = None

    @property
    def key(self) -> str:
        """The name in files and messages."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """The name on the command line, without dashes; ``no-NAME`` if it is on by default."""
        return f"no-{self.key}" if self.default is True else self.key

    @property
    def type(self) -> type:
        """The type of a value; options without a default are numbers."""
        return int if self.default is None else type(self.default)

    def describe(self, zero: str = "0") -> str:
        """Return what the option does; ``zero`` is how its value 0 is written."""
        return f"{self.help} {zero} means {self.zero_means}." if self.zero_means else self.help


def _option(default: _T, help: str, **details: Any) -> _T:  # noqa: A002
    return dataclasses.field(default=default, metadata={"option": Option(help, **details)})


@dataclass(frozen=True)
class ServiceOptions:
    """How a service behaves."""

    name: str = _option("", "Name to show beside the endpoint.")
    affinity: Affinity = _option(  # noqa: RUF009
        Affinity.FLOW, "What is hashed to choose a backend.", rehashes=True
    )
    netmask4: int = _option(
        32,
        "IPv4 prefix length that affinity by source or destination hashes.",
        limits=(1, 32),
        rehashes=True,
    )
    netmask6: int = _option(
        128,
        "IPv6 prefix length that affinity by source or destination hashes.",
        limits=(1, 128),
        rehashes=True,
    )
    one_packet: bool = _option(
        False, "Treat each packet as a flow of its own, as for DNS: a change moves flows at once."
    )
    learn: int | None = _option(
        None,
        "Seconds to learn flows after a change.",
        default_text="900, or 120 for UDP",
        metavar="SECONDS",
        limits=(0, MAX_LEARN_SECONDS),
        unit="seconds",
    )
    arp: bool = _option(
        True,
        "Answer ARP/ND for the VIP; false where the VIP is routed to the balancer.",
        off_help="Do not answer ARP/ND for the VIP: it is routed to the balancer.",
    )
    max_new_flows: int = _option(
        0,
        "New flows per second that one source network may open.",
        metavar="N",
        limits=(0, MAX_NEW_FLOWS),
        unit="per second",
        zero_means="no limit",
        feature=Feature.GUARD,
    )
    guard_netmask4: int = _option(
        32,
        "IPv4 prefix length of a source network for max-new-flows.",
        limits=(1, 32),
    )
    guard_netmask6: int = _option(
        64,
        "IPv6 prefix length of a source network for max-new-flows.",
        limits=(1, 128),
    )

    def __post_init__(self) -> None:
        for _, error in option_errors(vars(self)):
            raise error

    @property
    def features(self) -> Feature:
        """The parts of the program that these options need."""
        needed = NO_FEATURES
        for option in _WITH_FEATURE:
            if getattr(self, option.name) != option.default:
                needed |= option.feature
        return needed


OPTIONS = tuple(
    replace(field.metadata["option"], name=field.name, default=field.default)
    for field in dataclasses.fields(ServiceOptions)
)
"""All options, in the order in which users see them."""

_WITH_LIMITS = tuple((option, *option.limits) for option in OPTIONS if option.limits)
_NETMASKS = tuple(option for option in OPTIONS if option.rehashes and option.limits)
_WITH_FEATURE = tuple(option for option in OPTIONS if option.feature)


def option_errors(values: Mapping[str, Any]) -> Iterator[tuple[Option, InputError]]:
    """Find every invalid value of an option.

    Args:
        values: of all options, by the names of their fields.

    Yields:
        An option, and the error of its value.
    """
    name = values["name"]
    if len(name.encode()) > MAX_NAME_BYTES or not name.isprintable():
        hint = f"at most {MAX_NAME_BYTES} bytes of printable text"
        yield OPTIONS[0], InputError(f"the name {name!r} cannot be used", hint)
    for option, lowest, highest in _WITH_LIMITS:
        value = values[option.name]
        if value is not None and not lowest <= value <= highest:
            message = f"{option.key} {value} is out of range"
            zero = f" ({option.zero_means})" if option.zero_means else ""
            hint = f"use {lowest}{zero} to {highest} {option.unit}"
            yield option, InputError(message, hint.rstrip())
    if values["affinity"] is Affinity.FLOW:
        for option in _NETMASKS:
            if values[option.name] != option.default:
                message = f"{option.key} has no effect with affinity by flow"
                yield option, InputError(message, "set affinity to source or destination")


def moves_flows(before: ServiceOptions, after: ServiceOptions) -> bool:
    """Return whether a change of options hashes flows to other slots."""
    return any(
        getattr(before, option.name) != getattr(after, option.name)
        for option in OPTIONS
        if option.rehashes
    )


def check_options(endpoint: Endpoint, options: ServiceOptions) -> None:
    """Refuse options that contradict an endpoint.

    Raises:
        InputError: they do not.
    """
    if options.max_new_flows and not endpoint.protocol.marks_new_flows:
        raise InputError(
            f"max-new-flows has no effect on {endpoint}: UDP packets do not mark new flows",
            "leave it out, or limit sources with pydsr acl",
        )
