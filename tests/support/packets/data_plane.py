"""A data plane without interfaces: its maps and programs, and packets through them.

BPF_PROG_TEST_RUN lets packets come in by the loopback. So a backend with the loopback's index is
behind the ingress interface, and one with another index is behind another interface.
"""

from __future__ import annotations

import ipaddress
import os
from array import array
from collections.abc import Mapping, Sequence
from ctypes import c_uint32
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from pydsr.hashing import maglev
from pydsr.hashing.maglev import Member
from pydsr.hashing.slots import LOOK_UP_ONLY, NO_BACKEND
from pydsr.hashing.table import Table
from pydsr.kernel.bpf import bpffs, layout, libbpf, program
from pydsr.kernel.bpf.counters import PerCpuArray
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.live_state import LiveState, create_pins
from pydsr.kernel.bpf.maps import HashMap, map_specs
from pydsr.kernel.bpf.settings import Settings
from pydsr.model.addresses import Endpoint, MacAddress, Place, Tag, parse_address
from pydsr.model.features import DEFAULT_FEATURES, Feature, Features
from pydsr.model.flow_records import FlowRecord
from pydsr.model.options import ServiceOptions
from pydsr.model.reasons import all_reasons
from pydsr.model.service import DesiredBackend, PlacedBackend, Service, Unserved
from pydsr.model.snapshot import Counters
from pydsr.model.source_rules import Action, parse_networks

TABLE_SIZE = 1009
SEED = 0x0123456789ABCDEF
INGRESS = 1
ELSEWHERE = 2
NOWHERE = 3
BALANCER_MAC = MacAddress.parse("02:00:00:00:00:01")
ELSEWHERE_MAC = MacAddress.parse("02:00:00:00:00:02")

EVERY_FEATURE = ~Feature(0)

_VERDICTS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}
_numbers = count()


def mac_of(backend: int) -> MacAddress:
    """Return the MAC that the rig gives to a backend."""
    return MacAddress(bytes.fromhex("02000000") + (0x8000 | backend).to_bytes(2, "big"))


def address_of(backend: int) -> ipaddress.IPv4Address:
    """Return the address that the rig gives to a backend."""
    return ipaddress.IPv4Address("10.0.0.0") + backend


@dataclass(frozen=True)
class Outcome:
    """What became of a packet: what the program returned, counted, and left in the buffer.

    Attributes:
        verdict: tx, redirect, pass, drop or aborted.
        reasons: every reason whose counter went up, as often as it did.
        frame: the frame afterwards.
    """

    verdict: str
    reasons: tuple[str, ...]
    frame: bytes

    @property
    def reason(self) -> str:
        """Return the one reason the packet was counted under."""
        (reason,) = self.reasons
        return reason


class Programs:
    """The attached program, and the one for traces, which is loaded when it is needed."""

    def __init__(
        self, maps: Mapping[str, Descriptor], settings: Settings, features: Feature
    ) -> None:
        self._arguments = (maps, settings.table_size, settings.seed, features)
        self.balance = self._load("pydsr_balance")

    @cached_property
    def explain(self) -> Descriptor:
        """The program for traces."""
        return self._load("pydsr_explain")

    def _load(self, name: str) -> Descriptor:
        with program.compiled_programs(*self._arguments) as compiled:
            return program.load_function(compiled, name)

    def close(self) -> None:
        """Unload them."""
        for name in ("balance", "explain"):
            if name in vars(self):
                getattr(self, name).close()


