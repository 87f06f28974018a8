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


def _apply(
    directory: Path, file: str, runtime: Path, plan_only: bool, max_moved: float | None = None
) -> Impact:
    from pydsr.config.load import load_file
    from pydsr.control.apply import apply as apply_state
    from pydsr.daemon.client import with_daemon_health

    # The objects made from the file live as long as the command: garbage collection would scan
    # them again and again, and take a sixth of the time for a large file.
    gc.disable()
    desired, notes = with_daemon_health(load_file(file), runtime.absolute(), directory)
    impact = apply_state(directory, desired, plan_only, max_moved)
    return replace(impact, notes=(*impact.notes, *notes))


@click.command()
@click.argument("file", type=click.Path(readable=False, allow_dash=True))
@runtime_option
@json_option
@click.pass_obj
def diff(directory: Path, file: str, runtime: Path, as_json: bool) -> None:
    """Show what applying a file would change.

    Exits with status 5 if anything would change, and 0 if not. FILE may be - for stdin. Attached
    interfaces that the file does not name are listed as notes; apply leaves them attached. Weights
    that the daemon's health checks have changed are no difference.

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
    """Make the balancer match a file.

    Services that the file does not name are removed. Interfaces that it names are attached; others
    stay attached. The file is checked first, and an error in it changes nothing. Each service
    changes in one step. Flows of backends that stay are not broken, except where the affinity or
    netmask of a service changes. Only `pydsr run` does health checks; while it runs, backends that
    it has taken out stay out.

    FILE may be - for stdin. docs/example.yaml shows every key, `pydsr schema` helps editors, and
    `pydsr export` writes a file to start from.

    \b
    Examples:
      pydsr apply balancer.yaml --plan
      pydsr apply balancer.yaml
      pydsr apply balancer.yaml --max-moved 10
    """
    if max_moved is not None and not 0 <= max_moved <= 100:
        raise InputError(f"--max-moved {max_moved:g} is out of range", "use 0 to 100 percent")
    impact = _apply(directory, file, runtime, plan_only, max_moved)
    show_impact(impact, plan_only, as_json)


@click.command()
@click.pass_obj
def export(directory: Path) -> None:
    """Print the live state as a configuration file.

    MACs that ARP/ND resolves are left out. Keep the file private: whoever knows its seed, the key
    of the flow hash, can choose the backend of a flow.

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
    help="config for the file, or the name of a document that --json prints.",
)
def schema(name: str) -> None:
    """Print a JSON Schema of the file, or of a JSON document.

    Editors use the schema of the file, scripts the schemas of what --json prints.

    \b
    Documents: status, services, backends, vips, acl, stats, reasons, top, explain, frame, packet,
    plan, health, doctor, event, realserver-check, realserver-change, realserver-files. New keys may
    be added to them; existing ones stay.

    \b
    Examples:
      pydsr schema > pydsr.schema.json
      pydsr schema --of stats
    Then start the file with the line
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
