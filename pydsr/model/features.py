"""Parts of the program that are compiled in only where the configuration uses them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

from pydsr.model.addresses import EVERY_PORT
from pydsr.model.errors import InputError

if TYPE_CHECKING:
    from pydsr.model.service import Service


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
"""Compiled in unless refused by ``attach --without``; no configuration shows that they are used."""


@dataclass(frozen=True)
class Features:
    """Parts of the program: compiled into the loaded one, asked for and refused at attach."""

    compiled: Feature = NO_FEATURES
    asked: Feature = NO_FEATURES
    refused: Feature = NO_FEATURES


@dataclass(frozen=True)
class FeatureUse:
    """The features of the loaded program.

    Attributes:
        compiled: those it has.
        unused: those of them that nothing uses any more; the next attach leaves them out.
        refused: those that attach was told to leave out.
    """

    compiled: Feature = NO_FEATURES
    unused: Feature = NO_FEATURES
    refused: Feature = NO_FEATURES


@dataclass(frozen=True)
class Needs:
    """The features of a configuration: those it uses, and those it is better off with."""

    used: Feature = NO_FEATURES
    useful: Feature = NO_FEATURES


def names(features: Feature) -> list[str]:
    """Return the names of features as the command line writes them."""
    return [str(one.name).lower().replace("_", "-") for one in Feature if one in features]


def join_names(features: Feature) -> str:
    """Return the names of features for a message, and for ``--with``."""
    return ",".join(names(features))


def parse_features(texts: Iterable[str]) -> Feature:
    """Parse names of features, several in one text with commas between them.

    Raises:
        InputError: there is no such feature; the hint lists them.
    """
    known = {name: feature for feature in Feature for name in names(feature)}
    found = NO_FEATURES
    for name in (part.strip() for text in texts for part in text.split(",")):
        if name not in known:
            raise InputError(f"there is no feature {name!r}", f"there are: {', '.join(known)}")
        found |= known[name]
    return found


def find_needs(
    services: Iterable[Service], *, has_rules: bool, ways_in: int, has_vlans: bool
) -> Needs:
    """Return what a configuration takes.

    Args:
        services: all of them, with their backends.
        has_rules: whether there are source rules.
        ways_in: how many devices packets come in by.
        has_vlans: whether there are VLAN devices on them, which may be there for something else.
    """
    used = NO_FEATURES
    if has_rules:
        used |= Feature.ACL
    if ways_in > 1:
        used |= Feature.REDIRECT
    for service in services:
        used |= features_of(service)
    return Needs(used, Feature.VLAN if has_vlans else NO_FEATURES)


def features_of(service: Service) -> Feature:
    """Return the features that one service uses."""
    used = service.options.features
    if service.endpoint.port == EVERY_PORT:
        used |= Feature.EVERY_PORT
    if any(backend.tags for backend in service.backends):
        used |= Feature.VLAN
    return used


def choose_features(
    present: Features, needs: Needs, asked: Feature = NO_FEATURES, refused: Feature = NO_FEATURES
) -> Features:
    """Return the features that an attach compiles, and remembers to have been told of.

    Args:
        present: of before.
        needs: of the configuration.
        asked: named by ``--with`` now.
        refused: named by ``--without`` now.

    Raises:
        InputError: a feature is named by both, or refused but used.
    """
    if asked & refused:
        raise InputError(
            f"{join_names(asked & refused)} is both asked for and refused", "name it once"
        )
    asked_now = (present.asked | asked) & ~refused
    refused_now = (present.refused | refused) & ~asked
    missing = join_names(needs.used & refused_now)
    if missing:
        raise InputError(
            f"the program cannot be without {missing}, which the configuration uses",
            f"attach it --with {missing}",
        )
    compiled = (DEFAULT_FEATURES | needs.used | needs.useful | asked_now) & ~refused_now
    return Features(compiled, asked_now, refused_now)


def report_use(present: Features, needs: Needs) -> FeatureUse:
    """Return what became of each feature, as a user is told."""
    kept = DEFAULT_FEATURES | needs.used | needs.useful | present.asked
    return FeatureUse(present.compiled, present.compiled & ~kept, present.refused)
