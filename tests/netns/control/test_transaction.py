"""The mark of a change under way: only a change that was killed while it wrote leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pydsr.kernel.bpf.live_state import LiveState
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, made_directory, made_wire

SERVICE, NEW = "10.66.0.80:80", "10.66.0.81:80"
BY_HAND = "10.66.0.101@02:00:00:00:00:01"


@pytest.fixture(scope="module")
def balancer() -> Iterator[Pydsr]:
    """A balancer with the smallest tables and one service, for all tests of this file."""
    with made_wire() as (lb, _), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0", "--table-size", "251", "--without", "guard")
        pydsr.ok("backends", "set", SERVICE, BY_HAND)
        yield pydsr


def is_marked(bpffs: Path) -> bool:
    """Return whether the next change will recover."""
    with closing(LiveState(bpffs)) as state:
        return state.settings.is_marked


REFUSED = {
    "services add": ("services", "add", SERVICE),
    "services add, its VIP a backend": ("services", "add", "10.66.0.101:80"),
    "services add, a feature left out": ("services", "add", NEW, "--max-new-flows", "5"),
    "services remove": ("services", "remove", NEW),
    "backends set, a VIP": ("backends", "set", NEW, "10.66.0.80"),
    "backends set, no answer": ("backends", "set", SERVICE, "10.66.0.250"),
    "backends set, no room": (
        "backends",
        "set",
        SERVICE,
        *(f"10.66.1.{n}@02:00:00:00:01:{n:02x}" for n in range(1, 18)),
    ),
    "backends remove": ("backends", "remove", SERVICE, BACKENDS[1]),
    "backends undrain": ("backends", "undrain", NEW, BACKENDS[1]),
    "acl remove": ("acl", "remove", "all", "192.0.2.0/24"),
    "acl deny": ("acl", "deny", NEW, "any"),
    "vips set": ("vips", "set", "10.66.0.99", "--unserved", "drop"),
    "attach, another seed": ("attach", "eth0", "--seed", "1"),
}


@pytest.mark.parametrize("arguments", list(REFUSED.values()), ids=list(REFUSED))
def test_a_refused_command_leaves_no_mark(balancer: Pydsr, arguments: tuple[str, ...]) -> None:
    assert balancer(*arguments).status != 0
    assert not is_marked(balancer.bpffs)


FILES = {
    "a local VIP": "services: [{endpoint: '10.66.0.1:80'}]",
    "too many slots": f"services: [{{endpoint: '{SERVICE}'}}]",
    "another seed": "seed: '1'",
}


@pytest.mark.parametrize("text", list(FILES.values()), ids=list(FILES))
def test_a_refused_file_leaves_no_mark(balancer: Pydsr, tmp_path: Path, text: str) -> None:
    file = tmp_path / "pydsr.yaml"
    file.write_text(text + "\n")
    assert balancer("apply", str(file), "--max-moved", "1").status != 0
    assert not is_marked(balancer.bpffs)


@pytest.mark.parametrize("plan", [(), ("--plan",)], ids=["change", "plan"])
def test_a_change_clears_a_mark_that_it_finds_and_a_plan_writes_nothing(
    balancer: Pydsr, plan: tuple[str, ...]
) -> None:
    with (
        closing(LiveState(balancer.bpffs)) as state,
        pytest.raises(KeyError),
        state.settings.marked(),
    ):
        raise KeyError
    assert is_marked(balancer.bpffs)
    balancer.ok("acl", "deny", "all", "203.0.113.0/24", *plan)
    assert is_marked(balancer.bpffs) == bool(plan)
