"""Transactions: every change of the data plane, one at a time. Nothing else takes the lock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydsr.control.attached_interfaces import Interfaces, read_interfaces
from pydsr.control.garbage_collection import Collected, collect_all, collect_of_services
from pydsr.control.program_upgrade import follow_interfaces
from pydsr.control.resolve import Network
from pydsr.kernel.bpf import bpffs
from pydsr.kernel.bpf.live_state import LiveState, create_pins
from pydsr.kernel.bpf.lock import LOCK_SECONDS, locked, not_permitted
from pydsr.kernel.bpf.services import ServiceHead
from pydsr.kernel.bpf.settings import Settings
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import EnvironmentCannotError, NotAttachedError


@dataclass(frozen=True)
class Transaction:
    """A change under way.

    Attributes:
        state: the live state; nobody else changes it meanwhile.
        interfaces: all interfaces, and the attached ones.
        collected: what garbage collection did.
        is_first: whether the maps were created by this transaction.
    """

    state: LiveState
    interfaces: Interfaces
    collected: Collected
    is_first: bool = False

    @property
    def network(self) -> Network:
        """The networks to look for backends on."""
        return Network(self.interfaces.attached, self.interfaces.present)

    @property
    def heads(self) -> Sequence[ServiceHead]:
        """All services, with the heads of their tables."""
        return self.collected.heads or self.state.services.heads()


@contextmanager
def transaction(
    directory: Path,
    state: LiveState | None = None,
    *,
    plan_only: bool = False,
    collect: Collection[Endpoint] | None = None,
    create: Settings | None = None,
) -> Iterator[Transaction]:
    """Hold the lock for the length of the block, with a live state that is ready for a change.

    The live state follows the pins, the program follows its interfaces, and garbage is collected.
    The block then plans and commits. A function that writes several things marks the maps as
    changing meanwhile (:meth:`SettingsStore.marked`). So a block that refuses its input leaves no
    mark. If the process is killed while it writes, the mark stays, and the next transaction
    recovers.

    Args:
        directory: where the pins are.
        state: an open live state to use; otherwise one is opened.
        plan_only: write nothing at all.
        collect: the services to collect garbage of; None for all.
        create: create the maps, if there are none, with these settings. They are removed again
            if the block raises.

    Raises:
        BusyError: another command held the lock until the deadline.
        NotAttachedError: nothing is pinned there.
        EnvironmentCannotError: the pins are of another version of pydsr, or damaged.
        PermissionDeniedError: not privileged.
    """
    with locked(directory), ExitStack() as stack:
        is_first = create is not None and not has_pins(directory)
        if create is not None and is_first:
            stack.enter_context(_removed_on_error(directory))
            create_pins(directory, create)
        if state is None:
            state = stack.enter_context(closing(LiveState(directory)))
        else:
            state.follow_pins()
        if plan_only:
            yield Transaction(state, read_interfaces(directory), Collected())
            return
        interfaces = follow_interfaces(state)
        if collect is None or state.settings.is_marked:
            collected = collect_all(state)
        else:
            collected = collect_of_services(state, collect)
        yield Transaction(state, interfaces, collected, is_first)


def has_pins(directory: Path) -> bool:
    """Return whether a balancer's maps are pinned in a directory.

    Raises:
        PermissionDeniedError: not privileged.
    """
    try:
        (directory / "settings").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise not_permitted(directory) from None
    return True


@contextmanager
def _removed_on_error(directory: Path) -> Iterator[None]:
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            bpffs.remove_directory(directory)


@contextmanager
def removal(directory: Path, seconds: float = LOCK_SECONDS) -> Iterator[LiveState | None]:
    """Hold the lock for the length of the block, which detaches or removes pins.

    Yields the live state; None if it is missing, damaged or from another version, which must be
    removable too.

    Raises:
        BusyError: another command held the lock until the deadline.
        NotAttachedError: there is no such directory.
    """
    with locked(directory, seconds), ExitStack() as stack:
        try:
            state = stack.enter_context(closing(LiveState(directory)))
        except (NotAttachedError, EnvironmentCannotError):
            state = None
        yield state
