"""What the tests share that need Debian's kernel. Run by ``make test-vm``, in the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns.namespaces import made_directory


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A directory for pins that is not there yet; what is left of it is removed."""
    with made_directory() as directory:
        yield directory
