"""The `pydsr` command: global options, and how errors reach the user."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from pydsr import __version__
from pydsr.model.errors import ExitStatus, PydsrError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, an exhausted quota, and a limit on the size of files."""

DEFAULT_BPFFS = Path("/sys/fs/bpf/pydsr")

COMMANDS = {
    "attach": ("attachment", "Attach the balancer to interfaces, or upgrade its program."),
    "detach": ("attachment", "Detach the balancer from interfaces."),
    "status": ("attachment", "Show interfaces, services and features of the program."),
    "services": ("services", "Add, remove and list services."),
    "backends": ("backends", "Set, add, remove and list the backends of a service."),
    "vips": ("vips", "List virtual IPs, and set a policy for unserved ports."),
    "acl": ("acl", "Allow and deny sources, for one service or for all."),
    "diff": ("configuration", "Show what applying a file would change."),
    "apply": ("configuration", "Make the balancer match a file."),
    "export": ("configuration", "Print the live state as a configuration file."),
    "schema": ("configuration", "Print a JSON Schema of the file, or of a JSON document."),
    "run": ("run", "Run the daemon, which keeps a file in force."),
    "health": ("health", "Show the health of backends, and why checks fail."),
    "doctor": ("doctor", "Find problems of host, NICs, VIPs and backends, with fixes."),
    "events": ("run", "Show what happened: changed MACs, lost links, reloads."),
    "exporter": ("exporter", "Serve metrics for Prometheus, with or without a daemon."),
    "stats": ("traffic", "Show traffic of services and backends, and packets by reason."),
    "top": ("top", "Watch the traffic of every backend live."),
    "explain": ("explain", "Ask the loaded program where a packet would go, and why."),
    "tap": ("tap", "Capture packets, with verdict, reason and backend."),
    "tidy": ("traffic", "Collect garbage: records of ended flows, and slots to rest."),
    "completion": ("completion", "Print a script that makes a shell complete pydsr commands."),
    "realserver": ("realserver", "Set up and check a backend, on the backend itself."),
    "lab": ("lab", "Build a test network with a balancer on this machine."),
}
"""The module of each command, which is imported when the command is used, and its short help."""


class _LazyGroup(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"pydsr.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    # Click's own methods import every command.

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        room = formatter.width - max(map(len, COMMANDS)) - 6
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short_help(name, room)) for name in COMMANDS])

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        commands = [
            CompletionItem(name, help=_short_help(name))
            for name in COMMANDS
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, context, incomplete)


def _short_help(name: str, room: int = 45) -> str:
    return click.Command(name, help=COMMANDS[name][1]).get_short_help_str(room)


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--bpffs",
    # Not cli.arguments.PATH: completion of command names loads this module alone.
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_BPFFS,
    show_default=True,
    envvar="PYDSR_BPFFS",
    help="Directory of this balancer's pinned maps, on a BPF file system.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log at debug level.")
@click.version_option(__version__, prog_name="pydsr")
@click.pass_context
def cli(context: click.Context, bpffs: Path, verbose: bool) -> None:
    """Balance layer-4 traffic with Direct Server Return, in the network driver.

    \b
    Examples:
      pydsr attach eth0
      pydsr backends set 198.51.100.10:80 198.51.100.21 198.51.100.22=2
      pydsr top
      pydsr lab demo

    \b
    Exit status: 0 done, 1 failed, 2 wrong usage, 3 bad configuration or input,
    4 not permitted, or not supported by kernel or NIC, 5 not as desired, 130 interrupted.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="pydsr: %(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for noisy in ("asyncio", "pyroute2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    context.obj = bpffs.absolute()


def _fail(message: str, hint: str, status: int) -> NoReturn:
    click.echo(f"pydsr: error: {message}", err=True)
    if hint:
        click.echo(f"pydsr: hint: {hint}", err=True)
    sys.exit(status)


def _discard_output() -> None:
    """Keep Python from flushing the output at exit into what does not take it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command and exit with an :class:`ExitStatus`."""
    if instruction := os.environ.get("_PYDSR_COMPLETE"):
        from pydsr.cli.completion import answer

        answer(cli, instruction)
    try:
        status = cli.main(standalone_mode=False)
    except PydsrError as error:
        _fail(error.message, error.hint, error.status)
    except click.UsageError as error:
        error.show()
        sys.exit(ExitStatus.USAGE)
    except click.ClickException as error:
        _fail(error.format_message(), "", ExitStatus.FAILED)
    except (click.Abort, KeyboardInterrupt):
        click.echo("pydsr: interrupted", err=True)
        sys.exit(ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        _discard_output()  # its reader has closed it
        sys.exit(ExitStatus.DONE)
    except PermissionError as error:
        subject = f"{error.filename}: " if error.filename else ""
        _fail(f"{subject}not permitted", "run as root (sudo)", ExitStatus.CANNOT)
    except OSError as error:
        _discard_output()
        logging.getLogger(__name__).debug("where it failed", exc_info=True)
        subject = error.filename or ("output" if error.errno in _FULL else "the system")
        hint = (
            "make room there, or write elsewhere"
            if error.errno in _FULL
            else "pydsr --verbose shows where it failed"
        )
        _fail(f"{subject}: {error.strerror or error}", hint, ExitStatus.FAILED)
    sys.exit(status if isinstance(status, int) else ExitStatus.DONE)
