"""The loaded program agrees with the model of connection consistency, packet by packet."""

from __future__ import annotations

import ipaddress
from array import array
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from pydsr.control.balancer import Balancer
from pydsr.control.edits import ChangeState
from pydsr.control.trace import flow_frame
from pydsr.hashing.table import Table
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.model.addresses import Endpoint
from pydsr.model.options import Affinity, ServiceOptions
from pydsr.model.service import BackendState, Service
from tests.support.consistency_model import (
    BACKENDS,
    FLOWS,
    Model,
    Packet,
    Step,
    Witness,
    run,
    steps,
)
from tests.support.examples import examples
from tests.support.packets.data_plane import Rig, address_of, mac_of

ENDPOINTS = {
    True: Endpoint.parse("198.51.100.10:80"),
    False: Endpoint.parse("198.51.100.10:53/udp"),
}
CLIENT = ipaddress.IPv4Address("192.0.2.7")
FLAGS_AT = 14 + 20 + 13
TCP_FLAGS = {"syn": 0x02, "data": 0x18, "fin": 0x11}
FOR_EVER = 1 << 62
STATES = {
    BackendState.UP: StateNumber.UP,
    BackendState.DRAIN: StateNumber.DRAIN,
    BackendState.DOWN: StateNumber.DOWN,
}


def frame_of(endpoint: Endpoint, port: int, kind: str) -> bytes:
    """Return a packet of a flow."""
    frame = bytearray(flow_frame(endpoint, CLIENT, port))
    if kind in TCP_FLAGS:
        frame[FLAGS_AT] = TCP_FLAGS[kind]
    return bytes(frame)


class Twin:
    """A loaded service that is led through the same history as a model."""

    def __init__(self, rig: Rig, by_syn: bool) -> None:
        rig.clear()
        self.rig = rig
        self.endpoint = ENDPOINTS[by_syn]
        self.service: Service = rig.serve(str(self.endpoint), list(BACKENDS))
        self._written: Table | None = None
        self.ports = self._meeting_ports()
        self.model = Model.with_backends(self._slots(), rig.state.settings.table_size, by_syn)
        self.follow()

    def _slot_of(self, port: int) -> int:
        return int(self.rig.explain(frame_of(self.endpoint, port, "data")).slot)

    def _meeting_ports(self) -> list[int]:
        """Return a port for each flow, so that the flows share two slots."""
        by_slot: dict[int, list[int]] = {}
        half = len(FLOWS) // 2
        for port in range(1024, 65536):
            by_slot.setdefault(self._slot_of(port), []).append(port)
            full = [ports for ports in by_slot.values() if len(ports) >= half]
            if len(full) == 2:
                return [port for ports in full for port in ports[:half]]
        raise ValueError("no two slots are met often enough")

    def _slots(self) -> dict[int, int]:
        return {flow: self._slot_of(self.ports[flow]) for flow in FLOWS}

    def send(self, packet: Packet) -> int:
        """Send a packet; the backend whose MAC it left with, or 0 where it was dropped."""
        outcome = self.rig.send(frame_of(self.endpoint, self.ports[packet.flow], packet.kind))
        if outcome.verdict != "tx":
            assert outcome.reason == "no_backend"
            return 0
        return next(n for n in BACKENDS if mac_of(n).octets == outcome.frame[:6])

    def follow(self) -> None:
        """Bring tables, states and records to where the model's control plane has them."""
        table = replace(self.model.table, learn_until=FOR_EVER if self.model.learning else 0)
        if table != self._written:
            self.rig.state.tables.write(self.service.id, table)
            self._written = table
        states = {member.id: STATES[member.state] for member in table.members}
        for backend in BACKENDS:
            self.rig.state.backends.write_state(backend, states.get(backend, StateNumber.RETIRED))
        flow_of = {port: flow for flow, port in enumerate(self.ports)}
        for record in list(self.rig.state.flow_records.all()):
            if flow_of[port_of(record.key)] not in self.model.records:
                self.rig.state.flow_records.delete(record)
        for record in list(self.rig.state.half_open_flows.all()):
            if flow_of[port_of(record.key)] not in self.model.pending:
                self.rig.state.half_open_flows.delete(record)

    def remembered(self) -> tuple[dict[int, tuple[int, bool]], dict[int, int]]:
        """Return the records, with whether they are closing, and the pending flows."""
        flow_of = {port: flow for flow, port in enumerate(self.ports)}
        records = {
            flow_of[port_of(r.key)]: (r.backend, r.closing)
            for r in self.rig.state.flow_records.all()
        }
        pending = {flow_of[port_of(r.key)]: r.backend for r in self.rig.state.half_open_flows.all()}
        return records, pending


