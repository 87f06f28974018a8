"""The thorough profile of hypothesis tries more than the quick one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.examples import QUICK, THOROUGH, examples


@pytest.fixture(autouse=True)
def _profile() -> Iterator[None]:
    """Return to the profile of this run."""
    before = settings.get_current_profile_name()
    yield
    settings.load_profile(before)


@pytest.mark.parametrize(("profile", "expected"), [(QUICK, 30), (THOROUGH, 600)])
def test_the_profile_scales_the_examples_of_a_test(profile: str, expected: int) -> None:
    settings.load_profile(profile)
    assert expected == examples(30)
