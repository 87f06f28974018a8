"""Sets a host up and undoes that: reads, plans, remembers, does; a failure leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydsr.model.errors import PydsrError
from pydsr.realserver.execution import execute
from pydsr.realserver.facts import read_facts
from pydsr.realserver.planning import Plan, plan_setup, plan_undo
from pydsr.realserver.record_file import DIRECTORY, RecordFile
from pydsr.realserver.values import Address, Wish


def setup(wish: Wish, plan_only: bool = False, directory: Path = DIRECTORY) -> Plan:
    """Have a host take packets for VIPs.

    Args:
        wish: what the host is to be.
        plan_only: whether to change nothing.
        directory: of the record of what is changed.

    Returns:
        What was done, or would be.

    Raises:
        PydsrError: it cannot be done; the host is as it was.
    """
    file = RecordFile(directory)
    if plan_only:
        return plan_setup(wish, read_facts(), file.load())
    with file.locked():
        before = file.load()
        plan = plan_setup(wish, read_facts(), before)
        file.save(plan.record)
        try:
            execute(plan.steps)
        except PydsrError:
            _undo([vip for vip in wish.vips if vip not in before.vips], file)
            raise
        return plan


def undo(
    vips: Iterable[Address] | None, plan_only: bool = False, directory: Path = DIRECTORY
) -> Plan:
    """Put back what setup has changed for VIPs.

    Args:
        vips: those that the host is no longer to have; None: all that were set up.
        plan_only: whether to change nothing.
        directory: of the record of what was changed.

    Returns:
        What was done, or would be.

    Raises:
        PydsrError: it cannot be done; it can be tried again.
    """
    file = RecordFile(directory)
    if plan_only:
        return _plan_undo(vips, file)
    with file.locked():
        return _undo(vips, file)


def _undo(vips: Iterable[Address] | None, file: RecordFile) -> Plan:
    plan = _plan_undo(vips, file)
    execute(plan.steps)
    file.save(plan.record)
    return plan


def _plan_undo(vips: Iterable[Address] | None, file: RecordFile) -> Plan:
    record = file.load()
    return plan_undo(record.vips if vips is None else vips, read_facts(), record)
