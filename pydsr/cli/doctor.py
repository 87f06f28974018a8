"""``pydsr doctor``: problems of host, NICs, VIPs and backends, with fixes."""

from __future__ import annotations

from pathlib import Path

import click

from pydsr.cli.arguments import runtime_option
from pydsr.cli.output import json_option, show
from pydsr.model.errors import ExitStatus


@click.command()
@click.argument("interfaces", metavar="[IFACE...]", nargs=-1)
@json_option
@runtime_option
@click.pass_obj
def doctor(directory: Path, interfaces: tuple[str, ...], as_json: bool, runtime: Path) -> None:
    """Find problems of host, NICs, VIPs and backends, with fixes.

    Before anything is attached, it examines the interfaces named, or all that could be attached.
    Afterwards it examines the attached ones, asks the network who answers for each VIP, and asks
    each backend whether it accepts the VIP. It changes nothing.

    \b
    Examples:
      pydsr doctor eth0
      pydsr doctor
      pydsr doctor --json

    \b
    Exit status: 0 no error or warning (there may be advice), 5 an error or a warning,
    4 privileges are missing to examine everything.
    """
    from pydsr.daemon.client import read_health, socket_path
    from pydsr.doctor.examine import examine
    from pydsr.views.text.diagnosis import doctor_document, doctor_report

    socket = socket_path(runtime, directory)
    report = examine(directory, interfaces, lambda: read_health(socket))
    show(as_json, lambda: doctor_document(report), lambda: doctor_report(report))
    if report.lacks_privilege:
        raise SystemExit(ExitStatus.CANNOT)
    if not report.is_well:
        raise SystemExit(ExitStatus.NOT_AS_DESIRED)
