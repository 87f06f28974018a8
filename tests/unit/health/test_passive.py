"""Backends that look like black holes, by packets for each new flow."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.health.passive import MIN_NEW_FLOWS, suspicions
from pydsr.model.addresses import Endpoint
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot

Got = tuple[int, int]
"""Packets and new flows of one backend between two snapshots."""

DARK, BRIGHT = (110, 100), (900, 100)


def suspected(
    *got: Got,
    endpoint: str = "192.0.2.80:80",
    state: BackendState = BackendState.UP,
    ids_later: int = 1,
    base: Got = (7000, 1000),
) -> list[int]:
    """Return which backends, by number from 0, are suspected after they got so much."""
    before, after = (
        Service(
            1,
            Endpoint.parse(endpoint),
            ServiceOptions(),
            tuple(
                Backend(first + n, ip_address("198.51.100.0") + n, 1, None, False, state, 2)
                for n in range(len(got))
            ),
        )
        for first in (1, ids_later)
    )
    then = {1 + n: Counters(base[0], 0, base[1]) for n in range(len(got))}
    now = {
        ids_later + n: Counters(base[0] + packets, 0, base[1] + flows)
        for n, (packets, flows) in enumerate(got)
    }
    found = suspicions(Snapshot(10, (before,), then), Snapshot(20, (after,), now))
    return [int(one.address) - int(ip_address("198.51.100.0")) for one in found]


def test_a_black_hole_is_suspected_beside_working_backends() -> None:
    assert [1] == suspected(BRIGHT, DARK, BRIGHT)


def test_black_holes_do_not_hide_each_other() -> None:
    assert [1, 2] == suspected(BRIGHT, DARK, DARK)


def test_a_flood_of_all_suspects_nobody() -> None:
    assert [] == suspected(DARK, DARK, DARK)


def test_a_backend_alone_is_not_suspected() -> None:
    assert [] == suspected(DARK)


def test_few_new_flows_mean_nothing() -> None:
    few = MIN_NEW_FLOWS - 1
    assert [] == suspected(BRIGHT, (few, few))
    assert [] == suspected((9 * few, few), DARK)


@pytest.mark.parametrize(
    "service", ["192.0.2.80:53/udp", "192.0.2.80:80/sctp"], ids=["UDP", "SCTP"]
)
def test_only_tcp_is_examined(service: str) -> None:
    assert [] == suspected(BRIGHT, DARK, endpoint=service)


def test_a_draining_backend_is_not_examined() -> None:
    assert [] == suspected(BRIGHT, DARK, state=BackendState.DRAIN)


def test_a_backend_with_another_id_is_not_examined() -> None:
    assert [] == suspected(BRIGHT, DARK, ids_later=50)


def test_counters_that_decrease_are_not_compared() -> None:
    assert [] == suspected(BRIGHT, (-100, -100), base=(200, 200))


GOT = st.tuples(st.integers(0, 10_000), st.integers(0, 1000)).map(lambda g: (g[0] + g[1], g[1]))


@given(st.lists(GOT, max_size=6))
def test_a_working_backend_is_never_suspected(got: list[Got]) -> None:
    for number in suspected(*got):
        packets, flows = got[number]
        assert flows >= MIN_NEW_FLOWS
        assert packets <= 1.25 * flows
        assert any(p >= 2.5 * n for p, n in got if n)


@pytest.mark.parametrize(
    ("what", "dark", "bright", "is_suspected"),
    [
        ("as many as are enough", (20, 20), (60, 20), True),
        ("one too few", (19, 19), (60, 20), False),
        ("one too few of the others", (20, 20), (57, 19), False),
        ("the largest ratio of a black hole", (125, 100), (900, 100), True),
        ("a larger one", (126, 100), (900, 100), False),
        ("the smallest ratio of a working backend", (100, 100), (250, 100), True),
        ("a smaller one", (100, 100), (249, 100), False),
        ("others without new flows", (100, 100), (5000, 0), False),
    ],
)
def test_the_bounds_of_a_suspicion(what: str, dark: Got, bright: Got, is_suspected: bool) -> None:
    assert ([0] if is_suspected else []) == suspected(dark, bright), what


def test_the_figures_of_a_suspicion_are_those_of_working_backends() -> None:
    """Several black holes are not part of them."""
    backends = tuple(
        Backend(n, ip_address(f"198.51.100.{n}"), 1, None, False, BackendState.UP, 2)
        for n in (1, 2, 3, 4)
    )
    service = Service(1, Endpoint.parse("192.0.2.80:80"), ServiceOptions(), backends)
    now = {1: (110, 100), 2: (100, 100), 3: (300, 100), 4: (500, 100)}
    before = Snapshot(10, (service,), {n: Counters(0, 0, 0) for n in now})
    after = Snapshot(20, (service,), {n: Counters(p, 0, f) for n, (p, f) in now.items()})
    first, second = suspicions(before, after)
    assert (100, 1.1, 4.0) == (first.new_flows, first.ratio, first.peers_ratio)
    assert (100, 1.0, 4.0) == (second.new_flows, second.ratio, second.peers_ratio)
