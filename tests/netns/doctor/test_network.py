"""Every finding on VIPs and backends, caused for real and mended as the doctor says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pydsr.lab.lab import Lab
from pydsr.lab.topology import Role
from pydsr.model.errors import ExitStatus
from tests.netns.health.test_tls import make_certificate, tls
from tests.support.netns.checked_host import Checked, needs
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.doctor_report import Examined, command_in, examine
from tests.support.netns.kills import ends
from tests.support.netns.namespaces import Host, eventually, made_directory, made_host, made_wire
from tests.support.netns.two_arms import have_vip

SERVICE, SERVICE6, DATAGRAMS = "10.66.0.80:80", "[fd66::80]:80", "10.66.0.80:53/udp"
VIP, VIP6 = "10.66.0.80", "fd66::80"
BACKEND, BACKEND6 = "10.66.0.11", "fd66::11"


@dataclass(frozen=True)
class Served:
    """A balancer with services whose backend is its peer."""

    pydsr: Pydsr
    lb: Host
    peer: Host

    def examine(self) -> Examined:
        """Run the doctor."""
        return examine(self.pydsr)

    @contextmanager
    def mended(self, host: Host, kind: str) -> Iterator[None]:
        """Expect one finding, inspect it in the block, then run its remedy on a host."""
        found = self.examine()
        assert [kind] == found.ids, found
        assert ExitStatus.NOT_AS_DESIRED == found.status
        yield
        command = command_in(found.first(kind)["remedy"])
        if command[0] == "pydsr":
            self.pydsr.ok(*command[1:])
        else:
            host.run(*command)
        assert ExitStatus.DONE == self.examine().status


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A healthy balancer; every test undoes what it does to it."""
    with made_wire() as (lb, peer), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0")
        have_vip(peer)
        peer.run("ip", "address", "add", f"{VIP6}/128", "dev", "lo", "nodad")
        with peer.serving("backend"):
            pydsr.ok("backends", "set", SERVICE, BACKEND)
            pydsr.ok("backends", "set", SERVICE6, BACKEND6)
            pydsr.ok("backends", "set", DATAGRAMS, BACKEND)
            yield Served(pydsr, lb, peer)


def test_a_healthy_balancer_gives_no_finding(served: Served) -> None:
    """The report lists what was examined."""
    done = served.pydsr("doctor")
    assert ExitStatus.DONE == done.status
    assert "no problems found" in done.stdout
    assert "in native mode" in done.stdout
    assert "this balancer alone answers ARP on eth0" in done.stdout
    assert "this balancer alone answers neighbour discovery on eth0" in done.stdout
    assert 3 == done.stdout.count("accepts packets to the VIP, and replies from it")
    assert "" == done.stderr


def test_a_healthy_lab_gives_no_finding() -> None:
    with Lab(f"doctor-{os.getpid()}", backends=2) as lab:
        lab.serve()
        lab.balance()
        found = examine(Pydsr(Host(lab.topology.namespace(Role.BALANCER)), lab.bpffs))
    assert [] == found.ids
    assert ExitStatus.DONE == found.status


def test_a_vip_that_is_an_address_here(served: Served) -> None:
    served.lb.run("ip", "address", "add", f"{VIP}/32", "dev", "eth0")
    with served.mended(served.lb, "vip-local"):
        assert "its VIP is an address of this machine" in served.examine().unseen()


def test_a_backend_that_answers_arp_for_the_vip(served: Served) -> None:
    served.peer.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0")
    with served.mended(served.peer, "arp-leak"):
        what = served.examine().first("arp-leak")["what"]
        assert f"backend {BACKEND}, {BACKEND6} ({served.peer.mac()}) answers ARP for {VIP}" in what
        assert "2 MACs answer for it" in what


