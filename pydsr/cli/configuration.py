"""``pydsr diff``, ``apply``, ``export`` and ``schema``: the whole state as a file."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pydsr.cli.arguments import DOCUMENT, runtime_option
from pydsr.cli.output import json_option, plan_option, show_impact
from pydsr.model.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from pydsr.model.change import Impact
    from pydsr.model.desired_state import DesiredState


def _apply(
    directory: Path, file: str, runtime: Path, plan_only: bool, max_moved: float | None = None
) -> Impact:
    from pydsr.config.load import load_file
    from pydsr.control.apply import apply as apply_configuration

    # What a file is made into lives as long as the command: looking for cycles in it again and
    # again would take a sixth of the time that a large one takes.
    gc.disable()
    wanted, notes = _by_health(load_file(file), directory, runtime)
    impact = apply_configuration(directory, wanted, plan_only, max_moved)
    return replace(impact, notes=(*impact.notes, *notes))


def _by_health(
    wanted: DesiredState, directory: Path, runtime: Path
) -> tuple[DesiredState, tuple[str, ...]]:
    """Return what a file comes to by the health that the daemon knows of, and what to note."""
    checked = [service for service in wanted.services if service.health is not None]
    if not checked:
        return wanted, ()
    from pydsr.daemon.client import NoDaemonError, read_health, socket_path
    from pydsr.health.service_health import apply_health, health_from_document

    try:
        document = read_health(socket_path(runtime.absolute(), directory))
    except NoDaemonError:
        first, more = checked[0].endpoint, len(checked) - 1
        of = f"{first} and {more} more services" if more else f"{first}"
        note = f"nobody checks the health of {of}: pydsr run does; backends are as in the file"
        return wanted, (note,)
    return apply_health(wanted, health_from_document(document)), ()


@click.command()
@click.argument("file", type=click.Path(readable=False, allow_dash=True))
@runtime_option
@json_option
@click.pass_obj
def diff(directory: Path, file: str, runtime: Path, as_json: bool) -> None:
    """Show what applying a file would change: exit status 5 if anything, 0 if nothing.

    FILE may be - for stdin. Interfaces that are attached but not in the file are named; they make
    no difference, since apply leaves them. Nor does what the daemon's health checks have taken out.

    \b
    Examples:
      pydsr diff balancer.yaml
      pydsr diff balancer.yaml --json
      pydsr export | ssh other pydsr diff -
    """
    impact = _apply(directory, file, runtime, plan_only=True)
    show_impact(impact, plan_only=True, as_json=as_json)
    if impact.changes:
        raise SystemExit(ExitStatus.NOT_AS_DESIRED)


@click.command()
@click.argument("file", type=click.Path(readable=False, allow_dash=True))
@click.option(
    "--max-moved",
    type=float,
    metavar="PERCENT",
    help="Change nothing if more than this share of any service's slots would move.",
)
@runtime_option
@plan_option
@click.pass_obj
def apply(
    directory: Path,
    file: str,
    max_moved: float | None,
    runtime: Path,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Make the state that of a file: the file is all there is to be.

    Services that it does not name are removed, interfaces that it names are attached; others stay
    attached. Everything is checked first, and a file that is wrong changes nothing. Each service
    changes in one step, and no flow of a backend that stays is broken, but for those of a service
    whose affinity or netmask changes. Health checks are made by `pydsr run` only; where it runs,
    what it has taken out stays out.

    FILE may be - for stdin. docs/example.yaml shows all that can be in one; `pydsr schema` tells
    editors; `pydsr export` writes one to begin with.

    \b
    Examples:
      pydsr apply balancer.yaml --plan
      pydsr apply balancer.yaml
      pydsr apply balancer.yaml --max-moved 10
    """
    if max_moved is not None and not 0 <= max_moved <= 100:
        raise InputError(f"{max_moved:g} is no share of slots", "use 0 to 100 percent")
    impact = _apply(directory, file, runtime, plan_only, max_moved)
    show_impact(impact, plan_only, as_json)


@click.command()
@click.pass_obj
def export(directory: Path) -> None:
    """Print the whole state as a file that applies to the same.

    Addresses that ARP/ND finds are written without their MACs. The file has the key of the flow
    hash (seed): who knows it can choose the backend of a flow.

    \b
    Examples:
      pydsr export > balancer.yaml
    """
    from pydsr.config.export import write_text
    from pydsr.control.diff import read_desired_state

    click.echo(write_text(read_desired_state(directory)), nl=False)


@click.command()
@click.option(
    "--of",
    "name",
    type=DOCUMENT,
    default="config",
    show_default=True,
    help="What it is of: config is the file, any other what --json prints of it.",
)
def schema(name: str) -> None:
    """Print a JSON Schema: of the file, for editors, or of what --json prints, for scripts.

    \b
    Documents: status, services, backends, vips, acl, stats, reasons, explain, frame, packet, plan,
    health, event. Keys may be added to them; those that are there stay.

    \b
    Examples:
      pydsr schema > pydsr.schema.json
      pydsr schema --of stats
    Then begin the file with the line
      # yaml-language-server: $schema=pydsr.schema.json
    """
    import json

    click.echo(json.dumps(_schema_of(name), indent=2))


def _schema_of(name: str) -> dict[str, Any]:
    if name == "config":
        from pydsr.config.schema import json_schema

        return json_schema()
    from pydsr.views.json.schemas import KINDS, document_schema

    if name not in KINDS:
        raise InputError(
            f"there is no document {name!r}", f"name one of config, {', '.join(KINDS)}"
        )
    return document_schema(name)
