"""Fixtures: data planes without services, and with those of case_services.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydsr.model.features import Feature
from tests.support.packets import case_services as worlds
from tests.support.packets.data_plane import EVERY_FEATURE, Rig


@pytest.fixture(scope="session")
def _bare() -> Iterator[Rig]:
    with Rig(features=EVERY_FEATURE) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def _served() -> Iterator[Rig]:
    with Rig(features=Feature(0)) as loaded:
        worlds.build(loaded)
        yield loaded


@pytest.fixture(scope="session")
def _served_more() -> Iterator[Rig]:
    with Rig(features=EVERY_FEATURE) as loaded:
        worlds.build(loaded)
        worlds.build_more(loaded)
        yield loaded


@pytest.fixture
def rig(_bare: Rig) -> Rig:
    """Return a data plane without services, for the test to fill."""
    _bare.clear()
    return _bare


@pytest.fixture
def world(_served: Rig) -> Rig:
    """Return a data plane with the services of case_services.py and no flows; not to be changed.

    Its program is the leanest one.
    """
    _served.forget_flows()
    return _served


@pytest.fixture
def full_world(_served_more: Rig) -> Rig:
    """Return one whose program has every feature, and more services; not to be changed."""
    _served_more.forget_flows()
    return _served_more
