"""How this package is started again, as another process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pydsr

PYTHON = (sys.executable, "-P", "-m")
"""Runs a module of this package; ``-P`` keeps the working directory out of where it is sought."""


def environment() -> dict[str, str]:
    """Return an environment in which such a process finds this very package."""
    package = str(Path(pydsr.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([package, inherited]) if inherited else package
    return {**os.environ, "PYTHONPATH": path}
