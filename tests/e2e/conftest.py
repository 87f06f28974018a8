"""One lab for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydsr.lab.lab import Lab
from tests.e2e.requests import running_lab


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[Lab]:
    """A running lab of three backends; tests remove what they add to it."""
    with running_lab() as lab:
        yield lab
