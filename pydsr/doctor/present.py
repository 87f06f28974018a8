"""What there is of a balancer, so far as this process may see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydsr.control.attached_interfaces import attached, living_links
from pydsr.kernel.bpf.store import State
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.kernel.machine.finding import Finding, Note, Remark
from pydsr.kernel.machine.finding_kinds import Kind
from pydsr.kernel.net import links
from pydsr.model.errors import NotAttachedError, PermissionDeniedError, PydsrError
from pydsr.model.interfaces import Interface


@dataclass(frozen=True)
class Present:
    """The balancer of a directory of pins.

    Attributes:
        interfaces: all of this network namespace.
        links: its own, by the index of an interface, which may be one of another namespace.
        here: indices of the interfaces of this namespace that it is on.
        state: None where there is none, or none that can be read.
        remarks: why it cannot be.
    """

    interfaces: Sequence[Interface]
    links: Mapping[int, LinkInfo] = field(default_factory=dict)
    here: frozenset[int] = frozenset()
    state: State | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is attached, but in another network namespace."""
        return bool(self.links) and not self.here


@contextmanager
def opened(directory: Path) -> Iterator[Present]:
    """Have the balancer of a directory of pins open for the length of the block."""
    interfaces = links.all_interfaces()
    try:
        own = living_links(directory)
        here = frozenset(one.ifindex for one in attached(directory))
        state = State(directory)
    except NotAttachedError:
        yield Present(interfaces)
        return
    except (PermissionDeniedError, PermissionError) as error:
        note = Note("balancer", f"not looked at: {error}", looked=False)
        yield Present(interfaces, remarks=(note,))
        return
    except PydsrError as error:
        finding = Finding(Kind.STATE_UNREADABLE, "balancer", error.message, error.hint)
        yield Present(interfaces, remarks=(finding,))
        return
    try:
        yield Present(interfaces, own, here, state)
    finally:
        state.close()
