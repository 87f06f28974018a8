"""What all workers of a run share: a directory, and things that one of them makes for all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

FIXTURES = {"clean_system", "debian_package", "package_installed", "distribution"}
"""Fixtures that yield such things."""

_VARIABLE = "PYDSR_TEST_RUN"
_IS_OURS = _VARIABLE not in os.environ
if _IS_OURS:
    os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="pydsr-run-")  # workers inherit it
RUN = Path(os.environ[_VARIABLE])
"""The directory of the run."""


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory that the first caller of a run fills; then nobody changes it.

    Args:
        name: of the directory.
        make: fills an empty directory. If it fails, the next caller tries again.
    """
    directory = RUN / name
    with (RUN / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            making = Path(tempfile.mkdtemp(prefix=name, dir=RUN))
            make(making)
            making.rename(directory)
    return directory


def remove_run() -> None:
    """Remove the directory of the run, in the process that has made it."""
    if _IS_OURS:
        shutil.rmtree(RUN, ignore_errors=True)
