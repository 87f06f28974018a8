"""Facts about a balancer's NICs, VIPs and backends, and functions that gather them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydsr.control.attached_interfaces import refuse_foreign_program
from pydsr.control.interface_checks import check_highest_index, check_kind
from pydsr.doctor.backend_checks import Checked, Key, check_backends
from pydsr.doctor.balancer import Balancer
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.machine.findings import Problem, problem_of
from pydsr.kernel.machine.nic import NicFacts, read_nics
from pydsr.kernel.net import arp_query, solicitations
from pydsr.kernel.net.arp_query import Claim
from pydsr.kernel.net.links import local_addresses
from pydsr.kernel.net.neighbours import confirmed_places
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.check_result import Result
from pydsr.model.features import Feature
from pydsr.model.interfaces import Interface, find_segments, has_vlans
from pydsr.model.service import Backend, BackendState, Service

_NIC_KINDS = ("", "bond", "team", "veth")
"""Kinds of interfaces that could be attached; hardware has no kind."""


@dataclass(frozen=True)
class ExaminedNic(NicFacts):
    """A NIC, and the balancer on it.

    Attributes:
        is_attached: whether the balancer is attached to it.
        program_mac: the MAC that the attached program accepts packets for.
        reads_vlans: whether the program needs to see VLAN tags on it.
        unheard: IPv6 VIPs whose solicitations the NIC may filter out.
        refusal: why attach would refuse it.
        foreign: the other program that is attached to it.
    """

    is_attached: bool = False
    program_mac: MacAddress | None = None
    reads_vlans: bool = False
    unheard: tuple[IPAddress, ...] = ()
    refusal: Problem | None = None
    foreign: Problem | None = None


@dataclass(frozen=True)
class VipFacts:
    """Facts about a VIP.

    Attributes:
        queried: names of the devices from which the network was asked for it.
        not_queried: why it was not asked from some device.
        claims: the hosts that answered.
        local: its ``ip address del`` arguments, where it is an address of this machine.
        answered: whether the balancer's program answers for it.
    """

    vip: IPAddress
    queried: tuple[str, ...] = ()
    not_queried: tuple[str, ...] = ()
    claims: frozenset[Claim] = frozenset()
    local: str = ""
    answered: bool = True


@dataclass(frozen=True)
class BackendFacts:
    """Facts about a backend of a service.

    Attributes:
        mac: the MAC that its packets are sent to.
        weight: its share of new flows.
        confirmed_macs: the MACs that the kernel has confirmed, if any.
        result: of a check of the VIP on it; None where there is none.
        not_checked: why there is none.
    """

    service: Endpoint
    address: IPAddress
    mac: MacAddress | None
    weight: int = 1
    confirmed_macs: frozenset[MacAddress] = frozenset()
    result: Result | None = None
    not_checked: str = ""


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about the VIPs and backends of a balancer.

    Attributes:
        vips: each VIP once.
        backends: of all services, except backends that are down.
        names: the addresses of the backends with each MAC.
        own_macs: the MACs of the attached interfaces.
        empty: services of which no backend takes new flows.
        is_attached: whether the balancer is attached in this network namespace.
        is_elsewhere: whether it is attached in another network namespace only.
    """

    vips: tuple[VipFacts, ...] = ()
    backends: tuple[BackendFacts, ...] = ()
    names: Mapping[MacAddress, tuple[str, ...]] = field(default_factory=dict)
    own_macs: frozenset[MacAddress] = frozenset()
    empty: tuple[Endpoint, ...] = ()
    is_attached: bool = True
    is_elsewhere: bool = False


def candidates(interfaces: Sequence[Interface]) -> list[Interface]:
    """Return the interfaces that could be attached: NICs and the like that are up."""
    return [
        interface
        for interface in interfaces
        if interface.is_up
        and not interface.master
        and any(interface.mac.octets)
        and interface.kind in _NIC_KINDS
    ]


def examine_nics(wanted: Iterable[Interface], balancer: Balancer) -> list[ExaminedNic]:
    """Return facts about interfaces, and about the balancer on them."""
    return [_examine_nic(nic, balancer) for nic in read_nics(wanted)]


def examine_network(
    balancer: Balancer, state: LiveState, daemon_results: Mapping[Key, Checked]
) -> NetworkFacts:
    """Return facts about VIPs and backends; check backends without results of the daemon."""
    services = state.services.all()
    if not services and not balancer.is_elsewhere:
        return NetworkFacts()
    local = local_addresses()
    facts = replace(
        examine_vips(balancer, services, local),
        empty=tuple(service.endpoint for service in services if not _takes_new_flows(service)),
    )
    if not balancer.attached:
        return facts
    # A check of such a VIP would never leave this machine.
    reason = "not checked: its VIP is an address of this machine"
    unreachable: dict[Key, Checked] = {
        (service.endpoint, backend.address): reason
        for service in services
        if service.endpoint.address in local
        for backend in service.backends
    }
    backends = _examine_backends(services, balancer, {**daemon_results, **unreachable})
    return replace(facts, backends=tuple(backends))


