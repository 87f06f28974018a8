"""A VLAN device where the kernel has none.

Run as ``python -m tests.support.lab.vlan_port INTERFACE VLAN NAME``.

What the host sends by the TAP device NAME leaves by INTERFACE with a tag, and what comes in by
INTERFACE with that tag and for NAME's MAC is received from NAME. It says ``ready``, and ends with
its stdin.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
_ETH_P_ALL, _ETH_P_8021Q = 0x0003, 0x8100
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata; its last two are TCI and TPID
_SIOCGIFHWADDR = 0x8927  # linux/sockios.h
_BOTH_MACS = 12


def main() -> None:
    """Carry frames until stdin ends."""
    interface, vlan, name = sys.argv[1:]
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    wire.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    wire.bind((interface, _ETH_P_ALL))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    tag = struct.pack("!HH", _ETH_P_8021Q, int(vlan))
    while True:
        ready, _, _ = select.select([tap, wire, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        if tap in ready:
            frame = os.read(tap, 65536)
            wire.send(frame[:_BOTH_MACS] + tag + frame[_BOTH_MACS:])
        if wire in ready:
            frame, ancillary, _, (_, _, direction, *_) = wire.recvmsg(65536, 256)
            if (
                direction != socket.PACKET_OUTGOING
                and _vlan(ancillary) == int(vlan)
                and frame[:6] in (_mac(wire, name), b"\xff" * 6)
            ):
                os.write(tap, frame)


def _mac(wire: socket.socket, name: str) -> bytes:
    """Return the MAC of an interface."""
    answer = fcntl.ioctl(wire, _SIOCGIFHWADDR, struct.pack("40s", name.encode()))
    return answer[18:24]


def _vlan(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the VLAN of a frame, whose tag the kernel hands over beside it."""
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            *_, control, protocol = _AUXDATA.unpack(data)
            if protocol == _ETH_P_8021Q:
                return int(control) & 0xFFF
    return None


if __name__ == "__main__":
    main()
