"""``pydsr run`` and the network: MACs that change, interfaces that vanish and return."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydsr.daemon.backend_tracker import SURVEY_SECONDS
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import BACKENDS, Host, connect, eventually

A, B = BACKENDS[:2]
A6 = BACKENDS[3]
VIP = "10.66.0.80"
SERVICE, SERVICE6 = f"{VIP}:80", "[fd66::80]:80"
BY_HAND = "10.66.0.70"
FILE = f"""\
interfaces: [eth0]
table-size: 251
services:
  - endpoint: {SERVICE}
    backends: [{A}, {B}, "{BY_HAND}@02:00:00:00:00:70"]
  - endpoint: "{SERVICE6}"
    backends: ["{A6}"]
"""
OTHER_MAC = "02:00:00:00:00:bb"
ADDRESSES = [("10.66.0.1/24", "10.66.0.2/24"), ("fd66::1/64", "fd66::2/64")]


@pytest.fixture
def daemon(pydsr: Pydsr, tmp_path: Path) -> Iterator[Daemon]:
    """A running daemon that knows its backends."""
    made = Daemon(pydsr, tmp_path)
    made.write(FILE)
    with made.running():
        assert eventually(lambda: {A, B, A6} <= managed(pydsr.host))
        yield made


def managed(lb: Host) -> set[str]:
    """Return the addresses that the kernel keeps resolved."""
    lines = lb.run("ip", "neigh", "show").splitlines()
    return {line.split()[0] for line in lines if " managed " in f"{line} "}


def macs(pydsr: Pydsr) -> dict[str, str]:
    """Return the MAC of every backend."""
    return {
        backend["address"]: backend["mac"]
        for service in pydsr.json("backends", "list")
        for backend in service["backends"]
    }


def explained_mac(pydsr: Pydsr) -> str:
    """Return where the loaded program would send a packet to the IPv6 service."""
    return str(pydsr.json("explain", SERVICE6, "--from", "[fd66::2]:40000")["mac"])


@pytest.mark.parametrize(("backend", "balancer"), [(A, "10.66.0.1"), (A6, "fd66::1")])
def test_a_changed_mac_is_followed_under_traffic(
    daemon: Daemon, peer: Host, backend: str, balancer: str
) -> None:
    """By the kernel's events, long before the next survey of all backends."""
    old = peer.mac()
    peer.run("ip", "link", "set", "eth0", "address", OTHER_MAC)
    with peer.running("ping", "-n", "-i", "0.2", "-I", backend, balancer):
        assert eventually(lambda: macs(daemon.pydsr)[backend] == OTHER_MAC, SURVEY_SECONDS / 2)
    changed = {event["object"]: event for event in daemon.until("mac-changed")}[backend]
    assert (old, OTHER_MAC) == (changed["from"], changed["to"])
    assert "ARP/ND" in changed["cause"]
    assert changed["duration"] > 0
    assert f"mac-changed: {backend}: {old} -> {OTHER_MAC}" in daemon.log
    assert "02:00:00:00:00:70" == macs(daemon.pydsr)[BY_HAND]


def test_a_mac_by_hand_is_left_alone(daemon: Daemon, lb: Host, peer: Host) -> None:
    """Whatever its neighbour entry says; the kernel does not ask for it either."""
    entry = ("lladdr", OTHER_MAC, "nud", "reachable", "dev", "eth0")
    lb.run("ip", "neigh", "replace", BY_HAND, *entry)
    lb.run("ip", "neigh", "replace", B, *entry)
    assert eventually(lambda: macs(daemon.pydsr)[B] == OTHER_MAC)
    assert "02:00:00:00:00:70" == macs(daemon.pydsr)[BY_HAND]
    assert peer.mac() == macs(daemon.pydsr)[A]
    assert BY_HAND not in managed(lb)


def test_the_balancers_own_mac_is_refused(daemon: Daemon, lb: Host) -> None:
    """The balancer would send packets to itself. There is one event."""
    before = macs(daemon.pydsr)
    for state in ("reachable", "permanent"):
        lb.run("ip", "neigh", "replace", A, "lladdr", lb.mac(), "nud", state, "dev", "eth0")
    (event,) = daemon.until("mac-refused")
    assert (A, True) == (event["object"], "the balancer's own" in event["cause"])
    assert before == macs(daemon.pydsr)


