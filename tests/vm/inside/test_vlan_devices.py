"""VLAN devices on an attached interface: backends behind them, VIPs announced on them.

The balancer's eth0 is a trunk. On it are VLAN 100, where the client is (10.66.0.2), and VLAN 200,
where the backend is (10.67.0.11), each a namespace of its own. The backend answers by a wire of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from scapy.layers.l2 import ARP, Ether

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host, connect, made_directory, made_host
from tests.support.netns.two_arms import SERVICE, VIP, have_vip

BACKEND = "10.67.0.11"


@dataclass(frozen=True)
class Trunk:
    """The hosts of a trunk; the interface of client and backend is called vlan."""

    lb: Host
    client: Host
    backend: Host


def add_vlan(host: Host, parent: str, name: str, vlan: int, *options: str) -> None:
    """Add a VLAN device."""
    kind = ("type", "vlan", *options, "id", str(vlan))
    host.run("ip", "link", "add", "link", parent, "name", name, *kind)
    host.run("ip", "link", "set", name, "up")


def hand_over(trunk: Host, host: Host, vlan: int, address: str) -> None:
    """Give a host a VLAN of the trunk's far end."""
    trunk.run("ip", "link", "add", "link", "eth0", "name", "vlan", "type", "vlan", "id", str(vlan))
    trunk.run("ip", "link", "set", "vlan", "netns", host.name)
    # A MAC of its own: a frame that comes from its backend's would be taken for a bounced one.
    host.run("ip", "link", "set", "vlan", "address", f"02:00:00:00:01:{vlan:02x}")
    host.run("ip", "link", "set", "vlan", "up")
    host.run("ip", "address", "add", address, "dev", "vlan")


@pytest.fixture
def trunk() -> Iterator[Trunk]:
    """Make and connect the hosts; a web server named ``backend`` answers at the VIP."""
    with ExitStack() as stack:
        lb, far, client, backend = (stack.enter_context(made_host()) for _ in range(4))
        connect(lb, far, "eth0", [])
        for host in (lb, far):
            # A veth would hand tags over beside the frame, where no program sees them.
            host.run("ethtool", "-K", "eth0", "txvlan", "off", "rxvlan", "off")
        add_vlan(lb, "eth0", "eth0.100", 100)
        add_vlan(lb, "eth0", "eth0.200", 200)
        lb.run("ip", "address", "add", "10.66.0.1/24", "dev", "eth0.100")
        lb.run("ip", "address", "add", "10.67.0.1/24", "dev", "eth0.200")
        hand_over(far, client, 100, "10.66.0.2/24")
        hand_over(far, backend, 200, f"{BACKEND}/24")
        connect(client, backend, "wire", [("10.68.0.1/24", "10.68.0.2/24")])
        have_vip(backend)
        backend.run("ip", "route", "add", "10.66.0.0/24", "via", "10.68.0.1")
        stack.enter_context(backend.serving("backend"))
        yield Trunk(lb, client, backend)


@pytest.fixture
def pydsr(trunk: Trunk) -> Iterator[Pydsr]:
    """The command on the balancer; nothing is attached yet."""
    with made_directory() as bpffs:
        yield Pydsr(trunk.lb, bpffs)


def placed(pydsr: Pydsr) -> dict[str, tuple[str, str | None]]:
    """Return interface and VLAN of each backend of the service."""
    (service,) = pydsr.json("backends", "list", SERVICE)
    return {one["address"]: (one["interface"], one["vlan"]) for one in service["backends"]}


def test_the_trunk_works_without_a_balancer(trunk: Trunk) -> None:
    """Each VLAN reaches its own, and nothing answers at the VIP."""
    assert trunk.lb.pings("10.66.0.2")
    assert trunk.lb.pings(BACKEND)
    assert trunk.client.asks_for_page(VIP, "-m", "1") is None


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_requests_go_from_the_clients_vlan_to_the_backends(
    trunk: Trunk, pydsr: Pydsr, mode: str
) -> None:
    """One interface, and real requests are answered; the place is found by the neighbour table."""
    pydsr.ok("attach", "eth0", "--mode", mode)
    assert "vlan" in pydsr.json("status")["features"]
    pydsr.ok("backends", "set", SERVICE, BACKEND)
    assert placed(pydsr) == {BACKEND: ("eth0", "200")}
    assert trunk.client.asks_for_page(VIP) == "backend"
    assert trunk.client.pings(VIP)
    assert trunk.lb.pings("10.66.0.2")


def test_a_vip_is_announced_in_every_vlan(trunk: Trunk, pydsr: Pydsr) -> None:
    """With the MAC of the interface, which the program takes, not with another of the device."""
    trunk.lb.run("ip", "link", "set", "eth0.100", "address", "02:00:00:00:00:99")
    pydsr.ok("attach", "eth0")
    with trunk.client.listen("vlan") as listener:
        pydsr.ok("services", "add", SERVICE)
        received = listener.until(lambda raw: ARP in Ether(raw) and Ether(raw)[ARP].psrc == VIP)
    assert Ether(received[-1])[ARP].hwsrc == Ether(received[-1]).src == trunk.lb.mac("eth0")
    assert trunk.client.pings(VIP)


