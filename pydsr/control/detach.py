"""Detach the program from interfaces, and remove the pins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydsr.control.attached_interfaces import (
    Attached,
    attached,
    find_attached,
    link_path,
    write_egress,
)
from pydsr.control.resolve import Network
from pydsr.control.transaction import has_pins, removal
from pydsr.kernel.bpf import bpffs
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.net import links, managed_neighbours
from pydsr.kernel.net.solicitations import stop_receiving
from pydsr.model.change import Change, Impact
from pydsr.model.interfaces import find_own_macs


def plan_detach(directory: Path, names: Sequence[str], purge: bool = False) -> Impact:
    """Return what detach would do.

    Raises:
        InputError: an interface is not attached.
        NotAttachedError: there is no balancer.
    """
    leaving = _leaving(directory, names)
    changes = [Change("detach", interface.name, f"{interface.mode} mode") for interface in leaving]
    if purge:
        changes.append(Change("purge", str(directory), "all services and counters"))
    return Impact(tuple(changes))


def _leaving(directory: Path, names: Sequence[str]) -> list[Attached]:
    interfaces = attached(directory)
    return [find_attached(interfaces, name) for name in names] if names else interfaces


def detach(directory: Path, names: Sequence[str], purge: bool = False) -> list[str]:
    """Detach the program from interfaces, and return their names.

    Args:
        directory: where the pins are.
        names: the interfaces; empty for all, including those that vanished.
        purge: remove the pins with all services too; only without names.

    Raises:
        InputError: an interface is not attached.
        NotAttachedError: there is no balancer.
    """
    with removal(directory) as state:
        leaving = _leaving(directory, names)
        _withdraw(directory, state, leaving)
        if not names:
            for path in (directory / "links").iterdir():
                path.unlink()
        if purge:
            bpffs.remove_directory(directory)
    return [interface.name for interface in leaving]


def _withdraw(directory: Path, state: LiveState | None, leaving: Sequence[Attached]) -> None:
    """Unpin links, which detaches them, and delete the entries of their interfaces."""
    kept = managed_neighbours.find_neighbours(Network(leaving).devices) if leaving else []
    managed_neighbours.delete_entries((n.address, n.device) for n in kept if n.is_ours)
    vips = [service.endpoint.address for service in state.services.configs()] if state else []
    present = {interface.index: interface for interface in links.all_interfaces()}
    for interface in leaving:
        link_path(directory, interface.ifindex).unlink(missing_ok=True)
        # It may have been deleted meanwhile.
        if interface.ifindex in present:
            stop_receiving(present[interface.ifindex], vips)
    if state is not None:
        for ifindex in find_own_macs(
            links.all_interfaces(), {interface.ifindex for interface in leaving}
        ):
            state.interfaces.delete(ifindex)
        write_egress(state, attached(directory))


def remove_unused_directory(directory: Path) -> None:
    """Remove a directory in which nothing was attached, unless a command is using it.

    Raises:
        BusyError: a command is using it.
        NotAttachedError: there is no such directory.
    """
    with removal(directory, seconds=0):
        if not has_pins(directory):
            bpffs.remove_directory(directory)
