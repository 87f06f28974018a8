"""How long things are kept: just below and just above each bound, by kind of entry and protocol.

Nothing waits. Garbage is collected at a time that the test says, and where the program itself
compares times, the maps get older ones.
"""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.sctp import SCTPChunkAbort, SCTPChunkData, SCTPChunkInit
from scapy.packet import Raw

from pydsr.control import garbage_collection
from pydsr.control.balancer import Balancer
from pydsr.control.edits import ChangeState
from pydsr.hashing.maglev import Member
from pydsr.hashing.slots import LOOK_UP_ONLY
from pydsr.hashing.table import Table
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.maps import HashMap
from pydsr.model.options import Affinity, ServiceOptions
from pydsr.model.service import BackendState, Service
from tests.support.packets.case_services import HOUR, VIP4, VIP6, Packet, ip4, ip6, tcp, udp
from tests.support.packets.data_plane import Rig, address_of
from tests.support.packets.feature_cases import sctp
from tests.support.packets.flow_cases import CURRENT, PREVIOUS, RECORDED

OLD, NEW = 30, 31
PORT = 8080
SECOND = 1_000_000_000
TICK = 20_000_000
"""More than the program's clock is behind: it ticks every 10 ms at least."""
FOR_EVER = 1 << 62
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


def packet(version: int, protocol: str, kind: str, source: int = 1) -> Packet:
    """Return a packet that opens a flow, continues or closes it; no UDP packet opens or closes."""
    transport = {
        "tcp": lambda: tcp(PORT, {"open": "S", "data": "A", "close": "FA"}[kind]),
        "udp": lambda: udp(PORT),
        "sctp": lambda: sctp(
            {"open": SCTPChunkInit, "data": SCTPChunkData, "close": SCTPChunkAbort}[kind](), PORT
        ),
    }[protocol]()
    header = ip4(src=f"192.0.2.{source}") if version == 4 else ip6(src=f"2001:db8:1::{source}")
    return header / transport


def serve(
    rig: Rig,
    version: int,
    protocol: str,
    learn_until: int = FOR_EVER,
    options: ServiceOptions | None = None,
) -> Service:
    """Serve with every slot on its way from OLD, which drains, to NEW."""
    vip = VIP4 if version == 4 else f"[{VIP6}]"
    endpoint = f"{vip}:{PORT}" + ("" if protocol == "tcp" else f"/{protocol}")
    service = rig.serve(endpoint, [NEW], OLD, learn_until, options)
    table = read_table(rig, service)
    draining = Member(layout.pack_address(address_of(OLD)), 1, OLD, BackendState.DRAIN)
    rig.state.tables.write(service.id, replace(table, members=(draining, *table.members)))
    return service


def read_table(rig: Rig, service: Service) -> Table:
    """Return the table of a service."""
    table = rig.state.tables.read(service.id)
    assert table is not None
    return table


def send(rig: Rig, frame: Packet) -> str:
    """Send a frame and return the reason that it was counted under."""
    return rig.send(bytes(frame)).reason


def kept(rig: Rig) -> tuple[int, int]:
    """Return how many flow records and half-open flows there are."""
    return len(rig.recorded()), len(rig.waiting())


def collect_at(rig: Rig, monkeypatch: pytest.MonkeyPatch, now: int, several: bool = False) -> None:
    """Collect garbage at a time in nanoseconds of CLOCK_MONOTONIC."""
    clock = SimpleNamespace(monotonic_ns=lambda: now)
    with monkeypatch.context() as patch:
        patch.setattr(garbage_collection, "time", clock)
        if several:
            endpoints = [service.endpoint for service in rig.services]
            garbage_collection.collect_of_services(rig.state, endpoints)
        else:
            garbage_collection.collect_all(rig.state)


