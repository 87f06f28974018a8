"""Arguments in the forms of the command line, as values of the model.

The model's own parsers say what is wrong; their errors pass through click untouched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pydsr.model import BackendSpec, Endpoint, IPAddress, parse_address

if TYPE_CHECKING:
    from pydsr.serving.listening import Listen

_RUNTIME = Path("/run/pydsr")


class EndpointArgument(click.ParamType[Endpoint]):
    """``ADDR:PORT[/tcp|/udp|/sctp]``."""

    name = "endpoint"

    def convert(self, value: Any, *_: Any) -> Endpoint:
        """Return the endpoint; raises InputError."""
        return value if isinstance(value, Endpoint) else Endpoint.parse(value)


class BackendArgument(click.ParamType[BackendSpec]):
    """``ADDR[=WEIGHT][@MAC[%VLAN]]``."""

    name = "backend"

    def convert(self, value: Any, *_: Any) -> BackendSpec:
        """Return the backend; raises InputError."""
        return value if isinstance(value, BackendSpec) else BackendSpec.parse(value)


class AddressArgument(click.ParamType[IPAddress]):
    """An IP address."""

    name = "address"

    def convert(self, value: Any, *_: Any) -> IPAddress:
        """Return the address; raises InputError."""
        return parse_address(value) if isinstance(value, str) else value


class SourceArgument(click.ParamType[Endpoint]):
    """The client's end of a flow, ``ADDR:PORT``."""

    name = "addr:port"

    def convert(self, value: Any, *_: Any) -> Endpoint:
        """Return it in the form of an endpoint, whose protocol means nothing."""
        return value if isinstance(value, Endpoint) else Endpoint.parse(value)


class ListenArgument(click.ParamType["Listen"]):
    """Where a server listens, ``ADDR:PORT`` or ``[V6]:PORT``."""

    name = "addr:port"

    def convert(self, value: Any, *_: Any) -> Listen:
        """Return it; raises InputError."""
        # Imported when it is used: no command waits for an HTTP server that it does not have.
        from pydsr.serving.listening import Listen

        return value if isinstance(value, Listen) else Listen.parse(value)


ENDPOINT = EndpointArgument()
BACKEND = BackendArgument()
ADDRESS = AddressArgument()
SOURCE = SourceArgument()
LISTEN = ListenArgument()


def runtime_option(command: click.decorators.FC) -> click.decorators.FC:
    """Add ``--runtime-directory`` to a command that is, or asks, the daemon."""
    return click.option(
        "--runtime-directory",
        "runtime",
        type=click.Path(path_type=Path),
        default=_RUNTIME,
        show_default=True,
        envvar="PYDSR_RUNTIME_DIRECTORY",
        help="Directory of the daemon's socket.",
    )(command)
