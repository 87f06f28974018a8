"""``pydsr run`` and ``pydsr events``: the daemon, and what happened."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import LISTEN, PATH, runtime_option
from pydsr.cli.output import json_option
from pydsr.model.errors import InputError, PydsrError

if TYPE_CHECKING:
    from pydsr.model.listen import Listen

_log = logging.getLogger(__name__)


@click.command()
@click.argument("file", type=PATH)
@click.option(
    "--notify", metavar="COMMAND", help="Run this for every event, with the event as JSON on stdin."
)
@click.option("--detach-on-exit", is_flag=True, help="Detach the data plane when the daemon ends.")
@click.option(
    "--metrics",
    type=LISTEN,
    envvar="PYDSR_METRICS",
    help="Serve /metrics for Prometheus at this address, such as 127.0.0.1:9477.",
)
@click.option(
    "--web",
    type=LISTEN,
    envvar="PYDSR_WEB",
    help="Serve the read-only status page at this address, such as 127.0.0.1:8080.",
)
@runtime_option
@click.pass_obj
def run(
    directory: Path,
    file: Path,
    notify: str | None,
    detach_on_exit: bool,
    metrics: Listen | None,
    web: Listen | None,
    runtime: Path,
) -> None:
    """Run the daemon, which keeps a file in force.

    The daemon applies the file when it starts, when the file changes and on SIGHUP. A file with
    errors changes nothing. Changes made by commands last until the next reload; `pydsr diff FILE`
    shows them. The daemon follows MACs of backends as they change, and interfaces as they go and
    come back.

    SIGTERM ends the daemon; the data plane goes on without it. packaging/pydsr.service runs it
    under systemd.

    The status page has no password and changes nothing. Everyone who can reach its address can read
    it.

    \b
    Examples:
      pydsr run /etc/pydsr/balancer.yaml
      pydsr run balancer.yaml --web 127.0.0.1:8080
      pydsr run balancer.yaml --notify 'logger -t pydsr'
      pydsr run balancer.yaml --metrics 127.0.0.1:9477
      pydsr events --follow
    """
    import asyncio

    from pydsr.daemon.daemon import Daemon, Options
    from pydsr.daemon.journal import set_up_logging

    in_journal = set_up_logging()
    options = Options(
        directory, file.absolute(), runtime, _split(notify), detach_on_exit, metrics, web
    )
    try:
        asyncio.run(Daemon(options).run())
    except PydsrError as error:
        if not in_journal:
            raise
        _log.error("%s", f"{error.message}\n{error.hint}".strip())
        raise SystemExit(error.status) from None


def _split(command: str | None) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command or ""))
    except ValueError as error:
        raise InputError(f"--notify {command!r} is no command: {error}") from None
    if command is not None and not words:
        raise InputError("--notify names no command", "name a program with its arguments")
    return words


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Print new events as they happen.")
@json_option
@runtime_option
@click.pass_obj
def events(directory: Path, follow: bool, as_json: bool, runtime: Path) -> None:
    """Show what happened: changed MACs, lost links, reloads.

    It asks the running daemon, which keeps about the last thousand events since it started. With
    --json each event is one line.

    \b
    Examples:
      pydsr events
      pydsr events --follow --json
    """
    from pydsr.daemon.client import read_events, socket_path
    from pydsr.views.text.diagnosis import event_line

    for line in read_events(socket_path(runtime, directory), follow):
        click.echo(line if as_json else event_line(json.loads(line)))
