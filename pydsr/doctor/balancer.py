"""The examined balancer, as far as this process may read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydsr.control.attached_interfaces import attached, living_links
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.kernel.machine.findings import FindingKind, Note, Problem, Remark
from pydsr.kernel.net.links import all_interfaces
from pydsr.model.errors import NotAttachedError, PermissionDeniedError, PydsrError
from pydsr.model.interfaces import Interface


@dataclass(frozen=True)
class Balancer:
    """The balancer of a directory of pins, which may not be attached.

    Attributes:
        interfaces: all interfaces of this network namespace.
        links: its links by interface index, which may be one of another namespace.
        attached: indices of the attached interfaces of this namespace.
        state: its live state; None if there is none, or if it cannot be read.
        remarks: why it cannot be read.
    """

    interfaces: Sequence[Interface]
    links: Mapping[int, LinkInfo] = field(default_factory=dict)
    attached: frozenset[int] = frozenset()
    state: LiveState | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def attached_interfaces(self) -> list[Interface]:
        """The interfaces of this namespace that it is attached to."""
        return [each for each in self.interfaces if each.index in self.attached]

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is attached in another network namespace only."""
        return bool(self.links) and not self.attached


@contextmanager
def open_balancer(directory: Path) -> Iterator[Balancer]:
    """Open the balancer of a directory of pins for the length of the block."""
    interfaces = all_interfaces()
    try:
        links = living_links(directory)
        indices = frozenset(interface.ifindex for interface in attached(directory))
        state = LiveState(directory)
    except NotAttachedError:
        yield Balancer(interfaces)
        return
    except (PermissionDeniedError, PermissionError) as error:
        note = Note("balancer", f"not examined: {error}", looked=False)
        yield Balancer(interfaces, remarks=(note,))
        return
    except PydsrError as error:
        problem = Problem(error.message, error.hint)
        finding = problem.finding(FindingKind.STATE_UNREADABLE, "balancer")
        yield Balancer(interfaces, remarks=(finding,))
        return
    try:
        yield Balancer(interfaces, links, indices, state)
    finally:
        state.close()
