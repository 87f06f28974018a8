"""The slot of a packet: affinity, and the spread over slots and backends."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from math import sqrt

import pytest

from pydsr.control.trace import flow_frame
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.features import Feature
from pydsr.model.options import Affinity, ServiceOptions
from tests.support.packets.data_plane import TABLE_SIZE, Rig, mac_of

VIP = Endpoint.parse("198.51.100.10:80")
VIP_UDP = Endpoint.parse("198.51.100.10:53/udp")
VIP6 = Endpoint.parse("[2001:db8::10]:80")
BACKENDS = range(50, 60)
FLOWS = 20 * TABLE_SIZE

Flow = tuple[Endpoint, IPAddress, int]


def address(first: str, number: int = 0) -> IPAddress:
    """Return the address so many after the first."""
    return ipaddress.ip_address(first) + number


def slots(rig: Rig, flows: Iterable[Flow]) -> list[int]:
    """Return the slot of each flow."""
    return [rig.explain(flow_frame(*flow)).slot for flow in flows]


def chi_square(observed: Collection[int], expected: Collection[float]) -> float:
    """Return Pearson's statistic of counts against those expected."""
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def bounds(cells: int) -> tuple[float, float]:
    """Return where the statistic of that many cells is, but for one time in a million or so."""
    freedom = cells - 1
    return freedom - 5 * sqrt(2 * freedom), freedom + 5 * sqrt(2 * freedom) + 10


def ports_of_a_client() -> Iterator[Flow]:
    """Yield the sequential ports of one client."""
    return ((VIP, address("192.0.2.1"), port) for port in range(1024, 1024 + FLOWS))


def sequential_clients() -> Iterator[Flow]:
    """Yield clients one after the other, with one port."""
    return ((VIP, address("10.1.0.0", number), 40_000) for number in range(FLOWS))


def sequential_networks() -> Iterator[Flow]:
    """Yield the same host of one /24 after the other."""
    return ((VIP, address("10.1.0.9", number << 8), 40_000) for number in range(FLOWS))


def sequential_clients_by_ipv6() -> Iterator[Flow]:
    """Yield IPv6 clients one after the other, with one port."""
    return ((VIP6, address("2001:db8:1::", number), 40_000) for number in range(FLOWS))


def sequential_networks_by_ipv6() -> Iterator[Flow]:
    """Yield the same host of one IPv6 /64 after the other."""
    return ((VIP6, address("2001:db8::1", number << 64), 40_000) for number in range(FLOWS))


def clients_with_their_ports() -> Iterator[Flow]:
    """Yield UDP clients whose address and port rise together."""
    return ((VIP_UDP, address("10.0.0.0", n), 1024 + n) for n in range(FLOWS))


def ports_that_make_up_for_addresses() -> Iterator[Flow]:
    """Yield flows whose address rises as their port falls: sums and most differences are one."""
    return ((VIP, address("10.1.0.0", n), 65535 - n % 64000) for n in range(FLOWS))


def addresses_that_repeat_their_ports() -> Iterator[Flow]:
    """Yield flows whose address has the bits of the port: what is XORed of both is nothing."""
    return ((VIP, address("10.1.0.0", n), n) for n in range(1, FLOWS + 1))


def multiples_of_a_power_of_two() -> Iterator[Flow]:
    """Yield clients that differ in their high bits only."""
    return ((VIP, address("1.0.0.0", n << 14), 40_000) for n in range(FLOWS))


@pytest.fixture
def balanced(rig: Rig) -> Rig:
    """Return a data plane whose services share ten backends' worth of slots each."""
    for number, endpoint in enumerate((VIP, VIP_UDP, VIP6)):
        rig.serve(str(endpoint), [backend + 10 * number for backend in BACKENDS])
    return rig


@pytest.mark.parametrize(
    "flows",
    [
        ports_of_a_client,
        sequential_clients,
        sequential_networks,
        sequential_clients_by_ipv6,
        sequential_networks_by_ipv6,
        clients_with_their_ports,
        ports_that_make_up_for_addresses,
        addresses_that_repeat_their_ports,
        multiples_of_a_power_of_two,
    ],
    ids=lambda flows: flows.__name__,
)
def test_alike_flows_spread_evenly_over_slots_and_backends(balanced: Rig, flows: object) -> None:
    assert callable(flows)
    by_slot: Counter[int] = Counter()
    by_backend: Counter[int] = Counter()
    for flow in flows():
        answer = balanced.explain(flow_frame(*flow))
        by_slot[answer.slot] += 1
        by_backend[answer.backend] += 1
    assert set(by_slot) <= set(range(TABLE_SIZE))

    statistic = chi_square(
        [by_slot[slot] for slot in range(TABLE_SIZE)], [FLOWS / TABLE_SIZE] * TABLE_SIZE
    )
    low, high = bounds(TABLE_SIZE)
    assert low < statistic < high

    service = balanced.state.tables.read(balanced.explain(flow_frame(*next(iter(flows())))).service)
    assert service is not None
    owned = service.slots_by_backend()
    statistic = chi_square(
        [by_backend[backend] for backend in owned],
        [FLOWS * share / TABLE_SIZE for share in owned.values()],
    )
    assert statistic < bounds(len(owned))[1]


