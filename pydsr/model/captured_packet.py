"""A captured packet with its verdict."""

from __future__ import annotations

from dataclasses import dataclass

from pydsr.model.addresses import IPAddress, MacAddress


@dataclass(frozen=True)
class CapturedPacket:
    """A packet as it arrived, and what the program did with it.

    Attributes:
        time: nanoseconds since the epoch.
        frame: the captured bytes, from the Ethernet header on.
        frame_bytes: the frame's length on the wire.
        interface: name of the interface where it arrived.
        egress: name of the interface it was redirected to, or empty.
        verdict: tx, redirect, pass or drop.
        mac: the backend's, or None.
    """

    time: int
    frame: bytes
    frame_bytes: int
    interface: str
    egress: str
    verdict: str
    reason: str
    backend: IPAddress | None
    mac: MacAddress | None
