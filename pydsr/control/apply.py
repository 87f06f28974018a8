"""Bring about a configuration: what is to be done, whether it may be, and doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from pydsr.control import attach
from pydsr.control.attached_interfaces import Attached, attached
from pydsr.control.commit import Plan, carry_out
from pydsr.control.diff import differing, policies_to_set, present_rules
from pydsr.control.garbage_collection import tidy
from pydsr.control.plan import Target, plan_revisions, refuse_local_vips
from pydsr.control.program_upgrade import follow_interfaces, missing_features
from pydsr.control.resolve import Network
from pydsr.control.vip_policies import check_rules_fit
from pydsr.kernel.bpf import bpffs
from pydsr.kernel.bpf.lock import locked, not_attached
from pydsr.kernel.bpf.store import ServiceHead, State
from pydsr.kernel.net import links
from pydsr.model.addresses import Endpoint
from pydsr.model.change import Impact
from pydsr.model.desired import removal_changes
from pydsr.model.desired_state import (
    DesiredInterface,
    DesiredState,
    all_rule_changes,
    attach_change,
    policy_changes,
)
from pydsr.model.errors import PydsrError

_SHOWN_LIMITS = 5


@dataclass(frozen=True)
class _Prepared:
    """What is to be done, and what it means."""

    attaching: tuple[DesiredInterface, ...]
    plan: Plan
    impact: Impact
    moved: Mapping[Endpoint, int]


def apply(
    directory: Path,
    wanted: DesiredState,
    plan_only: bool = False,
    max_moved: float | None = None,
) -> Impact:
    """Make the state of a balancer that of a configuration.

    Services it does not name are removed; interfaces it does not name stay attached. Whether VIPs
    are answered for goes by this machine's addresses, where the configuration names one.

    Args:
        directory: of the balancer's pins, which are made if need be.
        wanted: the configuration.
        plan_only: say what would change, and change nothing.
        max_moved: refuse to move more than this percentage of any service's slots.

    Raises:
        InputError: it cannot be: settings in use differ, a VIP is an address of this machine…
        BackendUnresolvedError: the MAC of a backend cannot be found.
        EnvironmentCannotError: the kernel, the NIC or another XDP program stands against it.
        NotAttachedError: there is no balancer, and it names no interface for one.
        PydsrError: more slots would move than may.
    """
    if not _has_state(directory):
        if not wanted.interfaces:
            raise not_attached(directory)
        if plan_only:
            return Impact(wanted.changes_from_nothing())
        bpffs.prepare_directory(directory)
    with locked(directory):
        if _has_state(directory):
            return _apply_locked(directory, wanted, plan_only, max_moved)
        try:
            # Backends are found by the interfaces, so these come first.
            _attach(directory, wanted, wanted.interfaces)
            impact = _apply_locked(directory, wanted, plan_only, max_moved)
        except BaseException:
            bpffs.remove_directory(directory)
            raise
    changes = tuple(attach_change(one) for one in wanted.interfaces)
    return replace(impact, changes=(*changes, *impact.changes))


def _has_state(directory: Path) -> bool:
    return (directory / "settings").exists()


def _apply_locked(
    directory: Path, wanted: DesiredState, plan_only: bool, max_moved: float | None
) -> Impact:
    wanted = wanted.at(links.local_addresses())
    with closing(State(directory)) as state:
        if plan_only:
            prepared = _prepare(state, state.heads(), wanted, attached(directory))
            _refuse_beyond(prepared, max_moved, state.table_size)
            return prepared.impact
        here = follow_interfaces(state, directory).attached
        with state.changing() as interrupted:
            heads = tidy(state, interrupted).heads
            prepared = _prepare(state, heads, wanted, here)
            _refuse_beyond(prepared, max_moved, state.table_size)
            _attach(directory, wanted, prepared.attaching)
            if prepared.impact.changes:
                carry_out(state, directory, prepared.plan)
    return prepared.impact


def _attach(directory: Path, wanted: DesiredState, interfaces: Sequence[DesiredInterface]) -> None:
    by_mode = sorted(interfaces, key=lambda one: one.mode)
    for mode, group in groupby(by_mode, key=lambda one: one.mode):
        options = attach.AttachOptions(mode, wanted.table_size, wanted.seed)
        named = [links.find_interface(one.name) for one in group]
        attach.attach_locked(directory, named, options, wanted.features)


def _prepare(
    state: State, heads: Sequence[ServiceHead], wanted: DesiredState, here: Sequence[Attached]
) -> _Prepared:
    """Find out what is to be done; nothing is changed."""
    attach.check_settings(state, wanted.table_size, wanted.seed)
    attaching, named = _check_interfaces(state, wanted, here)
    network = Network([*here, *named])
    present = {head.service.endpoint: head for head in heads}
    endpoints = {service.endpoint for service in wanted.services}
    refuse_local_vips(endpoints - present.keys())
    removed = [state.whole(head) for head in heads if head.service.endpoint not in endpoints]
    revisions = plan_revisions(
        state,
        [
            Target(state.whole(head) if head else None, service.without_backends, service.backends)
            for service, head in differing(state, present, wanted.services, network)
        ],
        network,
        {endpoint.address for endpoint in endpoints},
    )
    rules, policies = present_rules(state, heads), state.policies()
    rule_changes = all_rule_changes(rules, wanted.scoped_rules)
    check_rules_fit(wanted.scoped_rules.values())
    changed_policies = policy_changes(policies, wanted.policies)
    plan = Plan(
        [one for one in revisions if one.changes],
        removed,
        wanted.scoped_rules if rule_changes else None,
        policies_to_set(policies, wanted.policies) if changed_policies else {},
    )
    missing_features(state, plan.features)
    changes = (
        *map(attach_change, attaching),
        *(change for service in removed for change in removal_changes(service)),
        *(change for revision in plan.revisions for change in revision.changes),
        *rule_changes,
        *changed_policies,
    )
    moved = _slots_moved(plan)
    impact = Impact(
        changes,
        sum(moved.values()),
        state.table_size * len(moved),
        sum(revision.flows_moved for revision in plan.revisions),
        _notes(wanted, here),
    )
    return _Prepared(tuple(attaching), plan, impact, moved)


def _check_interfaces(
    state: State, wanted: DesiredState, here: Sequence[Attached]
) -> tuple[list[DesiredInterface], list[Attached]]:
    """Return the interfaces to attach, and the same as they will be, after attach's own checks."""
    by_name = {one.name: one for one in here}
    attaching, named = [], []
    for one in wanted.interfaces:
        if one.name not in by_name:
            attaching.append(one)
        elif one.mode in ("auto", by_name[one.name].mode):
            continue
        interface = links.find_interface(one.name)
        attach.check_interfaces(state.pins.directory, [interface], one.mode)
        named.append(Attached(one.name, interface.index, interface.mac, one.mode, 0))
    return attaching, named


