"""Pack this package into one file, which runs on a backend with Python but without pydsr."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pydsr

_PACKAGE = Path(pydsr.__file__).parent
_SHEBANG = b"#!/usr/bin/env python3\n"
_ENTRY = "import sys\n\nfrom pydsr.realserver.__main__ import main\n\nsys.exit(main())\n"
_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date in a zip archive, so that the same sources make the same bytes."""


def sources() -> dict[str, str]:
    """Return the sources in the file, by their paths in it."""
    modules = [_PACKAGE / name for name in ("__init__.py", "model/__init__.py", "model/errors.py")]
    modules += sorted((_PACKAGE / "realserver").glob("*.py"))
    texts = {
        str(module.relative_to(_PACKAGE.parent)): module.read_text(encoding="utf-8")
        for module in modules
    }
    return {"__main__.py": _ENTRY, **texts}


def archive() -> bytes:
    """Return the file: a zip archive that Python can run (PEP 441)."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for path, text in sources().items():
            file.writestr(zipfile.ZipInfo(path, _DATE), text, zipfile.ZIP_DEFLATED)
    return _SHEBANG + packed.getvalue()
