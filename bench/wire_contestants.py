"""The contestants over a wire, each attached in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bench import nftlb
from bench.forwarder import MAC_PREFIX, Forwarder, load_swap
from bench.wire_flows import BACKENDS, PORT, VIP4, VIP6
from bench.wire_network import (
    BALANCER_MAC,
    CLIENT_MAC,
    INTERFACE,
    attached,
    index_of,
    take_frames_as_buffers,
)
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.features import Feature, join_names
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host, made_directory

ENDPOINTS = (Endpoint.parse(f"{VIP4}:{PORT}"), Endpoint.parse(f"[{VIP6}]:{PORT}"))
BACKEND_MACS = tuple(str(MacAddress(MAC_PREFIX + bytes([number]))) for number in range(BACKENDS))

_TC_INGRESS = 0xFFFFFFF2
"""TC_H_CLSACT with TC_H_MIN_INGRESS of linux/pkt_sched.h."""


class UnavailableError(Exception):
    """A contestant cannot be here; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """One way to balance.

    Attributes:
        name: what the table calls it.
        attached: has it balance at the INTERFACE of a host.
        versions: of IP that it takes.
        answer: the first five octets of the MACs that it gives to frames.
        is_spread: whether it has several backends.
    """

    name: str
    attached: Callable[[Host], AbstractContextManager[None]]
    versions: tuple[int, ...] = (4,)
    answer: bytes = MAC_PREFIX
    is_spread: bool = True


@contextmanager
def _forwarder(host: Host) -> Iterator[None]:
    forwarder = Forwarder([(VIP4, PORT, 6)])
    with attached(forwarder.program, host, [index_of(host, INTERFACE)]):
        yield


@contextmanager
def _tc_forwarder(host: Host) -> Iterator[None]:
    take_frames_as_buffers(host)
    forwarder = Forwarder([(VIP4, PORT, 6)])
    program = forwarder.load_for_tc()
    with enter_namespace(host.name), IPRoute() as route:
        index = int(route.link_lookup(ifname=INTERFACE)[0])
        try:
            route.tc("add", "clsact", index)
            route.tc(
                "add-filter",
                "bpf",
                index,
                parent=_TC_INGRESS,
                fd=program,
                name="bench",
                classid=1,
                direct_action=True,
            )
        except NetlinkError as error:
            raise UnavailableError(f"this kernel's tc takes no BPF program: {error}") from None
        yield


@contextmanager
def _swap(host: Host) -> Iterator[None]:
    with attached(load_swap(), host, [index_of(host, INTERFACE)]):
        yield


@contextmanager
def _nftables(host: Host, seed: str = "") -> Iterator[None]:
    take_frames_as_buffers(host)
    backends = [(mac, 1) for mac in BACKEND_MACS]
    host.run("nft", nftlb.ruleset(INTERFACE, BALANCER_MAC, ENDPOINTS[0], backends, seed))
    yield


@contextmanager
def balanced(host: Host, *options: str) -> Iterator[Path]:
    """Have pydsr balance both services; ``options`` are options of ``pydsr attach``."""
    with made_directory() as bpffs:
        pydsr = Pydsr(host, bpffs)
        commands = [["attach", INTERFACE, *options]]
        for endpoint in ENDPOINTS:
            network = "10.1.2." if endpoint.address.version == 4 else "2001:db8:2::"
            backends = [f"{network}{number + 1}@{mac}" for number, mac in enumerate(BACKEND_MACS)]
            commands += [
                ["services", "add", str(endpoint)],
                ["backends", "set", str(endpoint), *backends],
            ]
        for command in commands:
            done = pydsr(*command)
            if done.status:
                raise UnavailableError(f"pydsr {command[0]}: {done.stderr.strip()}")
        try:
            yield bpffs
        finally:
            pydsr("detach", "--all", "--purge")


@contextmanager
def _pydsr(host: Host, *options: str) -> Iterator[None]:
    with balanced(host, "--mode", "native", *options):
        yield


@contextmanager
def _pydsr_generic(host: Host) -> Iterator[None]:
    take_frames_as_buffers(host)
    with balanced(host, "--mode", "generic"):
        yield


FORWARDER = "forwarder"
PYDSR = "pydsr"
_EVERY_FEATURE = ("--with", join_names(~Feature(0)))

CONTESTANTS = (
    Contestant(
        "MAC swap",
        _swap,
        answer=MacAddress.parse(CLIENT_MAC).octets[:5],
        is_spread=False,
    ),
    Contestant(FORWARDER, _forwarder),
    Contestant(PYDSR, _pydsr, versions=(4, 6)),
    Contestant(
        "pydsr, every feature",
        lambda host: _pydsr(host, *_EVERY_FEATURE),
        versions=(4, 6),
    ),
    Contestant("pydsr, generic mode", _pydsr_generic, versions=(4, 6)),
    Contestant("forwarder in tc", _tc_forwarder),
    Contestant("nftables as nftlb writes it", _nftables),
    Contestant("nftables, seed kept", partial(_nftables, seed=nftlb.SEED_KEPT)),
)
