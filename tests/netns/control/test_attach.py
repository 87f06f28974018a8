"""Attach, upgrade in place, detach: what they say, leave and refuse."""

from __future__ import annotations

from ctypes import c_uint32
from dataclasses import replace
from pathlib import Path

import pytest

from pydsr.kernel.bpf import layout, libbpf
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, Host, connect

SERVICE, VIP = "10.66.0.80:80", "10.66.0.80"


def link_id(bpffs: Path, lb: Host, interface: str = "eth0") -> int:
    """Return the id of the pinned link of an interface."""
    with libbpf.open_pin(bpffs / "links" / str(lb.link(interface)["ifindex"])) as fd:
        return int(libbpf.link_info(fd).id)


def interface_entries(bpffs: Path) -> set[int]:
    """Return the indexes of the interfaces that the program knows the MAC of."""
    value = layout.InterfaceValue()
    with libbpf.open_pin(bpffs / "interfaces") as fd:
        return {
            index
            for index in range(1000)
            if libbpf.map_lookup(fd, c_uint32(index), value) and any(value.mac)
        }


def test_the_wire_works_without_a_balancer(lb: Host, peer: Host) -> None:
    """Both hosts reach each other while nothing is attached."""
    assert lb.pings("10.66.0.2")
    assert peer.pings("fd66::1")


def test_attach_says_that_it_got_native_mode(pydsr: Pydsr, lb: Host) -> None:
    """On a veth the program runs in the driver; attach, status and the kernel agree."""
    pydsr = replace(pydsr, forked=False)
    done = pydsr("attach", "eth0")
    program = lb.xdp_program("eth0")
    assert done.status == ExitStatus.DONE
    assert done.stdout == f"eth0: attached, native mode, program {program}\n"
    assert done.stderr == ""
    assert pydsr.json("status")["interfaces"] == [
        {"name": "eth0", "mode": "native", "program_id": program}
    ]


def test_an_attached_interface_still_carries_other_traffic(balancer: Pydsr, peer: Host) -> None:
    """What is not for a VIP reaches the host as before."""
    assert balancer.host.pings("10.66.0.2")
    assert peer.pings("fd66::1")


def test_attach_again_upgrades_in_place(balancer: Pydsr, bpffs: Path, lb: Host) -> None:
    """The link stays, its program is a new one, services and backends are kept."""
    balancer.ok("backends", "set", SERVICE, BACKENDS[0])
    link, program, state = link_id(bpffs, lb), lb.xdp_program("eth0"), balancer.state()
    said = balancer.ok("attach", "eth0")
    assert said == f"eth0: upgraded in place, native mode, program {lb.xdp_program('eth0')}\n"
    assert lb.xdp_program("eth0") != program
    assert link_id(bpffs, lb) == link
    assert balancer.state() == state


@pytest.mark.parametrize("address", ["10.66.0.1", VIP])
def test_an_upgrade_loses_no_packet(balancer: Pydsr, peer: Host, address: str) -> None:
    """A flood through the interface, passed or answered by the program, loses nothing."""
    balancer.ok("services", "add", SERVICE)
    with peer.flooding(address) as flood:
        for _ in range(3):
            balancer.ok("attach", "eth0")
    assert len(flood.answered) > 100
    assert flood.lost == set()