def test_packets_go_to_the_owner_of_their_slot(balanced: Rig) -> None:
    table = balanced.state.tables.read(0)
    assert table is not None
    for port in range(1, 2000):
        frame = flow_frame(VIP, address("192.0.2.1"), port)
        owner = table.current[balanced.explain(frame).slot]
        assert balanced.run(frame)[:6] == mac_of(owner).octets


def test_a_flow_s_packets_fall_into_one_slot(balanced: Rig) -> None:
    for number in range(200):
        client = address("192.0.2.0", number)
        alike = [flow_frame(VIP, client, 5000, syn=syn) for syn in (True, False, False)]
        assert len({balanced.explain(frame).slot for frame in alike}) == 1


def test_the_other_direction_s_ports_are_another_flow(balanced: Rig) -> None:
    balanced.serve("198.51.100.10:81", [])
    other = Endpoint.parse("198.51.100.10:81")
    one = slots(balanced, ((VIP, address("192.0.2.1"), port) for port in range(81, 181)))
    two = slots(balanced, ((other, address("192.0.2.1"), port) for port in range(80, 180)))
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 10


def by(affinity: Affinity, bits: int, version: int) -> ServiceOptions:
    """Return options for affinity by the first bits of an address."""
    if version == 4:
        return ServiceOptions(affinity=affinity, netmask4=bits)
    return ServiceOptions(affinity=affinity, netmask6=bits)


# IP version, prefix length, an address of its network, the last one, and those on both sides.
MASKS = [
    (4, 32, "192.0.2.0", "192.0.2.0", ["192.0.1.255", "192.0.2.1", "192.0.3.0"]),
    (4, 31, "192.0.2.0", "192.0.2.1", ["192.0.1.255", "192.0.2.2"]),
    (4, 28, "192.0.2.0", "192.0.2.15", ["192.0.1.255", "192.0.2.16"]),
    (4, 24, "192.0.2.0", "192.0.2.255", ["192.0.1.255", "192.0.3.0"]),
    (4, 16, "192.0.0.0", "192.0.255.255", ["191.255.255.255", "192.1.0.0"]),
    (4, 9, "192.0.0.0", "192.127.255.255", ["191.255.255.255", "192.128.0.0"]),
    (4, 1, "128.0.0.0", "223.255.255.255", ["126.255.255.255", "1.0.0.1"]),
    (6, 128, "2001:db8:1::", "2001:db8:1::", ["2001:db8:1::1", "2001:db8:0:1::"]),
    (6, 127, "2001:db8:1::", "2001:db8:1::1", ["2001:db8:1::2"]),
    (6, 96, "2001:db8:1::", "2001:db8:1::ffff:ffff", ["2001:db8:1:0:0:1::"]),
    (6, 65, "2001:db8:1::", "2001:db8:1:0:7fff:ffff:ffff:ffff", ["2001:db8:1:0:8000::"]),
    (6, 64, "2001:db8:1::", "2001:db8:1:0:ffff:ffff:ffff:ffff", ["2001:db8:1:1::"]),
    (6, 63, "2001:db8:1::", "2001:db8:1:1:ffff:ffff:ffff:ffff", ["2001:db8:1:2::"]),
    (6, 56, "2001:db8:1::", "2001:db8:1:ff:ffff:ffff:ffff:ffff", ["2001:db8:1:100::"]),
    (6, 48, "2001:db8:1::", "2001:db8:1:ffff:ffff::1", ["2001:db8:2::", "2001:db8::ffff"]),
    (6, 1, "2001:db8:1::", "7fff::1", ["8000::", "fd00::1"]),
]


@pytest.mark.parametrize("protocol", ["", "/udp", "/sctp"])
@pytest.mark.parametrize(("version", "bits", "first", "last", "outside"), MASKS)
def test_affinity_by_source_keeps_a_network_together(
    rig: Rig, protocol: str, version: int, bits: int, first: str, last: str, outside: list[str]
) -> None:
    vip = Endpoint.parse(f"{'198.51.100.10' if version == 4 else '[2001:db8::10]'}:80{protocol}")
    rig.serve(str(vip), BACKENDS, options=by(Affinity.SOURCE, bits, version))
    clients = [address(first), address(last)]
    (home,) = {*slots(rig, ((vip, client, port) for client in clients for port in (1, 60_000)))}
    assert home not in slots(rig, ((vip, address(client), 1) for client in outside))


