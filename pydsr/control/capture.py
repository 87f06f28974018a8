"""Watch packets go through the balancer, with what becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydsr.control.attached_interfaces import attached
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
class Tapped:
    """How a capture went: packets taken, and packets there was no room for."""

    packets: int = 0
    lost: int = 0


@dataclass(frozen=True)
class TapOptions:
    """Which packets to capture.

    Attributes:
        count: how many; 0 for no end.
        every: one of how many.
        reasons: names of reasons; empty for all.
        drops: only dropped ones.
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
        known = {reason.name for reason in all_reasons()}
        for name in self.reasons:
            if name not in known:
                raise InputError(
                    f"there is no reason {name!r}", "pydsr stats --explain lists those there are"
                )


def chosen_reasons(options: TapOptions, reasons: Iterable[Reason]) -> frozenset[int]:
    """Return the numbers of the reasons whose packets are wanted."""
    return frozenset(
        number
        for number, reason in enumerate(reasons)
        if (not options.reasons or reason.name in options.reasons)
        and (not options.drops or reason.verdict == "drop")
    )


def interface_names(directory: Path) -> list[str]:
    """Return the interfaces whose packets can be captured, in a fixed order.

    Raises:
        NotAttachedError: there is none.
    """
    names = [one.name for one in attached(directory)]
    if not names:
        raise NotAttachedError("the balancer is on no interface", "pydsr attach IFACE")
    return names


@dataclass
class Tap:
    """A capture in one directory of pins.

    Attributes:
        done: how it went so far.
    """

    directory: Path
    options: TapOptions
    done: Tapped = field(default_factory=Tapped)

    def run(self, take: Callable[[CapturedPacket], None], begun: Callable[[], None]) -> None:
        """Capture until as many as asked for are taken; an exception of `take` ends it.

        Where the balancer is upgraded meanwhile, the capture goes on with the new program.

        Args:
            take: called with each packet.
            begun: called once, when packets are captured from then on.

        Raises:
            NotAttachedError: the balancer is on no interface, or not any more.
            BusyError: somebody captures already.
        """
        while not self._is_over():
            self._run_program(take, begun)
            begun = _nothing

    def _is_over(self) -> bool:
        return 0 < self.options.count <= self.done.packets

    def _run_program(
        self, take: Callable[[CapturedPacket], None], begun: Callable[[], None]
    ) -> None:
        """Capture for as long as the attached program is the same."""
        program_id = self._program_id()
        reasons = all_reasons()
        state = LiveState(self.directory)
        reader = _Reader(state, self.directory, reasons)
        sampling = Sampling(self.options.every, chosen_reasons(self.options, reasons))

        def take_event(event: TapEvent) -> None:
            if not self._is_over():
                self.done.packets += 1
                take(reader.packet(event))

        try:
            with Tapping(state, program_id, sampling, take_event) as tapping:
                begun()
                before = self.done.lost
                try:
                    while not self._is_over() and self._program_id() == program_id:
                        tapping.poll(_POLL_SECONDS)
                finally:
                    self.done.lost = before + tapping.lost()
        finally:
            state.close()

    def _program_id(self) -> int:
        here = attached(self.directory)
        if not here:
            raise NotAttachedError("the balancer is on no interface", "pydsr attach IFACE")
        return here[0].program_id


def _nothing() -> None:
    """Go on without a word."""


class _Reader:
    """Turns what the program wrote into packets with names."""

    def __init__(self, state: LiveState, directory: Path, reasons: tuple[Reason, ...]) -> None:
        self._state = state
        self._names = {one.ifindex: one.name for one in attached(directory)}
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
