"""The lock on a directory of pins, which may be no directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydsr.control.attached_interfaces import living_links
from pydsr.kernel.bpf.lock import locked
from pydsr.model.errors import NotAttachedError


@pytest.mark.parametrize("path", ["nothing", "file", "file/below"])
def test_no_balancer_is_attached_where_there_is_no_directory(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAttachedError), locked(tmp_path / path):
        pass
    with pytest.raises(NotAttachedError):
        living_links(tmp_path / path)
