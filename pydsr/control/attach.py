"""Attach the data plane to interfaces, and upgrade it in place."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydsr.control.attached_interfaces import (
    Attached,
    announce_vips,
    attached,
    living_links,
    refuse_foreign_program,
    write_egress,
)
from pydsr.control.interface_checks import check_highest_index, check_kind, check_mode
from pydsr.control.program_upgrade import install, load, needs_of, warn_of_stripped_tags
from pydsr.control.xdp_links import create_links
from pydsr.hashing import maglev
from pydsr.hashing.table import check_table_size
from pydsr.kernel.bpf import bpffs, layout, libbpf
from pydsr.kernel.bpf.lock import locked, not_permitted
from pydsr.kernel.bpf.maps import Pins
from pydsr.kernel.bpf.store import Settings, State, fill_settings
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.kernel.net import links
from pydsr.model.change import Change, Impact
from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.model.features import NO_FEATURES, Feature, choose_features, names
from pydsr.model.interfaces import Interface, find_own_macs

_log = logging.getLogger(__name__)

MODES = ("auto", "native", "generic")


@dataclass(frozen=True)
class AttachOptions:
    """How to attach; what is not said is kept, or takes the default.

    Attributes:
        mode: auto, native or generic.
        table_size: slots of a service's table, a prime.
        seed: the 64-bit key of the hash; one is made where there is none.
        asked, refused: features to compile in although nothing needs them, and to leave out.
    """

    mode: str = "auto"
    table_size: int | None = None
    seed: int | None = None
    asked: Feature = NO_FEATURES
    refused: Feature = NO_FEATURES


_DEFAULTS = AttachOptions()


def attach(
    directory: Path, interface_names: Sequence[str], options: AttachOptions = _DEFAULTS
) -> list[Attached]:
    """Compile the data plane and put it on interfaces; where it already is, replace it.

    Every interface attached before gets the new program too, so that all run the same.

    Args:
        directory: where the pins are or will be.
        interface_names: the interfaces.
        options: how.

    Raises:
        InputError: unknown interface, or settings that differ from those in use or are needed.
        EnvironmentCannotError: the kernel, the NIC or another XDP program stands against it.
    """
    if options.table_size is not None:
        check_table_size(options.table_size)
    interfaces = [links.find_interface(name) for name in dict.fromkeys(interface_names)]
    bpffs.prepare_directory(directory)
    with locked(directory):
        # Again: another attach may have been at work until now.
        interfaces = [links.find_interface(interface.name) for interface in interfaces]
        is_new = not (directory / "settings").exists()
        try:
            return attach_locked(directory, interfaces, options)
        except BaseException:
            if is_new:
                # What this attach began must not be in the way of the next.
                bpffs.remove_directory(directory)
            raise


def plan_attach(
    directory: Path, interface_names: Sequence[str], options: AttachOptions = _DEFAULTS
) -> Impact:
    """Return what attach would do, after the checks it does before it changes anything.

    Raises:
        InputError: unknown interface, or a mode or features that an upgrade cannot change.
        EnvironmentCannotError: another XDP program is on an interface, or it is of the wrong kind.
    """
    interfaces = [links.find_interface(name) for name in dict.fromkeys(interface_names)]
    present = living_links(directory) if directory.exists() else {}
    _check_all(interfaces, present, options.mode)
    changes = [
        Change("upgrade", interface.name, f"program {interface.xdp_program}", "a new one")
        if interface.index in present
        else Change("attach", interface.name, None, f"{options.mode} mode")
        for interface in interfaces
    ]
    if (directory / "settings").exists():
        changes += _plan_features(
            directory, {*present, *(one.index for one in interfaces)}, options
        )
    return Impact(tuple(changes))


def _plan_features(directory: Path, here: set[int], options: AttachOptions) -> list[Change]:
    state = State(directory)
    try:
        before = state.features()
        after = choose_features(before, needs_of(state, here), options.asked, options.refused)
    finally:
        state.close()
    coming, going = after.compiled & ~before.compiled, before.compiled & ~after.compiled
    return [
        *(Change("compile in", name) for name in names(coming)),
        *(Change("leave out", name) for name in names(going)),
    ]


def attach_locked(
    directory: Path,
    interfaces: Sequence[Interface],
    options: AttachOptions,
    used: Feature = NO_FEATURES,
) -> list[Attached]:
    """Do what :func:`attach` does, in a directory that is there and held by the lock.

    Args:
        directory: where the pins are or will be.
        interfaces: the interfaces.
        options: how.
        used: features to compile in for a configuration that is about to be written.

    Raises:
        InputError, EnvironmentCannotError: as :func:`attach`.
    """
    present = living_links(directory)
    _check_all(interfaces, present, options.mode)
    state = _open_or_create(directory, options.table_size, options.seed)
    try:
        _forget_vanished(directory, state)
        named = {interface.index for interface in interfaces}
        here = named | present.keys()
        needs = needs_of(state, here)
        needs = replace(needs, used=needs.used | used)
        features = choose_features(state.features(), needs, options.asked, options.refused)
        programs = load(state, features)
        for ifindex, mac in find_own_macs(links.all_interfaces(), named).items():
            state.write_interface(ifindex, mac)
        new = [interface for interface in interfaces if interface.index not in present]
        create_links(directory, state, new, programs.balance, options.mode)
        install(state, directory, programs, features)
        now = attached(directory)
        write_egress(state, now)
        vips = [s.endpoint.address for s in state.configs() if s.options.arp]
    finally:
        state.close()
    announce_vips(interfaces, vips)
    if Feature.VLAN in features.compiled:
        warn_of_stripped_tags(named)
    _warn_of_mixed_modes(now)
    return [replace(one, upgraded=one.ifindex in present) for one in now if one.ifindex in named]


def _warn_of_mixed_modes(here: Sequence[Attached]) -> None:
    native = [one.name for one in here if one.mode == "native"]
    generic = [one.name for one in here if one.mode != "native"]
    if native and generic:
        from pydsr.kernel.machine.attach_obstacles import mixed_modes

        finding = mixed_modes(native, generic)
        _log.warning("%s; %s", finding.what, finding.remedy)


def _open_or_create(directory: Path, table_size: int | None, seed: int | None) -> State:
    if not (directory / "settings").exists():
        settings = Settings(
            table_size or maglev.DEFAULT_TABLE_SIZE,
            secrets.randbits(64) if seed is None else seed,
        )
        _create_pins(directory, settings)
        return State(directory)
    state = State(directory)
    try:
        check_settings(state, table_size, seed)
    except InputError:
        state.close()
        raise
    return state


def check_settings(state: State, table_size: int | None, seed: int | None) -> None:
    """Refuse other settings than those in use; None is any.

    Raises:
        InputError: the table size or the seed is another.
    """
    for what, wanted, used in (
        ("table size", table_size, state.settings.table_size),
        ("seed", seed, state.settings.seed),
    ):
        if wanted is not None and wanted != used:
            shown = "another" if what == "seed" else str(used)
            raise InputError(
                f"the balancer in {state.pins.directory} runs with {shown} {what}; changing it "
                "would move every flow",
                "leave the option out, or start anew: pydsr detach --all --purge",
            )


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


def check_interfaces(directory: Path, interfaces: Sequence[Interface], mode: str) -> None:
    """Refuse interfaces that attach would refuse, before anything is changed.

    Raises:
        InputError: the mode is another than one is attached in.
        EnvironmentCannotError: another XDP program is on one, or it is of the wrong kind.
    """
    _check_all(interfaces, living_links(directory), mode)


def _check_all(interfaces: Sequence[Interface], present: Mapping[int, LinkInfo], mode: str) -> None:
    """Refuse interfaces that cannot be attached to, or upgraded where we are."""
    everything = links.all_interfaces()
    for interface in interfaces:
        own = present.get(interface.index)
        check_highest_index(interface, layout.INTERFACES_MAX)
        refuse_foreign_program(interface, own)
        check_mode(interface, own is not None, mode)
        if own is None:
            check_kind(interface, everything, mode)


def _forget_vanished(directory: Path, state: State) -> None:
    """Clear away what is left of interfaces that were deleted while attached."""
    for path in (directory / "links").iterdir():
        with libbpf.open_pin(path) as fd:
            vanished = not libbpf.link_info(fd).ifindex
        if vanished:
            path.unlink()
            state.delete_interface(int(path.name))
