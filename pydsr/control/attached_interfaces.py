"""The interfaces the balancer is attached to, and the pinned links that attach it."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.lock import not_attached, not_permitted
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.kernel.net import links
from pydsr.model.addresses import MacAddress
from pydsr.model.errors import EnvironmentCannotError, InputError, PermissionDeniedError
from pydsr.model.interfaces import Interface, find_own_macs

_log = logging.getLogger(__name__)

_NAME_SECONDS = 5.0
"""How old the names of interfaces may be: a name can change while the link stays."""

_FLAGS = {"native": libbpf.XDP_FLAG_NATIVE, "generic": libbpf.XDP_FLAG_GENERIC}


@dataclass(frozen=True)
class Attached:
    """An attached interface.

    Attributes:
        mode: native or generic; empty if the interface is gone.
        upgraded: its program was replaced in place by this attach.
    """

    name: str
    ifindex: int
    mac: MacAddress
    mode: str
    program_id: int
    upgraded: bool = False


@dataclass(frozen=True)
class Interfaces:
    """The interfaces of this network namespace at one moment.

    Attributes:
        present: all of them.
        attached: the attached ones that still exist, in the order of their indices.
    """

    present: Sequence[Interface]
    attached: Sequence[Attached]


def attached(directory: Path) -> list[Attached]:
    """Return the attached interfaces that still exist, in the order of their indices."""
    return [*read_interfaces(directory).attached]


def read_interfaces(directory: Path) -> Interfaces:
    """Return all interfaces of this network namespace, and the attached ones among them."""
    interfaces = links.all_interfaces()
    by_index = {interface.index: interface for interface in interfaces}
    attached_to = []
    for ifindex, info in living_links(directory).items():
        interface = by_index.get(ifindex)
        # The same index in another network namespace is another interface.
        if interface is not None and interface.xdp_program == info.prog_id:
            attached_to.append(
                Attached(interface.name, ifindex, interface.mac, interface.xdp_mode, info.prog_id)
            )
    return Interfaces(interfaces, sorted(attached_to, key=lambda interface: interface.ifindex))


def find_attached(interfaces: Sequence[Attached], name: str) -> Attached:
    """Return the attached interface of a name.

    Raises:
        InputError: the balancer is not attached to it.
    """
    by_name = {interface.name: interface for interface in interfaces}
    if name not in by_name:
        raise InputError(
            f"pydsr is not attached to {name}", "attached: " + (", ".join(by_name) or "none")
        )
    return by_name[name]


class AttachedInterfaces:
    """The attached interfaces, cached for a reader that asks every second.

    Each reading looks at the pinned links. It asks netlink only when one of them has changed, and
    for new names every few seconds.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs: dict[int, int] = {}
        self._attached: list[Attached] = []
        self._due = 0.0

    def read(self) -> list[Attached]:
        """Return the result of :func:`attached`."""
        programs = {index: info.prog_id for index, info in living_links(self._directory).items()}
        now = time.monotonic()
        if programs != self._programs or now >= self._due:
            self._attached = attached(self._directory)
            self._programs, self._due = programs, now + _NAME_SECONDS
        return self._attached


def link_path(directory: Path, ifindex: int) -> Path:
    """Return where the link of an interface is pinned."""
    return directory / "links" / str(ifindex)


def living_links(directory: Path) -> dict[int, LinkInfo]:
    """Return the links whose interfaces still exist, by interface index."""
    living: dict[int, LinkInfo] = {}
    try:
        paths = sorted((directory / "links").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise not_attached(directory) from None
    except PermissionError:
        raise not_permitted(directory) from None
    for path in paths:
        try:
            with libbpf.open_pin(path) as fd:
                info = libbpf.link_info(fd)
        except FileNotFoundError:
            continue  # A command has just detached it, for which readers do not wait.
        if info.ifindex:
            living[info.ifindex] = info
    return living


def refuse_foreign_program(interface: Interface, own: LinkInfo | None) -> None:
    """Refuse an interface whose program is not the one of our link.

    Args:
        interface: the interface to attach.
        own: our link on the interface of that index, if there is one.

    Raises:
        EnvironmentCannotError: somebody else's program is on it; or our link is on the interface
            of that index in another network namespace.
    """
    program = interface.xdp_program
    if own is not None and own.prog_id != program:
        raise EnvironmentCannotError(
            f"this balancer is attached to an interface with the index of {interface.name} in "
            "another network namespace",
            "give each network namespace a balancer of its own: --bpffs DIR",
        )
    if not program or own is not None:
        return
    try:
        with libbpf.program_by_id(program) as fd:
            name = libbpf.program_info(fd).name.decode()
    except OSError:
        name = "unknown"
    raise EnvironmentCannotError(
        f"{interface.name} already has an XDP program that this balancer did not attach: "
        f"{name} (id {program}, {interface.xdp_mode} mode)",
        f"if nothing needs it, remove it: ip link set dev {interface.name} xdp off; "
        "if another pydsr attached it: pydsr --bpffs DIR detach",
    )


def write_egress(state: LiveState, interfaces: Sequence[Attached]) -> None:
    """Allow redirecting to those attached interfaces that all others can redirect to.

    A native program redirects to native interfaces only. Packets for a generic one would be lost
    uncounted; without an entry they are dropped and counted.
    """
    generic = {interface.ifindex for interface in interfaces if interface.mode != "native"}
    unreachable = generic if len(generic) < len(interfaces) else set()
    for interface in interfaces:
        if interface.ifindex in unreachable:
            state.interfaces.delete_egress(interface.ifindex)
        else:
            state.interfaces.write_egress(interface.ifindex)


def create_links(
    state: LiveState, interfaces: Sequence[Interface], program: Descriptor, mode: str
) -> None:
    """Attach the program to interfaces that have none yet: to all of them, or none.

    Raises:
        PermissionDeniedError: not privileged.
        EnvironmentCannotError: the kernel or a driver refuses.
    """
    created: list[int] = []
    try:
        for interface in interfaces:
            _create_link(state.directory, interface, program, mode)
            created.append(interface.index)
    finally:
        if len(created) < len(interfaces):
            for ifindex in created:
                link_path(state.directory, ifindex).unlink()
            indexes = {interface.index for interface in interfaces}
            for ifindex in find_own_macs(links.all_interfaces(), indexes):
                state.interfaces.delete(ifindex)


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
    """Return why a driver refuses the program, in the words of the doctor.

    Raises:
        EnvironmentCannotError: another program is attached, so no mode works.
    """
    # Imported here: most drivers do not refuse, and commands start faster without it.
    from pydsr.kernel.machine.attach_obstacles import explain_refusal, program_above
    from pydsr.kernel.machine.nic import read_nics, this_machine

    (facts,) = read_nics([interface])
    if error.errno in (errno.EEXIST, errno.EBUSY):
        finding = program_above(interface.name, facts.above)
        raise EnvironmentCannotError(finding.what, finding.remedy) from None
    return explain_refusal(error.errno, facts, this_machine())
