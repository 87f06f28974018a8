"""Files of another user, whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_NOBODY = 65534


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file another user's: root changes its owner, others take another uid for theirs."""
    user = os.geteuid()
    if user == 0:
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
