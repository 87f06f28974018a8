"""The program and its features: compile what is needed, and put it where the old one is."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from pydsr.control.attached_interfaces import Surroundings, attached, living_links, look_around
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.maps import map_specs
from pydsr.kernel.bpf.program import Programs, load_programs
from pydsr.kernel.bpf.store import State
from pydsr.kernel.bpf.tap import forget_killed
from pydsr.kernel.net import links
from pydsr.model.errors import InputError
from pydsr.model.features import (
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


def feature_use(state: State, here: Collection[int]) -> FeatureUse:
    """Return the features of the loaded program; interfaces are given by index."""
    return report_use(state.features(), needs_of(state, here))


def needs_of(state: State, here: Collection[int]) -> Needs:
    """Return what the configuration takes on some interfaces, given by index."""
    everything = links.all_interfaces()
    return find_needs(
        state.services(),
        has_rules=bool(state.rules()),
        ways_in=len(find_own_macs(everything, here)),
        has_vlans=has_vlans(everything, here),
    )


def follow_interfaces(state: State, directory: Path) -> Surroundings:
    """Tell the program the MACs its interfaces have now, and have it read VLANs made since.

    While it knows a MAC from before, it takes what is sent to the new one for another host's.

    Returns:
        What it is told of.
    """
    found = look_around(directory)
    forget_killed(state, {one.program_id for one in found.attached})
    here = {one.ifindex for one in found.attached}
    for ifindex, mac in find_own_macs(found.interfaces, here).items():
        state.write_interface(ifindex, mac)
    if has_vlans(found.interfaces, here) and Feature.VLAN not in state.features().refused:
        fit(state, directory, Feature.VLAN)
    return found


def missing_features(state: State, needed: Feature) -> Feature:
    """Return those of some features that the program lacks.

    Raises:
        InputError: attach was told to leave one out.
    """
    features = state.features()
    missing = needed & ~features.compiled
    if missing & features.refused:
        refused = join_names(missing & features.refused)
        raise InputError(
            f"this takes {refused}, which the program was attached without",
            f"pydsr attach --with {refused} IFACE compiles it in; no packet is lost by that",
        )
    return missing


def fit(state: State, directory: Path, needed: Feature) -> bool:
    """See to it that the program has some features, before what needs them is written.

    Args:
        state: held by the lock.
        directory: of its pins.
        needed: the features.

    Returns:
        Whether the program was replaced.

    Raises:
        InputError: attach was told to leave one out.
    """
    missing = missing_features(state, needed)
    if not missing:
        return False
    present = state.features()
    features = replace(present, compiled=present.compiled | missing)
    _log.info("compiling the program anew, with %s", join_names(missing))
    install(state, directory, load(state, features), features)
    if Feature.VLAN in missing:
        warn_of_stripped_tags({one.ifindex for one in attached(directory)})
    return True


def load(state: State, features: Features) -> Programs:
    """Compile and load the program with some features; it is not used yet."""
    maps = {spec.name: state.pins[spec.name] for spec in map_specs()}
    return load_programs(maps, state.table_size, state.settings.seed, features.compiled)


def install(state: State, directory: Path, programs: Programs, features: Features) -> None:
    """Replace the programs of every attached interface, and the one that answers questions.

    A kill in between leaves interfaces with either program: so until all have the new one, the
    state tells of those features only that both have.
    """
    present = state.features()
    state.write_features(replace(present, compiled=present.compiled & features.compiled))
    for info in living_links(directory).values():
        with libbpf.link_by_id(info.id) as link:
            libbpf.link_update(link, programs.balance)
    libbpf.pin_replacing(programs.explain, directory / "explain")
    state.write_features(features)
    _log.info("the program has %s", ", ".join(names(features.compiled)) or "no features")


def warn_of_stripped_tags(here: Collection[int]) -> None:
    """Say which interfaces, given by index, hide VLAN tags from the program."""
    # Most commands need neither.
    from pydsr.kernel.machine.attach_obstacles import stripped_tags
    from pydsr.kernel.net.ethtool import strips_tags

    everything = links.all_interfaces()
    seen_by_program = find_own_macs(everything, here)
    for interface in everything:
        if interface.index in seen_by_program and strips_tags(interface.name):
            finding = stripped_tags(interface)
            _log.warning("%s: %s", finding.what, finding.remedy)
