"""Apply a desired state: plan all differences, refuse invalid ones, and commit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from pydsr.control import attach
from pydsr.control.attached_interfaces import Attached, attached, living_links
from pydsr.control.commit import SlotsMoved, commit, flows_moved, slots_moved
from pydsr.control.diff import differing, policies_to_set
from pydsr.control.plan import (
    Plan,
    check_rules_fit,
    live_rules,
    refuse_local_vips,
)
from pydsr.control.program_upgrade import refuse_left_out
from pydsr.control.resolve import Network
from pydsr.control.service_plan import plan_services
from pydsr.control.transaction import has_pins, transaction
from pydsr.kernel.bpf import bpffs
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.lock import not_attached
from pydsr.kernel.bpf.services import ServiceHead
from pydsr.kernel.net import links
from pydsr.model.change import Impact, removal_changes
from pydsr.model.desired_state import (
    DesiredInterface,
    DesiredState,
    all_rule_changes,
    attach_change,
    policy_changes,
)
from pydsr.model.errors import PydsrError

_SHOWN_LIMITS = 5


def apply(
    directory: Path,
    desired: DesiredState,
    plan_only: bool = False,
    max_moved: float | None = None,
) -> Impact:
    """Bring a balancer to a desired state.

    Services it does not name are removed; interfaces it does not name stay attached. If it names a
    VRRP address, the addresses of this host decide whether VIPs are answered for.

    Args:
        directory: where the pins are; it is created if it is missing.
        desired: the state to reach.
        plan_only: write nothing; return what would change.
        max_moved: refuse to move more than this percentage of any service's slots.

    Raises:
        InputError: it cannot be: settings in use differ, a VIP is an address of this machine…
        BackendUnresolvedError: the MAC of a backend cannot be found.
        EnvironmentCannotError: the kernel, the NIC or another XDP program stands against it.
        NotAttachedError: there is no balancer, and it names no interface for one.
        PydsrError: more slots would move than may.
    """
    create = None
    if not has_pins(directory):
        if not desired.interfaces:
            raise not_attached(directory)
        if plan_only:
            return Impact(desired.changes_from_nothing())
        bpffs.prepare_directory(directory)
    if desired.interfaces and not plan_only:
        create = attach.new_settings(desired.table_size, desired.seed)
    with transaction(directory, plan_only=plan_only, create=create) as change:
        state, on = change.state, change.interfaces.attached
        new: tuple[DesiredInterface, ...] = ()
        if change.is_first:
            # Backends are resolved on the interfaces, so attach those first.
            new = desired.interfaces
            _attach(state, desired, new)
            on = attached(directory)
        desired = desired.at(links.local_addresses())
        more, plan = _plan(state, change.heads, desired, on)
        flows = flows_moved(state, plan)
        moved: SlotsMoved = {}
        if plan_only or max_moved is not None:
            moved = slots_moved(state, plan)
            _refuse_beyond(moved, max_moved, state.settings.table_size)
        if not plan_only:
            _attach(state, desired, more)
            moved = commit(state, plan)
        return Impact(
            (*map(attach_change, (*new, *more)), *plan.changes),
            sum(moved.values()),
            state.settings.table_size * len(moved),
            flows,
            _notes(desired, on),
        )


def _attach(
    state: LiveState, desired: DesiredState, interfaces: Sequence[DesiredInterface]
) -> None:
    by_mode = sorted(interfaces, key=lambda interface: interface.mode)
    for mode, group in groupby(by_mode, key=lambda interface: interface.mode):
        options = attach.AttachOptions(mode, desired.table_size, desired.seed)
        named = [links.find_interface(interface.name) for interface in group]
        attach.attach_interfaces(state, named, options, desired.features)


def _plan(
    state: LiveState, heads: Sequence[ServiceHead], desired: DesiredState, on: Sequence[Attached]
) -> tuple[list[DesiredInterface], Plan]:
    """Return the interfaces to attach, and the plan to commit after that."""
    attach.check_settings(state, desired.table_size, desired.seed)
    to_attach, as_attached = _plan_interfaces(state, desired, on)
    network = Network([*on, *as_attached])
    live = {head.service.endpoint: head for head in heads}
    endpoints = {service.endpoint for service in desired.services}
    refuse_local_vips(endpoints - live.keys())
    whole = state.services.with_backends
    before_after = [
        (whole(head) if head else None, service)
        for service, head in differing(state, live, desired.services, network)
    ]
    vips = {endpoint.address for endpoint in endpoints}
    services = plan_services(state, before_after, network, vips)
    removed = tuple(whole(head) for head in heads if head.service.endpoint not in endpoints)
    rules, policies = live_rules(state), state.vip_policies.read()
    rule_changes = all_rule_changes(rules, desired.scoped_rules)
    check_rules_fit(desired.scoped_rules.values())
    plan = Plan(
        services,
        removed,
        desired.scoped_rules if rule_changes else None,
        policies_to_set(policies, desired.policies),
        (
            *(change for service in removed for change in removal_changes(service)),
            *(change for service in services for change in service.changes),
            *rule_changes,
            *policy_changes(policies, desired.policies),
        ),
    )
    refuse_left_out(state, plan.features)
    return to_attach, plan


def _plan_interfaces(
    state: LiveState, desired: DesiredState, on: Sequence[Attached]
) -> tuple[list[DesiredInterface], list[Attached]]:
    """Check the interfaces to attach; return them before and after attaching."""
    by_name = {interface.name: interface for interface in on}
    present = living_links(state.directory)
    to_attach, as_attached = [], []
    for wanted in desired.interfaces:
        name, mode = wanted.name, wanted.mode
        if name not in by_name:
            to_attach.append(wanted)
        elif mode in ("auto", by_name[name].mode):
            continue
        interface = links.find_interface(name)
        attach.check_interfaces([interface], present, mode)
        as_attached.append(Attached(name, interface.index, interface.mac, mode, 0))
    return to_attach, as_attached


def _refuse_beyond(moved: SlotsMoved, max_moved: float | None, table_size: int) -> None:
    if max_moved is None:
        return
    beyond = [
        f"{endpoint} ({100 * slots / table_size:.1f} %)"
        for endpoint, slots in moved.items()
        if 100 * slots > max_moved * table_size
    ]
    if beyond:
        more = f" and {len(beyond) - _SHOWN_LIMITS} more" if len(beyond) > _SHOWN_LIMITS else ""
        raise PydsrError(
            f"more than {max_moved:g} % of the slots would move of "
            f"{', '.join(beyond[:_SHOWN_LIMITS])}{more}",
            "nothing was changed; --plan shows what would be, a larger --max-moved lets it be",
        )


def _notes(desired: DesiredState, on: Sequence[Attached]) -> tuple[str, ...]:
    """Return which attached interfaces the file does not name, if it names any."""
    named = {interface.name for interface in desired.interfaces}
    return tuple(
        f"{interface.name} is attached, but not in the file: pydsr detach {interface.name} "
        "takes it off"
        for interface in on
        if named and interface.name not in named
    )
