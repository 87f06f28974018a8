"""The options of a service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydsr.model.errors import InputError

MAX_NAME_BYTES = 63
"""The longest service name, in UTF-8 bytes."""

DEFAULT_LEARN_SECONDS = {"tcp": 900, "udp": 120, "sctp": 900}
"""How long a service learns flows after a change, by protocol."""

MAX_LEARN_SECONDS = 7 * 24 * 3600

MAX_NEW_FLOWS = 10_000_000
"""The highest limit of new flows a second."""


class Affinity(StrEnum):
    """What the balancer hashes to choose a backend."""

    FLOW = "flow"
    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True)
class ServiceOptions:
    """How a service behaves; what is not said takes the default.

    Attributes:
        netmask4, netmask6: prefix lengths kept of the address by source or destination affinity.
        learn: seconds that flows are learnt after a change; None is the protocol's default.
        one_packet: every packet is a flow of its own (DNS-like): a change moves flows at once.
        arp: whether the balancer answers ARP/ND for the VIP and announces it.
        max_new_flows: most new flows a second of one source network; 0 is no limit.
        guard_netmask4, guard_netmask6: prefix lengths of those networks.
    """

    name: str = ""
    affinity: Affinity = Affinity.FLOW
    netmask4: int = 32
    netmask6: int = 128
    one_packet: bool = False
    learn: int | None = None
    arp: bool = True
    max_new_flows: int = 0
    guard_netmask4: int = 32
    guard_netmask6: int = 64

    def __post_init__(self) -> None:
        if len(self.name.encode()) > MAX_NAME_BYTES or not self.name.isprintable():
            raise InputError(
                f"the name {self.name!r} cannot be used",
                f"at most {MAX_NAME_BYTES} bytes of printable text",
            )
        for what, value, longest in (
            ("netmask4", self.netmask4, 32),
            ("netmask6", self.netmask6, 128),
            ("guard-netmask4", self.guard_netmask4, 32),
            ("guard-netmask6", self.guard_netmask6, 128),
        ):
            if not 1 <= value <= longest:
                raise InputError(f"{what} {value} is no prefix length", f"use 1 to {longest}")
        if self.affinity is Affinity.FLOW and (self.netmask4, self.netmask6) != (32, 128):
            raise InputError(
                "a netmask has no meaning with affinity by flow", "add --affinity source"
            )
        if not 0 <= self.max_new_flows <= MAX_NEW_FLOWS:
            raise InputError(
                f"max-new-flows {self.max_new_flows} is out of range",
                f"0 (no limit) to {MAX_NEW_FLOWS} a second",
            )
        if self.learn is not None and not 0 <= self.learn <= MAX_LEARN_SECONDS:
            raise InputError(
                f"learn {self.learn} is out of range", f"0 to {MAX_LEARN_SECONDS} seconds"
            )
