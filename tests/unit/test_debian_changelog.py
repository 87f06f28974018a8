"""The changelog of the Debian package is made from the project's."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.support.paths import CHECKOUT

SCRIPT = CHECKOUT / "packaging" / "debian_changelog.py"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CHANGELOG = """\
# Changelog

What changes.

## [Unreleased]

### Added

- One thing, which takes
  two lines.

## [0.1.0] - 2026-01-02

- The first.
"""
DEBIAN = """\
pydsr (0.2.0) unstable; urgency=medium

  * One thing, which takes two lines.

 -- the authors <authors@example.org>  Wed, 04 Mar 2026 05:06:07 +0000

pydsr (0.1.0) unstable; urgency=medium

  * The first.

 -- the authors <authors@example.org>  Fri, 02 Jan 2026 00:00:00 +0000
"""


@pytest.fixture(scope="module")
def convert() -> Callable[[str], str]:
    made = runpy.run_path(str(SCRIPT))["debian_changelog"]
    return lambda text: str(made(text, "pydsr", "0.2.0", "the authors <authors@example.org>", NOW))


def test_each_release_is_an_entry(convert: Callable[[str], str]) -> None:
    assert DEBIAN == convert(CHANGELOG)


def test_long_items_are_wrapped(convert: Callable[[str], str]) -> None:
    made = convert("# Changelog\n\n## [Unreleased]\n\n- " + "word " * 40 + "\n")
    assert max(map(len, made.splitlines())) <= 80
    assert 40 == made.count("word")


def test_a_heading_that_is_no_release_is_refused(convert: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match="no heading of a release: Soon"):
        convert("# Changelog\n\n## Soon\n\n- Something.\n")
