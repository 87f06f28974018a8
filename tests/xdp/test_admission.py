"""Admission: source rules, and the limit of new flows per source."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.sctp import SCTPChunkData, SCTPChunkInit

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.maps import HashMap
from pydsr.model.addresses import IPAddress
from pydsr.model.features import Feature
from pydsr.model.options import Affinity, ServiceOptions
from pydsr.model.source_rules import Action, IPNetwork
from tests.support.examples import examples
from tests.support.packets.case_services import CLIENT4, CLIENT6, VIP4, VIP6, ip4, ip6, tcp
from tests.support.packets.data_plane import Rig
from tests.support.packets.feature_cases import sctp
from tests.support.source_rules import is_denied

ALLOW, DENY = Action.ALLOW, Action.DENY
SECOND = 1_000_000_000
TICK = 20_000_000
"""More than the program's clock is behind: it ticks every 10 ms at least."""


def reason4(rig: Rig, source: str, flags: str = "A") -> str:
    """Send a TCP packet over IPv4 from a source and return what it was counted under."""
    return rig.send(bytes(ip4(src=source) / tcp(flags=flags))).reason


def reason6(rig: Rig, source: str) -> str:
    """Send a TCP packet over IPv6 from a source."""
    return rig.send(bytes(ip6(src=source) / tcp())).reason


def test_the_longest_prefix_decides(rig: Rig) -> None:
    service = rig.serve(f"{VIP4}:80", [1])
    rules = {"any": DENY, "192.0.2.0/24": ALLOW, "192.0.2.128/25": DENY, "192.0.2.200": ALLOW}
    rig.set_rules(service, rules)
    reasons = {source: reason4(rig, source) for source in ("198.51.100.1", "192.0.2.1")}
    reasons |= {source: reason4(rig, source) for source in ("192.0.2.130", "192.0.2.200")}
    assert reasons == {
        "198.51.100.1": "denied",
        "192.0.2.1": "forwarded",
        "192.0.2.130": "denied",
        "192.0.2.200": "forwarded",
    }


def test_rules_of_one_service_are_not_another_s(rig: Rig) -> None:
    rig.set_rules(rig.serve(f"{VIP4}:80", [1]), {"any": DENY})
    rig.serve(f"{VIP4}:81", [2])
    assert reason4(rig, CLIENT4) == "denied"
    assert rig.send(bytes(ip4() / tcp(81))).reason == "forwarded"


def test_rules_for_all_services_come_first_and_last(rig: Rig) -> None:
    service = rig.serve(f"{VIP4}:80", [1])
    rig.set_rules(service, {CLIENT4: ALLOW, "192.0.2.99": DENY})
    rig.set_rules(None, {"192.0.2.0/24": DENY, "192.0.2.99": ALLOW})
    assert reason4(rig, CLIENT4) == "denied"
    assert reason4(rig, "192.0.2.99") == "denied"
    assert reason4(rig, "198.51.100.1") == "forwarded"


def test_rules_of_one_ip_version_leave_the_other_alone(rig: Rig) -> None:
    rig.serve(f"{VIP4}:80", [1])
    rig.serve(f"[{VIP6}]:80", [2])
    rig.set_rules(None, {"::/0": DENY})
    assert (reason4(rig, CLIENT4), reason6(rig, CLIENT6)) == ("forwarded", "denied")
    rig.set_rules(None, {"0.0.0.0/0": DENY})
    assert (reason4(rig, CLIENT4), reason6(rig, CLIENT6)) == ("denied", "forwarded")


_NETWORKS4 = st.builds(
    lambda address, bits: ipaddress.IPv4Network((address & (-1 << (32 - bits)), bits)),
    st.integers(0xC0000200, 0xC0000207),
    st.integers(0, 32),
)
_NETWORKS6 = st.builds(
    lambda low, bits: ipaddress.IPv6Network(
        ((0x20010DB8 << 96 | low) & (-1 << (128 - bits)) & (1 << 128) - 1, bits)
    ),
    st.integers(0, 7),
    st.integers(0, 128),
)
_RULES = st.dictionaries(_NETWORKS4 | _NETWORKS6, st.sampled_from(Action), max_size=8)


