"""Program upgrades: a program with other features replaces the one on the same links."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import reduce
from operator import or_

from pydsr.control.attached_interfaces import Interfaces, attached, living_links, read_interfaces
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.maps import map_specs
from pydsr.kernel.bpf.placeholders import tags
from pydsr.kernel.bpf.program import compiled_programs, load_function
from pydsr.kernel.bpf.program_cache import Compiled
from pydsr.kernel.bpf.tap import forget_killed
from pydsr.kernel.net import links
from pydsr.model.errors import InputError
from pydsr.model.features import (
    NO_FEATURES,
    Feature,
    Features,
    FeatureUse,
    Needs,
    find_needs,
    join_names,
    names,
    report_use,
)
from pydsr.model.interfaces import find_own_macs, has_vlans

_log = logging.getLogger(__name__)


def feature_use(state: LiveState, ifindexes: Collection[int]) -> FeatureUse:
    """Return the features of the loaded program, and whether something uses them."""
    return report_use(state.settings.features(), needs_of(state, ifindexes))


def needs_of(state: LiveState, ifindexes: Collection[int]) -> Needs:
    """Return the features that the live state needs on some interfaces, given by index."""
    everything = links.all_interfaces()
    return find_needs(
        reduce(or_, (service.features for service in state.services.all()), NO_FEATURES),
        has_rules=bool(state.source_rules.read()),
        ways_in=len(find_own_macs(everything, ifindexes)),
        has_vlans=has_vlans(everything, ifindexes),
    )


def follow_interfaces(state: LiveState) -> Interfaces:
    """Write the current MACs of interfaces, and add the VLAN feature if there are new VLANs.

    A program that knows an old MAC passes packets to the new one, as if for another host.

    Returns:
        All interfaces, and the attached ones.
    """
    interfaces = read_interfaces(state.directory)
    forget_killed(state, {interface.program_id for interface in interfaces.attached})
    attached_to = {interface.ifindex for interface in interfaces.attached}
    for ifindex, mac in find_own_macs(interfaces.present, attached_to).items():
        state.interfaces.write(ifindex, mac)
    excluded = state.settings.features().excluded
    if has_vlans(interfaces.present, attached_to) and Feature.VLAN not in excluded:
        add_features(state, Feature.VLAN)
    return interfaces


def refuse_left_out(state: LiveState, needed: Feature) -> None:
    """Refuse a plan that needs features which attach excluded.

    Raises:
        InputError: attach excluded one of them.
    """
    features = state.settings.features()
    missing = needed & ~features.compiled & features.excluded
    if missing:
        excluded = join_names(missing)
        raise InputError(
            f"this needs {excluded}, which the program was attached without",
            f"pydsr attach --with {excluded} IFACE compiles it in; no packet is lost by that",
        )


def add_features(state: LiveState, needed: Feature) -> None:
    """Upgrade the program to one with some features, if it lacks any.

    Call it before writing anything that needs them.

    Raises:
        InputError: attach excluded one of them.
        EnvironmentCannotError: the program cannot be compiled or loaded.
    """
    refuse_left_out(state, needed)
    before = state.settings.features()
    missing = needed & ~before.compiled
    if not missing:
        return
    features = replace(before, compiled=before.compiled | missing)
    _log.info("compiling the program anew, with %s", join_names(missing))
    install(state, load(state, features), features)
    if Feature.VLAN in missing:
        warn_of_stripped_tags({interface.ifindex for interface in attached(state.directory)})


def load(state: LiveState, features: Features) -> Descriptor:
    """Load the program with some features, without attaching it."""
    with _compiled(state, features) as compiled:
        return load_function(compiled, "pydsr_balance")


def load_traced(state: LiveState, program_id: int | None) -> Descriptor:
    """Load the program for traces, which decides like the attached one.

    Args:
        state: the balancer's.
        program_id: the attached program; None without one.

    Raises:
        EnvironmentCannotError: the program cannot be compiled or loaded.
    """
    with _compiled(state, state.settings.features()) as compiled:
        if program_id is not None:
            with libbpf.program_by_id(program_id) as attached_program:
                tag = bytes(libbpf.program_info(attached_program).tag)
            if tag not in tags(compiled["pydsr_balance"]):
                _log.warning(
                    "another version of pydsr attached the program, so packets may go elsewhere; "
                    "`pydsr attach --all` replaces it without losing a packet"
                )
        return load_function(compiled, "pydsr_explain")


def _compiled(state: LiveState, features: Features) -> AbstractContextManager[Compiled]:
    maps = {spec.name: state.pins[spec.name] for spec in map_specs()}
    settings = state.settings
    return compiled_programs(maps, settings.table_size, settings.seed, features.compiled)


def install(state: LiveState, program: Descriptor, features: Features) -> None:
    """Replace the program of every attached interface.

    A kill in between leaves interfaces with either program. So until all have the new one, only the
    features of both are recorded.
    """
    present = state.settings.features()
    state.settings.write_features(replace(present, compiled=present.compiled & features.compiled))
    for info in living_links(state.directory).values():
        with libbpf.link_by_id(info.id) as link:
            libbpf.link_update(link, program)
    # Earlier versions pinned the program for traces.
    state.pins.path("explain").unlink(missing_ok=True)
    state.settings.write_features(features)
    _log.info("the program has %s", ", ".join(names(features.compiled)) or "no features")


def warn_of_stripped_tags(ifindexes: Collection[int]) -> None:
    """Warn of interfaces, given by index, whose NIC hides VLAN tags from the program."""
    # Imported here: most commands need neither, and start faster without them.
    from pydsr.kernel.machine.attach_obstacles import stripped_tags
    from pydsr.kernel.net.ethtool import strips_tags

    everything = links.all_interfaces()
    seen_by_program = find_own_macs(everything, ifindexes)
    for interface in everything:
        if interface.index in seen_by_program and strips_tags(interface.name):
            finding = stripped_tags(interface)
            _log.warning("%s: %s", finding.what, finding.remedy)
