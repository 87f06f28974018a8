"""Load on a wire: flows of live frames, counted where they arrive.

One core makes a frame, runs the balancer's end of the veth, and counts frames at the other end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_ubyte, c_uint16, c_uint32, c_uint64, sizeof
from pathlib import Path

from bench.wire_flows import BACKENDS, Flows, Run
from bench.wire_network import BALANCER_MAC, CLIENT_MAC, Wire, attached
from pydsr.kernel.bpf import libbpf, program
from pydsr.kernel.bpf.counters import PerCpuArray
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import MacAddress
from pydsr.model.sources import xdp_directory
from tests.support.netns.namespaces import Host, eventually

_KINDS = BACKENDS + 1
_QUIET_SECONDS = 0.2


class _Load(ctypes.Structure):
    """Mirrors struct load of generator.c."""

    _fields_ = [
        ("macs", c_ubyte * 12),
        ("answer", c_ubyte * 12),
        ("address_offset", c_uint16),
        ("port_offset", c_uint16),
        ("ip_check_offset", c_uint16),
        ("tcp_check_offset", c_uint16),
        ("ip_sum", c_uint16),
        ("tcp_sum", c_uint16),
        ("eth_proto", c_uint16),
        ("length", c_uint16),
        ("flows", c_uint32),
        ("next", c_uint32),
        ("frames", c_uint32),
        ("made", c_uint32),
        ("began", c_uint64),
        ("ended", c_uint64),
    ]


class Load:
    """The loaded generator and sink."""

    def __init__(self) -> None:
        self._load = libbpf.map_create(libbpf.MAP_TYPE_ARRAY, "load", 4, sizeof(_Load), 1)
        self._arrived = libbpf.map_create(
            libbpf.MAP_TYPE_PERCPU_ARRAY, "arrived", 4, sizeof(c_uint64), _KINDS
        )
        compiled = program.compile_source(
            Path(__file__).with_name("generator.c"),
            [
                f"-I{xdp_directory()}",
                f"-DPYDSR_FD_load={self._load.number}",
                f"-DPYDSR_FD_arrived={self._arrived.number}",
            ],
            f'_Static_assert(sizeof(struct load) == {sizeof(_Load)}, "wire_load.py");\n'
            f'_Static_assert(BACKENDS == {BACKENDS}, "wire_flows.py");\n',
        )
        self._generator = program.load_function(compiled, "bench_generate")
        self._sink = program.load_function(compiled, "bench_sink")
        self._counters = PerCpuArray(self._arrived, 1)

    @contextmanager
    def attached(self, outside: Host, wires: list[Wire]) -> Iterator[None]:
        """Have the sink at the far end of every wire, and this thread outside."""
        far_ends = [wire.far_end for wire in wires]
        with attached(self._sink, outside, far_ends), enter_namespace(outside.name):
            yield

    def run(self, wire: Wire, flows: Flows, frames: int, answer: bytes, batch: int = 64) -> Run:
        """Send frames in turn of every flow, and count what comes back; call it outside.

        Args:
            wire: where to.
            flows: what they are.
            frames: how many.
            answer: the first five octets of the MAC that they are to come back with.
            batch: how many are made at once, at most 256.
        """
        ours, theirs = MacAddress.parse(CLIENT_MAC).octets, MacAddress.parse(BALANCER_MAC).octets
        load = _Load(
            macs=(c_ubyte * 12)(*theirs, *ours),
            answer=(c_ubyte * 12)(*answer, 0, *theirs),
            address_offset=flows.address_offset,
            port_offset=flows.port_offset,
            ip_check_offset=flows.ip_check_offset,
            tcp_check_offset=flows.tcp_check_offset,
            ip_sum=flows.ip_sum,
            tcp_sum=flows.tcp_sum,
            eth_proto=int.from_bytes(flows.frame[12:14], "little"),
            length=len(flows.frame),
            flows=flows.number,
            frames=frames,
        )
        libbpf.map_update(self._load, c_uint32(0), load)
        before = self._counts()
        libbpf.run_program_live(self._generator, flows.frame, frames, wire.far_end, batch)
        # The last batch may still be under way.
        eventually(lambda: sum(self._counts()) - sum(before) >= frames, _QUIET_SECONDS)
        counts = [now - then for now, then in zip(self._counts(), before, strict=True)]
        libbpf.map_lookup(self._load, c_uint32(0), load)
        seconds = (load.ended - load.began) / 1e9
        return Run(frames, seconds, tuple(counts[:BACKENDS]), counts[BACKENDS])

    def _counts(self) -> list[int]:
        return [self._counters.read(kind)[0] for kind in range(_KINDS)]
