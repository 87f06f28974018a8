"""Builds the loops in C where there is a compiler: without it, tables are made thirty times slower.

A hook of hatchling, called for wheels and for editable installations.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = (Path("pydsr/hashing/maglev.c"), Path("pydsr/hashing/slots.c"))
LIBRARY = Path("pydsr/hashing/_native.so")
OPTIONS = ("-O3", "-shared", "-fPIC", "-ffreestanding", "-nostdlib", "-Wall", "-Wextra")


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the library to what is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile it, or leave a package that is pure Python."""
        del version
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            self.app.display_warning("no C compiler: the tables of pydsr are made in Python")
            return
        root = Path(self.root)
        sources = [str(root / source) for source in SOURCES]
        subprocess.run([compiler, *OPTIONS, "-o", str(root / LIBRARY), *sources], check=True)
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        # The library knows nothing of Python: one wheel is for every version of it.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
