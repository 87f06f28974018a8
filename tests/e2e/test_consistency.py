"""No change breaks a connection: real ones, through a lab, while backends come and go."""

from __future__ import annotations

import json
import random
import secrets
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pydsr.control.balancer import Balancer
from pydsr.control.edits import (
    AddBackends,
    BackendEdit,
    ChangeState,
    RemoveBackends,
    SetBackends,
)
from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab import network
from pydsr.lab.lab import Lab
from pydsr.lab.topology import VIP4, VIP6, Role
from pydsr.model.addresses import Endpoint, Protocol
from pydsr.model.errors import ExitStatus
from pydsr.model.service import BackendState, DesiredBackend
from tests.support.lab.connections import Connections, broken, start_servers
from tests.support.lab.long_connections import Connection
from tests.support.lab.requests import eventually

LEARN_SECONDS = 4
"""Of every service here; connections are silent for a second at most."""

STEPS = 40
FLOOD = 40_000

SPARE = "backend6"
"""A backend that is there, but in no service at first."""

FLAPPING = "backend5"
"""The backend that goes down and is removed undrained: its connections may break."""

STAYING = ("backend1", "backend2")
"""The backends that are never removed, and whose connections live through everything."""

_PORTS = range(7001, 7004)
_FORWARDED = ("forwarded", "forwarded_recorded", "forwarded_previous", "forwarded_current")


