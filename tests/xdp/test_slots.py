"""The slot of a packet: affinity, and the spread over slots and backends."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from math import sqrt

import pytest

from pydsr.control.trace import flow_frame
from pydsr.model.addresses import Endpoint, IPAddress
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


@pytest.mark.parametrize(
    ("vip", "options", "inside", "outside"),
    [
        (VIP, ServiceOptions(affinity=Affinity.SOURCE), [0], [1, 2, 256]),
        (VIP, ServiceOptions(affinity=Affinity.SOURCE, netmask4=24), range(256), [256, 512, -1]),
        (VIP, ServiceOptions(affinity=Affinity.SOURCE, netmask4=28), range(16), [16, 32, -1]),
        (
            VIP6,
            ServiceOptions(affinity=Affinity.SOURCE, netmask6=64),
            [0, 1, 1 << 32, (1 << 64) - 1],
            [-1, 1 << 64, 1 << 65],
        ),
        (
            VIP6,
            ServiceOptions(affinity=Affinity.SOURCE, netmask6=56),
            [0, 1 << 64, 255 << 64],
            [-1, 1 << 72, 1 << 73],
        ),
    ],
    ids=["host", "/24", "/28", "/64", "/56"],
)
def test_affinity_by_source_keeps_a_network_together(
    rig: Rig, vip: Endpoint, options: ServiceOptions, inside: list[int], outside: list[int]
) -> None:
    rig.serve(str(vip), BACKENDS, options=options)
    base = "192.0.2.0" if vip.address.version == 4 else "2001:db8:1::"
    (home,) = {
        *slots(rig, ((vip, address(base, n), port) for n in inside for port in (1, 2, 60_000)))
    }
    assert home not in slots(rig, ((vip, address(base, n), 1) for n in outside))


def test_affinity_by_source_keeps_a_client_together_over_services(rig: Rig) -> None:
    options = ServiceOptions(affinity=Affinity.SOURCE)
    other = Endpoint.parse("198.51.100.10:443")
    rig.serve(str(VIP), [50, 51], options=options)
    rig.serve(str(other), [60, 61], options=options)
    clients = [address("192.0.2.0", number) for number in range(100)]
    assert slots(rig, ((VIP, client, 1) for client in clients)) == slots(
        rig, ((other, client, 2) for client in clients)
    )


def test_affinity_by_destination_puts_all_clients_into_one_slot(rig: Rig) -> None:
    options = ServiceOptions(affinity=Affinity.DESTINATION)
    other = Endpoint.parse("198.51.100.12:80")
    rig.serve(str(VIP), BACKENDS, options=options)
    rig.serve(str(other), [60, 61], options=options)
    clients = [(address("192.0.2.0", number), number + 1) for number in range(100)]
    (slot,) = {*slots(rig, ((VIP, *client) for client in clients))}
    assert slots(rig, [(other, *clients[0])]) != [slot]


def test_another_seed_puts_flows_elsewhere() -> None:
    found = []
    for seed in (0, 1, 0xFFFFFFFFFFFFFFFF):
        with Rig(seed=seed) as rig:
            rig.serve(str(VIP), BACKENDS)
            flows = ((VIP, address("10.0.0.0", n), 1024 + n % 7) for n in range(4 * TABLE_SIZE))
            found.append(slots(rig, flows))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        alike = sum(a == b for a, b in zip(found[one], found[other], strict=True))
        assert alike < 30  # 4 expected, by chance


def test_the_same_seed_puts_flows_into_the_same_slots(balanced: Rig) -> None:
    flows = [(VIP, address("10.0.0.0", number), 1024) for number in range(500)]
    with Rig() as other:
        other.serve(str(VIP), [1])
        assert slots(other, flows) == slots(balanced, flows)
