"""Compile C with bcc, in this process or as a program of its own.

As a program, it compiles for another process and frees all memory of the compiler when it exits.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_COMPILER = re.compile(r"/lib(bcc|clang|LLVM)[^/]*$")
"""The paths of the libraries that decide what bcc compiles to."""


def compile_text(text: str, flags: Sequence[str]) -> tuple[dict[str, bytes], set[str]]:
    """Compile C text.

    Returns:
        The instructions of each function, and the files that make up the compiler.

    Raises:
        ImportError: bcc is not installed.
        Exception: the text does not compile; bcc raises nothing narrower.
    """
    import bcc

    compiled = bcc.BPF(text=text.encode(), cflags=list(flags))
    functions = {}
    for number in range(bcc.lib.bpf_num_functions(compiled.module)):
        name = bcc.lib.bpf_function_name(compiled.module, number)
        start = bcc.lib.bpf_function_start(compiled.module, name)
        functions[name.decode()] = ctypes.string_at(
            start, bcc.lib.bpf_function_size(compiled.module, name)
        )
    return functions, _compiler_files()


def _compiler_files() -> set[str]:
    """Return the modules of bcc, and the libraries they loaded."""
    modules = {
        module.__file__
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "bcc" and module.__file__
    }
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    mapped = {line.split(maxsplit=5)[-1] for line in maps.splitlines()}
    return modules | {path for path in mapped if _COMPILER.search(path)}


def main() -> None:
    """Read text and flags as JSON, and write the results with the instructions in hexadecimal."""
    request = json.load(sys.stdin)
    try:
        functions, files = compile_text(request["text"], request["flags"])
    except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
        sys.exit(str(error))
    instructions = {name: octets.hex() for name, octets in functions.items()}
    json.dump({"functions": instructions, "files": sorted(files)}, sys.stdout)


if __name__ == "__main__":
    main()
