"""Run the programs under measurement with BPF_PROG_TEST_RUN, one flow after the other.

The kernel reports the mean time of a run's packets in whole nanoseconds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_ubyte, c_uint16, c_uint32
from dataclasses import replace
from pathlib import Path

from bench.forwarder import MAC_PREFIX, Forwarder, load_swap
from bench.kinds import Kind
from pydsr.kernel.bpf import libbpf, program
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.reasons import all_reasons
from pydsr.model.sources import xdp_directory
from tests.support.packets.data_plane import ELSEWHERE_MAC, Rig, mac_of

BALANCER = "pydsr"
FULL = "pydsr, every feature"
EMPTY = "empty"
SWAP = "swap"
FORWARDER = "forwarder"
PROGRAMS = (EMPTY, SWAP, FORWARDER, BALANCER, FULL)

_CHECKED_FLOWS = 200
_HEAD_BYTES = 24
_MAP_TYPE_PROG_ARRAY = 3
_ACTIONS = {"drop": 1, "pass": 2, "tx": 3, "redirect": 4}
_BACKEND_PREFIX = mac_of(1).octets[:4]
_REASONS = {reason.name: (number, reason) for number, reason in enumerate(all_reasons())}


def programs_for(kind: Kind) -> tuple[str, ...]:
    """Return the programs that a kind can be measured with."""
    return tuple(
        name
        for name in PROGRAMS
        if (name != FORWARDER or kind.has_floor) and (name != BALANCER or not kind.takes_features)
    )


class WrongAnswerError(Exception):
    """A program did not do what it is measured doing: its time means nothing."""


class _Plan(ctypes.Structure):
    """Mirrors struct plan of wrapper.c."""

    _fields_ = [
        ("head", c_ubyte * _HEAD_BYTES),
        ("address_offset", c_uint16),
        ("port_offset", c_uint16),
        ("flows", c_uint32),
        ("next", c_uint32),
    ]


class Harness:
    """The wrapper around the balancer and around what it is compared with.

    Args:
        rigs: balancers, by the name of what each is measured as.
        forwarder: the floor.
    """

    def __init__(self, rigs: Mapping[str, Rig], forwarder: Forwarder) -> None:
        self._rigs = dict(rigs)
        self._plan = libbpf.map_create(libbpf.MAP_TYPE_ARRAY, "plan", 4, ctypes.sizeof(_Plan), 1)
        self._under_test = libbpf.map_create(_MAP_TYPE_PROG_ARRAY, "under_test", 4, 4, 1)
        compiled = program.compile_source(
            Path(__file__).with_name("wrapper.c"),
            [
                f"-I{xdp_directory()}",
                f"-DPYDSR_FD_plan={self._plan.number}",
                f"-DPYDSR_FD_under_test={self._under_test.number}",
            ],
            f'_Static_assert(sizeof(struct plan) == {ctypes.sizeof(_Plan)}, "harness.py");\n',
        )
        self._forwarder = forwarder
        self._wrapper = program.load_function(compiled, "bench_wrapper")
        self._programs: dict[str, Descriptor] = {
            EMPTY: program.load_function(compiled, "bench_empty"),
            SWAP: load_swap(),
            FORWARDER: self._forwarder.program,
            **{name: rig.programs.balance for name, rig in self._rigs.items()},
        }
        self._parts: set[str] = set()
        self._selected = ""

    def add_part(self, name: str, part: Descriptor) -> None:
        """Have a part of the balancer measured too; all that is checked is that it ends well."""
        self._programs[name] = part
        self._parts.add(name)

    def warm_up(self, kind: Kind, flows: int) -> None:
        """Let the balancers see every flow once, and check where some of them go.

        Flows of changing slots get their records by it.

        Raises:
            WrongAnswerError: a flow is not where it is to be.
        """
        for name in self._rigs:
            if name in programs_for(kind):
                self._announce(name, kind, flows)
                self._run(name, kind, flows, repeat=flows)
                for first in range(0, flows, -(-flows // _CHECKED_FLOWS)):
                    self._check(name, kind, flows, repeat=1, first=first)

    def measure(self, name: str, kind: Kind, flows: int, repeat: int, first: int = 0) -> int:
        """Return the nanoseconds of a run of one program, the wrapper's included.

        Flows come one after the other from the `first` on.

        Checked are the reason of every packet and the MACs of the last.

        Raises:
            WrongAnswerError: what was measured is not what it is to be.
        """
        if name in self._rigs:
            self._announce(name, kind, flows)
        return self._check(name, kind, flows, repeat, first)

    def _announce(self, name: str, kind: Kind, flows: int) -> None:
        """Send what has to come before every flow, where a kind asks for it."""
        if kind.before:
            self._run(name, replace(kind, frame=kind.before), flows, repeat=flows)

    def _check(self, name: str, kind: Kind, flows: int, repeat: int, first: int = 0) -> int:
        rig = self._rigs.get(name)
        before = rig.verdict_counts() if rig else []
        action, frame, nanoseconds = self._run(name, kind, flows, repeat, first)
        if name in self._parts:
            if action not in (_ACTIONS["pass"], _ACTIONS["tx"]):
                raise WrongAnswerError(f"{name}, {kind.name}: {action}")
        elif (action, frame[:12]) != self._right_answer(name, kind, frame):
            raise WrongAnswerError(f"{name}, {kind.name}: {action}, MACs {frame[:12].hex()}")
        if rig:
            number, _ = _REASONS[kind.reason]
            counted = rig.verdict_counts()[number] - before[number]
            if counted != repeat:
                raise WrongAnswerError(f"{kind.name}: {counted} of {repeat} were {kind.reason}")
        return nanoseconds

    def _run(
        self, name: str, kind: Kind, flows: int, repeat: int, first: int = 0
    ) -> tuple[int, bytes, int]:
        head = (c_ubyte * _HEAD_BYTES)(*kind.frame[:_HEAD_BYTES])
        plan = _Plan(head, kind.address_offset, kind.port_offset, flows, first)
        libbpf.map_update(self._plan, c_uint32(0), plan)
        if name != self._selected:
            # The kernel patches the call in the wrapper's machine code: dear, but not timed.
            under_test = c_uint32(self._programs[name].number)
            libbpf.map_update(self._under_test, c_uint32(0), under_test)
            self._selected = name
        return libbpf.run_program(self._wrapper, kind.frame, repeat)

    def _right_answer(self, name: str, kind: Kind, frame: bytes) -> tuple[int, bytes]:
        """Return the action and the MACs that the last packet of a run should have."""
        _, reason = _REASONS[kind.reason]
        destination, source = kind.frame[:6], kind.frame[6:12]
        if name == SWAP:
            return _ACTIONS["tx"], source + destination
        if name == FORWARDER and kind.has_floor:
            is_backend = frame[:5] == MAC_PREFIX
            return _ACTIONS["tx"], (frame[:6] if is_backend else bytes(6)) + destination
        if name in self._rigs and reason.verdict == "tx":
            backend = frame[:6] if frame[:4] == _BACKEND_PREFIX else bytes(6)
            if kind.is_redirected:
                return _ACTIONS["redirect"], backend + ELSEWHERE_MAC.octets
            return _ACTIONS["tx"], backend + destination
        verdict = reason.verdict if name in self._rigs else "pass"
        return _ACTIONS[verdict], destination + source
