"""``pydsr backends``: the backends of a service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pydsr.cli.arguments import BACKEND, BACKEND_ADDRESS, ENDPOINT
from pydsr.cli.output import change, edit_command, json_option, plan_option, show
from pydsr.control.edits import AddBackends, ChangeState, Edit, RemoveBackends, SetBackends
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.service import BackendState, DesiredBackend

Command = Callable[..., None]
_WAIT_POLL_SECONDS = 0.5


@click.group()
def backends() -> None:
    """Set, add, remove and list the backends of a service.

    BACKEND is ADDR[=WEIGHT][@MAC[%VLAN]]: an address on a network of the balancer, a weight
    (default 1), and a MAC if ARP/ND cannot resolve it. The balancer rewrites the MAC only, so a
    backend with an IPv4 address can serve an IPv6 VIP.
    """


def _arguments(kind: click.ParamType[Any], name: str) -> Callable[[Command], Command]:
    """Add arguments for a service and some backends."""

    def decorate(command: Command) -> Command:
        backends = click.argument(name, metavar="BACKEND...", type=kind, nargs=-1, required=True)
        return click.argument("endpoint", type=ENDPOINT)(backends(command))

    return decorate


@backends.command("set")
@_arguments(BACKEND, "specs")
@edit_command
def set_(endpoint: Endpoint, specs: tuple[DesiredBackend, ...]) -> Edit:
    """Replace all backends of a service in one step.

    It creates the service if there is none.

    \b
    Examples:
      pydsr backends set 198.51.100.10:80 198.51.100.21 198.51.100.22
      pydsr backends set 198.51.100.10:80 198.51.100.21=3 198.51.100.22=1
      pydsr backends set [2001:db8::10]:80 198.51.100.21@02:00:00:00:00:21
    """
    return SetBackends(endpoint, specs)


@backends.command()
@_arguments(BACKEND, "specs")
@edit_command
def add(endpoint: Endpoint, specs: tuple[DesiredBackend, ...]) -> Edit:
    """Add backends, or change the weights of existing ones.

    \b
    Examples:
      pydsr backends add 198.51.100.10:80 198.51.100.23
      pydsr backends add 198.51.100.10:80 198.51.100.23=5
    """
    return AddBackends(endpoint, specs)


@backends.command()
@_arguments(BACKEND_ADDRESS, "addresses")
@edit_command
def remove(endpoint: Endpoint, addresses: tuple[IPAddress, ...]) -> Edit:
    """Remove backends, which breaks the flows they still have.

    To break no flow, drain them first: pydsr backends drain --wait.

    \b
    Examples:
      pydsr backends remove 198.51.100.10:80 198.51.100.23 --plan
      pydsr backends remove 198.51.100.10:80 198.51.100.23
    """
    return RemoveBackends(endpoint, addresses)


def _wait_until_drained(
    directory: Path, endpoint: Endpoint, addresses: tuple[IPAddress, ...], timeout: float | None
) -> None:
    from pydsr.control.balancer import Balancer

    with Balancer(directory) as balancer:
        for left in balancer.wait_until_drained(endpoint, addresses, timeout, _WAIT_POLL_SECONDS):
            seconds = left.learning_seconds
            more = f"; silent ones may reappear for another {seconds:.0f} s" if seconds else ""
            click.echo(f"{left.recorded} recorded flows left{more}", err=True)
    click.echo("no flows left: the backends can be removed without breaking any", err=True)


@backends.command()
@click.option("--wait", is_flag=True, help="Wait until the backends have no flows left.")
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="With --wait: give up after this time, with exit status 1.",
)
@_arguments(BACKEND_ADDRESS, "addresses")
@plan_option
@click.pass_obj
def drain(
    directory: Path,
    endpoint: Endpoint,
    addresses: tuple[IPAddress, ...],
    wait: bool,
    timeout: float | None,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Give backends no new flows; their existing flows stay.

    Weight 0 does the same. A flow shows that it exists only when it sends, so --wait takes at least
    the service's learning time (see `pydsr services add --learn`).

    \b
    Examples:
      pydsr backends drain 198.51.100.10:80 198.51.100.23
      pydsr backends drain 198.51.100.10:80 198.51.100.23 --wait --timeout 3600
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait.")
    edit = ChangeState(endpoint, addresses, BackendState.DRAIN)
    change(directory, edit, plan_only, as_json)
    if wait and not plan_only:
        _wait_until_drained(directory, endpoint, addresses, timeout)


@backends.command()
@_arguments(BACKEND_ADDRESS, "addresses")
@edit_command
def undrain(endpoint: Endpoint, addresses: tuple[IPAddress, ...]) -> Edit:
    """Give backends new flows again, after drain or down.

    \b
    Examples:
      pydsr backends undrain 198.51.100.10:80 198.51.100.23
    """
    return ChangeState(endpoint, addresses, BackendState.UP)


@backends.command()
@_arguments(BACKEND_ADDRESS, "addresses")
@edit_command
def down(endpoint: Endpoint, addresses: tuple[IPAddress, ...]) -> Edit:
    """Take backends out at once; their flows go to others.

    They stay down until `pydsr backends undrain`.

    \b
    Examples:
      pydsr backends down 198.51.100.10:80 198.51.100.23
    """
    return ChangeState(endpoint, addresses, BackendState.DOWN)


@backends.command("list")
@click.argument("endpoint", type=ENDPOINT, required=False)
@json_option
@click.pass_obj
def list_(directory: Path, endpoint: Endpoint | None, as_json: bool) -> None:
    """List the backends of one service, or of all services.

    \b
    Examples:
      pydsr backends list
      pydsr backends list 198.51.100.10:80 --json
    """
    from pydsr.control.balancer import Balancer
    from pydsr.kernel.net.links import interface_names
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    with Balancer(directory) as balancer:
        listed = balancer.services() if endpoint is None else (balancer.service(endpoint),)
    names = interface_names()
    show(
        as_json,
        lambda: documents.backends_document(listed, names),
        lambda: tables.backends_table(listed, names),
    )
