"""What drivers say of themselves and their devices: the ioctls of ethtool, and netlink's netdev.

Nothing here takes a privilege. What a driver does not say is None or empty.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydsr.kernel.machine.facts import Amount, Offload, XdpFeature

_log = logging.getLogger(__name__)

_SIOCETHTOOL = 0x8946
_GET_DRIVER = 0x3
_DRIVER_INFO = struct.Struct("=I32s32s32s32s32s12s5I")
"""struct ethtool_drvinfo of linux/ethtool.h; its second is the driver, its fifth the bus."""

_NETDEV_GET = 1
_NETDEV_VERSION = 1

_PCI = Path("/sys/bus/pci/devices")
_IRQ = Path("/proc/irq")


def driver_and_bus(name: str) -> tuple[str, str]:
    """Return the driver of an interface, and where its hardware is; each may be empty."""
    buffer = ctypes.create_string_buffer(_DRIVER_INFO.pack(_GET_DRIVER, *[b""] * 6, *[0] * 5))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            _log.debug("%s: it tells of no driver: %s", name, error)
            return "", ""
    _, driver, _, _, bus, *_ = _DRIVER_INFO.unpack(buffer.raw[: _DRIVER_INFO.size])
    return driver.rstrip(b"\0").decode(), bus.rstrip(b"\0").decode()


class Settings:
    """The settings of one device, by the ioctls of ethtool; to be used by ``with``."""

    def __init__(self, name: str) -> None:
        from pyroute2.ethtool.ioctl import IoctlEthtool

        self._name = name
        self._ioctl = IoctlEthtool(name)

    def __enter__(self) -> Settings:
        return self

    def __exit__(self, *_: object) -> None:
        self._ioctl.close()

    def offloads(self, *names: str) -> tuple[Offload, ...]:
        """Return features by their names in ``ethtool -k``'s long form (as the kernel has them)."""
        found = self._ask("get_features")
        if found is None:
            return tuple(Offload() for _ in names)
        return tuple(
            Offload(bool(found.is_active(name)), not found.is_available(name))
            if name in found
            else Offload()
            for name in names
        )

    def queues(self) -> Amount | None:
        """Return how many queues it receives by."""
        found = self._ask("get_channels")
        if found is None:
            return None
        for word in ("combined", "rx"):
            maximum = int(getattr(found, f"max_{word}"))
            if maximum:
                return Amount(int(getattr(found, f"{word}_count")), maximum, word)
        return None

    def ring(self) -> Amount | None:
        """Return how many frames each queue for receiving has room for."""
        found = self._ask("get_rings")
        if found is None or not found.rx_max:
            return None
        return Amount(int(found.rx), int(found.rx_max), "rx")

    def _ask(self, what: str) -> Any | None:
        from pyroute2.ethtool.ioctl import EthtoolError

        try:
            return getattr(self._ioctl, what)()
        except (OSError, EthtoolError) as error:
            _log.debug("%s: %s: %s", self._name, what, error)
            return None


def strips_tags(name: str) -> bool:
    """Return whether an interface takes VLAN tags off before a program sees them.

    False where that cannot be asked.
    """
    with Settings(name) as settings:
        (offload,) = settings.offloads("rx-vlan-hw-parse")
    return offload.on


def xdp_features(ifindex: int) -> XdpFeature | None:
    """Return what a driver can do in its hook; None before Linux 6.3, which began to say it."""
    from pyroute2.netlink import NLM_F_REQUEST, genlmsg
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.generic import GenericNetlinkSocket

    class Device(genlmsg):  # type: ignore[misc]
        """NETDEV_A_DEV_* of linux/netdev.h."""

        nla_map = (
            ("NETDEV_A_DEV_UNSPEC", "none"),
            ("NETDEV_A_DEV_IFINDEX", "uint32"),
            ("NETDEV_A_DEV_PAD", "none"),
            ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
        )

    request = Device()
    request["cmd"], request["version"] = _NETDEV_GET, _NETDEV_VERSION
    request["attrs"] = [("NETDEV_A_DEV_IFINDEX", ifindex)]
    with GenericNetlinkSocket() as netdev:
        try:
            netdev.bind("netdev", Device)
            answers = netdev.nlm_request(request, msg_type=netdev.prid, msg_flags=NLM_F_REQUEST)
            features = [answer.get("NETDEV_A_DEV_XDP_FEATURES") for answer in answers]
        except NetlinkError as error:
            _log.debug("the kernel does not tell of XDP features: %s", error)
            return None
    known = [number for number in features if number is not None]
    return XdpFeature(known[0]) if known else None


def interrupts(bus: str) -> dict[int, frozenset[int]]:
    """Return the CPUs that take each interrupt of a device.

    Args:
        bus: its PCI address; of any other bus nothing is known.
    """
    found = {}
    for path in (_PCI / bus / "msi_irqs").glob("*") if bus else ():
        number = int(path.name)
        with suppress(OSError, ValueError):
            taking, allowed = (
                parse_cpus((_IRQ / path.name / name).read_text(encoding="ascii"))
                for name in ("effective_affinity_list", "smp_affinity_list")
            )
            # One that was given to other CPUs goes to them only when it comes in again.
            if cpus := taking & allowed or allowed:
                found[number] = cpus
    return found


def parse_cpus(text: str) -> frozenset[int]:
    """Return the CPUs of a list such as ``0-3,8`` (cpulist of the kernel's documentation)."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
