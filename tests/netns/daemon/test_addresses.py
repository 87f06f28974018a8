"""``pydsr run`` where several balancers share VIPs: they are answered for where an address is."""

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
MOVING = "10.66.0.254"
VIP, VIP6, ROUTED = "10.66.0.80", "fd66::80", "10.66.0.81"
FILE = f"""\
interfaces: [eth0]
table-size: 251
answer-while: {MOVING}
services:
  - endpoint: {VIP}:80
    backends: [{A}, {B}]
  - endpoint: "[{VIP6}]:80"
  - endpoint: {ROUTED}:80
    arp: false
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Host]]:
    """A daemon that runs where the address is not, and the host at the other end of its wire."""
    with made_wire() as (lb, peer), made_directory() as bpffs:
        daemon = Daemon(Pydsr(lb, bpffs), tmp_path_factory.mktemp("daemon"))
        daemon.write(FILE)
        with daemon.running():
            yield daemon, peer


@pytest.fixture
def standby(running: tuple[Daemon, Host]) -> Iterator[Daemon]:
    """That daemon, its file applied, and without the address again at the end."""
    daemon = running[0]
    reload(daemon, FILE)
    yield daemon
    daemon.pydsr.host.attempt("ip", "address", "delete", f"{MOVING}/32", "dev", "eth0")


def reload(daemon: Daemon, file: str) -> None:
    """Have the daemon load another file."""
    count = len(daemon.events("reloaded"))
    daemon.write(file)
    daemon.until("reloaded", count + 1)


def move(lb: Host, change: str) -> None:
    """Have the address come (``add``) or go (``delete``), as keepalived would."""
    lb.run("ip", "address", change, f"{MOVING}/32", "dev", "eth0")


def answered(pydsr: Pydsr) -> dict[str, bool]:
    """Return for each VIP whether ARP or neighbour discovery for it is answered."""
    services = pydsr.json("services", "list")
    return {
        service["service"].rpartition(":")[0].strip("[]"): service["arp"] for service in services
    }


NOBODY = {VIP: False, VIP6: False, ROUTED: False}
WHERE_IT_IS = NOBODY | {VIP: True, VIP6: True}


def test_vips_are_answered_for_and_announced_where_the_address_comes(
    standby: Daemon, running: tuple[Daemon, Host]
) -> None:
    """And not before, nor after it has gone; to the file that is never a difference."""
    lb, peer = standby.pydsr.host, running[1]
    mac = MacAddress.parse(lb.mac()).octets
    assert NOBODY == answered(standby.pydsr)
    assert not peer.pings(VIP)
    with peer.listen() as ears:
        move(lb, "add")
        for _ in ("at once", "again"):
            heard = ears.until(lambda frame: frame == announcement(mac, ip_address(VIP6)))
            assert announcement(mac, ip_address(VIP)) in heard
    event = standby.until("vips-taken")[-1]
    assert (MOVING, True) == (event["object"], "for 2 services" in event["cause"])
    assert WHERE_IT_IS == answered(standby.pydsr)
    assert peer.pings(VIP)
    assert peer.pings(VIP6)
    assert 0 == standby.pydsr("diff", str(standby.file)).status

    move(lb, "delete")
    assert eventually(lambda: answered(standby.pydsr) == NOBODY)
    standby.until("vips-left")
    peer.run("ip", "neigh", "flush", "dev", "eth0")
    assert not peer.pings(VIP)
    assert 0 == standby.pydsr("diff", str(standby.file)).status


def test_it_changes_nothing_else_and_needs_no_file(standby: Daemon) -> None:
    """A drain by hand stays, and so does a file that is wrong by now."""
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
    assert eventually(lambda: answered(standby.pydsr) == WHERE_IT_IS)


def test_a_reload_can_name_the_address_and_leave_it_out(standby: Daemon) -> None:
    reload(standby, FILE.replace(f"answer-while: {MOVING}\n", ""))
    assert WHERE_IT_IS == answered(standby.pydsr)
    reload(standby, FILE)
    assert NOBODY == answered(standby.pydsr)


def test_at_the_start_and_by_a_command_the_file_is_applied_by_the_same_rule(
    pydsr: Pydsr, lb: Host, tmp_path: Path
) -> None:
    """Whatever moved while no daemon was there."""
    daemon = Daemon(pydsr, tmp_path)
    daemon.write(FILE)
    pydsr.ok("apply", str(daemon.file))
    assert NOBODY == answered(pydsr)
    move(lb, "add")
    changes = pydsr.json("apply", str(daemon.file), "--plan")["changes"]
    assert [("false", "true")] * 2 == [(one["from"], one["to"]) for one in changes]
    with daemon.running():
        assert WHERE_IT_IS == answered(pydsr)
    move(lb, "delete")
    pydsr.ok("apply", str(daemon.file))
    assert NOBODY == answered(pydsr)
