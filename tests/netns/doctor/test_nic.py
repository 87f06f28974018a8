"""The doctor's findings on real interfaces, before and after attach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.doctor_report import command_in, examine
from tests.support.netns.namespaces import Host, connect, made_directory, made_wire


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Pydsr, Host]]:
    """The command on a host with a peer; nothing is attached."""
    with made_wire() as (lb, peer), made_directory() as bpffs:
        yield Pydsr(lb, bpffs), peer


@pytest.fixture
def pydsr(hosts: tuple[Pydsr, Host]) -> Iterator[Pydsr]:
    """The command; afterwards its host has only eth0 again."""
    pydsr, _ = hosts
    yield pydsr
    if pydsr.bpffs.exists():
        pydsr.ok("detach", "--all", "--purge")
    for name in ("odd", "eth1"):
        pydsr.host.attempt("ip", "link", "delete", name)


@pytest.fixture
def peer(hosts: tuple[Pydsr, Host]) -> Host:
    """The host at the other end."""
    return hosts[1]


def test_an_interface_that_nothing_stands_against(pydsr: Pydsr) -> None:
    """By name, and without a name as the only candidate."""
    for arguments in (("eth0",), ()):
        done = pydsr("doctor", *arguments)
        assert ExitStatus.DONE == done.status
        assert "driver veth: native XDP should work, at any MTU" in done.stdout
        assert "no XDP program in the way" in done.stdout
        assert "no problems found" in done.stdout
    assert not pydsr.bpffs.exists()


def test_nothing_that_could_be_attached(pydsr: Pydsr) -> None:
    pydsr.host.run("ip", "link", "set", "eth0", "down")
    found = examine(pydsr)
    assert [] == found.ids
    assert "no interface that could be attached is up" in found.unseen()
    named = examine(pydsr, "eth0")
    assert ["interface-down"] == named.ids
    pydsr.host.run(*command_in(named.first("interface-down")["remedy"]))


@pytest.mark.parametrize("name", ["nothere", "lo"])
def test_an_interface_that_is_none(pydsr: Pydsr, name: str) -> None:
    done = pydsr("doctor", name)
    assert done.status in (ExitStatus.BAD_INPUT, ExitStatus.CANNOT)
    assert name in done.stderr
    assert "" == done.stdout


def make(host: Host, *options: str) -> None:
    """Create the interface ``odd``, or skip where the kernel lacks its kind."""
    added = host.attempt("ip", "link", "add", "name", "odd", *options)
    if "Unknown device type" in added.stderr:
        pytest.skip(f"this kernel has none of {options}")
    assert added.returncode == 0, added.stderr
    host.run("ip", "link", "set", "odd", "up")


@pytest.mark.parametrize(
    ("options", "what", "remedy"),
    [
        (("link", "eth0", "type", "macvlan"), "odd is a macvlan", "pydsr attach eth0"),
        (("type", "ifb"), "the driver of odd, ifb, has no native XDP", "--mode generic"),
    ],
)
def test_a_driver_without_xdp_is_foretold_and_refused_in_the_same_words(
    pydsr: Pydsr, options: tuple[str, ...], what: str, remedy: str
) -> None:
    make(pydsr.host, *options)
    finding = examine(pydsr, "odd").first("driver-without-xdp")
    assert what in finding["what"]
    assert remedy in finding["remedy"]
    done = pydsr("attach", "odd", "--mode", "native")
    assert ExitStatus.CANNOT == done.status
    assert f"{finding['what']}: {finding['remedy']}" in done.stderr
    assert "pydsr doctor odd: driver-without-xdp" in done.stderr


def test_a_veth_whose_other_end_sends_by_more_queues(pydsr: Pydsr, peer: Host) -> None:
    pydsr.host.run(
        *("ip", "link", "add", "odd", "numrxqueues", "1", "type", "veth"),
        *("peer", "name", "odd", "netns", peer.name, "numtxqueues", "2"),
    )
    peer.run("ethtool", "-L", "odd", "tx", "2")
    for host in (pydsr.host, peer):
        host.run("ip", "link", "set", "odd", "up")
    finding = examine(pydsr, "odd").first("queues-few")
    assert finding["what"] in pydsr("attach", "odd", "--mode", "native").stderr
    peer.run(*(word.replace("PEER", "odd") for word in command_in(finding["remedy"])))
    assert [] == examine(pydsr, "odd").ids


def test_a_bridge_is_unsuitable(pydsr: Pydsr) -> None:
    make(pydsr.host, "type", "bridge")
    finding = examine(pydsr, "odd").first("interface-unsuitable")
    assert finding["what"] in pydsr("attach", "odd").stderr


def test_the_program_of_somebody_else(pydsr: Pydsr) -> None:
    pydsr.host.put_program("eth0", "somebody_else")
    found = examine(pydsr, "eth0")
    assert ["xdp-foreign"] == found.ids
    finding = found.first("xdp-foreign")
    assert "somebody_else" in finding["what"]
    assert finding["what"] in pydsr("attach", "eth0").stderr
    pydsr.host.run("ip", "link", "set", "dev", "eth0", "xdp", "off")


def test_a_program_on_a_device_above(pydsr: Pydsr) -> None:
    make(pydsr.host, "link", "eth0", "type", "macvlan")
    pydsr.host.put_program("odd", "somebody_else")
    found = examine(pydsr, "eth0")
    assert ["xdp-above"] == found.ids
    finding = found.first("xdp-above")
    assert finding["what"] in pydsr("attach", "eth0").stderr
    pydsr.host.run("ip", "link", "set", "dev", "odd", "xdp", "off")
    assert finding["remedy"].endswith("ip link set dev odd xdp off")


def test_generic_mode_where_the_driver_has_native(pydsr: Pydsr) -> None:
    pydsr.ok("attach", "eth0", "--mode", "generic")
    found = examine(pydsr)
    assert ["generic-mode"] == found.ids
    for command in found.first("generic-mode")["remedy"].split("; "):
        pydsr.ok(*command.split()[1:])
    assert [] == examine(pydsr).ids


def test_two_interfaces_in_two_modes(pydsr: Pydsr, peer: Host) -> None:
    connect(pydsr.host, peer, "eth1", [])
    pydsr.ok("attach", "eth0")
    warned = pydsr("attach", "eth1", "--mode", "generic").stderr
    found = examine(pydsr)
    assert ["generic-mode", "modes-mixed"] == found.ids
    assert found.first("modes-mixed")["what"] in warned


def test_tags_that_are_taken_off(pydsr: Pydsr, peer: Host) -> None:
    warned = pydsr("attach", "eth0", "--with", "vlan").stderr
    found = examine(pydsr)
    assert ["vlan-stripped"] == found.ids
    finding = found.first("vlan-stripped")
    assert finding["what"] in warned
    assert finding["remedy"] in warned
    there, here = finding["remedy"].replace("PEER", "eth0").split("; ")
    peer.run(*command_in(there))
    pydsr.host.run(*command_in(here))
    assert [] == examine(pydsr).ids
    pydsr.host.run("ethtool", "-K", "eth0", "rxvlan", "on")
    peer.run("ethtool", "-K", "eth0", "txvlan", "on")
