"""The program is compiled to fit: what is used is in it in time, and the rest is left out."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.kills import ends
from tests.support.netns.namespaces import Host, connect

SERVICE, VIP = "10.66.0.80:80", "10.66.0.80"
MAC = "02:00:00:00:00:aa"
BACKEND = f"10.66.0.77@{MAC}"
EVERY_PORT = "10.66.0.81:*"

NEEDING = {
    "every-port": ("services", "add", EVERY_PORT),
    "guard": ("services", "add", "10.66.0.81:81", "--max-new-flows", "10"),
    "vlan": ("backends", "set", SERVICE, f"{BACKEND}%200"),
    "acl": ("acl", "deny", SERVICE, "192.0.2.0/24"),
}
"""For each feature a change that needs it, of a balancer with one service and backend."""

each = pytest.mark.parametrize("feature", NEEDING)


@pytest.fixture
def served(balancer: Pydsr) -> Pydsr:
    """A balancer with one service and backend."""
    balancer.ok("backends", "set", SERVICE, BACKEND)
    return balancer


def features(pydsr: Pydsr, kind: str = "features") -> set[str]:
    """Return what status says of features."""
    return set(pydsr.json("status")[kind])


def send_syn(lb: Host, peer: Host, interface: str = "eth0") -> None:
    """Send a SYN to a port of EVERY_PORT's VIP to an interface of the balancer."""
    vip = EVERY_PORT.partition(":")[0]
    ethernet = Ether(src=peer.mac(interface), dst=lb.mac(interface))
    syn = ethernet / IP(src="10.66.0.2", dst=vip) / TCP(sport=40000, dport=1234, flags="S")
    peer.send(bytes(syn), interface)


def assert_delivered(lb: Host, peer: Host, interface: str = "eth0") -> None:
    """Check that such a SYN comes out of the balancer's eth0 again, for BACKEND."""
    with peer.listen() as listener:
        send_syn(lb, peer, interface)
        listener.until(lambda frame: Ether(frame).dst == MAC and TCP in Ether(frame))


def test_at_first_there_is_only_what_no_configuration_shows(balancer: Pydsr) -> None:
    """A plain service needs no more."""
    balancer.ok("backends", "set", SERVICE, BACKEND)
    assert features(balancer) == {"fragments", "tap"}
    assert "features: fragments, tap" in balancer.ok("status")


@each
def test_a_change_that_needs_a_feature_compiles_it_in(
    served: Pydsr, lb: Host, peer: Host, feature: str
) -> None:
    """The program is replaced by one that has it, and no packet is lost; a plan leaves it."""
    program = lb.xdp_program("eth0")
    served.ok(*NEEDING[feature], "--plan")
    assert features(served) == {"fragments", "tap"}
    assert lb.xdp_program("eth0") == program
    with peer.flooding(VIP) as flood:
        served.ok(*NEEDING[feature])
    assert features(served) == {"fragments", "tap", feature}
    assert lb.xdp_program("eth0") not in (program, None)
    assert served.modes() == {"eth0": "native"}
    assert len(flood.answered) > 100
    assert flood.lost == set()


def test_a_change_that_needs_what_is_there_replaces_nothing(served: Pydsr, lb: Host) -> None:
    """Once in, a feature is there for every later change."""
    served.ok("services", "add", EVERY_PORT)
    program = lb.xdp_program("eth0")
    served.ok("services", "add", "10.66.0.82:*")
    served.ok("services", "remove", "10.66.0.82:*")
    assert lb.xdp_program("eth0") == program


def test_a_feature_works_once_it_is_in(served: Pydsr, lb: Host, peer: Host) -> None:
    """The user names the service, and packets for any port of it get to the backend."""
    served.ok("backends", "set", EVERY_PORT, BACKEND)
    assert_delivered(lb, peer)


def test_what_is_no_longer_used_stays_until_the_next_attach(served: Pydsr, lb: Host) -> None:
    """Removing is no reason to touch the data plane; status and the plan say what will go."""
    served.ok("services", "add", EVERY_PORT)
    assert features(served, "unused_features") == set()
    program = lb.xdp_program("eth0")
    served.ok("services", "remove", EVERY_PORT)
    assert lb.xdp_program("eth0") == program
    assert features(served, "unused_features") == {"every-port"}
    assert "no longer used: every-port" in served.ok("status")
    plan = served.json("attach", "eth0", "--plan")["changes"]
    assert ("leave out", "every-port") in [(one["action"], one["object"]) for one in plan]
    served.ok("attach", "eth0")
    assert features(served) == {"fragments", "tap"}
    assert "no longer used" not in served.ok("status")


def test_detaching_the_second_interface_makes_redirects_unused(
    balancer: Pydsr, lb: Host, peer: Host
) -> None:
    """The next attach leaves them out."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    balancer.ok("attach", "eth1")
    assert "redirect" in features(balancer)
    balancer.ok("detach", "eth1")
    assert features(balancer, "unused_features") == {"redirect"}
    balancer.ok("attach", "eth0")
    assert "redirect" not in features(balancer)


# -- by hand


@each
def test_a_change_that_needs_what_was_refused_is_refused(
    pydsr: Pydsr, lb: Host, feature: str
) -> None:
    """The message names the feature; nothing is changed; what the hint says helps."""
    pydsr.ok("attach", "eth0", "--without", feature)
    pydsr.ok("backends", "set", SERVICE, BACKEND)
    state, program = pydsr.state(), lb.xdp_program("eth0")
    for arguments in (NEEDING[feature], (*NEEDING[feature], "--plan")):
        done = pydsr(*arguments)
        assert done.status == ExitStatus.BAD_INPUT
        assert f"needs {feature}" in done.stderr
        assert f"pydsr attach --with {feature} IFACE" in done.stderr
    assert pydsr.state() == state
    assert lb.xdp_program("eth0") == program
    pydsr.ok("attach", "--with", feature, "eth0")
    pydsr.ok(*NEEDING[feature])


def test_a_second_interface_is_refused_where_redirects_were(
    pydsr: Pydsr, lb: Host, peer: Host
) -> None:
    """It would take in packets that it could not send out."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    pydsr.ok("attach", "eth0", "--without", "redirect")
    for arguments in (("attach", "eth1"), ("attach", "eth1", "--plan")):
        done = pydsr(*arguments)
        assert done.status == ExitStatus.BAD_INPUT
        assert "cannot be without redirect" in done.stderr
    assert pydsr.modes() == {"eth0": "native"}
    pydsr.ok("attach", "eth1", "--with", "redirect")
    assert pydsr.modes() == {"eth0": "native", "eth1": "native"}


