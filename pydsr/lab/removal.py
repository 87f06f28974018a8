"""Removes a lab by its name, whoever made it and however much of it there is.

All of a lab is found by its name: namespaces ``pydsr-NAME-*``, the bpffs directory ``pydsr-NAME``
and the records of its processes.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from contextlib import nullcontext

from pydsr.lab import network
from pydsr.lab.interrupts import held
from pydsr.lab.processes import PYTHON, ProcessRecords, environment
from pydsr.lab.topology import Role, bpffs_of, check_name, namespace_of, records_of

_logger = logging.getLogger(__name__)

_DETACH_SECONDS = 60.0


def remove(name: str) -> bool:
    """Remove a lab, whoever made it and however much of it there is.

    Returns:
        Whether there was anything of it.

    Raises:
        InputError: no lab can have that name.
        PydsrError: a part could not be removed; everything else was.
    """
    check_name(name)
    records, pins = records_of(name), bpffs_of(name)
    with network.explained(f"look for the lab {name!r}"):
        found = records.exists() or pins.exists() or bool(network.namespaces(name))
    with held():
        ProcessRecords(records / "processes").end_all()
        try:
            _remove_balancer(name)
        finally:
            network.remove_namespaces(name)
        shutil.rmtree(records, ignore_errors=True)
    return found


def _remove_balancer(name: str) -> None:
    """Detach by pydsr; unlink what is left of the pins, which detaches all the same."""
    pins = bpffs_of(name)
    if not pins.exists():
        return
    balancer = namespace_of(name, Role.BALANCER)
    there = balancer in network.namespaces(name)
    with network.entered(balancer) if there else nullcontext():
        try:
            subprocess.run(
                [*PYTHON, "pydsr", "--bpffs", str(pins), "detach", "--all", "--purge"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                env=environment(),
                start_new_session=True,
                timeout=_DETACH_SECONDS,
            )
        except subprocess.SubprocessError as error:
            _logger.warning("its pins are unlinked instead: %s", error)
    if pins.exists():
        with network.explained(f"remove {pins}"):
            shutil.rmtree(pins)
