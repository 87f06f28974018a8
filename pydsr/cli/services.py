"""``pydsr services``."""

from __future__ import annotations

from pathlib import Path

import click

from pydsr.cli.arguments import ENDPOINT, NEW_ENDPOINT
from pydsr.cli.output import json_option, plan_option, show, show_impact
from pydsr.model.addresses import Endpoint
from pydsr.model.options import Affinity, ServiceOptions


@click.group()
def services() -> None:
    """Add, remove and list services.

    A service is a virtual IP with a port and protocol, such as 198.51.100.10:80 (tcp),
    198.51.100.10:53/udp, [2001:db8::10]:443 or 198.51.100.10:5060/sctp. With * for the port it
    takes every port that the VIP has no other service for.
    """


@services.command()
@click.argument("endpoint", type=NEW_ENDPOINT)
@click.option("--name", default="", help="A name to show.")
@click.option(
    "--affinity",
    type=click.Choice([affinity.value for affinity in Affinity]),
    default=Affinity.FLOW.value,
    show_default=True,
    help="What is hashed to choose a backend.",
)
@click.option("--netmask4", type=int, default=32, help="Prefix length that affinity keeps (IPv4).")
@click.option("--netmask6", type=int, default=128, help="Prefix length that affinity keeps (IPv6).")
@click.option("--one-packet", is_flag=True, help="Each packet is a flow of its own, as in DNS.")
@click.option(
    "--learn",
    type=int,
    metavar="SECONDS",
    help="How long flows are learnt after a change.  [default: 900 for tcp, 120 for udp]",
)
@click.option("--no-arp", is_flag=True, help="Do not answer ARP/ND for the VIP: it is routed here.")
@click.option(
    "--max-new-flows",
    type=int,
    default=0,
    metavar="N",
    help="New connections a second that one source network may open.  [default: no limit]",
)
@click.option(
    "--guard-netmask4",
    type=int,
    default=32,
    show_default=True,
    help="Prefix length of those networks (IPv4).",
)
@click.option(
    "--guard-netmask6",
    type=int,
    default=64,
    show_default=True,
    help="Prefix length of those networks (IPv6).",
)
@plan_option
@click.pass_obj
def add(
    directory: Path,
    endpoint: Endpoint,
    name: str,
    affinity: str,
    netmask4: int,
    netmask6: int,
    one_packet: bool,
    learn: int | None,
    no_arp: bool,
    max_new_flows: int,
    guard_netmask4: int,
    guard_netmask6: int,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Add a service without backends.

    \b
    Examples:
      pydsr services add 198.51.100.10:80 --name web
      pydsr services add 198.51.100.10:443 --affinity source --netmask4 24
      pydsr services add 198.51.100.53:53/udp --one-packet
      pydsr services add '198.51.100.10:*' --max-new-flows 100
    """
    from pydsr.control.balancer import Balancer

    options = ServiceOptions(
        name=name,
        affinity=Affinity(affinity),
        netmask4=netmask4,
        netmask6=netmask6,
        one_packet=one_packet,
        learn=learn,
        arp=not no_arp,
        max_new_flows=max_new_flows,
        guard_netmask4=guard_netmask4,
        guard_netmask6=guard_netmask6,
    )
    with Balancer(directory) as balancer:
        impact = balancer.add_service(endpoint, options, plan_only)
    show_impact(impact, plan_only, as_json)


@services.command()
@click.argument("endpoint", type=ENDPOINT)
@plan_option
@click.pass_obj
def remove(directory: Path, endpoint: Endpoint, plan_only: bool, as_json: bool) -> None:
    """Remove a service with its backends.

    \b
    Examples:
      pydsr services remove 198.51.100.10:80 --plan
      pydsr services remove 198.51.100.10:80
    """
    from pydsr.control.balancer import Balancer

    with Balancer(directory) as balancer:
        impact = balancer.remove_service(endpoint, plan_only)
    show_impact(impact, plan_only, as_json)


@services.command("list")
@json_option
@click.pass_obj
def list_(directory: Path, as_json: bool) -> None:
    """List the services.

    \b
    Examples:
      pydsr services list
      pydsr services list --json
    """
    from pydsr.control.balancer import Balancer
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    with Balancer(directory) as balancer:
        found = balancer.services()
    show(
        as_json,
        lambda: documents.services_document(found),
        lambda: tables.services_table(found),
    )
