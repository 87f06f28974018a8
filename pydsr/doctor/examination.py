"""Looks at everything, and has it judged: before anything is attached, and while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydsr.doctor.checking import results_of_daemon
from pydsr.doctor.gathering import candidates, gather_network, gather_nics
from pydsr.doctor.host import judge_host
from pydsr.doctor.network import judge_network
from pydsr.doctor.nic import judge_nics
from pydsr.doctor.present import opened
from pydsr.kernel.machine.finding import Note, Report
from pydsr.kernel.machine.read_host import read_host
from pydsr.kernel.machine.read_nic import this_machine
from pydsr.kernel.net import links
from pydsr.model.errors import PydsrError

_log = logging.getLogger(__name__)


def examine(
    directory: Path, names: Sequence[str], ask_daemon: Callable[[], dict[str, Any]]
) -> Report:
    """Return what is to be said of this host, of interfaces, and of what a balancer serves.

    Args:
        directory: of the balancer's pins, whether it is there or not.
        names: of interfaces; without any, those attached, or else those that could be.
        ask_daemon: returns what the daemon holds of the health of backends; raises PydsrError
            where none is.

    Raises:
        InputError: there is no interface of a name.
        EnvironmentCannotError: one carries no Ethernet.
    """
    named = [links.find_interface(name) for name in dict.fromkeys(names)]
    remarks = judge_host(read_host(directory))
    with opened(directory) as present:
        remarks += present.remarks
        here = [one for one in present.interfaces if one.index in present.here]
        wanted = named or here
        if not wanted and not present.is_elsewhere:
            wanted = candidates(present.interfaces)
            if not wanted:
                remarks.append(
                    Note("interfaces", "none is up that could be attached", looked=False)
                )
        try:
            remarks += judge_nics(gather_nics(wanted, present), this_machine())
            if present.state is not None:
                held = results_of_daemon(_document(ask_daemon))
                remarks += judge_network(gather_network(present, present.state, held))
        except PermissionError:
            # Pins can be opened by their owner; what their maps name takes more.
            text = "what it serves was not looked at: not privileged"
            remarks.append(Note("balancer", text, looked=False))
    return Report(tuple(remarks))


def _document(ask_daemon: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return ask_daemon()
    except PydsrError as error:
        _log.debug("no daemon is asked: %s", error.message)
        return {}
