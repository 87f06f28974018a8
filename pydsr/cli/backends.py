"""``pydsr backends``."""

from __future__ import annotations

from pathlib import Path

import click

from pydsr import planner
from pydsr.balancer import Balancer
from pydsr.cli.arguments import ADDRESS, BACKEND, ENDPOINT
from pydsr.cli.output import json_option, plan_option, show, show_impact
from pydsr.model import BackendSpec, Endpoint, IPAddress


@click.group()
def backends() -> None:
    """Set, add, remove and list the backends of a service.

    A backend is ADDR[=WEIGHT][@MAC]: its address on a network of the balancer, its weight
    (1 where none is said), and its MAC where it is not to be found by ARP/ND. Only the MAC
    matters to packets, so a backend named by its IPv4 address may serve an IPv6 VIP.
    """


def _change(
    directory: Path,
    endpoint: Endpoint,
    edit: planner.Edit,
    plan_only: bool,
    as_json: bool,
    create: bool = False,
) -> None:
    with Balancer(directory) as balancer:
        impact = balancer.change_backends(endpoint, edit, plan_only, create)
    show_impact(impact, plan_only, as_json)


@backends.command("set")
@click.argument("endpoint", type=ENDPOINT)
@click.argument("specs", metavar="BACKEND...", type=BACKEND, nargs=-1, required=True)
@plan_option
@click.pass_obj
def set_(
    directory: Path,
    endpoint: Endpoint,
    specs: tuple[BackendSpec, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Replace the whole set of backends at once; creates the service if need be.

    \b
    Examples:
      pydsr backends set 198.51.100.10:80 198.51.100.21 198.51.100.22
      pydsr backends set 198.51.100.10:80 198.51.100.21=3 198.51.100.22=1
      pydsr backends set [2001:db8::10]:80 198.51.100.21@02:00:00:00:00:21
    """
    edit = planner.set_backends(endpoint, specs)
    _change(directory, endpoint, edit, plan_only, as_json, create=True)


@backends.command()
@click.argument("endpoint", type=ENDPOINT)
@click.argument("specs", metavar="BACKEND...", type=BACKEND, nargs=-1, required=True)
@plan_option
@click.pass_obj
def add(
    directory: Path,
    endpoint: Endpoint,
    specs: tuple[BackendSpec, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Add backends, or change the weight of those there are.

    \b
    Examples:
      pydsr backends add 198.51.100.10:80 198.51.100.23
      pydsr backends add 198.51.100.10:80 198.51.100.23=5
    """
    edit = planner.add_backends(endpoint, specs)
    _change(directory, endpoint, edit, plan_only, as_json)


@backends.command()
@click.argument("endpoint", type=ENDPOINT)
@click.argument("addresses", metavar="BACKEND...", type=ADDRESS, nargs=-1, required=True)
@plan_option
@click.pass_obj
def remove(
    directory: Path,
    endpoint: Endpoint,
    addresses: tuple[IPAddress, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Remove backends; the flows they have go to others.

    \b
    Examples:
      pydsr backends remove 198.51.100.10:80 198.51.100.23 --plan
      pydsr backends remove 198.51.100.10:80 198.51.100.23
    """
    edit = planner.remove_backends(addresses)
    _change(directory, endpoint, edit, plan_only, as_json)


@backends.command("list")
@click.argument("endpoint", type=ENDPOINT, required=False)
@json_option
@click.pass_obj
def list_(directory: Path, endpoint: Endpoint | None, as_json: bool) -> None:
    """List backends, of one service or of all.

    \b
    Examples:
      pydsr backends list
      pydsr backends list 198.51.100.10:80 --json
    """
    from pydsr.kernel.links import interface_names
    from pydsr.view import documents, tables

    with Balancer(directory) as balancer:
        found = balancer.services() if endpoint is None else (balancer.service(endpoint),)
    names = interface_names()
    show(
        as_json,
        lambda: documents.backends_document(found, names),
        lambda: tables.backends_table(found, names),
    )