BY_FLOW, BY_SOURCE, BY_DESTINATION = Affinity
LIFETIMES = [
    ("tcp", BY_FLOW, ["data"], None, 900),
    ("udp", BY_FLOW, ["data"], None, 120),
    ("sctp", BY_FLOW, ["data"], None, 900),
    ("tcp", BY_FLOW, ["data"], 30, 30),
    ("udp", BY_FLOW, ["data"], 300, 300),
    ("tcp", BY_FLOW, ["open", "data"], None, 900),
    ("sctp", BY_FLOW, ["open", "data"], None, 900),
    # Half open.
    ("tcp", BY_FLOW, ["open"], None, 60),
    ("tcp", BY_FLOW, ["open"], 30, 30),
    ("sctp", BY_FLOW, ["open"], None, 60),
    # Closing.
    ("tcp", BY_FLOW, ["close"], None, 60),
    ("tcp", BY_FLOW, ["data", "close"], None, 60),
    ("tcp", BY_FLOW, ["data", "close", "data"], None, 60),
    ("tcp", BY_FLOW, ["open", "close"], None, 60),
    ("tcp", BY_FLOW, ["data", "close"], 30, 30),
    ("sctp", BY_FLOW, ["data", "close"], None, 60),
    ("sctp", BY_FLOW, ["open", "close"], 30, 30),
    # A client may have other connections than the one that opens or closes.
    ("tcp", BY_SOURCE, ["open"], None, 900),
    ("tcp", BY_SOURCE, ["close"], None, 900),
    ("tcp", BY_SOURCE, ["data", "close"], None, 900),
    ("sctp", BY_SOURCE, ["data", "close"], None, 900),
    ("tcp", BY_DESTINATION, ["data", "close"], None, 900),
    ("udp", BY_SOURCE, ["data"], None, 120),
]


@VERSIONS
@pytest.mark.parametrize(
    ("protocol", "affinity", "kinds", "learn", "seconds"),
    LIFETIMES,
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_a_silent_flow_is_kept_for_so_many_seconds(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    protocol: str,
    affinity: Affinity,
    kinds: list[str],
    learn: int | None,
    seconds: int,
) -> None:
    serve(rig, version, protocol, options=ServiceOptions(affinity=affinity, learn=learn))
    for kind in kinds:
        send(rig, packet(version, protocol, kind))
    (flow,) = (*rig.records(), *rig.state.half_open_flows.all())
    before = kept(rig)
    end = flow.last_seen + seconds * SECOND
    for several in (True, False):
        collect_at(rig, monkeypatch, end - 1, several)
        assert kept(rig) == before
    collect_at(rig, monkeypatch, end, several=bool(seconds % 60))
    assert kept(rig) == (0, 0)


@VERSIONS
@pytest.mark.parametrize("affinity", Affinity)
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_flows_without_a_record_are_older_than_the_change_until_the_table_s_time(
    rig: Rig, version: int, protocol: str, affinity: Affinity
) -> None:
    options = ServiceOptions(affinity=affinity)
    recorded, other = (packet(version, protocol, "data", source) for source in (1, 2))
    service = serve(rig, version, protocol, time.monotonic_ns() + HOUR, options)
    assert send(rig, recorded) == PREVIOUS
    rig.write_table(service, [NEW], OLD, time.monotonic_ns() - TICK)
    assert send(rig, recorded) == RECORDED
    # All clients of a VIP are one flow if its address is hashed.
    assert send(rig, other) == (RECORDED if affinity is BY_DESTINATION else CURRENT)


@pytest.mark.parametrize("previous", [OLD, LOOK_UP_ONLY])
def test_slots_rest_when_learning_is_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, previous: int
) -> None:
    service = serve(rig, 4, "tcp")
    end = time.monotonic_ns() + HOUR
    rig.write_table(service, [NEW], previous, end)
    collect_at(rig, monkeypatch, end - 1)
    assert read_table(rig, service).is_at_rest == (previous == LOOK_UP_ONLY)
    collect_at(rig, monkeypatch, end)
    assert read_table(rig, service).is_at_rest


@VERSIONS
def test_a_packet_renews_its_flow_s_life(rig: Rig, version: int) -> None:
    serve(rig, version, "tcp")
    send(rig, packet(version, "tcp", "data"))
    records = HashMap(rig.state.pins["records"], layout.FlowKey, layout.RecordValue)
    (key,) = records.all_keys()
    record = records.get(key)
    assert record is not None
    record.last_seen = 1
    records.put(key, record)
    before = time.monotonic_ns()
    assert send(rig, packet(version, "tcp", "data")) == RECORDED
    (renewed,) = rig.records()
    assert (OLD, record.slot) == (renewed.backend, renewed.slot)
    assert before - TICK < renewed.last_seen <= time.monotonic_ns()


