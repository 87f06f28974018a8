"""Admission: source rules, and the limit of new flows per source."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    rig.serve(f"{VIP4}:80/sctp", [1], options=options)


def test_a_source_opens_as_many_flows_as_it_may(rig: Rig) -> None:
    guarded(rig, 5)
    reasons = [reason4(rig, CLIENT4, "S") for _ in range(8)]
    assert reasons == ["forwarded"] * 5 + ["flow_rate"] * 3


def test_open_flows_are_not_limited(rig: Rig) -> None:
    guarded(rig, 1)
    reasons = [reason4(rig, CLIENT4, flags) for flags in ("S", "S", "A", "SA", "FA", "R")]
    assert reasons == ["forwarded", "flow_rate", *["forwarded"] * 4]


def test_another_source_has_a_limit_of_its_own(rig: Rig) -> None:
    guarded(rig, 1)
    reasons = [reason4(rig, source, "S") for source in (CLIENT4, "192.0.2.8", CLIENT4)]
    assert reasons == ["forwarded", "forwarded", "flow_rate"]


def test_a_network_shares_its_limit(rig: Rig) -> None:
    guarded(rig, 1, 24, 48)
    reasons = [reason4(rig, source, "S") for source in ("192.0.2.7", "192.0.2.8", "192.0.3.7")]
    assert reasons == ["forwarded", "flow_rate", "forwarded"]
    reasons = [
        rig.send(bytes(ip6(src=source) / tcp(flags="S"))).reason
        for source in ("2001:db8:1::7", "2001:db8:1:2::8", "2001:db8:2::7")
    ]
    assert reasons == ["forwarded", "flow_rate", "forwarded"]


def test_a_new_association_counts_as_a_new_flow(rig: Rig) -> None:
    from scapy.layers.sctp import SCTPChunkData, SCTPChunkInit

    guarded(rig, 1)
    chunks = (SCTPChunkInit(), SCTPChunkInit(), SCTPChunkData(data=b"x"))
    reasons = [rig.send(bytes(ip4() / sctp(chunk, 80))).reason for chunk in chunks]
    assert reasons == ["forwarded", "flow_rate", "forwarded"]


def test_the_limit_is_a_rate(rig: Rig) -> None:
    guarded(rig, 20)
    while reason4(rig, CLIENT4, "S") == "forwarded":
        pass
    start, opened = time.monotonic(), 0
    while time.monotonic() < start + 0.5:
        opened += reason4(rig, CLIENT4, "S") == "forwarded"
        time.sleep(0.005)
    elapsed = time.monotonic() - start
    assert 0.6 * elapsed * 20 <= opened <= elapsed * 20 + 2


@pytest.mark.parametrize("affinity", Affinity)
def test_a_service_of_every_port_is_limited_as_one(rig: Rig, affinity: Affinity) -> None:
    options = ServiceOptions(max_new_flows=2, affinity=affinity)
    rig.serve(f"{VIP4}:*", [1], options=options)
    reasons = [rig.send(bytes(ip4() / tcp(port, "S"))).reason for port in (1, 2, 3)]
    assert reasons == ["forwarded", "forwarded", "flow_rate"]


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
