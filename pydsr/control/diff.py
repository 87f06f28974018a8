"""The state of a balancer beside a configuration: which services differ, and as one of its own."""

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
    present: Mapping[Endpoint, ServiceHead],
    wanted: Sequence[DesiredService],
    network: Network,
) -> list[tuple[DesiredService, ServiceHead | None]]:
    """Return the services that are not as wanted, without making values of all that are."""
    looked_up = {
        item.address: None
        for service in wanted
        if service.endpoint in present
        for item in service.backends
        if item.mac is None
    }
    seen = network.seen([*looked_up])
    return [
        (service, head)
        for service in wanted
        for head in [present.get(service.endpoint)]
        if head is None or not _is_as_wanted(state, head, service, seen)
    ]


def _is_as_wanted(
    state: LiveState,
    head: ServiceHead,
    wanted: DesiredService,
    seen: Mapping[IPAddress, Sequence[Place]],
) -> bool:
    if head.service.options != wanted.options:
        return False
    found = {}
    for weight, _, backend_id, number in head.table.rows():
        entry = state.backends.read(backend_id)
        found[entry.address] = weight, number, entry
    if len(found) != len(wanted.backends):
        return False
    for item in wanted.backends:
        row = found.get(layout.pack_address(item.address))
        if row is None or row[:2] != (item.weight, STATE_NUMBERS[item.state]):
            return False
        if not _is_in_place(row[2], item, seen):
            return False
    return True


def _is_in_place(
    entry: BackendEntry, item: DesiredBackend, seen: Mapping[IPAddress, Sequence[Place]]
) -> bool:
    if item.mac is not None:
        tags = bytes(pack_tags(item.tags)) if item.tags else entry.tags
        return bool(entry.mac_by_hand) and (entry.mac, entry.tags) == (item.mac.octets, tags)
    if entry.mac_by_hand or not any(entry.mac):
        return False
    places = seen.get(item.address)
    if not places:
        return True
    kept = Place(MacAddress(entry.mac), entry.ifindex, unpack_tags(entry.tags))
    return newer_place(kept, places) is None


def policies_to_set(
    present: Mapping[IPAddress, Unserved], wanted: Mapping[IPAddress, Unserved]
) -> dict[IPAddress, Unserved]:
    """Return the policies that are to be written, those back to the default included."""
    return {
        vip: wanted.get(vip, Unserved.COUNT)
        for vip in {*present, *wanted}
        if present.get(vip, Unserved.COUNT) is not wanted.get(vip, Unserved.COUNT)
    }


def read_desired_state(directory: Path) -> DesiredState:
    """Return the whole state of a balancer, as a file would have it.

    Raises:
        NotAttachedError: there is none.
    """
    with closing(LiveState(directory)) as state:
        heads = state.services.heads()
        rules = live_rules(state)
        services = [state.services.with_backends(head) for head in heads]
        return DesiredState(
            interfaces=tuple(DesiredInterface(one.name, one.mode) for one in attached(directory)),
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
                for service in services
            ),
            rules=rules.get(None, {}),
        )
