"""Compile C with bcc: the instructions of every function in it.

Run as a program, it does that for another process, and is gone with all that the compiler takes.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Sequence


def instructions_of(text: str, flags: Sequence[str]) -> dict[str, bytes]:
    """Return the instructions by function.

    Args:
        text: C.
        flags: of the compiler.

    Raises:
        ImportError: bcc is not here.
        Exception: it does not compile; bcc raises nothing narrower.
    """
    import bcc

    compiled = bcc.BPF(text=text.encode(), cflags=list(flags))
    found = {}
    for number in range(bcc.lib.bpf_num_functions(compiled.module)):
        name = bcc.lib.bpf_function_name(compiled.module, number)
        start = bcc.lib.bpf_function_start(compiled.module, name)
        found[name.decode()] = ctypes.string_at(
            start, bcc.lib.bpf_function_size(compiled.module, name)
        )
    return found


def main() -> None:
    """Read what to compile as JSON, and write the instructions in hexadecimal."""
    wanted = json.load(sys.stdin)
    try:
        found = instructions_of(wanted["text"], wanted["flags"])
    except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
        sys.exit(str(error))
    json.dump({name: octets.hex() for name, octets in found.items()}, sys.stdout)


if __name__ == "__main__":
    main()
