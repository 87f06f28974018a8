"""``pydsr run`` on the ports of a bridge, behind which backends move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import BACKENDS, Host, connect, eventually

A = BACKENDS[0]
SERVICE = "10.66.0.80:80"
FILE = f"""\
interfaces: [eth0, eth1]
table-size: 251
services: [{{endpoint: {SERVICE}, backends: [{A}]}}]
"""


def placed(pydsr: Pydsr) -> tuple[Any, Any]:
    """Return the MAC and the interface that packets to the backend are sent to."""
    (service,) = pydsr.json("backends", "list")
    (backend,) = service["backends"]
    return backend["mac"], backend["interface"]


def test_a_backend_that_moves_to_another_port_is_followed(
    pydsr: Pydsr, lb: Host, peer: Host, tmp_path: Path
) -> None:
    """As a virtual machine does, with its MAC, when it migrates to another host."""
    connect(lb, peer, "eth1", [])
    peer.run("ip", "link", "set", "eth1", "down")
    lb.run("ip", "link", "add", "br0", "type", "bridge")
    lb.run("ip", "address", "flush", "dev", "eth0")
    for port in ("eth0", "eth1"):
        lb.run("ip", "link", "set", port, "master", "br0")
    lb.run("ip", "link", "set", "br0", "up")
    lb.run("ip", "address", "add", "10.66.0.1/24", "dev", "br0")
    mac = peer.mac()
    daemon = Daemon(pydsr, tmp_path)
    daemon.write(FILE)
    assert eventually(lambda: lb.pings(A))
    with daemon.running():
        assert (mac, "eth0") == placed(pydsr)
        peer.run("ip", "address", "flush", "dev", "eth0")
        peer.run("ip", "link", "set", "eth0", "down")
        peer.run("ip", "link", "set", "eth1", "address", mac, "up")
        peer.run("ip", "address", "add", f"{A}/24", "dev", "eth1")
        assert eventually(lambda: peer.pings("10.66.0.1", "-W1"))
        (event,) = daemon.until("backend-moved")
        assert (A, "eth0", "eth1") == (event["object"], event["from"], event["to"])
        assert (mac, "eth1") == placed(pydsr)
