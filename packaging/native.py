"""Compile the C loops of pydsr.hashing if there is a compiler.

A build hook of hatchling, for wheels and editable installations. Without the loops, tables take
thirty times as long.
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
    """Adds the compiled library to the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the library, or leave the package pure Python."""
        del version
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            self.app.display_warning("no C compiler: pydsr will compute its tables in Python")
            return
        root = Path(self.root)
        sources = [str(root / source) for source in SOURCES]
        subprocess.run([compiler, *OPTIONS, "-o", str(root / LIBRARY), *sources], check=True)
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        # The library does not use the Python API, so one wheel serves every version.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
