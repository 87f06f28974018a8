"""The interfaces the balancer is on: their pinned links, and what the network is told of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.lock import not_attached, not_permitted
from pydsr.kernel.bpf.store import State
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.kernel.net import links
from pydsr.kernel.net.announce import announce
from pydsr.kernel.net.solicitations import receive_solicitations
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.errors import EnvironmentCannotError
from pydsr.model.interfaces import Interface, find_segments

_NAME_SECONDS = 5.0
"""How old the name of an interface may be."""


@dataclass(frozen=True)
class Attached:
    """An interface the balancer is on.

    Attributes:
        mode: native or generic; empty where the interface is gone.
        upgraded: its program was replaced in place by this attach.
    """

    name: str
    ifindex: int
    mac: MacAddress
    mode: str
    program_id: int
    upgraded: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What there is in this network namespace, of one moment.

    Attributes:
        interfaces: all of them.
        attached: those the balancer is on, by index; those that vanished are left out.
    """

    interfaces: Sequence[Interface]
    attached: Sequence[Attached]


def attached(directory: Path) -> list[Attached]:
    """Return the interfaces the balancer is on, by index; those that vanished are left out."""
    return [*look_around(directory).attached]


def look_around(directory: Path) -> Surroundings:
    """Return the interfaces there are, and those the balancer is on."""
    interfaces = links.all_interfaces()
    by_index = {interface.index: interface for interface in interfaces}
    found = []
    for ifindex, info in living_links(directory).items():
        interface = by_index.get(ifindex)
        # The same index in another network namespace is another interface.
        if interface is not None and interface.xdp_program == info.prog_id:
            found.append(
                Attached(interface.name, ifindex, interface.mac, interface.xdp_mode, info.prog_id)
            )
    return Surroundings(interfaces, sorted(found, key=lambda one: one.ifindex))


class AttachedInterfaces:
    """The interfaces the balancer is on, for who asks again and again.

    Their links are looked at each time; netlink is asked when one has changed, and for new names
    now and then.

    Args:
        directory: of the pins.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs: dict[int, int] = {}
        self._found: list[Attached] = []
        self._due = 0.0

    def read(self) -> list[Attached]:
        """Return them as :func:`attached` does."""
        programs = {index: info.prog_id for index, info in living_links(self._directory).items()}
        now = time.monotonic()
        if programs != self._programs or now >= self._due:
            self._found = attached(self._directory)
            self._programs, self._due = programs, now + _NAME_SECONDS
        return self._found


def link_path(directory: Path, ifindex: int) -> Path:
    """Return where the link of an interface is pinned."""
    return directory / "links" / str(ifindex)


def living_links(directory: Path) -> dict[int, LinkInfo]:
    """Return the living links by interface index."""
    found: dict[int, LinkInfo] = {}
    try:
        paths = sorted((directory / "links").iterdir())
    except FileNotFoundError:
        raise not_attached(directory) from None
    except PermissionError:
        raise not_permitted(directory) from None
    for path in paths:
        with libbpf.open_pin(path) as fd:
            info = libbpf.link_info(fd)
        if info.ifindex:
            found[info.ifindex] = info
    return found


def refuse_foreign_program(interface: Interface, own: LinkInfo | None) -> None:
    """Refuse an interface that has a program other than that of our link.

    Args:
        interface: which is to be attached.
        own: our link on the interface of that index, where there is one.

    Raises:
        EnvironmentCannotError: somebody else's program is on it; or our link is on the interface
            of that index in another network namespace.
    """
    program = interface.xdp_program
    if own is not None and own.prog_id != program:
        raise EnvironmentCannotError(
            f"this balancer is attached to an interface with the index of {interface.name} in "
            "another network namespace",
            "give each network namespace a balancer of its own: --bpffs DIR",
        )
    if not program or own is not None:
        return
    try:
        with libbpf.program_by_id(program) as fd:
            name = libbpf.program_info(fd).name.decode()
    except OSError:
        name = "unknown"
    raise EnvironmentCannotError(
        f"{interface.name} already has an XDP program that is not pydsr's here: "
        f"{name} (id {program}, {interface.xdp_mode} mode)",
        f"take it off first, if it is yours: ip link set dev {interface.name} xdp off; "
        "one pinned elsewhere by pydsr: pydsr --bpffs DIR detach",
    )


def write_egress(state: State, here: Sequence[Attached]) -> None:
    """Let packets be redirected to those interfaces that all of them can redirect to.

    A program in the driver can to drivers only: packets for one in generic mode would be lost
    without a trace, where without an entry they are counted.
    """
    slow = {one.ifindex for one in here if one.mode != "native"}
    unreachable = slow if len(slow) < len(here) else set()
    for one in here:
        if one.ifindex in unreachable:
            state.delete_egress(one.ifindex)
        else:
            state.write_egress(one.ifindex)


def announce_vips(interfaces: Sequence[Interface], vips: Sequence[IPAddress]) -> None:
    """Tell the networks of interfaces, VLANs included, that VIPs are there.

    And have the interfaces receive what asks for them.
    """
    macs = {interface.index: interface.mac for interface in interfaces}
    for interface in interfaces:
        receive_solicitations(interface, vips)
        announce(interface.name, interface.mac, vips)
    everything = links.all_interfaces()
    segments = find_segments(everything, macs)
    for device in everything:
        segment = segments.get(device.index)
        # Above a bridge it is no single interface that answers.
        if segment and segment.tags and segment.ifindex in macs and device.is_up:
            announce(device.name, macs[segment.ifindex], vips)
