"""Start modules of this package as other processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pydsr

PYTHON = (sys.executable, "-P", "-m")
"""Runs a module; ``-P`` keeps the working directory out of the search path."""


def environment() -> dict[str, str]:
    """Return an environment in which the process imports this copy of the package."""
    package = str(Path(pydsr.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([package, inherited]) if inherited else package
    return {**os.environ, "PYTHONPATH": path}
