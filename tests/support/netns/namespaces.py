"""Network namespaces for tests: creating, connecting, capturing on and removing them."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from pyroute2 import IPRoute, netns

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.lab.network import enter_namespace

DEADLINE_SECONDS = 120.0
"""Deadline for anything that must happen; it only ends a wait that would never end."""

BACKENDS = ("10.66.0.11", "10.66.0.12", "10.66.0.13", "fd66::11", "fd66::12")
"""The addresses of the backends, all of which are on the balancer's peer."""

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata of linux/if_packet.h; its last two are TCI and TPID of a VLAN tag."""

_TAG_IS_VALID = 1 << 4

_POLL_SECONDS = 0.01
_SYSCTLS = {
    f"net/ipv6/conf/{interface}/{setting}": "0"
    for interface in ("all", "default")
    for setting in ("accept_dad", "dad_transmits", "accept_ra", "router_solicitations")
} | {"net/ipv6/conf/all/keep_addr_on_down": "1"}
_numbers = itertools.count()
_T = TypeVar("_T")


def new_name() -> str:
    """Return a unique name for a namespace or a directory of pins."""
    return f"pydsr-test-{os.getpid()}-{next(_numbers)}"


def eventually(ask: Callable[[], _T], seconds: float = DEADLINE_SECONDS) -> _T:
    """Poll until the answer is true, or the deadline has passed; return the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return answer


