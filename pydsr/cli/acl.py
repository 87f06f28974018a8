"""``pydsr acl``: rules that allow and deny sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from pydsr.cli.arguments import SCOPE
from pydsr.cli.output import edit_command, json_option, show
from pydsr.control.edits import Edit, RemoveRules, SetRules
from pydsr.model.addresses import Endpoint
from pydsr.model.source_rules import Action, IPNetwork, parse_networks, parse_scope


@click.group()
def acl() -> None:
    """Allow and deny sources, for one service or for all.

    SCOPE is a service, such as 198.51.100.10:80, or "all". PREFIX is a network such as
    192.0.2.0/24, an address, or "any". In each scope the longest prefix that contains the source
    address decides; a source that no prefix contains is allowed. A packet must be allowed by "all"
    and by its service. Rules apply to every packet: denying a source also cuts its connections.

    \b
    To allow some sources only, deny any and allow those:
      pydsr acl allow 198.51.100.10:22 192.0.2.0/24
      pydsr acl deny 198.51.100.10:22 any
    """


def _rule_command(command: Callable[..., Edit]) -> Callable[..., None]:
    run = click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)(
        edit_command(command)
    )
    return click.argument("scope", type=SCOPE)(run)


@acl.command()
@_rule_command
def allow(scope: str, prefixes: tuple[str, ...]) -> Edit:
    """Allow sources.

    \b
    Examples:
      pydsr acl allow 198.51.100.10:22 192.0.2.0/24 2001:db8::/32
      pydsr acl allow all 192.0.2.7 --plan
    """
    return SetRules(*_parse(scope, prefixes), Action.ALLOW)


@acl.command()
@_rule_command
def deny(scope: str, prefixes: tuple[str, ...]) -> Edit:
    """Deny sources: drop their packets and count them as "denied".

    \b
    Examples:
      pydsr acl deny all 203.0.113.0/24
      pydsr acl deny 198.51.100.10:22 any
    """
    return SetRules(*_parse(scope, prefixes), Action.DENY)


@acl.command()
@_rule_command
def remove(scope: str, prefixes: tuple[str, ...]) -> Edit:
    """Remove rules.

    \b
    Examples:
      pydsr acl remove all 203.0.113.0/24
    """
    return RemoveRules(*_parse(scope, prefixes))


def _parse(scope: str, prefixes: tuple[str, ...]) -> tuple[Endpoint | None, tuple[IPNetwork, ...]]:
    endpoint = parse_scope(scope)
    return endpoint, parse_networks(prefixes, endpoint)


@acl.command("list")
@click.argument("scope", type=SCOPE, required=False)
@json_option
@click.pass_obj
def list_(directory: Path, scope: str | None, as_json: bool) -> None:
    """List the rules of one scope, or of all scopes.

    \b
    Examples:
      pydsr acl list
      pydsr acl list 198.51.100.10:22 --json
    """
    from pydsr.control.balancer import Balancer
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    endpoint = parse_scope(scope) if scope else None
    with Balancer(directory) as balancer:
        rules = balancer.rules()
        if endpoint is not None:
            balancer.service(endpoint)  # raises InputError if there is no such service
    if scope:
        rules = {endpoint: rules.get(endpoint, {})}
    show(as_json, lambda: documents.rules_document(rules), lambda: tables.rules_table(rules))
