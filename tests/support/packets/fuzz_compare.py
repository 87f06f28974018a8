"""Compare program and reference on one frame."""

from __future__ import annotations

import ctypes
import time
from ctypes import c_uint32, c_uint64
from dataclasses import dataclass

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.counters import possible_cpus
from pydsr.kernel.bpf.maps import VERDICTS_MAX
from pydsr.model.reasons import all_reasons
from tests.support.packets.data_plane import Rig
from tests.support.packets.reference import Answer, Reference, same_frame

_FORGET_SECONDS = 10.0
_VERDICTS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}


@dataclass(frozen=True)
class Disagreement:
    """A frame that the program and the reference do not see alike."""

    frame: bytes
    program: Answer
    reference: Answer

    def __str__(self) -> str:
        lines = [f"frame     {self.frame.hex()}"]
        for who, answer in (("program", self.program), ("reference", self.reference)):
            lines.append(f"{who:9} {answer.verdict} {answer.reason} {answer.frame.hex()}")
        return "\n".join(lines)


class Comparison:
    """The loaded program beside the reference.

    Both remember fragments, so that the order of frames matters. The program does so for thirty
    seconds; long before that both are made to forget them.

    Attributes:
        reference: what the program is compared with.
    """

    def __init__(self, rig: Rig, reference: Reference) -> None:
        self._rig = rig
        self.reference = reference
        self._names = [reason.name for reason in all_reasons()]
        cpus = possible_cpus()
        self._keys = (c_uint32 * VERDICTS_MAX)()
        self._values = (c_uint64 * (VERDICTS_MAX * cpus))()
        self._reason_bits = 64 * cpus
        self._cursor = ctypes.create_string_buffer(8)
        self._counted = self._read_verdicts()
        self._forget_at = time.monotonic() + _FORGET_SECONDS

    def compare(self, frame: bytes) -> Disagreement | None:
        """Return how the two differ about a frame, or None."""
        if time.monotonic() > self._forget_at:
            self._rig.forget_flows()
            self.reference.forget_fragments()
            self._forget_at = time.monotonic() + _FORGET_SECONDS
        program = self._ask_program(frame)
        reference = self.reference.decide(frame)
        if (program.verdict, program.reason) == (reference.verdict, reference.reason) and (
            same_frame(program.frame, reference.frame)
        ):
            return None
        return Disagreement(frame, program, reference)

    def _ask_program(self, frame: bytes) -> Answer:
        action, after, _ = libbpf.run_program(self._rig.programs.balance, frame)
        counted = self._read_verdicts()
        reason = self._reason_between(self._counted, counted)
        self._counted = counted
        return Answer(_VERDICTS[action], reason, after)

    def _read_verdicts(self) -> int:
        """Return all counters of all CPUs as one number, the first reason lowest."""
        verdicts = self._rig.state.pins["verdicts"]
        libbpf.map_read_batch(verdicts, self._keys, self._values, self._cursor, True)
        return int.from_bytes(bytes(self._values), "little")

    def _reason_between(self, before: int, after: int) -> str:
        """Return the one reason that was counted once; anything else is no answer."""
        added = after - before
        if added <= 0 or added & (added - 1):
            return "not one"
        return self._names[(added.bit_length() - 1) // self._reason_bits]


def shrunk(rig_and_reference: Comparison, found: Disagreement) -> Disagreement:
    """Return a shorter frame that they do not see alike either, if cutting its end finds one."""
    best = found
    while len(best.frame) > 14:
        shorter = rig_and_reference.compare(best.frame[:-1])
        if shorter is None or shorter.program.reason != best.program.reason:
            break
        best = shorter
    return best
