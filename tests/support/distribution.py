"""The distribution of tests over the workers of a run, of which there are more than processors.

Most tests wait for processes and timers. Each is sent to the next free worker, unless it shares
something with other tests: these run on one worker, which makes what they share once.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.shared_by_workers import FIXTURES, RUN

_TESTS = Path(__file__).parents[1]
_GROUPS = RUN / "groups.json"
"""The group of each test that has one, written by the first worker."""

_SHORT = ("unit", "xdp")
"""Tiers of tests that take less time than sending each of them to a worker."""

_PACKAGE = {"debian_package", "package_installed"}


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
    """Sends groups and single tests to workers, in the order of the collection."""

    @cached_property
    def _groups(self) -> dict[str, str]:
        return dict(json.loads(_GROUPS.read_text()))

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


def distribute(items: list[pytest.Item]) -> None:
    """Put the tests first that take longest, and tell the scheduler which ones stay together."""
    first_of_package = next((item for item in items if _PACKAGE & _fixtures(item)), None)
    items.sort(key=lambda item: (item is not first_of_package, _place(item)))
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
        groups = {item.nodeid: group for item in items if (group := group_of(item))}
        _GROUPS.write_text(json.dumps(groups))


def group_of(item: pytest.Item) -> str | None:
    """Return the name of what a test stays together with; None for a test that is sent alone."""
    together = _tier(item) in _SHORT or _lasting(item)
    return str(item.path.relative_to(_TESTS)) if together else None


def _place(item: pytest.Item) -> int:
    """Return the place of a test in the order of a run.

    The first test of the package makes it. The others come late, or they would wait for that.
    """
    if _tier(item) in _SHORT:
        return 4
    if _tier(item) == "netns":
        return 2 if _lasting(item) else 3
    return 3 if _PACKAGE & _fixtures(item) else 0 if _lasting(item) else 1


def _lasting(item: pytest.Item) -> set[str]:
    """Return the fixtures of a test that serve several tests of one worker."""
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    ours = {
        name
        for name, definitions in known.items()
        if definitions[-1].scope != "function" and definitions[-1].baseid.startswith("tests")
    }
    return ours - FIXTURES


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _tier(item: pytest.Item) -> str:
    return item.path.relative_to(_TESTS).parts[0]
