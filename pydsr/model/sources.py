"""Find the C sources of the data plane, in a checkout or an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def xdp_directory() -> Path:
    """Return the directory of ``pydsr.c``."""
    installed = _PACKAGE / "xdp"
    return installed if installed.is_dir() else _PACKAGE.parent / "xdp"
