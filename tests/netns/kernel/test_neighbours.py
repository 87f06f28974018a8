"""Resolving backends: by ARP, by neighbour discovery and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from pydsr.kernel.net.neighbours import resolve
from pydsr.lab.network import enter_namespace
from pydsr.model.errors import BackendUnresolvedError, ExitStatus
from pydsr.model.interfaces import Segment
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host, connect, eventually

SERVICE4, SERVICE6 = "10.66.0.80:80", "[fd66::80]:80"
BACKEND4, BACKEND6 = "10.66.0.11", "fd66::11"
ROUTED = "192.0.2.7"


@pytest.fixture
def lb(quick: Pydsr) -> Host:
    """The balancer's host, shared by the tests of this file."""
    return quick.host


@pytest.fixture
def peer(lasting: tuple[Pydsr, Host]) -> Host:
    """The host at the other end of the wire, shared by the tests of this file."""
    return lasting[1]


def macs(pydsr: Pydsr, endpoint: str) -> dict[str, str]:
    """Return the MAC of each backend of a service."""
    (service,) = pydsr.json("backends", "list", endpoint)
    return {backend["address"]: backend["mac"] for backend in service["backends"]}


@contextmanager
def asking_quickly(host: Host) -> Iterator[None]:
    """Have the kernel repeat its questions for a MAC soon, and so give up soon."""
    settings = [f"net.ipv{version}.neigh.eth0.retrans_time_ms" for version in (4, 6)]
    before = [host.run("sysctl", "-n", setting).strip() for setting in settings]
    host.run("sysctl", "-qw", *(f"{setting}=50" for setting in settings))
    yield
    host.run("sysctl", "-qw", *map("{}={}".format, settings, before))


def neighbour_state(host: Host, address: str) -> str:
    """Return the state of the kernel's entry for an address."""
    (state,) = [
        state for each in host.neighbours() if each["dst"] == address for state in each["state"]
    ]
    return str(state)


@pytest.mark.parametrize(
    ("endpoint", "backend"), [(SERVICE4, BACKEND4), (SERVICE6, BACKEND6)], ids=["IPv4", "IPv6"]
)
def test_a_backend_never_met_is_resolved(
    quick: Pydsr, lb: Host, peer: Host, endpoint: str, backend: str
) -> None:
    """The kernel has to ask for it, whether or not it has an entry."""
    lb.run("ip", "neigh", "flush", "dev", "eth0")
    assert lb.neighbour_mac(backend) is None
    quick.ok("backends", "set", endpoint, backend)
    assert macs(quick, endpoint) == {backend: peer.mac()}
    (service,) = quick.json("backends", "list", endpoint)
    assert service["backends"] == [
        {
            "address": backend,
            "mac": peer.mac(),
            "mac_by_hand": False,
            "weight": 1,
            "state": "up",
            "interface": "eth0",
            "vlan": None,
            "share": 1.0,
        }
    ]