def assert_goes_to(daemon: Daemon, mac: str) -> None:
    """Check that packets to a backend are sent to a MAC before long."""
    assert eventually(lambda: macs(daemon.pydsr)[A] == mac)


def test_two_hosts_with_one_address_are_told_apart(daemon: Daemon, lb: Host) -> None:
    """MACs that alternate cause one event."""
    for _ in range(3):
        for mac in (OTHER_MAC, "02:00:00:00:00:cc"):
            entry = ("lladdr", mac, "nud", "reachable", "dev", "eth0")
            lb.run("ip", "neigh", "replace", A, *entry)
            assert_goes_to(daemon, mac)
    (event,) = daemon.until("duplicate-address")
    assert A == event["object"]
    assert "two hosts" in event["cause"]


def test_a_backend_that_stops_answering_is_reported(daemon: Daemon, lb: Host, peer: Host) -> None:
    """Packets still go to its MAC, and its return is reported with the duration."""
    peer.run("ip", "address", "delete", f"{B}/24", "dev", "eth0")
    lb.run("ip", "neigh", "replace", B, "nud", "failed", "dev", "eth0")
    (silent,) = daemon.until("backend-silent")
    assert B == silent["object"]
    assert peer.mac() == macs(daemon.pydsr)[B]
    peer.run("ip", "address", "add", f"{B}/24", "dev", "eth0")
    lb.attempt("ping", "-c1", "-W1", B)
    (again,) = daemon.until("backend-answers")
    assert B == again["object"]
    assert again["duration"] > 0


def test_neighbour_entries_are_kept_for_backends_only(daemon: Daemon, lb: Host) -> None:
    """After a flush, for a backend that a command adds, and not for one that it removes."""
    lb.run("ip", "neigh", "flush", "dev", "eth0")
    assert eventually(lambda: {A, B, A6} == managed(lb))
    daemon.pydsr.ok("backends", "remove", SERVICE, B)
    daemon.pydsr.ok("backends", "add", SERVICE, BACKENDS[2])
    assert eventually(lambda: {A, BACKENDS[2], A6} == managed(lb))


