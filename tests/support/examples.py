"""How many examples hypothesis tries: the profile scales what a test asks for."""

from __future__ import annotations

from hypothesis import settings

QUICK, THOROUGH = "quick", "thorough"

_SCALES = {QUICK: 50, THOROUGH: 1000}
"""Examples of a test that asks for no number, by profile."""


def register_profiles() -> None:
    """Make the profiles known to ``pytest --hypothesis-profile``; the quick one is the default."""
    for name, number in _SCALES.items():
        settings.register_profile(
            name, max_examples=number, deadline=None, database=None, print_blob=True
        )
    settings.load_profile(QUICK)


def examples(quick: int) -> int:
    """Return the examples that a test tries in this profile.

    Args:
        quick: their number in the quick profile; the thorough one has twenty times as many.
    """
    return quick * settings().max_examples // _SCALES[QUICK]
