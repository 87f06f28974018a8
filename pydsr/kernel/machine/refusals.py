"""Findings that also refuse an attach, or warn during one."""

from __future__ import annotations

from collections.abc import Sequence

from pydsr.kernel.machine.finding import Finding
from pydsr.kernel.machine.finding_kinds import Kind
from pydsr.model.interfaces import Interface


def stripped_tags(interface: Interface) -> Finding:
    """Return what is wrong with an interface that takes VLAN tags off before the program."""
    is_veth = interface.kind == "veth"
    here = f"ethtool -K {interface.name} rxvlan off"
    return Finding(
        Kind.VLAN_STRIPPED,
        interface.name,
        f"{interface.name} may take VLAN tags off before the program sees them, which then takes "
        "tagged packets for untagged ones",
        f"at its other end: ethtool -K PEER txvlan off; then here: {here}" if is_veth else here,
    )


def mixed_modes(native: Sequence[str], generic: Sequence[str]) -> Finding:
    """Return what is wrong with a balancer that is attached in both modes."""
    return Finding(
        Kind.MODES_MIXED,
        ", ".join(generic),
        f"what comes in by {', '.join(native)}, in native mode, cannot be sent out by "
        f"{', '.join(generic)}, in generic mode: such packets are dropped and counted as "
        "other_interface",
        "attach all in one mode if there are any",
    )


def program_above(name: str, above: Sequence[str]) -> Finding:
    """Return what is wrong with an interface below one that has a program."""
    where = f", on {', '.join(above)}" if above else ""
    return Finding(
        Kind.XDP_ABOVE,
        name,
        f"{name} takes no program: another XDP program is in its way{where}",
        "one on a device above it (macvlan, VLAN, bond) stands against one on it: take that off "
        f"first, with ip link set dev {' '.join(above) or 'NAME'} xdp off",
    )