@pytest.mark.parametrize("protocol", ["", "/udp", "/sctp"])
@pytest.mark.parametrize(("version", "bits", "first", "last", "outside"), MASKS)
def test_affinity_by_destination_keeps_vips_of_a_network_together(
    rig: Rig, protocol: str, version: int, bits: int, first: str, last: str, outside: list[str]
) -> None:
    options = by(Affinity.DESTINATION, bits, version)
    vips = [
        Endpoint.parse((f"{vip}:{port}" if version == 4 else f"[{vip}]:{port}") + protocol)
        for port, vip in enumerate(dict.fromkeys([first, last, *outside]), 80)
    ]
    for number, vip in enumerate(vips):
        rig.serve(str(vip), [number + 1], options=options)
    clients = ["192.0.2.1", "198.18.0.1"] if version == 4 else ["2001:db8:9::1", "fd00::1"]
    homes = [
        {*slots(rig, ((vip, address(client), port) for client in clients for port in (1, 2)))}
        for vip in vips
    ]
    assert [1] * len(vips) == [len(found) for found in homes]
    inside = 1 if first == last else 2
    assert homes[0] == homes[inside - 1]
    assert not any(found == homes[0] for found in homes[inside:])


@pytest.mark.parametrize("affinity", [Affinity.SOURCE, Affinity.DESTINATION])
@pytest.mark.parametrize("version", [4, 6])
def test_the_netmask_of_one_ip_version_is_not_the_other_s(
    rig: Rig, version: int, affinity: Affinity
) -> None:
    """With hosts told apart in one version and one network in the other."""
    options = ServiceOptions(
        affinity=affinity,
        netmask4=32 if version == 4 else 1,
        netmask6=128 if version == 6 else 1,
    )
    vips = ["198.51.100.1", "198.51.100.2"] if version == 4 else ["2001:db8::1", "2001:db8::2"]
    endpoints = [Endpoint.parse(f"{v}:80" if version == 4 else f"[{v}]:80") for v in vips]
    for number, endpoint in enumerate(endpoints, 1):
        rig.serve(str(endpoint), [number], options=options)
    clients = [address("192.0.2.1" if version == 4 else "2001:db8:1::1", n) for n in range(2)]
    one, other = slots(rig, ((e, c, 1) for e, c in zip(endpoints, clients, strict=True)))
    assert one != other


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("side", ["source_port", "destination_port", "address"])
def test_each_part_of_a_flow_counts(rig: Rig, version: int, side: str) -> None:
    base, client = (VIP, "192.0.2.1") if version == 4 else (VIP6, "2001:db8:1::1")
    for port in (80, 81):
        rig.serve(str(replace(base, port=port)), [port])
    other: Flow = {
        "source_port": (base, address(client), 2),
        "destination_port": (replace(base, port=81), address(client), 1),
        "address": (base, address(client, 1), 1),
    }[side]
    one, two = slots(rig, [(base, address(client), 1), other])
    assert one != two


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_affinity_by_source_keeps_a_client_together_over_services(rig: Rig, version: int) -> None:
    options = ServiceOptions(affinity=Affinity.SOURCE)
    vip, first = (VIP, "192.0.2.0") if version == 4 else (VIP6, "2001:db8:1::")
    other = replace(vip, port=443)
    rig.serve(str(vip), [50, 51], options=options)
    rig.serve(str(other), [60, 61], options=options)
    clients = [address(first, number) for number in range(100)]
    by_client = slots(rig, ((vip, client, 1) for client in clients))
    assert len({*by_client}) > 50
    assert by_client == slots(rig, ((other, client, 2) for client in clients))


def test_another_seed_puts_flows_elsewhere() -> None:
    found = []
    for seed in (0, 1, 0xFFFFFFFFFFFFFFFF):
        with Rig(seed=seed, features=Feature(0)) as rig:
            rig.serve(str(VIP), BACKENDS)
            flows = ((VIP, address("10.0.0.0", n), 1024 + n % 7) for n in range(4 * TABLE_SIZE))
            found.append(slots(rig, flows))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        alike = sum(a == b for a, b in zip(found[one], found[other], strict=True))
        assert alike < 30  # 4 expected, by chance


def test_the_same_seed_puts_flows_into_the_same_slots(balanced: Rig) -> None:
    flows = [(VIP, address("10.0.0.0", number), 1024) for number in range(500)]
    with Rig(features=Feature(0)) as other:
        other.serve(str(VIP), [1])
        assert slots(other, flows) == slots(balanced, flows)
