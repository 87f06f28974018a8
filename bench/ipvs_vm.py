"""Run ``bench.ipvs`` in the virtual machine and keep its results: ``make bench-ipvs``.

Debian's kernel clears every page that it allocates. A veth of Linux 6.1 allocates a page for each
frame that becomes a socket buffer, but none for a frame that XDP sends on. On an emulated processor
clearing takes longer than the rest of the path, so it is switched off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from bench.ipvs_report import Output

_KERNEL_OPTIONS = "init_on_alloc=0"
_TIMEOUT_SECONDS = 3600


def main() -> int:
    """Boot, show what is printed, write the document; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ipvs_vm",
        description="Boot Debian's kernel in qemu and run bench.ipvs there, some ten minutes. "
        "Other options go to it.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument("--accel", default="tcg", help="what qemu runs on (%(default)s)")
    arguments, others = parser.parse_known_args()
    command = [
        *(sys.executable, "-m", "tests.vm", "--accel", arguments.accel),
        *("--kernel-options", _KERNEL_OPTIONS, "--timeout", str(_TIMEOUT_SECONDS)),
        *("--", "python3", "-m", "bench.ipvs", *others),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        output = Output(process.stdout)
        for line in output.shown():
            sys.stdout.write(line)
            sys.stdout.flush()
    if process.returncode != 0:
        return process.returncode
    if arguments.json and output.document is not None:
        text = json.dumps(output.document, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
