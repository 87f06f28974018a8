"""Which rules, routes and neighbours are to be there."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.health.steering_plan import (
    Entry,
    NeighbourEntry,
    RouteEntry,
    RuleEntry,
    RuleKind,
    entries,
    in_order,
    mark_of,
)
from pydsr.health.targets import Route
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.errors import InputError

VIP4, VIP6 = ip_address("192.0.2.80"), ip_address("2001:db8::80")
FOUR, SIX = ip_address("198.51.100.11"), ip_address("2001:db8::11")
MAC = MacAddress.parse("02:00:00:00:00:11")
INET, INET6 = socket.AF_INET, socket.AF_INET6

ROUTES = st.builds(
    Route, st.sampled_from([FOUR, SIX]), st.integers(2, 3), st.sampled_from([None, MAC])
)
VIPS = st.sets(st.sampled_from([VIP4, VIP6]), min_size=1)


def test_a_backend_needs_a_rule_and_a_table() -> None:
    route = Route(FOUR, 2)
    table = mark_of(7)
    assert {
        RuleEntry(INET, RuleKind.PAST),
        RuleEntry(INET, RuleKind.LOOKUP, table),
        RuleEntry(INET, RuleKind.END),
        RouteEntry(INET, table, VIP4, FOUR, 2),
        RouteEntry(INET, table, FOUR, None, 2),
        RouteEntry(INET, table),
    } == entries({route: 7}, {route: [VIP4]})


def test_a_mac_by_hand_needs_an_invented_neighbour() -> None:
    route = Route(FOUR, 2, MAC)
    made = entries({route: 258}, {route: [VIP4, VIP6]})
    neighbours = {entry for entry in made if isinstance(entry, NeighbourEntry)}
    four, six = ip_address("169.254.1.2"), ip_address("fe80::7044:102")
    assert {NeighbourEntry(four, 2, MAC), NeighbourEntry(six, 2, MAC)} == neighbours
    gateways = {e.gateway for e in made if isinstance(e, RouteEntry) and e.destination}
    assert {four, six} == gateways


def test_ipv6_by_an_ipv4_address_without_a_mac_is_refused() -> None:
    route = Route(FOUR, 2)
    with pytest.raises(InputError, match="cannot be checked without a MAC"):
        entries({route: 1}, {route: [VIP6]})


def test_no_targets_need_no_entries() -> None:
    assert set() == entries({}, {})


@given(st.dictionaries(ROUTES, VIPS))
def test_every_marked_packet_is_steered_or_prohibited(wanted: dict[Route, set[IPAddress]]) -> None:
    numbers = {route: number for number, route in enumerate(wanted, 1)}
    try:
        made = entries(numbers, wanted)
    except InputError:
        return
    for entry in made:
        match entry:
            case RuleEntry(kind=RuleKind.LOOKUP):
                assert RouteEntry(entry.family, entry.mark) in made
            case RouteEntry():
                assert RuleEntry(entry.family, RuleKind.LOOKUP, entry.table) in made


@given(st.dictionaries(ROUTES, VIPS))
def test_no_table_is_used_before_it_is_complete(wanted: dict[Route, set[IPAddress]]) -> None:
    numbers = {route: number for number, route in enumerate(wanted, 1)}
    try:
        order: list[Entry] = in_order(entries(numbers, wanted))
    except InputError:
        return
    places = {entry: place for place, entry in enumerate(order)}
    for entry, place in places.items():
        if isinstance(entry, RuleEntry) and entry.kind is RuleKind.LOOKUP:
            in_table = [e for e in order if isinstance(e, RouteEntry) and e.table == entry.mark]
            assert all(places[one] < place for one in in_table if one.family == entry.family)
            assert places[RuleEntry(entry.family, RuleKind.PAST)] < place
        if isinstance(entry, RuleEntry) and entry.kind is RuleKind.PAST:
            assert places[RuleEntry(entry.family, RuleKind.END)] < place
        if isinstance(entry, RouteEntry) and entry.destination:
            assert places[RouteEntry(entry.family, entry.table)] < place