def test_entries_of_a_killed_daemon_are_removed_by_the_next_and_by_detach(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    """Except managed entries of others."""
    lb, theirs = pydsr.host, "10.66.0.99"
    made = Daemon(pydsr, tmp_path)
    made.write(FILE)
    with made.running():
        assert eventually(lambda: {A, B, A6} == managed(lb))
    lb.run("ip", "neigh", "replace", theirs, "dev", "eth0", "managed")
    made.write(FILE.replace(f"[{A}, {B}", f"[{A}").replace(SERVICE6, "[fd66::80]:81"))
    pydsr.ok("services", "remove", SERVICE6)
    with made.running():
        assert eventually(lambda: {A, A6, theirs} == managed(lb))
    pydsr.ok("detach", "--all")
    assert {theirs} == managed(lb)


def test_a_link_that_goes_down_and_up_is_reported(daemon: Daemon, lb: Host, peer: Host) -> None:
    """At either end; backends are kept resolved as before."""
    peer.run("ip", "link", "set", "eth0", "down")
    (event,) = daemon.until("link-down")
    assert ("eth0", "no carrier") == (event["object"], event["cause"])
    peer.run("ip", "link", "set", "eth0", "up")
    (up,) = daemon.until("link-up")
    assert up["duration"] > 0
    lb.run("ip", "link", "set", "eth0", "down")
    assert "set down" == daemon.until("link-down", 2)[1]["cause"]
    lb.run("ip", "link", "set", "eth0", "up")
    daemon.until("link-up", 2)
    assert eventually(lambda: {A, B, A6} <= managed(lb))


def test_a_deleted_link_is_attached_again(daemon: Daemon, lb: Host, peer: Host) -> None:
    """In its former mode; packets leave by it, even to backends with MACs by hand."""
    lb.run("ip", "link", "delete", "eth0")
    daemon.until("link-lost")
    connect(lb, peer, "eth0", ADDRESSES)
    for address in (A, B):
        peer.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    peer.run("ip", "address", "add", f"{A6}/64", "dev", "eth0")
    (event,) = daemon.until("link-back")
    assert ("eth0", True) == (event["object"], "in native mode" in event["cause"])
    assert event["duration"] > 0
    assert {"eth0": "native"} == daemon.pydsr.modes()
    assert eventually(lambda: macs(daemon.pydsr)[A6] == peer.mac())
    assert peer.mac() == explained_mac(daemon.pydsr)
    assert {"eth0"} == {
        backend["interface"]
        for service in daemon.pydsr.json("backends", "list")
        for backend in service["backends"]
    }
    assert eventually(lambda: peer.pings(VIP))
    assert 0 == daemon.pydsr("diff", str(daemon.file)).status


def test_a_detached_interface_stays_detached(daemon: Daemon, lb: Host, peer: Host) -> None:
    """Whatever happens to the link; a reload attaches it."""
    daemon.pydsr.ok("detach", "eth0")
    lb.run("ip", "link", "delete", "eth0")
    daemon.write(FILE + "rules: {deny: [203.0.113.0/24]}\n")
    (event,) = daemon.until("reload-failed")
    assert "there is no interface 'eth0'" in event["cause"]
    assert [] == daemon.events("link-lost")
    connect(lb, peer, "eth0", ADDRESSES)
    for address, length in ((A, 24), (B, 24), (A6, 64)):
        peer.run("ip", "address", "add", f"{address}/{length}", "dev", "eth0")
    assert {} == daemon.pydsr.modes()
    daemon.write(FILE)
    daemon.until("reloaded")
    assert {"eth0": "native"} == daemon.pydsr.modes()
    assert eventually(lambda: macs(daemon.pydsr)[A6] == peer.mac())
    assert peer.mac() == explained_mac(daemon.pydsr)


def test_the_program_learns_a_new_mac_of_its_interface(
    daemon: Daemon, lb: Host, peer: Host
) -> None:
    """It answers ARP with that, and accepts packets for it, without any command."""
    new = "02:00:00:00:00:aa"
    lb.run("ip", "link", "set", "eth0", "address", new)

    def answers() -> bool:
        peer.run("ip", "neigh", "flush", "dev", "eth0")
        return peer.pings(VIP, "-W1") and peer.neighbour_mac(VIP) == new

    assert eventually(answers)
    assert ["started", "applied"] == [event["event"] for event in daemon.events()]


def test_lost_netlink_events_are_made_up_for(
    pydsr: Pydsr, lb: Host, tmp_path: Path, peer: Host
) -> None:
    """The daemon is stopped while the socket overflows; then it looks everything up."""
    daemon = Daemon(pydsr, tmp_path)
    daemon.write(FILE)
    with daemon.running() as process:
        assert eventually(lambda: {A, B, A6} <= managed(lb))
        process.send_signal(signal.SIGSTOP)
        flood = tmp_path / "flood"
        line = "neigh replace 10.66.0.200 lladdr 02:00:00:00:01:{:02x} dev eth0 nud reachable\n"
        flood.write_text("".join(line.format(number % 2) for number in range(20_000)))
        lb.run("ip", "-batch", str(flood))
        lb.run("ip", "neigh", "replace", B, "lladdr", OTHER_MAC, "nud", "permanent", "dev", "eth0")
        process.send_signal(signal.SIGCONT)
        daemon.until("news-lost")
        assert eventually(lambda: macs(daemon.pydsr)[B] == OTHER_MAC)
        assert peer.mac() == macs(daemon.pydsr)[A]


def test_a_purge_ends_its_work_and_a_reload_begins_anew(daemon: Daemon, lb: Host) -> None:
    """Without a balancer it waits, and is still the only daemon of these pins."""
    daemon.pydsr.ok("detach", "--all", "--purge")
    assert eventually(lambda: not daemon.pydsr.bpffs.exists())
    daemon.write(FILE + "rules: {deny: [203.0.113.0/24]}\n")
    daemon.until("reloaded")
    assert {"eth0": "native"} == daemon.pydsr.modes()
    assert eventually(lambda: {A, B, A6} <= managed(lb))
    assert 1 == daemon.ends()
    assert "another pydsr daemon runs" in daemon.log