def test_what_attach_was_told_is_remembered(pydsr: Pydsr) -> None:
    """Later attaches keep to it until they are told otherwise."""
    pydsr.ok("attach", "eth0", "--with", "acl,guard", "--without", "tap")
    pydsr.ok("attach", "eth0")
    assert features(pydsr) == {"fragments", "acl", "guard"}
    assert features(pydsr, "unused_features") == set()
    assert features(pydsr, "refused_features") == {"tap"}
    assert "left out by --without: tap" in pydsr.ok("status")
    pydsr.ok("attach", "eth0", "--with", "tap", "--without", "acl")
    assert features(pydsr) == {"fragments", "tap", "guard"}


def test_what_is_used_cannot_be_left_out(served: Pydsr, lb: Host) -> None:
    """Attach refuses, and the program stays."""
    served.ok("services", "add", EVERY_PORT)
    program = lb.xdp_program("eth0")
    for arguments in ((), ("--plan",)):
        done = served("attach", "eth0", "--without", "every-port", *arguments)
        assert done.status == ExitStatus.BAD_INPUT
        assert "every-port, which is in use" in done.stderr
    assert lb.xdp_program("eth0") == program
    assert "every-port" in features(served)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--with", "vlans"), "there is no feature 'vlans'"),
        (("--without", "acl,"), "there is no feature ''"),
        (("--with", "acl", "--without", "tap,acl"), "acl is named by both"),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    pydsr: Pydsr, lb: Host, options: tuple[str, ...], words: str
) -> None:
    """Nothing is attached."""
    done = pydsr("attach", "eth0", *options)
    assert done.status == ExitStatus.BAD_INPUT
    assert words in done.stderr
    assert lb.xdp_program("eth0") is None


def test_verbose_says_what_is_compiled(served: Pydsr) -> None:
    """Without -v nothing is said: the change is what was asked for."""
    assert "every-port" not in served("services", "add", EVERY_PORT).stderr.replace(EVERY_PORT, "")
    served.ok("services", "remove", EVERY_PORT)
    served.ok("attach", "eth0")
    assert (
        "compiling the program anew, with every-port"
        in served("-v", "services", "add", EVERY_PORT).stderr
    )


def test_an_attach_that_fails_leaves_program_and_features(
    served: Pydsr, lb: Host, peer: Host
) -> None:
    """Another interface that refuses is no reason to replace what runs."""
    connect(lb, peer, "eth1", [])
    lb.run("ip", "link", "add", "link", "eth1", "name", "odd", "type", "macvlan", "mode", "bridge")
    program = lb.xdp_program("eth0")
    done = served("attach", "eth1", "odd", "--mode", "native", "--with", "guard")
    assert done.status == ExitStatus.CANNOT
    assert lb.xdp_program("eth0") == program
    assert lb.xdp_program("eth1") is None
    assert features(served) == {"fragments", "tap"}


# -- killed


REPLACING = ("write_features", "link_update")
"""What replaces a program, in its order; each is a moment to be killed at."""


def test_a_change_killed_while_it_replaces_programs_can_be_repeated(
    pydsr: Pydsr, lb: Host, peer: Host
) -> None:
    """Wherever the kill falls, afterwards every interface has what the change needs."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    pydsr.ok("attach", "eth0", "eth1", "--table-size", "251")
    command = ("services", "add", EVERY_PORT)
    kills = 0
    while not ends(pydsr, *command, functions=REPLACING, nth=kills + 1):
        kills += 1
        assert pydsr.modes() == {"eth0": "native", "eth1": "native"}, kills
        pydsr.ok("backends", "set", EVERY_PORT, BACKEND)
        for interface in ("eth0", "eth1"):
            assert_delivered(lb, peer, interface)
        pydsr.ok("services", "remove", EVERY_PORT)
        pydsr.ok("attach", "eth0")
    assert kills == 4


def test_an_attach_killed_while_it_leaves_features_out_deceives_no_later_change(
    pydsr: Pydsr, lb: Host, peer: Host
) -> None:
    """A program that lost a feature is not taken for one that has it."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    pydsr.ok("attach", "eth0", "eth1", "--table-size", "251", "--with", "every-port")
    command = ("attach", "eth0", "--without", "every-port")
    kills = 0
    while not ends(pydsr, *command, functions=REPLACING, nth=kills + 1):
        kills += 1
        pydsr.ok("backends", "set", EVERY_PORT, BACKEND)
        for interface in ("eth0", "eth1"):
            assert_delivered(lb, peer, interface)
        pydsr.ok("services", "remove", EVERY_PORT)
        pydsr.ok("attach", "eth0", "--with", "every-port")
    assert kills == 4
