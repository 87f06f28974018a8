"""What attach and detach would do, and whether the balancer can do its work."""

from __future__ import annotations

from pathlib import Path

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, Host

SERVICE = "10.66.0.80:80"


def actions(plan: dict[str, list[dict[str, str]]]) -> list[tuple[str, str]]:
    """Return the actions of a plan with their objects."""
    return [(change["action"], change["object"]) for change in plan["changes"]]


def test_attach_is_planned_without_a_trace(pydsr: Pydsr, lb: Host, bpffs: Path) -> None:
    """Nothing is attached, and not even the directory of pins is made."""
    assert actions(pydsr.json("attach", "eth0", "--plan")) == [("attach", "eth0")]
    assert lb.xdp_program("eth0") is None
    assert not bpffs.exists()


def test_an_upgrade_is_planned_as_one(quick: Pydsr) -> None:
    """The program that runs is named, and goes on."""
    program = quick.host.xdp_program("eth0")
    plan = quick.json("attach", "eth0", "--plan")
    assert actions(plan) == [("upgrade", "eth0")]
    assert plan["changes"][0]["from"] == f"program {program}"
    assert quick.host.xdp_program("eth0") == program


def test_a_plan_is_refused_where_attach_would_be(quick: Pydsr) -> None:
    """An upgrade cannot change the mode, so its plan says so too."""
    done = quick("attach", "eth0", "--mode", "generic", "--plan")
    assert done.status == ExitStatus.BAD_INPUT
    assert quick.modes() == {"eth0": "native"}
    assert quick("attach", "nope", "--plan").status == ExitStatus.BAD_INPUT


def test_detach_is_planned_without_detaching(quick: Pydsr) -> None:
    """With --purge, what would be forgotten is named as well."""
    plan = quick.json("detach", "--all", "--purge", "--plan")
    assert actions(plan) == [("detach", "eth0"), ("purge", str(quick.bpffs))]
    assert quick.modes() == {"eth0": "native"}
    assert quick("detach", "eth9", "--plan").status == ExitStatus.BAD_INPUT


def test_check_is_content_with_a_balancer_that_works(quick: Pydsr) -> None:
    """Natively attached, and every service with a backend."""
    quick.ok("backends", "set", SERVICE, BACKENDS[0])
    assert quick("status", "--check").status == ExitStatus.DONE


def test_check_names_a_service_without_backends(quick: Pydsr) -> None:
    """So does a service whose backends are all drained."""
    quick.ok("backends", "set", SERVICE, BACKENDS[0])
    quick.ok("backends", "drain", SERVICE, BACKENDS[0])
    done = quick("status", "--check")
    assert done.status == ExitStatus.NOT_AS_DESIRED
    assert f"{SERVICE}/tcp has no backend that takes new flows" in done.stderr


def test_check_names_what_is_not_attached_or_slow(pydsr: Pydsr) -> None:
    """Generic mode works, but is not what anybody wants unknowingly."""
    pydsr.ok("attach", "eth0", "--mode", "generic")
    done = pydsr("status", "--check")
    assert done.status == ExitStatus.NOT_AS_DESIRED
    assert "generic" in done.stderr
    pydsr.ok("detach", "eth0")
    done = pydsr("status", "--check")
    assert done.status == ExitStatus.NOT_AS_DESIRED
    assert "no interface is attached" in done.stderr


def test_a_changed_mac_of_the_interface_is_taken_up_by_the_next_change(
    balancer: Pydsr, lb: Host, peer: Host
) -> None:
    """Until then the program takes the packets for another host's."""
    balancer.ok("services", "add", SERVICE)
    assert peer.pings("10.66.0.80")
    lb.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:77")
    balancer.ok("tidy")
    peer.run("ip", "neigh", "flush", "all")
    assert peer.pings("10.66.0.80")
    (vip,) = [entry for entry in peer.neighbours() if entry["dst"] == "10.66.0.80"]
    assert vip["lladdr"] == "02:00:00:00:00:77"
