"""One lab for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pydsr.lab.lab import Lab
from tests.support.clean_root import made_root
from tests.support.lab.requests import running_lab
from tests.support.packages import built, install
from tests.support.shared_by_workers import made_once


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[Lab]:
    """A running lab of three backends; tests remove what they add to it."""
    with running_lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def debian_package() -> Path:
    """The Debian package, built from the checkout."""
    directory = made_once("debian", partial(built, "deb.sh"))
    (package,) = directory.glob("pydsr_*.deb")
    return package


@pytest.fixture(scope="session")
def package_installed(clean_system: Path, debian_package: Path) -> Path:
    """What installing the Debian package changes in the clean system."""

    def make(changes: Path) -> None:
        with made_root(clean_system) as root:
            install(root, debian_package)
            root.save(changes)

    return made_once("installed", make)
