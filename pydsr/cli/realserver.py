"""``pydsr realserver``: set up and check a backend, on the backend itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pydsr.cli.arguments import PATH
from pydsr.cli.output import json_option, plan_option
from pydsr.model.errors import InputError
from pydsr.realserver import commands
from pydsr.realserver.commands import HELP, Answer
from pydsr.realserver.files import FLAVOURS
from pydsr.realserver.record import DIRECTORY
from pydsr.realserver.standalone import archive
from pydsr.realserver.values import LOOPBACK, BackendSpec


def _spec_options(command: click.decorators.FC) -> click.decorators.FC:
    command = click.option(
        "--interface", "interfaces", multiple=True, metavar="NAME", help=HELP["--interface"]
    )(command)
    command = click.option(
        "--device", default=LOOPBACK, metavar="NAME", show_default=True, help=HELP["--device"]
    )(command)
    return click.argument("vips", nargs=-1, required=True, metavar="VIP...")(command)


def _record_option(command: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--record-directory",
        "records",
        type=PATH,
        default=DIRECTORY,
        show_default=True,
        help=HELP["--record-directory"],
    )(command)


@click.group(
    help=HELP["realserver"]
    + """

    \b
    Examples:
      pydsr realserver setup 198.51.100.10
      pydsr realserver check 198.51.100.10
      pydsr realserver standalone -o realserver.pyz
    """
)
def realserver() -> None:
    """Group the commands for backends."""


@realserver.command(
    help=HELP["setup"]
    + """

    It first stops the host from answering ARP for addresses of other interfaces, then adds the
    VIPs. It records the settings it found for `undo`. A reboot undoes everything too; files made
    with --script survive it.

    \b
    Examples:
      pydsr realserver setup 198.51.100.10 2001:db8::10
      pydsr realserver setup 198.51.100.10 --plan
      pydsr realserver setup 198.51.100.10 --device vip0 --interface eth1
      pydsr realserver setup 198.51.100.10 --script networkd --output files
      pydsr realserver setup 198.51.100.10 --script ansible > realserver.yaml
    """
)
@_spec_options
@click.option("--script", type=click.Choice(list(FLAVOURS)), help=HELP["--script"])
@click.option("--output", type=PATH, metavar="DIRECTORY", help=HELP["--output"])
@_record_option
@plan_option
def setup(
    vips: tuple[str, ...],
    device: str,
    interfaces: tuple[str, ...],
    script: str | None,
    output: Path | None,
    records: Path,
    plan_only: bool,
    as_json: bool,
) -> int:
    """Set this host up, or print files that do."""
    spec = BackendSpec.parse(vips, device, interfaces)
    if script:
        return _print(commands.make_files(spec, script, as_json, output))
    if output:
        raise InputError("--output takes --script", "name the kind of files with --script")
    return _print(commands.setup(spec, plan_only, as_json, records))


@realserver.command(
    help=HELP["check"]
    + """

    Exits with status 5 if something is missing. Warnings are for you to judge.

    \b
    Examples:
      pydsr realserver check 198.51.100.10 2001:db8::10
      pydsr realserver check 198.51.100.10 --interface eth1 --json
    """
)
@_spec_options
@json_option
def check(vips: tuple[str, ...], device: str, interfaces: tuple[str, ...], as_json: bool) -> int:
    """Check this host."""
    return _print(commands.check_host(BackendSpec.parse(vips, device, interfaces), as_json))


@realserver.command(
    help=HELP["undo"]
    + """

    It names what somebody has changed since, and leaves that as it is.

    \b
    Examples:
      pydsr realserver undo 198.51.100.10
      pydsr realserver undo --all --plan
    """
)
@click.argument("vips", nargs=-1, metavar="[VIP]...")
@click.option("--all", "every", is_flag=True, help=HELP["--all"])
@_record_option
@plan_option
def undo(vips: tuple[str, ...], every: bool, records: Path, plan_only: bool, as_json: bool) -> int:
    """Undo what setup has changed."""
    return _print(commands.undo(vips, every, plan_only, as_json, records))


@realserver.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    help="Write this file instead of stdout.",
)
def standalone(output: Path | None) -> None:
    """Write setup, check and undo into one file for backends.

    The backend needs Python 3.9 or newer and iproute2 to run it.

    \b
    Examples:
      pydsr realserver standalone -o realserver.pyz
      scp realserver.pyz backend1: && ssh backend1 sudo python3 realserver.pyz setup 198.51.100.10
    """
    if output is None:
        if sys.stdout.isatty():
            raise InputError("the file is binary and stdout is a terminal", "use -o realserver.pyz")
        click.echo(archive(), nl=False)
        return
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "wb") as file:
            file.write(archive())
        if output.is_file():  # not a device or pipe, whose mode others rely on
            output.chmod(0o755)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}", "name another file") from None


def _print(answer: Answer) -> int:
    for message in answer.messages:
        click.echo(message, err=True)
    click.echo(answer.output, nl=False)
    return answer.status
