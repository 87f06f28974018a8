"""``diff``, ``apply`` and ``export``: the desired state as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from ctypes import c_uint32
from pathlib import Path
from typing import Any

import pytest

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.kills import ends
from tests.support.netns.namespaces import BACKENDS, Host, connect
from tests.support.paths import CHECKOUT

A, B, C = BACKENDS[:3]
SERVICE = "10.66.0.80:80"
FILE = f"""\
interfaces: [eth0]
rules:
  deny: [203.0.113.0/24]
vips:
  10.66.0.80: {{unserved: drop}}
services:
  - endpoint: {SERVICE}
    name: web
    affinity: source
    netmask4: 24
    learn: 60
    rules: {{allow: [10.66.0.0/24], deny: [any]}}
    backends:
      - {A}=2
      - {{address: {B}, state: drain}}
      - {C}@02:00:00:00:00:13
  - endpoint: "[fd66::80]:443"
    max-new-flows: 100
    backends: [{BACKENDS[3]}, {A}]
  - endpoint: 10.66.0.80:*
    backends: [{A}]
  - endpoint: 10.66.0.81:53/udp
    one-packet: true
    arp: false
"""

Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a file, and return its name."""

    def write(text: str) -> str:
        path = tmp_path / "balancer.yaml"
        path.write_text(text)
        return str(path)

    return write


def whole(pydsr: Pydsr) -> tuple[Any, ...]:
    """Return everything that commands print about the state."""
    return (*pydsr.state(), pydsr.json("acl", "list"), pydsr.json("vips", "list"), pydsr.modes())


def kinds(document: Any) -> list[tuple[str, str]]:
    """Return the actions and objects of a plan."""
    return [(change["action"], change["object"]) for change in document["changes"]]


def test_a_first_apply_makes_the_whole_state(pydsr: Pydsr, written: Written) -> None:
    """Interfaces, services with their options, backends, rules and policies."""
    name = written(FILE)
    plan = pydsr.json("apply", name, "--plan")
    assert ("attach", "eth0") == kinds(plan)[0]
    assert not pydsr.bpffs.exists()

    done = json.loads(pydsr.ok("apply", name, "--json"))
    assert kinds(plan) == kinds(done)
    services, backends, rules, vips, modes = whole(pydsr)
    assert {"eth0": "native"} == modes
    by_name = {service["service"]: service for service in services}
    assert ["10.66.0.80:*/tcp", f"{SERVICE}/tcp", "10.66.0.81:53/udp", "[fd66::80]:443/tcp"] == [
        *by_name
    ]
    web = by_name[f"{SERVICE}/tcp"]
    assert ("web", "source", 24, 60) == tuple(
        web[key] for key in ("name", "affinity", "netmask4", "learn")
    )
    assert 100 == by_name["[fd66::80]:443/tcp"]["max_new_flows"]
    assert by_name["10.66.0.81:53/udp"]["one_packet"]
    assert not by_name["10.66.0.81:53/udp"]["arp"]
    of_web = next(one for one in backends if one["service"] == f"{SERVICE}/tcp")["backends"]
    assert [(A, 2, "up"), (B, 1, "drain"), (C, 1, "up")] == [
        (one["address"], one["weight"], one["state"]) for one in of_web
    ]
    assert [False, False, True] == [one["mac_by_hand"] for one in of_web]
    assert ["all", f"{SERVICE}/tcp"] == [scope["scope"] for scope in rules]
    assert {"10.66.0.80": "drop", "10.66.0.81": "count", "fd66::80": "count"} == {
        vip["vip"]: vip["unserved"] for vip in vips
    }
    answer = pydsr.json("explain", SERVICE, "--from", "10.66.0.2:40000")
    assert ("tx", "forwarded") == (answer["verdict"], answer["reason"])
    assert "denied" == pydsr.json("explain", SERVICE, "--from", "192.0.2.1:40000")["reason"]


