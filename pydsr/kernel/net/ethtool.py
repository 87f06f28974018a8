"""Read driver reports about a device: ethtool's ioctls, netlink's ``netdev``, and interrupts.

No privilege is needed. What a driver does not report is None or empty.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Any

from pydsr.kernel.net.netlink import NetlinkError, parts_of_pyroute2

with parts_of_pyroute2():
    from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
    from pyroute2.netlink import NLM_F_REQUEST, genlmsg
    from pyroute2.netlink.generic import GenericNetlinkSocket

_log = logging.getLogger(__name__)

_SIOCETHTOOL = 0x8946
_GET_DRIVER = 0x3
_DRIVER_INFO = struct.Struct("=I32s32s32s32s32s12s5I")
"""struct ethtool_drvinfo of linux/ethtool.h; its second member is the driver, its fifth the bus."""

_NETDEV_GET = 1
_NETDEV_VERSION = 1

_PCI = Path("/sys/bus/pci/devices")
_IRQ = Path("/proc/irq")


class XdpFeature(IntFlag):
    """What a driver supports in its XDP hook: NETDEV_XDP_ACT_* of linux/netdev.h."""

    BASIC = 1
    REDIRECT = 2
    REDIRECT_TARGET = 4
    FRAGMENTS = 32


@dataclass(frozen=True)
class Offload:
    """A feature as ``ethtool -k`` shows it; ``fixed`` where it cannot be changed."""

    on: bool = False
    fixed: bool = True


@dataclass(frozen=True)
class Amount:
    """A setting with a limit, and the word by which ``ethtool`` sets it."""

    present: int
    maximum: int
    word: str


class _NetdevMessage(genlmsg):  # type: ignore[misc]
    """NETDEV_A_DEV_* of linux/netdev.h."""

    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def driver_and_bus(name: str) -> tuple[str, str]:
    """Return an interface's driver and the bus address of its hardware; each may be empty."""
    buffer = ctypes.create_string_buffer(_DRIVER_INFO.pack(_GET_DRIVER, *[b""] * 6, *[0] * 5))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            _log.debug("%s: no driver information: %s", name, error)
            return "", ""
    _, driver, _, _, bus, *_ = _DRIVER_INFO.unpack(buffer.raw[: _DRIVER_INFO.size])
    return driver.rstrip(b"\0").decode(), bus.rstrip(b"\0").decode()


class Settings:
    """The settings of one device, by ethtool's ioctls; a context manager."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ioctl = IoctlEthtool(name)

    def __enter__(self) -> Settings:
        return self

    def __exit__(self, *_: object) -> None:
        self._ioctl.close()

    def offloads(self, *names: str) -> tuple[Offload, ...]:
        """Return features by the names that the kernel and ``ethtool -k`` use."""
        features = self._get("get_features")
        return tuple(
            Offload(bool(features.is_active(name)), not features.is_available(name))
            if features is not None and name in features
            else Offload()
            for name in names
        )

    def queues(self) -> Amount | None:
        """Return the number of receive queues."""
        channels = self._get("get_channels")
        for word in ("combined", "rx") if channels is not None else ():
            maximum = int(getattr(channels, f"max_{word}"))
            if maximum:
                return Amount(int(getattr(channels, f"{word}_count")), maximum, word)
        return None

    def ring(self) -> Amount | None:
        """Return the number of frames that each receive queue holds."""
        rings = self._get("get_rings")
        if rings is None or not rings.rx_max:
            return None
        return Amount(int(rings.rx), int(rings.rx_max), "rx")

    def _get(self, what: str) -> Any | None:
        try:
            return getattr(self._ioctl, what)()
        except (OSError, EthtoolError) as error:
            _log.debug("%s: %s: %s", self._name, what, error)
            return None


def strips_tags(name: str) -> bool:
    """Return whether an interface strips VLAN tags before the XDP program sees the frame."""
    with Settings(name) as settings:
        (offload,) = settings.offloads("rx-vlan-hw-parse")
    return offload.on


def xdp_features(ifindex: int) -> XdpFeature | None:
    """Return what a driver supports in its XDP hook; None before Linux 6.3."""
    request = _NetdevMessage()
    request["cmd"], request["version"] = _NETDEV_GET, _NETDEV_VERSION
    request["attrs"] = [("NETDEV_A_DEV_IFINDEX", ifindex)]
    with GenericNetlinkSocket() as netdev:
        try:
            netdev.bind("netdev", _NetdevMessage)
            answers = netdev.nlm_request(request, msg_type=netdev.prid, msg_flags=NLM_F_REQUEST)
            features = [answer.get("NETDEV_A_DEV_XDP_FEATURES") for answer in answers]
        except NetlinkError as error:
            _log.debug("the kernel does not report XDP features: %s", error)
            return None
    known = [number for number in features if number is not None]
    return XdpFeature(known[0]) if known else None


def interrupts(bus: str) -> dict[int, frozenset[int]]:
    """Return the CPUs that handle each interrupt of a PCI device; nothing on any other bus."""
    handling = {}
    for path in (_PCI / bus / "msi_irqs").glob("*") if bus else ():
        number = int(path.name)
        with suppress(OSError, ValueError):
            effective, allowed = (
                parse_cpus((_IRQ / path.name / name).read_text(encoding="ascii"))
                for name in ("effective_affinity_list", "smp_affinity_list")
            )
            # An interrupt moves to newly allowed CPUs only when it fires next.
            if cpus := effective & allowed or allowed:
                handling[number] = cpus
    return handling


def parse_cpus(text: str) -> frozenset[int]:
    """Return the CPUs of a list such as ``0-3,8`` (the kernel's cpulist format)."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
