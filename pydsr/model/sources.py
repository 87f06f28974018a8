"""Where the C sources of the data plane are, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def xdp_directory() -> Path:
    """Return the folder that holds ``pydsr.c``."""
    installed = _PACKAGE / "xdp"
    return installed if installed.is_dir() else _PACKAGE.parent / "xdp"
