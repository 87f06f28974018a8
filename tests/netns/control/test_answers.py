"""What VIPs say for themselves on the wire: ARP, neighbour discovery, announcements, ping."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host, connect

VIP4, VIP6 = "10.66.0.80", "fd66::80"
SERVICES = {VIP4: f"{VIP4}:80", VIP6: f"[{VIP6}]:80"}
OTHERS = {VIP4: "10.66.0.81", VIP6: "fd66::81"}

both = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["IPv4", "IPv6"])


@pytest.fixture
def lb(quick: Pydsr) -> Host:
    """The balancer's host, which the tests of this file share."""
    return quick.host


@pytest.fixture
def peer(lasting: tuple[Pydsr, Host]) -> Host:
    """The host at the other end of the wire, which the tests of this file share."""
    return lasting[1]


def endpoint(vip: str) -> str:
    """Return a service's endpoint at a VIP."""
    return f"[{vip}]:80" if ":" in vip else f"{vip}:80"


def asks(peer: Host, vip: str) -> str | None:
    """Ask the wire for an address, past the kernel's tables; return what was said."""
    if ":" in vip:
        done = peer.attempt("ndisc6", "-1", "-r1", "-w500", vip, "eth0")
    else:
        done = peer.attempt("arping", "-c1", "-w1", "-I", "eth0", vip)
    return done.stdout.lower() if done.returncode == 0 else None


def announces(vip: str) -> Callable[[bytes], bool]:
    """Return whether a frame tells everybody where a VIP is."""

    def received(raw: bytes) -> bool:
        frame = Ether(raw)
        if ARP in frame:
            return str(frame[ARP].psrc) == str(frame[ARP].pdst) == vip
        return ICMPv6ND_NA in frame and str(frame[ICMPv6ND_NA].tgt) == vip

    return received


def assert_announcement(raw: bytes, vip: str, mac: str) -> None:
    """Check every field that a host or switch looks at."""
    frame = Ether(raw)
    assert frame.src == mac
    if ARP in frame:
        arp = frame[ARP]
        assert frame.dst == "ff:ff:ff:ff:ff:ff"
        assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, mac, vip, vip)
        return
    advertisement = frame[ICMPv6ND_NA]
    assert frame.dst == "33:33:00:00:00:01"
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (vip, "ff02::1", 255)
    assert (advertisement.R, advertisement.S, advertisement.O) == (0, 0, 1)
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == mac
    said = advertisement.cksum
    del frame[ICMPv6ND_NA].cksum
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == said


@both
def test_a_vip_is_found_on_the_wire(quick: Pydsr, lb: Host, peer: Host, vip: str) -> None:
    """ARP and neighbour discovery are answered with the MAC of the balancer's interface."""
    assert asks(peer, vip) is None
    quick.ok("services", "add", endpoint(vip))
    said = asks(peer, vip)
    assert said is not None
    assert lb.mac() in said
    assert asks(peer, OTHERS[vip]) is None


@both
def test_the_neighbours_kernel_takes_the_answer(
    quick: Pydsr, lb: Host, peer: Host, vip: str
) -> None:
    """A client's own kernel resolves the VIP, and pings it."""
    quick.ok("services", "add", endpoint(vip))
    peer.run("ip", "neigh", "flush", "dev", "eth0")
    assert peer.pings(vip)
    assert peer.neighbour_mac(vip) == lb.mac()


@both
@pytest.mark.parametrize("size", ["0", "1", "56", "1400"])
def test_a_vip_answers_ping(quick: Pydsr, peer: Host, vip: str, size: str) -> None:
    """Echo requests of any size come back intact, with no backend at all."""
    quick.ok("services", "add", endpoint(vip))
    pinged = peer.run("ping", "-c3", "-i0.01", "-W2", "-s", size, vip)
    assert "3 received" in pinged
    assert "wrong" not in pinged


def test_the_balancers_kernel_does_not_know_the_vip(quick: Pydsr, lb: Host, peer: Host) -> None:
    """The VIP is no local address: the program alone speaks for it."""
    quick.ok("services", "add", endpoint(VIP4))
    assert VIP4 not in lb.run("ip", "address", "show")
    assert peer.pings(VIP4)
    assert lb.attempt("ip", "route", "get", VIP4).stdout.startswith(f"{VIP4} dev eth0")


@both
def test_a_removed_service_is_silent(quick: Pydsr, peer: Host, vip: str) -> None:
    """The VIP is answered for as long as one service has it, and no longer."""
    other = endpoint(vip).replace(":80", ":443") if vip == VIP4 else f"[{vip}]:443"
    quick.ok("services", "add", endpoint(vip))
    quick.ok("services", "add", other)
    quick.ok("services", "remove", endpoint(vip))
    assert asks(peer, vip)
    quick.ok("services", "remove", other)
    assert asks(peer, vip) is None


