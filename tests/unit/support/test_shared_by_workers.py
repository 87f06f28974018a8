"""Costly things are made once for all workers of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.shared_by_workers import RUN, made_once


@pytest.fixture
def name() -> Iterator[str]:
    """A name that no other test uses."""
    name = f"test-{uuid4()}"
    yield name
    (RUN / f"{name}.lock").unlink()


def test_one_of_several_callers_makes_a_directory_and_the_others_wait(name: str) -> None:
    made: list[Path] = []

    def make(directory: Path) -> None:
        made.append(directory)
        time.sleep(0)  # lets the other callers run
        (directory / "file").touch()

    def contents(_: int) -> list[str]:
        return [path.name for path in made_once(name, make).iterdir()]

    with ThreadPoolExecutor(8) as pool:
        assert [["file"]] * 8 == list(pool.map(contents, range(8)))
    assert 1 == len(made)


def test_after_a_failure_the_next_caller_makes_it(name: str) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        made_once(name, fail)
    directory = made_once(name, lambda directory: (directory / "whole").touch())
    assert ["whole"] == [path.name for path in directory.iterdir()]
