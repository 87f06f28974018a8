"""Attach the data plane to interfaces, and upgrade it in place."""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydsr import maglev
from pydsr.attached import Attached, announce_vips, attached, link_path, living_links
from pydsr.changes import Change, Impact
from pydsr.errors import EnvironmentCannotError, InputError, PermissionDeniedError
from pydsr.kernel import bpffs, layout, libbpf, links
from pydsr.kernel.bpf_structs import LinkInfo
from pydsr.kernel.libbpf import Descriptor
from pydsr.kernel.links import Interface
from pydsr.kernel.lock import locked, not_permitted
from pydsr.kernel.maps import Pins, map_specs
from pydsr.kernel.program import Programs, load_programs
from pydsr.kernel.state import Settings, State, fill_settings

_log = logging.getLogger(__name__)

MIN_TABLE_SIZE = 251
MODES = ("auto", "native", "generic")
_FLAGS = {"native": libbpf.XDP_FLAG_NATIVE, "generic": libbpf.XDP_FLAG_GENERIC}
_NATIVE_HINTS = {
    errno.EOPNOTSUPP: "its driver has no native XDP, or not in this configuration",
    errno.ERANGE: "its MTU is too large for the driver's XDP: lower it, or use generic mode",
    errno.EINVAL: "the driver refuses it as configured: look at MTU and LRO (ethtool -k)",
    errno.ENOMEM: "the driver has too few queues or too little memory: see ethtool -L",
    errno.ENOSPC: "the driver has too few queues for one per CPU: see ethtool -L",
}


def attach(
    directory: Path,
    names: Sequence[str],
    mode: str = "auto",
    table_size: int | None = None,
    seed: int | None = None,
) -> list[Attached]:
    """Compile the data plane and put it on interfaces; where it already is, replace it.

    Every interface attached before gets the new program too, so that all run the same.

    Args:
        directory: where the pins are or will be.
        names: the interfaces.
        mode: auto, native or generic.
        table_size: slots of a service's table, a prime; None keeps or takes the default.
        seed: the 64-bit key of the hash; None keeps it or makes one.

    Raises:
        InputError: unknown interface, or settings that differ from those in use.
        EnvironmentCannotError: the kernel, the NIC or another XDP program stands against it.
    """
    if table_size is not None:
        _check_table_size(table_size)
    interfaces = [links.find_interface(name) for name in dict.fromkeys(names)]
    bpffs.prepare_directory(directory)
    with locked(directory):
        # Again: another attach may have been at work until now.
        interfaces = [links.find_interface(interface.name) for interface in interfaces]
        is_new = not (directory / "settings").exists()
        try:
            return _attach_locked(directory, interfaces, mode, table_size, seed)
        except BaseException:
            if is_new:
                # What this attach began must not be in the way of the next.
                bpffs.remove_directory(directory)
            raise


def plan_attach(directory: Path, names: Sequence[str], mode: str = "auto") -> Impact:
    """Return what attach would do, after the checks it does before it changes anything.

    Raises:
        InputError: unknown interface, or a mode that an upgrade cannot change.
        EnvironmentCannotError: another XDP program is on an interface.
    """
    interfaces = [links.find_interface(name) for name in dict.fromkeys(names)]
    present = living_links(directory) if directory.exists() else {}
    for interface in interfaces:
        _check(interface, present.get(interface.index), mode)
    return Impact(
        tuple(
            Change("upgrade", interface.name, f"program {interface.xdp_program}", "a new one")
            if interface.index in present
            else Change("attach", interface.name, None, f"{mode} mode")
            for interface in interfaces
        )
    )


def _attach_locked(
    directory: Path,
    interfaces: Sequence[Interface],
    mode: str,
    table_size: int | None,
    seed: int | None,
) -> list[Attached]:
    present = living_links(directory)
    for interface in interfaces:
        _check(interface, present.get(interface.index), mode)
    state = _open_or_create(directory, table_size, seed)
    try:
        _forget_vanished(directory, state)
        maps = {spec.name: state.pins[spec.name] for spec in map_specs()}
        programs = load_programs(maps, state.table_size, state.settings.seed)
        libbpf.pin_replacing(programs.explain, directory / "explain")
        created: list[int] = []
        try:
            for interface in interfaces:
                state.write_interface(interface.index, interface.mac)
                if interface.index not in present:
                    _create_link(directory, interface, programs.balance, mode)
                    created.append(interface.index)
        except BaseException:
            for ifindex in created:
                link_path(directory, ifindex).unlink()
            raise
        _upgrade(present, programs)
        vips = [s.endpoint.address for s in state.services() if s.options.arp]
    finally:
        state.close()
    announce_vips(interfaces, vips)
    upgraded = {interface.index for interface in interfaces} & set(present)
    named = {interface.index for interface in interfaces}
    return [
        replace(one, upgraded=one.ifindex in upgraded)
        for one in attached(directory)
        if one.ifindex in named
    ]


