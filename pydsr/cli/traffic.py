"""``pydsr stats``, ``top`` and ``explain``: what the balancer does with packets."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pydsr.cli.arguments import ATTACHED, ENDPOINT, SOURCE
from pydsr.cli.output import json_option, show
from pydsr.errors import InputError
from pydsr.model import Endpoint
from pydsr.reasons import all_reasons


@click.command()
@json_option
@click.option("--watch", type=float, metavar="SECONDS", help="Print again and again, with rates.")
@click.option("--explain", "meanings", is_flag=True, help="Say what each reason means instead.")
@click.pass_obj
def stats(directory: Path, as_json: bool, watch: float | None, meanings: bool) -> None:
    """Show packets, bytes and new flows of every backend, and what became of all packets.

    \b
    Examples:
      pydsr stats
      pydsr stats --json
      pydsr stats --watch 5
      pydsr stats --explain
    """
    from pydsr.balancer import Balancer
    from pydsr.view import documents, tables

    if meanings:
        reasons = all_reasons()
        show(
            as_json,
            lambda: documents.reasons_document(reasons),
            lambda: tables.reasons_table(reasons),
        )
        return
    if watch is not None and not 0.1 <= watch <= 3600:
        raise InputError(f"cannot watch every {watch:g} seconds", "use 0.1 to 3600")
    with Balancer(directory) as balancer:
        before = None
        while True:
            now = balancer.snapshot()
            show(
                as_json,
                lambda now=now: documents.stats_document(now),  # type: ignore[misc]
                lambda now=now, before=before: tables.stats_table(now, before),  # type: ignore[misc]
            )
            if watch is None:
                return
            before = now
            time.sleep(watch)


@click.command()
@click.option("--once", is_flag=True, help="Print one frame.")
@click.option("--interval", type=float, default=1.0, show_default=True, help="Seconds.")
@click.pass_obj
def top(directory: Path, once: bool, interval: float) -> None:
    """Watch the traffic of every backend live.

    Keys: q quits, p pauses, s sorts by another column, + and - change the interval.

    \b
    Examples:
      pydsr top
      pydsr top --once
    """
    from rich.console import Console

    from pydsr.balancer import Balancer
    from pydsr.view.screen import run_live

    with Balancer(directory) as balancer:
        run_live(balancer.snapshot, interval, once, Console(highlight=False))


@click.command()
@click.argument("endpoint", type=ENDPOINT)
@click.option("--from", "source", type=SOURCE, required=True, help="The client's end of the flow.")
@click.option("--syn", is_flag=True, help="A packet that opens the connection.")
@click.option(
    "--in",
    "ingress",
    type=ATTACHED,
    metavar="IFACE",
    help="The one it comes in by.  [default: its backend's]",
)
@json_option
@click.pass_obj
def explain(
    directory: Path,
    endpoint: Endpoint,
    source: Endpoint,
    syn: bool,
    ingress: str | None,
    as_json: bool,
) -> None:
    """Ask the loaded program where a packet would go, and why.

    Nothing is sent, counted or recorded.

    \b
    Examples:
      pydsr explain 198.51.100.10:80 --from 192.0.2.7:40000
      pydsr explain [2001:db8::10]:80 --from [2001:db8::7]:40000 --syn --json
      pydsr explain 198.51.100.10:80 --from 192.0.2.7:40000 --in eth1
    """
    from pydsr.balancer import Balancer
    from pydsr.view import documents, tables

    with Balancer(directory) as balancer:
        found = balancer.explain(endpoint, source.address, source.port, syn, ingress)
        names = {one.ifindex: one.name for one in balancer.interfaces()}
    leaves_by = names.get(found.interface) if found.interface else None
    show(
        as_json,
        lambda: documents.explain_document(found, leaves_by),
        lambda: tables.explain_table(found, leaves_by),
    )


@click.command()
@click.pass_obj
def tidy(directory: Path) -> None:
    """Bring slots to rest whose flows have ended, and forget flows that have.

    Every change does this first; it is only of use by itself on a balancer that is seldom
    changed.

    \b
    Examples:
      pydsr tidy
    """
    from pydsr.balancer import Balancer

    with Balancer(directory) as balancer:
        done = balancer.tidy()
    click.echo(f"{done.slots_rested} slots brought to rest, {done.records_deleted} records deleted")
