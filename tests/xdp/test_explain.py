"""pydsr_explain reports what pydsr_balance does, and counts and records nothing."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator

import pytest

from pydsr.control.trace import FRAME_BYTES_MIN, flow_frame
from pydsr.kernel.bpf import layout, libbpf
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.reasons import all_reasons
from pydsr.model.source_rules import Action
from tests.support.packets.case_services import (
    AWAY,
    DNS,
    EMPTY,
    HTTP,
    LEARNING,
    LEARNING_BY_SOURCE,
    LOOKED_UP,
    MULTICAST_MAC,
    NEXT_DOOR,
    NO_MAC,
    SETTLING,
    UNSERVED,
    VIP4,
    VIP6,
)
from tests.support.packets.data_plane import BALANCER_MAC, ELSEWHERE, INGRESS, Rig, mac_of
from tests.support.packets.fuzz_frames import Mutator, seeds
from tests.support.packets.fuzz_services import build

ENDPOINTS = [
    Endpoint.parse(text)
    for text in (
        *(f"{VIP4}:{port}" for port in (HTTP, EMPTY, LEARNING, LEARNING_BY_SOURCE)),
        *(f"{VIP4}:{port}" for port in (LOOKED_UP, SETTLING, UNSERVED)),
        f"{VIP4}:{DNS}/udp",
        f"{VIP4}:{LEARNING}/udp",
        f"{VIP4}:{UNSERVED}/udp",
        *(f"[{VIP6}]:{port}" for port in (HTTP, LEARNING, UNSERVED)),
        f"[{VIP6}]:{DNS}/udp",
        f"198.51.100.99:{HTTP}",
        f"[2001:db8::99]:{HTTP}",
    )
]


def random_question(chance: random.Random) -> bytes:
    """Return a packet of a random flow, few enough of them for flows to come back."""
    endpoint = chance.choice(ENDPOINTS)
    low = chance.randrange(8)
    source: IPAddress = (
        ipaddress.IPv4Address(f"192.0.2.{low}")
        if endpoint.address.version == 4
        else ipaddress.IPv6Address(f"2001:db8:1::{low}")
    )
    return flow_frame(endpoint, source, chance.randrange(1000, 1004), syn=chance.random() < 0.3)


def traces(rig: Rig) -> object:
    """Return all that a packet could leave behind."""
    records = sorted((bytes(r.key), r.backend, r.last_seen, r.closing) for r in rig.records())
    backends = [rig.counters(backend) for backend in range(1, 32)]
    fragments = rig.state.pins["fragments"], layout.FragmentKey
    guards = rig.state.pins["guards"], layout.GuardKey
    keys = [sorted(map(bytes, libbpf.map_keys(*each))) for each in (fragments, guards)]
    return rig.verdict_counts(), backends, records, rig.waiting(), keys


def test_explain_agrees_with_balance_for_random_flows(world: Rig) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    for _ in range(3000):
        frame = random_question(chance)
        answer = world.explain(frame)
        outcome = world.send(frame)
        assert all_reasons()[answer.reason].name == outcome.reason, frame.hex()
        if outcome.verdict == "tx":
            assert outcome.frame[:6] == mac_of(answer.backend).octets, frame.hex()


def test_explain_leaves_no_trace(world: Rig) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    for _ in range(300):
        world.send(random_question(chance))
    before = traces(world)
    for _ in range(3000):
        world.explain(random_question(chance))
    assert traces(world) == before


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Rig]:
    """What frames of every kind are sent to and asked about."""
    rig, _ = build()
    with rig:
        yield rig


def random_frames(number: int) -> Iterator[bytes]:
    """Make frames of every kind, most of them broken somewhere; none shorter than the wire's."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    mutator = Mutator(random.Random(seed), seeds())
    for _ in range(number):
        yield mutator.frame().ljust(FRAME_BYTES_MIN, b"\0")