def test_applying_again_changes_nothing(pydsr: Pydsr, written: Written) -> None:
    """Output of commands, ids and tables stay the same."""
    name = written(FILE)
    pydsr.ok("apply", name)
    before = whole(pydsr), table_maps(pydsr.bpffs)
    done = pydsr("apply", name)
    assert (0, "nothing to change\n") == (done.status, done.stderr)
    assert before == (whole(pydsr), table_maps(pydsr.bpffs))
    assert 0 == pydsr("diff", name).status


def table_maps(bpffs: Path) -> dict[str, tuple[int, bytes]]:
    """Return the map of each service's table and the members of the table."""
    state = LiveState(bpffs)
    found = {}
    try:
        for head in state.services.heads():
            inner = c_uint32()
            assert libbpf.map_lookup(state.pins["tables"], c_uint32(head.service.id), inner)
            found[str(head.service.endpoint)] = inner.value, head.table.members
    finally:
        state.close()
    return found


def test_an_export_shows_no_difference_and_restores_the_state(
    pydsr: Pydsr, written: Written, bpffs: Path
) -> None:
    """On the same balancer and on an empty one."""
    pydsr.ok("apply", written(FILE))
    exported = written(pydsr.ok("export"))
    assert 0 == pydsr("diff", exported).status
    before = whole(pydsr)
    pydsr.ok("detach", "--all", "--purge")
    assert not bpffs.exists()
    pydsr.ok("apply", exported)
    assert before == whole(pydsr)
    assert Path(exported).read_text() == pydsr.ok("export")


def test_a_change_by_hand_is_shown_and_undone(pydsr: Pydsr, written: Written) -> None:
    """Diff exits with 5 and lists each difference; after apply there is none."""
    name = written(FILE)
    pydsr.ok("apply", name)
    before = whole(pydsr)
    pydsr.ok("backends", "undrain", SERVICE, B)
    pydsr.ok("backends", "add", SERVICE, f"{A}=5")
    pydsr.ok("backends", "remove", "[fd66::80]:443", A)
    pydsr.ok("services", "add", "10.66.0.82:80")
    pydsr.ok("services", "remove", "10.66.0.81:53/udp")
    pydsr.ok("acl", "deny", "all", "192.0.2.0/24")
    pydsr.ok("vips", "set", "10.66.0.80", "--unserved", "pass")

    done = pydsr("diff", name, "--json")
    assert ExitStatus.NOT_AS_DESIRED == done.status
    assert [
        ("remove service", "10.66.0.82:80/tcp"),
        ("set weight", f"{SERVICE}/tcp {A}"),
        ("set state", f"{SERVICE}/tcp {B}"),
        ("add backend", f"[fd66::80]:443/tcp {A}"),
        ("add service", "10.66.0.81:53/udp"),
        ("remove rule", "all from 192.0.2.0/24"),
        ("set unserved ports", "10.66.0.80"),
    ] == kinds(json.loads(done.stdout))
    assert whole(pydsr) != before
    pydsr.ok("apply", name)
    assert 0 == pydsr("diff", name).status
    after = whole(pydsr)
    assert [sorted(map(str, part)) for part in before] == [sorted(map(str, part)) for part in after]


def test_options_of_a_service_change_without_its_removal(pydsr: Pydsr, written: Written) -> None:
    """Backends keep ids and counters; rehashed slots count as moved."""
    pydsr.ok("apply", written(FILE))
    tables = table_maps(pydsr.bpffs)
    name = written(FILE.replace("affinity: source\n    netmask4: 24\n    learn: 60", "learn: 61"))
    plan = pydsr.json("apply", name, "--plan")
    assert [
        ("set affinity", "source", "flow"),
        ("set netmask4", 24, 32),
        ("set learn", 60, 61),
    ] == [(change["action"], change["from"], change["to"]) for change in plan["changes"]]
    assert plan["slots_moved"] == plan["slots"] == 65537
    pydsr.ok("apply", name)
    assert tables == table_maps(pydsr.bpffs)
    (web,) = [one for one in pydsr.json("services", "list") if one["name"] == "web"]
    assert ("flow", 32, 61) == (web["affinity"], web["netmask4"], web["learn"])


