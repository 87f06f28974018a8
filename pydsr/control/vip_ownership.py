"""Who answers ARP and neighbour discovery for VIPs: the machine with the address that moves."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pydsr.control.attached_interfaces import announce_vips, attached
from pydsr.control.garbage_collection import tidy
from pydsr.control.program_upgrade import follow_interfaces
from pydsr.kernel.bpf.lock import locked
from pydsr.kernel.bpf.store import State
from pydsr.kernel.net import links
from pydsr.model.desired_state import DesiredState
from pydsr.model.service import Service


def follow_address(directory: Path, wanted: DesiredState) -> list[Service]:
    """Have VIPs answered for and announced, or not any more, as by this machine's addresses.

    Of a configuration that was applied nothing else is brought about: what commands have changed
    since stays, and services that are not there any more are left out.

    Args:
        directory: of the pins.
        wanted: the configuration.

    Returns:
        The services that this has changed, as they are now.

    Raises:
        NotAttachedError: there is no balancer.
        BusyError: another command is changing the state, and did not end.
    """
    with locked(directory), closing(State(directory)) as state:
        here = wanted.at(links.local_addresses())
        answers = {one.endpoint: one.options.arp for one in here.services}
        changed = [
            replace(service, options=replace(service.options, arp=not service.options.arp))
            for service in state.configs()
            if answers.get(service.endpoint, service.options.arp) is not service.options.arp
        ]
        if changed:
            follow_interfaces(state, directory)
            with state.changing() as interrupted:
                tidy(state, interrupted)
                for service in changed:
                    state.write_service(service)
                state.write_index(state.configs())
    _announce(directory, changed)
    return changed


def announce_again(directory: Path) -> None:
    """Announce the VIPs that are answered for now: an announcement can be lost.

    Raises:
        NotAttachedError: there is no balancer.
    """
    with closing(State(directory)) as state:
        _announce(directory, state.configs())


def _announce(directory: Path, services: Iterable[Service]) -> None:
    vips = dict.fromkeys(one.endpoint.address for one in services if one.options.arp)
    if vips:
        announce_vips([links.find_interface(one.name) for one in attached(directory)], [*vips])