def port_of(key: bytes) -> int:
    """Return the source port of a flow's key."""
    at = layout.FlowKey.source_port.offset
    return int.from_bytes(key[at : at + 2], "big")


def agree(twin: Twin, history: Sequence[Step]) -> None:
    """Lead both through a history, and compare all there is after each step."""
    witness = Witness()
    for step in history:
        expected = run(twin.model, witness, step)
        if isinstance(step, Packet):
            assert twin.send(step) == expected
        else:
            twin.follow()
        records, pending = twin.remembered()
        assert records == {f: (r.backend, r.closing) for f, r in twin.model.records.items()}
        assert pending == {f: r.backend for f, r in twin.model.pending.items()}


@pytest.mark.hypothesis  # the property is inside
@pytest.mark.parametrize("by_syn", [True, False], ids=["tcp", "udp"])
def test_the_program_agrees_with_the_model_step_by_step(rig: Rig, by_syn: bool) -> None:
    kinds = ("syn", "data", "data", "fin") if by_syn else ("udp",)
    twin = Twin(rig, by_syn)

    @settings(max_examples=examples(50), suppress_health_check=[HealthCheck.too_slow])
    @given(steps(kinds))
    def agrees(history: list[Step]) -> None:
        fresh = Model.with_backends(twin.model.slots, twin.model.table.size, by_syn)
        twin.model = fresh
        twin.follow()
        agree(twin, history)

    agrees()


def test_affinity_by_source_gives_a_syn_no_meaning(rig: Rig) -> None:
    options = ServiceOptions(affinity=Affinity.SOURCE)
    service = rig.serve("198.51.100.10:80", [1], previous=2, learn_until=FOR_EVER, options=options)
    endpoint = service.endpoint
    for port, kind in ((1000, "syn"), (1001, "data")):
        assert rig.send(frame_of(endpoint, port, kind)).frame[:6] == mac_of(2).octets
    assert (rig.recorded(), rig.waiting()) == ([2], [])


def test_a_flood_of_syns_evicts_no_record(rig: Rig) -> None:
    service = rig.serve("198.51.100.10:80", [1], previous=2, learn_until=FOR_EVER)
    old_flow = frame_of(service.endpoint, 1000, "data")
    assert rig.send(old_flow).frame[:6] == mac_of(2).octets
    flood = bytearray(frame_of(service.endpoint, 1000, "syn"))
    for number in range(40_000):
        flood[26:30] = (0x0A000000 + number).to_bytes(4, "big")
        rig.send_only(bytes(flood))
    assert rig.recorded() == [2]
    assert rig.send(old_flow).reason == "forwarded_recorded"


def test_at_rest_no_flow_is_looked_up_or_remembered(rig: Rig) -> None:
    service = rig.serve("198.51.100.10:80", [1, 2])
    for port in range(1000, 1200):
        assert rig.send(frame_of(service.endpoint, port, "syn")).reason == "forwarded"
        assert rig.send(frame_of(service.endpoint, port, "data")).reason == "forwarded"
    assert (rig.recorded(), rig.waiting()) == ([], [])


def test_tables_hold_their_slots_in_order(rig: Rig) -> None:
    size = rig.state.settings.table_size
    service = rig.serve("198.51.100.10:80", [1])
    current = array("H", [n % 3 for n in range(size)])
    previous = array("H", [n % 5 for n in range(size)])
    table = rig.state.tables.read(service.id)
    assert table is not None
    rig.state.tables.write(service.id, Table(table.members, current, previous, 7))
    read = rig.state.tables.read(service.id)
    assert read is not None
    assert (read.current, read.previous, read.learn_until) == (current, previous, 7)


def test_what_went_elsewhere_while_a_backend_was_down_stays_there(rig: Rig) -> None:
    """Also where all of that happens within a moment: a flow's record of before is forgotten."""
    service = rig.serve("198.51.100.10:53/udp", [1, 2])
    frames = (frame_of(service.endpoint, port, "udp") for port in range(1000, 2000))
    frame = next(one for one in frames if rig.send(one).frame[:6] == mac_of(2).octets)

    story = (
        (BackendState.DRAIN, 2, "forwarded_previous"),
        (BackendState.DOWN, 1, "forwarded_current"),
        (BackendState.UP, 1, "forwarded_previous"),
    )
    with Balancer(rig.directory) as balancer:
        for state, expected, reason in story:
            balancer.change_several([ChangeState(service.endpoint, [address_of(2)], state)])
            outcome = rig.send(frame)
            assert (mac_of(expected).octets, reason) == (outcome.frame[:6], outcome.reason), state
