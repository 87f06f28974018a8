"""Run the tests that depend on the kernel and the compiler on several releases of Debian.

    python -m tests.vm.matrix bookworm newest

The outcome of each run is written to build/compatibility, for the table of docs/compatibility.md
(``python -m docs.compatibility``). The next one runs even if one fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.support.paths import CHECKOUT
from tests.vm.image import DEBIANS

RECORDS = CHECKOUT / "build" / "compatibility"
TESTS = (
    "tests/vm/inside",
    "tests/xdp",
    "tests/e2e/test_traffic.py",
    "tests/e2e/test_changes.py",
    "tests/e2e/test_fragments.py",
    "tests/e2e/test_failover.py::test_by_vrrp_the_other_balancer_takes_over_and_no_connection_breaks",
    "tests/e2e/test_daemon_killed.py",
)
"""What depends on the kernel and the compiler, and takes minutes on an emulated processor."""

_PYTEST = (
    *("env", "PYDSR_NO_SKIPS=1", "python3", "-m", "pytest"),
    *("-p", "no:cacheprovider", "-p", "tests.support.record"),
    *("--record=/job/record", "--timeout=1800", "--numprocesses=2"),
)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--accel", default="tcg", help="what qemu runs on (%(default)s)")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds each (%(default)s)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of {', '.join(DEBIANS)}")
    arguments = parser.parse_args()
    unknown = {*arguments.names} - {*DEBIANS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(DEBIANS)}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in arguments.names or DEBIANS:
        sys.stdout.write(f"=== {DEBIANS[name].title}\n")
        sys.stdout.flush()
        record = RECORDS / f"{name}.json"
        record.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "tests.vm", "--on", name, "--record", record),
            *("--accel", arguments.accel, "--timeout", str(arguments.timeout), "--memory", "3072"),
            *("--", *_PYTEST, *TESTS),
        ]
        failed |= subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
