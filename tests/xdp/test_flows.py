"""Flows whose slots are changing: the table of flow_cases.py, and more."""

from __future__ import annotations

import ipaddress
import time

import pytest
from scapy.layers import sctp as chunks
from scapy.layers.inet import TCP
from scapy.packet import Raw

from pydsr.hashing.slots import LOOK_UP_ONLY
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.layout import RecordFlag, StateNumber
from pydsr.kernel.bpf.maps import HashMap
from pydsr.model.options import Affinity, ServiceOptions
from tests.support.packets.case_services import (
    HOUR,
    SOURCE_PORT,
    VIP4,
    VIP6,
    Packet,
    forwarded,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)
from tests.support.packets.data_plane import Rig, mac_of
from tests.support.packets.feature_cases import sctp
from tests.support.packets.flow_cases import CURRENT, PREVIOUS, RECORDED, STORIES, Story
from tests.support.packets.icmp_error_cases import error4, replied4, replied6, too_big

OLD, NEW, OTHER = 30, 31, 32
PORT = 8080
ENDPOINT = f"{VIP4}:{PORT}"
SYN, ACK = tcp4(PORT, "S"), tcp4(PORT, "A")
TICK = 20_000_000
"""More than the program's clock is behind: it ticks every 10 ms at least."""
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
    rig.write_table(rig.services[0], [NEW], OLD, learn_until=time.monotonic_ns() - TICK)
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
    until = time.monotonic_ns() + 100_000_000
    rig.serve(ENDPOINT, [NEW], OLD, until)
    reason, port = PREVIOUS, 1000
    while reason == PREVIOUS:
        port, before = port + 1, time.monotonic_ns()
        reason = rig.send(bytes(tcp4(PORT, source_port=port))).reason
        if reason == PREVIOUS:
            assert before < until + TICK
    assert reason == CURRENT
    assert time.monotonic_ns() > until - TICK


def headers(version: int) -> Packet:
    """Return a client's frame to the VIP, up to the IP header."""
    return ip4() if version == 4 else ip6()


def learning_of(
    rig: Rig, version: int, packet: Packet, options: ServiceOptions | None = None
) -> None:
    """Serve the protocol of a packet with every slot on its way from OLD to NEW."""
    vip = VIP4 if version == 4 else f"[{VIP6}]"
    endpoint = f"{vip}:{PORT}/{packet.name.lower()}"
    rig.serve(endpoint, [NEW], OLD, time.monotonic_ns() + HOUR, options)


def values(rig: Rig, name: str) -> list[tuple[layout.FlowKey, layout.RecordValue]]:
    """Return what the map ``records`` or ``pending`` holds."""
    entries = HashMap(rig.state.pins[name], layout.FlowKey, layout.RecordValue)
    return [(key, value) for key in entries.all_keys() if (value := entries.get(key)) is not None]


OPEN, CLOSED = 0, int(RecordFlag.CLOSING)
PACKETS = [
    *((f"TCP {flags}", tcp(PORT, flags), OPEN) for flags in ("A", "PA", "SA", "UA", "EC")),
    *((f"TCP {flags}", tcp(PORT, flags), CLOSED) for flags in ("F", "FA", "R", "RA", "FPA")),
    *(
        (f"SCTP {chunk.__name__[9:]}", sctp(chunk(), PORT), OPEN)
        for chunk in (
            chunks.SCTPChunkData,
            chunks.SCTPChunkInitAck,
            chunks.SCTPChunkSACK,
            chunks.SCTPChunkHeartbeatReq,
            chunks.SCTPChunkShutdown,
            chunks.SCTPChunkShutdownAck,
            chunks.SCTPChunkError,
            chunks.SCTPChunkCookieEcho,
        )
    ),
    ("SCTP Abort", sctp(chunks.SCTPChunkAbort(), PORT), CLOSED),
    ("SCTP ShutdownComplete", sctp(chunks.SCTPChunkShutdownComplete(), PORT), CLOSED),
    ("UDP", udp(PORT) / Raw(b"\xff" * 32), OPEN),
]
OPENING = {"TCP": tcp(PORT, "S"), "SCT": sctp(chunks.SCTPChunkInit(), PORT)}


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("name", "packet", "flags"), [pytest.param(*case, id=case[0]) for case in PACKETS]
)
def test_a_record_s_flags_are_those_of_its_packets(
    rig: Rig, version: int, name: str, packet: Packet, flags: int
) -> None:
    """As its first packet, as a later one, and as the one after a SYN or an INIT."""
    learning_of(rig, version, packet)
    opening, harmless = OPENING.get(name[:3]), next(p for n, p, _ in PACKETS if n[:3] == name[:3])
    rig.send(bytes(headers(version) / packet))
    assert [flags] == [value.flags for _, value in values(rig, "records")]
    rig.send(bytes(headers(version) / harmless))
    assert [flags] == [value.flags for _, value in values(rig, "records")]
    rig.forget_flows()
    rig.send(bytes(headers(version) / harmless))
    rig.send(bytes(headers(version) / packet))
    assert [flags] == [value.flags for _, value in values(rig, "records")]
    if opening is None:
        return
    rig.send(bytes(headers(version) / opening))
    assert [OPEN] == [value.flags for _, value in values(rig, "pending")]
    assert rig.send(bytes(headers(version) / packet)).reason == RECORDED
    assert [(NEW, flags)] == [(v.backend, v.flags) for _, v in values(rig, "records")]
    assert [] == values(rig, "pending")


