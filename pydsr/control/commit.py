"""Carry out what was planned: the order of the writes, each one step for the packets meanwhile.

A kill between two of them leaves each service as it was or as it is to be, and something for the
next change to tidy up: the tables say what is, and the index is made of the services.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydsr.control.attached_interfaces import announce_vips, attached
from pydsr.control.plan import Revision, features_used, retire, write_backends_and_tables
from pydsr.control.program_upgrade import fit
from pydsr.control.vip_policies import forget_removed
from pydsr.kernel.bpf.store import State
from pydsr.kernel.net import links
from pydsr.kernel.net.solicitations import stop_receiving
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.features import NO_FEATURES, Feature
from pydsr.model.service import Service, Unserved
from pydsr.model.source_rules import Rules


@dataclass(frozen=True)
class Plan:
    """What is to be done to services, rules and policies.

    Attributes:
        revisions: of services that are to be created or changed.
        removed: services that are to go.
        rules: the source rules there are to be, by scope; None where those there are stay.
        policies: those to be set.
    """

    revisions: Sequence[Revision] = ()
    removed: Sequence[Service] = ()
    rules: Mapping[Endpoint | None, Rules] | None = None
    policies: Mapping[IPAddress, Unserved] = field(default_factory=dict)

    @property
    def features(self) -> Feature:
        """What it takes of the program."""
        has_rules = any((self.rules or {}).values())
        return features_used(self.revisions) | (Feature.ACL if has_rules else NO_FEATURES)


def carry_out(state: State, directory: Path, plan: Plan) -> None:
    """Bring a plan about.

    Args:
        state: held by the lock, marked as changing.
        directory: of its pins.
        plan: with revisions of this state.
    """
    fit(state, directory, plan.features)
    write_backends_and_tables(state, plan.revisions)
    for service in plan.removed:
        state.delete_service(service.endpoint)
    written = [one.service for one in plan.revisions if one.is_new or one.sets_options]
    for service in written:
        state.write_service(service)
    for vip, policy in plan.policies.items():
        state.write_policy(vip, policy)
    if plan.rules is not None:
        _write_rules(state, plan.rules)
    if plan.removed or written or plan.policies or plan.rules is not None:
        # The step that packets see: services and VIPs come and go all at once.
        state.write_index(state.configs())
    if plan.removed:
        state.delete_tables([service.id for service in plan.removed])
        forget_removed(state, state.configs())
        for service in plan.removed:
            retire(state, service)
    _tell_network(state, directory, plan)


def _write_rules(state: State, rules: Mapping[Endpoint | None, Rules]) -> None:
    ids = {service.endpoint: service.id for service in state.configs()}
    state.write_rules(
        {ids[scope] if scope else None: found for scope, found in rules.items() if found}
    )


def _tell_network(state: State, directory: Path, plan: Plan) -> None:
    """Announce VIPs that came, and have the interfaces receive no more for those that went."""
    came = {
        one.service.endpoint.address: None
        for one in plan.revisions
        if one.service.options.arp
        if one.target.present is None or not one.target.present.options.arp
    }
    if not came and not plan.removed:
        return
    interfaces = [links.find_interface(one.name) for one in attached(directory)]
    if came:
        announce_vips(interfaces, [*came])
    if plan.removed:
        left: Collection[IPAddress] = {one.endpoint.address for one in state.configs()}
        gone = {service.endpoint.address for service in plan.removed}
        for interface in interfaces:
            stop_receiving(interface, gone, left)