@dataclass(frozen=True)
class Service:
    """A service of the lab, changed by commands or, faster, from this process."""

    lab: Lab
    endpoint: Endpoint

    def address(self, host: str) -> IPv4Address:
        """Return the address of a backend."""
        return next(h.address4 for h in self.lab.topology.hosts if h.name == host)

    def command(self, verb: str, hosts: Sequence[str]) -> None:
        """Run a command of ``pydsr backends``."""
        addresses = [str(self.address(host)) for host in hosts]
        self.lab.pydsr("backends", verb, str(self.endpoint), *addresses)

    def change(self, edit: BackendEdit) -> None:
        """Change the backends from this process, in the balancer's namespace."""
        namespace = self.lab.topology.namespace(Role.BALANCER)
        with network.enter_namespace(namespace), Balancer(self.lab.bpffs) as balancer:
            balancer.change(edit)

    def stats(self) -> tuple[int, int]:
        """Return how many slots are changing and how many flows are recorded."""
        services = json.loads(self.lab.pydsr("stats", "--json"))["services"]
        found = next(each for each in services if each["service"] == str(self.endpoint))
        return found["slots_changing"], found["records"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab whose backends keep connections and whose balancer has no service yet."""
    with Lab(f"keep-{secrets.token_hex(4)}", backends=6) as lab:
        start_servers(lab, _PORTS)
        lab.pydsr("attach", network.INTERFACE)
        yield lab


def added(lab: Lab, endpoint: Endpoint) -> Service:
    """Add a service with all backends but the spare one."""
    service = Service(lab, endpoint)
    lab.pydsr("services", "add", str(endpoint), "--learn", str(LEARN_SECONDS))
    hosts = [host.name for host in lab.topology.hosts_of(Role.BACKEND)]
    service.command("set", [host for host in hosts if host != SPARE])
    return service


def unforgivable(connections: Sequence[Connection]) -> list[Connection]:
    """Return the broken connections that no dead backend is to blame for."""
    return [each for each in broken(connections) if each.backend != FLAPPING]


def staying(connections: Sequence[Connection]) -> list[tuple[str, int, str]]:
    """Return which connections to the backends that stay there are, in their order."""
    return [(c.protocol, c.port, c.backend) for c in connections if c.backend in STAYING]


def verdicts(lab: Lab) -> dict[str, int]:
    """Return by which rule packets have been forwarded so far."""
    counts = json.loads(lab.pydsr("stats", "--json"))["verdicts"]
    return {name: counts[name] for name in _FORWARDED}


def come_to_rest(services: Sequence[Service]) -> None:
    """Tidy until no slot of the services is changing and nothing is recorded."""

    def are_at_rest() -> bool:
        services[0].lab.pydsr("tidy")
        return all(service.stats() == (0, 0) for service in services)

    assert eventually(are_at_rest), [service.stats() for service in services]


@dataclass
class History:
    """Random changes, of several services alike, wherever one is possible.

    Backends that are removed drained have their connections ended first, as it should be; one
    backend flaps and has nothing ended. New connections are opened between any two changes.
    """

    services: Sequence[Service]
    connections: Connections
    random: random.Random
    states: dict[str, str] = field(
        default_factory=lambda: {f"backend{n}": "up" for n in range(1, 6)} | {SPARE: "absent"}
    )
    steps: list[str] = field(default_factory=list)

    def step(self, by_command: bool) -> list[Connection]:
        """Make one change; returns all connections after some more were opened."""
        verb, host = self.random.choice(list(self._possible()))
        self.steps.append(f"{verb} {host}")
        if verb == "remove" and self.states[host] == "drained":
            self.connections.close(backend=host)
        for service in self.services:
            if by_command and verb != "reweight":
                service.command("add" if verb == "add" else verb, [host])
            else:
                service.change(self._edit(service, verb, host))
        after = {"remove": "absent", "drain": "drained", "down": "down"}
        self.states[host] = after.get(verb, "up")
        for service in self.services:
            state = self.connections.open(service.endpoint, 5, "new")
        return state

    def _possible(self) -> Iterator[tuple[str, str]]:
        up = [host for host, state in self.states.items() if state == "up"]
        for host, state in self.states.items():
            match state:
                case "absent":
                    yield "add", host
                case "down":
                    yield "undrain", host
                case "drained":
                    yield "undrain", host
                    if host not in STAYING:
                        yield "remove", host
                case "up":
                    yield "reweight", host
                    if len(up) > 2:
                        yield "drain", host
                    if len(up) > 2 and host == FLAPPING:
                        yield "down", host
                        yield "remove", host

    def _edit(self, service: Service, verb: str, host: str) -> BackendEdit:
        address, endpoint = service.address(host), service.endpoint
        match verb:
            case "add":
                return AddBackends(endpoint, [DesiredBackend(address, 1)])
            case "reweight":
                weight = self.random.randint(1, 4)
                return AddBackends(endpoint, [DesiredBackend(address, weight)])
            case "remove":
                return RemoveBackends(endpoint, [address])
        states = {
            "drain": BackendState.DRAIN,
            "down": BackendState.DOWN,
            "undrain": BackendState.UP,
        }
        return ChangeState(endpoint, [address], states[verb])

    def return_to_the_beginning(self) -> None:
        """Give the services the backends they began with; ends the spare one's connections."""
        for service in self.services:
            if self.states[SPARE] == "up":
                service.command("drain", [SPARE])
        self.connections.close(backend=SPARE)
        for service in self.services:
            service.command("set", [host for host in self.states if host != SPARE])


def test_changes_break_no_connection_and_leave_no_table(lab: Lab) -> None:
    seed = secrets.randbits(32)
    services = [
        added(lab, Endpoint(VIP4, 7001)),
        added(lab, Endpoint(VIP6, 7001)),
        added(lab, Endpoint(VIP4, 7001, Protocol.UDP)),
    ]
    with Connections(lab) as connections:
        for service in services:
            opened = connections.open(service.endpoint, 150, "old")
        history = History(services, connections, random.Random(seed))
        for number in range(STEPS):
            state = history.step(by_command=number % 8 == 0)
            assert [] == unforgivable(state), (seed, history.steps)
        assert [] == unforgivable(connections.check()), (seed, history.steps)
        assert sum(verdicts(lab)[name] for name in _FORWARDED[1:]) > 0

        history.return_to_the_beginning()
        connections.close(group="new")
        come_to_rest(services)
        state = connections.check()
        assert [] == unforgivable(state), (seed, history.steps)
        assert staying(opened) == staying(state), (seed, history.steps)

        before = verdicts(lab)
        connections.open(services[0].endpoint, 50)
        connections.open(services[2].endpoint, 50)
        state = connections.check()
        after = verdicts(lab)
    assert [] == unforgivable(state), (seed, history.steps)
    assert after["forwarded"] >= before["forwarded"] + len(state) - len(broken(state))
    assert {**before, "forwarded": 0} == {**after, "forwarded": 0}


def test_a_drain_waits_for_connections_and_a_removal_then_breaks_none(
    lab: Lab, tmp_path: Path
) -> None:
    service = added(lab, Endpoint(VIP4, 7002))
    said = tmp_path / "said"
    arguments = ["--bpffs", str(lab.bpffs), "backends", "drain", str(service.endpoint)]
    drain = [*PYTHON, "pydsr", *arguments, str(service.address("backend2")), "--wait", "--timeout"]
    with Connections(lab) as connections:
        connections.open(service.endpoint, 200)
        impatient = lab.run(Role.BALANCER, [*drain, "1"])
        assert ExitStatus.FAILED == impatient.returncode, impatient.stderr
        with said.open("w") as errors:
            waiting = lab.popen(Role.BALANCER, [*drain, "60"], stderr=errors)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(LEARN_SECONDS + 2)
        opened = connections.open(service.endpoint, 50, "new")
        assert [] == [each for each in opened if each.group and each.backend == "backend2"]
        assert [] == broken(opened)

        connections.close(backend="backend2")
        assert ExitStatus.DONE == waiting.wait(LEARN_SECONDS + 10), said.read_text()
        assert "no flows left" in said.read_text()
        service.command("remove", ["backend2"])
        state = connections.check()
    assert [] == broken(state)
    assert {"backend1", "backend3", "backend4", "backend5"} == {each.backend for each in state}


def test_a_flood_of_opening_packets_evicts_no_connection(lab: Lab) -> None:
    service = added(lab, Endpoint(VIP4, 7003))
    with Connections(lab, interval=0.5) as connections:
        connections.open(service.endpoint, 200, "old")
        service.change(
            SetBackends(
                service.endpoint,
                [DesiredBackend(service.address(host)) for host in ("backend1", SPARE)]
                + [
                    DesiredBackend(service.address(f"backend{n}"), 0, BackendState.DRAIN)
                    for n in (2, 3, 4, 5)
                ],
            )
        )
        connections.open(service.endpoint, 100, "new")
        before = verdicts(lab)
        flood(lab, service.endpoint)
        state = connections.check()
        _, records = service.stats()
        after = verdicts(lab)
    assert [] == broken(state)
    assert after["forwarded_current"] - before["forwarded_current"] > FLOOD / 3
    assert 0 < records <= len(state)


def flood(lab: Lab, target: Endpoint) -> None:
    """Send SYNs of random sources, all of 198.18.0.0/15 (RFC 2544), from a client's host."""
    assert isinstance(target.address, IPv4Address)
    hosts = {host.name: host for host in lab.topology.hosts}
    ethernet = hosts[Role.BALANCER].mac.octets + hosts["client1"].mac.octets + b"\x08\x00"
    with (
        network.enter_namespace(lab.topology.namespace("client1")),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
    ):
        wire.bind((network.INTERFACE, 0))
        for _ in range(FLOOD):
            source = (198 << 24 | 18 << 16) + random.getrandbits(17)
            wire.send(ethernet + syn(source, random.randint(1024, 65535), target))


def syn(source: int, source_port: int, target: Endpoint) -> bytes:
    """Return the SYN of a connection as an IPv4 packet (RFC 791, RFC 9293)."""
    addresses = struct.pack("!I4s", source, target.address.packed)
    tcp = struct.pack("!HHIIBBHHH", source_port, target.port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo_header = addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + checksum(pseudo_header + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0)
    return ip[:10] + checksum(ip + addresses) + addresses + tcp


def checksum(data: bytes) -> bytes:
    """Return the internet checksum of an even number of bytes (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
