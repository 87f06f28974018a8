"""Two balancers of a lab, each with a daemon, and the files of a how-to for them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from pydsr.control.balancer import Balancer
from pydsr.lab.lab import Lab
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint
from tests.support.lab.requests import DEADLINE_SECONDS
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import Host, made_directory
from tests.support.paths import CHECKOUT

_HOW_TO = CHECKOUT / "docs" / "how-to"
_NAMES = ("lb", "lb2")
_ASKED_PORTS = range(20_000, 20_040)


def file_in(page: str, title: str) -> str:
    """Return a file as a how-to has it, by its title there."""
    text = (_HOW_TO / page).read_text(encoding="utf-8")
    found = re.search(rf'^```.*title="{re.escape(title)}"\n(.*?)^```$', text, re.S | re.M)
    assert found is not None, title
    return found[1]


@dataclass(frozen=True)
class Machine:
    """A balancer's machine.

    Attributes:
        name: of the host in the lab.
        folder: of its files.
    """

    lab: Lab
    name: str
    daemon: Daemon
    folder: Path

    @property
    def host(self) -> Host:
        """Its network namespace."""
        return self.daemon.pydsr.host

    def has(self, address: str) -> bool:
        """Return whether it has an address."""
        return f" {address}/" in self.host.run("ip", "address", "show")

    def answers(self) -> bool:
        """Return whether it answers for VIPs: for all of them, or for none."""
        services = self.daemon.pydsr.json("services", "list")
        (answers,) = {service["arp"] for service in services}
        return bool(answers)

    def backends(self, service: Endpoint, client: str) -> list[str]:
        """Return where its program leads flows of a client, from many ports, old and new."""
        with (
            enter_namespace(self.host.name),
            Balancer(self.daemon.pydsr.bpffs) as balancer,
            balancer.tracer() as tracer,
        ):
            return [
                str(tracer.trace_flow(service, ip_address(client), port, syn).backend)
                for port in _ASKED_PORTS
                for syn in (False, True)
            ]

    def plug(self, state: str) -> None:
        """Pull its cable (``down``), or put it in again (``up``)."""
        Host(self.lab.topology.switch).run("ip", "link", "set", self.name, state)


@contextmanager
def balancing(lab: Lab, folder: Path, file: str) -> Iterator[tuple[Machine, Machine]]:
    """Have the daemon running on both balancers, with one file, for the length of the block."""
    with ExitStack() as stack:
        machines = []
        for name in _NAMES:
            of_machine = folder / name
            of_machine.mkdir()
            host = Host(lab.topology.namespace(name))
            daemon = Daemon(Pydsr(host, stack.enter_context(made_directory())), of_machine)
            daemon.write(file)
            stack.enter_context(daemon.running())
            machines.append(Machine(lab, name, daemon, of_machine))
        yield machines[0], machines[1]


@contextmanager
def program(host: Host, folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program running, what it says in a folder, and end it gently if it still runs."""
    with (folder / f"{Path(command[0]).name}.log").open("w") as log:
        process = subprocess.Popen(
            [*host.prefix, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def agree(machines: Sequence[Machine], service: Endpoint, client: str) -> bool:
    """Return whether balancers lead all flows to the same backends, and use all three."""
    first, *others = (machine.backends(service, client) for machine in machines)
    return all(first == other for other in others) and len(set(first)) == 3
