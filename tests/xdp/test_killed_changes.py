"""Packets after kill -9 in the midst of a change: to the old backend or the new one.

The change runs in a fork and is killed before each of its steps in turn. Packets of old and new
flows follow each kill, and again the next change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from pydsr.control import garbage_collection
from pydsr.control.commit import commit
from pydsr.control.plan import Plan
from pydsr.control.trace import flow_frame
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.tables import NO_TABLE
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.options import Affinity, ServiceOptions
from tests.support.netns.kills import ended, killed_at_step
from tests.support.packets.data_plane import Rig
from tests.support.packets.planned_changes import (
    CLIENT,
    Flow,
    change,
    clear,
    plan_change,
    plan_removal,
    remove,
)

SERVICE, OTHER = Endpoint.parse("198.51.100.10:80"), Endpoint.parse("198.51.100.11:80")
THIRD = Endpoint.parse("198.51.100.12:80")
OLD_FLOWS, NEW_FLOWS = range(1024, 1034), range(2048, 2058)


def backend(number: int, weight: int = 1, mac: str = "a") -> str:
    """Return a backend as a command names it."""
    return f"10.0.0.{number}={weight}@02:00:00:00:00:{mac}{number}"


def macs(number: int) -> set[MacAddress]:
    """Return the MACs that a backend ever has."""
    return {MacAddress.parse(f"02:00:00:00:00:{mac}{number}") for mac in "ab"}


A, B, C, D, E = range(1, 6)
FIRST = (backend(A), backend(B))


@dataclass(frozen=True)
class Change:
    """A change of SERVICE, which has FIRST before.

    Attributes:
        plan: makes its plan.
        keeping: the backends whose old flows stay, whatever happens.
        steps: how many it has at least.
    """

    plan: Callable[[LiveState], Plan]
    keeping: frozenset[int]
    steps: int


def to(*backends: str, options: ServiceOptions | None = None) -> Callable[[LiveState], Plan]:
    """Return what plans the change to some backends."""
    return lambda state: plan_change(state, SERVICE, backends, options)


CHANGES: Mapping[str, Change] = {
    "a MAC": Change(to(backend(A), backend(B, mac="b")), frozenset({A, B}), 3),
    "backends and a MAC": Change(to(backend(B, 3, "b"), backend(C), backend(D)), frozenset({B}), 8),
    "a drain": Change(to(backend(A), backend(B, 0)), frozenset({A, B}), 4),
    "options": Change(
        to(*FIRST, backend(C), options=ServiceOptions(learn=60, arp=False)), frozenset({A, B}), 8
    ),
    "affinity": Change(
        to(*FIRST, options=ServiceOptions(affinity=Affinity.SOURCE)), frozenset(), 4
    ),
    "a removal": Change(lambda state: plan_removal(state, SERVICE), frozenset(), 6),
}


@pytest.fixture
def changes(rig: Rig) -> Iterator[Rig]:
    """A data plane without services, which the control plane changes."""
    yield rig
    clear(rig)


def killed(rig: Rig, plan: Callable[[LiveState], Plan], step: int) -> bool:
    """Run a change in a fork; return whether it was killed before that step, and did not end."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            state = LiveState(rig.directory)
            killed_at_step(step)()
            garbage_collection.collect_all(state)
            commit(state, plan(state))
            status = 0
        finally:
            os._exit(status)
    return not ended(pid)


def start(rig: Rig) -> None:
    """Have SERVICE and OTHER with their first backends, at rest, and nothing else."""
    clear(rig)
    change(rig.state, SERVICE, *FIRST)
    change(rig.state, OTHER, backend(E))


def owners(rig: Rig, ports: range, syn: bool) -> dict[int, MacAddress | None]:
    """Send a packet of each flow; return where they went, by port."""
    return {port: Flow(SERVICE, port).went_to(rig, syn) for port in ports}


def number_of(mac: MacAddress | None) -> int:
    """Return the backend that has a MAC; 0 for None."""
    return next((number for number in range(A, E + 1) if mac in macs(number)), 0)


def assert_nothing_is_left(rig: Rig) -> None:
    """Check that no id of a backend is taken, and no table there, that no service has."""
    services = rig.state.services.all()
    with_table = {number for number in range(8) if rig.state.tables.head(number) is not NO_TABLE}
    assert {service.id for service in services} == with_table
    named = {each.id for service in services for each in service.backends}
    taken = rig.state.backends.ids(StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN)
    assert named == {*taken}
    assert [] == [*rig.state.backends.ids(StateNumber.RETIRED)]


