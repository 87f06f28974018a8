"""The links that hold the program on interfaces: made in the driver where that can be."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

from pydsr.control.attached_interfaces import link_path
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.store import State
from pydsr.kernel.net import links
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError
from pydsr.model.interfaces import Interface, find_own_macs

_log = logging.getLogger(__name__)

_FLAGS = {"native": libbpf.XDP_FLAG_NATIVE, "generic": libbpf.XDP_FLAG_GENERIC}


def create_links(
    directory: Path,
    state: State,
    interfaces: Sequence[Interface],
    program: Descriptor,
    mode: str,
) -> None:
    """Attach the program to interfaces that have none yet: to all of them, or none.

    Args:
        directory: where the links are pinned.
        state: forgets the interfaces again where one of them refuses.
        interfaces: where to.
        program: what.
        mode: auto, native or generic.

    Raises:
        PermissionDeniedError: not privileged.
        EnvironmentCannotError: the kernel or a driver refuses.
    """
    created: list[int] = []
    try:
        for interface in interfaces:
            _create_link(directory, interface, program, mode)
            created.append(interface.index)
    except BaseException:
        for ifindex in created:
            link_path(directory, ifindex).unlink()
        for ifindex in find_own_macs(links.all_interfaces(), {one.index for one in interfaces}):
            state.delete_interface(ifindex)
        raise


def _create_link(directory: Path, interface: Interface, program: Descriptor, mode: str) -> None:
    with _link_in_mode(interface, program, mode) as link:
        path = link_path(directory, interface.index)
        path.unlink(missing_ok=True)
        libbpf.pin(link, path)


def _link_in_mode(interface: Interface, program: Descriptor, mode: str) -> Descriptor:
    first = "native" if mode == "auto" else mode
    try:
        return libbpf.link_create(program, interface.index, _FLAGS[first])
    except OSError as error:
        if error.errno == errno.EPERM:
            raise PermissionDeniedError(
                f"attaching to {interface.name} is not permitted", "run as root (sudo)"
            ) from None
        hint = _explain(error, interface)
        if mode != "auto":
            raise EnvironmentCannotError(
                f"{interface.name} (MTU {interface.mtu}) takes no XDP program in {first} mode: "
                f"{error.strerror}",
                hint,
            ) from None
        reason = f"{error.strerror}: {hint}"
    _log.warning(
        "%s takes no XDP program in native mode (%s): FALLING BACK TO GENERIC MODE, which "
        "costs most of the speed; --mode native refuses instead",
        interface.name,
        reason,
    )
    return _link_in_mode(interface, program, "generic")


def _explain(error: OSError, interface: Interface) -> str:
    """Return why an interface refuses a program in the driver, in the words of the doctor.

    Raises:
        EnvironmentCannotError: another program is in its way, so no mode will do.
    """
    # Imported where it is needed: most attaching is not refused.
    from pydsr.kernel.machine.attach_obstacles import explain_refusal, program_above
    from pydsr.kernel.machine.nic import read_nics, this_machine

    (facts,) = read_nics([interface])
    if error.errno in (errno.EEXIST, errno.EBUSY):
        finding = program_above(interface.name, facts.above)
        raise EnvironmentCannotError(finding.what, finding.remedy) from None
    return explain_refusal(error.errno, facts, this_machine())
