"""``pydsr backends``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pydsr.cli.arguments import BACKEND, BACKEND_ADDRESS, ENDPOINT
from pydsr.cli.output import json_option, plan_option, show, show_impact
from pydsr.control.edits import (
    AddBackends,
    BackendEdit,
    ChangeState,
    RemoveBackends,
    SetBackends,
)
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.errors import PydsrError
from pydsr.model.service import BackendState, DesiredBackend

if TYPE_CHECKING:
    from pydsr.control.snapshot import RemainingFlows

_WAIT_POLL_SECONDS = 0.5


@click.group()
def backends() -> None:
    """Set, add, remove and list the backends of a service.

    A backend is ADDR[=WEIGHT][@MAC]: its address on a network of the balancer, its weight
    (1 where none is said), and its MAC where it is not to be found by ARP/ND. Only the MAC
    matters to packets, so a backend named by its IPv4 address may serve an IPv6 VIP.
    """


def _of(kind: click.ParamType[Any], name: str) -> Callable[[Callable[..., None]], Any]:
    """Give a command a service, some of its backends, and ``--plan``."""

    def decorate(command: Callable[..., None]) -> Any:
        command = plan_option(click.pass_obj(command))
        backends = click.argument(name, metavar="BACKEND...", type=kind, nargs=-1, required=True)
        return click.argument("endpoint", type=ENDPOINT)(backends(command))

    return decorate


def _change(directory: Path, edit: BackendEdit, plan_only: bool, as_json: bool) -> None:
    from pydsr.control.balancer import Balancer

    with Balancer(directory) as balancer:
        impact = balancer.change(edit, plan_only)
    show_impact(impact, plan_only, as_json)


@backends.command("set")
@_of(BACKEND, "specs")
def set_(
    directory: Path,
    endpoint: Endpoint,
    specs: tuple[DesiredBackend, ...],
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
    _change(directory, SetBackends(endpoint, specs), plan_only, as_json)


@backends.command()
@_of(BACKEND, "specs")
def add(
    directory: Path,
    endpoint: Endpoint,
    specs: tuple[DesiredBackend, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Add backends, or change the weight of those there are.

    \b
    Examples:
      pydsr backends add 198.51.100.10:80 198.51.100.23
      pydsr backends add 198.51.100.10:80 198.51.100.23=5
    """
    _change(directory, AddBackends(endpoint, specs), plan_only, as_json)


@backends.command()
@_of(BACKEND_ADDRESS, "addresses")
def remove(
    directory: Path,
    endpoint: Endpoint,
    addresses: tuple[IPAddress, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Remove backends; the flows they still have go to others, and break.

    Drain them first to break none: pydsr backends drain --wait.

    \b
    Examples:
      pydsr backends remove 198.51.100.10:80 198.51.100.23 --plan
      pydsr backends remove 198.51.100.10:80 198.51.100.23
    """
    _change(directory, RemoveBackends(endpoint, addresses), plan_only, as_json)


def _show_remaining(left: RemainingFlows) -> None:
    click.echo(f"{left.recorded} recorded flows left", nl=False, err=True)
    if left.learning_seconds:
        click.echo(f"; silent ones may show up for {left.learning_seconds:.0f} s more", err=True)
    else:
        click.echo(err=True)


def _wait_until_empty(
    directory: Path, endpoint: Endpoint, addresses: tuple[IPAddress, ...], timeout: float | None
) -> None:
    """Wait until drained backends have no flow left, and say what is."""
    from pydsr.control.balancer import Balancer

    deadline = None if timeout is None else time.monotonic() + timeout
    shown = None
    with Balancer(directory) as balancer:
        while not (left := balancer.remaining_flows(endpoint, addresses)).is_none:
            if left.recorded != shown:
                _show_remaining(left)
                shown = left.recorded
            if deadline is not None and time.monotonic() > deadline:
                raise PydsrError(
                    f"after {timeout:g} s there are flows left, or may be",
                    "the backends stay drained: wait again, or remove them and break those flows",
                )
            time.sleep(_WAIT_POLL_SECONDS)
        balancer.collect_garbage()
    click.echo("nothing is left: removing them breaks nothing", err=True)


@backends.command()
@click.option("--wait", is_flag=True, help="Return when no flow is left on them.")
@click.option("--timeout", type=float, metavar="SECONDS", help="With --wait: give up (exit 1).")
@_of(BACKEND_ADDRESS, "addresses")
def drain(
    directory: Path,
    endpoint: Endpoint,
    addresses: tuple[IPAddress, ...],
    wait: bool,
    timeout: float | None,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Give backends no new flows; those they have stay until they end.

    Weight 0 does the same. A flow that has been silent since before the drain is unknown until
    it sends again or the service's learning time is over, so --wait takes at least that long
    (see `pydsr services add --learn`).

    \b
    Examples:
      pydsr backends drain 198.51.100.10:80 198.51.100.23
      pydsr backends drain 198.51.100.10:80 198.51.100.23 --wait --timeout 3600
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait.")
    edit = ChangeState(endpoint, addresses, BackendState.DRAIN)
    _change(directory, edit, plan_only, as_json)
    if wait and not plan_only:
        _wait_until_empty(directory, endpoint, addresses, timeout)


@backends.command()
@_of(BACKEND_ADDRESS, "addresses")
def undrain(
    directory: Path,
    endpoint: Endpoint,
    addresses: tuple[IPAddress, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Give backends new flows again, after a drain or after they were down.

    \b
    Examples:
      pydsr backends undrain 198.51.100.10:80 198.51.100.23
    """
    _change(directory, ChangeState(endpoint, addresses, BackendState.UP), plan_only, as_json)


@backends.command()
@_of(BACKEND_ADDRESS, "addresses")
def down(
    directory: Path,
    endpoint: Endpoint,
    addresses: tuple[IPAddress, ...],
    plan_only: bool,
    as_json: bool,
) -> None:
    """Mark backends dead: all their flows go to others at once, until `undrain`.

    \b
    Examples:
      pydsr backends down 198.51.100.10:80 198.51.100.23
    """
    _change(directory, ChangeState(endpoint, addresses, BackendState.DOWN), plan_only, as_json)


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
    from pydsr.control.balancer import Balancer
    from pydsr.kernel.net.links import interface_names
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    with Balancer(directory) as balancer:
        found = balancer.services() if endpoint is None else (balancer.service(endpoint),)
    names = interface_names()
    show(
        as_json,
        lambda: documents.backends_document(found, names),
        lambda: tables.backends_table(found, names),
    )
