"""What programs cost, where the kernel times them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydsr.kernel.bpf import libbpf

SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


class ProgramCost(NamedTuple):
    """Nanoseconds of CPU time in so many runs, since the program was loaded."""

    nanoseconds: int
    runs: int


def is_on() -> bool:
    """Return whether the kernel times every program, which costs each run a little.

    Source: Documentation/admin-guide/sysctl/kernel.rst of the kernel. What BPF_ENABLE_STATS asks
    for, as bpftool does while it profiles, is not seen here.
    """
    try:
        return SWITCH.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def program_cost(program_id: int) -> ProgramCost | None:
    """Return what a program has cost while it was timed; None where it cannot be asked for.

    It is gone, or the process lacks CAP_SYS_ADMIN, which opening by an id takes.
    """
    try:
        with libbpf.program_by_id(program_id) as program:
            info = libbpf.program_info(program)
    except OSError:
        return None
    return ProgramCost(info.run_time_ns, info.run_cnt)
