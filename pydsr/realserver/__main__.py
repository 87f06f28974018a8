"""The command line of ``realserver.pyz``, for backends with nothing but Python."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydsr import __version__
from pydsr.model.errors import ExitStatus, InputError, PydsrError
from pydsr.realserver import commands
from pydsr.realserver.commands import HELP, Answer
from pydsr.realserver.files import FLAVOURS
from pydsr.realserver.record import DIRECTORY
from pydsr.realserver.values import LOOPBACK, BackendSpec


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with the options of ``pydsr realserver``."""
    parser = argparse.ArgumentParser(prog="realserver", description=HELP["realserver"])
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="setup|check|undo")
    setup, check, undo = (
        verbs.add_parser(verb, help=HELP[verb], description=HELP[verb])
        for verb in ("setup", "check", "undo")
    )
    for verb in (setup, check):
        verb.add_argument("vips", nargs="+", metavar="VIP", help=HELP["VIP"])
        verb.add_argument("--device", default=LOOPBACK, metavar="NAME", help=HELP["--device"])
        verb.add_argument(
            "--interface", action="append", default=[], metavar="NAME", help=HELP["--interface"]
        )
    setup.add_argument("--script", choices=list(FLAVOURS), help=HELP["--script"])
    setup.add_argument("--output", type=Path, metavar="DIRECTORY", help=HELP["--output"])
    undo.add_argument("vips", nargs="*", metavar="VIP", help=HELP["VIP"])
    undo.add_argument("--all", action="store_true", help=HELP["--all"])
    for verb in (setup, undo):
        verb.add_argument("--plan", action="store_true", help=HELP["--plan"])
        verb.add_argument(
            "--record-directory",
            type=Path,
            default=DIRECTORY,
            metavar="DIRECTORY",
            help=HELP["--record-directory"],
        )
    for verb in (setup, check, undo):
        verb.add_argument("--json", action="store_true", help=HELP["--json"])
    return parser


def run(options: argparse.Namespace) -> Answer:
    """Run the command that the options name."""
    as_json = options.json
    if options.verb == "undo":
        return commands.undo(
            options.vips, options.all, options.plan, as_json, options.record_directory
        )
    spec = BackendSpec.parse(options.vips, options.device, options.interface)
    if options.verb == "check":
        return commands.check_host(spec, as_json)
    if options.script:
        return commands.make_files(spec, options.script, as_json, options.output)
    if options.output:
        raise InputError("--output takes --script", "name the kind of files with --script")
    return commands.setup(spec, options.plan, as_json, options.record_directory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        answer = run(parser().parse_args(arguments))
    except PydsrError as error:
        hint = (f"hint: {error.hint}",) if error.hint else ()
        answer = Answer(messages=(f"error: {error.message}", *hint), status=error.status)
    except KeyboardInterrupt:
        answer = Answer(messages=("interrupted",), status=ExitStatus.INTERRUPTED)
    for message in answer.messages:
        sys.stderr.write(f"{message}\n")
    try:
        sys.stdout.write(answer.output)
        sys.stdout.flush()
    except OSError as error:
        # Python must not flush into it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"error: output: {error.strerror}\n")
            return ExitStatus.FAILED
    return answer.status


if __name__ == "__main__":
    sys.exit(main())