def test_explain_agrees_with_balance_for_any_frame(fuzzed: Rig) -> None:
    """ARP, ND, pings, errors, fragments, tags and what is broken: asked first, and then sent."""
    for frame in random_frames(3000):
        answer = fuzzed.explain(frame)
        outcome = fuzzed.send(frame)
        assert all_reasons()[answer.reason].name == outcome.reason, frame.hex()
        assert ("redirect" == outcome.verdict) == bool(
            answer.egress and all_reasons()[answer.reason].verdict == "tx"
        ), frame.hex()
        if outcome.reason.startswith("forwarded"):
            assert answer.backend, frame.hex()
            assert mac_of(answer.backend).octets == outcome.frame[:6], frame.hex()


def test_explain_leaves_no_trace_of_any_frame(fuzzed: Rig) -> None:
    before = traces(fuzzed)
    for frame in random_frames(3000):
        fuzzed.explain(frame)
    assert traces(fuzzed) == before


@pytest.mark.parametrize(
    ("port", "reason"),
    [(NO_MAC, "no_mac"), (MULTICAST_MAC, "no_mac")],
)
def test_explain_tells_of_a_backend_that_cannot_be_reached(
    world: Rig, port: int, reason: str
) -> None:
    frame = flow_frame(Endpoint.parse(f"{VIP4}:{port}"), ipaddress.IPv4Address("192.0.2.1"), 1)
    assert world.send(frame).reason == reason
    assert all_reasons()[world.explain(frame).reason].name == reason


def away(rig: Rig, port: int, ifindex: int) -> layout.Explanation:
    """Ask about a packet to a backend that is not behind the interface it comes in by."""
    frame = flow_frame(Endpoint.parse(f"{VIP4}:{port}"), ipaddress.IPv4Address("192.0.2.1"), 1)
    return rig.explain(frame, ifindex)


def test_explain_tells_of_a_backend_behind_an_interface_the_balancer_is_not_on(world: Rig) -> None:
    answer = away(world, AWAY, INGRESS)
    assert all_reasons()[answer.reason].name == "other_interface"


def test_explain_tells_of_a_redirect(full_world: Rig) -> None:
    answer = away(full_world, NEXT_DOOR, INGRESS)
    assert all_reasons()[answer.reason].name == "forwarded"
    assert answer.egress == ELSEWHERE


def test_explain_without_an_interface_is_asked_as_if_by_the_backend_s(full_world: Rig) -> None:
    full_world.state.interfaces.write(INGRESS, MacAddress(bytes(6)))
    try:
        answer = away(full_world, NEXT_DOOR, INGRESS)
    finally:
        full_world.state.interfaces.write(INGRESS, BALANCER_MAC)
    assert all_reasons()[answer.reason].name == "forwarded"
    assert answer.egress == 0


NO_SERVICE = 0xFFFFFFFF  # of types.h
NOTHING = (NO_SERVICE, layout.NO_SLOT, 0)


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_explain_names_service_slot_and_backend_as_far_as_they_are_known(
    rig: Rig, version: int
) -> None:
    vip, other = (VIP4, "192.0.2.1") if version == 4 else (f"[{VIP6}]", "2001:db8:1::1")
    rig.serve(f"{vip}:1", [1])
    served, empty = rig.serve(f"{vip}:2", [2]), rig.serve(f"{vip}:3", [])
    denied = rig.serve(f"{vip}:4", [4])
    rig.set_rules(denied, {"any": Action.DENY})
    source = ipaddress.ip_address(other)

    def answer(endpoint: Endpoint) -> tuple[int, int, int]:
        explanation = rig.explain(flow_frame(endpoint, source, 7))
        return explanation.service, explanation.slot, explanation.backend

    service, slot, backend = answer(served.endpoint)
    assert (served.id, 2) == (service, backend)
    assert slot < rig.state.settings.table_size
    service, slot, backend = answer(empty.endpoint)
    assert (empty.id, 0) == (service, backend)
    assert slot < rig.state.settings.table_size
    assert (denied.id, layout.NO_SLOT, 0) == answer(denied.endpoint)
    assert NOTHING == answer(Endpoint.parse(f"{vip}:5"))
    host = "198.51.100.99" if version == 4 else "[2001:db8::99]"
    assert NOTHING == answer(Endpoint.parse(f"{host}:2"))
