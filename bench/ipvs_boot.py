"""Run a command in the virtual machine of the tests, its kernel set for measuring.

Debian's kernel clears every page that it hands out, and a veth of Linux 6.1 takes a new page for
every frame that becomes a socket buffer, but none for one that XDP sends on. On an emulated
processor clearing takes longer than all the rest of the frame's way; so the kernel does not clear.
"""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys
from dataclasses import replace

from tests.vm.image import CACHE, ImageError, image
from tests.vm.machine import MachineError, run

KERNEL_OPTIONS = "init_on_alloc=0"

_MEMORY_MIB = 2048
_TIMEOUT_SECONDS = 3600


def main() -> int:
    """Boot, run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.ipvs_boot")
    parser.add_argument("--accel", default="tcg", help="what qemu runs on (%(default)s)")
    parser.add_argument("command", nargs="+", help="run in the checkout, as root")
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            found = image()
            # The kernel's command line ends with the first process.
            booted = replace(found, init=f"{found.init} {KERNEL_OPTIONS}")
            command = shlex.join(arguments.command)
            return run(booted, command, _TIMEOUT_SECONDS, _MEMORY_MIB, arguments.accel)
        except (ImageError, MachineError) as error:
            sys.stderr.write(f"bench.ipvs_boot: {error}\n")
            return 1


if __name__ == "__main__":
    sys.exit(main())
