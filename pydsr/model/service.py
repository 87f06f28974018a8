"""Services and backends as the data plane has them, and a backend as a user names it.

The text form of a backend is that of the command line: ``ADDR[=WEIGHT][@MAC[%VLAN]]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydsr.model.addresses import (
    Endpoint,
    IPAddress,
    MacAddress,
    Place,
    Tag,
    parse_address,
    parse_tags,
)
from pydsr.model.errors import InputError
from pydsr.model.options import DEFAULT_LEARN_SECONDS, ServiceOptions

MAX_WEIGHT = 65535
"""The largest weight of a backend, as in IPVS."""


class Unserved(StrEnum):
    """What becomes of packets for a VIP's port that no service has.

    Dropped and counted as something to look at, passed to this machine's kernel, or dropped
    and counted as intended.
    """

    COUNT = "count"
    PASS = "pass"  # noqa: S105
    DROP = "drop"


class BackendState(StrEnum):
    """Whether a backend gets new flows (up), keeps only old ones (drain) or none (down)."""

    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


def parse_seed(text: str) -> int:
    """Parse the 64-bit key of the flow hash.

    Raises:
        InputError: it is no hexadecimal number of up to 16 digits.
    """
    if not re.fullmatch(r"(0x)?[0-9A-Fa-f]{1,16}", text):
        raise InputError(
            f"the seed {text!r} is not a hexadecimal number of up to 16 digits",
            "make one: openssl rand -hex 8",
        )
    return int(text, 16)


@dataclass(frozen=True)
class Backend:
    """A backend of one service as the data plane has it.

    Attributes:
        id: stable number in the data plane, unique over all services.
        mac: where frames go; None before it was resolved.
        mac_by_hand: the MAC was given by ``@MAC`` and is not resolved.
        ifindex: the interface the backend is behind.
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
        """Where its frames go; None before that was found."""
        return Place(self.mac, self.ifindex, self.tags) if self.mac else None


@dataclass(frozen=True)
class Service:
    """A service as the data plane has it.

    Attributes:
        table_size: the number of its slots.
        slots_changing: how many of them are not at rest.
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
        """Return how long flows are learnt after a change, the default included."""
        if self.options.learn is not None:
            return self.options.learn
        return DEFAULT_LEARN_SECONDS[self.endpoint.protocol]

    def backend(self, address: IPAddress) -> Backend | None:
        """Return the backend with that address, if the service has it."""
        return next((b for b in self.backends if b.address == address), None)


@dataclass(frozen=True)
class DesiredBackend:
    """A backend as a user or a file asks for it.

    Attributes:
        weight: its share of new flows; 0 drains it.
        mac: where its frames go; None to find it by ARP/ND.
        tags: the VLAN tags on its frames, where the MAC is given.
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
            if not re.fullmatch(r"[0-9]{1,9}", weight_text) or int(weight_text) > MAX_WEIGHT:
                raise InputError(
                    f"{text!r}: the weight must be a whole number from 0 to {MAX_WEIGHT}",
                    "weight 2 gets twice the flows of weight 1; 0 drains",
                )
            weight = int(weight_text)
        return cls(address, weight, state_of_weight(weight), mac, tags)


@dataclass(frozen=True)
class PlacedBackend:
    """A desired backend with what a table and a packet need: its id, and where its frames go."""

    id: int
    desired: DesiredBackend
    place: Place

    @property
    def mac_by_hand(self) -> bool:
        """Whether the MAC was given and is not resolved."""
        return self.desired.mac is not None


def state_of_weight(weight: int) -> BackendState:
    """Return the state of a backend whose user names a weight and no state."""
    return BackendState.UP if weight else BackendState.DRAIN


def as_desired(backend: Backend) -> DesiredBackend:
    """Return a live backend as one that is to stay as it is."""
    mac, tags = (backend.mac, backend.tags) if backend.mac_by_hand else (None, ())
    return DesiredBackend(backend.address, backend.weight, backend.state, mac, tags)