def test_a_backend_that_answers_neighbour_discovery_for_the_vip(served: Served) -> None:
    served.peer.run("ip", "address", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
    found = served.examine()
    assert ["arp-leak"] == found.ids
    assert f"answers neighbour discovery for {VIP6}" in found.first("arp-leak")["what"]
    served.peer.run("ip", "address", "delete", f"{VIP6}/128", "dev", "eth0")


def test_a_stranger_that_has_the_vip(served: Served) -> None:
    with stranger(served) as (host, mac):
        found = served.examine()
        assert ["vip-contested"] == found.ids
        assert f"{mac} answers ARP for {VIP} on eth0" in found.first("vip-contested")["what"]
        assert VIP in host.run("ip", "address")


def test_another_host_may_have_a_vip_that_this_balancer_does_not_answer_for(
    served: Served,
) -> None:
    """As with routed VIPs, or a standby balancer."""
    with stranger(served, "10.66.0.81") as (_, mac):
        served.pydsr.ok("services", "add", "10.66.0.81:80", "--no-arp")
        found = served.examine()
        assert ["service-empty"] == found.ids
        assert any(f"{mac} answers ARP for 10.66.0.81" in one["text"] for one in found.checks)
        served.pydsr.ok("services", "remove", "10.66.0.81:80")


@contextmanager
def stranger(served: Served, vip: str = VIP) -> Iterator[tuple[Host, str]]:
    """Put another host with an address on the balancer's wire; yield it and its MAC."""
    with made_host() as host:
        served.peer.run("ip", "link", "add", "other", "link", "eth0", "type", "macvlan")
        served.peer.run("ip", "link", "set", "other", "netns", host.name)
        host.run("ip", "link", "set", "other", "up")
        host.run("ip", "address", "add", f"{vip}/32", "dev", "other")
        yield host, host.mac("other")


def test_a_service_without_backends(served: Served) -> None:
    served.pydsr.ok("services", "add", "10.66.0.80:99")
    assert ["service-empty"] == served.examine().ids
    served.pydsr.ok("services", "remove", "10.66.0.80:99")


def test_a_backend_without_the_vip(served: Served) -> None:
    """For UDP, too, where the check pings the VIP."""
    served.peer.run("ip", "address", "delete", f"{VIP}/32", "dev", "lo")
    with served.mended(served.peer, "backend-vip-missing"):
        subjects = {finding["subject"] for finding in served.examine().findings}
        assert {f"{SERVICE}/tcp on {BACKEND}", f"{DATAGRAMS} on {BACKEND}"} == subjects


def test_a_port_without_a_server(served: Served) -> None:
    served.pydsr.ok("backends", "set", "10.66.0.80:81", BACKEND)
    assert ["backend-port-closed"] == served.examine().ids
    served.pydsr.ok("services", "remove", "10.66.0.80:81")


NFT = {
    "backend-rejected": (
        "in { type filter hook input priority 0; }",
        "in tcp dport 80 reject with icmpx type admin-prohibited",
    ),
    "backend-timed-out": ("in { type filter hook input priority 0; }", "in tcp dport 80 drop"),
    "backend-wrong-source": (
        "out { type filter hook output priority raw + 1; }",
        f"out ip saddr {VIP} ip saddr set {BACKEND}",
    ),
}
"""An nftables chain and rule that make a backend misbehave."""


@pytest.mark.parametrize("kind", NFT)
def test_a_backend_that_a_filter_stands_before(served: Served, kind: str) -> None:
    needs("nft")
    chain, rule = NFT[kind]
    served.peer.run("nft", "add table inet t")
    served.peer.run("nft", f"add chain inet t {chain}")
    served.peer.run("nft", f"add rule inet t {rule}")
    found = served.examine()
    served.peer.run("nft", "delete table inet t")
    assert kind in found.ids
    assert all(one["id"] == kind or "udp" in one["subject"] for one in found.findings)


LOSSY = """
add table inet t
add chain inet t out { type filter hook output priority 0; }
add rule inet t out meta l4proto { tcp, icmp } numgen random mod 2 == 0 drop
add rule inet t out icmpv6 type echo-reply numgen random mod 2 == 0 drop
"""


def test_a_backend_of_which_half_of_all_packets_are_lost(served: Served) -> None:
    """A check may pass by chance, or meet no ping that is answered: it is asked until one tells."""
    needs("nft")
    served.peer.run("nft", LOSSY)

    def report() -> list[str]:
        findings = served.examine().findings
        return [one["what"] for one in findings if one["id"] == "backend-packets-lost"]

    whats = eventually(report)
    served.peer.run("nft", "delete table inet t")
    assert whats
    assert all("packets get lost" in what for what in whats)


def test_a_filter_here_keeps_checks_from_being_made(served: Served) -> None:
    """And is not taken for a VIP that the backend lacks, though that does not answer ping."""
    needs("nft")
    served.lb.run("nft", "add table inet t")
    served.lb.run("nft", "add chain inet t out { type filter hook output priority 0; }")
    served.lb.run("nft", f"add rule inet t out ip daddr {VIP} drop")
    found = served.examine()
    served.lb.run("nft", "delete table inet t")
    assert ["backend-unchecked"] == found.ids


def test_a_backend_that_is_gone(served: Served) -> None:
    served.pydsr.ok("backends", "set", "10.66.0.80:82", "10.66.0.12")
    served.peer.run("ip", "address", "delete", "10.66.0.12/24", "dev", "eth0")
    served.lb.run("ip", "neigh", "flush", "all")
    found = served.examine()
    served.peer.run("ip", "address", "add", "10.66.0.12/24", "dev", "eth0")
    served.pydsr.ok("services", "remove", "10.66.0.80:82")
    assert ["backend-no-neighbour"] == found.ids


def test_a_backend_with_another_mac(served: Served) -> None:
    """Without a daemon nothing follows it; the VIP on it is well, and clients do not reach it."""
    before = served.peer.mac()
    served.peer.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:77")
    served.lb.run("ip", "neigh", "flush", "all")
    found = served.examine()
    assert ["backend-moved"] == found.ids
    for finding in found.findings:
        assert f"go to {before}, but it is at 02:00:00:00:00:77" in finding["what"]
        served.pydsr.ok(*command_in(finding["remedy"])[1:])


def test_a_mac_of_the_balancer_that_the_program_does_not_know(served: Served) -> None:
    served.lb.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:66")
    with served.mended(served.lb, "mac-changed"):
        assert "02:00:00:00:00:66 now" in served.examine().first("mac-changed")["what"]


def test_a_multicast_that_is_not_listened_to(served: Served) -> None:
    served.lb.run("ip", "maddress", "delete", "33:33:ff:00:00:80", "dev", "eth0")
    with served.mended(served.lb, "nd-unheard"):
        pass


def test_an_interface_that_is_down(served: Served) -> None:
    served.lb.run("ip", "link", "set", "eth0", "down")
    found = served.examine()
    assert ["backend-unsteered", "interface-down"] == found.ids
    served.lb.run(*command_in(found.first("interface-down")["remedy"]))


def test_a_wire_whose_other_end_is_down(served: Served) -> None:
    served.peer.run("ip", "link", "set", "eth0", "down")
    found = served.examine()
    served.peer.run("ip", "link", "set", "eth0", "up")
    assert "no-carrier" in found.ids


def test_a_filter_of_this_machine_that_drops_what_a_routed_vip_answers(served: Served) -> None:
    served.peer.run("ip", "address", "add", "192.0.2.80/32", "dev", "lo")
    served.pydsr.ok("services", "add", "192.0.2.80:80", "--no-arp")
    served.pydsr.ok("backends", "set", "192.0.2.80:80", BACKEND)
    assert [] == served.examine().ids
    served.lb.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    with served.mended(served.lb, "replies-filtered"):
        pass
    served.pydsr.ok("services", "remove", "192.0.2.80:80")
    served.peer.run("ip", "address", "delete", "192.0.2.80/32", "dev", "lo")


def test_without_an_ipv6_address_here_who_answers_for_an_ipv6_vip_is_not_known(
    served: Served,
) -> None:
    served.lb.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    found = served.examine()
    served.lb.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    served.lb.run("ip", "address", "add", "fd66::1/64", "dev", "eth0")
    assert "the network was not asked for it: eth0:" in found.unseen()


def test_from_another_network_namespace_it_says_where_to_go(served: Served) -> None:
    found = examine(Pydsr(served.peer, served.pydsr.bpffs))
    assert ["elsewhere"] == found.ids
    assert "nsenter" in found.first("elsewhere")["remedy"]


def test_a_balancer_that_is_detached_and_damaged(lb: Host, bpffs: Path) -> None:
    pydsr = Pydsr(lb, bpffs)
    pydsr.ok("attach", "eth0")
    pydsr.ok("services", "add", SERVICE)
    pydsr.ok("detach", "eth0")
    assert ["not-attached", "service-empty"] == examine(pydsr).ids
    (bpffs / "records").unlink()
    found = examine(pydsr)
    assert ["state-unreadable"] == found.ids
    assert "records is missing" in found.first("state-unreadable")["what"]


def test_a_backend_that_a_killed_change_has_left_without_a_mac(lb: Host, peer: Host) -> None:
    """Killed while it gave the backend another VLAN: nothing is sent into the wrong one."""
    peer.run("ethtool", "-K", "eth0", "txvlan", "off")
    lb.run("ethtool", "-K", "eth0", "rxvlan", "off")
    have_vip(peer)
    with made_directory() as bpffs, peer.serving("backend"):
        served = Served(Pydsr(lb, bpffs), lb, peer)
        served.pydsr.ok("attach", "eth0", "--with", "vlan")
        served.pydsr.ok("backends", "set", SERVICE, f"{BACKEND}=3")
        tagged = f"{BACKEND}=3@{peer.mac()}%300"
        change = ("backends", "set", SERVICE, tagged)
        assert not ends(served.pydsr, *change, functions=["pack_tags"], nth=1)
        with served.mended(lb, "backend-unplaced"):
            pass
        (service,) = served.pydsr.json("backends", "list", SERVICE)
        assert [(peer.mac(), 3)] == [(one["mac"], one["weight"]) for one in service["backends"]]


PACE = "interval: 1, fall: 1"
DAEMON = f"""
interfaces: [eth0]
services:
  - endpoint: {VIP}:80
    checks: [{{type: http, path: /broken, status: [200], {PACE}}}]
    backends: [{BACKEND}]
  - endpoint: {VIP}:81
    checks: [{{type: http, {PACE}}}]
    backends: [{BACKEND}]
  - endpoint: {VIP}:443
    checks: [{{type: https, host: www.example, {PACE}}}]
    backends: [{BACKEND}]
  - endpoint: {VIP}:82
    checks: [{{type: agent, port: 7777, {PACE}}}]
    backends: [{BACKEND}]
  - endpoint: {VIP}:83
    backends: [{BACKEND}]
"""

HELD = {
    "backend-wrong-answer": (80, "error", "status 503 for /broken"),
    "backend-broken-off": (81, "error", "closed it before it answered"),
    "backend-bad-certificate": (443, "error", "self-signed certificate"),
    "backend-declared-down": (82, "warning", "the disk is full"),
}
"""What checks of that file hold of a backend: the port it is of, how much it matters, and words."""


def test_a_daemon_is_asked_for_what_its_checks_hold(lb: Host, peer: Host, tmp_path: Path) -> None:
    """And no check of ours is made beside them."""
    have_vip(peer)
    checked = Checked(lb, peer)
    make_certificate(tmp_path, "own", 30)
    with (
        made_directory() as bpffs,
        checked.nginx(tmp_path, tls(tmp_path, "own")),
        checked.taking(lambda _: None, 81),
        checked.taking(lambda connection: connection.sendall(b"down # the disk is full\n"), 7777),
    ):
        daemon = Daemon(Pydsr(lb, bpffs), tmp_path)
        daemon.write(DAEMON)
        with daemon.running():
            daemon.until("backend-unhealthy", len(HELD))
            found = Examined.of(daemon.pydsr("doctor", "--json", *daemon.runtime))
    assert sorted([*HELD, "service-empty"]) == found.ids
    for kind, (port, severity, words) in HELD.items():
        finding = found.first(kind)
        assert f"{VIP}:{port}/tcp on {BACKEND}" == finding["subject"]
        assert severity == finding["severity"]
        assert words in finding["what"]
    assert "another process makes health checks here" in found.unseen()
