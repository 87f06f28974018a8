"""``pydsr vips``: virtual IPs, and packets for their ports without a service."""

from __future__ import annotations

from pathlib import Path

import click

from pydsr.cli.arguments import VIP
from pydsr.cli.output import edit_command, json_option, show
from pydsr.control.edits import Edit, SetVipPolicy
from pydsr.model.addresses import IPAddress
from pydsr.model.service import Unserved


@click.group()
def vips() -> None:
    """List virtual IPs, and set a policy for unserved ports.

    A VIP exists as long as it has a service.
    """


@vips.command("set")
@click.argument("vip", type=VIP)
@click.option(
    "--unserved",
    type=click.Choice([policy.value for policy in Unserved]),
    required=True,
    help="count: drop, counted as no_service (the default). drop: drop, counted as "
    "unserved_dropped, which keeps intended drops apart. pass: hand the packet to the kernel "
    "of this host, which does not have the VIP; make sure that it does not route the packet back.",
)
@edit_command
def set_(vip: IPAddress, unserved: str) -> Edit:
    """Set what happens to packets for a VIP's ports without a service.

    \b
    Examples:
      pydsr vips set 198.51.100.10 --unserved drop
      pydsr vips set 198.51.100.10 --unserved pass --plan
    """
    return SetVipPolicy(vip, Unserved(unserved))


@vips.command("list")
@json_option
@click.pass_obj
def list_(directory: Path, as_json: bool) -> None:
    """List the virtual IPs.

    \b
    Examples:
      pydsr vips list
      pydsr vips list --json
    """
    from pydsr.control.balancer import Balancer
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    with Balancer(directory) as balancer:
        listed = balancer.vips()
    show(as_json, lambda: documents.vips_document(listed), lambda: tables.vips_table(listed))