def test_a_file_with_an_error_changes_nothing(pydsr: Pydsr, written: Written) -> None:
    """Services before the error are not applied, and no directory is made."""
    wrong = written(FILE.replace("one-packet: true", "one-packet: maybe"))
    for command in ("apply", "diff"):
        done = pydsr(command, wrong)
        assert ExitStatus.BAD_INPUT == done.status
        assert f"{wrong}:23: services[3].one-packet: must be true or false" in done.stderr
    assert not pydsr.bpffs.exists()
    pydsr.ok("apply", written(FILE))
    before = whole(pydsr)
    assert (
        ExitStatus.BAD_INPUT == pydsr("apply", written(f"{FILE}    name: a\n    nam: b\n")).status
    )
    assert before == whole(pydsr)


REFUSED = {
    "a backend that nobody is": (
        FILE.replace("=2\n", "=2\n      - 10.66.0.99\n"),
        "backend 10.66.0.99 does not answer ARP/ND on eth0",
    ),
    "a VIP that is local": (
        FILE.replace("10.66.0.81:53/udp", "10.66.0.1:53/udp"),
        "the VIP 10.66.0.1 is an address of this machine",
    ),
    "an interface there is none of": (
        FILE.replace("[eth0]", "[eth0, eth7]"),
        "there is no interface 'eth7' in this network namespace",
    ),
    "another table size": (
        f"table-size: 251\n{FILE}",
        "runs with 65537 table size; changing it would move every flow",
    ),
    "another mode": (
        FILE.replace("[eth0]", "[{name: eth0, mode: generic}]"),
        "eth0 is attached in native mode, which an upgrade in place cannot change",
    ),
}


@pytest.mark.parametrize(("text", "message"), list(REFUSED.values()), ids=list(REFUSED))
def test_an_impossible_state_is_refused_before_any_change(
    quick: Pydsr, written: Written, text: str, message: str
) -> None:
    """The possible rest of the file is not applied either."""
    quick.ok("apply", written("services: []\n"))
    before = whole(quick)
    done = quick("apply", written(text))
    assert done.status != 0
    assert message in done.stderr
    assert before == whole(quick)


def test_a_first_apply_that_fails_leaves_nothing(pydsr: Pydsr, lb: Host, written: Written) -> None:
    """No program and no directory of pins is left."""
    done = pydsr("apply", written(FILE.replace("=2\n", "=2\n      - 10.66.0.99\n")))
    assert ExitStatus.FAILED == done.status
    assert not pydsr.bpffs.exists()
    assert lb.xdp_program("eth0") is None


def test_without_a_balancer_and_interfaces_there_is_nothing_to_apply_to(
    pydsr: Pydsr, written: Written
) -> None:
    done = pydsr("apply", written("services: []\n"))
    assert ExitStatus.FAILED == done.status
    assert "no balancer is attached here" in done.stderr


def test_max_moved_limits_the_slots_that_move(quick: Pydsr, written: Written) -> None:
    """It counts for each service and for removed ones; new services move no slots."""
    two = f"services:\n  - endpoint: {SERVICE}\n    backends: [{A}, {B}]\n"
    quick.ok("apply", written(two), "--max-moved", "0")
    before = whole(quick)
    for text, limit, share in (
        (two.replace(f", {B}", ""), "49", "(50.0 %)"),
        ("services: []\n", "99.9", "(100.0 %)"),
        (two + "    affinity: source\n", "99", "(100.0 %)"),
    ):
        done = quick("apply", written(text), "--max-moved", limit)
        assert ExitStatus.FAILED == done.status
        assert f"more than {limit} % of the slots would move of {SERVICE}/tcp {share}" in (
            done.stderr
        )
        assert before == whole(quick)
    quick.ok("apply", written(two.replace(f", {B}", "")), "--max-moved", "51")
    assert {A} == quick.addresses(SERVICE)