class Rig:
    """A data plane with maps of its own; use it with ``with``, which removes them.

    Args:
        table_size: slots of every service's table, a prime.
        seed: the 64-bit key of the hash.
        features: the parts that the program is compiled with.
    """

    def __init__(
        self,
        table_size: int = TABLE_SIZE,
        seed: int = SEED,
        features: Feature = DEFAULT_FEATURES,
    ) -> None:
        self.features = features
        name = f"pydsr-test-{os.getpid()}-xdp-{next(_numbers)}"
        self.directory = bpffs.STANDARD_MOUNT / name
        bpffs.prepare_directory(self.directory)
        try:
            self._load(Settings(table_size, seed))
        except BaseException:
            bpffs.remove_directory(self.directory)
            raise
        self.services: list[Service] = []
        self._backends: set[int] = set()
        self.state.interfaces.write(INGRESS, BALANCER_MAC)
        if Feature.REDIRECT in features:
            self.state.interfaces.write(ELSEWHERE, ELSEWHERE_MAC)
            # No frame is sent by BPF_PROG_TEST_RUN: any interface may stand for the other one.
            libbpf.map_update(self.state.pins["egress"], c_uint32(ELSEWHERE), c_uint32(INGRESS))

    def _load(self, settings: Settings) -> None:
        create_pins(self.directory, settings)
        self.state = LiveState(self.directory)
        maps = {spec.name: self.state.pins[spec.name] for spec in map_specs()}
        self.programs = Programs(maps, settings, self.features)
        self.state.settings.write_features(Features(self.features))
        self._counters = PerCpuArray(maps["counters"], 3)
        self._verdicts = PerCpuArray(maps["verdicts"], 1)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unload the programs and remove the maps."""
        self.programs.close()
        self.state.close()
        bpffs.remove_directory(self.directory)

    def clear(self) -> None:
        """Leave nothing in the maps but the interface's MAC."""
        for service in self.services:
            self.state.services.delete(service.endpoint)
            self.state.tables.delete([service.id])
        for backend in self._backends:
            self.state.backends.write_state(backend, StateNumber.FREE)
        self.forget_flows()
        self.state.source_rules.write({})
        for vip in self.state.vip_policies.read():
            self.state.vip_policies.write(vip, Unserved.COUNT)
        self.services.clear()
        self._backends.clear()
        self.state.index.write([])
        self.state.interfaces.write(INGRESS, BALANCER_MAC)

    def forget_flows(self) -> None:
        """Delete every flow record, pending SYN, remembered fragment and count of new flows."""
        for record in list(self.state.flow_records.all()):
            self.state.flow_records.delete(record)
        for record in list(self.state.half_open_flows.all()):
            self.state.half_open_flows.delete(record)
        for name, key_type in (("fragments", layout.FragmentKey), ("guards", layout.GuardKey)):
            flows = HashMap(self.state.pins[name], key_type, key_type)
            for key in flows.all_keys():
                flows.delete(key)

    # -- what is balanced

    def serve(
        self,
        endpoint: str,
        current: Sequence[int],
        previous: int = NO_BACKEND,
        learn_until: int = 0,
        options: ServiceOptions | None = None,
        publish: bool = True,
    ) -> Service:
        """Create a service with backends that can be reached.

        Args:
            endpoint: its VIP, port and protocol.
            current: ids of the backends that share its slots.
            previous: what every slot names as its backend of before, or LOOK_UP_ONLY.
            learn_until: nanoseconds of CLOCK_MONOTONIC.
            options: how it behaves.
            publish: whether packets find it, and those before it, from now on.
        """
        service = Service(len(self.services), Endpoint.parse(endpoint), options or ServiceOptions())
        self.services.append(service)
        for backend in sorted({*current, previous} - {NO_BACKEND, LOOK_UP_ONLY}):
            place = Place(mac_of(backend), INGRESS)
            new = PlacedBackend(backend, DesiredBackend(address_of(backend)), place)
            self.state.backends.write_new([(service.id, new)])
            self._backends.add(backend)
        self.write_table(service, current, previous, learn_until)
        self.state.services.write(service)
        if publish:
            self.state.index.write(self.services)
        return service

    def write_table(
        self,
        service: Service,
        current: Sequence[int],
        previous: int = NO_BACKEND,
        learn_until: int = 0,
    ) -> None:
        """Replace a service's table by one with the same ``previous`` in every slot."""
        members = tuple(
            Member(layout.pack_address(address_of(backend)), 1, backend) for backend in current
        )
        owners = maglev.build_table(members, self.state.settings.table_size)
        before = array("H", [previous]) * self.state.settings.table_size
        self.state.tables.write(service.id, Table(members, owners, before, learn_until))

    def place(
        self,
        backend: int,
        mac: bytes | None = None,
        ifindex: int = INGRESS,
        tags: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Say where a backend is; the MAC is the rig's own where none is given.

        Args:
            backend: its id.
            mac: six octets.
            ifindex: the interface it is behind.
            tags: EtherType and VLAN of each tag on its frames, outermost first.
        """
        where = mac_of(backend) if mac is None else MacAddress(mac)
        place = Place(where, ifindex, tuple(Tag(*tag) for tag in tags))
        self.state.backends.write_place(backend, place, by_hand=False)

    def set_rules(self, service: Service | None, rules: Mapping[str, Action]) -> None:
        """Replace the source rules of a service, or of all; sources are as on the command line."""
        scope = service.endpoint if service else None
        networks = {parse_networks([text], scope): action for text, action in rules.items()}
        scoped = self.state.source_rules.read()
        scoped[service.id if service else None] = {
            network: action for found, action in networks.items() for network in found
        }
        self.state.source_rules.write({scope: rules for scope, rules in scoped.items() if rules})
        self.state.index.write(self.services)

    def set_policy(self, vip: str, policy: Unserved) -> None:
        """Say what becomes of a VIP's ports without a service."""
        self.state.vip_policies.write(parse_address(vip), policy)
        self.state.index.write(self.services)

    # -- packets

    def run(self, frame: bytes) -> bytes:
        """Run a frame through the program for interfaces, without a look at the counters."""
        return libbpf.run_program(self.programs.balance, frame)[1]

    def send(self, frame: bytes) -> Outcome:
        """Run a frame through the program for interfaces."""
        before = self.verdict_counts()
        action, after, _ = libbpf.run_program(self.programs.balance, frame)
        counted = [new - old for new, old in zip(self.verdict_counts(), before, strict=True)]
        reasons = [
            reason.name
            for reason, packets in zip(all_reasons(), counted, strict=True)
            for _ in range(packets)
        ]
        return Outcome(_VERDICTS[action], tuple(reasons), after)

    def send_only(self, frame: bytes) -> None:
        """Run a frame through the program where only its effect on maps matters."""
        libbpf.run_program(self.programs.balance, frame)

    def explain(self, frame: bytes, ifindex: int = 0) -> layout.Explanation:
        """Ask the explaining program about a frame."""
        action, answer, _ = libbpf.run_program(self.programs.explain, frame, ifindex=ifindex)
        if _VERDICTS[action] != "pass":
            raise ValueError(f"explain answered {_VERDICTS[action]}")
        return layout.Explanation.from_buffer_copy(answer)

    # -- what the program keeps

    def counters(self, backend: int) -> Counters:
        """Return a backend's counters."""
        return Counters(*self._counters.read(backend))

    def verdict_counts(self) -> list[int]:
        """Return how many packets left for each reason."""
        counts = self._verdicts.read_many(range(len(all_reasons())))
        return [packets for _, (packets,) in sorted(counts.items())]

    def records(self) -> list[FlowRecord]:
        """Return the flow records."""
        return list(self.state.flow_records.all())

    def recorded(self) -> list[int]:
        """Return the backends that flow records name."""
        return sorted(record.backend for record in self.records())

    def waiting(self) -> list[int]:
        """Return the backends that pending SYNs went to."""
        return sorted(record.backend for record in self.state.half_open_flows.all())
