"""Interfaces that go and come back: the program on them again, and what it is told of them.

Everything here blocks, and is called in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydsr.control.attach import AttachOptions, attach_interfaces
from pydsr.control.attached_interfaces import Attached, attached, link_path, write_egress
from pydsr.control.transaction import Transaction, transaction
from pydsr.daemon.following import move_to_interface
from pydsr.kernel.net import links
from pydsr.model.errors import InputError, NotAttachedError, PydsrError


@dataclass(frozen=True)
class Returned:
    """An interface that the program was put on again, or why it was not."""

    name: str
    mode: str
    failure: str = ""


def here(directory: Path) -> dict[int, Attached]:
    """Return the interfaces the balancer is on, by index; none where there is no balancer."""
    try:
        return {one.ifindex: one for one in attached(directory)}
    except NotAttachedError:
        return {}


def went_by_itself(directory: Path, ifindex: int) -> bool:
    """Return whether an interface is gone and was not detached: then its pin is still there."""
    return link_path(directory, ifindex).exists()


def is_given_up(directory: Path) -> bool:
    """Return whether everything was detached, so that nothing is waited for any more."""
    try:
        return not any((directory / "links").iterdir())
    except FileNotFoundError:
        return True


def tell_program(directory: Path) -> None:
    """Tell the program the MACs its interfaces have now, and where it can redirect to.

    Raises:
        BusyError: another command is changing the state, and did not end.
    """
    with transaction(directory, collect=()) as change:
        write_egress(change.state, change.surroundings.attached)


def bring_back(directory: Path, lost: Mapping[str, Attached]) -> list[Returned]:
    """Put the program on interfaces that are there again, in the mode it had on them.

    Packets to backends behind them go out of them as before.

    Args:
        directory: of the pins.
        lost: those that were lost, by name.

    Returns:
        Those that are there again; others are still away.

    Raises:
        BusyError: another command is changing the state, and did not end.
    """
    present = {interface.name for interface in links.all_interfaces()}
    coming = [one for name, one in lost.items() if name in present]
    if not coming:
        return []
    with transaction(directory, collect=()) as change:
        return list(_attach_again(change, coming))


def _attach_again(change: Transaction, coming: Iterable[Attached]) -> Iterable[Returned]:
    state = change.state
    by_name = {one.name: one.ifindex for one in change.surroundings.attached}
    for one in coming:
        try:
            if one.name not in by_name:
                interface = links.find_interface(one.name)
                attach_interfaces(state, [interface], AttachOptions(one.mode))
                by_name[one.name] = interface.index
        except InputError:
            # Gone again.
            continue
        except PydsrError as error:
            hint = f" ({error.hint})" if error.hint else ""
            yield Returned(one.name, one.mode, error.message + hint)
            continue
        move_to_interface(state, one.ifindex, by_name[one.name])
        yield Returned(one.name, one.mode)
