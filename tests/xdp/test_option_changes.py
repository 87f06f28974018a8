"""Options that change while the slots of their service change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ctypes import c_uint32
from typing import Any

import pytest

from pydsr.control import garbage_collection
from pydsr.kernel.bpf import libbpf
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.options import ServiceOptions
from tests.support.packets.data_plane import TABLE_SIZE, Rig
from tests.support.packets.planned_changes import (
    Flow,
    change,
    clear,
    service_of,
    table_of,
    time_of_control,
)

SERVICE = Endpoint.parse("198.51.100.10:80")
OLD, NEW = "10.0.0.1@02:00:00:00:00:a1", "10.0.0.2@02:00:00:00:00:a2"
OLD_MAC, NEW_MAC = MacAddress.parse("02:00:00:00:00:a1"), MacAddress.parse("02:00:00:00:00:a2")
DRAINED = OLD.replace("@", "=0@")
SECOND = 1_000_000_000
FLOWS = [Flow(SERVICE, port) for port in range(1024, 1034)]


@pytest.fixture
def changes(rig: Rig) -> Iterator[Rig]:
    """A data plane without services, which the control plane changes."""
    yield rig
    clear(rig)


def learning(rig: Rig, at: int, seconds: int) -> None:
    """Give every slot from OLD to NEW, at a time, with a learning time."""
    with time_of_control(at):
        change(rig.state, SERVICE, OLD, options=ServiceOptions(learn=seconds))
        change(rig.state, SERVICE, DRAINED, NEW)
    assert (at + seconds * SECOND, TABLE_SIZE) == learn_until(rig)


def set_options(rig: Rig, at: int, *backends: str, **options: Any) -> None:
    """Change the options at a time, and the backends if any are named."""
    with time_of_control(at):
        change(rig.state, SERVICE, *(backends or (DRAINED, NEW)), options=ServiceOptions(**options))


def learn_until(rig: Rig) -> tuple[int, int]:
    """Return until when slots are learning, and how many of them are not at rest."""
    table = table_of(rig, SERVICE)
    return table.learn_until, table.tracked_slots


def table_map(rig: Rig) -> int:
    """Return the id of the map that holds the service's table, which no other table has had."""
    number = c_uint32()
    libbpf.map_lookup(rig.state.pins["tables"], c_uint32(service_of(rig, SERVICE).id), number)
    return number.value


def went_to(rig: Rig) -> set[MacAddress | None]:
    """Return where packets of older flows go."""
    return {flow.went_to(rig) for flow in FLOWS}


def test_a_longer_learning_time_holds_for_the_change_in_progress(changes: Rig) -> None:
    """A flow that is silent for less than it keeps its backend."""
    began = time.monotonic_ns() - 200 * SECOND
    learning(changes, began, 100)
    set_options(changes, began + 50 * SECOND, learn=3600)
    assert (began + 3650 * SECOND, TABLE_SIZE) == learn_until(changes)
    assert {OLD_MAC} == went_to(changes)


def test_without_a_longer_one_learning_would_be_over(changes: Rig) -> None:
    learning(changes, time.monotonic_ns() - 200 * SECOND, 100)
    assert {NEW_MAC} == went_to(changes)


def test_a_shorter_learning_time_ends_the_change_in_progress_sooner(changes: Rig) -> None:
    """As if the option had been so when the change was made; then the slots come to rest."""
    began = time.monotonic_ns() - 200 * SECOND
    learning(changes, began, 3600)
    set_options(changes, began + 50 * SECOND, learn=100)
    assert (began + 150 * SECOND, TABLE_SIZE) == learn_until(changes)
    assert {NEW_MAC} == went_to(changes)
    garbage_collection.collect_all(changes.state)
    assert 0 == table_of(changes, SERVICE).tracked_slots


def test_a_shorter_learning_time_keeps_flows_that_are_not_silent_for_longer(changes: Rig) -> None:
    now = time.monotonic_ns()
    learning(changes, now, 3600)
    set_options(changes, now + 10 * SECOND, learn=100)
    assert {OLD_MAC} == went_to(changes)
    assert len(FLOWS) == len(changes.records())


def test_a_shorter_learning_time_never_makes_learning_last_longer(changes: Rig) -> None:
    began = time.monotonic_ns()
    learning(changes, began, 100)
    set_options(changes, began + 90 * SECOND, learn=50)
    assert (began + 100 * SECOND, TABLE_SIZE) == learn_until(changes)


