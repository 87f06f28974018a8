"""Seed frames for the fuzzer, and the mutations of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from scapy.layers.inet import fragment
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTPChunkInit
from scapy.packet import Raw

from tests.support.packets import case_services, feature_cases, vlan_cases
from tests.support.packets.case_services import Packet
from tests.support.packets.cases import TABLES
from tests.support.packets.data_plane import BALANCER_MAC, mac_of
from tests.support.packets.fuzz_services import SERVICES
from tests.support.packets.icmp_error_cases import STEERED, UNSTEERED
from tests.support.packets.vlan_cases import AD, Q, tag

_TAGS = (
    (),
    ((Q, 7),),
    ((Q, 100),),
    ((Q, 5 << 13 | 100),),
    ((AD, 200), (Q, 100)),
    ((AD, 300), (Q, 7)),
    ((Q, 1), (Q, 2), (Q, 3)),
)
_SOURCES4 = (case_services.CLIENT4, case_services.DENIED4, "203.0.113.7", case_services.VIP4)
_SOURCES6 = (case_services.CLIENT6, case_services.DENIED6, case_services.VIP6)
_INTERESTING = (0, 1, 2, 4, 5, 6, 17, 20, 28, 40, 41, 44, 53, 58, 60, 64, 80, 127, 128, 132, 135,
                136, 254, 255)  # fmt: skip
_LONGEST = 3000


def seeds() -> list[bytes]:
    """Return the frames that others are made of: every case of the tables, and every service."""
    frames = [
        bytes(case.frame)
        for tables in (TABLES, feature_cases.TABLES)
        for cases in tables.values()
        for case in cases
    ]
    frames += [
        bytes(c.frame)
        for c in (*vlan_cases.BALANCED, *vlan_cases.ANSWERED, *vlan_cases.NOT_BALANCED)
    ]
    frames += [bytes(frame) for _, frame, _ in STEERED]
    frames += [bytes(frame) for _, frame in UNSTEERED]
    frames += [bytes(frame) for frame in _to_every_service()]
    frames += [bytes(one) for datagram in datagrams() for one in datagram]
    backend = Ether(bytes(case_services.tcp4()))
    backend.src = str(mac_of(1))
    frames.append(bytes(backend))
    frames.append(bytes(case_services.tcp4() / Raw(bytes(_LONGEST))))
    return [frame for frame in dict.fromkeys(frames) if len(frame) >= 14]


def _to_every_service() -> Iterator[Packet]:
    headers: dict[str, Callable[[int], Packet]] = {
        "tcp": case_services.tcp,
        "udp": case_services.udp,
        "sctp": _sctp,
    }
    for vip, port, protocol, _ in SERVICES:
        is6 = ":" in vip
        for source in _SOURCES6 if is6 else _SOURCES4:
            ip = (case_services.ip6 if is6 else case_services.ip4)(dst=vip, src=source)
            yield ip / headers[protocol](1234 if port is None else port) / Raw(b"data" * 4)


def _sctp(port: int) -> Packet:
    return feature_cases.sctp(SCTPChunkInit(), port)


def datagrams() -> list[list[Packet]]:
    """Return packets in fragments, in the order they are sent."""
    found = []
    for identity in range(3):
        for port in (53, 54):
            whole = case_services.ip4(id=identity) / case_services.udp(port) / Raw(bytes(2500))
            found.append(list(fragment(whole, 1000)))
            whole = (
                case_services.ip6()
                / IPv6ExtHdrFragment(id=identity)
                / case_services.udp(port)
                / Raw(bytes(2500))
            )
            found.append([Ether(bytes(one)) for one in fragment6(whole, 1294)])
    return found


class Mutator:
    """Makes frames of frames.

    Args:
        chance: what it decides by.
        frames: to begin with.
    """

    def __init__(self, chance: random.Random, frames: Sequence[bytes]) -> None:
        self._chance = chance
        self._frames = list(frames)
        self._changes: tuple[Callable[[bytearray], bytearray], ...] = (
            self._flip, self._flip, self._set, self._set, self._cut, self._lengthen, self._tag,
            self._untag, self._splice, self._lengths, self._address, self._move,
        )  # fmt: skip

    def frame(self) -> bytes:
        """Return the next frame: sometimes as it was, mostly changed once or a few times."""
        frame = bytearray(self._chance.choice(self._frames))
        for _ in range(self._chance.choice((0, 1, 1, 1, 2, 2, 3, 6))):
            frame = self._chance.choice(self._changes)(frame)
        frame = frame[:_LONGEST]
        return bytes(frame.ljust(14, b"\0"))

    def _at(self, frame: bytearray, within: int = 96) -> int:
        return self._chance.randrange(min(len(frame), within)) if frame else 0

    def _flip(self, frame: bytearray) -> bytearray:
        if frame:
            frame[self._at(frame)] ^= 1 << self._chance.randrange(8)
        return frame

    def _set(self, frame: bytearray) -> bytearray:
        if frame:
            value = self._chance.choice(_INTERESTING)
            frame[self._at(frame)] = (
                value if self._chance.random() < 0.7 else self._chance.randrange(256)
            )
        return frame

    def _cut(self, frame: bytearray) -> bytearray:
        return frame[: self._chance.randrange(14, max(len(frame), 14) + 1)]

    def _lengthen(self, frame: bytearray) -> bytearray:
        return frame + self._chance.randbytes(self._chance.choice((1, 2, 4, 6, 18, 64)))

    def _tag(self, frame: bytearray) -> bytearray:
        return bytearray(tag(bytes(frame), *self._chance.choice(_TAGS)))

    def _untag(self, frame: bytearray) -> bytearray:
        return frame[:12] + frame[16:]

    def _splice(self, frame: bytearray) -> bytearray:
        other, at = self._chance.choice(self._frames), self._at(frame, len(frame) or 1)
        return frame[:at] + other[at:]

    def _lengths(self, frame: bytearray) -> bytearray:
        """Change the length of IPv4 (at 16) or IPv6 (at 18) by a little."""
        at = self._chance.choice((16, 18))
        if len(frame) >= at + 2:
            value = int.from_bytes(frame[at : at + 2], "big")
            value += self._chance.choice((-40, -20, -8, -1, 1, 2, 8, 1000))
            frame[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")
        return frame

    def _address(self, frame: bytearray) -> bytearray:
        """Send it to another MAC, or from one of the balancer's."""
        known = (BALANCER_MAC.octets, mac_of(1).octets, b"\xff" * 6, bytes.fromhex("333300000001"))
        at = self._chance.choice((0, 6))
        frame[at : at + 6] = self._chance.choice(known)
        return frame

    def _move(self, frame: bytearray) -> bytearray:
        """Put a few bytes in, or take some out, somewhere in the headers."""
        at, size = self._at(frame), self._chance.choice((1, 2, 4, 8))
        if self._chance.random() < 0.5:
            return frame[:at] + frame[at + size :]
        return frame[:at] + self._chance.randbytes(size) + frame[at:]
