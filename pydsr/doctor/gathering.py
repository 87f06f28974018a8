"""Gathers the facts of interfaces and of what a balancer serves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pydsr.control.attached_interfaces import refuse_foreign_program
from pydsr.control.interface_checks import check_highest_index, check_kind
from pydsr.doctor.checking import Checked, Key, check_backends
from pydsr.doctor.present import Present
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.store import State
from pydsr.kernel.machine.facts import BackendFacts, NetworkFacts, NicFacts, Trouble, VipFacts
from pydsr.kernel.machine.read_nic import read_nics
from pydsr.kernel.net import arp_query, links, neighbours, solicitations
from pydsr.model.addresses import IPAddress, MacAddress, Place
from pydsr.model.check_result import Result
from pydsr.model.features import Feature
from pydsr.model.interfaces import Interface, find_segments, has_vlans
from pydsr.model.service import Backend, BackendState, Service

_LIKE_CARDS = ("", "bond", "team", "veth")
"""Kinds of interfaces; hardware has none."""


def gather_nics(wanted: Iterable[Interface], present: Present) -> list[NicFacts]:
    """Return what is known of interfaces, and of the balancer on them."""
    return [_completed(facts, present) for facts in read_nics(wanted)]


def candidates(interfaces: Sequence[Interface]) -> list[Interface]:
    """Return the interfaces that a balancer may be meant for: up, a network card, or like one."""
    return [
        one
        for one in interfaces
        if one.is_up and not one.master and any(one.mac.octets) and one.kind in _LIKE_CARDS
    ]


def gather_network(
    present: Present, state: State, held_by_daemon: Mapping[Key, Checked]
) -> NetworkFacts:
    """Return what is known of VIPs and backends: asks the network, and makes checks.

    Args:
        present: the balancer.
        state: its state.
        held_by_daemon: what its daemon holds of backends, which are not checked again.
    """
    services = state.services()
    if not services and not present.is_elsewhere:
        return NetworkFacts()
    local = links.local_addresses()
    facts = replace(
        gather_vips(present, services, local),
        empty=tuple(service.endpoint for service in services if not _taking(service)),
    )
    if not present.here:
        return facts
    # What is asked of such a VIP never leaves this machine.
    unasked = "not asked: its VIP is an address of this machine"
    known: dict[Key, Checked] = {
        (service.endpoint, backend.address): unasked
        for service in services
        if service.endpoint.address in local
        for backend in service.backends
    }
    backends = _backends(services, present, {**held_by_daemon, **known})
    return replace(facts, backends=tuple(backends))


def gather_vips(
    present: Present, services: Sequence[Service], local: Mapping[IPAddress, str]
) -> NetworkFacts:
    """Return what is known of VIPs alone: asks the network who answers for each.

    Args:
        present: the balancer.
        services: those it has.
        local: addresses of this machine, each as ``ip address del`` takes it.
    """
    macs = {one.mac for one in present.interfaces if one.index in present.here}
    return NetworkFacts(
        vips=tuple(_vips(services, present, local)) if present.here else (),
        names=_names(services),
        own_macs=frozenset(macs),
        is_attached=bool(present.here),
        is_elsewhere=present.is_elsewhere,
    )


def _completed(facts: NicFacts, present: Present) -> NicFacts:
    interface, state = facts.interface, present.state
    index = interface.index
    is_attached = index in present.here
    facts = replace(
        facts,
        is_attached=is_attached,
        reads_vlans=has_vlans(present.interfaces, {index}),
        foreign=Trouble.of(lambda: refuse_foreign_program(interface, present.links.get(index))),
        refusal=None if is_attached else Trouble.of(lambda: _check(interface, present.interfaces)),
    )
    if not is_attached or state is None:
        return facts
    vips = {one.endpoint.address for one in state.configs() if one.options.arp}
    return replace(
        facts,
        known_mac=state.read_interface(index),
        reads_vlans=facts.reads_vlans or Feature.VLAN in state.features().compiled,
        unheard=tuple(sorted(solicitations.unheard(interface.name, vips), key=int)),
    )


def _check(interface: Interface, interfaces: Sequence[Interface]) -> None:
    check_highest_index(interface, layout.INTERFACES_MAX)
    check_kind(interface, interfaces, "auto")


def _taking(service: Service) -> bool:
    return any(backend.state is BackendState.UP for backend in service.backends)


def _names(services: Iterable[Service]) -> dict[MacAddress, tuple[str, ...]]:
    found: defaultdict[MacAddress, dict[str, None]] = defaultdict(dict)
    for service in services:
        for backend in service.backends:
            if backend.mac is not None:
                found[backend.mac][str(backend.address)] = None
    return {mac: tuple(names) for mac, names in found.items()}


def _vips(
    services: Iterable[Service], present: Present, local: Mapping[IPAddress, str]
) -> Iterator[VipFacts]:
    answering: dict[IPAddress, bool] = {}
    for service in services:
        vip = service.endpoint.address
        answering[vip] = answering.get(vip, False) or service.options.arp
    answers = arp_query.Answers()
    reason = "hosts were not asked for it: "
    try:
        answers = arp_query.query(_devices(present), answering)
    except PermissionError:
        answers.refused[4] = answers.refused[6] = ["not privileged"]
    for vip, is_answered in answering.items():
        yield VipFacts(
            vip,
            asked=tuple(answers.asked[vip.version]),
            unasked=tuple(reason + why for why in answers.refused[vip.version]),
            claims=frozenset(answers.claims.get(vip, ())),
            local=local.get(vip, ""),
            answered=is_answered,
        )


def _devices(present: Present) -> list[Interface]:
    """Return the devices that lead to the networks the balancer is on."""
    segments = find_segments(present.interfaces, present.here)
    return [
        one
        for one in present.interfaces
        # A port of a bridge has no addresses: the bridge itself has.
        if one.index in segments and one.is_up and not (one.index in present.here and one.master)
    ]


def _backends(
    services: Iterable[Service], present: Present, held_by_daemon: Mapping[Key, Checked]
) -> list[BackendFacts]:
    def key(service: Service, backend: Backend) -> Key:
        return service.endpoint, backend.address

    wanted = [
        (service, backend)
        for service in services
        for backend in service.backends
        if backend.state is not BackendState.DOWN or key(service, backend) in held_by_daemon
    ]
    unheld = [pair for pair in wanted if pair[1].mac and key(*pair) not in held_by_daemon]
    checked = {
        **held_by_daemon,
        **check_backends(unheld, present.interfaces, present.here),
    }
    # Only now, when the checks have had the kernel look for backends.
    seen = neighbours.confirmed_places(
        [backend.address for _, backend in wanted if not backend.mac_by_hand],
        find_segments(present.interfaces, present.here),
    )
    return [
        _backend(service, backend, seen, checked.get(key(service, backend), ""))
        for service, backend in wanted
    ]


def _backend(
    service: Service,
    backend: Backend,
    seen: Mapping[IPAddress, Sequence[Place]],
    checked: Checked,
) -> BackendFacts:
    return BackendFacts(
        service.endpoint,
        backend.address,
        backend.mac,
        weight=backend.weight,
        seen_macs=frozenset(place.mac for place in seen.get(backend.address, ())),
        result=checked if isinstance(checked, Result) else None,
        unchecked=checked if isinstance(checked, str) else "",
    )
