"""Track attached interfaces by netlink events: lost, back, down, up or changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydsr.control.attach import AttachOptions, attach_interfaces
from pydsr.control.attached_interfaces import Attached, attached, link_path, write_egress
from pydsr.control.transaction import Transaction, transaction
from pydsr.daemon.backend_moves import change_egress
from pydsr.daemon.netlink_decisions import (
    LinkReaction,
    Topology,
    react_to_link,
    topology_of,
    why_down,
)
from pydsr.daemon.tasks import WarnOnce
from pydsr.kernel.net import links, monitor
from pydsr.model.errors import InputError, NotAttachedError, PydsrError
from pydsr.model.events import Event, EventKind
from pydsr.model.netlink_events import Link, LinkGone

_log = logging.getLogger(__name__)


class LinkTracker:
    """Records link events in memory; its actions run in threads."""

    def __init__(
        self, directory: Path, record: Callable[[Event], object], wake: Callable[[], None]
    ) -> None:
        self._directory = directory
        self._record = record
        self._wake = wake
        self._warnings = WarnOnce(_log)
        self._links: dict[int, Link] = {}
        self._attached: dict[int, Attached] = {}
        self._lost: dict[str, tuple[Attached, float]] = {}
        self._down: dict[int, float] = {}
        self._topology: Topology | None = None

    def name_of(self, index: int) -> str:
        """Return the name of an interface."""
        link = self._links.get(index)
        return link.interface.name if link else "a deleted interface"

    @property
    def all_work(self) -> bool:
        """Whether no attached interface is lost or down."""
        return not self._lost and not self._down

    async def look_up(self) -> None:
        """Read all interfaces, and notice those that vanished without an event."""
        present = {
            link.interface.index: link for link in await asyncio.to_thread(monitor.all_links)
        }
        for index in self._links.keys() - present.keys():
            self.on_link_gone(LinkGone(self._links[index].interface))
        for link in present.values():
            self.on_link(link)

    def reset(self) -> None:
        """Forget the attached interfaces, because there is no balancer any more."""
        self._attached.clear()
        self._lost.clear()
        self._down.clear()
        self._topology = None

    # -- events, recorded in memory

    def on_link(self, now: Link) -> None:
        """Record the state of an interface."""
        interface = now.interface
        before = self._links.get(interface.index)
        self._links[interface.index] = now
        reaction = react_to_link(before, now, self._attached, self._lost)
        if reaction is LinkReaction.DOWN:
            self._down[interface.index] = time.monotonic()
            self._record(Event(EventKind.LINK_DOWN, interface.name, why_down(now)))
        elif reaction is LinkReaction.UP:
            since = self._down.pop(interface.index, None)
            seconds = None if since is None else time.monotonic() - since
            self._record(Event(EventKind.LINK_UP, interface.name, "carries frames again", seconds))
            # The kernel dropped the neighbour entries of its networks.
            self._topology = None
        if reaction is not LinkReaction.NOTHING or self._topology_changed():
            self._wake()

    def on_link_gone(self, gone: LinkGone) -> None:
        """Record that an interface was deleted."""
        index = gone.interface.index
        self._links.pop(index, None)
        self._down.pop(index, None)
        was_attached = self._attached.pop(index, None)
        if was_attached:
            self._lose(was_attached)
        if self._topology_changed():
            self._wake()

    def _lose(self, interface: Attached) -> None:
        # Detaching removes the pin; deleting the interface does not.
        if not link_path(self._directory, interface.ifindex).exists():
            return
        self._lost[interface.name] = interface, time.monotonic()
        cause = "the interface was deleted; the program is attached again when it returns"
        self._record(Event(EventKind.LINK_LOST, interface.name, cause))

    def _topology_changed(self) -> bool:
        return self._topology != topology_of(self._links.values(), self._attached)

    # -- actions, in threads

    async def reattach(self) -> None:
        """Attach the program to lost interfaces that exist again.

        Raises:
            BusyError: another command is changing the state, and did not end.
        """
        if not self._lost:
            return
        if await asyncio.to_thread(_is_detached, self._directory):
            self._lost.clear()
            return
        lost = {name: interface for name, (interface, _) in self._lost.items()}
        for result in await asyncio.to_thread(_reattach, self._directory, lost):
            if result.failure:
                self._warnings.warn(result.name, f"{result.name} is back, but {result.failure}")
                continue
            self._warnings.clear(result.name)
            _, since = self._lost.pop(result.name)
            cause = f"attached again, in {result.mode} mode"
            seconds = time.monotonic() - since
            self._record(Event(EventKind.LINK_BACK, result.name, cause, seconds))

    async def check(self) -> bool:
        """Read the attached interfaces, and tell the program if MACs or networks have changed.

        Returns:
            Whether they have.

        Raises:
            BusyError: another command is changing the state, and did not end.
            NotAttachedError: there is no balancer any more.
        """
        before = self._attached
        self._attached = await asyncio.to_thread(_attached_by_index, self._directory)
        for index in before.keys() - self._attached.keys():
            # The interface may have been deleted before it was known to be attached.
            if index not in self._links:
                self._lose(before[index])
        topology = topology_of(self._links.values(), self._attached)
        if topology == self._topology:
            return False
        await asyncio.to_thread(_tell_program, self._directory)
        self._topology = topology
        return True


@dataclass(frozen=True)
class _Reattached:
    """The result of attaching to an interface again; ``failure`` is empty on success."""

    name: str
    mode: str
    failure: str = ""


def _attached_by_index(directory: Path) -> dict[int, Attached]:
    try:
        return {interface.ifindex: interface for interface in attached(directory)}
    except NotAttachedError:
        return {}


def _is_detached(directory: Path) -> bool:
    try:
        return not any((directory / "links").iterdir())
    except FileNotFoundError:
        return True


def _tell_program(directory: Path) -> None:
    """Write the MACs of the interfaces, and the interfaces that the program can redirect to."""
    with transaction(directory, collect=()) as change:
        write_egress(change.state, change.interfaces.attached)


def _reattach(directory: Path, lost: Mapping[str, Attached]) -> list[_Reattached]:
    """Attach to lost interfaces that exist again, in the mode that they had.

    Packets for backends behind them leave by them again.
    """
    present = {interface.name for interface in links.all_interfaces()}
    returning = [interface for name, interface in lost.items() if name in present]
    if not returning:
        return []
    with transaction(directory, collect=()) as change:
        return list(_reattach_in(change, returning))


def _reattach_in(change: Transaction, returning: Iterable[Attached]) -> Iterable[_Reattached]:
    indices = {interface.name: interface.ifindex for interface in change.interfaces.attached}
    for lost in returning:
        try:
            if lost.name not in indices:
                interface = links.find_interface(lost.name)
                attach_interfaces(change.state, [interface], AttachOptions(lost.mode))
                indices[lost.name] = interface.index
        except InputError:
            # It has vanished again.
            continue
        except PydsrError as error:
            hint = f" ({error.hint})" if error.hint else ""
            yield _Reattached(lost.name, lost.mode, error.message + hint)
            continue
        change_egress(change.state, lost.ifindex, indices[lost.name])
        yield _Reattached(lost.name, lost.mode)