@both
def test_a_new_service_is_announced(quick: Pydsr, lb: Host, peer: Host, vip: str) -> None:
    """Switches and hosts hear at once where the VIP is."""
    with peer.listen() as listener:
        quick.ok("services", "add", endpoint(vip))
        assert_announcement(listener.until(announces(vip))[-1], vip, lb.mac())


@both
def test_attach_announces_what_is_served(quick: Pydsr, lb: Host, peer: Host, vip: str) -> None:
    """A balancer that takes over tells everybody, at attach as at upgrade."""
    quick.ok("services", "add", endpoint(vip))
    for before in (("detach", "eth0"), ("status",)):
        quick.ok(*before)
        with peer.listen() as listener:
            quick.ok("attach", "eth0")
            assert_announcement(listener.until(announces(vip))[-1], vip, lb.mac())


@both
def test_an_announcement_moves_the_vip(quick: Pydsr, lb: Host, peer: Host, vip: str) -> None:
    """A client that had the VIP at another machine's MAC sends to the balancer now."""
    old = ("lladdr", "02:00:00:00:00:99", "nud", "reachable", "dev", "eth0")
    peer.run("ip", "neigh", "replace", vip, *old)
    quick.ok("services", "add", endpoint(vip))
    assert peer.pings(vip)
    assert peer.neighbour_mac(vip) == lb.mac()


@both
def test_a_service_without_arp_is_silent(quick: Pydsr, peer: Host, vip: str) -> None:
    """With --no-arp the VIP is neither announced nor answered for."""
    with peer.listen() as listener:
        quick.ok("services", "add", endpoint(vip), "--no-arp")
        quick.ok("services", "add", endpoint(OTHERS[vip]))
        quick.ok("attach", "eth0")
        for _ in range(2):
            received = listener.until(announces(OTHERS[vip]))
            assert not [frame for frame in received if announces(vip)(frame)]
    assert asks(peer, vip) is None
    assert asks(peer, OTHERS[vip])


@both
def test_a_service_without_arp_still_works(quick: Pydsr, lb: Host, peer: Host, vip: str) -> None:
    """Packets that are routed to the balancer are served: the VIP answers ping."""
    quick.ok("services", "add", endpoint(vip), "--no-arp")
    peer.run("ip", "neigh", "replace", vip, "lladdr", lb.mac(), "dev", "eth0")
    assert peer.pings(vip)


def test_each_interface_answers_with_its_own_mac(quick: Pydsr, lb: Host, peer: Host) -> None:
    """On two wires the VIP is at the MAC of the interface on that wire."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    quick.ok("services", "add", "10.67.0.80:80")
    with peer.listen("eth1") as listener:
        quick.ok("attach", "eth1")
        assert_announcement(
            listener.until(announces("10.67.0.80"))[-1], "10.67.0.80", lb.mac("eth1")
        )
    assert peer.pings("10.67.0.80")
    assert peer.neighbour_mac("10.67.0.80") == lb.mac("eth1")


def solicited_groups(lb: Host) -> set[str]:
    """Return the solicited-node multicast MACs that the balancer's interface listens to."""
    words = lb.run("ip", "maddress", "show", "dev", "eth0").split()
    return {word for word in words if word.startswith("33:33:ff")}


def test_the_interface_listens_for_solicitations_of_the_vip(quick: Pydsr, lb: Host) -> None:
    """The card's filter lets through what asks for an IPv6 VIP, until no service needs it."""
    before = solicited_groups(lb)
    vip = str(IPv6Address("fd66::12:3456"))
    quick.ok("services", "add", endpoint(vip))
    assert solicited_groups(lb) - before == {"33:33:ff:12:34:56"}
    quick.ok("attach", "eth0")
    quick.ok("services", "remove", endpoint(vip))
    assert solicited_groups(lb) == before


def test_detach_gives_the_groups_up(quick: Pydsr, lb: Host) -> None:
    """After detach the card's filter is as before attach."""
    before = solicited_groups(lb)
    quick.ok("services", "add", endpoint(VIP6))
    quick.ok("detach", "eth0")
    assert solicited_groups(lb) == before


def test_vips_of_one_group_do_not_silence_each_other(quick: Pydsr, lb: Host) -> None:
    """Addresses with the same last 24 bits share a group, which stays while one needs it."""
    before = solicited_groups(lb)
    for vip in ("fd66::aa:80", "fd67::aa:80"):
        quick.ok("services", "add", endpoint(vip))
    quick.ok("services", "remove", endpoint("fd67::aa:80"))
    assert solicited_groups(lb) - before == {"33:33:ff:aa:00:80"}
