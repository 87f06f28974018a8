"""Run a command of this checkout on a kernel of Debian's, in a virtual machine.

    python -m tests.vm --on trixie -- python3 -m pytest tests/unit tests/xdp

For what the kernel of this machine may lack: VLAN devices, bonds, NICs, IPVS; and for other
kernels, compilers and Pythons than this machine's (tests.vm.matrix). The machine has its own copy
of the checkout, as it is now, and the command runs there as root. Its output is streamed, and its
exit status is ours. What it writes to /job/record is the only file that comes back (--record). The
machine has no network, but three virtio NICs on one hub, and others that lead nowhere (see
machine.py).

The first run makes a disk with mmdebstrap (see image.py). Each run boots it in qemu, in some ten
seconds, and throws away what the command wrote. Processors are emulated, which works inside of
virtual machines too, and makes programs some ten times slower. --accel kvm is for where it can. One
machine runs at a time.
"""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys
from pathlib import Path

from tests.vm.image import CACHE, DEBIANS, ImageError, image
from tests.vm.machine import MachineError, run


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--on", choices=DEBIANS, default="bookworm", help="%(default)s")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for all (%(default)s)")
    parser.add_argument("--memory", type=int, default=2048, help="MiB (%(default)s)")
    parser.add_argument("--accel", default="tcg", help="what qemu runs on (%(default)s)")
    parser.add_argument(
        "--kernel-options", default="", metavar="TEXT", help="more of the kernel's command line"
    )
    parser.add_argument("--record", type=Path, help="for what the command writes to /job/record")
    parser.add_argument("command", nargs="+", help="run in the checkout, as root")
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return run(
                image(arguments.on),
                shlex.join(arguments.command),
                arguments.timeout,
                arguments.memory,
                arguments.accel,
                arguments.kernel_options,
                arguments.record,
            )
        except (ImageError, MachineError) as error:
            sys.stderr.write(f"tests.vm: {error}\n")
            return 1


if __name__ == "__main__":
    sys.exit(main())
