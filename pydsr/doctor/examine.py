"""Examine host, interfaces, VIPs and backends, before or after attaching."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydsr.doctor.backend_checks import Checked, Key, daemon_results
from pydsr.doctor.balancer import Balancer, open_balancer
from pydsr.doctor.facts import candidates, examine_network, examine_nics
from pydsr.doctor.host import judge_host
from pydsr.doctor.network import judge_network
from pydsr.doctor.nic import judge_nics
from pydsr.kernel.machine.findings import Note, Report
from pydsr.kernel.machine.host import read_host
from pydsr.kernel.machine.nic import this_machine
from pydsr.kernel.net.links import find_interface
from pydsr.model.errors import PydsrError
from pydsr.model.interfaces import Interface

_log = logging.getLogger(__name__)

ReadHealth = Callable[[], Mapping[str, Any]]
"""Returns a daemon's health as JSON; raises PydsrError if there is no daemon."""


def examine(directory: Path, names: Sequence[str], read_health: ReadHealth) -> Report:
    """Return the findings and notes about a balancer and its host.

    Args:
        directory: the balancer's pins, which need not exist.
        names: interfaces; if empty, the attached ones, or else all that could be attached.
        read_health: returns the daemon's health, whose backends are not checked again.
    """
    named = [find_interface(name) for name in dict.fromkeys(names)]
    remarks = judge_host(read_host(directory))
    with open_balancer(directory) as balancer:
        remarks += balancer.remarks
        nics = named or _default_interfaces(balancer)
        if not nics and not balancer.is_elsewhere:
            text = "no interface that could be attached is up"
            remarks.append(Note("interfaces", text, looked=False))
        try:
            remarks += judge_nics(examine_nics(nics, balancer), this_machine())
            if balancer.state is not None:
                results = _daemon_results(read_health)
                remarks += judge_network(examine_network(balancer, balancer.state, results))
        except PermissionError:
            # The owner of pins can open them; reading the maps they refer to needs more.
            text = "what it serves was not examined: not privileged"
            remarks.append(Note("balancer", text, looked=False))
    return Report(tuple(remarks))


def _default_interfaces(balancer: Balancer) -> list[Interface]:
    attached = balancer.attached_interfaces
    return attached or ([] if balancer.is_elsewhere else candidates(balancer.interfaces))


def _daemon_results(read_health: ReadHealth) -> dict[Key, Checked]:
    try:
        return daemon_results(read_health())
    except PydsrError as error:
        _log.debug("no results of a daemon: %s", error.message)
        return {}
