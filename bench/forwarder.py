"""The peers of pydsr: a bare forwarder, and a program that only swaps MACs."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Collection
from ctypes import c_ubyte, c_uint8, c_uint16, c_uint32, c_uint64, sizeof
from pathlib import Path

from pydsr.kernel.bpf import libbpf, program
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.sources import xdp_directory

SLOTS = 65537
BACKENDS = 16
MAC_PREFIX = bytes.fromhex("02ff00000000")[:5]


class _Service(ctypes.Structure):
    """Mirrors struct floor_service of forwarder.c."""

    _fields_ = [("vip", c_ubyte * 4), ("port", c_uint16), ("ip_proto", c_uint8), ("pad", c_uint8)]


class Forwarder:
    """The loaded program with maps of its own.

    Args:
        services: VIP, port and IP protocol of each.
        backends: how many all of them share.
    """

    def __init__(
        self, services: Collection[tuple[str, int, int]], backends: int = BACKENDS
    ) -> None:
        hash_, array = libbpf.MAP_TYPE_HASH, libbpf.MAP_TYPE_ARRAY
        percpu = libbpf.MAP_TYPE_PERCPU_ARRAY
        specs = {
            "services": (hash_, sizeof(_Service), 4, len(services)),
            "slots": (array, 4, 4, SLOTS),
            "macs": (array, 4, 8, backends),
            "packets": (percpu, 4, sizeof(c_uint64), len(services)),
            "backends": (percpu, 4, sizeof(c_uint64), backends),
        }
        self._maps: dict[str, Descriptor] = {
            name: libbpf.map_create(kind, f"floor_{name}", key_size, value_size, entries)
            for name, (kind, key_size, value_size, entries) in specs.items()
        }
        for number, (vip, port, ip_proto) in enumerate(services):
            key = _Service((c_ubyte * 4)(*socket.inet_aton(vip)), socket.htons(port), ip_proto)
            libbpf.map_update(self._maps["services"], key, c_uint32(number))
        keys = (c_uint32 * SLOTS)(*range(SLOTS))
        owners = (c_uint32 * SLOTS)(*(slot % backends for slot in range(SLOTS)))
        libbpf.map_update_batch(self._maps["slots"], keys, owners, SLOTS)
        for number in range(backends):
            mac = (c_ubyte * 8)(*MAC_PREFIX, number & 0xFF)
            libbpf.map_update(self._maps["macs"], c_uint32(number), mac)
        compiled = program.compile_source(
            Path(__file__).with_name("forwarder.c"),
            [
                f"-I{xdp_directory()}",
                f"-DPYDSR_TABLE_SIZE={SLOTS}",
                *(f"-DPYDSR_FD_floor_{name}={fd.number}" for name, fd in self._maps.items()),
            ],
        )
        self._compiled = compiled
        self.program = program.load_function(compiled, "bench_forwarder")

    def load_for_tc(self) -> int:
        """Load the same as a classifier of tc; its descriptor lives as long as this object."""
        self._classifier = libbpf.program_load(
            "bench_tc",
            self._compiled["bench_tc"],
            0,
            program.LICENCE,
            libbpf.PROG_TYPE_CLASSIFIER,
        )
        return self._classifier.number


def load_swap() -> Descriptor:
    """Load the program that sends every frame back to the MAC that it came from."""
    compiled = program.compile_source(Path(__file__).with_name("swap.c"), [f"-I{xdp_directory()}"])
    return program.load_function(compiled, "bench_swap")
