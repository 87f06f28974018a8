"""Types of arguments: how a text becomes a value of the model, and what Tab completes it to.

Parsers of the model raise InputError, which passes through click untouched. Completion reads as few
maps as it can and imports nothing of the control plane; :mod:`pydsr.cli.completion` drops errors.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from pydsr.model.addresses import Endpoint, parse_address
from pydsr.model.service import DesiredBackend

if TYPE_CHECKING:
    from pydsr.kernel.bpf.live_state import LiveState
    from pydsr.model.listen import Listen

_RUNTIME = Path("/run/pydsr")
_Value = TypeVar("_Value")
Candidate = tuple[str, str]
"""A text to complete to, and a description of it, which may be empty."""


@contextmanager
def _state(context: click.Context) -> Iterator[LiveState]:
    from pydsr.kernel.bpf.live_state import LiveState

    with closing(LiveState(_directory(context))) as state:
        yield state


def _directory(context: click.Context) -> Path:
    # Click fills in context.obj only when it runs a command, not when it completes a line.
    return Path(context.find_root().params["bpffs"]).absolute()


def _services(context: click.Context) -> list[Candidate]:
    with _state(context) as state:
        return [(str(endpoint), name) for endpoint, name in state.services.names()]


def _vips(context: click.Context) -> list[Candidate]:
    with _state(context) as state:
        addresses = dict.fromkeys(endpoint.address for endpoint, _ in state.services.names())
    return [(str(address), "") for address in addresses]


def _backends(context: click.Context) -> list[Candidate]:
    """Return the backends of the service named before, with their states."""
    endpoint = context.params.get("endpoint")
    with _state(context) as state:
        service = None if endpoint is None else state.services.get(endpoint)
    return [
        (str(backend.address), f"{backend.state}, weight {backend.weight}")
        for backend in (service.backends if service else ())
    ]


def _all_backends(context: click.Context) -> list[Candidate]:
    with _state(context) as state:
        return [(str(address), "") for address in state.backends.addresses()]


def _interfaces(_: click.Context) -> list[Candidate]:
    return [(name, "") for _, name in socket.if_nameindex() if name != "lo"]


def _attached_interfaces(context: click.Context) -> list[Candidate]:
    names = dict(socket.if_nameindex())
    indices = sorted(int(path.name) for path in (_directory(context) / "links").iterdir())
    return [(names[index], "") for index in indices if index in names]


def _scopes(context: click.Context) -> list[Candidate]:
    return [("all", "every service"), *_services(context)]


def _reasons(_: click.Context) -> list[Candidate]:
    from pydsr.model.reasons import all_reasons

    return [(reason.name, reason.text) for reason in all_reasons()]


def _documents(_: click.Context) -> list[Candidate]:
    from pydsr.views.json.schemas import KINDS

    described = [(name, kind.commands) for name, kind in KINDS.items()]
    return [("config", "the configuration file"), *described]


class Parsed(click.ParamType[_Value]):
    """A value of the model as an argument, with completion.

    Args:
        name: the name that help shows.
        parse: makes the value from its text; raises InputError.
        candidates: lists what the argument completes to; None for nothing.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[str], _Value],
        candidates: Callable[[click.Context], list[Candidate]] | None = None,
    ) -> None:
        self.name = name
        self._parse = parse
        self._candidates = candidates

    def convert(self, value: Any, *_: Any) -> _Value:
        """Return the value of a text; raises InputError."""
        return self._parse(value) if isinstance(value, str) else value

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the candidates that start as typed, without those already on the line."""
        if self._candidates is None:
            return []
        present = context.params.get(parameter.name or "")
        present = {str(each) for each in present} if isinstance(present, tuple) else set()
        return [
            CompletionItem(text, help=description or None)
            for text, description in self._candidates(context)
            if text.startswith(incomplete) and text not in present
        ]


def _parse_listen(text: str) -> Listen:
    from pydsr.model.listen import Listen

    return Listen.parse(text)


ENDPOINT = Parsed("endpoint", Endpoint.parse, _services)
"""An existing service: ``ADDR:PORT[/tcp|/udp|/sctp]``."""

NEW_ENDPOINT = Parsed("endpoint", Endpoint.parse)

BACKEND = Parsed("backend", DesiredBackend.parse, _all_backends)
"""``ADDR[=WEIGHT][@MAC[%VLAN]]``."""

BACKEND_ADDRESS = Parsed("address", parse_address, _backends)
"""The address of a backend of the service named before it."""

VIP = Parsed("address", parse_address, _vips)

SOURCE = Parsed("addr:port", Endpoint.parse)
"""The client's end of a flow, ``ADDR:PORT``: an endpoint whose protocol is ignored."""

LISTEN = Parsed("addr:port", _parse_listen)
"""The address that a server listens on, ``ADDR:PORT`` or ``[V6]:PORT``."""

SCOPE = Parsed("scope", str, _scopes)
INTERFACE = Parsed("interface", str, _interfaces)
ATTACHED = Parsed("interface", str, _attached_interfaces)
REASON = Parsed("reason", str, _reasons)
DOCUMENT = Parsed("document", str, _documents)

PATH = click.Path(path_type=Path, readable=False)
"""A file or directory that the command itself opens, and reports with exit status 3 or 4 if it
cannot. Click's check for readability would exit with 2, as for wrong usage."""


def runtime_option(command: click.decorators.FC) -> click.decorators.FC:
    """Add ``--runtime-directory``, as an absolute path, to a command that is or asks the daemon."""
    return click.option(
        "--runtime-directory",
        "runtime",
        type=PATH,
        default=_RUNTIME,
        show_default=True,
        envvar="PYDSR_RUNTIME_DIRECTORY",
        callback=lambda _context, _parameter, path: path.absolute(),
        help="Directory of the daemon's socket.",
    )(command)
