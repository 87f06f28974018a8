"""Checks of an interface before it is attached. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.model.interfaces import Interface, lowest_parent, parts_of

_AGGREGATES = ("bond", "team")
_BY_ADDRESS = ("ipvlan", "ipvtap")


def check_kind(interface: Interface, interfaces: Iterable[Interface], mode: str) -> None:
    """Refuse a device on which the program does not work, and name the one to attach.

    ``interfaces`` are all interfaces of this network namespace.

    Raises:
        EnvironmentCannotError: a part of a bond, or an ipvlan; a VLAN device or a bridge, unless
            in generic mode.
    """
    by_index = {interface.index: interface for interface in interfaces}
    name = interface.name
    master = by_index.get(interface.master)
    if master is not None and master.kind in _AGGREGATES:
        raise EnvironmentCannotError(
            f"{name} is part of the {master.kind} {master.name}",
            f"attach that: pydsr attach {master.name}",
        )
    if interface.kind in _BY_ADDRESS:
        raise EnvironmentCannotError(
            f"{name} is an {interface.kind}, which gets packets by their IP address: none for a "
            "VIP would ever come",
            f"attach {_name_below(interface, by_index)}",
        )
    if mode != "generic" and interface.kind == "vlan":
        raise EnvironmentCannotError(
            f"{name} is a VLAN device, and those have no native XDP",
            f"pydsr attach {lowest_parent(interface, by_index).name}, which balances the packets "
            "of all VLANs on it; or --mode generic, slowly",
        )
    if mode != "generic" and interface.kind == "bridge":
        ports = ", ".join(parts_of(interface, by_index)) or "it has none yet"
        raise EnvironmentCannotError(
            f"{name} is a bridge, and those have no native XDP",
            f"attach the ports that clients and backends are behind ({ports}); or --mode "
            "generic, slowly",
        )


def _name_below(interface: Interface, by_index: Mapping[int, Interface]) -> str:
    below = by_index.get(interface.parent)
    return below.name if below else "the device below it, in that one's network namespace"


def check_mode(interface: Interface, is_ours: bool, mode: str) -> None:
    """Refuse to change the mode of an attached interface: an upgrade cannot.

    Raises:
        InputError: it is attached in another mode.
    """
    if is_ours and mode not in ("auto", interface.xdp_mode):
        raise InputError(
            f"{interface.name} is attached in {interface.xdp_mode} mode, which an upgrade in "
            "place cannot change",
            f"pydsr detach {interface.name}, then attach it with --mode {mode}",
        )


def check_highest_index(interface: Interface, end: int) -> None:
    """Refuse an interface whose index does not fit the map of interfaces.

    Raises:
        EnvironmentCannotError: the index is `end` or more.
    """
    if interface.index >= end:
        raise EnvironmentCannotError(
            f"{interface.name} has the index {interface.index}, and those of pydsr end at "
            f"{end - 1}",
            "make the interface anew with a lower one: ip link add … index N",
        )
