"""Answer ARP and neighbour discovery for VIPs, and announce VIPs on the networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pydsr.control.attached_interfaces import read_interfaces
from pydsr.control.transaction import transaction
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.net import links
from pydsr.kernel.net.announce import announce
from pydsr.kernel.net.solicitations import receive_solicitations, stop_receiving
from pydsr.model.addresses import IPAddress
from pydsr.model.desired_state import DesiredState
from pydsr.model.interfaces import Interface, find_segments
from pydsr.model.service import Service


def follow_address(directory: Path, desired: DesiredState) -> list[Service]:
    """Start or stop answering for VIPs, depending on whether this host has the VRRP address.

    Nothing else of the desired state is written: later changes by commands stay. Returns
    the services that this changed, as they are now.

    Raises:
        NotAttachedError: there is no balancer.
        BusyError: another command held the lock until the deadline.
    """
    local = desired.at(links.local_addresses())
    answers = {service.endpoint: service.options.arp for service in local.services}
    with transaction(directory, collect=()) as change:
        state = change.state
        changed = [
            replace(service, options=replace(service.options, arp=not service.options.arp))
            for service in state.services.configs()
            if answers.get(service.endpoint, service.options.arp) is not service.options.arp
        ]
        if changed:
            with state.settings.marked():
                for service in changed:
                    state.services.write(service)
                state.index.write(state.services.configs())
    announce_services(directory, changed)
    return changed


def announce_again(directory: Path) -> None:
    """Announce again the VIPs that are answered for: an announcement can be lost."""
    with closing(LiveState(directory)) as state:
        announce_services(directory, state.services.configs())


def announce_services(directory: Path, services: Iterable[Service]) -> None:
    """Announce the answered VIPs of services on all attached interfaces."""
    vips = dict.fromkeys(s.endpoint.address for s in services if s.options.arp)
    if vips:
        announce_vips(_attached_interfaces(directory), [*vips])


def announce_vips(interfaces: Sequence[Interface], vips: Sequence[IPAddress]) -> None:
    """Announce VIPs on the networks of interfaces, VLANs included.

    The interfaces receive solicitations for them from then on.
    """
    macs = {interface.index: interface.mac for interface in interfaces}
    for interface in interfaces:
        receive_solicitations(interface, vips)
        announce(interface.name, interface.mac, vips)
    everything = links.all_interfaces()
    segments = find_segments(everything, macs)
    for device in everything:
        segment = segments.get(device.index)
        # Above a bridge no single interface answers.
        if segment and segment.tags and segment.ifindex in macs and device.is_up:
            announce(device.name, macs[segment.ifindex], vips)


def withdraw_services(
    directory: Path, removed: Sequence[Service], remaining: Iterable[Service]
) -> None:
    """Stop receiving solicitations for VIPs without a service."""
    gone = {service.endpoint.address for service in removed}
    vips = {service.endpoint.address for service in remaining}
    for interface in _attached_interfaces(directory):
        stop_receiving(interface, gone, vips)


def _attached_interfaces(directory: Path) -> list[Interface]:
    interfaces = read_interfaces(directory)
    ifindexes = {interface.ifindex for interface in interfaces.attached}
    return [interface for interface in interfaces.present if interface.index in ifindexes]
