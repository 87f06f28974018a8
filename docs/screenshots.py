"""Record the pictures of ``pydsr top``: ``python -m docs.screenshots``, as root.

Builds a lab with a daemon, sends real requests, removes the VIP of one backend, drains another, and
draws real frames of the live view: of all services, and of one.
"""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pydsr.control.balancer import Balancer
from pydsr.daemon.client import read_health, socket_path
from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.kernel.net.neighbours import mac_ages
from pydsr.lab.lab import Lab
from pydsr.lab.network import enter_namespace
from pydsr.lab.topology import Role
from pydsr.model.addresses import Endpoint
from pydsr.model.rates import History, rates_between
from pydsr.model.service import BackendState
from pydsr.views.text.lines import Lines
from pydsr.views.top.choices import Choices, Page
from pydsr.views.top.frame import frame
from pydsr.views.top.moment import Moment, health_by_backend

IMAGES = Path(__file__).with_name("images")
_WEB = Endpoint.parse("10.77.0.80:80")
_FILE = """
interfaces: [eth0]
services:
  - endpoint: 10.77.0.80:80
    name: shop
    checks: [{type: http, interval: 0.5, timeout: 0.4}]
    backends: [10.77.0.11=2, 10.77.0.12, 10.77.0.13, 10.77.0.14]
  - endpoint: "[fd77::80]:80"
    name: shop over IPv6
    backends: ["fd77::11=2", "fd77::12", "fd77::13"]
"""
_LOAD = (("client1", "http://10.77.0.80/", 200), ("client2", "http://[fd77::80]/", 60))
"""Client, URL and requests a second."""
_READINGS, _INTERVAL = 60, 0.5
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Picture:
    """A frame to draw, with the size of its terminal."""

    name: str
    choices: Choices
    columns: int
    rows: int


PICTURES = (
    Picture("top", Choices(service=_WEB), 120, 20),
    Picture("top-service", Choices(page=Page.SERVICE, service=_WEB), 150, 15),
)


def record_top() -> None:
    """Draw the live view of a lab under load."""
    with Lab("screenshot", backends=4, clients=2) as lab, tempfile.TemporaryDirectory() as folder:
        lab.serve()
        file = Path(folder, "balancer.yaml")
        file.write_text(_FILE, encoding="utf-8")
        arguments = ("run", str(file), "--runtime-directory", folder)
        processes = [lab.popen("lb", [*PYTHON, "pydsr", "--bpffs", str(lab.bpffs), *arguments])]
        try:
            namespace = lab.topology.namespace(Role.BALANCER)
            with enter_namespace(namespace), _served(lab.bpffs) as balancer:
                processes += [
                    lab.popen(host, [*PYTHON, "docs.load", url, str(rate)])
                    for host, url, rate in _LOAD
                ]
                moment = _watch(lab, balancer, socket_path(Path(folder), lab.bpffs))
        finally:
            for process in processes:
                process.terminate()
                process.wait()
    for picture in PICTURES:
        _draw(picture, moment)


def _served(bpffs: Path) -> Balancer:
    """Return the balancer once the daemon has all backends in service."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if (bpffs / "settings").exists():
            balancer = Balancer(bpffs)
            if len(balancer.services()) == 2 and all(
                backend.state is BackendState.UP
                for service in balancer.services()
                for backend in service.backends
            ):
                return balancer
            balancer.close()
        time.sleep(_INTERVAL)
    raise TimeoutError("the daemon did not apply its file in time")


def _watch(lab: Lab, balancer: Balancer, daemon: Path) -> Moment:
    """Watch for half a minute while a backend is drained and one fails; return the last moment."""
    history, before = History(), balancer.snapshot()
    for number in range(_READINGS):
        time.sleep(_INTERVAL)
        now = balancer.snapshot()
        rates, before = rates_between(before, now), now
        history.record(rates)
        if number == _READINGS // 2:
            lab.run("backend3", ["ip", "address", "delete", "10.77.0.80/32", "dev", "lo"])
        if number == _READINGS - 10:
            lab.pydsr("backends", "drain", str(_WEB), "10.77.0.14")
            lab.run("client1", ["ping", "-c1", "-W1", "10.77.0.80"])
    return Moment(
        rates,
        history,
        health_by_backend(read_health(daemon)),
        mac_ages(),
        time.strftime("%H:%M:%S"),
    )


def _draw(picture: Picture, moment: Moment) -> None:
    drawn = frame(moment, picture.choices, width=picture.columns, height=picture.rows)
    console = Console(
        record=True, width=picture.columns, file=io.StringIO(), color_system="truecolor"
    )
    console.print(Lines(drawn), soft_wrap=True, end="")
    console.save_svg(str(IMAGES / f"{picture.name}.svg"), title="pydsr top")


if __name__ == "__main__":
    record_top()
