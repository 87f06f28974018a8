"""The live view of a real balancer, in a real terminal."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import Host, eventually
from tests.support.terminal import in_terminal

WEB, DNS = "10.66.0.80:80", "10.66.0.80:53/udp"
FILE = """
interfaces: [eth0]
services:
  - endpoint: 10.66.0.80:80
    name: web
    checks:
      - {type: tcp, interval: 0.5, timeout: 0.5, fall: 2}
    backends: [10.66.0.11, 10.66.0.12]
"""


def test_a_service_is_filtered_opened_purged_and_back(balancer: Pydsr) -> None:
    """Whatever becomes of the balancer beneath it, the view goes on."""
    balancer.ok("services", "add", WEB, "--name", "web")
    balancer.ok("backends", "set", WEB, "10.66.0.11", "10.66.0.12=3@02:00:00:00:00:12")
    balancer.ok("backends", "set", DNS, "10.66.0.13")
    command = [*balancer.host.prefix, *balancer.command("top", "--interval", "0.2")]
    with in_terminal(command, columns=200) as terminal:
        terminal.wait_for("10.66.0.13")
        terminal.type("/web\r\r")
        terminal.wait_for("2 of 2 backends up")
        terminal.wait_for("fixed")
        balancer.ok("backends", "down", WEB, "10.66.0.11")
        terminal.wait_for("1 of 2 backends up")
        balancer.ok("attach", "eth0")
        balancer.ok("detach", "--all", "--purge")
        terminal.wait_for("no balancer is attached here")
        balancer.ok("attach", "eth0")
        terminal.wait_for(f"the service {WEB}/tcp was removed")
        balancer.ok("backends", "set", WEB, "10.66.0.12")
        terminal.wait_for("1 of 1 backends up")
        terminal.type("\x1b\x1b")
        terminal.wait_for("Enter")
        terminal.type("q")
        assert 0 == terminal.left()


def test_health_its_cause_and_the_age_of_a_mac_are_in_the_document(
    pydsr: Pydsr, peer: Host, tmp_path: Path
) -> None:
    """And a daemon that hangs keeps nobody from the rest."""
    peer.run("ip", "address", "add", "10.66.0.80/32", "dev", "lo")
    daemon = Daemon(pydsr, tmp_path)
    daemon.write(FILE)
    with daemon.running() as process:

        def failing() -> bool:
            [web] = pydsr.json("top", *daemon.runtime, "--interval", "0.2")["services"]
            health = [one["health"] or {"healthy": True} for one in web["backends"]]
            return all(one["healthy"] is False for one in health)

        assert eventually(failing)
        [web] = pydsr.json("top", *daemon.runtime, "--interval", "0.2")["services"]
        one = web["backends"][0]
        assert "port-closed" == one["health"]["failures"][0]["outcome"]
        assert 0 <= one["mac_confirmed"] < 60
        process.send_signal(signal.SIGSTOP)
        [web] = pydsr.json("top", *daemon.runtime, "--interval", "0.2")["services"]
        assert [None, None] == [one["health"] for one in web["backends"]]
