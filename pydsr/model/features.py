"""Features: parts of the XDP program that are compiled in only if they are used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag

from pydsr.model.errors import InputError


class Feature(IntFlag):
    """A part of the program; mirrors enum feature of ``xdp/types.h``."""

    VLAN = 1
    REDIRECT = 2
    FRAGMENTS = 4
    EVERY_PORT = 8
    ACL = 16
    GUARD = 32
    TAP = 64


NO_FEATURES = Feature(0)

DEFAULT_FEATURES = Feature.FRAGMENTS | Feature.TAP
"""Compiled in unless ``attach --without`` excludes them: any traffic may need them."""


@dataclass(frozen=True)
class Features:
    """The features of the loaded program, and those requested and excluded at attach."""

    compiled: Feature = NO_FEATURES
    requested: Feature = NO_FEATURES
    excluded: Feature = NO_FEATURES


@dataclass(frozen=True)
class FeatureUse:
    """The features of the loaded program, as users see them.

    Attributes:
        compiled: features in the program.
        unused: compiled features that nothing uses; the next attach leaves them out.
        excluded: features that attach left out by request.
    """

    compiled: Feature = NO_FEATURES
    unused: Feature = NO_FEATURES
    excluded: Feature = NO_FEATURES


@dataclass(frozen=True)
class Needs:
    """The features that a balancer uses, and those that it may come to use."""

    used: Feature = NO_FEATURES
    useful: Feature = NO_FEATURES


def names(features: Feature) -> list[str]:
    """Return the names of features as the command line writes them."""
    return [str(each.name).lower().replace("_", "-") for each in Feature if each in features]


def join_names(features: Feature) -> str:
    """Return the names of features for a message, and for ``--with``."""
    return ",".join(names(features))


def parse_features(texts: Iterable[str]) -> Feature:
    """Parse names of features, which commas may separate.

    Raises:
        InputError: a feature is unknown; the hint lists those there are.
    """
    known = {name: feature for feature in Feature for name in names(feature)}
    parsed = NO_FEATURES
    for name in (part.strip() for text in texts for part in text.split(",")):
        if name not in known:
            raise InputError(f"there is no feature {name!r}", f"there are: {', '.join(known)}")
        parsed |= known[name]
    return parsed


def find_needs(services: Feature, *, has_rules: bool, ways_in: int, has_vlans: bool) -> Needs:
    """Return the features that a balancer needs.

    Args:
        services: those that its services use.
        has_rules: whether there are source rules.
        ways_in: how many devices packets arrive by.
        has_vlans: whether there are VLAN devices on them, which may have another purpose.
    """
    used = services
    if has_rules:
        used |= Feature.ACL
    if ways_in > 1:
        used |= Feature.REDIRECT
    return Needs(used, Feature.VLAN if has_vlans else NO_FEATURES)


def choose_features(
    present: Features,
    needs: Needs,
    requested: Feature = NO_FEATURES,
    excluded: Feature = NO_FEATURES,
) -> Features:
    """Return the features of the program that an attach loads.

    Args:
        present: the features before; what was requested or excluded stays so.
        needs: the features that the balancer needs.
        requested: features named by ``--with`` now.
        excluded: features named by ``--without`` now.

    Raises:
        InputError: a feature is named by both, or excluded but used.
    """
    if requested & excluded:
        raise InputError(
            f"{join_names(requested & excluded)} is named by both --with and --without",
            "name it once",
        )
    requested_now = (present.requested | requested) & ~excluded
    excluded_now = (present.excluded | excluded) & ~requested
    missing = join_names(needs.used & excluded_now)
    if missing:
        raise InputError(
            f"the program cannot be without {missing}, which is in use",
            f"attach it --with {missing}",
        )
    compiled = (DEFAULT_FEATURES | needs.used | needs.useful | requested_now) & ~excluded_now
    return Features(compiled, requested_now, excluded_now)


def report_use(present: Features, needs: Needs) -> FeatureUse:
    """Return which features the program has, which are unused and which excluded."""
    kept = DEFAULT_FEATURES | needs.used | needs.useful | present.requested
    return FeatureUse(present.compiled, present.compiled & ~kept, present.excluded)
