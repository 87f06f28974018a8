"""What packets follow, brought up to date with what the kernel knows: places of backends.

Everything here blocks, and is called in a thread. The lock is held while something is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
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

FOUND = "found in the kernel's neighbour table"

_IN_USE = (StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN)


@dataclass(frozen=True)
class Sighting:
    """A backend was seen with a MAC behind a device; ``cause`` says how, in words."""

    address: IPAddress
    device: int
    mac: MacAddress
    cause: str


@dataclass(frozen=True)
class Move:
    """A backend whose frames go to another place now."""

    sighting: Sighting
    before: Place
    after: Place


@dataclass(frozen=True)
class Survey:
    """The backends whose MACs are not by hand, and what the kernel knows of them.

    Attributes:
        kept: the MACs that packets are sent to, by address.
        neighbours: the entries of these addresses on the balancer's networks.
        sightings: of backends that are elsewhere than packets are sent to.
        unreachable: backends that no network of the balancer leads to, with the reason.
    """

    kept: Mapping[IPAddress, Collection[MacAddress]] = field(default_factory=dict)
    neighbours: Sequence[Neighbour] = ()
    sightings: Sequence[Sighting] = ()
    unreachable: Mapping[IPAddress, str] = field(default_factory=dict)


def kept_macs(directory: Path) -> dict[IPAddress, set[MacAddress]]:
    """Return the MACs that packets to backends are sent to, but for those given by hand."""
    with closing(LiveState(directory)) as state:
        found: dict[bytes, set[bytes]] = {}
        for _, entry in _resolved(state):
            found.setdefault(entry.address, set()).add(entry.mac)
    return {
        layout.unpack_address(address): {MacAddress(mac) for mac in macs}
        for address, macs in found.items()
    }


def survey(directory: Path) -> Survey:
    """Compare where packets are sent with what the kernel knows, and keep it knowing that.

    Raises:
        NotAttachedError: there is no balancer.
    """
    with closing(LiveState(directory)) as state:
        places: dict[IPAddress, set[Place]] = {}
        for _, entry in _resolved(state):
            places.setdefault(layout.unpack_address(entry.address), set()).add(_place(entry))
    network = Network(attached(directory))
    everyone = managed_neighbours.find_neighbours(network.devices)
    # Of backends there were when another daemon ended, or was killed.
    managed_neighbours.delete_entries(
        (one.address, one.device) for one in everyone if one.is_ours and one.address not in places
    )
    neighbours = [one for one in everyone if one.address in places]
    unreachable = _keep_resolved(places, neighbours, network)
    return Survey(
        {address: {place.mac for place in found} for address, found in places.items()},
        neighbours,
        list(_sightings(places, neighbours, network)),
        unreachable,
    )


def _keep_resolved(
    addresses: Collection[IPAddress], neighbours: Sequence[Neighbour], network: Network
) -> dict[IPAddress, str]:
    """Have the kernel keep the entries of backends resolved; return those that cannot be."""
    wanted = [
        (one.address, one.device) for one in neighbours if not one.is_managed and not one.is_fixed
    ]
    unreachable = {}
    for address in set(addresses) - {one.address for one in neighbours}:
        try:
            wanted.append((address, network.device_of(address)))
        except (BackendUnresolvedError, NotAttachedError) as error:
            unreachable[address] = error.message
    for address in managed_neighbours.keep_resolved(wanted) if wanted else ():
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
    """Walk the neighbours that packets are to be sent to instead of where they are sent.

    A MAC that packets are sent to already need not be sure: its bridge tells where it is.
    """
    believed: dict[IPAddress, dict[Place, Sighting]] = {}
    for one in neighbours:
        is_kept = one.confidence is Confidence.UNSURE and any(
            one.mac == place.mac for place in places[one.address]
        )
        if one.mac is None or not (is_kept or one.confidence is Confidence.SURE):
            continue
        place = network.place_at(one.device, one.mac)
        if place is not None:
            sighting = Sighting(one.address, one.device, one.mac, FOUND)
            believed.setdefault(one.address, {})[place] = sighting
    for address, found in believed.items():
        if any(newer_place(kept, [*found]) for kept in places[address]):
            yield next(iter(found.values()))


def follow(
    directory: Path, sightings: Sequence[Sighting]
) -> tuple[list[Move], dict[IPAddress, str]]:
    """Send packets for backends to where these were seen, each by one store.

    A backend that the kernel is sure of at its old place too, on another network, stays.

    Returns:
        What has moved, and what was refused, with the reason.

    Raises:
        BusyError: another command is changing the state, and did not end.
    """
    network = Network(attached(directory))
    seen = network.seen([one.address for one in sightings])
    candidates: dict[bytes, tuple[Sighting, list[Place]]] = {}
    refused: dict[IPAddress, str] = {}
    for one in sightings:
        place = network.place_at(one.device, one.mac)
        if place is None:
            continue
        try:
            network.refuse_own_mac(one.address, place)
        except InputError as error:
            refused[one.address] = error.message
            continue
        others = [p for p in seen.get(one.address, ()) if p.ifindex != place.ifindex]
        candidates[layout.pack_address(one.address)] = one, [place, *others]
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


def move_to_interface(state: LiveState, before: int, after: int) -> None:
    """Send packets for all backends behind an interface out of another, to the same MACs."""
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
