"""A configuration against the state of a balancer: compared, and brought about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from pydsr import attachment, planner
from pydsr.acl import Rules
from pydsr.attached import Attached, attached
from pydsr.changes import Impact
from pydsr.configuration import (
    Configuration,
    ConfiguredInterface,
    ConfiguredService,
    all_rule_changes,
    attach_change,
    policy_changes,
)
from pydsr.errors import PydsrError
from pydsr.execution import Plan, carry_out
from pydsr.fitting import follow_interfaces, missing_features
from pydsr.kernel import bpffs, layout, links
from pydsr.kernel.backends import BackendEntry
from pydsr.kernel.codec import STATE_NUMBERS, pack_tags, unpack_tags
from pydsr.kernel.lock import locked, not_attached
from pydsr.kernel.state import ServiceHead, State
from pydsr.model import Endpoint, IPAddress, MacAddress, Place, Unserved
from pydsr.placement import Network, newer_place
from pydsr.planner import DesiredBackend
from pydsr.policies import check_rules_fit
from pydsr.revision import Target, plan_revisions, refuse_local_vips
from pydsr.tidying import tidy

_SHOWN_LIMITS = 5


@dataclass(frozen=True)
class _Prepared:
    """What is to be done, and what it means."""

    attaching: tuple[ConfiguredInterface, ...]
    plan: Plan
    impact: Impact
    moved: Mapping[Endpoint, int]


def apply(
    directory: Path,
    wanted: Configuration,
    plan_only: bool = False,
    max_moved: float | None = None,
) -> Impact:
    """Make the state of a balancer that of a configuration.

    Services it does not name are removed; interfaces it does not name stay attached.

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
    directory: Path, wanted: Configuration, plan_only: bool, max_moved: float | None
) -> Impact:
    with closing(State(directory)) as state:
        if plan_only:
            prepared = _prepare(state, state.heads(), wanted, attached(directory))
            _refuse_beyond(prepared, max_moved, state.table_size)
            return prepared.impact
        follow_interfaces(state, directory)
        with state.changing() as interrupted:
            heads = tidy(state, interrupted).heads
            prepared = _prepare(state, heads, wanted, attached(directory))
            _refuse_beyond(prepared, max_moved, state.table_size)
            _attach(directory, wanted, prepared.attaching)
            if prepared.impact.changes:
                carry_out(state, directory, prepared.plan)
    return prepared.impact


def _attach(
    directory: Path, wanted: Configuration, interfaces: Sequence[ConfiguredInterface]
) -> None:
    by_mode = sorted(interfaces, key=lambda one: one.mode)
    for mode, group in groupby(by_mode, key=lambda one: one.mode):
        options = attachment.AttachOptions(mode, wanted.table_size, wanted.seed)
        named = [links.find_interface(one.name) for one in group]
        attachment.attach_locked(directory, named, options, wanted.features)


def _prepare(
    state: State, heads: Sequence[ServiceHead], wanted: Configuration, here: Sequence[Attached]
) -> _Prepared:
    """Find out what is to be done; nothing is changed."""
    attachment.check_settings(state, wanted.table_size, wanted.seed)
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
            for service, head in _differing(state, present, wanted.services, network)
        ],
        network,
        {endpoint.address for endpoint in endpoints},
    )
    rules, policies = _present_rules(state, heads), state.policies()
    rule_changes = all_rule_changes(rules, wanted.scoped_rules)
    check_rules_fit(wanted.scoped_rules.values())
    changed_policies = policy_changes(policies, wanted.policies)
    plan = Plan(
        [one for one in revisions if one.changes],
        removed,
        wanted.scoped_rules if rule_changes else None,
        _policies_to_set(policies, wanted.policies) if changed_policies else {},
    )
    missing_features(state, plan.features)
    changes = (
        *map(attach_change, attaching),
        *(change for service in removed for change in planner.removal_changes(service)),
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
    state: State, wanted: Configuration, here: Sequence[Attached]
) -> tuple[list[ConfiguredInterface], list[Attached]]:
    """Return the interfaces to attach, and the same as they will be, after attach's own checks."""
    by_name = {one.name: one for one in here}
    attaching, named = [], []
    for one in wanted.interfaces:
        if one.name not in by_name:
            attaching.append(one)
        elif one.mode in ("auto", by_name[one.name].mode):
            continue
        interface = links.find_interface(one.name)
        attachment.check_interfaces(state.pins.directory, [interface], one.mode)
        named.append(Attached(one.name, interface.index, interface.mac, one.mode, 0))
    return attaching, named


