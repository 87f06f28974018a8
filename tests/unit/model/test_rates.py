"""Rates between snapshots, and the history of them."""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import replace

import pytest

from pydsr.model.addresses import Endpoint
from pydsr.model.options import ServiceOptions
from pydsr.model.rates import (
    BackendRate,
    History,
    Rate,
    backend_counters,
    rates_between,
    service_counters,
)
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, ProgramRun, Snapshot

UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN


def backend(
    id_: int, address: str = "", weight: int = 1, state: BackendState = BackendState.UP
) -> Backend:
    place = ipaddress.ip_address(address or f"10.0.0.{id_}")
    return Backend(id_, place, weight, None, False, state, ifindex=3)


def service(*backends: Backend, endpoint: str = "198.51.100.10:80") -> Service:
    return Service(1, Endpoint.parse(endpoint), ServiceOptions(), backends)


def snapshot(time: float, *services: Service, **counters: tuple[int, int, int]) -> Snapshot:
    totals = {int(id_.removeprefix("b")): Counters(*three) for id_, three in counters.items()}
    return Snapshot(time, services, totals)


def only_backend(before: Snapshot | None, after: Snapshot) -> BackendRate:
    [rated] = rates_between(before, after).services
    [each] = rated.backends
    return each


def test_a_rate_is_the_difference_over_the_seconds_between() -> None:
    web = service(backend(1))
    each = only_backend(
        snapshot(10.0, web, b1=(100, 1000, 10)), snapshot(12.0, web, b1=(300, 9000, 14))
    )
    assert each.rate == Rate(packets=100.0, bits=32000.0, new_flows=2.0)
    assert each.total == Counters(300, 9000, 14)


def test_without_an_earlier_snapshot_every_rate_is_zero() -> None:
    after = Snapshot(5.0, (service(backend(1)),), {1: Counters(9, 9, 9)}, {"tx": 9})
    rates = rates_between(None, after)
    assert rates.services[0].rate == Rate(0.0, 0.0, 0.0)
    assert (rates.verdicts[0].packets, rates.verdicts[0].total) == (0.0, 9)


@pytest.mark.parametrize("elapsed", [0.0, -1.0])
def test_no_elapsed_time_gives_zero(elapsed: float) -> None:
    web = service(backend(1))
    each = only_backend(
        snapshot(10.0, web, b1=(1, 1, 1)), snapshot(10.0 + elapsed, web, b1=(5, 5, 5))
    )
    assert each.rate == Rate(0.0, 0.0, 0.0)


def test_a_backend_that_appeared_starts_at_zero() -> None:
    before = snapshot(1.0, service(backend(1)), b1=(10, 10, 1))
    after = snapshot(2.0, service(backend(1), backend(2)), b1=(20, 20, 2), b2=(5000, 5000, 50))
    [rated] = rates_between(before, after).services
    assert [each.rate.packets for each in rated.backends] == [10.0, 0.0]


def test_a_backend_that_vanished_makes_the_service_no_negative_rate() -> None:
    before = snapshot(1.0, service(backend(1), backend(2)), b1=(10, 10, 1), b2=(900, 900, 9))
    after = snapshot(2.0, service(backend(1)), b1=(15, 15, 2))
    [rated] = rates_between(before, after).services
    assert rated.rate == Rate(5.0, 40.0, 1.0)


@pytest.mark.parametrize(
    "after", [(90, 2000, 20), (200, 900, 20), (200, 2000, 9)], ids=["packets", "bytes", "flows"]
)
def test_one_counter_that_went_backwards_resets_them_all(after: tuple[int, int, int]) -> None:
    web = service(backend(1))
    each = only_backend(snapshot(1.0, web, b1=(100, 1000, 10)), snapshot(2.0, web, b1=after))
    assert each.rate == Rate(0.0, 0.0, 0.0)


def test_rates_go_on_from_the_new_base_after_a_reset() -> None:
    web = service(backend(1))
    each = only_backend(snapshot(2.0, web, b1=(0, 0, 0)), snapshot(3.0, web, b1=(7, 70, 1)))
    assert each.rate == Rate(7.0, 560.0, 1.0)


def test_an_id_given_to_another_backend_has_no_base() -> None:
    each = only_backend(
        snapshot(1.0, service(backend(1, "10.0.0.1")), b1=(1, 1, 1)),
        snapshot(2.0, service(backend(1, "10.0.0.2")), b1=(500, 500, 5)),
    )
    assert each.rate == Rate(0.0, 0.0, 0.0)


def test_a_backend_without_counters_counts_nothing() -> None:
    web = service(backend(1))
    each = only_backend(snapshot(1.0, web), snapshot(2.0, web))
    assert (each.rate, each.total) == (Rate(0.0, 0.0, 0.0), Counters(0, 0, 0))


def test_udp_tells_no_new_flows() -> None:
    dns = service(backend(1), endpoint="198.51.100.10:53/udp")
    before, after = snapshot(1.0, dns, b1=(0, 0, 0)), snapshot(2.0, dns, b1=(8, 80, 3))
    [rated] = rates_between(before, after).services
    assert rated.rate == Rate(8.0, 640.0, None)
    assert service_counters(after, dns).new_flows is None
    assert backend_counters(after, dns, dns.backends[0]) == Counters(8, 80, None)


def test_the_total_counts_new_flows_of_the_services_that_tell_them() -> None:
    web = service(backend(1))
    dns = service(backend(2), endpoint="198.51.100.10:53/udp")
    before = snapshot(1.0, web, dns, b1=(0, 0, 0), b2=(0, 0, 0))
    after = snapshot(2.0, web, dns, b1=(10, 10, 4), b2=(20, 20, 0))
    assert rates_between(before, after).total == Rate(30.0, 240.0, 4.0)


