"""Two balancers share VIPs, by VRRP and by BGP, with the files of the how-tos as they are."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from pydsr.lab.lab import Lab
from pydsr.lab.topology import SERVICES
from tests.support.lab.connections import Connections, broken, start_servers
from tests.support.lab.long_connections import Connection
from tests.support.lab.two_balancers import Machine, agree, balancing, file_in, program
from tests.support.netns.checked_host import needs
from tests.support.netns.namespaces import Host, eventually

CONNECTIONS = 40
"""How many are opened to each service at a time."""

FILE = "/etc/pydsr/balancer.yaml"
MOVING = "10.77.0.254"
VIPS = ("10.77.0.80", "fd77::80")
CLIENTS = ("10.77.0.101", "fd77::101")
ROUTER = ("10.77.0.102", "fd77::102")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Backends with servers, two clients, and two balancers that nothing runs on yet."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and XDP take root")
    with Lab(f"over-{secrets.token_hex(4)}", clients=2, balancers=2) as lab:
        start_servers(lab, [80])
        yield lab


def opened(connections: Connections, group: str = "") -> list[Connection]:
    """Open connections to all services; return all there are."""
    for service in SERVICES:
        found = connections.open(service, CONNECTIONS, group)
    return found


# -- VRRP


def keepalived(machine: Machine) -> AbstractContextManager[Popen[bytes]]:
    """Have keepalived run with the file of the how-to."""
    file = machine.folder / "keepalived.conf"
    file.write_text(file_in("keepalived.md", "/etc/keepalived/keepalived.conf"))
    pids = ("--pid", str(machine.folder / "pid"), "--vrrp_pid", str(machine.folder / "vrrp.pid"))
    options = ("--dont-fork", "--log-console", "--vrrp", "--use-file", str(file))
    return program(machine.host, machine.folder, "keepalived", *options, *pids)


def master(machines: Sequence[Machine]) -> Machine | None:
    """Return the machine that has the address which moves, if it is one alone."""
    found = [machine for machine in machines if machine.has(MOVING)]
    return found[0] if len(found) == 1 else None


def test_by_vrrp_the_other_balancer_takes_over_and_no_connection_breaks(
    lab: Lab, tmp_path: Path
) -> None:
    needs("keepalived")
    client = Host(lab.topology.namespace("client1"))
    with ExitStack() as stack:
        machines = stack.enter_context(balancing(lab, tmp_path, file_in("keepalived.md", FILE)))
        assert all(map(agree, [machines] * 2, SERVICES, CLIENTS))
        assert [False, False] == [machine.answers() for machine in machines]
        running = {one.name: stack.enter_context(keepalived(one)) for one in machines}
        first = eventually(lambda: master(machines))
        assert first is not None
        (second,) = set(machines) - {first}
        assert eventually(first.answers)
        assert 0 == second.daemon.pydsr("doctor").status
        connections = stack.enter_context(Connections(lab))
        assert [] == broken(opened(connections))

        def assert_takes_over(new: Machine, old: Machine) -> None:
            mac = new.host.mac()
            assert eventually(lambda: all(client.neighbour_mac(vip) == mac for vip in VIPS))
            assert [] == broken(opened(connections))
            assert [] == broken(connections.check())
            assert eventually(lambda: not old.answers())

        first.plug("down")
        assert_takes_over(second, first)

        first.plug("up")
        assert eventually(lambda: master(machines) == second)
        running[second.name].terminate()
        assert_takes_over(first, second)
        assert 0 == first.daemon.pydsr("diff", str(first.daemon.file)).status


# -- BGP


def bird(host: Host, folder: Path, file: str) -> AbstractContextManager[Popen[bytes]]:
    """Have bird run with a file."""
    (folder / "bird.conf").write_text(file)
    options = ("-f", "-c", str(folder / "bird.conf"), "-s", str(folder / "bird.ctl"))
    return program(host, folder, "bird", *options)


def bird_of(machine: Machine) -> AbstractContextManager[Popen[bytes]]:
    """Have bird run with the file of the how-to; its first lines are each machine's own."""
    first, second = ("10.77.0.1;", "fd77::1;"), ("10.77.0.2;", "fd77::2;")
    file = file_in("bgp.md", "/etc/bird/bird.conf")
    if machine.name == "lb2":
        for before, after in zip(first, second, strict=True):
            file = file.replace(before, after)
    return bird(machine.host, machine.folder, file)


