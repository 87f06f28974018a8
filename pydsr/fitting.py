"""The program and its features: compile what is needed, and put it where the old one is."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from pydsr.attached import attached, living_links
from pydsr.errors import InputError
from pydsr.features import (
    Feature,
    Features,
    Needs,
    find_needs,
    join_names,
    names,
    unused_features,
)
from pydsr.kernel import libbpf, links
from pydsr.kernel.maps import map_specs
from pydsr.kernel.program import Programs, load_programs
from pydsr.kernel.state import State
from pydsr.segments import find_own_macs, find_segments

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureUse:
    """The features of the loaded program; ``unused`` ones the next attach leaves out."""

    compiled: Feature
    unused: Feature
    refused: Feature


def feature_use(directory: Path) -> FeatureUse:
    """Return which features the loaded program has, and which of them nothing uses."""
    state = State(directory)
    try:
        present = state.features()
        needs = needs_of(state, {one.ifindex for one in attached(directory)})
    finally:
        state.close()
    return FeatureUse(present.compiled, unused_features(present, needs), present.refused)


def needs_of(state: State, here: Collection[int]) -> Needs:
    """Return what the configuration takes on some interfaces, given by index."""
    everything = links.all_interfaces()
    return find_needs(
        state.services(),
        has_rules=bool(state.rules()),
        ways_in=len(find_own_macs(everything, here)),
        has_vlans=any(segment.tags for segment in find_segments(everything, here).values()),
    )


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
    everything = links.all_interfaces()
    seen_by_program = find_own_macs(everything, here)
    for interface in everything:
        if interface.index in seen_by_program and links.strips_tags(interface.name):
            _log.warning(
                "%s may take VLAN tags off before the program sees them, which then takes tagged "
                "packets for untagged ones: ethtool -K %s",
                interface.name,
                "PEER txvlan off at its other end"
                if interface.kind == "veth"
                else f"{interface.name} rxvlan off",
            )
