"""Loaded data planes: an empty one, and one with the services of world.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.xdp import world as worlds
from tests.xdp.rig import Rig


@pytest.fixture(scope="session")
def _bare() -> Iterator[Rig]:
    with Rig() as loaded:
        yield loaded


@pytest.fixture(scope="session")
def _served() -> Iterator[Rig]:
    with Rig() as loaded:
        worlds.build(loaded)
        yield loaded


@pytest.fixture
def rig(_bare: Rig) -> Rig:
    """Return a data plane without services, for the test to fill."""
    _bare.clear()
    return _bare


@pytest.fixture
def world(_served: Rig) -> Rig:
    """Return a data plane with the services of world.py and no flows; not to be changed."""
    _served.forget_flows()
    return _served