def _check_table_size(table_size: int) -> None:
    if not MIN_TABLE_SIZE <= table_size <= maglev.MAX_TABLE_SIZE or not maglev.is_prime(table_size):
        nearest = maglev.next_prime(min(max(table_size, MIN_TABLE_SIZE), maglev.MAX_TABLE_SIZE))
        raise InputError(
            f"table size {table_size} is not a prime from {MIN_TABLE_SIZE} "
            f"to {maglev.MAX_TABLE_SIZE}",
            f"try {nearest}; a hundred slots or more for each backend balance well",
        )


def _open_or_create(directory: Path, table_size: int | None, seed: int | None) -> State:
    if not (directory / "settings").exists():
        settings = Settings(
            table_size or maglev.DEFAULT_TABLE_SIZE,
            secrets.randbits(64) if seed is None else seed,
        )
        _create_pins(directory, settings)
        return State(directory)
    state = State(directory)
    for what, wanted, used in (
        ("table size", table_size, state.settings.table_size),
        ("seed", seed, state.settings.seed),
    ):
        if wanted is not None and wanted != used:
            state.close()
            shown = "another" if what == "seed" else str(used)
            raise InputError(
                f"the balancer in {directory} runs with {shown} {what}; changing it would move "
                "every flow",
                "leave the option out, or start anew: pydsr detach --all --purge",
            )
    return state


def _create_pins(directory: Path, settings: Settings) -> None:
    pins = Pins(directory)
    try:
        pins.ensure(settings.table_size, lambda fd: fill_settings(fd, settings))
    except PermissionError:
        raise not_permitted(directory) from None
    except OSError as error:
        raise EnvironmentCannotError(
            f"the kernel cannot create the balancer's maps: {error.strerror}",
            "is there enough memory, and is the kernel 5.18 or later?",
        ) from None
    finally:
        pins.close()


def _check(interface: Interface, own: LinkInfo | None, mode: str) -> None:
    """Refuse an interface that cannot be attached to, or upgraded where `own` is our link."""
    _check_index(interface)
    _refuse_foreign(interface, own)
    _refuse_other_mode(interface, own, mode)


def _check_index(interface: Interface) -> None:
    if interface.index >= layout.INTERFACES_MAX:
        raise EnvironmentCannotError(
            f"{interface.name} has the index {interface.index}, and those of pydsr end at "
            f"{layout.INTERFACES_MAX - 1}",
            "make the interface anew with a lower one: ip link add … index N",
        )


def _refuse_foreign(interface: Interface, own: LinkInfo | None) -> None:
    program = interface.xdp_program
    if own is not None and own.prog_id != program:
        raise EnvironmentCannotError(
            f"this balancer is attached to an interface with the index of {interface.name} in "
            "another network namespace",
            "give each network namespace a balancer of its own: --bpffs DIR",
        )
    if not program or (own is not None and own.prog_id == program):
        return
    try:
        with libbpf.program_by_id(program) as fd:
            name = libbpf.program_info(fd).name.decode()
    except OSError:
        name = "unknown"
    raise EnvironmentCannotError(
        f"{interface.name} already has an XDP program that is not pydsr's here: "
        f"{name} (id {program}, {interface.xdp_mode} mode)",
        f"take it off first, if it is yours: ip link set dev {interface.name} xdp off; "
        "one pinned elsewhere by pydsr: pydsr --bpffs DIR detach",
    )


def _refuse_other_mode(interface: Interface, own: LinkInfo | None, mode: str) -> None:
    if own is not None and mode not in ("auto", interface.xdp_mode):
        raise InputError(
            f"{interface.name} is attached in {interface.xdp_mode} mode, which an upgrade in "
            "place cannot change",
            f"pydsr detach {interface.name}, then attach it with --mode {mode}",
        )


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
        hint = _NATIVE_HINTS.get(error.errno or 0, "see the kernel's log: dmesg")
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


def _upgrade(present: dict[int, LinkInfo], programs: Programs) -> None:
    for info in present.values():
        with libbpf.link_by_id(info.id) as link:
            libbpf.link_update(link, programs.balance)


def _forget_vanished(directory: Path, state: State) -> None:
    """Clear away what is left of interfaces that were deleted while attached."""
    for path in (directory / "links").iterdir():
        with libbpf.open_pin(path) as fd:
            vanished = not libbpf.link_info(fd).ifindex
        if vanished:
            path.unlink()
            state.delete_interface(int(path.name))
