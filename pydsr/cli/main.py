"""The command: global options, and how errors reach the user."""

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

# Command -> the module and name it is imported from when it is used, so that a command
# waits for no other's imports.
_COMMANDS = {
    "attach": ("pydsr.cli.attachment", "attach"),
    "detach": ("pydsr.cli.attachment", "detach"),
    "status": ("pydsr.cli.attachment", "status"),
    "services": ("pydsr.cli.services", "services"),
    "backends": ("pydsr.cli.backends", "backends"),
    "vips": ("pydsr.cli.vips", "vips"),
    "acl": ("pydsr.cli.acl", "acl"),
    "diff": ("pydsr.cli.configuration", "diff"),
    "apply": ("pydsr.cli.configuration", "apply"),
    "export": ("pydsr.cli.configuration", "export"),
    "schema": ("pydsr.cli.configuration", "schema"),
    "run": ("pydsr.cli.run", "run"),
    "health": ("pydsr.cli.health", "health"),
    "doctor": ("pydsr.cli.doctor", "doctor"),
    "events": ("pydsr.cli.run", "events"),
    "exporter": ("pydsr.cli.exporter", "exporter"),
    "stats": ("pydsr.cli.traffic", "stats"),
    "top": ("pydsr.cli.top", "top"),
    "explain": ("pydsr.cli.explain", "explain"),
    "tap": ("pydsr.cli.tap", "tap"),
    "tidy": ("pydsr.cli.traffic", "tidy"),
    "completion": ("pydsr.cli.completion", "completion"),
    "realserver": ("pydsr.cli.realserver", "realserver"),
    "lab": ("pydsr.cli.lab", "lab"),
}


class _LazyGroup(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--bpffs",
    type=click.Path(path_type=Path, readable=False),  # opened later, with our own errors
    default=DEFAULT_BPFFS,
    show_default=True,
    envvar="PYDSR_BPFFS",
    help="Directory of this balancer's pins, on a BPF file system.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more of what is done.")
@click.version_option(__version__, prog_name="pydsr")
@click.pass_context
def cli(context: click.Context, bpffs: Path, verbose: bool) -> None:
    """Balance layer-4 traffic by Direct Server Return, in the network driver.

    \b
    Examples:
      pydsr attach eth0
      pydsr backends set 198.51.100.10:80 198.51.100.21 198.51.100.22=2
      pydsr top
      pydsr lab demo

    \b
    Exit status: 0 done, 1 failed, 2 usage, 3 bad configuration or input,
    4 not permitted or the kernel or NIC cannot, 5 not as desired, 130 interrupted.
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
    """Run the command; the process exits with an :class:`ExitStatus`."""
    if asked := os.environ.get("_PYDSR_COMPLETE"):
        from pydsr.cli.completion import answer

        answer(cli, asked)
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
        # Whoever read our output has enough of it; nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitStatus.DONE)
    except PermissionError as error:
        what = f"{error.filename}: " if error.filename else ""
        _fail(f"{what}not permitted", "run as root (sudo)", ExitStatus.CANNOT)
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.ENOSPC):
            _fail(f"the kernel has no room: {error.strerror}", "see `free`", ExitStatus.CANNOT)
        raise
    sys.exit(status if isinstance(status, int) else ExitStatus.DONE)