@settings(
    max_examples=examples(75),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(own=_RULES, everyone=_RULES, low=st.integers(0, 7), version=st.sampled_from([4, 6]))
def test_the_program_decides_as_the_rules_read(
    full_world: Rig,
    own: dict[IPNetwork, Action],
    everyone: dict[IPNetwork, Action],
    low: int,
    version: int,
) -> None:
    rig = full_world
    service = next(s for s in rig.services if str(s.endpoint.address) == (VIP4, VIP6)[version == 6])
    before = rig.state.source_rules.read()
    own = {network: action for network, action in own.items() if network.version == version}
    source: IPAddress = (
        ipaddress.IPv4Address(0xC0000200 + low)
        if version == 4
        else ipaddress.IPv6Address(0x20010DB8 << 96 | low)
    )
    try:
        rig.state.source_rules.write({service.id: own, None: everyone})
        assert {k: v for k, v in rig.state.source_rules.read().items() if v} == {
            scope: rules for scope, rules in ((service.id, own), (None, everyone)) if rules
        }
        rig.state.index.write(rig.services)
        reason = reason4(rig, str(source)) if version == 4 else reason6(rig, str(source))
    finally:
        rig.state.source_rules.write(before)
        rig.state.index.write(rig.services)
    denied = is_denied(own, source) or is_denied(everyone, source)
    assert reason == ("denied" if denied else "forwarded")


def guarded(rig: Rig, limit: int, netmask4: int = 32, netmask6: int = 64) -> None:
    """Serve VIPs with a limit of new flows."""
    options = ServiceOptions(max_new_flows=limit, guard_netmask4=netmask4, guard_netmask6=netmask6)
    for vip in (VIP4, f"[{VIP6}]"):
        rig.serve(f"{vip}:80", [1], options=options)
        rig.serve(f"{vip}:80/sctp", [1], options=options)


class Guards:
    """The map of sources whose new flows are limited."""

    def __init__(self, rig: Rig) -> None:
        self._map = HashMap(rig.state.pins["guards"], layout.GuardKey, layout.GuardValue)

    def networks(self) -> set[bytes]:
        """Return the source networks in it, as addresses."""
        return {bytes(key.source) for key in self._map.all_keys()}

    def exhaust(self) -> None:
        """Let no network open another flow for an hour."""
        for key in self._map.all_keys():
            self._map.put(key, layout.GuardValue(due=time.monotonic_ns() + 3600 * SECOND))

    @property
    def due(self) -> int:
        """When the next flow of the only network is due, in nanoseconds of CLOCK_MONOTONIC."""
        (key,) = self._map.all_keys()
        value = self._map.get(key)
        assert value is not None
        return int(value.due)

    @due.setter
    def due(self, due: int) -> None:
        (key,) = self._map.all_keys()
        self._map.put(key, layout.GuardValue(due=due))


def syn(version: int, source: str) -> bytes:
    """Return a SYN to the VIP."""
    return bytes((ip4(src=source) if version == 4 else ip6(src=source)) / tcp(flags="S"))


def test_a_source_opens_as_many_flows_as_it_may(rig: Rig) -> None:
    """Time goes on meanwhile, and each 20 ms allow another one: take them back."""
    guarded(rig, 50)
    start, opened = time.monotonic_ns(), 0
    while opened < 5000 and reason4(rig, CLIENT4, "S") == "forwarded":
        opened += 1
    earned = (time.monotonic_ns() - start + TICK) // (SECOND // 50) + 1
    assert 50 <= opened <= min(50 + earned, 4999)


@pytest.mark.parametrize("limit", [1, 3, 20, 10_000_000])
def test_each_flow_costs_its_share_of_a_second(rig: Rig, limit: int) -> None:
    guarded(rig, limit)
    guards, start = Guards(rig), time.monotonic_ns()
    assert reason4(rig, CLIENT4, "S") == "forwarded"
    share = SECOND // limit
    assert start - TICK < guards.due - share <= time.monotonic_ns()
    if limit >= 20:
        guards.due = ahead = time.monotonic_ns() + SECOND // 2
        assert reason4(rig, CLIENT4, "S") == "forwarded"
        assert guards.due == ahead + share
    guards.due = 1
    start = time.monotonic_ns()
    assert reason4(rig, CLIENT4, "S") == "forwarded"
    assert start - TICK < guards.due - share <= time.monotonic_ns()


@pytest.mark.parametrize(("ahead", "reason"), [(SECOND - TICK, "forwarded"), (SECOND, "flow_rate")])
def test_a_burst_of_one_second_is_within_the_limit(rig: Rig, ahead: int, reason: str) -> None:
    """A flow may be due a second from now, and no later; refusing one changes nothing."""
    share = SECOND // 5
    guarded(rig, 5)
    guards = Guards(rig)
    assert reason4(rig, CLIENT4, "S") == "forwarded"
    for _ in range(100):
        now = time.monotonic_ns()
        guards.due = due = now + ahead - share + (TICK if reason == "flow_rate" else -TICK)
        found = reason4(rig, CLIENT4, "S")
        if reason == "forwarded" or time.monotonic_ns() < now + TICK:
            break
    assert found == reason
    assert guards.due == due + (share if reason == "forwarded" else 0)


GUARD_MASKS = [
    (4, 32, "192.0.2.0", "192.0.2.0", ["192.0.1.255", "192.0.2.1"]),
    (4, 31, "192.0.2.0", "192.0.2.1", ["192.0.1.255", "192.0.2.2"]),
    (4, 24, "192.0.2.0", "192.0.2.255", ["192.0.1.255", "192.0.3.0"]),
    (4, 9, "192.0.0.0", "192.127.255.255", ["191.255.255.255", "192.128.0.0"]),
    (4, 1, "128.0.0.0", "255.255.255.254", ["127.255.255.255"]),
    (6, 128, "2001:db8:1::", "2001:db8:1::", ["2001:db8:1::1", "2001:db8:0:1::"]),
    (6, 96, "2001:db8:1::", "2001:db8:1::ffff:ffff", ["2001:db8:1:0:0:1::"]),
    (6, 65, "2001:db8:1::", "2001:db8:1:0:7fff::1", ["2001:db8:1:0:8000::"]),
    (6, 64, "2001:db8:1::", "2001:db8:1:0:ffff::1", ["2001:db8:1:1::", "2001:db8::"]),
    (6, 63, "2001:db8:1::", "2001:db8:1:1:ffff::1", ["2001:db8:1:2::"]),
    (6, 48, "2001:db8:1::", "2001:db8:1:ffff:ffff::1", ["2001:db8:2::", "2001:db8::"]),
    (6, 1, "::1", "7fff::1", ["8000::"]),
]


@pytest.mark.parametrize(("version", "bits", "first", "last", "outside"), GUARD_MASKS)
def test_a_network_of_that_prefix_shares_its_limit(
    rig: Rig, version: int, bits: int, first: str, last: str, outside: list[str]
) -> None:
    """The other version's prefix is the longest there is, and not used."""
    guarded(rig, 1, *((bits, 128) if version == 4 else (32, bits)))
    guards = Guards(rig)
    assert rig.send(syn(version, first)).reason == "forwarded"
    guards.exhaust()
    assert rig.send(syn(version, last)).reason == "flow_rate"
    network = ipaddress.ip_network((first, bits), strict=False).network_address
    assert {layout.pack_address(network)} == guards.networks()
    for source in outside:
        assert rig.send(syn(version, source)).reason == "forwarded", source
    assert len(guards.networks()) == len(outside) + 1


def test_open_flows_are_not_limited(rig: Rig) -> None:
    guarded(rig, 1)
    assert reason4(rig, CLIENT4, "S") == "forwarded"
    Guards(rig).exhaust()
    reasons = [reason4(rig, CLIENT4, flags) for flags in ("S", "A", "SA", "FA", "R")]
    assert reasons == ["flow_rate", *["forwarded"] * 4]


@pytest.mark.parametrize("flags", ["S", "SE", "SP"])
def test_a_syn_opens_a_flow_whatever_else_it_has(rig: Rig, flags: str) -> None:
    guarded(rig, 1)
    reason4(rig, CLIENT4, flags)
    Guards(rig).exhaust()
    assert reason4(rig, CLIENT4, flags) == "flow_rate"


def test_another_source_has_a_limit_of_its_own(rig: Rig) -> None:
    guarded(rig, 1)
    assert reason4(rig, CLIENT4, "S") == "forwarded"
    Guards(rig).exhaust()
    reasons = [reason4(rig, source, "S") for source in ("192.0.2.8", CLIENT4)]
    assert reasons == ["forwarded", "flow_rate"]


def test_another_service_has_a_limit_of_its_own(rig: Rig) -> None:
    """Of the same protocol on another port, and of another protocol on the same port."""
    guarded(rig, 1)
    rig.serve(f"{VIP4}:81", [1], options=ServiceOptions(max_new_flows=1))
    rig.serve(f"{VIP4}:82", [1])
    assert reason4(rig, CLIENT4, "S") == "forwarded"
    Guards(rig).exhaust()
    init = bytes(ip4() / sctp(SCTPChunkInit(), 80))
    others = (bytes(ip4() / tcp(81, "S")), init, bytes(ip4() / tcp(82, "S")))
    assert {"forwarded"} == {rig.send(frame).reason for frame in others}
    Guards(rig).exhaust()
    reasons = [rig.send(frame).reason for frame in others]
    assert reasons == ["flow_rate", "flow_rate", "forwarded"]


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_a_new_association_counts_as_a_new_flow(rig: Rig, version: int) -> None:
    guarded(rig, 1)
    header = ip4() if version == 4 else ip6()
    init, data = (bytes(header / sctp(chunk, 80)) for chunk in (SCTPChunkInit(), SCTPChunkData()))
    assert rig.send(init).reason == "forwarded"
    Guards(rig).exhaust()
    assert [rig.send(frame).reason for frame in (init, data)] == ["flow_rate", "forwarded"]


@pytest.mark.parametrize("affinity", Affinity)
def test_a_service_of_every_port_is_limited_as_one(rig: Rig, affinity: Affinity) -> None:
    options = ServiceOptions(max_new_flows=2, affinity=affinity)
    rig.serve(f"{VIP4}:*", [1], options=options)
    frames = [bytes(ip4() / tcp(port, "S")) for port in (1, 2, 3)]
    assert [rig.send(frame).reason for frame in frames[:2]] == ["forwarded"] * 2
    Guards(rig).exhaust()
    assert {rig.send(frame).reason for frame in frames} == {"flow_rate"}


def test_explain_does_not_count_against_the_limit(rig: Rig) -> None:
    guarded(rig, 1)
    for _ in range(3):
        rig.explain(bytes(ip4() / tcp(flags="S")).ljust(64, b"\0"))
    assert reason4(rig, CLIENT4, "S") == "forwarded"


def test_a_program_without_the_features_lets_everyone_in(world: Rig) -> None:
    assert Feature.ACL not in world.features
    world.set_rules(None, {"any": DENY})
    try:
        assert reason4(world, CLIENT4) == "forwarded"
    finally:
        world.set_rules(None, {})
