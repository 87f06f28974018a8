"""Findings about interfaces, from recorded facts where the hardware is missing.

``VIRTIO`` and ``VETH`` were recorded in a virtual machine and a namespace; the others are
these with another driver's name.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pydsr.doctor.facts import ExaminedNic
from pydsr.doctor.nic import judge_nic, judge_nics
from pydsr.kernel.machine.attach_obstacles import explain_refusal, find_obstacles
from pydsr.kernel.machine.drivers import DRIVERS
from pydsr.kernel.machine.findings import Finding, FindingKind, Problem, only_findings
from pydsr.kernel.machine.nic import Bond, Machine
from pydsr.kernel.net.ethtool import Amount, Offload, XdpFeature, parse_cpus
from pydsr.model.addresses import MacAddress
from pydsr.model.interfaces import Interface

MAC, OTHER_MAC = (MacAddress.parse(f"02:00:00:00:00:0{n}") for n in (1, 2))
ON, FIXED_ON = Offload(on=True, fixed=False), Offload(on=True, fixed=True)
ETH0 = Interface(2, "eth0", MAC, 1500, is_up=True)

OLD, NEW, MANY = Machine((5, 18), 2), Machine((6, 18), 2), Machine((6, 18), 16)
VIRTIO = ExaminedNic(
    ETH0,
    driver="virtio_net",
    bus="0000:00:03.0",
    has_carrier=True,
    xdp=XdpFeature(43),
    queues=Amount(2, 4, "combined"),
    ring=Amount(256, 256, "rx"),
    interrupts={37: frozenset({0, 1}), 38: frozenset({1}), 39: frozenset({0})},
)
VETH = ExaminedNic(
    replace(ETH0, kind="veth"),
    driver="veth",
    has_carrier=True,
    xdp=XdpFeature(35),
    rx_vlan=ON,
    queues=Amount(1, 2, "rx"),
)
HARDWARE = replace(
    VIRTIO, driver="i40e", xdp=XdpFeature(107), queues=Amount(2, 16, "combined"), ring=None
)
ENA = replace(VIRTIO, driver="ena", xdp=None, queues=Amount(4, 8, "combined"))


def with_mtu(facts: ExaminedNic, mtu: int) -> ExaminedNic:
    """Return facts of an interface with another MTU."""
    return replace(facts, interface=replace(facts.interface, mtu=mtu))


def attached(facts: ExaminedNic, mode: str = "native") -> ExaminedNic:
    """Return facts of an attached interface."""
    return replace(facts, interface=replace(facts.interface, xdp_mode=mode), is_attached=True)


def findings(facts: ExaminedNic, machine: Machine = NEW) -> list[Finding]:
    """Return the findings on an interface."""
    return only_findings(judge_nic(facts, machine))


def kinds(facts: ExaminedNic, machine: Machine = NEW) -> list[FindingKind]:
    """Return the kinds of the findings."""
    return [finding.kind for finding in findings(facts, machine)]


def test_interfaces_as_they_mostly_are_give_no_finding() -> None:
    assert [] == kinds(VIRTIO) + kinds(VETH) + kinds(HARDWARE) + kinds(ENA)
    for facts in (VETH, HARDWARE):
        assert [] == kinds(attached(facts))


def test_a_kernel_that_says_what_a_driver_can_do_is_believed() -> None:
    unknown = replace(VIRTIO, driver="brandnew", xdp=XdpFeature.BASIC | XdpFeature.FRAGMENTS)
    assert [] == kinds(with_mtu(unknown, 9000))
    known = replace(HARDWARE, xdp=XdpFeature(0))
    assert [FindingKind.DRIVER_WITHOUT_XDP] == kinds(known)


@pytest.mark.parametrize(
    ("driver", "machine", "said"),
    [
        ("e1000e", NEW, "the driver of eth0, e1000e, has no native XDP"),
        ("", NEW, "eth0 has no native XDP"),
        ("vmxnet3", OLD, "vmxnet3, has native XDP only since Linux 6.6"),
    ],
)
def test_before_that_the_table_of_drivers_counts(driver: str, machine: Machine, said: str) -> None:
    facts = replace(HARDWARE, driver=driver, xdp=None)
    (finding,) = findings(facts, machine)
    assert FindingKind.DRIVER_WITHOUT_XDP == finding.kind
    assert said in finding.what


def test_large_mtus_are_for_drivers_that_take_several_buffers() -> None:
    old = with_mtu(replace(VIRTIO, xdp=None), 9000)
    (finding,) = only_findings(judge_nic(old, OLD))
    assert FindingKind.MTU_LARGE == finding.kind
    assert "has MTU 9000, and virtio_net takes programs up to about 3506" in finding.what
    assert finding.remedy.startswith("ip link set dev eth0 mtu 3000")
    assert [] == kinds(old, Machine((6, 3), 2))
    assert [FindingKind.MTU_LARGE] == kinds(with_mtu(replace(ENA, xdp=XdpFeature(7)), 9000))
    assert "mtu 1500" in findings(with_mtu(replace(ENA, driver="igc"), 9000))[0].remedy
    # What has no limit that is known is not warned of.
    assert [] == kinds(with_mtu(replace(HARDWARE, driver="qede", xdp=None), 9000))


@pytest.mark.parametrize("driver", ["mlx5_core", "ixgbe", "hv_netvsc", "gve"])
def test_lro_is_refused_by_some(driver: str) -> None:
    facts = replace(HARDWARE, driver=driver, lro=ON)
    assert ["ethtool -K eth0 lro off"] == [one.remedy for one in findings(facts)]
    assert [FindingKind.LRO_ON] == kinds(facts)
    assert [] == kinds(replace(facts, driver="i40e"))


def test_joining_by_hardware_is_refused_by_some_and_by_virtio_where_it_cannot_be_off() -> None:
    assert [] == kinds(replace(VIRTIO, gro_hw=ON))
    (finding,) = findings(replace(VIRTIO, gro_hw=FIXED_ON))
    assert FindingKind.GRO_HW_ON == finding.kind
    assert "ctrl_guest_offloads=on" in finding.remedy
    (finding,) = findings(replace(HARDWARE, driver="mlx5_core", gro_hw=ON))
    assert "ethtool -K eth0 rx-gro-hw off" == finding.remedy


def test_some_drivers_need_half_of_their_queues_for_sending() -> None:
    (finding,) = findings(replace(ENA, queues=Amount(8, 8, "combined")))
    assert FindingKind.QUEUES_FEW == finding.kind
    assert "ethtool -L eth0 combined 4" == finding.remedy


def test_a_veth_with_no_features_has_an_other_end_with_more_queues() -> None:
    (finding,) = findings(replace(VETH, xdp=XdpFeature(0)))
    assert FindingKind.QUEUES_FEW == finding.kind
    assert "PEER tx 1" in finding.remedy


def test_virtio_wants_a_spare_queue_for_each_cpu() -> None:
    few = replace(VIRTIO, queues=Amount(1, 1, "combined"))
    (finding,) = findings(few)
    assert FindingKind.QUEUES_SHARED == finding.kind
    assert "queues=4" in finding.remedy
    (finding,) = findings(replace(VIRTIO, queues=Amount(4, 4, "combined")))
    assert "ethtool -L eth0 combined 2" == finding.remedy
    # With a program those for sending are in use, and counted.
    assert [] == kinds(attached(replace(VIRTIO, queues=Amount(4, 4, "combined"))))
    assert [FindingKind.QUEUES_SHARED] == kinds(
        attached(replace(VIRTIO, queues=Amount(2, 2, "combined")))
    )


def test_queues_that_more_cpus_could_use_are_advised() -> None:
    (finding,) = findings(HARDWARE, MANY)
    assert FindingKind.QUEUES_UNUSED == finding.kind
    assert "ethtool -L eth0 combined 16" == finding.remedy


def test_a_small_ring_is_advised_to_grow() -> None:
    small = replace(HARDWARE, ring=Amount(512, 8160, "rx"))
    (finding,) = findings(small)
    assert (FindingKind.RING_SMALL, "ethtool -G eth0 rx 4096") == (finding.kind, finding.remedy)
    assert [] == kinds(replace(small, ring=Amount(512, 512, "rx")))


def test_interrupts_on_one_cpu_are_advised_to_spread() -> None:
    one = replace(HARDWARE, interrupts={40: frozenset({3}), 41: frozenset({3})})
    (finding,) = findings(one)
    assert FindingKind.INTERRUPTS_TOGETHER == finding.kind
    assert "CPU 3" in finding.what
    assert "40 41" in finding.remedy
    assert [] == kinds(replace(one, queues=Amount(1, 1, "combined")))
    assert [] == kinds(one, Machine((6, 18), 1))


def test_virtual_devices_are_not_advised_of_queues_and_rings() -> None:
    assert [] == kinds(replace(VETH, ring=Amount(16, 4096, "rx")), MANY)


@pytest.mark.parametrize(
    ("bond", "said"),
    [
        (Bond("balance-tlb"), "is in mode balance-tlb"),
        (Bond("802.3ad", "vlan+srcmac"), "hashes by vlan+srcmac"),
    ],
)
def test_a_bond_takes_programs_in_few_modes(bond: Bond, said: str) -> None:
    facts = made_bond(bond, HARDWARE)
    (finding,) = findings(facts)
    assert FindingKind.BOND_UNSUITABLE == finding.kind
    assert said in finding.what
    for words in ("(eth0)", "active-backup", "vlan+srcmac"):
        assert words in finding.remedy


def test_a_bond_is_judged_by_its_parts() -> None:
    good = made_bond(Bond("802.3ad", "layer3+4"), HARDWARE)
    assert [] == kinds(good)
    assert [FindingKind.DRIVER_WITHOUT_XDP] == kinds(replace(good, parts=(without_xdp(),)))
    stripped = replace(good, reads_vlans=True, parts=(replace(HARDWARE, rx_vlan=ON),))
    assert ["ethtool -K eth0 rxvlan off"] == [finding.remedy for finding in findings(stripped)]
    small = replace(HARDWARE, ring=Amount(64, 4096, "rx"))
    assert [FindingKind.RING_SMALL] == kinds(replace(good, parts=(small,)))


def made_bond(bond: Bond, *parts: ExaminedNic) -> ExaminedNic:
    """Return facts of a bond."""
    interface = replace(ETH0, name="bond0", kind="bond")
    return ExaminedNic(interface, driver="bonding", has_carrier=True, bond=bond, parts=parts)


def without_xdp() -> ExaminedNic:
    """Return facts of an interface whose driver has no native XDP."""
    return replace(HARDWARE, driver="e1000e", xdp=XdpFeature(0))


def test_a_macvlan_is_told_what_it_stands_on() -> None:
    facts = ExaminedNic(
        replace(ETH0, kind="macvlan"), driver="macvlan", xdp=XdpFeature(0), below="up"
    )
    assert "pydsr attach up" == find_obstacles(facts, NEW)[0].remedy
    (alone,) = find_obstacles(replace(facts, below=""), NEW)
    assert "in that device's network namespace" in alone.remedy


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"refusal": Problem("no", "yes")}, FindingKind.INTERFACE_UNSUITABLE),
        ({"foreign": Problem("no", "yes")}, FindingKind.XDP_FOREIGN),
        ({"above": ("macvlan0",)}, FindingKind.XDP_ABOVE),
        ({"has_carrier": False}, FindingKind.NO_CARRIER),
        ({"interface": replace(ETH0, is_up=False)}, FindingKind.INTERFACE_DOWN),
        ({"program_mac": OTHER_MAC}, FindingKind.MAC_CHANGED),
        ({"unheard": (ip_address("fd66::80"),)}, FindingKind.ND_UNHEARD),
        ({"reads_vlans": True, "rx_vlan": ON}, FindingKind.VLAN_STRIPPED),
    ],
)
def test_each_fault_is_found_alone(changes: dict[str, Any], kind: FindingKind) -> None:
    assert [kind] == kinds(replace(HARDWARE, **changes))


def test_generic_mode_is_explained_by_what_stands_against_native() -> None:
    generic = attached(VETH, "generic")
    assert [FindingKind.GENERIC_MODE] == kinds(generic)
    poor = attached(without_xdp(), "generic")
    assert [FindingKind.DRIVER_WITHOUT_XDP, FindingKind.GENERIC_MODE] == kinds(poor)
    assert "mend the above" in findings(poor)[1].remedy


def test_of_several_interfaces_all_must_be_in_one_mode_and_redirect() -> None:
    whole = attached(replace(VETH, xdp=XdpFeature(103)))
    assert [] == only_findings(judge_nics([whole, whole], NEW))
    mixed = only_findings(judge_nics([whole, attached(VETH, "generic")], NEW))
    assert [FindingKind.GENERIC_MODE, FindingKind.MODES_MIXED] == [
        finding.kind for finding in mixed
    ]
    poor = attached(replace(VETH, xdp=XdpFeature.BASIC))
    (finding,) = only_findings(judge_nics([whole, poor], NEW))
    assert FindingKind.REDIRECT_UNSUPPORTED == finding.kind
    assert "cannot redirect nor be redirected to" in finding.what
    assert [] == only_findings(judge_nics([whole, replace(poor, xdp=None)], NEW))


def test_a_refusal_is_explained_by_findings_and_one_nobody_foresaw_by_its_errno() -> None:
    hint = explain_refusal(errno.EINVAL, replace(HARDWARE, driver="mlx5_core", lro=ON), NEW)
    assert "ethtool -K eth0 lro off (pydsr doctor eth0: lro-on)" in hint
    assert "MTU" in explain_refusal(errno.ERANGE, HARDWARE, NEW)
    assert "dmesg" in explain_refusal(errno.EIO, HARDWARE, NEW)
    assert "active-backup" in explain_refusal(errno.EIO, made_bond(Bond("802.3ad"), HARDWARE), NEW)


def test_every_driver_of_the_table_has_sensible_limits() -> None:
    for driver in DRIVERS.values():
        assert (4, 8) <= driver.since
        assert driver.frags is None or driver.frags >= driver.since
        assert driver.largest_mtu is None or 1500 <= driver.largest_mtu <= 4096


@pytest.mark.parametrize(("text", "cpus"), [("0\n", {0}), ("0-2,5", {0, 1, 2, 5}), ("\n", set())])
def test_lists_of_cpus_are_read(text: str, cpus: set[int]) -> None:
    assert cpus == parse_cpus(text)
