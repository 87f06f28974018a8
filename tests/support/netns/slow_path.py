"""A path with delay and loss between two hosts, of kernels with netem and without."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydsr.lab.network import enter_namespace
from tests.support.netns.namespaces import Host

NEAR, FAR = "10.67.0.1", "10.67.0.2"
"""The addresses at the ends of the path."""

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET_BYTES = 65536


@dataclass
class SlowPath:
    """Carries IPv4 packets between two TUN devices while the event loop runs.

    Attributes:
        seconds: delay in each direction.
        loss: share of packets that are lost.
        is_cut: whether all are lost.
        chance: decides which are lost.
    """

    seconds: float
    loss: float
    is_cut: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    lost: int = 0

    def carry(self, source: int, target: int) -> None:
        """Read a packet, and write it to the other end later, or never."""
        packet = os.read(source, _PACKET_BYTES)
        if self.is_cut or self.chance.random() < self.loss:
            self.lost += 1
            return
        asyncio.get_running_loop().call_later(self.seconds, os.write, target, packet)


@asynccontextmanager
async def slow_path(near: Host, far: Host, seconds: float, loss: float) -> AsyncIterator[SlowPath]:
    """Connect two hosts for the length of the block."""
    path, loop = SlowPath(seconds, loss), asyncio.get_running_loop()
    ends = [_device(near, NEAR), _device(far, FAR)]
    for source, target in (ends, ends[::-1]):
        loop.add_reader(source, path.carry, source, target)
    try:
        yield path
    finally:
        path.is_cut = True
        for end in ends:
            loop.remove_reader(end)
        # Packets under way are written before their device is closed.
        await asyncio.sleep(2 * seconds)
        for end in ends:
            os.close(end)


def _device(host: Host, address: str) -> int:
    """Return a new TUN device of a host; it vanishes when it is closed."""
    with enter_namespace(host.name):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"slow", _IFF_TUN | _IFF_NO_PI))
    host.run("ip", "address", "add", f"{address}/30", "dev", "slow")
    host.run("ip", "link", "set", "slow", "up")
    return device