def test_apply_does_what_the_plan_says(quick: Pydsr, written: Written) -> None:
    """--plan, diff and --json agree; the first two change nothing."""
    quick.ok("backends", "set", SERVICE, A, B)
    before = whole(quick)
    name = written(f"services:\n  - endpoint: {SERVICE}\n    backends: [{A}, {B}, {C}]\n")
    plan = quick.json("apply", name, "--plan")
    assert [("add backend", f"{SERVICE}/tcp {C}")] == kinds(plan)
    assert 0.3 < plan["slots_moved"] / plan["slots"] < 0.4
    done = quick("diff", name, "--json")
    assert plan == json.loads(done.stdout)
    assert before == whole(quick)
    assert plan == json.loads(quick.ok("apply", name, "--json"))
    assert {A, B, C} == quick.addresses(SERVICE)


def test_interfaces_of_the_file_are_attached_and_others_left(
    balancer: Pydsr, lb: Host, peer: Host, written: Written
) -> None:
    """An interface that is not in the file is a note, not a difference."""
    connect(lb, peer, "eth1", [])
    name = written("interfaces: [eth1]\nservices: []\n")
    done = balancer("diff", name, "--json")
    assert ExitStatus.NOT_AS_DESIRED == done.status
    document = json.loads(done.stdout)
    assert [("attach", "eth1")] == kinds(document)
    note = "eth0 is attached, but not in the file: pydsr detach eth0 takes it off"
    assert [note] == document["notes"]
    done = balancer("apply", name)
    assert "attach: eth1" in done.stderr
    assert note in done.stderr
    assert {"eth0": "native", "eth1": "native"} == balancer.modes()
    done = balancer("diff", name)
    assert (0, True) == (done.status, note in done.stderr)


def test_a_new_mac_of_a_backend_is_resolved(quick: Pydsr, written: Written) -> None:
    """Diff shows the confirmed MAC of the neighbour table, and apply writes it."""
    name = written(f"services:\n  - endpoint: {SERVICE}\n    backends: [{A}]\n")
    quick.ok("apply", name)
    new = "02:00:00:00:00:77"
    quick.host.run("ip", "neigh", "replace", A, "lladdr", new, "dev", "eth0", "nud", "permanent")
    done = quick("diff", name, "--json")
    assert ExitStatus.NOT_AS_DESIRED == done.status
    assert [("set mac", f"{SERVICE}/tcp {A}")] == kinds(json.loads(done.stdout))
    quick.ok("apply", name)
    (service,) = quick.json("backends", "list", SERVICE)
    assert [new] == [backend["mac"] for backend in service["backends"]]


def test_a_file_is_read_from_stdin(pydsr: Pydsr) -> None:
    assert "web" in pydsr.shell(
        f"printf '%s' '{FILE}' | {' '.join(pydsr.command('apply', '-', '--plan'))}"
    )


def test_the_example_of_the_documentation_applies(
    pydsr: Pydsr, lb: Host, peer: Host, written: Written
) -> None:
    """On a host with two interfaces and neighbours at the addresses of its backends."""
    connect(lb, peer, "eth1", [])
    lb.run("ip", "address", "add", "198.51.100.1/24", "dev", "eth0")
    for number in (21, 22, 24, 25, 29):
        mac = f"02:00:00:00:00:{number}"
        lb.run("ip", "neigh", "add", f"198.51.100.{number}", "lladdr", mac, "dev", "eth0")
    example = CHECKOUT / "docs" / "example.yaml"
    pydsr.ok("apply", str(example))
    assert 0 == pydsr("diff", str(example)).status
    assert {"eth0", "eth1"} == pydsr.modes().keys()
    assert 5 == len(pydsr.json("services", "list"))
    assert 0 == pydsr("diff", written(pydsr.ok("export"))).status
    assert "seed: 05ca1ab1e0ddba11" in pydsr.ok("export")


