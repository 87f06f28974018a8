"""Captures in the kernel: the program that copies packets to a ring buffer, and its switch.

Program and ring buffer belong to the capturing process. When it ends, even if killed, the kernel
removes the program from the map, and packets are balanced as before.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_uint32, c_uint64, sizeof
from dataclasses import dataclass

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.libbpf import Descriptor, RingBuffer
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.maps import TAP_PROGRAM_MAP, map_specs
from pydsr.kernel.bpf.program import compile_balancer, load_function
from pydsr.model.errors import BusyError, EnvironmentCannotError
from pydsr.model.features import Feature

RING_BYTES = 1 << 23
"""Room for about four thousand packets."""


@dataclass(frozen=True)
class Sampling:
    """Capture one packet in `every`, if its reason is one of `reasons` (numbers)."""

    every: int
    reasons: frozenset[int]


class Tapping:
    """A running capture, until ``close`` or the end of ``with``.

    Args:
        state: the balancer's.
        program_id: the attached program.
        sampling: which packets to capture.
        handle: called with each packet.

    Raises:
        BusyError: another capture runs.
        EnvironmentCannotError: the attached program was compiled without captures.
    """

    def __init__(
        self,
        state: LiveState,
        program_id: int,
        sampling: Sampling,
        handle: Callable[[layout.TapEvent], None],
    ) -> None:
        features = state.settings.features().compiled
        programs = _program_map(program_id)
        if Feature.TAP not in features or programs is None:
            raise EnvironmentCannotError(
                "the program was attached without tap",
                "pydsr attach --with tap IFACE compiles it in; no packet is lost by that",
            )
        if _is_in_use(programs):
            raise BusyError("somebody taps packets here already", "end that `pydsr tap` first")
        self._state = state
        self._programs = programs
        self._ring = libbpf.map_create(libbpf.MAP_TYPE_RINGBUF, "tap_ring", 0, 0, RING_BYTES)
        self._lost = libbpf.map_create(
            libbpf.MAP_TYPE_ARRAY, "tap_lost", sizeof(c_uint32), sizeof(c_uint64), 1
        )
        self._scratch = libbpf.map_create(
            libbpf.MAP_TYPE_PERCPU_ARRAY,
            "tap_scratch",
            sizeof(c_uint32),
            sizeof(layout.TapEvent),
            1,
        )
        self._reader = RingBuffer(self._ring, lambda octets: handle(_event(octets)))
        self._program = self._load(features, sampling)
        libbpf.map_update(programs, c_uint32(0), c_uint32(self._program.number))
        state.tap_switch.write(True)

    def _load(self, features: Feature, sampling: Sampling) -> Descriptor:
        maps = {spec.name: self._state.pins[spec.name] for spec in map_specs()}
        mask = sum(1 << number for number in sampling.reasons)
        compiled = compile_balancer(
            {
                **maps,
                TAP_PROGRAM_MAP: self._programs,
                "tap_ring": self._ring,
                "tap_lost": self._lost,
                "tap_scratch": self._scratch,
            },
            self._state.settings.table_size,
            self._state.settings.seed,
            features,
            {"PYDSR_TAP_EVERY": str(sampling.every), "PYDSR_TAP_REASONS": f"{mask:#x}ULL"},
        )
        return load_function(compiled, "pydsr_tap")

    def __enter__(self) -> Tapping:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def poll(self, seconds: float) -> int:
        """Wait for packets, pass them on, and return their number."""
        return self._reader.poll(seconds)

    def lost(self) -> int:
        """Return how many packets did not fit the ring buffer."""
        number = c_uint64()
        libbpf.map_lookup(self._lost, c_uint32(0), number)
        return number.value

    def close(self) -> None:
        """End the capture; closing twice does nothing."""
        if self._programs.number >= 0:
            self._state.tap_switch.write(False)
            libbpf.map_delete(self._programs, c_uint32(0))
        for fd in (self._programs, self._program, self._ring, self._lost, self._scratch):
            fd.close()
        self._reader.close()


def _event(octets: bytes) -> layout.TapEvent:
    """Return an event; the program sends only the captured bytes of its frame."""
    return layout.TapEvent.from_buffer_copy(octets.ljust(sizeof(layout.TapEvent), b"\0"))


def forget_killed(state: LiveState, program_ids: set[int]) -> None:
    """Clear the switch if a killed capture left it on, where it costs packets a failed jump."""
    if not state.tap_switch.is_on():
        return
    maps = [fd for number in program_ids if (fd := _program_map(number)) is not None]
    if not any(map(_is_in_use, maps)):
        state.tap_switch.write(False)


def _program_map(program_id: int) -> Descriptor | None:
    """Return the map through which the program jumps; it is not pinned."""
    with libbpf.program_by_id(program_id) as program:
        for number in libbpf.program_map_ids(program):
            fd = libbpf.map_by_id(number)
            if libbpf.map_info(fd).name.decode() == TAP_PROGRAM_MAP:
                return fd
    return None


def _is_in_use(programs: Descriptor) -> bool:
    return libbpf.map_lookup(programs, c_uint32(0), c_uint32())
