"""``--plan``: what would change, without changing it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, made_directory, made_wire

SERVICE = "10.66.0.80:80"
SLOTS = 65537
A, B, C = BACKENDS[:3]


@pytest.fixture(scope="module")
def balancer() -> Iterator[Pydsr]:
    """A balancer with a service of two equal backends, which every test leaves as it is."""
    with made_wire() as (lb, _), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0")
        pydsr.ok("backends", "set", SERVICE, A, B)
        yield pydsr


def change(action: str, name: str, before: Any, after: Any) -> dict[str, Any]:
    """Return one change as JSON has it."""
    return {"action": action, "object": name, "from": before, "to": after}


PLANS = {
    "remove one of two": (
        ("backends", "remove", SERVICE, B),
        [change("remove backend", f"{SERVICE}/tcp {B}", "weight 1", None)],
        0.5,
    ),
    "remove both": (
        ("backends", "remove", SERVICE, A, B),
        [
            change("remove backend", f"{SERVICE}/tcp {A}", "weight 1", None),
            change("remove backend", f"{SERVICE}/tcp {B}", "weight 1", None),
        ],
        1.0,
    ),
    "add a third": (
        ("backends", "add", SERVICE, C),
        [change("add backend", f"{SERVICE}/tcp {C}", None, "weight 1")],
        1 / 3,
    ),
    "weight 3 to 1": (
        ("backends", "set", SERVICE, f"{A}=3", B),
        [change("set weight", f"{SERVICE}/tcp {A}", 1, 3)],
        0.25,
    ),
    "replace both": (
        ("backends", "set", SERVICE, C),
        [
            change("remove backend", f"{SERVICE}/tcp {A}", "weight 1", None),
            change("remove backend", f"{SERVICE}/tcp {B}", "weight 1", None),
            change("add backend", f"{SERVICE}/tcp {C}", None, "weight 1"),
        ],
        1.0,
    ),
    "nothing": (("backends", "set", SERVICE, A, B), [], 0.0),
    "the same in another order": (("backends", "set", SERVICE, B, A), [], 0.0),
    "a new service": (
        ("services", "add", "10.66.0.81:80", "--name", "web"),
        [change("add service", "10.66.0.81:80/tcp", None, "web")],
        0.0,
    ),
    "a new service with a backend": (
        ("backends", "set", "10.66.0.81:80", A),
        [
            change("add service", "10.66.0.81:80/tcp", None, "10.66.0.81:80/tcp"),
            change("add backend", f"10.66.0.81:80/tcp {A}", None, "weight 1"),
        ],
        0.0,
    ),
    "remove the service": (
        ("services", "remove", SERVICE),
        [
            change("remove service", f"{SERVICE}/tcp", f"{SERVICE}/tcp", None),
            change("remove backend", f"{SERVICE}/tcp {A}", "weight 1", None),
            change("remove backend", f"{SERVICE}/tcp {B}", "weight 1", None),
        ],
        1.0,
    ),
}


@pytest.mark.parametrize(("arguments", "changes", "share"), list(PLANS.values()), ids=list(PLANS))
def test_a_plan_tells_and_changes_nothing(
    balancer: Pydsr, arguments: tuple[str, ...], changes: list[Any], share: float
) -> None:
    """Its JSON has the changes and how many slots move, within what Maglev adds to the least."""
    state = balancer.state()
    plan = balancer.json(*arguments, "--plan")
    assert plan["changes"] == changes
    assert plan["slots"] == SLOTS
    assert share * SLOTS * 0.98 <= plan["slots_moved"] <= share * SLOTS * 1.12
    assert balancer.state() == state


def test_a_plan_for_people_says_the_same(balancer: Pydsr) -> None:
    """The table names the change and the number of slots."""
    moved = balancer.json("backends", "remove", SERVICE, B, "--plan")["slots_moved"]
    said = balancer.ok("backends", "remove", SERVICE, B, "--plan")
    assert "remove backend" in said
    assert B in said
    assert str(moved) in said.replace(",", "")


def test_a_plan_makes_no_service(balancer: Pydsr) -> None:
    """Planning a service leaves its VIP unknown to the program."""
    balancer.ok("services", "add", "10.66.0.81:80", "--plan")
    answer = balancer.json("explain", "10.66.0.81:80", "--from", "10.66.0.2:40000")
    assert answer["service"] is None
    assert answer["reason"] == "not_vip"


def test_a_change_prints_the_plan_it_carried_out(balancer: Pydsr) -> None:
    """With --json alone the change is made, and the document is that of its plan."""
    add = ("backends", "add", SERVICE, C)
    plan = balancer.json(*add, "--plan")
    assert json.loads(balancer.ok(*add, "--json")) == plan
    assert balancer.addresses(SERVICE) == {A, B, C}
    balancer.ok("backends", "remove", SERVICE, C)
