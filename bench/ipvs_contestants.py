"""IPVS by direct routing, and its peers, over a wire.

IPVS is set up as its users do: the VIP as a local address, forwarding, and schedulers that hash the
port too, without which all connections of one client go to one backend. Its hash table has 2^20
buckets (the default is 2^12), so that long chains do not slow it down.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.wire_contestants import BACKEND_MACS, CONTESTANTS, FORWARDER, PYDSR, Contestant
from bench.wire_flows import BACKENDS, PORT, VIP4
from bench.wire_network import INTERFACE, take_frames_as_buffers
from tests.support.netns.namespaces import Host, eventually

SCHEDULERS = {"IPVS, sh": "sh", "IPVS, mh": "mh"}
"""Source hashing, and Maglev hashing with 4,093 slots."""

ORDINARY_FORWARDER = "forwarder in tc"
"""The bare forwarder where every packet is a socket buffer, as for IPVS."""

CONNECTION_TABLE_BITS = 20

_SERVICE = f"{VIP4}:{PORT}"
_OWN_ADDRESS = "10.66.0.1/24"
_ADDRESSES = tuple(f"10.66.0.{11 + number}" for number in range(BACKENDS))
_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    *(f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", "default", INTERFACE)),
    *(f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", INTERFACE)),
)
_CONNECTIONS = "/proc/net/ip_vs_conn"
_FORGET_SECONDS = 120.0


@contextmanager
def _ipvs(host: Host, scheduler: str) -> Iterator[None]:
    host.run("modprobe", "ip_vs", f"conn_tab_bits={CONNECTION_TABLE_BITS}")
    take_frames_as_buffers(host)
    host.run("sysctl", "-qw", *_SYSCTLS)
    host.run("ip", "address", "add", _OWN_ADDRESS, "dev", INTERFACE)
    host.run("ip", "address", "add", f"{VIP4}/32", "dev", "lo")
    host.run("ip", "route", "add", "default", "dev", INTERFACE)
    for address, mac in zip(_ADDRESSES, BACKEND_MACS, strict=True):
        host.run("ip", "neighbour", "add", address, "lladdr", mac, "dev", INTERFACE)
    _restore(host, f"-A -t {_SERVICE} -s {scheduler} -b {scheduler}-port", *_each_backend("-a"))
    yield


def count_connections(host: Host) -> int:
    """Return how many connections the IPVS of a host keeps."""
    return parse_connections(host.run("ipvsadm", "-L", "-n"))


def parse_connections(listing: str) -> int:
    """Return the connections of all backends, active and others, of what ``ipvsadm -L`` lists."""
    lines = [line.split() for line in listing.splitlines()]
    return sum(
        int(line[-2]) + int(line[-1]) for line in lines if line[:1] == ["->"] and line[-1].isdigit()
    )


def forget_connections(host: Host) -> None:
    """Have the IPVS of a host forget every connection, as it does of backends that are removed.

    Raises:
        TimeoutError: some are left at the deadline.
    """
    host.run("sysctl", "-qw", "net.ipv4.vs.expire_nodest_conn=1")
    _restore(host, *_each_backend("-d"))
    if not eventually(lambda: _has_none(host), _FORGET_SECONDS):
        raise TimeoutError(f"connections are left in {_CONNECTIONS} whose backends are gone")
    _restore(host, *_each_backend("-a"))


def _has_none(host: Host) -> bool:
    # The first line is a heading. Their whole number would take longer to read.
    return len(host.run("head", "--lines=2", _CONNECTIONS).splitlines()) == 1


def _each_backend(verb: str) -> list[str]:
    how = " -g -w 1" if verb == "-a" else ""
    return [f"{verb} -t {_SERVICE} -r {address}:{PORT}{how}" for address in _ADDRESSES]


def _restore(host: Host, *rules: str) -> None:
    """Have one ipvsadm do what as many would."""
    subprocess.run(
        [*host.prefix, "ipvsadm", "--restore"],
        input="\n".join(rules) + "\n",
        text=True,
        check=True,
        timeout=60,
    )


_BESIDE = (
    *("MAC swap", FORWARDER, PYDSR),
    *(ORDINARY_FORWARDER, "pydsr, generic mode", "nftables, seed kept"),
)
_BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}

ALL = (
    *(_BY_NAME[name] for name in _BESIDE),
    *(
        Contestant(name, partial(_ipvs, scheduler=scheduler))
        for name, scheduler in SCHEDULERS.items()
    ),
)