def announcing(machine: Machine) -> AbstractContextManager[Popen[bytes]]:
    """Have the script of the how-to run."""
    script = file_in("bgp.md", "/usr/local/sbin/announce-vips")
    path = machine.folder / "announce-vips"
    path.write_text(script.replace("/run/bird", str(machine.folder)))
    path.chmod(0o755)
    return program(machine.host, machine.folder, str(path))


@dataclass(frozen=True)
class Dealt:
    """A router with its balancers, and the scripts that announce VIPs on these."""

    router: Host
    machines: tuple[Machine, Machine]
    scripts: Sequence[Popen[bytes]]

    def until_dealt_to(self, *balancers: str) -> None:
        """Wait until exactly these balancers get packets for all VIPs."""
        expected = [{*balancers}] * len(VIPS)
        assert eventually(lambda: next_hops(self.router) == expected), next_hops(self.router)


def next_hops(router: Host) -> list[set[str]]:
    """Return over which balancers a router sends packets to each VIP."""
    return [
        {name for name in ("1", "2") if f" via {network}{name} " in router.run(*show, vip)}
        for vip, network, show in zip(
            VIPS,
            ("10.77.0.", "fd77::"),
            (("ip", "route", "show"), ("ip", "-6", "route", "show")),
            strict=True,
        )
    ]


def become_router(lab: Lab) -> Host:
    """Have the second client forward packets to VIPs, and the first send its own there."""
    client, router = (Host(lab.topology.namespace(name)) for name in ("client1", "client2"))
    router.run(
        "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
        "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0",
        "net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1",
    )  # fmt: skip
    for vip, via in zip(VIPS, ROUTER, strict=True):
        client.run("ip", "route", "add", vip, "via", via)
    client.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_redirects=0")
    return router


def packets(machine: Machine) -> int:
    """Return how many packets a balancer has sent to backends."""
    services = machine.daemon.pydsr.json("stats")["services"]
    return sum(service["packets"] for service in services)


@pytest.fixture
def dealt(lab: Lab, tmp_path: Path) -> Iterator[Dealt]:
    """A router that deals flows to both balancers, which have two backends at first."""
    needs("bird", "birdc")
    router = become_router(lab)
    with ExitStack() as stack:
        machines = stack.enter_context(balancing(lab, tmp_path, with_two_backends()))
        stack.enter_context(bird(router, tmp_path, file_in("bgp.md", "the router's bird.conf")))
        for machine in machines:
            stack.enter_context(bird_of(machine))
        scripts = [stack.enter_context(announcing(machine)) for machine in machines]
        made = Dealt(router, machines, scripts)
        made.until_dealt_to("1", "2")
        yield made


def with_two_backends() -> str:
    """Return the file of the how-to without the last backend of each service."""
    return re.sub(r", [^,\n]*]$", "]", file_in("bgp.md", FILE), flags=re.M)


def test_by_bgp_a_router_deals_flows_to_balancers_that_come_and_go_and_none_breaks(
    lab: Lab, dealt: Dealt
) -> None:
    first, second = dealt.machines
    with Connections(lab) as connections:
        assert [] == broken(opened(connections, "old"))
        assert all(packets(machine) > CONNECTIONS for machine in dealt.machines)

        dealt.scripts[1].terminate()
        dealt.until_dealt_to("1")
        assert [] == broken(opened(connections, "old"))
        with announcing(second):
            dealt.until_dealt_to("1", "2")
            first.daemon.pydsr.ok("detach", "eth0")
            dealt.until_dealt_to("2")
            first.daemon.pydsr.ok("attach", "eth0")
            dealt.until_dealt_to("1", "2")
            assert [] == broken(connections.check())

            for machine in dealt.machines:
                machine.daemon.write(file_in("bgp.md", FILE))
            for machine in dealt.machines:
                machine.daemon.until("reloaded")
            assert all(map(agree, [dealt.machines] * 2, SERVICES, CLIENTS))
            assert [] == broken(opened(connections, "new"))
            first.plug("down")
            dealt.until_dealt_to("2")
            # As the how-to says: what breaks was opened since the change, to the backend that came.
            lost = broken(connections.check())
            assert {("new", "backend3")} >= {(one.group, one.backend) for one in lost}