@dataclass(frozen=True)
class Host:
    """A network namespace, with its name in ``ip netns``."""

    name: str

    @property
    def prefix(self) -> list[str]:
        """The prefix that runs a command there, with this process's mounts and so the bpffs."""
        return ["nsenter", f"--net={self.namespace}"]

    @property
    def namespace(self) -> Path:
        """The file of its network namespace."""
        return Path("/run/netns", self.name)

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command, which may fail."""
        return subprocess.run(
            [*self.prefix, *command],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def run(self, *command: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.attempt(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command during the block."""
        process = subprocess.Popen(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def link(self, interface: str) -> dict[str, Any]:
        """Return an interface as ``ip link`` shows it."""
        (found,) = json.loads(
            self.run("ip", "-json", "-details", "-stats", "link", "show", interface)
        )
        return dict(found)

    def mac(self, interface: str = "eth0") -> str:
        """Return the MAC of an interface."""
        return str(self.link(interface)["address"])

    def xdp_program(self, interface: str) -> int | None:
        """Return the id of the XDP program on an interface."""
        program = self.link(interface).get("xdp", {}).get("prog", {}).get("id")
        return int(program) if program else None

    def pings(self, address: str, *options: str) -> bool:
        """Return whether an address answers an echo request."""
        return self.attempt("ping", "-c1", "-W10", *options, address).returncode == 0

    def neighbours(self) -> list[dict[str, Any]]:
        """Return the entries of the kernel's neighbour tables."""
        return list(json.loads(self.run("ip", "-json", "neigh", "show")))

    def neighbour_mac(self, address: str) -> str | None:
        """Return the MAC that the kernel's neighbour table has for an address."""
        for entry in self.neighbours():
            if entry["dst"] == address:
                return str(entry["lladdr"]) if "lladdr" in entry else None
        return None

    def put_program(self, interface: str, name: str) -> int:
        """Attach a program that passes everything, without pydsr; return its id."""
        with (
            libbpf.program_load(
                name, libbpf.RETURN_XDP_PASS, libbpf.PROG_FLAG_XDP_HAS_FRAGS, "GPL"
            ) as program,
            enter_namespace(self.name),
            IPRoute() as route,
        ):
            index = route.link_lookup(ifname=interface)[0]
            route.link("set", index=index, xdp_fd=program.number)
            return int(libbpf.program_info(program).id)

    def listen(self, interface: str = "eth0") -> FrameListener:
        """Start capturing the frames that an interface receives."""
        with enter_namespace(self.name):
            return FrameListener(interface)

    def send(self, frame: bytes, interface: str = "eth0") -> None:
        """Send a frame unchanged."""
        with (
            enter_namespace(self.name),
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw,
        ):
            raw.bind((interface, 0))
            raw.send(frame)

    def asks_for_page(self, address: str, *options: str) -> str | None:
        """Return the body that a web server answers with, or None."""
        done = self.attempt("curl", "-s", "-m", "20", *options, f"http://{address}/")
        return done.stdout.strip() if done.returncode == 0 else None

    @contextmanager
    def serving(self, name: str) -> Iterator[None]:
        """Run a web server on port 80 of every address, which answers with a name."""
        process = subprocess.Popen(
            [*self.prefix, *PYTHON, "pydsr.lab.server", "--name", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        with process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().strip() == "ready"
                yield
            finally:
                process.kill()

    @contextmanager
    def flooding(self, address: str) -> Iterator[Flood]:
        """Ping an address a thousand times a second during the block."""
        flood = Flood()
        # A file and not a pipe: when a pipe is full after a second, ping would send no more.
        with tempfile.NamedTemporaryFile() as output:

            def answered() -> set[int]:
                return {int(n) for n in _SEQUENCE.findall(Path(output.name).read_text())}

            process = subprocess.Popen(
                [*self.prefix, "ping", "-n", "-i", "0.001", address],
                stdin=subprocess.DEVNULL,
                stdout=output,
            )
            with process:
                try:
                    yield flood
                    # The block may be short, and ping gets few turns on a busy machine.
                    eventually(lambda: len(answered()) > _FLOOD_MIN)
                    process.send_signal(signal.SIGINT)
                    process.wait(DEADLINE_SECONDS)
                finally:
                    process.kill()
            flood.answered = answered()


_FLOOD_MIN = 100
"""A flood goes on after its block until this many of its echo requests are answered."""

_SEQUENCE = re.compile(r"icmp_seq=([0-9]+) ttl")


@dataclass
class Flood:
    """The echo requests of a finished flood, by number."""

    answered: set[int] = field(default_factory=set)

    @property
    def lost(self) -> set[int]:
        """Those without an answer, except those in flight at the end."""
        return set(range(1, max(self.answered, default=1) + 1)) - self.answered


class FrameListener:
    """Captures the frames that an interface receives, with their VLAN tags."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.bind((interface, _ETH_P_ALL))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def until(self, wanted: Callable[[bytes], bool]) -> list[bytes]:
        """Return the frames up to the first that is wanted, which is the last of them.

        Raises:
            TimeoutError: no such frame arrived before the deadline.
        """
        frames = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            frame, ancillary, _, (_, _, direction, *_) = self._socket.recvmsg(65536, 256)
            if direction == socket.PACKET_OUTGOING:
                continue
            frames.append(frame[:12] + _outer_tag(ancillary) + frame[12:])
            if wanted(frames[-1]):
                return frames


def _outer_tag(ancillary: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Return the VLAN tag that the kernel has stripped from a frame, if any."""
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, *_, control, protocol = _AUXDATA.unpack(data)
            if status & _TAG_IS_VALID:
                return struct.pack("!HH", protocol, control)
    return b""


@contextmanager
def made_host() -> Iterator[Host]:
    """Create a namespace with loopback up and IPv6 addresses usable at once."""
    host = Host(new_name())
    netns.create(host.name)
    try:
        with enter_namespace(host.name):
            for path, value in _SYSCTLS.items():
                Path("/proc/sys", path).write_text(value)
        host.run("ip", "link", "set", "lo", "up")
        yield host
    finally:
        netns.remove(host.name)


def connect(one: Host, other: Host, interface: str, addresses: Sequence[tuple[str, str]]) -> None:
    """Make a veth pair, both ends of one name.

    Checksums are completed in software, and the other end has a program that passes
    everything, without which a veth holds the frames that XDP sends.

    Args:
        one: the balancer's side.
        other: the side of everybody else.
        interface: the name of both ends.
        addresses: pairs of an address with its prefix length for each side.
    """
    peer = ("peer", "name", interface, "netns", other.name)
    one.run("ip", "link", "add", interface, "type", "veth", *peer)
    for host in (one, other):
        host.run("ip", "link", "set", interface, "up")
        host.run("ethtool", "-K", interface, "tx", "off")
    for pair in addresses:
        for host, address in zip((one, other), pair, strict=True):
            host.run("ip", "address", "add", address, "dev", interface)
    other.put_program(interface, "pass")


@contextmanager
def made_wire() -> Iterator[tuple[Host, Host]]:
    """Create the balancer's host and its peer, connected by ``eth0``."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and XDP take root")
    with made_host() as lb, made_host() as peer:
        addresses = [("10.66.0.1/24", "10.66.0.2/24"), ("fd66::1/64", "fd66::2/64")]
        connect(lb, peer, "eth0", addresses)
        for address in BACKENDS:
            length = "/64" if ":" in address else "/24"
            peer.run("ip", "address", "add", address + length, "dev", "eth0")
        yield lb, peer


@contextmanager
def made_directory() -> Iterator[Path]:
    """Name a new directory for pins, and remove it afterwards."""
    directory = Path("/sys/fs/bpf") / new_name()
    try:
        yield directory
    finally:
        if directory.exists():
            shutil.rmtree(directory)
