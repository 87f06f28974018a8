"""``pydsr lab``: a test network of namespaces on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pydsr.lab.demo_results import Commands, DemoOutput, Step
from pydsr.lab.interrupts import interruptible
from pydsr.lab.topology import SERVICES, VIP4, VIP6, Role, Topology, check_name
from pydsr.model.errors import ExitStatus

if TYPE_CHECKING:
    from pydsr.lab.lab import Lab

_WIDTH_NOT_ON_A_TERMINAL = 100


def _sizes(command: Callable[..., None]) -> Callable[..., None]:
    for option, default in (("--clients", 1), ("--backends", 3)):
        command = click.option(
            option, type=int, default=default, show_default=True, help="Number of hosts, 1 to 200."
        )(command)
    return command


@click.group()
def lab() -> None:
    """Build a test network with a balancer on this machine.

    The balancer, clients and backends of a lab are network namespaces.

    \b
    Examples:
      pydsr lab demo
      pydsr lab up --backends 5
      pydsr lab down
    """


@lab.command()
@_sizes
@click.option("--name", default="lab", show_default=True, help="Name of the lab: a-z, 0-9 and -.")
def up(backends: int, clients: int, name: str) -> None:
    """Build a lab with a balancer and HTTP servers, and leave it running.

    \b
    Examples:
      pydsr lab up
      pydsr lab up --backends 5 --clients 2 --name five
    """
    from pydsr.lab.lab import Lab

    with _interrupted_exits():
        new = Lab(name, backends, clients)
        new.up()
    _report(Step(f"The lab {name!r} is up: {_size(new.topology)}."))
    _report(_ways_to_play(new))


@lab.command()
@click.option("--name", default="lab", show_default=True, help="Name of the lab.")
def down(name: str) -> None:
    """Remove a lab: its processes, namespaces and balancer.

    Succeeds if there is no such lab.

    \b
    Examples:
      pydsr lab down
      pydsr lab down --name five
    """
    from pydsr.lab.lab import remove

    with _interrupted_exits():
        existed = remove(name)
    _report(Step(f"The lab {name!r} is gone." if existed else f"There is no lab {name!r}."))


@lab.command()
@_sizes
@click.option("--name", help="Name of the lab: a-z, 0-9 and -.  [default: demo-PID]")
def demo(backends: int, clients: int, name: str | None) -> None:
    """Build a lab, send requests, remove a backend, clean up.

    It shows which host saw which packets, and exits with status 1 if a result is not as expected.

    \b
    Examples:
      pydsr lab demo
      pydsr lab demo --backends 8 --clients 2
    """
    from pydsr.lab.demo import Demo
    from pydsr.lab.lab import Lab

    if name is None:
        name = f"demo-{os.getpid()}"
    check_name(name)
    Demo.check_size(backends)
    with _interrupted_exits():
        new = Lab(name, backends, clients)
        _report(Step(f"A lab of namespaces: {_size(new.topology)}"))
        try:
            new.up()
            conclusion = Demo(new, _report).run()
        finally:
            new.down()
    if not conclusion.is_met:
        sys.exit(ExitStatus.FAILED)


@contextmanager
def _interrupted_exits() -> Iterator[None]:
    """Turn an interrupt into its exit status, after the block has cleaned up."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        click.echo("interrupted; the lab is removed", err=True)
        sys.exit(ExitStatus.INTERRUPTED)


def _report(output: DemoOutput) -> None:
    """Print output; click strips the colours where stdout is no terminal."""
    from pydsr.lab.demo_report import to_text

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH_NOT_ON_A_TERMINAL
    click.echo(to_text(output, width), nl=False)


def _size(topology: Topology) -> str:
    return (
        f"1 balancer, {topology.clients} client{'s' * (topology.clients > 1)}, "
        f"{topology.backends} backend{'s' * (topology.backends > 1)}"
    )


def _ways_to_play(new: Lab) -> Commands:
    client = f"nsenter --net=/run/netns/{new.topology.namespace('client1')}"
    balancer = f"nsenter --net=/run/netns/{new.topology.namespace(Role.BALANCER)}"
    pydsr = f"{balancer} pydsr --bpffs {new.bpffs}"
    backend = f"nsenter --net=/run/netns/{new.topology.namespace('backend1')}"
    last = new.topology.hosts_of(Role.BACKEND)[-1]
    return Commands(
        "Try:",
        (
            (f"{client} curl http://{VIP4}/", "see which backend answers"),
            (f"{client} curl 'http://[{VIP6}]/'", "the same over IPv6"),
            (
                f"for i in $(seq 30); do {client} curl -s http://{VIP4}/; done",
                "how requests spread",
            ),
            (f"{pydsr} top", "watch the traffic live"),
            (f"{pydsr} backends remove {SERVICES[0]} {last.address4}", f"remove {last.name}"),
            (f"{backend} pydsr realserver check {VIP4} {VIP6}", "check a backend"),
            (f"pydsr lab down --name {new.name}", "remove the lab"),
        ),
    )
