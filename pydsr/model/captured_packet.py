"""A packet that was captured, with what became of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pydsr.model.addresses import IPAddress, MacAddress


@dataclass(frozen=True)
class TappedPacket:
    """A packet as it came in, and what became of it.

    Attributes:
        time: nanoseconds since the epoch.
        frame: from the Ethernet header on; as much as was captured.
        frame_bytes: how long it was.
        interface: name of the one it came in by.
        egress: name of the one it was redirected to, or empty.
        verdict: tx, redirect, pass or drop.
        backend: its address, or None.
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
