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

from pydsr import __version__
from pydsr.model.errors import ExitStatus, PydsrError

DEFAULT_BPFFS = Path("/sys/fs/bpf/pydsr")

_MODULES = {
    "attach": "attachment",
    "detach": "attachment",
    "status": "attachment",
    "services": "services",
    "backends": "backends",
    "vips": "vips",
    "acl": "acl",
    "diff": "configuration",
    "apply": "configuration",
    "export": "configuration",
    "schema": "configuration",
    "run": "run",
    "health": "health",
    "doctor": "doctor",
    "events": "run",
    "exporter": "exporter",
    "stats": "traffic",
    "top": "top",
    "explain": "explain",
    "tap": "tap",
    "tidy": "traffic",
    "completion": "completion",
    "realserver": "realserver",
    "lab": "lab",
}
"""The module of each command, which is imported when the command is used."""


class _LazyGroup(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        module = importlib.import_module(f"pydsr.cli.{_MODULES[name]}")
        command: click.Command = getattr(module, name)
        return command


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
        # The reader of our output has closed it: nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitStatus.DONE)
    except PermissionError as error:
        subject = f"{error.filename}: " if error.filename else ""
        _fail(f"{subject}not permitted", "run as root (sudo)", ExitStatus.CANNOT)
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.ENOSPC):
            message = f"the kernel is out of memory for maps: {error.strerror}"
            _fail(message, "check free memory with `free`", ExitStatus.CANNOT)
        raise
    sys.exit(status if isinstance(status, int) else ExitStatus.DONE)
