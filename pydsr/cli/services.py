"""``pydsr services``: services and their options."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
from click.decorators import FC

from pydsr.cli.arguments import ENDPOINT, NEW_ENDPOINT
from pydsr.cli.output import edit_command, json_option, show
from pydsr.control.edits import AddService, Edit, RemoveService
from pydsr.model.addresses import Endpoint
from pydsr.model.options import OPTIONS, Option, ServiceOptions


@click.group()
def services() -> None:
    """Add, remove and list services.

    A service is a virtual IP with a port and protocol, such as 198.51.100.10:80 (tcp),
    198.51.100.10:53/udp, [2001:db8::10]:443 or 198.51.100.10:5060/sctp. The port * stands for every
    port for which the VIP has no other service.
    """


def _option(option: Option) -> Callable[[FC], FC]:
    """Return a service option as a command-line option."""
    details: dict[str, Any] = {"default": option.default, "help": option.describe()}
    if option.type is bool:
        details |= {"is_flag": True, "flag_value": not option.default}
        details["help"] = option.off_help or option.help
    elif issubclass(option.type, StrEnum):
        details |= {
            "type": click.Choice([value.value for value in option.type]),
            "default": str(option.default),
            "callback": lambda _context, _parameter, value: option.type(value),
        }
    else:
        details |= {"type": option.type, "metavar": option.metavar}
    if option.default_text:
        details["help"] += f"  [default: {option.default_text}]"
    details["show_default"] = not isinstance(option.default, bool) and option.default != ""
    return click.option(f"--{option.flag}", option.name, **details)


def _all_options(command: FC) -> FC:
    for option in reversed(OPTIONS):
        command = _option(option)(command)
    return command


@services.command()
@click.argument("endpoint", type=NEW_ENDPOINT)
@_all_options
@edit_command
def add(endpoint: Endpoint, **values: Any) -> Edit:
    """Add a service without backends.

    \b
    Examples:
      pydsr services add 198.51.100.10:80 --name web
      pydsr services add 198.51.100.10:443 --affinity source --netmask4 24
      pydsr services add 198.51.100.53:53/udp --one-packet
      pydsr services add '198.51.100.10:*' --max-new-flows 100
    """
    return AddService(endpoint, ServiceOptions(**values))


@services.command()
@click.argument("endpoint", type=ENDPOINT)
@edit_command
def remove(endpoint: Endpoint) -> Edit:
    """Remove a service with its backends.

    \b
    Examples:
      pydsr services remove 198.51.100.10:80 --plan
      pydsr services remove 198.51.100.10:80
    """
    return RemoveService(endpoint)


@services.command("list")
@json_option
@click.pass_obj
def list_(directory: Path, as_json: bool) -> None:
    """List the services.

    \b
    Examples:
      pydsr services list
      pydsr services list --json
    """
    from pydsr.control.balancer import Balancer
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    with Balancer(directory) as balancer:
        listed = balancer.services()
    show(
        as_json,
        lambda: documents.services_document(listed),
        lambda: tables.services_table(listed),
    )
