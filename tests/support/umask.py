"""The umask of the test's process, for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

UMASKS = (0o000, 0o022, 0o077)
each_umask = pytest.mark.parametrize("umask", UMASKS, ids="{:03o}".format)


@contextmanager
def under_umask(umask: int) -> Iterator[None]:
    """Set the umask for the length of the block."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    """Return the permissions of a file, socket or folder."""
    return path.stat().st_mode & 0o777
