"""``pydsr doctor``: what is wrong, why it matters, and what mends it."""

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
    """Look at host, interfaces, VIPs and backends, and say what is wrong and what mends it.

    Before anything is attached it looks at the interfaces named, or at those that could be
    attached; later at those that are, and asks the network who answers for each VIP and each
    backend whether it accepts it. It changes nothing.

    \b
    Examples:
      pydsr doctor eth0
      pydsr doctor
      pydsr doctor --json

    \b
    Exit status: 0 nothing is wrong (there may be advice), 5 there is an error or a warning,
    4 a privilege is missing to look at all.
    """
    from pydsr.daemon.runtime import socket_path
    from pydsr.daemon.server import read_health
    from pydsr.doctor.examination import examine
    from pydsr.views.text.doctor import doctor_document, doctor_report

    socket = socket_path(runtime.absolute(), directory)
    report = examine(directory, interfaces, lambda: read_health(socket))
    show(as_json, lambda: doctor_document(report), lambda: doctor_report(report))
    if report.lacks_privilege:
        raise SystemExit(ExitStatus.CANNOT)
    if not report.is_well:
        raise SystemExit(ExitStatus.NOT_AS_DESIRED)
