"""Services and backends: live ones, from the maps, and desired ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydsr.model.addresses import (
    EVERY_PORT,
    Endpoint,
    IPAddress,
    MacAddress,
    Place,
    Tag,
    parse_address,
    parse_tags,
)
from pydsr.model.errors import InputError
from pydsr.model.features import Feature
from pydsr.model.options import DEFAULT_LEARN_SECONDS, ServiceOptions

MAX_WEIGHT = 65535
"""The largest weight of a backend, as in IPVS."""

_SEED = re.compile("(0x)?[0-9A-Fa-f]{1,16}")
_WEIGHT = re.compile("[0-9]{1,9}")


class Unserved(StrEnum):
    """What happens to packets for a port of a VIP without a service.

    COUNT drops them and counts a fault, DROP drops them as intended, PASS hands them to the
    kernel of this machine.
    """

    COUNT = "count"
    PASS = "pass"  # noqa: S105
    DROP = "drop"


class BackendState(StrEnum):
    """Whether a backend gets new flows (up), only keeps old ones (drain) or has none (down)."""

    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


def parse_seed(text: str) -> int:
    """Parse the 64-bit key of the flow hash.

    Raises:
        InputError: the text is not a hexadecimal number of up to 16 digits.
    """
    if not _SEED.fullmatch(text):
        raise InputError(
            f"the seed {text!r} is not a hexadecimal number of up to 16 digits",
            "make one: openssl rand -hex 8",
        )
    return int(text, 16)


@dataclass(frozen=True)
class Backend:
    """A live backend of a service.

    Attributes:
        id: unique over all services, unchanged as long as the backend lives.
        mac: where frames go; None until it is resolved.
        mac_by_hand: whether the MAC is fixed (``@MAC``), not resolved.
        ifindex: index of the interface that leads to it.
        slots: how many slots of the service's table it owns.
        tags: the VLAN tags on its frames, outermost first.
    """

    id: int
    address: IPAddress
    weight: int
    mac: MacAddress | None
    mac_by_hand: bool
    state: BackendState
    ifindex: int
    slots: int = 0
    tags: tuple[Tag, ...] = ()

    @property
    def place(self) -> Place | None:
        """Where its frames go; None until the MAC is resolved."""
        return Place(self.mac, self.ifindex, self.tags) if self.mac else None


@dataclass(frozen=True)
class Service:
    """A live service with its backends.

    Attributes:
        table_size: how many slots its table has.
        slots_changing: how many slots are not at rest.
        learn_until: nanoseconds of CLOCK_MONOTONIC until which changing slots learn flows.
    """

    id: int
    endpoint: Endpoint
    options: ServiceOptions
    backends: tuple[Backend, ...] = ()
    table_size: int = 0
    slots_changing: int = 0
    learn_until: int = 0

    @property
    def learn_seconds(self) -> int:
        """How long flows are learnt after a change, by the option or the protocol's default."""
        if self.options.learn is not None:
            return self.options.learn
        return DEFAULT_LEARN_SECONDS[self.endpoint.protocol]

    @property
    def features(self) -> Feature:
        """The parts of the program that the service uses."""
        used = self.options.features
        if self.endpoint.port == EVERY_PORT:
            used |= Feature.EVERY_PORT
        if any(backend.tags for backend in self.backends):
            used |= Feature.VLAN
        return used

    def backend(self, address: IPAddress) -> Backend | None:
        """Return the backend of an address; None if there is none."""
        return next((b for b in self.backends if b.address == address), None)


@dataclass(frozen=True)
class DesiredBackend:
    """A backend as a user or a file describes it.

    Attributes:
        weight: its share of new flows; 0 drains it.
        mac: where its frames go; None to find it by ARP/ND.
        tags: the VLAN tags on its frames, if the MAC is fixed.
    """

    address: IPAddress
    weight: int = 1
    state: BackendState = BackendState.UP
    mac: MacAddress | None = None
    tags: tuple[Tag, ...] = ()

    @classmethod
    def parse(cls, text: str) -> DesiredBackend:
        """Parse ``ADDR[=WEIGHT][@MAC[%VLAN]]``; without a weight it is 1, and weight 0 drains.

        Raises:
            InputError: malformed address, weight, MAC or VLAN; the message names the text.
        """
        rest, at, place = text.partition("@")
        mac_text, percent, vlan_text = place.partition("%")
        address_text, equals, weight_text = rest.partition("=")
        mac = MacAddress.parse(mac_text) if at else None
        tags = parse_tags(vlan_text) if percent else ()
        address = parse_address(address_text.removeprefix("[").removesuffix("]"))
        weight = 1
        if equals:
            if not _WEIGHT.fullmatch(weight_text) or int(weight_text) > MAX_WEIGHT:
                raise InputError(
                    f"{text!r}: the weight must be a whole number from 0 to {MAX_WEIGHT}",
                    "weight 2 gets twice the flows of weight 1; 0 drains",
                )
            weight = int(weight_text)
        return cls(address, weight, state_of_weight(weight), mac, tags)


@dataclass(frozen=True)
class PlacedBackend:
    """A desired backend with its id and where its frames go, ready to be written."""

    id: int
    desired: DesiredBackend
    place: Place

    @property
    def mac_by_hand(self) -> bool:
        """Whether the MAC is fixed, not resolved."""
        return self.desired.mac is not None


def state_of_weight(weight: int) -> BackendState:
    """Return the state of a backend for which only a weight is given."""
    return BackendState.UP if weight else BackendState.DRAIN


def as_desired(backend: Backend) -> DesiredBackend:
    """Return the desired backend that equals a live one."""
    mac, tags = (backend.mac, backend.tags) if backend.mac_by_hand else (None, ())
    return DesiredBackend(backend.address, backend.weight, backend.state, mac, tags)