def test_a_service_without_backends_is_at_rest() -> None:
    [rated] = rates_between(snapshot(1.0, service()), snapshot(2.0, service())).services
    assert (rated.rate, rated.total, rated.backends) == (Rate(0.0, 0.0, 0.0), Counters(), ())


def test_verdicts_have_rates_in_the_order_of_the_snapshot_and_survive_a_reset() -> None:
    before = Snapshot(1.0, verdicts={"tx": 10, "no_backend": 50})
    after = Snapshot(3.0, verdicts={"tx": 30, "no_backend": 5, "too_short": 4})
    found = [(v.reason, v.packets, v.total) for v in rates_between(before, after).verdicts]
    assert found == [("tx", 10.0, 30), ("no_backend", 0.0, 5), ("too_short", 0.0, 4)]


def test_the_actual_share_stands_beside_the_share_by_weight_of_backends_that_are_up() -> None:
    web = service(backend(1), backend(2, weight=3), backend(3, weight=4, state=DRAIN))
    before = snapshot(1.0, web, b1=(0, 0, 0), b2=(0, 0, 0), b3=(0, 0, 0))
    after = snapshot(2.0, web, b1=(20, 0, 0), b2=(70, 0, 0), b3=(10, 0, 0))
    [rated] = rates_between(before, after).services
    assert [each.share for each in rated.backends] == [0.2, 0.7, 0.1]
    assert [each.weight_share for each in rated.backends] == [0.25, 0.75, 0.0]


def test_shares_are_unknown_without_traffic_and_zero_where_nothing_is_up() -> None:
    web = service(backend(1, state=DOWN), backend(2, state=DRAIN), backend(3, weight=0))
    [rated] = rates_between(None, snapshot(1.0, web)).services
    assert [each.share for each in rated.backends] == [None, None, None]
    assert [each.weight_share for each in rated.backends] == [0.0, 0.0, 0.0]


def test_history_keeps_the_latest_rates_and_forgets_backends_that_are_gone() -> None:
    history = History(length=2)
    both, one = service(backend(1), backend(2)), service(backend(1))
    snapshots = [
        snapshot(float(second), both if second < 3 else one, b1=(second**2, 0, 0), b2=(0, 0, 0))
        for second in range(4)
    ]
    for before, after in itertools.pairwise(snapshots):
        history.record(rates_between(before, after))
    first, second = both.backends
    assert history.packets(both.endpoint, first.address) == (3.0, 5.0)
    assert history.packets(both.endpoint, second.address) == ()


def test_a_deviation_is_relative_to_the_weight_and_the_largest_is_the_imbalance() -> None:
    web = service(backend(1), backend(2, weight=3), backend(3, weight=4, state=DRAIN))
    before = snapshot(1.0, web, b1=(0, 0, 0), b2=(0, 0, 0), b3=(0, 0, 0))
    after = snapshot(2.0, web, b1=(50, 0, 0), b2=(150, 0, 0), b3=(0, 0, 0))
    [even] = rates_between(before, after).services
    assert [0.0, 0.0, None] == [each.deviation for each in even.backends]
    [uneven] = rates_between(before, replace_counters(after, {1: 10, 2: 90})).services
    assert [-0.6, 0.2] == [round(each.deviation or 0, 3) for each in uneven.backends[:2]]
    assert -0.6 == uneven.imbalance
    [unknown] = rates_between(None, after).services
    assert unknown.imbalance is None


def replace_counters(taken: Snapshot, packets: dict[int, int]) -> Snapshot:
    """Return a snapshot with other packets, and no bytes or flows."""
    return replace(taken, counters={id_: Counters(n, 0, 0) for id_, n in packets.items()})


def test_a_program_costs_the_seconds_of_the_packets_in_between() -> None:
    before = Snapshot(1.0, programs=(ProgramRun(7, ("eth0",), 1.0, 100),))
    after = Snapshot(3.0, programs=(ProgramRun(7, ("eth0",), 1.1, 2_000_100),))
    [cost] = rates_between(before, after).programs
    assert (50, 0.05) == (round(cost.nanoseconds or 0), round(cost.processor, 3))


@pytest.mark.parametrize(
    "before", [None, ProgramRun(6, ("eth0",), 9.0, 9), ProgramRun(7, (), 1.0, 9)]
)
def test_a_program_that_is_new_or_was_not_timed_has_no_cost(before: ProgramRun | None) -> None:
    """After a hot upgrade the counters of another program mean nothing; nor with timing off."""
    earlier = Snapshot(1.0, programs=(before,) if before else ())
    [cost] = rates_between(earlier, Snapshot(2.0, programs=(ProgramRun(7, (), 1.0, 9),))).programs
    assert (None, 0.0) == (cost.nanoseconds, cost.processor)


def test_udp_is_not_reset_by_counts_of_what_it_does_not_tell() -> None:
    dns = service(backend(1), endpoint="198.51.100.10:53/udp")
    before, after = snapshot(1.0, dns, b1=(1, 10, 9)), snapshot(2.0, dns, b1=(8, 80, 0))
    [rated] = rates_between(before, after).services
    assert Rate(7.0, 560.0, None) == rated.rate


def test_history_follows_backends_by_their_address_through_changes_of_id_and_order() -> None:
    history = History()
    first, second = backend(1), backend(2)
    before = service(first, second)
    after = service(backend(3, "10.0.0.2"), first)
    for taken in (before, after):
        history.record(rates_between(None, snapshot(1.0, taken)))
    assert (0.0, 0.0) == history.packets(before.endpoint, second.address)
    assert (0.0, 0.0) == history.packets(before.endpoint, first.address)