def test_vlans_made_after_attach_are_read_from_the_next_change_on(
    trunk: Trunk, pydsr: Pydsr
) -> None:
    """Clients in them are served as those that were there at attach."""
    for name in ("eth0.100", "eth0.200"):
        trunk.lb.run("ip", "link", "delete", name)
    pydsr.ok("attach", "eth0")
    pydsr.ok("services", "add", SERVICE)
    assert "vlan" not in pydsr.json("status")["features"]
    assert not trunk.client.pings(VIP)
    add_vlan(trunk.lb, "eth0", "eth0.100", 100)
    pydsr.ok("tidy")
    assert "vlan" in pydsr.json("status")["features"]
    assert trunk.client.pings(VIP)


def test_vlan_devices_that_are_there_for_something_else_may_be_left_alone(
    trunk: Trunk, pydsr: Pydsr
) -> None:
    """Without the feature the program passes their packets on, and changes go on."""
    pydsr.ok("attach", "eth0", "--without", "vlan")
    pydsr.ok("services", "add", SERVICE)
    assert "vlan" not in pydsr.json("status")["features"]
    assert trunk.lb.pings("10.66.0.2")
    done = pydsr("backends", "set", SERVICE, BACKEND)
    assert done.status == ExitStatus.BAD_INPUT
    assert "takes vlan" in done.stderr


@pytest.mark.parametrize("options", [(), ("--mode", "native")])
def test_instead_of_a_vlan_device_its_parent_is_to_be_attached(
    trunk: Trunk, pydsr: Pydsr, options: tuple[str, ...]
) -> None:
    """It has no native mode."""
    done = pydsr("attach", "eth0.100", *options)
    assert done.status == ExitStatus.CANNOT
    assert "eth0.100 is a VLAN device" in done.stderr
    assert "pydsr attach eth0" in done.stderr
    assert trunk.lb.xdp_program("eth0.100") is None


def test_generic_mode_works_on_vlan_devices(trunk: Trunk, pydsr: Pydsr) -> None:
    """Each is an interface then, and the program sees no tags."""
    pydsr.ok("attach", "eth0.100", "eth0.200", "--mode", "generic")
    assert "vlan" not in pydsr.json("status")["features"]
    pydsr.ok("backends", "set", SERVICE, BACKEND)
    assert placed(pydsr) == {BACKEND: ("eth0.200", None)}
    assert trunk.client.asks_for_page(VIP) == "backend"


def test_a_backend_behind_two_vlans_gets_both_tags(trunk: Trunk, pydsr: Pydsr) -> None:
    """The device nearest to the wire has the outer one, whatever its protocol."""
    add_vlan(trunk.lb, "eth0", "service", 300, "proto", "802.1ad")
    add_vlan(trunk.lb, "service", "customer", 30)
    add_vlan(trunk.lb, "customer", "third", 3)
    for name, network in (("customer", "10.69.0.1/24"), ("third", "10.70.0.1/24")):
        trunk.lb.run("ip", "address", "add", network, "dev", name)
    permanent = ("lladdr", "02:00:00:00:00:aa", "nud", "permanent")
    trunk.lb.run("ip", "neigh", "add", "10.69.0.11", *permanent, "dev", "customer")
    pydsr.ok("attach", "eth0")
    pydsr.ok("backends", "set", SERVICE, "10.69.0.11")
    assert placed(pydsr) == {"10.69.0.11": ("eth0", "300.30")}
    done = pydsr("backends", "add", SERVICE, "10.70.0.11")
    assert done.status == ExitStatus.FAILED
    assert "more than 2 VLANs" in done.stderr


def test_a_backend_behind_a_vlan_of_another_interface_is_refused(
    trunk: Trunk, pydsr: Pydsr
) -> None:
    """The advice names the interface below that VLAN device."""
    connect(trunk.lb, trunk.client, "eth1", [])
    add_vlan(trunk.lb, "eth1", "eth1.5", 5)
    trunk.lb.run("ip", "address", "add", "10.69.0.1/24", "dev", "eth1.5")
    pydsr.ok("attach", "eth0")
    done = pydsr("backends", "set", SERVICE, "10.69.0.11")
    assert done.status == ExitStatus.FAILED
    assert "is behind eth1.5, where pydsr is not attached" in done.stderr
    assert "pydsr attach eth1\n" in done.stderr


def test_a_mac_by_hand_takes_the_vlan_of_its_route(trunk: Trunk, pydsr: Pydsr) -> None:
    """Another is taken where one is named."""
    pydsr.ok("attach", "eth0")
    pydsr.ok("backends", "set", SERVICE, f"{BACKEND}@{trunk.backend.mac('vlan')}")
    assert placed(pydsr) == {BACKEND: ("eth0", "200")}
    assert trunk.client.asks_for_page(VIP) == "backend"
    pydsr.ok("backends", "set", SERVICE, f"{BACKEND}@{trunk.backend.mac('vlan')}%300")
    assert placed(pydsr) == {BACKEND: ("eth0", "300")}
