"""Steps of a plan, each as the command that a person would type. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Union

from pydsr.realserver.values import Address, Assigned, Setting


@dataclass(frozen=True)
class SetSysctl:
    """Set a sysctl."""

    setting: Setting
    value: int

    @property
    def command(self) -> str:
        """The command to type."""
        return f"sysctl -w {self.setting}={self.value}"


@dataclass(frozen=True)
class Ip:
    """Change a link or address by iproute2."""

    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command to type."""
        return shlex.join(("ip", *self.arguments))

    @property
    def creates_dummy(self) -> bool:
        """Whether it creates a dummy."""
        return self.arguments[:2] == ("link", "add")


Step = Union[SetSysctl, Ip]


def create_dummy(device: str) -> Ip:
    """Return the step that creates a dummy."""
    return Ip(("link", "add", device, "type", "dummy"))


def delete_link(device: str) -> Ip:
    """Return the step that deletes a link."""
    return Ip(("link", "delete", device))


def set_link(device: str, state: str) -> Ip:
    """Return the step that sets a link up or down."""
    return Ip(("link", "set", device, state))


def add_address(vip: Address, device: str, verb: str = "add") -> Ip:
    """Return the step that adds a VIP to a device.

    Several hosts have an IPv6 VIP by design, so duplicates are not detected; it needs no route
    beside the local one. It is deprecated from the start, so that this host prefers another source
    address for its own connections (RFC 6724, section 5, rule 3).
    """
    options = ("nodad", "noprefixroute", "preferred_lft", "0") if vip.version == 6 else ()
    return Ip(("address", verb, str(Assigned.alone(vip)), "dev", device, *options))


def delete_address(assigned: Assigned, device: str) -> Ip:
    """Return the step that deletes an address from a device."""
    return Ip(("address", "delete", str(assigned), "dev", device))
