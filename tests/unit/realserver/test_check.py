"""Faults of a backend. ``tests/netns/realserver`` causes each of them for real."""

from __future__ import annotations

from pydsr.realserver.check import Fault, check
from pydsr.realserver.values import BackendSpec
from tests.support.simulated_host import facts, interface, loopback

ETH0 = interface("eth0", "10.0.0.11/24")
QUIET = {"all.arp_ignore": 1, "all.arp_announce": 2}
BOTH = BackendSpec.parse(["10.0.0.80", "fd00::80"])


def subjects(findings: list[Fault]) -> list[tuple[str, str]]:
    """Return the subject and first command of each fault."""
    return [(finding.subject, finding.commands[0]) for finding in findings]


def test_a_host_that_is_as_wished_has_no_finding() -> None:
    lo = loopback("127.0.0.1/8", "10.0.0.80/32", "fd00::80/128")
    assert [] == check(BOTH, facts(ETH0, lo, settings=QUIET))


def test_a_dummy_that_is_not_there_is_made_once_for_all_vips() -> None:
    spec = BackendSpec.parse(["10.0.0.80", "10.0.0.81"], device="vip0")
    assert [
        ("vip0", "ip link add vip0 type dummy"),
        ("10.0.0.80", "ip address add 10.0.0.80/32 dev vip0"),
        ("10.0.0.81", "ip address add 10.0.0.81/32 dev vip0"),
    ] == subjects(check(spec, facts(ETH0, settings=QUIET)))


def test_no_dummy_is_missed_where_the_vips_are_on_another_quiet_device() -> None:
    lo = loopback("127.0.0.1/8", "10.0.0.80/32")
    spec = BackendSpec.parse(["10.0.0.80"], device="vip0")
    assert [] == check(spec, facts(ETH0, lo, settings=QUIET))


def test_arp_is_no_matter_of_ipv6() -> None:
    found = check(BackendSpec.parse(["fd00::80"]), facts(ETH0, loopback("fd00::80/128")))
    assert [] == found


def test_strict_filtering_is_a_miss_only_where_packets_are_known_to_come_in() -> None:
    host = facts(
        ETH0,
        interface("eth1"),
        loopback("10.0.0.80/32"),
        settings=QUIET | {"eth0.rp_filter": 1, "eth1.rp_filter": 1},
        filtering=["eth0", "eth1"],
    )
    findings = check(BackendSpec.parse(["10.0.0.80"], interfaces=["eth1"]), host)
    assert [("eth0", False), ("eth1", True)] == [(each.subject, each.is_miss) for each in findings]


def test_a_chain_that_drops_is_for_a_person_to_judge() -> None:
    lo = loopback("10.0.0.80/32")
    host = facts(ETH0, lo, settings=QUIET, dropping_chains=("inet filter input",))
    (finding,) = check(BackendSpec.parse(["10.0.0.80"]), host)
    assert not finding.is_miss
    assert ("nft list chain inet filter input",) == finding.commands
