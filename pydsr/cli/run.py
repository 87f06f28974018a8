"""``pydsr run`` and ``pydsr events``: the daemon, and what it says has happened."""

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
    "--notify",
    metavar="COMMAND",
    help="Run this for every event, which it gets as JSON on its stdin.",
)
@click.option(
    "--detach-on-exit", is_flag=True, help="Take the data plane off when the daemon ends."
)
@click.option(
    "--metrics",
    type=LISTEN,
    envvar="PYDSR_METRICS",
    help="Serve /metrics for Prometheus there, such as 127.0.0.1:9477.",
)
@click.option(
    "--web",
    type=LISTEN,
    envvar="PYDSR_WEB",
    help="Serve the status page there, to look at only; such as 127.0.0.1:8080.",
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
    """Run the daemon: apply a file, and keep the balancer as it says.

    The file is applied at the start, and again when it changes or SIGHUP comes; one that is wrong
    changes nothing. What commands change meanwhile stays until then (`pydsr diff FILE` shows it).
    MACs of backends are followed as they change, and interfaces that go and come back.

    SIGTERM ends the daemon; the data plane goes on without it. packaging/pydsr.service runs it
    under systemd.

    The status page has no password, and nothing can be changed by it. At an address that is not of
    this machine alone, everyone who reaches that can read it.

    \b
    Examples:
      pydsr run /etc/pydsr/balancer.yaml
      pydsr run balancer.yaml --web 127.0.0.1:8080
      pydsr run balancer.yaml --notify 'logger -t pydsr'
      pydsr run balancer.yaml --metrics 127.0.0.1:9477
      pydsr events --follow
    """
    import asyncio

    from pydsr.daemon.daemon import Daemon
    from pydsr.daemon.journal import set_up_logging
    from pydsr.daemon.options import Options

    in_journal = set_up_logging()
    options = Options(
        directory,
        file.absolute(),
        runtime.absolute(),
        _split(notify),
        detach_on_exit,
        metrics,
        web,
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
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on.")
@json_option
@runtime_option
@click.pass_obj
def events(directory: Path, follow: bool, as_json: bool, runtime: Path) -> None:
    """Show what has happened: changed MACs, lost links, reloads; asks the running daemon.

    It remembers the newest since it started, a thousand if they are short. With --json each event
    is one line.

    \b
    Examples:
      pydsr events
      pydsr events --follow --json
    """
    from pydsr.daemon.runtime import socket_path
    from pydsr.daemon.server import read_events
    from pydsr.views.text.events import event_line

    for line in read_events(socket_path(runtime.absolute(), directory), follow):
        click.echo(line if as_json else event_line(json.loads(line)))
