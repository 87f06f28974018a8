"""A balancer with two arms: clients behind one interface, backends behind the other.

The client is 10.66.0.2 on the balancer's ``eth0``. The backends are 10.67.0.11 and 10.67.0.12 on
its ``eth1``, with the VIP 10.66.0.80 on their loopbacks, and a wire of their own to the client
that their answers take: they never cross the balancer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.netns.namespaces import Host, connect, made_host

VIP, SERVICE = "10.66.0.80", "10.66.0.80:80"
BACKENDS = ("10.67.0.11", "10.67.0.12")


@dataclass(frozen=True)
class Arms:
    """The hosts; all backends are on one, and share its MAC."""

    lb: Host
    client: Host
    backend: Host


@contextmanager
def made_arms() -> Iterator[Arms]:
    """Create and connect the hosts; a web server named ``backend`` answers at the VIP."""
    with ExitStack() as stack:
        arms = Arms(*(stack.enter_context(made_host()) for _ in range(3)))
        connect(arms.lb, arms.client, "eth0", [("10.66.0.1/24", "10.66.0.2/24")])
        connect(arms.lb, arms.backend, "eth1", [("10.67.0.1/24", f"{BACKENDS[0]}/24")])
        arms.backend.run("ip", "address", "add", f"{BACKENDS[1]}/24", "dev", "eth1")
        connect(arms.client, arms.backend, "wire", [("10.68.0.1/24", "10.68.0.2/24")])
        have_vip(arms.backend)
        arms.backend.run("ip", "route", "add", "10.66.0.0/24", "via", "10.68.0.1")
        stack.enter_context(arms.backend.serving("backend"))
        yield arms


def have_vip(backend: Host) -> None:
    """Set a backend up as the documentation says."""
    backend.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")
    backend.run("sysctl", "-qw", "net.ipv4.conf.all.arp_announce=2")
    backend.run("ip", "address", "add", f"{VIP}/32", "dev", "lo")
