"""VLANs by hand: frames go to backends with the tags that were named, whatever they came with."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host

SERVICE, VIP = "10.66.0.80:80", "10.66.0.80"
MAC = "02:00:00:00:00:aa"

UNTAGGED: tuple[Packet, ...] = ()
IN_100 = (Dot1Q(vlan=100, prio=5),)
IN_200 = (Dot1Q(vlan=200),)
IN_100_200 = (Dot1AD(vlan=100), Dot1Q(vlan=200))


def frame(source: str, destination: str, tags: tuple[Packet, ...], payload: Packet) -> bytes:
    """Return an Ethernet frame with tags."""
    made: Packet = Ether(src=source, dst=destination)
    for tag in tags:
        made /= tag.copy()
    return bytes(made / payload)


def tags_of(raw: bytes) -> list[tuple[int, int, int]]:
    """Return protocol, priority and VLAN of a frame's tags, the outermost first."""
    found = []
    offset = 12
    while raw[offset : offset + 2] in (b"\x81\x00", b"\x88\xa8"):
        protocol, control = (int.from_bytes(raw[n : n + 2], "big") for n in (offset, offset + 2))
        found.append((protocol, control >> 13, control & 0xFFF))
        offset += 4
    return found


def sent_to_backend(lb: Host, peer: Host, tags: tuple[Packet, ...]) -> bytes:
    """Send a SYN for the service and return the frame that comes out for the backend."""
    syn = IP(src="10.66.0.2", dst=VIP) / TCP(sport=40000, dport=80, flags="S")
    with peer.listen() as listener:
        peer.send(frame(peer.mac(), lb.mac(), tags, syn))
        return listener.until(lambda raw: Ether(raw).dst == MAC)[-1]


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize(
    ("vlan", "expected"),
    [
        ("", []),
        ("%200", [(0x8100, 0, 200)]),
        ("%100.200", [(0x88A8, 0, 100), (0x8100, 0, 200)]),
    ],
    ids=["none", "one", "two"],
)
def test_frames_to_a_backend_carry_its_tags(
    pydsr: Pydsr, lb: Host, peer: Host, mode: str, vlan: str, expected: list[tuple[int, int, int]]
) -> None:
    """Whether they came with none, one or two."""
    pydsr.ok("attach", "eth0", "--mode", mode, "--with", "vlan")
    pydsr.ok("backends", "set", SERVICE, f"10.66.0.77@{MAC}{vlan}")
    for tags in (UNTAGGED, IN_200, IN_100_200):
        raw = sent_to_backend(lb, peer, tags)
        assert tags_of(raw) == expected
        assert Ether(raw)[TCP].dport == 80


def test_the_priority_of_a_frame_goes_with_it(balancer: Pydsr, lb: Host, peer: Host) -> None:
    """Switches treat it after the balancer as before."""
    balancer.ok("backends", "set", SERVICE, f"10.66.0.77@{MAC}%200")
    assert tags_of(sent_to_backend(lb, peer, IN_100)) == [(0x8100, 5, 200)]


def test_a_vip_is_found_in_any_vlan(pydsr: Pydsr, lb: Host, peer: Host) -> None:
    """A request in a VLAN is answered in it, with the MAC of the interface."""
    pydsr.ok("attach", "eth0", "--with", "vlan")
    pydsr.ok("services", "add", SERVICE)
    request = ARP(op=1, hwsrc=peer.mac(), psrc="10.66.0.2", pdst=VIP)
    for tags in (UNTAGGED, IN_100, IN_100_200):
        with peer.listen() as listener:
            peer.send(frame(peer.mac(), "ff:ff:ff:ff:ff:ff", tags, request))
            received = listener.until(lambda raw: ARP in Ether(raw) and Ether(raw)[ARP].op == 2)
        assert [vlan for _, _, vlan in tags_of(received[-1])] == [tag.vlan for tag in tags]
        assert Ether(received[-1])[ARP].hwsrc == lb.mac()


def test_the_vlan_of_a_backend_is_listed_and_can_be_changed(balancer: Pydsr) -> None:
    """A change of the VLAN alone is a change, and named in the plan."""
    balancer.ok("backends", "set", SERVICE, f"10.66.0.77@{MAC}%200")
    (service,) = balancer.json("backends", "list", SERVICE)
    assert service["backends"][0]["vlan"] == "200"
    moved = ("backends", "set", SERVICE, f"10.66.0.77@{MAC}%100.200")
    (change,) = balancer.json(*moved, "--plan")["changes"]
    assert (change["action"], change["from"], change["to"]) == ("set vlan", "200", "100.200")
    balancer.ok(*moved)
    (service,) = balancer.json("backends", "list", SERVICE)
    assert service["backends"][0]["vlan"] == "100.200"


def test_a_backend_keeps_its_vlan_when_only_its_weight_is_named(balancer: Pydsr) -> None:
    """A place by hand stays until another is named."""
    balancer.ok("backends", "set", SERVICE, f"10.66.0.77@{MAC}%200")
    balancer.ok("backends", "add", SERVICE, "10.66.0.77=5")
    (service,) = balancer.json("backends", "list", SERVICE)
    backend = service["backends"][0]
    assert (backend["weight"], backend["vlan"], backend["mac"]) == (5, "200", MAC)


def test_an_interface_that_takes_tags_off_is_named(pydsr: Pydsr, lb: Host) -> None:
    """What the program cannot see it cannot balance; the advice helps."""
    assert pydsr("attach", "eth0").stderr == ""
    said = pydsr("backends", "set", SERVICE, f"10.66.0.77@{MAC}%200").stderr
    assert "eth0 may strip VLAN tags before the program sees them" in said
    assert "ethtool -K" in said
    assert "eth0 may strip VLAN tags" in pydsr("attach", "eth0").stderr
    lb.run("ethtool", "-K", "eth0", "rxvlan", "off")
    assert pydsr("attach", "eth0").stderr == ""


@pytest.mark.parametrize("vlan", ["%", "%0", "%4095", "%1.2.3", "%x", "%100.", "%-1"])
def test_what_is_no_vlan_is_refused(balancer: Pydsr, vlan: str) -> None:
    """The message shows how it is written."""
    done = balancer("backends", "set", SERVICE, f"10.66.0.77@{MAC}{vlan}")
    assert done.status == ExitStatus.BAD_INPUT
    assert "is not a VLAN" in done.stderr
    assert balancer.state() == ([], [])
