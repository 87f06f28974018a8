"""How one table follows another: the rules of a slot, and the promise they are there for."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings

from pydsr.hashing.maglev import Member
from pydsr.hashing.slots import LOOK_UP_ONLY
from pydsr.hashing.table import (
    Table,
    empty_table,
    following_table,
    rested_table,
    with_learning_time,
)
from pydsr.model.service import BackendState
from tests.support.consistency_model import FLOWS, LEARN, Model, Step, Wait, Witness, run, steps
from tests.support.examples import examples

SIZE = 251
UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN


def members(**states: BackendState) -> list[Member]:
    """Return members named b1, b2… with states, all of weight 1."""
    return [
        Member(number.to_bytes(16, "big"), 1, number, state)
        for name, state in states.items()
        for number in (int(name[1:]),)
    ]


def first_table(**states: BackendState) -> Table:
    """Return the first table of a service, at rest."""
    return following_table(empty_table(SIZE), members(**states), 0, LEARN)


def pairs(table: Table) -> set[tuple[int, int]]:
    """Return the (current, previous) that occur in a table."""
    return set(zip(table.current, table.previous, strict=True))


def test_the_first_backends_of_a_service_have_nothing_to_learn() -> None:
    table = first_table(b1=UP, b2=UP)
    assert pairs(table) == {(1, 0), (2, 0)}
    assert table.tracked_slots == 0
    assert table.learn_until == 0


def test_a_slot_that_changes_its_owner_remembers_the_one_before() -> None:
    table = following_table(first_table(b1=UP), members(b1=UP, b2=UP), 5, LEARN)
    assert pairs(table) == {(1, 0), (2, 1)}
    assert table.learn_until == 5 + LEARN


def test_a_drained_backend_keeps_its_flows_and_gets_no_new_ones() -> None:
    table = following_table(first_table(b1=UP, b2=UP), members(b1=UP, b2=DRAIN), 0, LEARN)
    assert pairs(table) == {(1, 0), (1, 2)}


@pytest.mark.parametrize("gone", [{"b1": UP, "b2": DOWN}, {"b1": UP}], ids=["down", "removed"])
def test_a_lost_backend_gives_its_slots_away_at_once(gone: dict[str, BackendState]) -> None:
    table = following_table(first_table(b1=UP, b2=UP), members(**gone), 0, LEARN)
    assert pairs(table) == {(1, 0)}
    assert table.learn_until == 0


def test_a_slot_that_changes_again_while_learning_keeps_its_oldest_owner() -> None:
    once = following_table(first_table(b1=UP), members(b1=DRAIN, b2=UP), 0, LEARN)
    again = following_table(once, members(b1=DRAIN, b2=DRAIN, b3=UP), LEARN - 1, LEARN)
    assert pairs(again) == {(3, 1)}
    assert again.learn_until == 2 * LEARN - 1


def test_a_slot_that_changes_again_after_learning_remembers_its_last_owner() -> None:
    once = following_table(first_table(b1=UP), members(b1=DRAIN, b2=UP), 0, LEARN)
    again = following_table(once, members(b1=DRAIN, b2=DRAIN, b3=UP), LEARN, LEARN)
    assert pairs(again) == {(3, 2)}


def test_a_slot_given_back_looks_records_up_and_learns_none() -> None:
    once = following_table(first_table(b1=UP), members(b1=DRAIN, b2=UP), 0, LEARN)
    back = following_table(once, members(b1=UP, b2=DRAIN), 1, LEARN)
    assert pairs(back) == {(1, LOOK_UP_ONLY)}


def test_a_service_that_keeps_no_connections_is_always_at_rest() -> None:
    table = following_table(
        first_table(b1=UP), members(b1=UP, b2=UP), 0, LEARN, keeps_connections=False
    )
    assert pairs(table) == {(1, 0), (2, 0)}


def test_a_service_without_a_backend_for_new_flows_keeps_the_old_ones() -> None:
    drained = following_table(first_table(b1=UP), members(b1=DRAIN), 0, LEARN)
    assert pairs(drained) == {(0, 1)}
    later = following_table(drained, members(b1=DRAIN, b2=DOWN), LEARN + 1, LEARN)
    assert pairs(later) == {(0, LOOK_UP_ONLY)}


def test_a_slot_rests_when_learning_is_over_and_no_record_names_another() -> None:
    table = following_table(first_table(b1=UP), members(b1=DRAIN, b2=UP), 0, LEARN)
    assert rested_table(table, {}, LEARN - 1) is table
    assert pairs(rested_table(table, {}, LEARN)) == {(2, 0)}
    assert pairs(rested_table(table, {0: {2}}, LEARN)) == {(2, 0)}
    held = rested_table(table, {0: {1}}, LEARN)
    assert held.previous[0] == 1
    assert held.tracked_slots == 1


def test_a_record_of_a_lost_backend_holds_no_slot() -> None:
    table = following_table(first_table(b1=UP), members(b1=DRAIN, b2=UP), 0, LEARN)
    gone = Table(tuple(members(b2=UP)), table.current, table.previous, table.learn_until)
    assert pairs(rested_table(gone, {0: {1}}, LEARN)) == {(2, 0)}


def test_tables_of_a_service_are_of_one_size() -> None:
    table = first_table(b1=UP)
    assert (len(table.current), len(table.previous)) == (SIZE, SIZE)
    assert isinstance(table.previous, array)


def slots_of_flows() -> dict[int, int]:
    """Return two slots: flows that share one are what is hard about slots."""
    return {flow: 100 * (flow % 2) for flow in FLOWS}


@settings(max_examples=examples(250))
@given(steps(("syn", "data", "data", "data", "fin")))
def test_no_tcp_flow_of_a_living_backend_ever_changes_backend(history: list[Step]) -> None:
    model, witness = Model.with_backends(slots_of_flows(), SIZE, by_syn=True), Witness()
    for step in history:
        run(model, witness, step)


@settings(max_examples=examples(250))
@given(steps(("udp",)))
def test_no_udp_flow_of_a_living_backend_ever_changes_backend(history: list[Step]) -> None:
    model, witness = Model.with_backends(slots_of_flows(), SIZE, by_syn=False), Witness()
    for step in history:
        run(model, witness, step)


@settings(max_examples=examples(50))
@given(steps(("syn", "data")))
def test_every_slot_comes_to_rest_when_nothing_happens_for_long(history: list[Step]) -> None:
    model, witness = Model.with_backends(slots_of_flows(), SIZE, by_syn=True), Witness()
    for step in [*history, Wait(2 * LEARN)]:
        run(model, witness, step)
    model.tidy()
    assert model.table.tracked_slots == 0


@pytest.mark.parametrize(
    ("now", "before", "after", "until"),
    [
        (0, 100, 101, 101),
        (50, 100, 200, 250),
        (99, 100, 200, 299),
        (100, 100, 200, 100),
        (50, 100, 20, 70),
        (50, 100, 49, 99),
        (50, 100, 50, 100),
        (50, 100, 90, 100),
        (50, 100, 0, 50),
        (50, 100, 100, 100),
        (100, 100, 20, 100),
    ],
)
def test_another_learning_time_holds_from_now_on(
    now: int, before: int, after: int, until: int
) -> None:
    """Learning that is over stays over, and a shorter time never makes it last longer."""
    table = following_table(first_table(b1=UP), members(b1=UP, b2=UP), 0, 100)
    assert until == with_learning_time(table, now, before, after).learn_until


def test_another_learning_time_is_nothing_to_a_table_at_rest() -> None:
    table = first_table(b1=UP)
    assert table is with_learning_time(table, -5, 100, 200)