def examine_vips(
    balancer: Balancer, services: Sequence[Service], local: Mapping[IPAddress, str]
) -> NetworkFacts:
    """Return facts about VIPs only, asking the network who answers for each."""
    attached = balancer.attached_interfaces
    return NetworkFacts(
        vips=tuple(_examine_vips(services, balancer, local)) if attached else (),
        names=_backends_by_mac(services),
        own_macs=frozenset(interface.mac for interface in attached),
        is_attached=bool(attached),
        is_elsewhere=balancer.is_elsewhere,
    )


def _examine_nic(nic: NicFacts, balancer: Balancer) -> ExaminedNic:
    interface, state = nic.interface, balancer.state
    index = interface.index
    is_attached = index in balancer.attached
    examined = ExaminedNic(
        **vars(nic),
        is_attached=is_attached,
        reads_vlans=has_vlans(balancer.interfaces, {index}),
        foreign=problem_of(lambda: refuse_foreign_program(interface, balancer.links.get(index))),
        refusal=None
        if is_attached
        else problem_of(lambda: _check_suitable(interface, balancer.interfaces)),
    )
    if not is_attached or state is None:
        return examined
    vips = {service.endpoint.address for service in state.services.configs() if service.options.arp}
    return replace(
        examined,
        program_mac=state.interfaces.read(index),
        reads_vlans=examined.reads_vlans or Feature.VLAN in state.settings.features().compiled,
        unheard=tuple(sorted(solicitations.unheard(interface.name, vips), key=int)),
    )


def _check_suitable(interface: Interface, interfaces: Sequence[Interface]) -> None:
    check_highest_index(interface, layout.INTERFACES_MAX)
    check_kind(interface, interfaces, "auto")


def _takes_new_flows(service: Service) -> bool:
    return any(backend.state is BackendState.UP for backend in service.backends)


def _backends_by_mac(services: Iterable[Service]) -> dict[MacAddress, tuple[str, ...]]:
    names: defaultdict[MacAddress, dict[str, None]] = defaultdict(dict)
    for service in services:
        for backend in service.backends:
            if backend.mac is not None:
                names[backend.mac][str(backend.address)] = None
    return {mac: tuple(addresses) for mac, addresses in names.items()}


def _examine_vips(
    services: Iterable[Service], balancer: Balancer, local: Mapping[IPAddress, str]
) -> Iterator[VipFacts]:
    answered: dict[IPAddress, bool] = {}
    for service in services:
        vip = service.endpoint.address
        answered[vip] = answered.get(vip, False) or service.options.arp
    try:
        answers = arp_query.query(_network_devices(balancer), answered)
    except PermissionError:
        answers = arp_query.Answers()
        answers.failed[4] = answers.failed[6] = ["not privileged"]
    for vip, is_answered in answered.items():
        yield VipFacts(
            vip,
            queried=tuple(answers.queried[vip.version]),
            not_queried=tuple(
                f"the network was not asked for it: {why}" for why in answers.failed[vip.version]
            ),
            claims=frozenset(answers.claims.get(vip, ())),
            local=local.get(vip, ""),
            answered=is_answered,
        )


def _network_devices(balancer: Balancer) -> list[Interface]:
    """Return the devices with the addresses of the networks that the balancer is on."""
    segments = find_segments(balancer.interfaces, balancer.attached)
    return [
        device
        for device in balancer.interfaces
        # A port of a bridge has no addresses: the bridge has them.
        if device.index in segments
        and device.is_up
        and not (device.index in balancer.attached and device.master)
    ]


def _examine_backends(
    services: Iterable[Service], balancer: Balancer, results: Mapping[Key, Checked]
) -> list[BackendFacts]:
    wanted = [
        (service, backend)
        for service in services
        for backend in service.backends
        if backend.state is not BackendState.DOWN or (service.endpoint, backend.address) in results
    ]
    unchecked = [
        (service, backend)
        for service, backend in wanted
        if backend.mac and (service.endpoint, backend.address) not in results
    ]
    checked = {**results, **check_backends(unchecked, balancer.interfaces, balancer.attached)}
    # After the checks, which have made the kernel resolve the backends.
    places = confirmed_places(
        [backend.address for _, backend in wanted if not backend.mac_by_hand],
        find_segments(balancer.interfaces, balancer.attached),
    )
    return [
        _backend_facts(
            service,
            backend,
            {place.mac for place in places.get(backend.address, ())},
            checked.get((service.endpoint, backend.address), ""),
        )
        for service, backend in wanted
    ]


def _backend_facts(
    service: Service, backend: Backend, confirmed: Iterable[MacAddress], checked: Checked
) -> BackendFacts:
    return BackendFacts(
        service.endpoint,
        backend.address,
        backend.mac,
        weight=backend.weight,
        confirmed_macs=frozenset(confirmed),
        result=checked if isinstance(checked, Result) else None,
        not_checked=checked if isinstance(checked, str) else "",
    )
