"""Native or generic: the mode is always said, and generic is never taken in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, Host
from tests.support.netns.two_arms import BACKENDS as BEHIND_ETH1
from tests.support.netns.two_arms import SERVICE, VIP, Arms

WITHOUT_NATIVE_XDP = {
    "macvlan": ("link", "eth0", "name", "odd", "type", "macvlan", "mode", "bridge"),
    "ifb": ("name", "odd", "type", "ifb"),
}


@pytest.fixture(params=sorted(WITHOUT_NATIVE_XDP))
def odd(request: pytest.FixtureRequest, lb: Host) -> None:
    """Make the interface ``odd``, of a kind whose driver has no native XDP."""
    added = lb.attempt("ip", "link", "add", *WITHOUT_NATIVE_XDP[request.param])
    if "Unknown device type" in added.stderr:
        pytest.skip(f"this kernel has no {request.param}")
    assert added.returncode == 0, added.stderr
    lb.run("ip", "link", "set", "odd", "up")


@pytest.mark.usefixtures("odd")
def test_auto_falls_back_to_generic_loudly(pydsr: Pydsr) -> None:
    """A warning says which interface, why, and what to do; the mode is in the output."""
    done = pydsr("attach", "odd")
    assert done.status == ExitStatus.DONE
    assert done.stdout.startswith("odd: attached, generic mode")
    assert "warning: odd takes no XDP program in native mode" in done.stderr
    assert "GENERIC" in done.stderr
    assert "--mode native" in done.stderr
    assert pydsr.modes() == {"odd": "generic"}


@pytest.mark.usefixtures("odd")
def test_native_refuses_where_it_cannot(pydsr: Pydsr, lb: Host, bpffs: Path) -> None:
    """Told to be native, attach fails, says why, and leaves nothing."""
    done = pydsr("attach", "odd", "--mode", "native")
    assert done.status == ExitStatus.CANNOT
    assert "odd" in done.stderr
    assert "driver" in done.stderr
    assert lb.xdp_program("odd") is None
    assert not bpffs.exists()


@pytest.mark.usefixtures("odd")
def test_a_refused_interface_takes_the_others_along(pydsr: Pydsr, lb: Host) -> None:
    """Of several interfaces of which one cannot be native none is attached."""
    assert pydsr("attach", "eth0", "odd", "--mode", "native").status == ExitStatus.CANNOT
    assert lb.xdp_program("eth0") is None


def test_a_macvlan_is_told_what_it_stands_on(pydsr: Pydsr, lb: Host) -> None:
    """The interface below it may have what it lacks."""
    lb.run("ip", "link", "add", *WITHOUT_NATIVE_XDP["macvlan"])
    assert "pydsr attach eth0" in pydsr("attach", "odd", "--mode", "native").stderr


def test_what_a_driver_cannot_send_out_is_counted(arms: Arms, bpffs: Path) -> None:
    """Packets of a native interface for one in generic mode do not just vanish."""
    pydsr = Pydsr(arms.lb, bpffs)
    pydsr.ok("attach", "eth0")
    done = pydsr("attach", "eth1", "--mode", "generic")
    assert done.status == ExitStatus.DONE
    assert "packets that come in by eth0" in done.stderr
    assert "sent out of eth1" in done.stderr
    pydsr.ok("backends", "set", SERVICE, BEHIND_ETH1[0])
    assert arms.client.asks_for_page(VIP, "-m", "1") is None
    assert pydsr.json("stats")["verdicts"]["other_interface"] > 0
    pydsr.ok("detach", "eth0")
    assert pydsr("attach", "eth0", "--mode", "generic").stderr == ""
    assert arms.client.asks_for_page(VIP) == "backend"


def test_generic_is_taken_quietly_when_asked_for(pydsr: Pydsr, peer: Host) -> None:
    """Who names the mode needs no warning; the balancer works in it."""
    done = pydsr("attach", "eth0", "--mode", "generic")
    assert done.status == ExitStatus.DONE
    assert done.stderr == ""
    assert pydsr.modes() == {"eth0": "generic"}
    pydsr.ok("backends", "set", "10.66.0.80:80", BACKENDS[0])
    assert peer.pings("10.66.0.80")


def test_an_upgrade_keeps_the_mode_and_refuses_another(pydsr: Pydsr) -> None:
    """A mode cannot change in place; auto means the one there is."""
    pydsr.ok("attach", "eth0", "--mode", "generic")
    done = pydsr("attach", "eth0", "--mode", "native")
    assert done.status == ExitStatus.BAD_INPUT
    assert "pydsr detach eth0" in done.stderr
    again = pydsr("attach", "eth0")
    assert again.stdout.startswith("eth0: upgraded in place, generic mode")
    assert pydsr.modes() == {"eth0": "generic"}


def test_a_jumbo_interface_is_attached_natively(pydsr: Pydsr, lb: Host, peer: Host) -> None:
    """An MTU of 9000 is no obstacle: a ping of nearly that size is passed, and answered whole."""
    for host in (lb, peer):
        host.run("ip", "link", "set", "eth0", "mtu", "9000")
    done = pydsr("attach", "eth0", "--mode", "native")
    assert done.status == ExitStatus.DONE, done.stderr
    pydsr.ok("services", "add", "10.66.0.80:80")
    assert peer.pings("10.66.0.1", "-M", "do", "-s", "8900")
    assert peer.pings("10.66.0.80", "-M", "do", "-s", "8900")


def test_an_interface_under_one_with_a_program_says_so(pydsr: Pydsr, lb: Host) -> None:
    """The kernel has a program on a macvlan or on its device, not on both: that is said."""
    lb.run("ip", "link", "add", *WITHOUT_NATIVE_XDP["macvlan"])
    lb.put_program("odd", "somebody_else")
    done = pydsr("attach", "eth0")
    assert done.status == ExitStatus.CANNOT
    assert "dmesg" not in done.stderr
    assert "GENERIC" not in done.stderr
