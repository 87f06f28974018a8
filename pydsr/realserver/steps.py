"""Steps of a change, each as the command that a person would type."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Union

from pydsr.realserver.values import Address, Assigned, Setting


@dataclass(frozen=True)
class SetSysctl:
    """A sysctl gets a value."""

    setting: Setting
    value: int

    @property
    def command(self) -> str:
        """The command that does it."""
        return f"sysctl -w {self.setting}={self.value}"


@dataclass(frozen=True)
class Ip:
    """A change of links or addresses by iproute2."""

    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that does it."""
        return shlex.join(("ip", *self.arguments))

    @property
    def makes_dummy(self) -> bool:
        """Whether it makes a dummy."""
        return self.arguments[:2] == ("link", "add")


Step = Union[SetSysctl, Ip]


def make_dummy(device: str) -> Ip:
    """Return the step that makes a dummy."""
    return Ip(("link", "add", device, "type", "dummy"))


def delete_link(device: str) -> Ip:
    """Return the step that deletes a link."""
    return Ip(("link", "delete", device))


def set_link(device: str, state: str) -> Ip:
    """Return the step that sets a link up or down."""
    return Ip(("link", "set", device, state))


def add_address(vip: Address, device: str, verb: str = "add") -> Ip:
    """Return the step that gives a device a VIP.

    An IPv6 one needs no detection of duplicates, which are many by design, and no route beside
    the local one. It is deprecated from the start, so that this host's own connections have
    another source, where there is one (RFC 6724, section 5, rule 3).
    """
    options = ("nodad", "noprefixroute", "preferred_lft", "0") if vip.version == 6 else ()
    return Ip(("address", verb, str(Assigned.alone(vip)), "dev", device, *options))


def delete_address(assigned: Assigned, device: str) -> Ip:
    """Return the step that takes an address from a device."""
    return Ip(("address", "delete", str(assigned), "dev", device))
