"""Compare the live state with a desired state, and return it as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pydsr.control.attached_interfaces import attached
from pydsr.control.plan import live_rules
from pydsr.control.resolve import Network, newer_place
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.backends import BackendEntry
from pydsr.kernel.bpf.codec import STATE_NUMBERS, pack_tags, unpack_tags
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.services import ServiceHead
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Place
from pydsr.model.desired_state import DesiredInterface, DesiredService, DesiredState
from pydsr.model.service import DesiredBackend, Unserved, as_desired


def differing(
    state: LiveState,
    live: Mapping[Endpoint, ServiceHead],
    desired: Sequence[DesiredService],
    network: Network,
) -> list[tuple[DesiredService, ServiceHead | None]]:
    """Return the services that differ from the live ones, each with its live head.

    Services that do not differ are compared as bytes, without making values of them.
    """
    resolved = {
        backend.address: None
        for service in desired
        if service.endpoint in live
        for backend in service.backends
        if backend.mac is None
    }
    seen = network.seen([*resolved])
    return [
        (service, head)
        for service in desired
        for head in [live.get(service.endpoint)]
        if head is None or not _is_as_desired(state, head, service, seen)
    ]


def _is_as_desired(
    state: LiveState,
    head: ServiceHead,
    desired: DesiredService,
    seen: Mapping[IPAddress, Sequence[Place]],
) -> bool:
    if head.service.options != desired.options:
        return False
    live = {}
    for weight, _, backend_id, number in head.table.rows():
        entry = state.backends.read(backend_id)
        live[entry.address] = weight, number, entry
    if len(live) != len(desired.backends):
        return False
    for backend in desired.backends:
        row = live.get(layout.pack_address(backend.address))
        if row is None or row[:2] != (backend.weight, STATE_NUMBERS[backend.state]):
            return False
        if not _is_in_place(row[2], backend, seen):
            return False
    return True


def _is_in_place(
    entry: BackendEntry, desired: DesiredBackend, seen: Mapping[IPAddress, Sequence[Place]]
) -> bool:
    if desired.mac is not None:
        tags = bytes(pack_tags(desired.tags)) if desired.tags else entry.tags
        return bool(entry.mac_by_hand) and (entry.mac, entry.tags) == (desired.mac.octets, tags)
    if entry.mac_by_hand or not any(entry.mac):
        return False
    places = seen.get(desired.address)
    if not places:
        return True
    kept = Place(MacAddress(entry.mac), entry.ifindex, unpack_tags(entry.tags))
    return newer_place(kept, places) is None


def policies_to_set(
    live: Mapping[IPAddress, Unserved], desired: Mapping[IPAddress, Unserved]
) -> dict[IPAddress, Unserved]:
    """Return the policies to write, which includes those that return to the default."""
    return {
        vip: desired.get(vip, Unserved.COUNT)
        for vip in {*live, *desired}
        if live.get(vip, Unserved.COUNT) is not desired.get(vip, Unserved.COUNT)
    }


def read_desired_state(directory: Path) -> DesiredState:
    """Return the live state as a desired state, which a file can hold.

    Raises:
        NotAttachedError: there is no balancer.
    """
    with closing(LiveState(directory)) as state:
        rules = live_rules(state)
        return DesiredState(
            interfaces=tuple(
                DesiredInterface(interface.name, interface.mode)
                for interface in attached(directory)
            ),
            table_size=state.settings.table_size,
            seed=state.settings.seed,
            policies=state.vip_policies.read(),
            services=tuple(
                DesiredService(
                    service.endpoint,
                    service.options,
                    tuple(map(as_desired, service.backends)),
                    rules.get(service.endpoint, {}),
                )
                for service in state.services.all()
            ),
            rules=rules.get(None, {}),
        )