def test_a_stale_entry_is_checked_before_it_is_used(quick: Pydsr, lb: Host, peer: Host) -> None:
    """The kernel asks again for a stale entry."""
    stale = ("lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "eth0")
    lb.run("ip", "neigh", "replace", BACKEND4, *stale)
    quick.ok("backends", "set", SERVICE4, BACKEND4)
    assert macs(quick, SERVICE4) == {BACKEND4: peer.mac()}


def test_a_permanent_entry_is_believed(quick: Pydsr, lb: Host) -> None:
    """A permanent entry of the administrator needs no answer."""
    permanent = ("lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev", "eth0")
    lb.run("ip", "neigh", "replace", "10.66.0.99", *permanent)
    quick.ok("backends", "set", SERVICE4, "10.66.0.99")
    assert macs(quick, SERVICE4) == {"10.66.0.99": "02:00:00:00:00:99"}


def test_backends_that_do_not_answer_are_named(quick: Pydsr) -> None:
    """When the kernel has given up, the error names the silent ones only; nothing is changed."""
    quick.ok("backends", "set", SERVICE4, BACKEND4)
    state = quick.state()
    silent = ("10.66.0.98", "fd66::99")
    with asking_quickly(quick.host):
        done = quick("backends", "set", SERVICE4, "10.66.0.12", BACKEND6, *silent)
    assert ["FAILED"] * 2 == [neighbour_state(quick.host, address) for address in silent]
    assert done.status == ExitStatus.FAILED
    assert "backends 10.66.0.98, fd66::99 do not answer ARP/ND on eth0" in done.stderr
    assert "10.66.0.12" not in done.stderr
    assert "ADDR@MAC" in done.stderr
    assert quick.state() == state


def test_a_silent_backend_is_waited_for_no_longer_than_asked(lb: Host) -> None:
    """The kernel still asks for it then."""
    silent = "10.66.0.98"
    ifindex = int(lb.link("eth0")["ifindex"])
    with (
        enter_namespace(lb.name),
        pytest.raises(BackendUnresolvedError, match="does not answer ARP"),
    ):
        resolve([ip_address(silent)], {ifindex: Segment(ifindex)}, seconds=0.0)
    assert "INCOMPLETE" == neighbour_state(lb, silent)


def test_a_backend_behind_a_router_is_refused(quick: Pydsr, lb: Host) -> None:
    """Rewriting MACs reaches no other network; the error names the router, and what to do."""
    lb.run("ip", "route", "add", "192.0.2.0/24", "via", "10.66.0.2")
    done = quick("backends", "set", SERVICE4, ROUTED)
    assert done.status == ExitStatus.FAILED
    assert f"backend {ROUTED} is not on a directly connected network" in done.stderr
    assert "10.66.0.2" in done.stderr
    assert quick.state() == ([], [])


@pytest.mark.parametrize(
    ("prepare", "backend", "words"),
    [
        ((), ROUTED, "no route to backend 192.0.2.7"),
        (("route", "add", "blackhole", "192.0.2.0/24"), ROUTED, "no route to backend 192.0.2.7"),
        (("route", "add", "prohibit", "192.0.2.0/24"), ROUTED, "no route to backend 192.0.2.7"),
        ((), "10.66.0.1", "10.66.0.1 is an address of this machine"),
        ((), "fd66::1", "fd66::1 is an address of this machine"),
        (("link", "set", "eth0", "down"), BACKEND4, "no route to backend 10.66.0.11"),
    ],
)
def test_what_can_be_no_backend_is_refused(
    quick: Pydsr, prepare: tuple[str, ...], backend: str, words: str
) -> None:
    """No route, or this machine itself: the error says which, and nothing is changed."""
    if prepare:
        quick.host.run("ip", *prepare)
    done = quick("backends", "set", SERVICE4, backend)
    assert done.status == ExitStatus.FAILED
    assert words in done.stderr
    assert "hint" in done.stderr
    assert quick.state() == ([], [])


def test_a_backend_behind_an_interface_without_the_balancer_is_refused(
    quick: Pydsr, lb: Host, peer: Host
) -> None:
    """The hint is to attach there, and that works."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    done = quick("backends", "set", SERVICE4, "10.67.0.2")
    assert done.status == ExitStatus.FAILED
    assert "10.67.0.2 is behind eth1" in done.stderr
    assert "pydsr attach eth1" in done.stderr
    quick.ok("attach", "eth1")
    quick.ok("backends", "set", SERVICE4, "10.67.0.2")
    assert macs(quick, SERVICE4) == {"10.67.0.2": peer.mac("eth1")}


def test_without_an_interface_no_backend_can_be_found(quick: Pydsr) -> None:
    """After detach the services remain, but backends cannot be added."""
    quick.ok("backends", "set", SERVICE4, BACKEND4)
    quick.ok("detach", "eth0")
    state = quick.state()
    done = quick("backends", "add", SERVICE4, "10.66.0.12")
    assert done.status == ExitStatus.FAILED
    assert "pydsr attach" in done.stderr
    assert quick.state() == state


def test_a_mac_given_by_hand_is_taken_as_it_is(quick: Pydsr, lb: Host, peer: Host) -> None:
    """Nobody is asked, so the address need not answer."""
    with peer.listen() as listener:
        quick.ok("backends", "set", SERVICE4, "10.66.0.77@02-00-00-00-00-AA")
        assert lb.pings("10.66.0.2")
        received = listener.until(lambda frame: frame[12:14] == b"\x08\x00")
    assert macs(quick, SERVICE4) == {"10.66.0.77": "02:00:00:00:00:aa"}
    assert lb.neighbour_mac("10.66.0.77") is None
    assert not [frame for frame in received if bytes([10, 66, 0, 77]) in frame]


def test_a_mac_by_hand_serves_a_backend_without_a_route(quick: Pydsr) -> None:
    """As the hint for a routed backend says."""
    quick.ok("backends", "set", SERVICE4, f"{ROUTED}@02:00:00:00:00:aa")
    assert macs(quick, SERVICE4) == {ROUTED: "02:00:00:00:00:aa"}


def test_a_mac_by_hand_can_be_given_up(quick: Pydsr, peer: Host) -> None:
    """Naming the backend without a MAC resolves it again."""
    quick.ok("backends", "set", SERVICE4, f"{BACKEND4}@02:00:00:00:00:aa")
    quick.ok("backends", "set", SERVICE4, BACKEND4)
    assert macs(quick, SERVICE4) == {BACKEND4: peer.mac()}


def test_a_change_keeps_the_macs_of_other_backends(quick: Pydsr, peer: Host) -> None:
    """Backends that a command does not name keep their MAC, by hand or resolved."""
    quick.ok("backends", "set", SERVICE4, BACKEND4, "10.66.0.77@02:00:00:00:00:aa")
    quick.ok("backends", "add", SERVICE4, "10.66.0.12")
    assert macs(quick, SERVICE4) == {
        BACKEND4: peer.mac(),
        "10.66.0.77": "02:00:00:00:00:aa",
        "10.66.0.12": peer.mac(),
    }


def test_the_next_change_learns_a_new_mac(quick: Pydsr, lb: Host, peer: Host) -> None:
    """The new MAC of a backend is found, and the plan shows it."""
    quick.ok("backends", "set", SERVICE4, BACKEND4)
    old = peer.mac()
    peer.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:bb")
    lb.run("ip", "neigh", "flush", "dev", "eth0")
    assert lb.pings(BACKEND4)
    assert eventually(lambda: lb.neighbour_mac(BACKEND4)) == "02:00:00:00:00:bb"
    plan = quick.json("backends", "set", SERVICE4, BACKEND4, "--plan")
    assert plan["changes"] == [
        {
            "action": "set mac",
            "object": f"{SERVICE4}/tcp {BACKEND4}",
            "from": old,
            "to": "02:00:00:00:00:bb",
        }
    ]
    quick.ok("backends", "set", SERVICE4, BACKEND4)
    assert macs(quick, SERVICE4) == {BACKEND4: "02:00:00:00:00:bb"}


@pytest.mark.parametrize(
    ("endpoint", "source", "backend"),
    [(SERVICE6, "[fd66::2]:40000", BACKEND4), (SERVICE4, "10.66.0.2:40000", BACKEND6)],
)
def test_a_backend_may_be_named_by_the_other_ip_version(
    quick: Pydsr, peer: Host, endpoint: str, source: str, backend: str
) -> None:
    """Only the MAC matters to packets, so an IPv4 address may serve an IPv6 VIP."""
    quick.ok("backends", "set", endpoint, backend)
    answer = quick.json("explain", endpoint, "--from", source)
    assert (answer["backend"], answer["mac"]) == (backend, peer.mac())
    assert answer["verdict"] == "tx"


def test_a_backend_may_be_in_several_services(quick: Pydsr, peer: Host) -> None:
    """It has its own weight in each service."""
    quick.ok("backends", "set", SERVICE4, f"{BACKEND4}=2", "10.66.0.12=1")
    quick.ok("backends", "set", "10.66.0.80:443", f"{BACKEND4}=5")
    quick.ok("backends", "remove", SERVICE4, BACKEND4)
    assert macs(quick, SERVICE4) == {"10.66.0.12": peer.mac()}
    assert macs(quick, "10.66.0.80:443") == {BACKEND4: peer.mac()}
