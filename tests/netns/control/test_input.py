"""What a user may get wrong: every mistake has its exit status, its words, and no effect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydsr.control.balancer import Balancer
from pydsr.model.errors import ExitStatus
from pydsr.model.service import Service
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, made_directory, made_wire

ONE, TWO, NEW = "10.66.0.80:80", "10.66.0.80:53/udp", "10.66.0.85:80"
BAD, USAGE, CANNOT = ExitStatus.BAD_INPUT, ExitStatus.USAGE, ExitStatus.CANNOT
ROOM = 251 // 16
"""How many backends a service with the smallest tables holds: xdp/types.h, MEMBERS_MAX."""


@pytest.fixture(scope="module")
def balancer() -> Iterator[Pydsr]:
    """A balancer with the smallest tables and two services, for all tests of this file."""
    with made_wire() as (lb, _), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0", "--table-size", "251")
        pydsr.ok("backends", "set", ONE, BACKENDS[0], BACKENDS[1])
        pydsr.ok("backends", "set", TWO, BACKENDS[0])
        yield pydsr


def many(number: int) -> tuple[str, ...]:
    """Return backends with MACs by hand."""
    return tuple(f"10.66.1.{n}@02:00:00:00:01:{n:02x}" for n in range(1, number + 1))


MISTAKES = {
    # Endpoints.
    "no port": (("services", "add", "10.66.0.85"), BAD, "no port"),
    "nothing": (("services", "add", ""), BAD, "no port"),
    "port alone": (("services", "add", ":80"), BAD, "endpoint"),
    "port 0": (("services", "add", "10.66.0.85:0"), BAD, "1 to 65535"),
    "port too large": (("services", "add", "10.66.0.85:65536"), BAD, "1 to 65535"),
    "port negative": (("services", "add", "10.66.0.85:-1"), BAD, "1 to 65535"),
    "port in words": (("services", "add", "10.66.0.85:http"), BAD, "1 to 65535"),
    "port of other digits": (("services", "add", "10.66.0.85:٨٠"), BAD, "1 to 65535"),
    "port with space": (("services", "add", "10.66.0.85: 80"), BAD, "1 to 65535"),
    "unknown protocol": (("services", "add", f"{NEW}/dccp"), BAD, "dccp"),
    "empty protocol": (("services", "add", f"{NEW}/"), BAD, "tcp, udp or sctp"),
    "protocol in capitals": (("services", "add", f"{NEW}/TCP"), BAD, "tcp, udp or sctp"),
    "two protocols": (("services", "add", f"{NEW}/tcp/udp"), BAD, "tcp, udp or sctp"),
    "host name": (("services", "add", "localhost:80"), BAD, "not an IP address"),
    "short address": (("services", "add", "10.66.85:80"), BAD, "not an IP address"),
    "octal address": (("services", "add", "10.66.0.085:80"), BAD, "not an IP address"),
    "network": (("services", "add", "10.66.0.0/24:80"), BAD, "10.66.0.0/24:80"),
    "IPv6 without brackets": (("services", "add", "fd66::85:80"), BAD, "brackets"),
    "open bracket": (("services", "add", "[fd66::85:80"), BAD, "fd66::85"),
    "IPv4 in brackets": (("services", "add", "[10.66.0.85]:80"), BAD, "brackets"),
    "zone": (("services", "add", "[fe80::1%eth0]:80"), BAD, "zone"),
    "IPv4-mapped": (("services", "add", "[::ffff:10.66.0.85]:80"), BAD, "mapped"),
    "VIP unspecified": (("services", "add", "0.0.0.0:80"), BAD, "unspecified"),
    "VIP loopback": (("services", "add", "127.0.0.1:80"), BAD, "loopback"),
    "VIP loopback IPv6": (("services", "add", "[::1]:80"), BAD, "loopback"),
    "VIP multicast": (("services", "add", "224.0.0.1:80"), BAD, "multicast"),
    "VIP broadcast": (("services", "add", "255.255.255.255:80"), BAD, "broadcast"),
    # Services.
    "service exists": (("services", "add", ONE), BAD, "exists"),
    "unknown service to remove": (("services", "remove", NEW), BAD, "no service"),
    "other protocol": (("services", "remove", f"{ONE}/udp"), BAD, "no service"),
    "unknown service to list": (("backends", "list", NEW), BAD, "no service"),
    "long name": (("services", "add", NEW, "--name", "x" * 64), BAD, "63 bytes"),
    "long name in bytes": (("services", "add", NEW, "--name", "ä" * 32), BAD, "63 bytes"),
    "name with a newline": (("services", "add", NEW, "--name", "a\nb"), BAD, "printable"),
    "unknown affinity": (("services", "add", NEW, "--affinity", "cookie"), USAGE, "cookie"),
    "netmask without affinity": (("services", "add", NEW, "--netmask4", "24"), BAD, "affinity"),
    "netmask 33": (
        ("services", "add", NEW, "--affinity=source", "--netmask4", "33"),
        BAD,
        "1 to 32",
    ),
    "netmask 0": (("services", "add", NEW, "--affinity=source", "--netmask6=0"), BAD, "1 to 128"),
    "learn negative": (("services", "add", NEW, "--learn", "-1"), BAD, "learn"),
    "learn for ever": (("services", "add", NEW, "--learn", "9999999999"), BAD, "learn"),
    "learn in words": (("services", "add", NEW, "--learn", "long"), USAGE, "long"),
    # Backends.
    "no backend": (("backends", "set", ONE), USAGE, "BACKEND"),
    "no arguments": (("backends", "set"), USAGE, "ENDPOINT"),
    "backend with port": (("backends", "set", ONE, "10.66.0.11:80"), BAD, "not an IP address"),
    "backend without address": (("backends", "set", ONE, "=3"), BAD, "not an IP address"),
    "backend named": (("backends", "set", ONE, "web1"), BAD, "web1"),
    "backend loopback": (("backends", "set", ONE, "127.0.0.1"), BAD, "loopback"),
    "backend multicast": (("backends", "set", ONE, "ff02::1"), BAD, "multicast"),
    "weight negative": (("backends", "set", ONE, "10.66.0.11=-1"), BAD, "0 to 65535"),
    "weight fraction": (("backends", "set", ONE, "10.66.0.11=1.5"), BAD, "0 to 65535"),
    "weight huge": (("backends", "set", ONE, "10.66.0.11=65536"), BAD, "0 to 65535"),
    "weight very huge": (("backends", "set", ONE, f"10.66.0.11={10**30}"), BAD, "0 to 65535"),
    "weight empty": (("backends", "set", ONE, "10.66.0.11="), BAD, "0 to 65535"),
    "weight twice": (("backends", "set", ONE, "10.66.0.11=1=2"), BAD, "0 to 65535"),
    "MAC malformed": (("backends", "set", ONE, "10.66.0.11@02:00"), BAD, "not a MAC"),
    "MAC too long": (("backends", "set", ONE, "10.66.0.11@02:00:00:00:00:00:01"), BAD, "MAC"),
    "MAC empty": (("backends", "set", ONE, "10.66.0.11@"), BAD, "not a MAC"),
    "MAC zero": (("backends", "set", ONE, "10.66.0.11@00:00:00:00:00:00"), BAD, "zero"),
    "MAC multicast": (("backends", "set", ONE, "10.66.0.11@01:00:5e:00:00:01"), BAD, "multicast"),
    "MAC broadcast": (("backends", "set", ONE, "10.66.0.11@ff:ff:ff:ff:ff:ff"), BAD, "multicast"),
    "weight after MAC": (("backends", "set", ONE, "10.66.0.11@02:00:00:00:00:01=2"), BAD, "MAC"),
    "backend twice": (("backends", "set", ONE, "10.66.0.11", "10.66.0.11=2"), BAD, "twice"),
    "backend twice, spelt anew": (("backends", "add", ONE, "fd66::11", "fd66:0::11"), BAD, "twice"),
    "backend is its VIP": (("backends", "set", ONE, "10.66.0.80"), BAD, "VIP"),
    "backend is another VIP": (("backends", "set", NEW, "10.66.0.80"), BAD, "VIP"),
    "VIP is a backend": (("services", "add", f"{BACKENDS[0]}:80"), BAD, "backend"),
    "new VIP is a backend": (
        ("backends", "set", f"{BACKENDS[0]}:81", "10.66.0.13"),
        BAD,
        "backend",
    ),
    "add to no service": (("backends", "add", NEW, BACKENDS[2]), BAD, "no service"),
    "remove from no service": (("backends", "remove", NEW, BACKENDS[0]), BAD, "no service"),
    "remove an unknown backend": (("backends", "remove", ONE, BACKENDS[2]), BAD, BACKENDS[2]),
    "remove known and unknown": (
        ("backends", "remove", ONE, BACKENDS[0], BACKENDS[2]),
        BAD,
        BACKENDS[2],
    ),
    "more backends than fit": (("backends", "set", ONE, *many(ROOM + 1)), BAD, "--table-size"),
    "more backends than fit, added": (("backends", "add", ONE, *many(ROOM - 1)), BAD, "not fit"),
    # Asking.
    "explain without source": (("explain", ONE), USAGE, "--from"),
    "explain other version": (("explain", ONE, "--from", "[fd66::2]:4000"), BAD, "version"),
    "explain port 0": (("explain", ONE, "--from", "10.66.0.2:0"), BAD, "1 to 65535"),
    "watch too often": (("stats", "--watch", "0"), BAD, "0.1 to 3600"),
    "watch backwards": (("stats", "--watch", "-5"), BAD, "0.1 to 3600"),
    "interval 0": (("top", "--once", "--interval", "0"), BAD, "interval"),
    # Commands.
    "unknown command": (("frobnicate",), USAGE, "frobnicate"),
    "unknown option": (("status", "--frobnicate"), USAGE, "frobnicate"),
    "no interface": (("attach",), USAGE, "IFACE"),
    "unknown mode": (("attach", "eth0", "--mode", "fast"), USAGE, "fast"),
    "table size in words": (("attach", "eth0", "--table-size", "big"), USAGE, "big"),
}


def present(balancer: Pydsr) -> tuple[Service, ...]:
    """Return all services with their backends, read in this process."""
    with Balancer(balancer.bpffs) as opened:
        return opened.services()


@pytest.mark.parametrize(
    ("arguments", "status", "words"), list(MISTAKES.values()), ids=list(MISTAKES)
)
def test_a_mistake_is_explained_and_changes_nothing(
    balancer: Pydsr, arguments: tuple[str, ...], status: ExitStatus, words: str
) -> None:
    """The exit status is as documented, the message says what is wrong, the state is as before."""
    before = present(balancer)
    done = balancer(*arguments)
    after = present(balancer)
    for service in set(after) - set(before):
        balancer("services", "remove", str(service.endpoint))
    assert done.status == status, (done.stdout, done.stderr)
    assert words in done.stderr
    assert done.stdout == ""
    assert after == before


def test_as_many_backends_as_fit_are_taken(balancer: Pydsr) -> None:
    """The limit is what the message of one more says."""
    balancer.ok("backends", "set", NEW, *many(ROOM))
    assert len(balancer.addresses(NEW)) == ROOM
    balancer.ok("services", "remove", NEW)


def test_the_largest_values_are_taken(balancer: Pydsr) -> None:
    """Port 65535, weight 65535, a name of 63 bytes and a week of learning are valid."""
    endpoint = "10.66.0.85:65535/udp"
    balancer.ok("services", "add", endpoint, "--name", "x" * 63, "--learn", "604800")
    balancer.ok("backends", "set", endpoint, f"{BACKENDS[0]}=65535")
    (service,) = balancer.json("backends", "list", endpoint)
    assert (service["name"], service["backends"][0]["weight"]) == ("x" * 63, 65535)
    balancer.ok("services", "remove", endpoint)


@pytest.mark.parametrize("endpoint", ["10.66.0.1:80", "[fd66::1]:80"])
def test_a_vip_that_the_balancer_has_itself_is_refused(balancer: Pydsr, endpoint: str) -> None:
    """Its other ports, ssh among them, would be cut off."""
    before = balancer.json("services", "list")
    done = balancer("services", "add", endpoint)
    assert done.status == ExitStatus.BAD_INPUT
    assert "is an address of this machine" in done.stderr
    assert balancer.json("services", "list") == before
