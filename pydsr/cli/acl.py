"""``pydsr acl``: who may send to services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from pydsr.cli.arguments import SCOPE
from pydsr.cli.output import json_option, plan_option, show, show_impact
from pydsr.model.addresses import Endpoint
from pydsr.model.source_rules import (
    Action,
    IPNetwork,
    Rules,
    parse_networks,
    parse_scope,
    with_rules,
    without_rules,
)

Edit = Callable[[tuple[IPNetwork, ...], Endpoint | None], Callable[[Rules], Rules]]
"""From sources and their scope to the change of its rules."""


@click.group()
def acl() -> None:
    """Allow and deny sources, for one service or all.

    SCOPE is a service, such as 198.51.100.10:80, or "all". A PREFIX is 192.0.2.0/24, an
    address, or "any". In each scope the longest prefix that holds a packet's source decides, and
    a source that none holds is let in; a packet has to be let in by both "all" and its service.
    Rules are for every packet: denying a source ends its connections as well.

    \b
    To let only some in, deny any and allow those:
      pydsr acl allow 198.51.100.10:22 192.0.2.0/24
      pydsr acl deny 198.51.100.10:22 any
    """


def _change(
    directory: Path,
    scope: str,
    prefixes: tuple[str, ...],
    edit: Edit,
    plan_only: bool,
    as_json: bool,
) -> None:
    from pydsr.control.balancer import Balancer

    endpoint = parse_scope(scope)
    networks = parse_networks(prefixes, endpoint)
    with Balancer(directory) as balancer:
        impact = balancer.change_rules(endpoint, edit(networks, endpoint), plan_only)
    show_impact(impact, plan_only, as_json)


def _setting(action: Action) -> Edit:
    return lambda networks, _scope: lambda rules: with_rules(rules, networks, action)


def _removing(networks: tuple[IPNetwork, ...], scope: Endpoint | None) -> Callable[[Rules], Rules]:
    return lambda rules: without_rules(rules, networks, scope)


@acl.command()
@click.argument("scope", type=SCOPE)
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@plan_option
@click.pass_obj
def allow(
    directory: Path, scope: str, prefixes: tuple[str, ...], plan_only: bool, as_json: bool
) -> None:
    """Let sources in.

    \b
    Examples:
      pydsr acl allow 198.51.100.10:22 192.0.2.0/24 2001:db8::/32
      pydsr acl allow all 192.0.2.7 --plan
    """
    _change(directory, scope, prefixes, _setting(Action.ALLOW), plan_only, as_json)


@acl.command()
@click.argument("scope", type=SCOPE)
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@plan_option
@click.pass_obj
def deny(
    directory: Path, scope: str, prefixes: tuple[str, ...], plan_only: bool, as_json: bool
) -> None:
    """Keep sources out: their packets are dropped and counted as "denied".

    \b
    Examples:
      pydsr acl deny all 203.0.113.0/24
      pydsr acl deny 198.51.100.10:22 any
    """
    _change(directory, scope, prefixes, _setting(Action.DENY), plan_only, as_json)


@acl.command()
@click.argument("scope", type=SCOPE)
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@plan_option
@click.pass_obj
def remove(
    directory: Path, scope: str, prefixes: tuple[str, ...], plan_only: bool, as_json: bool
) -> None:
    """Remove rules.

    \b
    Examples:
      pydsr acl remove all 203.0.113.0/24
    """
    _change(directory, scope, prefixes, _removing, plan_only, as_json)


@acl.command("list")
@click.argument("scope", type=SCOPE, required=False)
@json_option
@click.pass_obj
def list_(directory: Path, scope: str | None, as_json: bool) -> None:
    """List the rules of one scope, or of all there are.

    \b
    Examples:
      pydsr acl list
      pydsr acl list 198.51.100.10:22 --json
    """
    from pydsr.control.balancer import Balancer
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    wanted = parse_scope(scope) if scope else None
    with Balancer(directory) as balancer:
        found = balancer.rules()
        if wanted is not None:
            balancer.service(wanted)
    if scope:
        found = {wanted: found.get(wanted, {})}
    show(as_json, lambda: documents.rules_document(found), lambda: tables.rules_table(found))
