"""``pydsr stats`` and ``pydsr tidy``: counters, and garbage collection."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pydsr.cli.output import json_option, plan_option, show, show_impact
from pydsr.model.errors import InputError
from pydsr.model.reasons import all_reasons


@click.command()
@json_option
@click.option("--watch", type=float, metavar="SECONDS", help="Repeat at this interval, with rates.")
@click.option("--explain", "meanings", is_flag=True, help="Print what each reason means instead.")
@click.pass_obj
def stats(directory: Path, as_json: bool, watch: float | None, meanings: bool) -> None:
    """Show traffic of services and backends, and packets by reason.

    \b
    Examples:
      pydsr stats
      pydsr stats --json
      pydsr stats --watch 5
      pydsr stats --explain
    """
    from pydsr.control.balancer import Balancer
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    if meanings:
        reasons = all_reasons()
        show(
            as_json,
            lambda: documents.reasons_document(reasons),
            lambda: tables.reasons_table(reasons),
        )
        return
    if watch is not None and not 0.1 <= watch <= 3600:
        raise InputError(f"--watch {watch:g} is out of range", "use 0.1 to 3600 seconds")
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
@plan_option
@click.pass_obj
def tidy(directory: Path, plan_only: bool, as_json: bool) -> None:
    """Collect garbage: records of ended flows, and slots to rest.

    Every change does this first, and the daemon does it regularly. Run it on a balancer that has no
    daemon and seldom changes.

    \b
    Examples:
      pydsr tidy
      pydsr tidy --plan
    """
    from pydsr.control.balancer import Balancer

    with Balancer(directory) as balancer:
        done = balancer.collect_garbage(plan_only)
    if plan_only or as_json:
        show_impact(done.impact, plan_only, as_json)
        return
    click.echo(f"{done.slots_rested} slots brought to rest, {done.records_deleted} records deleted")
