"""Flows whose slots are changing: the table of flow_cases.py, and more."""

from __future__ import annotations

import time

import pytest

from pydsr.hashing.slots import LOOK_UP_ONLY
from pydsr.kernel.bpf.layout import StateNumber
from tests.support.packets.case_services import HOUR, VIP4, forwarded, tcp4
from tests.support.packets.data_plane import Rig
from tests.support.packets.flow_cases import CURRENT, PREVIOUS, RECORDED, STORIES, Story

OLD, NEW, OTHER = 30, 31, 32
PORT = 8080
ENDPOINT = f"{VIP4}:{PORT}"
SYN, ACK = tcp4(PORT, "S"), tcp4(PORT, "A")
UNUSABLE = [StateNumber.DOWN, StateNumber.RETIRED, StateNumber.FREE]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.description)
def test_a_story(world: Rig, story: Story) -> None:
    for number, step in enumerate(story.steps, 1):
        outcome = world.send(bytes(step.frame))
        assert outcome.reason == step.reason, f"step {number}"
        assert outcome.frame == bytes(forwarded(step.frame, step.backend)), f"step {number}"
    assert world.recorded() == sorted(story.recorded)
    assert world.waiting() == sorted(story.pending)


def learning(rig: Rig) -> None:
    """Serve with every slot on its way from OLD to NEW."""
    rig.serve(ENDPOINT, [NEW], OLD, time.monotonic_ns() + HOUR)


def went_to(rig: Rig, frame: object, reason: str) -> int:
    """Send a frame, which is to be forwarded for a reason; return its backend."""
    outcome = rig.send(bytes(frame))  # type: ignore[call-overload]
    assert outcome.reason == reason
    for backend in (OLD, NEW, OTHER):
        if outcome.frame == bytes(forwarded(frame, backend)):
            return backend
    raise AssertionError(outcome.frame.hex())


def test_nothing_is_remembered_at_rest(rig: Rig) -> None:
    rig.serve(ENDPOINT, [NEW])
    for frame in (SYN, ACK, ACK):
        assert went_to(rig, frame, "forwarded") == NEW
    assert (rig.recorded(), rig.waiting()) == ([], [])


def test_records_are_not_asked_at_rest(rig: Rig) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    service = rig.services[0]
    rig.write_table(service, [NEW])
    assert went_to(rig, ACK, "forwarded") == NEW


@pytest.mark.parametrize("state", UNUSABLE, ids=lambda state: state.name)
def test_a_record_of_a_backend_that_is_gone_is_not_followed(rig: Rig, state: StateNumber) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    rig.write_table(rig.services[0], [NEW], LOOK_UP_ONLY)
    rig.state.backends.write_state(OLD, state)
    assert went_to(rig, ACK, CURRENT) == NEW


@pytest.mark.parametrize("state", UNUSABLE, ids=lambda state: state.name)
def test_a_pending_syn_to_a_backend_that_is_gone_is_not_followed(
    rig: Rig, state: StateNumber
) -> None:
    learning(rig)
    assert went_to(rig, SYN, CURRENT) == NEW
    rig.state.backends.write_state(NEW, state)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    assert rig.recorded() == [OLD]


def test_a_record_of_a_draining_backend_is_followed(rig: Rig) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    rig.state.backends.write_state(OLD, StateNumber.DRAIN)
    rig.write_table(rig.services[0], [NEW], LOOK_UP_ONLY)
    assert went_to(rig, ACK, RECORDED) == OLD


def test_an_id_that_another_service_got_is_not_followed(rig: Rig) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    rig.write_table(rig.services[0], [NEW], LOOK_UP_ONLY)
    rig.serve(f"{VIP4}:8081", [OLD])
    assert went_to(rig, ACK, CURRENT) == NEW


def test_a_slot_that_came_back_to_its_owner_still_learns_its_flows(rig: Rig) -> None:
    rig.serve(ENDPOINT, [NEW], NEW, time.monotonic_ns() + HOUR)
    assert went_to(rig, ACK, PREVIOUS) == NEW
    assert rig.recorded() == [NEW]


