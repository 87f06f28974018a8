"""Compile C with bcc, in this process or as a program of its own.

As a program, it compiles for another process and frees all memory of the compiler when it exits.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Sequence


def instructions_of(text: str, flags: Sequence[str]) -> dict[str, bytes]:
    """Compile C text and return the instructions of each function.

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
    return functions


def main() -> None:
    """Read text and flags as JSON, and write the instructions in hexadecimal."""
    request = json.load(sys.stdin)
    try:
        functions = instructions_of(request["text"], request["flags"])
    except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
        sys.exit(str(error))
    json.dump({name: octets.hex() for name, octets in functions.items()}, sys.stdout)


if __name__ == "__main__":
    main()
