"""Compare the places of backends with the kernel's neighbour table, and move backends.

All functions block and run in a thread. They change resolved MACs only, never fixed ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydsr.control.attached_interfaces import attached
from pydsr.control.resolve import Network, newer_place
from pydsr.control.transaction import transaction
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.backends import BackendEntry
from pydsr.kernel.bpf.codec import unpack_tags
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.net import managed_neighbours
from pydsr.model.addresses import IPAddress, MacAddress, Place
from pydsr.model.errors import BackendUnresolvedError, InputError, NotAttachedError
from pydsr.model.netlink_events import Confidence, Neighbour

_IN_USE = (StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN)


@dataclass(frozen=True)
class Sighting:
    """A backend was seen with a MAC behind a device; ``cause`` says how."""

    address: IPAddress
    device: int
    mac: MacAddress
    cause: str


@dataclass(frozen=True)
class Move:
    """A backend whose packets now go to another place."""

    sighting: Sighting
    before: Place
    after: Place


@dataclass(frozen=True)
class Survey:
    """The kernel's knowledge of all backends.

    Attributes:
        neighbours: their neighbour entries on the balancer's networks.
        sightings: backends at another place than the one packets are sent to.
        unreachable: backends on no network of the balancer, with the reason.
    """

    neighbours: Sequence[Neighbour]
    sightings: Sequence[Sighting]
    unreachable: Mapping[IPAddress, str]


def read_macs(directory: Path) -> dict[IPAddress, set[MacAddress]]:
    """Return the resolved MACs of backends, by address.

    Raises:
        NotAttachedError: there is no balancer.
    """
    with closing(LiveState(directory)) as state:
        macs: dict[bytes, set[bytes]] = {}
        for _, entry in _resolved(state):
            macs.setdefault(entry.address, set()).add(entry.mac)
    return {
        layout.unpack_address(address): {MacAddress(mac) for mac in packed}
        for address, packed in macs.items()
    }


def survey(directory: Path) -> Survey:
    """Compare all backends with the kernel's neighbour table, and keep their entries resolved.

    Raises:
        NotAttachedError: there is no balancer.
    """
    with closing(LiveState(directory)) as state:
        places: dict[IPAddress, set[Place]] = {}
        for _, entry in _resolved(state):
            places.setdefault(layout.unpack_address(entry.address), set()).add(_place(entry))
    network = Network(attached(directory))
    entries = managed_neighbours.find_neighbours(network.devices)
    # An earlier daemon has left these entries of former backends.
    managed_neighbours.delete_entries(
        (entry.address, entry.device)
        for entry in entries
        if entry.is_ours and entry.address not in places
    )
    neighbours = [entry for entry in entries if entry.address in places]
    return Survey(
        unreachable=_keep_resolved(places, neighbours, network),
        neighbours=neighbours,
        sightings=list(_sightings(places, neighbours, network)),
    )


def _keep_resolved(
    addresses: Collection[IPAddress], neighbours: Sequence[Neighbour], network: Network
) -> dict[IPAddress, str]:
    """Make the kernel keep the entries resolved; return the backends for which it cannot."""
    unmanaged = [
        (entry.address, entry.device)
        for entry in neighbours
        if not entry.is_managed and not entry.is_fixed
    ]
    unreachable = {}
    for address in set(addresses) - {entry.address for entry in neighbours}:
        try:
            unmanaged.append((address, network.device_of(address)))
        except (BackendUnresolvedError, NotAttachedError) as error:
            unreachable[address] = error.message
    for address in managed_neighbours.keep_resolved(unmanaged) if unmanaged else ():
        version = "ipv6" if address.version == 6 else "ipv4"
        unreachable[address] = (
            f"the kernel keeps no neighbour entry for backend {address}: is the table full "
            f"(net.{version}.neigh.default.gc_thresh3)?"
        )
    return unreachable


def _sightings(
    places: Mapping[IPAddress, Collection[Place]],
    neighbours: Sequence[Neighbour],
    network: Network,
) -> Iterator[Sighting]:
    """Yield a sighting for each backend at another place than the one packets are sent to.

    A MAC in use may be unconfirmed: its bridge shows which port it is behind.
    """
    believed: dict[IPAddress, dict[Place, Sighting]] = {}
    for entry in neighbours:
        is_in_use = entry.confidence is Confidence.UNSURE and any(
            entry.mac == place.mac for place in places[entry.address]
        )
        if entry.mac is None or not (is_in_use or entry.confidence is Confidence.SURE):
            continue
        place = network.place_at(entry.device, entry.mac)
        if place is not None:
            cause = "found in the kernel's neighbour table"
            sighting = Sighting(entry.address, entry.device, entry.mac, cause)
            believed.setdefault(entry.address, {})[place] = sighting
    for address, candidates in believed.items():
        if any(newer_place(place, [*candidates]) for place in places[address]):
            yield next(iter(candidates.values()))


def move_backends(
    directory: Path, sightings: Sequence[Sighting]
) -> tuple[list[Move], dict[IPAddress, str]]:
    """Send packets for backends to the places where they were seen, each by one store.

    A backend stays if the kernel has also confirmed its old place, on another network.

    Returns:
        The moves, and the reason for each backend whose MAC was refused.

    Raises:
        BusyError: another command held the lock until the deadline.
    """
    network = Network(attached(directory))
    seen = network.seen([sighting.address for sighting in sightings])
    candidates: dict[bytes, tuple[Sighting, list[Place]]] = {}
    refused: dict[IPAddress, str] = {}
    for sighting in sightings:
        address, place = sighting.address, network.place_at(sighting.device, sighting.mac)
        if place is None:
            continue
        try:
            network.refuse_own_mac(address, place)
        except InputError as error:
            refused[address] = error.message
            continue
        others = [other for other in seen.get(address, ()) if other.ifindex != place.ifindex]
        candidates[layout.pack_address(address)] = sighting, [place, *others]
    if not candidates:
        return [], refused
    moves: dict[Move, None] = {}
    with transaction(directory, collect=()) as change:
        state = change.state
        for backend_id, entry in list(_resolved(state)):
            if entry.address not in candidates:
                continue
            sighting, places = candidates[entry.address]
            before = _place(entry)
            after = newer_place(before, places)
            if after is not None and after.mac.is_unicast:
                state.backends.write_place(backend_id, after, by_hand=False)
                moves[Move(sighting, before, after)] = None
    return [*moves], refused


def change_egress(state: LiveState, before: int, after: int) -> None:
    """Send packets for all backends behind one interface out of another, to the same MACs."""
    for backend_id in list(state.backends.ids(*_IN_USE)):
        entry = state.backends.read(backend_id)
        if entry.ifindex == before and any(entry.mac):
            place = Place(MacAddress(entry.mac), after, unpack_tags(entry.tags))
            state.backends.write_place(backend_id, place, by_hand=bool(entry.mac_by_hand))


def _resolved(state: LiveState) -> Iterator[tuple[int, BackendEntry]]:
    for backend_id in state.backends.ids(*_IN_USE):
        entry = state.backends.read(backend_id)
        if not entry.mac_by_hand:
            yield backend_id, entry


def _place(entry: BackendEntry) -> Place:
    return Place(MacAddress(entry.mac), entry.ifindex, unpack_tags(entry.tags))