@VERSIONS
@pytest.mark.parametrize(
    ("silent", "reason"),
    [(27 * SECOND, "forwarded_fragment"), (30 * SECOND + TICK, "fragment")],
    ids=["27 s", "30 s"],
)
def test_later_fragments_are_expected_for_30_seconds(
    rig: Rig, version: int, silent: int, reason: str
) -> None:
    rig.serve(f"{VIP4}:{PORT}/udp", [1])
    rig.serve(f"[{VIP6}]:{PORT}/udp", [2])
    data = UDP(sport=9, dport=PORT) / Raw(bytes(64))
    first, later = {
        4: (ip4(flags="MF") / data, ip4(frag=9, proto=17) / data),
        6: (
            ip6() / IPv6ExtHdrFragment(id=5, m=1) / data,
            ip6() / IPv6ExtHdrFragment(id=5, offset=9, nh=17) / data,
        ),
    }[version]
    assert send(rig, first) == "forwarded"
    fragments = HashMap(rig.state.pins["fragments"], layout.FragmentKey, layout.FragmentValue)
    (key,) = fragments.all_keys()
    fragment = fragments.get(key)
    assert fragment is not None
    fragment.last_seen = time.monotonic_ns() - silent
    fragments.put(key, fragment)
    assert send(rig, later) == reason


def learn(rig: Rig, service: Service, seconds: int) -> None:
    """Change how long a service learns, as an applied file does."""
    options = replace(service.options, learn=seconds)
    rig.state.services.write(replace(service, options=options))


@VERSIONS
@pytest.mark.parametrize(
    ("kinds", "before", "after", "seconds"),
    [
        (["data"], 100, 10, 10),
        (["data"], 10, 100, 100),
        (["open"], 100, 10, 10),
        (["open"], 10, 1000, 60),
        (["close"], 100, 10, 10),
        (["close"], 10, 1000, 60),
    ],
)
def test_a_new_learning_time_applies_to_the_flows_there_are(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    kinds: list[str],
    before: int,
    after: int,
    seconds: int,
) -> None:
    service = serve(rig, version, "tcp", options=ServiceOptions(learn=before))
    for kind in kinds:
        send(rig, packet(version, "tcp", kind))
    (flow,) = (*rig.records(), *rig.state.half_open_flows.all())
    learn(rig, service, after)
    collect_at(rig, monkeypatch, flow.last_seen + seconds * SECOND - 1)
    assert sum(kept(rig)) == 1
    collect_at(rig, monkeypatch, flow.last_seen + seconds * SECOND)
    assert sum(kept(rig)) == 0


@pytest.mark.parametrize("after", [10, 3600], ids=["shorter", "longer"])
def test_a_new_learning_time_ends_no_learning_early(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Flows that were silent since the change are known when it was promised, not before."""
    end = time.monotonic_ns() + HOUR // 2
    service = serve(rig, 4, "tcp", end, ServiceOptions(learn=1800))
    learn(rig, service, after)
    collect_at(rig, monkeypatch, end - 1)
    assert read_table(rig, service).learn_until == end
    assert send(rig, packet(4, "tcp", "data")) == PREVIOUS
    rig.forget_flows()
    collect_at(rig, monkeypatch, end)
    assert send(rig, packet(4, "tcp", "data")) == "forwarded"


@pytest.mark.parametrize(
    ("after", "longer"), [(10, False), (3600, True)], ids=["shorter", "longer"]
)
def test_the_next_change_learns_for_the_new_time_but_not_shorter_than_the_last(
    rig: Rig, after: int, longer: bool
) -> None:
    end = time.monotonic_ns() + HOUR // 2
    service = serve(rig, 4, "tcp", end, ServiceOptions(learn=1800))
    rig.write_table(service, [OLD, NEW], learn_until=end)
    learn(rig, service, after)
    changed = time.monotonic_ns()
    with Balancer(rig.directory) as balancer:
        balancer.change(ChangeState(service.endpoint, [address_of(NEW)], BackendState.DRAIN))
    until = read_table(rig, service).learn_until
    if longer:
        assert changed + after * SECOND <= until <= time.monotonic_ns() + after * SECOND
    else:
        assert until == end
