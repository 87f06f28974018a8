"""The command as it is on a backend, where there is nothing but Python: ``realserver.pyz``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydsr import __version__
from pydsr.model.errors import ExitStatus, InputError, PydsrError
from pydsr.realserver import answers
from pydsr.realserver.answers import Answer
from pydsr.realserver.files import FLAVOURS
from pydsr.realserver.record_file import DIRECTORY
from pydsr.realserver.texts import HELP
from pydsr.realserver.values import LOOPBACK, Wish


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its options are those of ``pydsr realserver``."""
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


def answer(given: argparse.Namespace) -> Answer:
    """Do what the command line asks for.

    Raises:
        PydsrError: it cannot be done.
    """
    if given.verb == "undo":
        return answers.undo(given.vips, given.all, given.plan, given.json, given.record_directory)
    wish = Wish.parse(given.vips, given.device, given.interface)
    if given.verb == "check":
        return answers.checked(wish, given.json)
    if given.script:
        return answers.scripted(wish, given.script, given.json, given.output)
    if given.output:
        raise InputError("--output takes --script", "say which files are to be written")
    return answers.setup(wish, given.plan, given.json, given.record_directory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        said = answer(parser().parse_args(arguments))
    except PydsrError as error:
        hint = (f"hint: {error.hint}",) if error.hint else ()
        said = Answer(messages=(f"error: {error.message}", *hint), status=error.status)
    except KeyboardInterrupt:
        said = Answer(messages=("interrupted",), status=ExitStatus.INTERRUPTED)
    for message in said.messages:
        sys.stderr.write(f"{message}\n")
    try:
        sys.stdout.write(said.output)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough of it; nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return said.status


if __name__ == "__main__":
    sys.exit(main())
