"""What a Tab completes to: what the pinned maps and the machine have.

Only those maps are read that the answer takes, and nothing of the control plane is imported: a
Tab is to be answered at once. Errors are for nobody here: :mod:`pydsr.cli.completion` drops them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from pydsr.kernel.bpf.store import State
    from pydsr.model.service import Backend, Service

Items = list[CompletionItem[str]]


def items(candidates: Iterable[tuple[str, str]], incomplete: str) -> Items:
    """Return those candidates, each with a word about it, that begin with what is typed."""
    return [
        CompletionItem(text, help=about or None)
        for text, about in candidates
        if text.startswith(incomplete)
    ]


def services(context: click.Context) -> list[tuple[str, str]]:
    """Return the endpoints of all services, with their names."""
    with _state(context) as state:
        return [(str(each.endpoint), each.options.name) for each in state.configs()]


def vips(context: click.Context) -> list[tuple[str, str]]:
    """Return the virtual IPs."""
    with _state(context) as state:
        addresses = dict.fromkeys(each.endpoint.address for each in state.configs())
    return [(str(address), "") for address in addresses]


def backends(context: click.Context) -> list[tuple[str, str]]:
    """Return the backends of the service that is named before, with their states."""
    endpoint = context.params.get("endpoint")
    with _state(context) as state:
        service = None if endpoint is None else state.service(endpoint)
    return _described(() if service is None else (service,))


def every_backend(context: click.Context) -> list[tuple[str, str]]:
    """Return the backends of all services: they often serve another as well."""
    with _state(context) as state:
        found = state.services()
    return [(address, "") for address, _ in _described(found)]


def interfaces(_: click.Context) -> list[tuple[str, str]]:
    """Return the interfaces of this network namespace that a balancer may be on."""
    return [(name, "") for _, name in socket.if_nameindex() if name != "lo"]


def attached(context: click.Context) -> list[tuple[str, str]]:
    """Return the interfaces that the balancer is on."""
    links = _directory(context) / "links"
    names = dict(socket.if_nameindex())
    indices = sorted(int(path.name) for path in links.iterdir())
    return [(names[index], "") for index in indices if index in names]


def scopes(context: click.Context) -> list[tuple[str, str]]:
    """Return what rules may be for."""
    return [("all", "every service"), *services(context)]


def reasons(_: click.Context) -> list[tuple[str, str]]:
    """Return the ways out of the program."""
    from pydsr.model.reasons import all_reasons

    return [(reason.name, reason.text) for reason in all_reasons()]


def documents(_: click.Context) -> list[tuple[str, str]]:
    """Return what there are JSON Schemas of."""
    from pydsr.views.json.schemas import KINDS

    described = [(name, kind.commands) for name, kind in KINDS.items()]
    return [("config", "the configuration file"), *described]


@contextmanager
def _state(context: click.Context) -> Iterator[State]:
    from pydsr.kernel.bpf.store import State

    with closing(State(_directory(context))) as state:
        yield state


def _directory(context: click.Context) -> Path:
    """Return the directory of pins: while a line is completed no command has set it."""
    return Path(context.find_root().params["bpffs"]).absolute()


def _described(found: Iterable[Service]) -> list[tuple[str, str]]:
    described: dict[str, str] = {}
    for service in found:
        for backend in service.backends:
            described.setdefault(str(backend.address), _words(backend))
    return list(described.items())


def _words(backend: Backend) -> str:
    return f"{backend.state}, weight {backend.weight}"