def test_hundreds_of_services_are_added_changed_and_removed(pydsr: Pydsr, written: Written) -> None:
    """They take more than one batch; unchanged services keep their tables."""

    def text(number: int, weight: int = 1) -> str:
        return "interfaces: [eth0]\ntable-size: 251\nservices:\n" + "".join(
            f"  - endpoint: 10.67.{n // 250}.{n % 250 + 1}:80\n    backends:\n"
            f"      - 10.66.0.11={weight if n == 7 else 1}@02:00:00:00:00:11\n"
            f"      - 10.66.{n // 250 + 1}.{n % 250 + 1}@02:00:00:00:00:12\n"
            for n in range(number)
        )

    pydsr.ok("apply", written(text(300)))
    before = table_maps(pydsr.bpffs)
    assert 300 == len(before)
    answer = pydsr.json("explain", "10.67.1.50:80", "--from", "10.66.0.2:40000")
    assert ("10.67.1.50:80/tcp", "forwarded") == (answer["service"], answer["reason"])

    pydsr.ok("apply", written(text(300, weight=2)))
    after = table_maps(pydsr.bpffs)
    assert {"10.67.0.8:80/tcp"} == {name for name in before if before[name] != after[name]}

    pydsr.ok("apply", written(text(3)))
    assert 3 == len(table_maps(pydsr.bpffs))
    answer = pydsr.json("explain", "10.67.1.50:80", "--from", "10.66.0.2:40000")
    assert "not_vip" == answer["reason"]
    assert_no_id_left(pydsr, "after most have gone")


OLD = f"""\
services:
  - endpoint: {SERVICE}
    backends: [{A}@02:00:00:00:00:11, {B}@02:00:00:00:00:12]
  - endpoint: 10.66.0.81:80
    backends: [{A}@02:00:00:00:00:11]
rules: {{deny: [192.0.2.0/24]}}
"""
NEW = f"""\
services:
  - endpoint: {SERVICE}
    name: web
    backends: [{B}=3@02:00:00:00:00:12, {C}@02:00:00:00:00:13]
    rules: {{deny: [203.0.113.0/24]}}
  - endpoint: 10.66.0.82:80
    backends: [{C}@02:00:00:00:00:13]
vips:
  10.66.0.82: {{unserved: drop}}
"""
STEPS = {
    "write_new", "write_place", "write_state",
    "map_update", "map_update_batch", "map_delete",
}  # fmt: skip


def backends_of_services(pydsr: Pydsr) -> dict[str, list[tuple[str, int]]]:
    """Return the backends of each service with their weights, read in this process."""
    state = LiveState(pydsr.bpffs)
    try:
        return {
            str(service.endpoint): [(str(b.address), b.weight) for b in service.backends]
            for service in state.services.all()
        }
    finally:
        state.close()


def test_an_apply_killed_at_any_step_leaves_each_service_old_or_new(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    """The next apply completes the change and leaks no id."""
    pydsr.ok("attach", "eth0", "--table-size", "251")
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD)
    new.write_text(NEW)
    pydsr.ok("apply", str(old))
    before = backends_of_services(pydsr)
    pydsr.ok("apply", str(new))
    after, exported = backends_of_services(pydsr), pydsr.ok("export")
    pydsr.ok("apply", str(old))
    step = 1
    while not ends(pydsr, "apply", str(new), functions=STEPS, nth=step):
        where = f"killed before step {step}"
        for endpoint, backends in backends_of_services(pydsr).items():
            assert backends in (before.get(endpoint), after.get(endpoint)), (where, endpoint)
        assert 0 == pydsr("apply", str(new)).status, where
        assert exported == pydsr.ok("export"), where
        assert 0 == pydsr("apply", str(old)).status, where
        assert before == backends_of_services(pydsr), where
        assert_no_id_left(pydsr, where)
        step += 1
    assert after == backends_of_services(pydsr)
    assert step > 15


def assert_no_id_left(pydsr: Pydsr, where: str) -> None:
    """Check that every id in use belongs to a backend."""
    state = LiveState(pydsr.bpffs)
    try:
        named = {backend.id for service in state.services.all() for backend in service.backends}
        taken = set(state.backends.ids(StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN))
    finally:
        state.close()
    assert named == taken, where