def test_slots_that_have_settled_do_not_learn_again(changes: Rig) -> None:
    """New flows of theirs have no record, and would be taken for older ones."""
    began = time.monotonic_ns() - 200 * SECOND
    learning(changes, began, 250)
    assert {OLD_MAC} == went_to(changes)  # which records them
    set_options(changes, began + 250 * SECOND, learn=3600)
    assert began + 250 * SECOND == learn_until(changes)[0]


def test_learning_time_and_backends_may_change_together(changes: Rig) -> None:
    """The earlier change gets the new time too, also where the later one has nothing to learn."""
    began = time.monotonic_ns()
    learning(changes, began, 100)
    set_options(changes, began + 50 * SECOND, OLD, learn=3600)  # as before: nothing to learn
    assert began + 3650 * SECOND == learn_until(changes)[0]


def test_a_shorter_time_holds_for_both_changes(changes: Rig) -> None:
    began = time.monotonic_ns()
    learning(changes, began, 3600)
    other = "10.0.0.3@02:00:00:00:00:a3"
    set_options(changes, began + 50 * SECOND, DRAINED, NEW, other, learn=100)
    assert began + 150 * SECOND == learn_until(changes)[0]


def test_another_option_leaves_the_table_alone(changes: Rig) -> None:
    began = time.monotonic_ns()
    learning(changes, began, 100)
    before = table_map(changes)
    set_options(changes, began + SECOND, learn=100, arp=False)
    assert before == table_map(changes)
    assert not service_of(changes, SERVICE).options.arp


def test_at_rest_the_table_is_left_alone(changes: Rig) -> None:
    change(changes.state, SERVICE, OLD)
    before = table_map(changes)
    set_options(changes, time.monotonic_ns(), OLD, learn=1)
    assert before == table_map(changes)


@pytest.mark.parametrize(("silent", "kept"), [(59, 10), (61, 0)])
def test_records_live_as_long_as_the_present_learning_time(
    changes: Rig, silent: int, kept: int
) -> None:
    """Also those that were written under a longer one."""
    now = time.monotonic_ns()
    learning(changes, now, 3600)
    assert {OLD_MAC} == went_to(changes)
    set_options(changes, now, learn=60)
    with time_of_control(time.monotonic_ns() + silent * SECOND):
        garbage_collection.collect_all(changes.state)
    assert kept == len(changes.records())


def test_a_service_that_stops_keeping_connections_forgets_its_flows(changes: Rig) -> None:
    """When it keeps them again, no record of before says where they are."""
    learning(changes, time.monotonic_ns(), 3600)
    assert {OLD_MAC} == went_to(changes)
    assert {NEW_MAC} == {flow.went_to(changes, syn=True) for flow in FLOWS}
    assert (10, 10) == (len(changes.records()), len(changes.waiting()))
    set_options(changes, time.monotonic_ns(), one_packet=True)
    assert 0 == table_of(changes, SERVICE).tracked_slots
    assert (0, 0) == (len(changes.records()), len(changes.waiting()))
    assert {NEW_MAC} == went_to(changes)


def test_another_service_keeps_its_flows_then(changes: Rig) -> None:
    other = Endpoint.parse("198.51.100.11:80")
    learning(changes, time.monotonic_ns(), 3600)
    change(changes.state, other, OLD)
    change(changes.state, other, DRAINED, NEW)
    assert OLD_MAC == Flow(other, 1024).went_to(changes)
    set_options(changes, time.monotonic_ns(), one_packet=True)
    assert [service_of(changes, other).id] == [record.service for record in changes.records()]


def test_a_service_at_rest_has_nothing_to_collect(changes: Rig) -> None:
    """Nor has one that does not exist."""
    change(changes.state, SERVICE, OLD)
    nothing = garbage_collection.Collected()
    endpoints = [SERVICE, Endpoint.parse("198.51.100.99:80")]
    assert nothing == garbage_collection.collect_of_services(changes.state, endpoints)
    learning(changes, time.monotonic_ns() - SECOND, 0)
    rested = garbage_collection.Collected(slots_rested=TABLE_SIZE)
    assert rested == garbage_collection.collect_of_services(changes.state, endpoints)