def _slots_moved(plan: Plan) -> dict[Endpoint, int]:
    """Return how many slots of each service give their flows away; a new one has none."""
    moved = {
        service.endpoint: sum(backend.slots for backend in service.backends)
        for service in plan.removed
    }
    return moved | {
        one.service.endpoint: one.slots_moved for one in plan.revisions if not one.is_new
    }


def _refuse_beyond(prepared: _Prepared, max_moved: float | None, table_size: int) -> None:
    if max_moved is None:
        return
    beyond = [
        f"{endpoint} ({100 * slots / table_size:.1f} %)"
        for endpoint, slots in prepared.moved.items()
        if 100 * slots > max_moved * table_size
    ]
    if beyond:
        more = f" and {len(beyond) - _SHOWN_LIMITS} more" if len(beyond) > _SHOWN_LIMITS else ""
        raise PydsrError(
            f"more than {max_moved:g} % of the slots would move of "
            f"{', '.join(beyond[:_SHOWN_LIMITS])}{more}",
            "nothing was changed; --plan shows what would be, a larger --max-moved lets it be",
        )


def _notes(wanted: DesiredState, here: Sequence[Attached]) -> tuple[str, ...]:
    """Say which interfaces the file does not name, if it names any: they stay attached."""
    named = {one.name for one in wanted.interfaces}
    return tuple(
        f"{one.name} is attached, but not in the file: pydsr detach {one.name} takes it off"
        for one in here
        if named and one.name not in named
    )
