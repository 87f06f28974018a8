"""``pydsr top``: the traffic of every backend, live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import ENDPOINT, runtime_option
from pydsr.cli.output import json_option
from pydsr.model.addresses import Endpoint
from pydsr.views.top.choices import Choices, Page, Sort

if TYPE_CHECKING:
    from pydsr.views.json.document_types import HealthDocument


@click.command()
@click.option("--once", is_flag=True, help="Print one frame and exit.")
@click.option(
    "--interval", type=float, default=1.0, show_default=True, help="Seconds between readings."
)
@click.option(
    "--filter",
    "words",
    metavar="WORDS",
    default="",
    help="Show only services and backends that match these words.",
)
@click.option(
    "--sort",
    type=click.Choice([str(sort) for sort in Sort]),
    default=str(Sort.NAME),
    show_default=True,
    help="Order of services and backends.",
)
@click.option("--service", type=ENDPOINT, help="Show this service only, in detail.")
@json_option
@runtime_option
@click.pass_obj
def top(
    directory: Path,
    once: bool,
    interval: float,
    words: str,
    sort: str,
    service: Endpoint | None,
    as_json: bool,
    runtime: Path,
) -> None:
    """Watch the traffic of every backend live.

    Keys: arrows and Enter open a service, Esc goes back; / filters; s sorts by the next column, and
    N P B F S I T by name, packets, bits, flows, share, imbalance, trouble; r shows packets by
    reason; p pauses; + and - change the interval; ? shows help; q quits.

    The filter matches words of endpoints, names, addresses and states (down, no mac, unhealthy).
    --json prints one reading, as --once does.

    \b
    Examples:
      pydsr top
      pydsr top --sort trouble
      pydsr top --filter "web down"
      pydsr top --once --service 198.51.100.10:80
      pydsr top --json --interval 0.5
    """
    from rich.console import Console

    from pydsr.control.balancer import Balancer
    from pydsr.kernel.net.neighbours import mac_ages
    from pydsr.views.top import live

    def health() -> HealthDocument:
        # Runs in a thread: no frame waits for the daemon, nor for these imports.
        from pydsr.daemon.client import read_health, socket_path

        return read_health(socket_path(runtime, directory))

    page = Page.SERVICES if service is None else Page.SERVICE
    choices = Choices(interval, Sort(sort), page, words, service=service)
    with Balancer(directory) as balancer:
        if service is not None:
            balancer.service(service)
        sources = live.Sources(balancer.snapshot, health, mac_ages)
        if as_json:
            from pydsr.views.json.top import top_document

            document = top_document(live.take_moment(sources, choices), choices)
            click.echo(json.dumps(document, indent=2))
        elif once:
            live.show_once(sources, choices, Console(highlight=False))
        else:
            live.run_live(sources, choices, Console(highlight=False))