def test_a_record_outlives_the_learning(rig: Rig) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    rig.write_table(rig.services[0], [NEW], OLD, learn_until=time.monotonic_ns())
    assert went_to(rig, ACK, RECORDED) == OLD
    assert went_to(rig, tcp4(PORT, source_port=1), CURRENT) == NEW


def test_a_record_outlives_another_change(rig: Rig) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    rig.serve(f"{VIP4}:8081", [])
    rig.write_table(rig.services[0], [NEW], LOOK_UP_ONLY)
    assert went_to(rig, ACK, RECORDED) == OLD


def test_a_slot_without_an_owner_keeps_its_old_flows_and_takes_no_new_ones(rig: Rig) -> None:
    rig.serve(ENDPOINT, [], OLD, time.monotonic_ns() + HOUR)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    assert went_to(rig, ACK, RECORDED) == OLD
    assert rig.send(bytes(SYN)).reason == "no_backend"
    assert rig.send(bytes(ACK)).reason == RECORDED


def test_learning_ends_at_its_time_without_anybody_s_doing(rig: Rig) -> None:
    until = time.monotonic_ns() + 1_000_000_000
    rig.serve(ENDPOINT, [NEW], OLD, until)
    reasons: list[str] = []
    port = 1000
    while not reasons or reasons[-1] == PREVIOUS:
        port += 1
        reasons.append(rig.send(bytes(tcp4(PORT, source_port=port))).reason)
        assert time.monotonic_ns() < until + 10_000_000_000
    assert reasons[0] == PREVIOUS
    assert reasons[-1] == CURRENT
    # The program's clock ticks by up to 10 ms.
    assert time.monotonic_ns() >= until - 10_000_000


def test_a_packet_of_a_recorded_flow_renews_its_record(rig: Rig) -> None:
    learning(rig)
    rig.send(bytes(ACK))
    (first,) = rig.records()
    deadline = time.monotonic() + 10
    renewed = first
    while renewed.last_seen == first.last_seen:
        assert time.monotonic() < deadline
        rig.send(bytes(ACK))
        (renewed,) = rig.records()
    assert first.last_seen < renewed.last_seen <= time.monotonic_ns()
    assert (renewed.slot, renewed.backend) == (first.slot, first.backend)


@pytest.mark.parametrize("flags", ["FA", "R", "RA"])
def test_a_flow_that_closes_is_marked(rig: Rig, flags: str) -> None:
    learning(rig)
    rig.send(bytes(ACK))
    assert [record.closing for record in rig.records()] == [False]
    rig.send(bytes(tcp4(PORT, flags)))
    assert [record.closing for record in rig.records()] == [True]


def test_a_flow_that_closes_at_its_first_packet_is_marked(rig: Rig) -> None:
    learning(rig)
    rig.send(bytes(tcp4(PORT, "FA")))
    assert [record.closing for record in rig.records()] == [True]


def test_a_reused_port_is_no_closing_flow_any_more(rig: Rig) -> None:
    learning(rig)
    for frame in (ACK, tcp4(PORT, "FA"), SYN, ACK):
        rig.send(bytes(frame))
    assert [(r.backend, r.closing) for r in rig.records()] == [(NEW, False)]


def test_a_record_names_the_slot_of_its_flow(rig: Rig) -> None:
    learning(rig)
    for port in range(1, 50):
        rig.send(bytes(tcp4(PORT, source_port=port)))
    slots = {rig.explain(bytes(tcp4(PORT, source_port=port))).slot for port in range(1, 50)}
    assert {record.slot for record in rig.records()} == slots


def test_a_syn_flood_washes_no_record_out(rig: Rig) -> None:
    learning(rig)
    assert went_to(rig, ACK, PREVIOUS) == OLD
    frame = bytearray(bytes(SYN))
    for number in range(40_000):
        frame[26:28] = (number >> 8).to_bytes(2, "big")
        frame[34] = number & 0xFF
        rig.run(bytes(frame))
    assert rig.recorded() == [OLD]
    assert went_to(rig, ACK, RECORDED) == OLD
