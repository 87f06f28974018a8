"""Which features the program gets: those used, asked for and not refused."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from ipaddress import ip_address
from operator import or_

import pytest

from pydsr.model.addresses import VLAN_8021Q, Endpoint, MacAddress, Tag
from pydsr.model.errors import InputError
from pydsr.model.features import (
    DEFAULT_FEATURES,
    NO_FEATURES,
    Feature,
    Features,
    FeatureUse,
    Needs,
    choose_features,
    find_needs,
    names,
    parse_features,
    report_use,
)
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, Service

PLAIN = Service(0, Endpoint.parse("192.0.2.1:80"), ServiceOptions())
MAC = MacAddress.parse("02:00:00:00:00:01")
BACKEND = Backend(1, ip_address("192.0.2.11"), 1, MAC, False, BackendState.UP, 2)
TAGGED = replace(BACKEND, tags=(Tag(VLAN_8021Q, 200),))


def used(
    *services: Service, has_rules: bool = False, ways_in: int = 1, has_vlans: bool = False
) -> Needs:
    """Return the needs of a balancer that has some services, and otherwise nothing special."""
    of_services = reduce(or_, (service.features for service in services), NO_FEATURES)
    return find_needs(of_services, has_rules=has_rules, ways_in=ways_in, has_vlans=has_vlans)


def test_plain_services_use_no_feature() -> None:
    assert used() == Needs()
    assert used(PLAIN, replace(PLAIN, backends=(BACKEND,))) == Needs()


@pytest.mark.parametrize(
    ("service", "feature"),
    [
        (replace(PLAIN, endpoint=Endpoint.parse("192.0.2.1:*")), Feature.EVERY_PORT),
        (replace(PLAIN, options=ServiceOptions(max_new_flows=100)), Feature.GUARD),
        (replace(PLAIN, backends=(BACKEND, TAGGED)), Feature.VLAN),
    ],
    ids=["every port", "guard", "tagged backend"],
)
def test_one_service_makes_the_balancer_use_a_feature(service: Service, feature: Feature) -> None:
    assert used(PLAIN, service, PLAIN) == Needs(feature)


def test_rules_and_a_second_interface_are_used_without_any_service() -> None:
    assert used(has_rules=True) == Needs(Feature.ACL)
    assert used(ways_in=2) == Needs(Feature.REDIRECT)
    assert used(ways_in=0) == Needs()


def test_vlan_devices_make_their_feature_useful_only() -> None:
    """VLAN devices may serve something else."""
    assert used(has_vlans=True) == Needs(useful=Feature.VLAN)


def test_attach_compiles_used_and_default_features() -> None:
    chosen = choose_features(Features(), Needs(Feature.ACL, Feature.VLAN))
    assert chosen.compiled == DEFAULT_FEATURES | Feature.ACL | Feature.VLAN
    assert (chosen.requested, chosen.excluded) == (NO_FEATURES, NO_FEATURES)


def test_attach_leaves_out_unused_features() -> None:
    before = Features(compiled=~NO_FEATURES)
    assert choose_features(before, Needs()).compiled == DEFAULT_FEATURES


def test_asked_and_refused_features_are_remembered() -> None:
    first = choose_features(Features(), Needs(), requested=Feature.GUARD, excluded=Feature.TAP)
    assert first.compiled == Feature.GUARD | Feature.FRAGMENTS
    assert choose_features(first, Needs()) == first


def test_the_latest_request_for_a_feature_holds() -> None:
    first = choose_features(Features(), Needs(), requested=Feature.GUARD, excluded=Feature.TAP)
    turned = choose_features(first, Needs(), requested=Feature.TAP, excluded=Feature.GUARD)
    assert (turned.requested, turned.excluded) == (Feature.TAP, Feature.GUARD)
    assert turned.compiled == DEFAULT_FEATURES


def test_vlans_can_be_left_out_although_there_are_vlan_devices() -> None:
    chosen = choose_features(Features(), Needs(useful=Feature.VLAN), excluded=Feature.VLAN)
    assert chosen.compiled == DEFAULT_FEATURES


@pytest.mark.parametrize("earlier", [True, False], ids=["refused before", "refused now"])
def test_a_used_feature_cannot_be_refused(earlier: bool) -> None:
    before = Features(excluded=Feature.ACL if earlier else NO_FEATURES)
    excluded = NO_FEATURES if earlier else Feature.ACL
    with pytest.raises(InputError, match="cannot be without acl") as caught:
        choose_features(before, Needs(Feature.ACL), excluded=excluded)
    assert "--with acl" in caught.value.hint


def test_a_feature_named_by_both_options_is_an_error() -> None:
    both = Feature.TAP | Feature.ACL
    with pytest.raises(InputError, match="acl is named by both"):
        choose_features(Features(), Needs(), requested=both, excluded=Feature.ACL)


def test_unused_features_are_reported() -> None:
    """Features asked for and default features do not count as unused."""
    present = Features(
        compiled=DEFAULT_FEATURES | Feature.ACL | Feature.VLAN | Feature.REDIRECT | Feature.GUARD,
        requested=Feature.GUARD,
        excluded=Feature.EVERY_PORT,
    )
    use = report_use(present, Needs(Feature.ACL, Feature.VLAN))
    assert use == FeatureUse(present.compiled, Feature.REDIRECT, Feature.EVERY_PORT)


def test_features_are_named_as_they_are_parsed() -> None:
    assert names(Feature.EVERY_PORT | Feature.VLAN) == ["vlan", "every-port"]
    assert parse_features([",".join(names(~NO_FEATURES))]) == ~NO_FEATURES
    assert parse_features(["acl, tap", "vlan"]) == Feature.ACL | Feature.TAP | Feature.VLAN
    assert parse_features([]) == NO_FEATURES


@pytest.mark.parametrize("text", ["", "acl,", "ACL", "every_port", "vlans"])
def test_an_unknown_feature_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="there is no feature") as caught:
        parse_features([text])
    assert "every-port" in caught.value.hint
