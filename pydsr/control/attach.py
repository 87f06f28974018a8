"""Attach the program to interfaces, and upgrade it on attached interfaces."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pydsr.control.attached_interfaces import (
    Attached,
    attached,
    create_links,
    living_links,
    refuse_foreign_program,
    write_egress,
)
from pydsr.control.interface_checks import check_highest_index, check_kind, check_mode
from pydsr.control.program_upgrade import install, load, needs_of, warn_of_stripped_tags
from pydsr.control.transaction import has_pins, transaction
from pydsr.control.vip_ownership import announce_vips
from pydsr.hashing import maglev
from pydsr.hashing.table import check_table_size
from pydsr.kernel.bpf import bpffs, layout, libbpf
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.settings import Settings
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.kernel.net import links
from pydsr.model.change import Change, Impact
from pydsr.model.errors import InputError, NotAttachedError
from pydsr.model.features import NO_FEATURES, Feature, choose_features, names
from pydsr.model.interfaces import Interface, find_own_macs

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AttachOptions:
    """How to attach; None keeps what is in use, or takes the default.

    Attributes:
        mode: auto, native or generic.
        table_size: slots of a service's table, a prime.
        seed: the 64-bit key of the flow hash; random by default.
        requested, excluded: features to compile in although nothing needs them, and to leave out.
    """

    mode: str = "auto"
    table_size: int | None = None
    seed: int | None = None
    requested: Feature = NO_FEATURES
    excluded: Feature = NO_FEATURES


_DEFAULTS = AttachOptions()


def attach(
    directory: Path, interface_names: Sequence[str], options: AttachOptions = _DEFAULTS
) -> list[Attached]:
    """Compile the program and attach it to interfaces; upgrade it where it is attached already.

    Every interface attached before gets the new program too, so that all run the same.

    Raises:
        InputError: unknown interface, or settings that differ from the current ones, or a needed
        feature left out.
        EnvironmentCannotError: the kernel, the NIC or another XDP program prevents it.
    """
    if options.table_size is not None:
        check_table_size(options.table_size)
    named = [links.find_interface(name) for name in dict.fromkeys(interface_names)]
    bpffs.prepare_directory(directory)
    settings = new_settings(options.table_size, options.seed)
    with transaction(directory, create=settings) as change:
        check_settings(change.state, options.table_size, options.seed)
        # Check again: another attach may have held the lock until now.
        interfaces = [links.find_interface(interface.name) for interface in named]
        return attach_interfaces(change.state, interfaces, options)


def new_settings(table_size: int | None, seed: int | None) -> Settings:
    """Return the settings of a new balancer, with defaults and a random seed for None."""
    return Settings(
        table_size or maglev.DEFAULT_TABLE_SIZE,
        secrets.randbits(64) if seed is None else seed,
    )


def plan_attach(
    directory: Path, interface_names: Sequence[str], options: AttachOptions = _DEFAULTS
) -> Impact:
    """Return what attach would change, after the same checks.

    Raises:
        InputError: unknown interface, or a mode or features that an upgrade cannot change.
        EnvironmentCannotError: another XDP program is on an interface, or it is of the wrong kind.
    """
    interfaces = [links.find_interface(name) for name in dict.fromkeys(interface_names)]
    try:
        present = living_links(directory)
    except NotAttachedError:
        present = {}
    check_interfaces(interfaces, present, options.mode)
    changes = [
        Change("upgrade", interface.name, f"program {interface.xdp_program}", "a new one")
        if interface.index in present
        else Change("attach", interface.name, None, f"{options.mode} mode")
        for interface in interfaces
    ]
    if has_pins(directory):
        changes += _plan_features(
            directory, {*present, *(interface.index for interface in interfaces)}, options
        )
    return Impact(tuple(changes))


def _plan_features(directory: Path, ifindexes: set[int], options: AttachOptions) -> list[Change]:
    with closing(LiveState(directory)) as state:
        before = state.settings.features()
        after = choose_features(
            before, needs_of(state, ifindexes), options.requested, options.excluded
        )
    coming, going = after.compiled & ~before.compiled, before.compiled & ~after.compiled
    return [
        *(Change("compile in", name) for name in names(coming)),
        *(Change("leave out", name) for name in names(going)),
    ]


def attach_interfaces(
    state: LiveState,
    interfaces: Sequence[Interface],
    options: AttachOptions,
    used: Feature = NO_FEATURES,
) -> list[Attached]:
    """Attach the program to interfaces within a transaction.

    The program gets the features ``used`` too, for a desired state that is about to be written.

    Raises:
        InputError, EnvironmentCannotError: as :func:`attach`.
    """
    present = living_links(state.directory)
    check_interfaces(interfaces, present, options.mode)
    _delete_vanished(state)
    named = {interface.index for interface in interfaces}
    needs = needs_of(state, named | present.keys())
    needs = replace(needs, used=needs.used | used)
    features = choose_features(
        state.settings.features(), needs, options.requested, options.excluded
    )
    program = load(state, features)
    for ifindex, mac in find_own_macs(links.all_interfaces(), named).items():
        state.interfaces.write(ifindex, mac)
    new = [interface for interface in interfaces if interface.index not in present]
    create_links(state, new, program, options.mode)
    install(state, program, features)
    now = attached(state.directory)
    write_egress(state, now)
    announce_vips(
        interfaces, [s.endpoint.address for s in state.services.configs() if s.options.arp]
    )
    if Feature.VLAN in features.compiled:
        warn_of_stripped_tags(named)
    _warn_of_mixed_modes(now)
    return [
        replace(interface, upgraded=interface.ifindex in present)
        for interface in now
        if interface.ifindex in named
    ]


def _warn_of_mixed_modes(interfaces: Sequence[Attached]) -> None:
    native = [interface.name for interface in interfaces if interface.mode == "native"]
    generic = [interface.name for interface in interfaces if interface.mode != "native"]
    if native and generic:
        from pydsr.kernel.machine.attach_obstacles import mixed_modes

        finding = mixed_modes(native, generic)
        _log.warning("%s; %s", finding.what, finding.remedy)


def check_settings(state: LiveState, table_size: int | None, seed: int | None) -> None:
    """Refuse settings that differ from the current ones; None stands for any.

    Raises:
        InputError: the table size or the seed differs.
    """
    for what, requested, used in (
        ("table size", table_size, state.settings.table_size),
        ("seed", seed, state.settings.seed),
    ):
        if requested is not None and requested != used:
            shown = "another" if what == "seed" else str(used)
            raise InputError(
                f"the balancer in {state.directory} runs with {shown} {what}; changing it "
                "would move every flow",
                "leave the option out, or start anew: pydsr detach --all --purge",
            )


def check_interfaces(
    interfaces: Sequence[Interface], present: Mapping[int, LinkInfo], mode: str
) -> None:
    """Refuse interfaces that cannot be attached, or upgraded if they are among the present links.

    Raises:
        InputError: one is attached in another mode.
        EnvironmentCannotError: one has another XDP program, or is of the wrong kind.
    """
    everything = links.all_interfaces()
    for interface in interfaces:
        own = present.get(interface.index)
        check_highest_index(interface, layout.INTERFACES_MAX)
        refuse_foreign_program(interface, own)
        check_mode(interface, own is not None, mode)
        if own is None:
            check_kind(interface, everything, mode)


def _delete_vanished(state: LiveState) -> None:
    """Delete the links and MACs of interfaces that vanished while attached."""
    for path in (state.directory / "links").iterdir():
        with libbpf.open_pin(path) as fd:
            vanished = not libbpf.link_info(fd).ifindex
        if vanished:
            path.unlink()
            state.interfaces.delete(int(path.name))
