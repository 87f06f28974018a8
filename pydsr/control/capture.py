"""Captures: the packets that pass the program, each with its verdict and reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pydsr.control.attached_interfaces import Attached, attached
from pydsr.kernel.bpf.layout import TapEvent, unpack_address
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.tap import Sampling, Tapping
from pydsr.model.addresses import MacAddress
from pydsr.model.captured_packet import CapturedPacket
from pydsr.model.errors import InputError, NotAttachedError
from pydsr.model.reasons import Reason, all_reasons

MAX_EVERY = 1_000_000
_POLL_SECONDS = 0.2
_NANOSECONDS = 1_000_000_000


@dataclass
class CaptureTotals:
    """Packets that were captured, and packets that the ring buffer had no room for."""

    packets: int = 0
    lost: int = 0


@dataclass(frozen=True)
class CaptureOptions:
    """Which packets to capture.

    Attributes:
        count: end after this many; 0 for no end.
        every: capture one packet in so many, at random.
        reasons: names of reasons; empty for all.
        drops: only dropped packets.
    """

    count: int = 0
    every: int = 1
    reasons: tuple[str, ...] = ()
    drops: bool = False

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"{self.count} packets cannot be captured", "use 1 or more")
        if not 1 <= self.every <= MAX_EVERY:
            raise InputError(
                f"one packet of {self.every} cannot be captured", f"use 1 to {MAX_EVERY:,}"
            )
        names = {reason.name for reason in all_reasons()}
        for name in self.reasons:
            if name not in names:
                raise InputError(
                    f"there is no reason {name!r}", "pydsr stats --explain lists those there are"
                )


def chosen_reasons(options: CaptureOptions, reasons: Iterable[Reason]) -> frozenset[int]:
    """Return the numbers of the reasons whose packets are captured."""
    return frozenset(
        number
        for number, reason in enumerate(reasons)
        if (not options.reasons or reason.name in options.reasons)
        and (not options.drops or reason.verdict == "drop")
    )


def interface_names(directory: Path) -> list[str]:
    """Return the names of the attached interfaces, in a fixed order.

    Raises:
        NotAttachedError: there is none.
    """
    return [interface.name for interface in _attached(directory)]


def _attached(directory: Path) -> list[Attached]:
    interfaces = attached(directory)
    if not interfaces:
        raise NotAttachedError("the balancer is on no interface", "pydsr attach IFACE")
    return interfaces


@dataclass
class Capture:
    """A capture of one balancer's packets; ``totals`` counts them."""

    directory: Path
    options: CaptureOptions
    totals: CaptureTotals = field(default_factory=CaptureTotals)

    def run(self, handle: Callable[[CapturedPacket], None], started: Callable[[], None]) -> None:
        """Capture until there are as many packets as asked for, or `handle` raises.

        After a program upgrade the capture goes on with the new program.

        Args:
            handle: called with each packet.
            started: called once, when the first program captures.

        Raises:
            NotAttachedError: the balancer is not attached, or no longer.
            BusyError: somebody captures already.
        """
        while not self._is_over():
            self._run_program(handle, started)
            started = _nothing

    def _is_over(self) -> bool:
        return 0 < self.options.count <= self.totals.packets

    def _run_program(
        self, handle: Callable[[CapturedPacket], None], started: Callable[[], None]
    ) -> None:
        """Capture until the attached program is replaced."""
        program_id = self._program_id()
        reasons = all_reasons()
        sampling = Sampling(self.options.every, chosen_reasons(self.options, reasons))

        def handle_event(event: TapEvent) -> None:
            if not self._is_over():
                self.totals.packets += 1
                handle(reader.packet(event))

        with closing(LiveState(self.directory)) as state:
            reader = _Reader(state, reasons)
            with Tapping(state, program_id, sampling, handle_event) as tapping:
                started()
                before = self.totals.lost
                try:
                    while not self._is_over() and self._program_id() == program_id:
                        tapping.poll(_POLL_SECONDS)
                finally:
                    self.totals.lost = before + tapping.lost()

    def _program_id(self) -> int:
        return _attached(self.directory)[0].program_id


def _nothing() -> None:
    """Do nothing: later programs start unannounced."""


class _Reader:
    """Converts the program's events to packets."""

    def __init__(self, state: LiveState, reasons: tuple[Reason, ...]) -> None:
        self._state = state
        self._names = {interface.ifindex: interface.name for interface in attached(state.directory)}
        self._reasons = reasons
        self._epoch = time.time_ns() - time.monotonic_ns()

    def packet(self, event: TapEvent) -> CapturedPacket:
        reason = self._reasons[event.reason]
        address = mac = None
        if event.backend:
            value = self._state.backends.read(event.backend)
            address = unpack_address(bytes(value.address))
            mac = MacAddress(bytes(value.mac))
        forwarded = reason.verdict == "tx"
        return CapturedPacket(
            time=self._epoch + event.time,
            frame=bytes(event.frame[: event.captured_bytes]),
            frame_bytes=event.frame_bytes,
            interface=self._names.get(event.ingress, str(event.ingress)),
            egress=self._names.get(event.egress, "") if forwarded else "",
            verdict="redirect" if forwarded and event.egress else reason.verdict,
            reason=reason.name,
            backend=address,
            mac=mac,
        )
