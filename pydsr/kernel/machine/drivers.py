"""The requirements of each driver for XDP in native mode. Pure.

Since Linux 6.3 the kernel itself reports what a driver supports (``xdp-features`` of the netlink
family ``netdev``); there only the conditions of this table count. Sources:

- versions: docs/kernel-versions.md of bcc, and the table of eBPF Docs (docs.ebpf.io,
  BPF_PROG_TYPE_XDP), whose values for x86-64 and pages of 4 KiB are the limits of MTUs;
- conditions: the function in the driver's source that accepts a program, as each row names it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

Version = tuple[int, int]
"""Major and minor version of a kernel."""


def version_of(release: str) -> Version:
    """Return the version in a kernel's release, such as ``6.1.0-18-amd64``."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


class QueueRule(Enum):
    """How many queues a driver needs."""

    NONE = "none"
    """No rule is known."""

    HALF = "half"
    """At most half of all queues may receive: each needs one to transmit beside it, or the driver
    refuses the program."""

    SPARE = "spare"
    """One more transmit queue for each CPU; otherwise CPUs share queues, under a lock."""


@dataclass(frozen=True)
class Driver:
    """The abilities and requirements of a driver.

    Attributes:
        since: the first kernel with native XDP in it.
        frags: the first kernel in which it takes frames in several buffers; None is none yet.
        largest_mtu: without such frames; None is no limit, or not known.
        queue_rule: how many queues it needs.
    """

    since: Version
    frags: Version | None = None
    largest_mtu: int | None = None
    refuses_lro: bool = False
    refuses_gro_hw: bool = False
    refuses_fixed_gro_hw: bool = False
    queue_rule: QueueRule = QueueRule.NONE


DRIVERS = {
    "am65-cpsw-nuss": Driver((6, 10)),
    "atlantic": Driver((5, 19), frags=(5, 19), largest_mtu=2048),
    "bnxt_en": Driver((4, 11), frags=(5, 19), largest_mtu=3502),
    # the function ena_xdp_allowed
    "ena": Driver((5, 6), largest_mtu=3498, queue_rule=QueueRule.HALF),
    "fec": Driver((6, 2)),
    "fsl_dpa": Driver((5, 11), largest_mtu=3706),
    "fsl_dpaa2_eth": Driver((5, 0)),
    "fsl_enetc": Driver((5, 13)),
    "funeth": Driver((5, 18), largest_mtu=3566),
    # the function gve_verify_xdp_configuration: LRO, which newer versions call hardware GRO
    "gve": Driver(
        (6, 4),
        largest_mtu=2032,
        refuses_lro=True,
        refuses_gro_hw=True,
        queue_rule=QueueRule.HALF,
    ),
    # Documentation/networking/device_drivers/ethernet/microsoft/netvsc.rst
    "hv_netvsc": Driver((5, 6), largest_mtu=3506, refuses_lro=True),
    "i40e": Driver((4, 13), frags=(6, 4), largest_mtu=3046),
    "ice": Driver((5, 5), frags=(6, 3), largest_mtu=3046),
    "igb": Driver((5, 10), largest_mtu=3046),
    "igc": Driver((5, 13), largest_mtu=1500),
    "ionic": Driver((6, 9), frags=(6, 9), largest_mtu=3502),
    # the function ixgbe_xdp_setup: refuses rings that merge packets (RSC)
    "ixgbe": Driver((4, 12), largest_mtu=3050, refuses_lro=True),
    "ixgbevf": Driver((4, 17), largest_mtu=3050),
    "lan966x-switch": Driver((6, 2)),
    "mana": Driver((5, 17), largest_mtu=3506),
    "mlx4_en": Driver((4, 8), largest_mtu=3498),
    # the function mlx5e_xdp_allowed; before 6.4 frames in several buffers needed another ring type
    "mlx5_core": Driver(
        (4, 9), frags=(6, 4), largest_mtu=3498, refuses_lro=True, refuses_gro_hw=True
    ),
    "mtk_soc_eth": Driver((6, 0), largest_mtu=3520),
    "mvneta": Driver((5, 5), frags=(5, 18), largest_mtu=3520),
    "mvpp2": Driver((5, 9), largest_mtu=3552),
    "netsec": Driver((5, 3), largest_mtu=1500),
    "nfp": Driver((4, 10), largest_mtu=4096),
    "qede": Driver((4, 10)),
    "rvu-nicpf": Driver((5, 16), largest_mtu=1508),
    "sfc": Driver((5, 5), largest_mtu=3522),
    "st_gmac": Driver((5, 13), largest_mtu=1500),
    # the function nicvf_xdp_setup
    "thunder-nicvf": Driver((4, 12), largest_mtu=1508, queue_rule=QueueRule.HALF),
    "tsnep": Driver((6, 3)),
    "tun": Driver((4, 14)),
    "veth": Driver((4, 19), frags=(5, 18), largest_mtu=3520),
    # the function virtnet_xdp_set
    "virtio_net": Driver(
        (4, 10),
        frags=(6, 3),
        largest_mtu=3506,
        refuses_fixed_gro_hw=True,
        queue_rule=QueueRule.SPARE,
    ),
    "vmxnet3": Driver((6, 6), largest_mtu=3494),
    "xen_netfront": Driver((5, 9), largest_mtu=3840),
}
"""Drivers by the name that ``ethtool -i`` shows. A bond has the requirements of its parts."""
