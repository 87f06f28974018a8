"""The CPU time of programs, if the kernel measures it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydsr.kernel.bpf import libbpf

SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


class ProgramCost(NamedTuple):
    """The measured CPU time and runs of a program since it was loaded."""

    nanoseconds: int
    runs: int


def is_on() -> bool:
    """Return whether the kernel times every program, which makes each run a little slower.

    Source: Documentation/admin-guide/sysctl/kernel.rst of the kernel. The switch does not show
    BPF_ENABLE_STATS, which bpftool uses for profiles.
    """
    try:
        return SWITCH.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def program_cost(program_id: int) -> ProgramCost | None:
    """Return the measured cost of a program.

    None if the program is gone, or if the process lacks CAP_SYS_ADMIN, which opening by id needs.
    """
    try:
        with libbpf.program_by_id(program_id) as program:
            info = libbpf.program_info(program)
    except OSError:
        return None
    return ProgramCost(info.run_time_ns, info.run_cnt)
