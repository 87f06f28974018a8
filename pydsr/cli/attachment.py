"""``pydsr attach``, ``detach`` and ``status``."""

from __future__ import annotations

from pathlib import Path

import click

from pydsr.cli.arguments import ATTACHED, INTERFACE
from pydsr.cli.output import json_option, plan_option, show, show_impact
from pydsr.model.change import Change, Impact
from pydsr.model.errors import ExitStatus
from pydsr.model.service import parse_seed


@click.command()
@click.argument("interfaces", metavar="[IFACE...]", type=INTERFACE, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Upgrade it on every interface it is on.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "native", "generic"]),
    default="auto",
    show_default=True,
    help="Native runs in the driver; generic works anywhere, slowly; auto tries native first.",
)
@click.option(
    "--table-size",
    type=int,
    metavar="PRIME",
    help="Slots of a service's table: 100 or more for each backend.  [default: 65537]",
)
@click.option(
    "--seed", metavar="HEX", help="Key of the flow hash: balancers with the same one agree."
)
@click.option(
    "--with",
    "asked",
    multiple=True,
    metavar="FEATURE",
    help="Compile a feature in that nothing needs yet: vlan, redirect, fragments, every-port, acl, "
    "guard, tap.",
)
@click.option("--without", "refused", multiple=True, metavar="FEATURE", help="Leave one out.")
@plan_option
@click.pass_obj
def attach(
    directory: Path,
    interfaces: tuple[str, ...],
    everything: bool,
    mode: str,
    table_size: int | None,
    seed: str | None,
    asked: tuple[str, ...],
    refused: tuple[str, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Put the balancer on interfaces, or upgrade it where it already is.

    An upgrade in place replaces the program between two packets. Services, backends and
    counters stay. What the configuration does not use is not compiled in; a change that needs
    more upgrades the program by itself.

    \b
    Examples:
      pydsr attach eth0
      pydsr attach eth0 eth1 --mode native
      pydsr attach eth0 --table-size 131071
      pydsr attach eth0 --with vlan,acl --without tap
      pydsr attach --all
    """
    from pydsr.control import attach as attachment
    from pydsr.control.attached_interfaces import attached
    from pydsr.model.features import parse_features

    if everything == bool(interfaces):
        raise click.UsageError("Name interfaces, or --all.")
    if everything:
        interfaces = tuple(one.name for one in attached(directory))
    options = attachment.AttachOptions(
        mode,
        table_size,
        None if seed is None else parse_seed(seed),
        parse_features(asked),
        parse_features(refused),
    )
    if plan_only:
        show_impact(attachment.plan_attach(directory, interfaces, options), plan_only, as_json)
        return
    done = attachment.attach(directory, interfaces, options)
    if as_json:
        actions = ("upgrade" if one.upgraded else "attach" for one in done)
        names = (one.name for one in done)
        show_impact(Impact(tuple(map(Change, actions, names))), plan_only, as_json)
        return
    for one in done:
        verb = "upgraded in place" if one.upgraded else "attached"
        click.echo(f"{one.name}: {verb}, {one.mode} mode, program {one.program_id}")


@click.command()
@click.argument("interfaces", metavar="[IFACE...]", type=ATTACHED, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Detach from every interface.")
@click.option("--purge", is_flag=True, help="With --all: forget all services as well.")
@plan_option
@click.pass_obj
def detach(
    directory: Path,
    interfaces: tuple[str, ...],
    everything: bool,
    purge: bool,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Take the balancer off interfaces.

    Services and backends stay for the next attach, unless they are purged.

    \b
    Examples:
      pydsr detach eth0
      pydsr detach --all --purge
    """
    from pydsr.control import detach as detachment

    if everything == bool(interfaces):
        raise click.UsageError("Name interfaces, or --all.")
    if purge and not everything:
        raise click.UsageError("--purge needs --all.")
    if plan_only:
        show_impact(detachment.plan_detach(directory, interfaces, purge), plan_only, as_json)
        return
    names = detachment.detach(directory, interfaces, purge)
    if as_json:
        changes = (Change("detach", name) for name in names)
        show_impact(Impact(tuple(changes)), plan_only, as_json)
        return
    for name in names:
        click.echo(f"{name}: detached")


@click.command()
@click.option("--check", is_flag=True, help="Exit with 5 if the balancer cannot do its work.")
@json_option
@click.pass_obj
def status(directory: Path, check: bool, as_json: bool) -> None:
    """Show where the balancer is attached, in which mode, what it serves and can do.

    \b
    Examples:
      pydsr status
      pydsr status --json
      pydsr status --check
    """
    from pydsr.control.balancer import Balancer
    from pydsr.control.snapshot import find_problems
    from pydsr.kernel.bpf.layout import LAYOUT_VERSION
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    with Balancer(directory) as balancer:
        services = balancer.services()
        parts = (
            balancer.interfaces(),
            len(services),
            sum(len(service.backends) for service in services),
            LAYOUT_VERSION,
            balancer.features(),
        )
    show(
        as_json,
        lambda: documents.status_document(*parts),
        lambda: tables.status_table(*parts),
    )
    if check and (problems := find_problems(parts[0], services)):
        for problem in problems:
            click.echo(f"pydsr: {problem}", err=True)
        raise SystemExit(ExitStatus.NOT_AS_DESIRED)