def test_one_upgrade_gives_every_interface_the_new_program(
    pydsr: Pydsr, lb: Host, peer: Host
) -> None:
    """All interfaces of a balancer run the same program, whichever was named."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    pydsr.ok("attach", "eth0", "eth1")
    before = lb.xdp_program("eth1")
    pydsr.ok("attach", "eth0")
    assert lb.xdp_program("eth0") == lb.xdp_program("eth1") != before


def test_interfaces_share_services(pydsr: Pydsr, lb: Host, peer: Host) -> None:
    """A VIP is served on every attached interface, also on one attached later."""
    connect(lb, peer, "eth1", [("10.67.0.1/24", "10.67.0.2/24")])
    pydsr.ok("attach", "eth0")
    pydsr.ok("services", "add", "10.67.0.80:80")
    pydsr.ok("services", "add", SERVICE)
    pydsr.ok("attach", "eth1")
    assert pydsr.modes() == {"eth0": "native", "eth1": "native"}
    assert peer.pings(VIP)
    assert peer.pings("10.67.0.80")


def test_a_foreign_program_is_refused_and_left_in_place(
    pydsr: Pydsr, bpffs: Path, lb: Host
) -> None:
    """Another XDP program is named with its id, and nothing is changed."""
    program = lb.put_program("eth0", "somebody_else")
    done = pydsr("attach", "eth0")
    assert done.status == ExitStatus.CANNOT
    assert f"somebody_else (id {program}, native mode)" in done.stderr
    assert "hint" in done.stderr
    assert lb.xdp_program("eth0") == program
    assert not bpffs.exists()


def test_attach_all_upgrades_every_interface_it_is_on(balancer: Pydsr, lb: Host) -> None:
    lb.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
    balancer.ok("attach", "eth1")
    before = {name: lb.xdp_program(name) for name in ("eth0", "eth1")}
    assert ["upgrade", "upgrade"] == [
        change["action"] for change in balancer.json("attach", "--all", "--plan")["changes"]
    ]
    assert 2 == balancer.ok("attach", "--all").count("upgraded in place")
    assert all(lb.xdp_program(name) not in (None, before[name]) for name in before)
    assert lb.xdp_program("eth2") is None


def test_attach_all_attaches_nothing_anew(balancer: Pydsr, lb: Host) -> None:
    balancer.ok("detach", "--all")
    assert "" == balancer.ok("attach", "--all")
    assert lb.xdp_program("eth0") is None


def test_attach_takes_names_or_all(pydsr: Pydsr) -> None:
    for arguments in ((), ("--all", "eth0")):
        done = pydsr("attach", *arguments)
        assert ExitStatus.USAGE == done.status
        assert "Name interfaces, or use --all." in done.stderr
    assert ExitStatus.FAILED == pydsr("attach", "--all").status


def test_a_foreign_program_on_one_interface_keeps_attach_off_the_others(
    balancer: Pydsr, lb: Host, peer: Host
) -> None:
    """Attach is all or nothing: the state and the interfaces attached before stay."""
    for interface in ("eth1", "eth2"):
        connect(lb, peer, interface, [])
    foreign, own = lb.put_program("eth2", "somebody_else"), lb.xdp_program("eth0")
    done = balancer("attach", "eth1", "eth2")
    assert done.status == ExitStatus.CANNOT
    assert [lb.xdp_program(name) for name in ("eth0", "eth1", "eth2")] == [own, None, foreign]
    assert balancer.modes() == {"eth0": "native"}


def test_another_balancer_on_the_interface_is_foreign(
    balancer: Pydsr, lb: Host, bpffs: Path
) -> None:
    """A balancer does not take an interface from one with another directory of pins."""
    program = lb.xdp_program("eth0")
    other = Pydsr(lb, bpffs.with_name(f"{bpffs.name}-other"))
    done = other("attach", "eth0")
    assert done.status == ExitStatus.CANNOT
    assert "--bpffs" in done.stderr
    assert lb.xdp_program("eth0") == program
    assert balancer.modes() == {"eth0": "native"}
    assert not other.bpffs.exists()


def test_a_second_balancer_has_a_state_of_its_own(
    balancer: Pydsr, lb: Host, peer: Host, bpffs: Path
) -> None:
    """Two directories of pins on two interfaces know nothing of each other."""
    connect(lb, peer, "eth1", [])
    other = Pydsr(lb, bpffs.with_name(f"{bpffs.name}-other"))
    try:
        other.ok("attach", "eth1")
        balancer.ok("services", "add", SERVICE)
        assert other.state() == ([], [])
        assert (balancer.modes(), other.modes()) == ({"eth0": "native"}, {"eth1": "native"})
    finally:
        other("detach", "--all", "--purge")
    assert balancer.modes() == {"eth0": "native"}


@pytest.mark.parametrize("arguments", [("no-such-if",), ("eth0", "no-such-if")])
def test_an_unknown_interface_is_refused(
    pydsr: Pydsr, lb: Host, bpffs: Path, arguments: tuple[str, ...]
) -> None:
    """The message names it and those there are; the others named are not attached."""
    done = pydsr("attach", *arguments)
    assert done.status == ExitStatus.BAD_INPUT
    assert "no-such-if" in done.stderr
    assert "eth0" in done.stderr
    assert lb.xdp_program("eth0") is None
    assert not bpffs.exists()


def test_an_interface_that_is_not_ethernet_is_refused(pydsr: Pydsr) -> None:
    """The loopback has no MAC addresses to rewrite."""
    done = pydsr("attach", "lo")
    assert done.status == ExitStatus.CANNOT
    assert "Ethernet" in done.stderr


def test_an_interface_named_twice_is_attached_once(pydsr: Pydsr) -> None:
    """Repeating a name changes nothing."""
    assert len(pydsr.ok("attach", "eth0", "eth0").splitlines()) == 1


@pytest.mark.parametrize(("size", "nearest"), [("1000", "1009"), ("65536", "65537"), ("7", "251")])
def test_a_table_size_that_is_no_prime_in_range_is_refused(
    pydsr: Pydsr, bpffs: Path, size: str, nearest: str
) -> None:
    """The message offers one that works."""
    done = pydsr("attach", "eth0", "--table-size", size)
    assert done.status == ExitStatus.BAD_INPUT
    assert nearest in done.stderr
    assert not bpffs.exists()


@pytest.mark.parametrize("seed", ["xyz", "-1", "1" * 17, ""])
def test_a_seed_that_is_no_number_is_refused(pydsr: Pydsr, bpffs: Path, seed: str) -> None:
    """A seed is up to 16 hexadecimal digits."""
    done = pydsr("attach", "eth0", f"--seed={seed}")
    assert done.status == ExitStatus.BAD_INPUT
    assert "seed" in done.stderr
    assert not bpffs.exists()


@pytest.mark.parametrize("options", [("--table-size", "1013"), ("--seed", "beef")])
def test_settings_cannot_be_changed_by_an_upgrade(pydsr: Pydsr, options: tuple[str, ...]) -> None:
    """Another table size or seed would move every flow: it is refused, the same is not."""
    same = ("--table-size", "1009", "--seed", "feed")
    pydsr.ok("attach", "eth0", *same)
    program = pydsr.host.xdp_program("eth0")
    done = pydsr("attach", "eth0", *options)
    assert done.status == ExitStatus.BAD_INPUT
    assert "detach --all --purge" in done.stderr
    assert pydsr.host.xdp_program("eth0") == program
    pydsr.ok("attach", "eth0", *same)


def test_balancers_with_one_seed_agree(pydsr: Pydsr, lb: Host, peer: Host, bpffs: Path) -> None:
    """The same seed, table size and backends give the same slot and backend to a flow."""
    connect(lb, peer, "eth1", [])
    other = Pydsr(lb, bpffs.with_name(f"{bpffs.name}-other"))
    backends = [f"{address}@02:00:00:00:00:0{n}" for n, address in enumerate(BACKENDS[:3])]
    answers = []
    try:
        for one, interface in ((pydsr, "eth0"), (other, "eth1")):
            one.ok("attach", interface, "--seed", "feedbeef", "--table-size", "1009")
            one.ok("backends", "set", SERVICE, *backends)
            for port in (40000, 40001):
                answer = one.json("explain", SERVICE, "--from", f"10.66.0.2:{port}")
                answers.append((answer["slot"], answer["backend"]))
    finally:
        other("detach", "--all", "--purge")
    assert answers[:2] == answers[2:]


def test_detach_leaves_services_for_the_next_attach(balancer: Pydsr, lb: Host, peer: Host) -> None:
    """After detach the VIP is silent; after attach everything is there again."""
    balancer.ok("backends", "set", SERVICE, BACKENDS[0], f"{BACKENDS[1]}=3")
    state = balancer.state()
    assert balancer.ok("detach", "eth0") == "eth0: detached\n"
    assert lb.xdp_program("eth0") is None
    assert balancer.modes() == {}
    assert not peer.pings(VIP, "-W1")
    balancer.ok("attach", "eth0")
    assert balancer.state() == state
    assert peer.pings(VIP)


def test_detach_of_one_interface_leaves_the_others(pydsr: Pydsr, lb: Host, peer: Host) -> None:
    """Only the interface that is named loses its program."""
    connect(lb, peer, "eth1", [])
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("detach", "eth1")
    assert pydsr.modes() == {"eth0": "native"}
    assert lb.xdp_program("eth1") is None


def test_detach_of_what_is_not_attached_is_refused(balancer: Pydsr, lb: Host, peer: Host) -> None:
    """The message says which interfaces are attached, and those stay so."""
    connect(lb, peer, "eth1", [])
    done = balancer("detach", "eth0", "eth1")
    assert done.status == ExitStatus.BAD_INPUT
    assert "not attached to eth1" in done.stderr
    assert "eth0" in done.stderr
    assert balancer.modes() == {"eth0": "native"}


def test_purge_leaves_nothing(balancer: Pydsr, lb: Host, bpffs: Path) -> None:
    """No program, no pin, no directory; commands say that nothing is attached."""
    balancer.ok("backends", "set", SERVICE, BACKENDS[0])
    balancer.ok("detach", "--all", "--purge")
    assert lb.xdp_program("eth0") is None
    assert not bpffs.exists()
    done = balancer("status")
    assert done.status == ExitStatus.FAILED
    assert "pydsr attach" in done.stderr
    balancer.ok("attach", "eth0")
    assert balancer.state() == ([], [])


@pytest.mark.parametrize(
    "arguments", [(), ("--purge",), ("eth0", "--all"), ("eth0", "--purge"), ("eth0", "--what")]
)
def test_detach_without_a_clear_order_is_refused(
    balancer: Pydsr, arguments: tuple[str, ...]
) -> None:
    """It takes either names or --all, and purges only all."""
    done = balancer("detach", *arguments)
    assert done.status == ExitStatus.USAGE
    assert balancer.modes() == {"eth0": "native"}


def test_an_interface_that_vanished_is_in_nobodys_way(
    pydsr: Pydsr, lb: Host, peer: Host, bpffs: Path
) -> None:
    """Without it status, changes, an upgrade, attach of another and detach go on."""
    for interface in ("eth1", "eth2"):
        connect(lb, peer, interface, [])
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
    lb.run("ip", "link", "delete", "eth1")
    assert pydsr.modes() == {"eth0": "native"}
    assert "eth1" not in pydsr.ok("status")
    pydsr.ok("backends", "add", SERVICE, BACKENDS[1])
    pydsr.ok("attach", "eth0", "eth2")
    assert pydsr.modes() == {"eth0": "native", "eth2": "native"}
    pydsr.ok("detach", "--all")
    assert list((bpffs / "links").iterdir()) == []
    assert [lb.xdp_program(name) for name in ("eth0", "eth2")] == [None, None]


def test_the_last_interface_may_vanish(balancer: Pydsr, lb: Host, peer: Host, bpffs: Path) -> None:
    """Its services can be listed, and served again by an interface of the same name."""
    balancer.ok("backends", "set", SERVICE, BACKENDS[0])
    state = balancer.json("services", "list")
    lb.run("ip", "link", "delete", "eth0")
    assert balancer.modes() == {}
    assert balancer.json("services", "list") == state
    connect(lb, peer, "eth0", [("10.66.0.1/24", "10.66.0.2/24")])
    balancer.ok("attach", "eth0")
    assert peer.pings(VIP)
    lb.run("ip", "link", "delete", "eth0")
    balancer.ok("detach", "--all", "--purge")
    assert not bpffs.exists()


def test_interfaces_that_come_and_go_leave_no_trace(
    balancer: Pydsr, lb: Host, peer: Host, bpffs: Path
) -> None:
    """What was kept for an interface that vanished is gone after the next attach."""
    connect(lb, peer, "eth1", [])
    balancer.ok("attach", "eth1")
    gone = int(lb.link("eth1")["ifindex"])
    lb.run("ip", "link", "delete", "eth1")
    balancer.ok("attach", "eth0")
    assert not (bpffs / "links" / str(gone)).exists()
    assert interface_entries(bpffs) == {int(lb.link("eth0")["ifindex"])}


def test_attach_does_not_mistake_an_interface_of_another_namespace(
    balancer: Pydsr, lb: Host, peer: Host, bpffs: Path
) -> None:
    """An interface of the same index elsewhere is attached or refused, not silently skipped."""
    peer.run("ip", "link", "set", "eth0", "xdp", "off")
    assert lb.link("eth0")["ifindex"] == peer.link("eth0")["ifindex"]
    done = Pydsr(peer, bpffs)("attach", "eth0")
    assert (done.status == ExitStatus.DONE) == (peer.xdp_program("eth0") is not None)
    assert balancer.modes() == {"eth0": "native"}
