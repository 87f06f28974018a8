"""Arguments in the forms of the command line, as values of the model.

The model's own parsers say what is wrong; their errors pass through click untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pydsr.cli import known
from pydsr.model.addresses import Endpoint, parse_address
from pydsr.model.service import BackendSpec

if TYPE_CHECKING:
    from pydsr.model.listen import Listen

_RUNTIME = Path("/run/pydsr")

PATH = click.Path(path_type=Path, readable=False)
"""A file or directory that the command itself opens, and reports with exit status 3 or 4 if it
cannot. Click's check for readability would exit with 2, as for wrong usage."""

_Value = TypeVar("_Value")
Candidates = Callable[[click.Context], list[tuple[str, str]]]
"""What there is to complete to, each with a word about it."""


class Parsed(click.ParamType[_Value]):
    """A value of the model, which completes to what there is.

    Args:
        name: what help calls it.
        parse: makes the value of its text; raises InputError.
        candidates: what it completes to; None is nothing.
    """

    def __init__(
        self, name: str, parse: Callable[[str], _Value], candidates: Candidates | None = None
    ) -> None:
        self.name = name
        self._parse = parse
        self._candidates = candidates

    def convert(self, value: Any, *_: Any) -> _Value:
        """Return the value; raises InputError."""
        return self._parse(value) if isinstance(value, str) else value

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> known.Items:
        """Return what begins as typed, without what is there already."""
        if self._candidates is None:
            return []
        typed = context.params.get(parameter.name or "")
        typed = {str(each) for each in typed} if isinstance(typed, tuple) else set()
        offered = (each for each in self._candidates(context) if each[0] not in typed)
        return known.items(offered, incomplete)


def _parse_listen(text: str) -> Listen:
    # Imported when it is used: no command waits for an HTTP server that it does not have.
    from pydsr.model.listen import Listen

    return Listen.parse(text)


ENDPOINT = Parsed("endpoint", Endpoint.parse, known.services)
"""A service that there is: ``ADDR:PORT[/tcp|/udp|/sctp]``."""

NEW_ENDPOINT = Parsed("endpoint", Endpoint.parse)
"""One that is to be."""

BACKEND = Parsed("backend", BackendSpec.parse, known.every_backend)
"""``ADDR[=WEIGHT][@MAC[%VLAN]]``."""

BACKEND_ADDRESS = Parsed("address", parse_address, known.backends)
"""The address of a backend of the service before it."""

VIP = Parsed("address", parse_address, known.vips)

SOURCE = Parsed("addr:port", Endpoint.parse)
"""The client's end of a flow, ``ADDR:PORT``, as an endpoint whose protocol means nothing."""

LISTEN = Parsed("addr:port", _parse_listen)
"""Where a server listens, ``ADDR:PORT`` or ``[V6]:PORT``."""

SCOPE = Parsed("scope", str, known.scopes)
INTERFACE = Parsed("interface", str, known.interfaces)
ATTACHED = Parsed("interface", str, known.attached)
REASON = Parsed("reason", str, known.reasons)


def runtime_option(command: click.decorators.FC) -> click.decorators.FC:
    """Add ``--runtime-directory`` to a command that is, or asks, the daemon."""
    return click.option(
        "--runtime-directory",
        "runtime",
        type=PATH,
        default=_RUNTIME,
        show_default=True,
        envvar="PYDSR_RUNTIME_DIRECTORY",
        help="Directory of the daemon's socket.",
    )(command)