NETWORKS = [
    (4, ServiceOptions(affinity=Affinity.SOURCE), "192.0.2.7", [], ["192.0.2.6"]),
    (
        4,
        ServiceOptions(affinity=Affinity.SOURCE, netmask4=28),
        "192.0.2.0",
        ["192.0.2.15"],
        ["192.0.2.16", "192.0.1.255"],
    ),
    (6, ServiceOptions(affinity=Affinity.SOURCE), "2001:db8::7", [], ["2001:db8::6"]),
    (
        6,
        ServiceOptions(affinity=Affinity.SOURCE, netmask6=56),
        "2001:db8:0:100::",
        ["2001:db8:0:1ff:ffff::1"],
        ["2001:db8:0:200::", "2001:db8:0:ff::"],
    ),
    (
        6,
        ServiceOptions(affinity=Affinity.SOURCE, netmask6=120),
        "2001:db8::100",
        ["2001:db8::1ff"],
        ["2001:db8::200", "2001:db8::ff"],
    ),
]


@pytest.mark.parametrize("transport", [tcp(PORT, "S"), udp(PORT), OPENING["SCT"]])
@pytest.mark.parametrize(("version", "options", "first", "inside", "outside"), NETWORKS)
def test_a_network_has_one_record_with_affinity_by_source(
    rig: Rig,
    transport: Packet,
    version: int,
    options: ServiceOptions,
    first: str,
    inside: list[str],
    outside: list[str],
) -> None:
    """Whatever the ports, and the first bits of the address and nothing else are its key."""
    learning_of(rig, version, transport, options)

    def reason(source: str, port: int) -> str:
        packet = headers(version) / transport
        packet[1].src, packet[2].sport = source, port
        return rig.send(bytes(packet)).reason

    assert reason(first, 1) == PREVIOUS
    assert {RECORDED} == {reason(source, port) for source in (first, *inside) for port in (1, 2)}
    ((key, value),) = values(rig, "records")
    assert layout.pack_address(ipaddress.ip_address(first)) == bytes(key.address)
    assert bytes(4) == bytes(key.source_port) + bytes(key.destination_port)
    assert OLD == value.backend
    assert [] == values(rig, "pending")
    assert {PREVIOUS} == {reason(source, 1) for source in outside}


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("options", "last"),
    [
        (ServiceOptions(affinity=Affinity.DESTINATION), {4: 10, 6: 0x10}),
        (
            ServiceOptions(affinity=Affinity.DESTINATION, netmask4=30, netmask6=123),
            {4: 8, 6: 0x00},
        ),
    ],
    ids=["host", "network"],
)
def test_a_vip_has_one_record_with_affinity_by_destination(
    rig: Rig, version: int, options: ServiceOptions, last: dict[int, int]
) -> None:
    transport = tcp(PORT, "S")
    learning_of(rig, version, transport, options)
    sources = ["192.0.2.1", "198.18.0.1"] if version == 4 else ["2001:db8::1", "fd00::1"]
    for source in sources:
        packet = headers(version) / transport
        packet[1].src = source
        rig.send(bytes(packet))
    ((key, _),) = values(rig, "records")
    network = ipaddress.ip_address("198.51.100.0" if version == 4 else "2001:db8::")
    assert layout.pack_address(network + last[version]) == bytes(key.address)


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


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_services_have_records_of_their_own(rig: Rig, version: int) -> None:
    """Also where affinity leaves nothing of a flow that tells them apart."""
    options = ServiceOptions(affinity=Affinity.SOURCE)
    transports = {31: tcp(PORT), 33: udp(PORT), 35: sctp(chunks.SCTPChunkData(), PORT)}
    for new, transport in transports.items():
        vip = VIP4 if version == 4 else f"[{VIP6}]"
        endpoint = f"{vip}:{PORT}/{transport.name.lower()}"
        rig.serve(endpoint, [new], new + 1, time.monotonic_ns() + HOUR, options)
    for transport in transports.values():
        assert rig.send(bytes(headers(version) / transport)).reason == PREVIOUS
    recorded = {(record.service, record.backend) for record in rig.records()}
    assert recorded == {(0, 32), (1, 34), (2, 36)}


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_an_icmp_error_follows_its_flow_and_changes_no_record(rig: Rig, version: int) -> None:
    """Whether its flow is older than the change, half open or recorded."""
    answer = TCP(sport=PORT, dport=SOURCE_PORT, flags="SA")
    error = error4(replied4() / answer) if version == 4 else too_big(replied6() / answer)
    learning_of(rig, version, tcp(PORT))

    def backend_of_error() -> int:
        outcome = rig.send(bytes(error))
        assert outcome.reason == "forwarded_error"
        return next(n for n in (OLD, NEW) if mac_of(n).octets == outcome.frame[:6])

    assert backend_of_error() == OLD
    assert ([], []) == (rig.recorded(), rig.waiting())
    rig.send(bytes(headers(version) / tcp(PORT, "S")))
    assert backend_of_error() == NEW
    assert ([], [NEW]) == (rig.recorded(), rig.waiting())
    rig.send(bytes(headers(version) / tcp(PORT)))
    ((key, value),) = values(rig, "records")
    value.last_seen = 1
    HashMap(rig.state.pins["records"], layout.FlowKey, layout.RecordValue).put(key, value)
    assert backend_of_error() == NEW
    assert [(NEW, 1)] == [(record.backend, record.last_seen) for record in rig.records()]