@pytest.mark.parametrize("name", CHANGES)
def test_packets_after_a_kill_at_any_step_go_to_the_old_backend_or_the_new(
    changes: Rig, name: str
) -> None:
    made = CHANGES[name]
    start(changes)
    before = {
        port: number_of(mac)
        for ports in (OLD_FLOWS, NEW_FLOWS)
        for port, mac in owners(changes, ports, syn=False).items()
    }
    assert {A, B} == {*before.values()}
    commit(changes.state, made.plan(changes.state))
    after = {port: number_of(mac) for port, mac in owners(changes, NEW_FLOWS, syn=True).items()}
    settled = owners(changes, OLD_FLOWS, syn=True)

    def assert_whole(where: str) -> None:
        for port, mac in owners(changes, OLD_FLOWS, syn=False).items():
            old = before[port]
            allowed = macs(old) if old in made.keeping else macs(old) | {settled[port]}
            assert mac in allowed, (where, port)
        for port, mac in owners(changes, NEW_FLOWS, syn=True).items():
            assert number_of(mac) in (before[port], after[port]), (where, port)
        assert Flow(OTHER, 1024).went_to(changes) in macs(E), where

    steps = 1
    start(changes)
    while killed(changes, made.plan, steps):
        where = f"killed before step {steps}"
        assert_whole(where)
        garbage_collection.collect_all(changes.state)
        assert_whole(f"{where}, and collected")
        assert not changes.state.settings.is_marked
        if SERVICE not in changes.state.services.endpoints():
            frame = flow_frame(SERVICE, CLIENT, 1024)
            assert "not_vip" == changes.send(frame).reason, where
        if name != "a removal" or SERVICE in changes.state.services.endpoints():
            commit(changes.state, made.plan(changes.state))
        assert_whole(f"{where}, and repeated")
        assert after == {
            port: number_of(mac) for port, mac in owners(changes, NEW_FLOWS, syn=True).items()
        }, where
        assert settled == owners(changes, OLD_FLOWS, syn=True), where
        garbage_collection.collect_all(changes.state)
        assert_nothing_is_left(changes)
        start(changes)
        steps += 1
    assert steps > made.steps


def test_ids_that_a_killed_removal_leaves_are_given_to_no_flow_of_before(changes: Rig) -> None:
    """Whatever the removed service had left, the next one's flows go to its own backends."""
    steps = 1
    start(changes)
    change(changes.state, SERVICE, backend(A), backend(B, 0), backend(C))
    owners(changes, OLD_FLOWS, syn=False)  # which records them
    while killed(changes, lambda state: plan_removal(state, SERVICE), steps):
        where = f"killed before step {steps}"
        if SERVICE in changes.state.services.endpoints():
            remove(changes.state, SERVICE)
        change(changes.state, SERVICE, backend(D))
        change(changes.state, THIRD, backend(E))
        change(changes.state, SERVICE, backend(D), backend(D + 4))
        for syn in (False, True):
            for mac in owners(changes, OLD_FLOWS, syn).values():
                assert mac in macs(D) | macs(D + 4), where
        assert Flow(OTHER, 1024).went_to(changes) in macs(E), where
        assert_nothing_is_left(changes)
        start(changes)
        change(changes.state, SERVICE, backend(A), backend(B, 0), backend(C))
        owners(changes, OLD_FLOWS, syn=False)
        steps += 1
    assert steps > 6


def test_packets_after_a_kill_at_any_step_of_garbage_collection_stay(changes: Rig) -> None:
    """Slots come to rest, records go, ids are freed: no flow notices where it was killed."""
    steps = 1

    def prepare() -> dict[int, MacAddress | None]:
        start(changes)
        change(changes.state, SERVICE, *FIRST, options=ServiceOptions(learn=0))
        change(changes.state, SERVICE, backend(B), backend(C))
        return owners(changes, OLD_FLOWS, syn=False)

    expected = prepare()
    nothing = Plan()
    while killed(changes, lambda _: nothing, steps):
        assert expected == owners(changes, OLD_FLOWS, syn=False), steps
        garbage_collection.collect_all(changes.state)
        assert expected == owners(changes, OLD_FLOWS, syn=False), steps
        assert 0 == sum(service.slots_changing for service in changes.state.services.all())
        assert_nothing_is_left(changes)
        assert expected == prepare()
        steps += 1
    assert steps > 3
