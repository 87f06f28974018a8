"""``pydsr run`` with ``answer-while``: the host with the VRRP address answers for VIPs."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.kernel.bpf.lock import locked
from pydsr.kernel.net.announce import announcement
from pydsr.model.addresses import MacAddress
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import BACKENDS, Host, eventually, made_directory, made_wire

A, B = BACKENDS[:2]
VRRP_ADDRESS = "10.66.0.254"
VIP, VIP6, ROUTED = "10.66.0.80", "fd66::80", "10.66.0.81"
FILE = f"""\
interfaces: [eth0]
table-size: 251
answer-while: {VRRP_ADDRESS}
services:
  - endpoint: {VIP}:80
    backends: [{A}, {B}]
  - endpoint: "[{VIP6}]:80"
  - endpoint: {ROUTED}:80
    arp: false
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Host]]:
    """A daemon on a host without the address, and the host at the other end of its wire."""
    with made_wire() as (lb, peer), made_directory() as bpffs:
        daemon = Daemon(Pydsr(lb, bpffs), tmp_path_factory.mktemp("daemon"))
        daemon.write(FILE)
        with daemon.running():
            yield daemon, peer


@pytest.fixture
def standby(running: tuple[Daemon, Host]) -> Iterator[Daemon]:
    """That daemon with its file applied; the address is removed at the end."""
    daemon = running[0]
    reload(daemon, FILE)
    yield daemon
    daemon.pydsr.host.attempt("ip", "address", "delete", f"{VRRP_ADDRESS}/32", "dev", "eth0")


def reload(daemon: Daemon, file: str) -> None:
    """Write another file and wait until the daemon has loaded it."""
    count = len(daemon.events("reloaded"))
    daemon.write(file)
    daemon.until("reloaded", count + 1)


def move(lb: Host, change: str) -> None:
    """Add or delete the address, as keepalived would."""
    lb.run("ip", "address", change, f"{VRRP_ADDRESS}/32", "dev", "eth0")


def answered(pydsr: Pydsr) -> dict[str, bool]:
    """Return for each VIP whether the balancer answers ARP or ND."""
    services = pydsr.json("services", "list")
    return {
        service["service"].rpartition(":")[0].strip("[]"): service["arp"] for service in services
    }


NOBODY = {VIP: False, VIP6: False, ROUTED: False}
TWO_VIPS = NOBODY | {VIP: True, VIP6: True}


def test_vips_are_answered_for_and_announced_while_the_host_has_the_address(
    standby: Daemon, running: tuple[Daemon, Host]
) -> None:
    """Not before and not after; diff never shows a difference."""
    lb, peer = standby.pydsr.host, running[1]
    mac = MacAddress.parse(lb.mac()).octets
    assert NOBODY == answered(standby.pydsr)
    assert not peer.pings(VIP, "-W1")
    with peer.listen() as listener:
        move(lb, "add")
        for _ in ("at once", "again"):
            received = listener.until(lambda frame: frame == announcement(mac, ip_address(VIP6)))
            assert announcement(mac, ip_address(VIP)) in received
    event = standby.until("vips-taken")[-1]
    assert (VRRP_ADDRESS, True) == (event["object"], "for 2 services" in event["cause"])
    assert TWO_VIPS == answered(standby.pydsr)
    assert peer.pings(VIP)
    assert peer.pings(VIP6)
    assert 0 == standby.pydsr("diff", str(standby.file)).status

    move(lb, "delete")
    assert eventually(lambda: answered(standby.pydsr) == NOBODY)
    standby.until("vips-left")
    peer.run("ip", "neigh", "flush", "dev", "eth0")
    assert not peer.pings(VIP, "-W1")
    assert 0 == standby.pydsr("diff", str(standby.file)).status


def test_it_changes_nothing_else_and_needs_no_file(standby: Daemon) -> None:
    """A drain by hand stays, and the file may be invalid by now."""
    standby.pydsr.ok("backends", "drain", f"{VIP}:80", A)
    standby.pydsr.ok("services", "remove", f"{ROUTED}:80")
    standby.write("services: nonsense\n")
    standby.until("reload-failed")
    move(standby.pydsr.host, "add")
    assert eventually(lambda: answered(standby.pydsr) == {VIP: True, VIP6: True})
    (service,) = standby.pydsr.json("backends", "list", f"{VIP}:80")
    assert {A: "drain", B: "up"} == {one["address"]: one["state"] for one in service["backends"]}


def test_it_waits_for_a_command_that_holds_the_lock(standby: Daemon) -> None:
    with locked(standby.pydsr.bpffs):
        move(standby.pydsr.host, "add")
    assert eventually(lambda: answered(standby.pydsr) == TWO_VIPS)


def test_a_reload_can_name_the_address_and_leave_it_out(standby: Daemon) -> None:
    reload(standby, FILE.replace(f"answer-while: {VRRP_ADDRESS}\n", ""))
    assert TWO_VIPS == answered(standby.pydsr)
    reload(standby, FILE)
    assert NOBODY == answered(standby.pydsr)


def test_the_start_and_apply_follow_the_same_rule(pydsr: Pydsr, lb: Host, tmp_path: Path) -> None:
    """Even if the address moved while no daemon was running."""
    daemon = Daemon(pydsr, tmp_path)
    daemon.write(FILE)
    pydsr.ok("apply", str(daemon.file))
    assert NOBODY == answered(pydsr)
    move(lb, "add")
    changes = pydsr.json("apply", str(daemon.file), "--plan")["changes"]
    assert [("false", "true")] * 2 == [(one["from"], one["to"]) for one in changes]
    with daemon.running():
        assert TWO_VIPS == answered(pydsr)
    move(lb, "delete")
    pydsr.ok("apply", str(daemon.file))
    assert NOBODY == answered(pydsr)
