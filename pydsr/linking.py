"""The links that hold the program on interfaces: made in the driver where that can be."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

from pydsr.attached import link_path
from pydsr.errors import EnvironmentCannotError, PermissionDeniedError
from pydsr.kernel import libbpf, links
from pydsr.kernel.libbpf import Descriptor
from pydsr.kernel.state import State
from pydsr.segments import Interface, find_own_macs
from pydsr.suitability import native_hint

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
        if error.errno in (errno.EEXIST, errno.EBUSY):
            raise EnvironmentCannotError(
                f"{interface.name} takes no program: another XDP program is in its way"
                + _program_above(interface),
                "one on a device above it (macvlan, VLAN, bond) stands against one on it: take "
                "that off first, with ip link set dev NAME xdp off",
            ) from None
        hint = native_hint(error.errno, interface, links.all_interfaces())
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


def _program_above(interface: Interface) -> str:
    """Name the devices on top of an interface that have an XDP program."""
    names = [
        upper.name
        for upper in links.all_interfaces()
        if upper.parent == interface.index and upper.xdp_program
    ]
    return f", on {', '.join(names)}" if names else ""
