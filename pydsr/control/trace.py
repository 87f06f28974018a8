"""Asking the loaded program what would become of a frame; nothing is counted or recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydsr.control.attached_interfaces import Attached
from pydsr.control.trace_frames import FRAME_BYTES_MIN, headers_bytes, question, sent_to
from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.backends import BackendEntry
from pydsr.kernel.bpf.codec import unpack_tags
from pydsr.kernel.bpf.store import State
from pydsr.model.addresses import EVERY_PORT, Endpoint, IPAddress, MacAddress, Tag
from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.model.reasons import all_reasons

_ETHERNET_BYTES = 14
_FRAME_BYTES_MAX = 262144  # more than a test run takes: where a file says so, nothing is filled up


@dataclass(frozen=True)
class Explanation:
    """Where the loaded program would send a packet, and why.

    Attributes:
        verdict: tx, redirect, pass or drop.
        interface: index of the one it would leave by; None where it would not.
    """

    service: Endpoint | None
    backend: IPAddress | None
    mac: MacAddress | None
    verdict: str
    reason: str
    slot: int | None
    tags: tuple[Tag, ...] = ()
    interface: int | None = None


class UnanswerableError(InputError):
    """The program cannot be asked about a frame; the message says why."""


def find_ingress(attached: Sequence[Attached], name: str) -> Attached:
    """Return the attached interface of a name; raises InputError."""
    by_name = {one.name: one for one in attached}
    if name not in by_name:
        raise InputError(
            f"pydsr is not attached to {name}", "attached: " + (", ".join(by_name) or "none")
        )
    return by_name[name]


class Explainer:
    """Asks the loaded program.

    Args:
        state: of the balancer.
        attached: the interfaces it is on.

    Raises:
        EnvironmentCannotError: the program that answers is not there.
    """

    def __init__(self, state: State, attached: Sequence[Attached]) -> None:
        self._state = state
        self._attached = attached
        self._backends: dict[int, BackendEntry] = {}
        path = state.pins.path("explain")
        try:
            self._program = libbpf.open_pin(path)
        except FileNotFoundError:
            raise EnvironmentCannotError(
                f"the program that answers, {path}, is not there",
                "pydsr attach IFACE makes it anew; no packet is lost by that",
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.close()

    def explain_flow(
        self,
        endpoint: Endpoint,
        source: IPAddress,
        source_port: int,
        syn: bool,
        ingress: Attached | None = None,
    ) -> Explanation:
        """Ask where a packet of a flow would go.

        Args:
            endpoint: where the packet is sent; one port.
            source: the client's address.
            source_port: the client's port.
            syn: whether it opens a connection.
            ingress: the interface it comes in by; None for that of its backend.

        Raises:
            InputError: the source is of the other IP version than the endpoint, or it is no port.
        """
        if endpoint.port == EVERY_PORT:
            raise InputError(
                f"a packet to {endpoint} has one port",
                "name it: the service of every port is found",
            )
        if source.version != endpoint.address.version:
            raise InputError(
                f"a packet from {source} to {endpoint.address} cannot be",
                "name a source of the VIP's IP version",
            )
        to = None if ingress is None else ingress.mac
        return self._ask(question(endpoint, source, source_port, syn, to), ingress)

    def explain_frame(
        self, frame: bytes, length: int, ingress: str | None = None, to_us: bool = False
    ) -> Explanation:
        """Ask what would become of a frame.

        Args:
            frame: from its Ethernet header on; what was captured of it.
            length: how many bytes it had.
            ingress: the attached interface it comes in by; None for the one that has the MAC it
                is sent to, or else the first.
            to_us: take it for sent to that interface's MAC, if it was sent to any one.

        Raises:
            InputError: the interface is not attached.
            UnanswerableError: it is too short or too long to be asked about, or what was not
                captured of it decides.
        """
        if len(frame) < _ETHERNET_BYTES:
            raise UnanswerableError(f"{len(frame)} bytes are less than an Ethernet header")
        if length > _FRAME_BYTES_MAX:
            raise UnanswerableError(f"no frame has {length} bytes")
        by = find_ingress(self._attached, ingress) if ingress else self._receiver(frame)
        if to_us and by is not None:
            frame = sent_to(frame, by.mac)
        if len(frame) < min(length, headers_bytes(frame)):
            raise UnanswerableError(f"only {len(frame)} of its {length} bytes were captured")
        return self._ask(frame.ljust(max(length, FRAME_BYTES_MIN), b"\0"), by)

    def _receiver(self, frame: bytes) -> Attached | None:
        """Return the interface that a frame was sent to, or else the first."""
        for one in self._attached:
            if one.mac.octets == frame[:6]:
                return one
        return self._attached[0] if self._attached else None

    def _ask(self, frame: bytes, ingress: Attached | None) -> Explanation:
        ifindex = ingress.ifindex if ingress else 0
        try:
            _, answer, _ = libbpf.run_program(self._program, frame, ifindex=ifindex)
        except OSError as error:
            raise UnanswerableError(
                f"the kernel runs no program on {len(frame)} bytes: {error.strerror}"
            ) from None
        found = layout.Explanation.from_buffer_copy(answer)
        reason = all_reasons()[found.reason]
        service = self._services.get(found.service)
        slot = None if found.slot == layout.NO_SLOT else found.slot
        if not found.backend:
            return Explanation(service, None, None, reason.verdict, reason.name, slot)
        entry = self._backend(found.backend)
        mac = MacAddress(bytes(entry.mac))
        leaves = reason.verdict == "tx"
        return Explanation(
            service=service,
            backend=layout.unpack_address(bytes(entry.address)),
            mac=mac if mac.is_unicast else None,
            verdict="redirect" if leaves and found.egress else reason.verdict,
            reason=reason.name,
            slot=slot,
            tags=unpack_tags(entry.tags),
            interface=entry.ifindex if leaves else None,
        )

    @cached_property
    def _services(self) -> dict[int, Endpoint]:
        return {each.id: each.endpoint for each in self._state.configs()}

    def _backend(self, number: int) -> BackendEntry:
        if number not in self._backends:
            self._backends[number] = self._state.read_backend(number)
        return self._backends[number]
