"""``pydsr attach``, ``detach`` and ``status``: the program on interfaces."""

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
@click.option("--all", "everything", is_flag=True, help="Upgrade all attached interfaces.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "native", "generic"]),
    default="auto",
    show_default=True,
    help="native runs in the driver; generic works anywhere, slowly; auto tries native first.",
)
@click.option(
    "--table-size",
    type=int,
    metavar="PRIME",
    help="Slots in each service's table: at least 100 for each backend.  [default: 65537]",
)
@click.option(
    "--seed",
    metavar="HEX",
    help="Key of the flow hash; balancers with one key choose alike.",
)
@click.option(
    "--with",
    "included",
    multiple=True,
    metavar="FEATURE",
    help="Compile in a feature that nothing uses yet: vlan, redirect, fragments, every-port, acl, "
    "guard, tap.",
)
@click.option(
    "--without", "excluded", multiple=True, metavar="FEATURE", help="Leave a feature out."
)
@plan_option
@click.pass_obj
def attach(
    directory: Path,
    interfaces: tuple[str, ...],
    everything: bool,
    mode: str,
    table_size: int | None,
    seed: str | None,
    included: tuple[str, ...],
    excluded: tuple[str, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Attach the balancer to interfaces, or upgrade its program.

    On an interface that is attached already, the program is upgraded. An upgrade replaces the
    program between two packets; services, backends and counters stay. The program has only those
    features that the configuration uses. A change that needs another feature upgrades the program
    by itself.

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
        raise click.UsageError("Name interfaces, or use --all.")
    if everything:
        interfaces = tuple(each.name for each in attached(directory))
    options = attachment.AttachOptions(
        mode,
        table_size,
        None if seed is None else parse_seed(seed),
        parse_features(included),
        parse_features(excluded),
    )
    if plan_only:
        show_impact(attachment.plan_attach(directory, interfaces, options), plan_only, as_json)
        return
    done = attachment.attach(directory, interfaces, options)
    if as_json:
        changes = (Change("upgrade" if each.upgraded else "attach", each.name) for each in done)
        show_impact(Impact(tuple(changes)), plan_only, as_json)
        return
    for each in done:
        verb = "upgraded in place" if each.upgraded else "attached"
        click.echo(f"{each.name}: {verb}, {each.mode} mode, program {each.program_id}")


@click.command()
@click.argument("interfaces", metavar="[IFACE...]", type=ATTACHED, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Detach from every interface.")
@click.option("--purge", is_flag=True, help="With --all: delete all services as well.")
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
    """Detach the balancer from interfaces.

    Services and backends stay for the next attach, unless --purge deletes them.

    \b
    Examples:
      pydsr detach eth0
      pydsr detach --all --purge
    """
    from pydsr.control import detach as detachment

    if everything == bool(interfaces):
        raise click.UsageError("Name interfaces, or use --all.")
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
@click.option("--check", is_flag=True, help="Exit with status 5 if the balancer cannot work.")
@json_option
@click.pass_obj
def status(directory: Path, check: bool, as_json: bool) -> None:
    """Show interfaces, services and features of the program.

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