def _differing(
    state: State,
    present: Mapping[Endpoint, ServiceHead],
    wanted: Sequence[ConfiguredService],
    network: Network,
) -> list[tuple[ConfiguredService, ServiceHead | None]]:
    """Return the services that are not as wanted, without making values of all that are."""
    looked_up = {
        item.address: None
        for service in wanted
        if service.endpoint in present
        for item in service.backends
        if item.mac is None
    }
    seen = network.seen([*looked_up])
    return [
        (service, head)
        for service in wanted
        for head in [present.get(service.endpoint)]
        if head is None or not _is_as_wanted(state, head, service, seen)
    ]


def _is_as_wanted(
    state: State,
    head: ServiceHead,
    wanted: ConfiguredService,
    seen: Mapping[IPAddress, Sequence[Place]],
) -> bool:
    if head.service.options != wanted.options:
        return False
    found = {}
    for weight, _, backend_id, number in head.table.rows():
        entry = state.read_backend(backend_id)
        found[entry.address] = weight, number, entry
    if len(found) != len(wanted.backends):
        return False
    for item in wanted.backends:
        row = found.get(layout.pack_address(item.address))
        if row is None or row[:2] != (item.weight, STATE_NUMBERS[item.state]):
            return False
        if not _is_in_place(row[2], item, seen):
            return False
    return True


def _is_in_place(
    entry: BackendEntry, item: DesiredBackend, seen: Mapping[IPAddress, Sequence[Place]]
) -> bool:
    if item.mac is not None:
        tags = bytes(pack_tags(item.tags)) if item.tags else entry.tags
        return bool(entry.mac_by_hand) and (entry.mac, entry.tags) == (item.mac.octets, tags)
    if entry.mac_by_hand or not any(entry.mac):
        return False
    places = seen.get(item.address)
    if not places:
        return True
    kept = Place(MacAddress(entry.mac), entry.ifindex, unpack_tags(entry.tags))
    return newer_place(kept, places) is None


def _present_rules(state: State, heads: Sequence[ServiceHead]) -> dict[Endpoint | None, Rules]:
    scopes: dict[int | None, Endpoint | None] = {None: None}
    scopes |= {head.service.id: head.service.endpoint for head in heads}
    return {scopes[scope]: rules for scope, rules in state.rules().items() if scope in scopes}


def _policies_to_set(
    present: Mapping[IPAddress, Unserved], wanted: Mapping[IPAddress, Unserved]
) -> dict[IPAddress, Unserved]:
    return {
        vip: wanted.get(vip, Unserved.COUNT)
        for vip in {*present, *wanted}
        if present.get(vip, Unserved.COUNT) is not wanted.get(vip, Unserved.COUNT)
    }


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


def _notes(wanted: Configuration, here: Sequence[Attached]) -> tuple[str, ...]:
    """Say which interfaces the file does not name, if it names any: they stay attached."""
    named = {one.name for one in wanted.interfaces}
    return tuple(
        f"{one.name} is attached, but not in the file: pydsr detach {one.name} takes it off"
        for one in here
        if named and one.name not in named
    )


def read_configuration(directory: Path) -> Configuration:
    """Return the whole state of a balancer, as a file would have it.

    Raises:
        NotAttachedError: there is none.
    """
    with closing(State(directory)) as state:
        heads = state.heads()
        rules = _present_rules(state, heads)
        services = [state.whole(head) for head in heads]
        return Configuration(
            interfaces=tuple(
                ConfiguredInterface(one.name, one.mode) for one in attached(directory)
            ),
            table_size=state.table_size,
            seed=state.settings.seed,
            policies=state.policies(),
            services=tuple(
                ConfiguredService(
                    service.endpoint,
                    service.options,
                    tuple(map(planner.as_desired, service.backends)),
                    rules.get(service.endpoint, {}),
                )
                for service in services
            ),
            rules=rules.get(None, {}),
        )
