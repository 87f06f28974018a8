"""Derive findings about a host from facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pydsr.kernel.machine.findings import Finding, FindingKind, Note, Problem, Remark
from pydsr.kernel.machine.host import HostFacts

OLDEST_KERNEL = (5, 18)
"""The first kernel with XDP programs for frames in several buffers (xdp.frags)."""

_MEMCG_ACCOUNTING = (5, 11)
_LOCKED_BYTES = 1 << 30
"""More than the maps of a balancer need at its start; tables need more."""

_HOST = "host"


def judge_host(facts: HostFacts) -> list[Remark]:
    """Return the remarks on a host."""
    return [*_kernel(facts), *_limits(facts), *_tools(facts)]


def _kernel(facts: HostFacts) -> Iterator[Remark]:
    if facts.version < OLDEST_KERNEL:
        yield Finding(
            FindingKind.KERNEL_OLD,
            _HOST,
            f"the kernel is {facts.release}, and pydsr needs 5.18 or later",
            "boot a newer kernel, such as that of Debian 12 or Ubuntu 24.04",
        )
    else:
        yield Note(_HOST, f"kernel {facts.release}")
    if facts.jit is None:
        yield Note(_HOST, "whether the JIT compiler is on cannot be read here", looked=False)
    elif facts.jit:
        yield Note(_HOST, "the JIT compiler for BPF programs is on")
    else:
        yield Finding(
            FindingKind.JIT_OFF,
            _HOST,
            "the kernel's JIT compiler for BPF programs is off",
            "sysctl -w net.core.bpf_jit_enable=1",
        )


def _limits(facts: HostFacts) -> Iterator[Remark]:
    if facts.missing_capabilities:
        names = ", ".join(sorted(facts.missing_capabilities))
        yield Finding(
            FindingKind.CAPABILITY_MISSING,
            _HOST,
            f"this process lacks the capabilities {names}, so not everything was examined",
            "run as root (sudo); a container needs them added",
        )
        yield Note(_HOST, "BPF was not tested: not privileged", looked=False)
    else:
        yield Note(_HOST, "all capabilities are there")
        yield from _well_or(FindingKind.BPF_MISSING, facts.bpf, "BPF programs can be loaded")
    yield from _well_or(
        FindingKind.BPFFS_MISSING, facts.pins, f"pins can be created in {facts.directory}"
    )
    is_limited = facts.memlock is not None and facts.memlock < _LOCKED_BYTES
    if facts.version < _MEMCG_ACCOUNTING and is_limited:
        yield Finding(
            FindingKind.MEMLOCK_LOW,
            _HOST,
            f"this process may lock {facts.memlock} bytes of memory, and maps need more",
            "ulimit -l unlimited; in a systemd unit: LimitMEMLOCK=infinity",
        )


def _tools(facts: HostFacts) -> Iterator[Remark]:
    yield from _well_or(FindingKind.BCC_MISSING, facts.bcc, "bcc, the compiler")
    yield from _well_or(FindingKind.LIBBPF_MISSING, facts.libbpf, "libbpf")
    yield from _well_or(
        FindingKind.HEADERS_MISSING, facts.headers, "the kernel's user-space headers"
    )
    if facts.has_native:
        yield Note(_HOST, "tables are filled in C")
    else:
        yield Finding(
            FindingKind.NATIVE_MISSING,
            _HOST,
            "the C library that fills tables was not built when pydsr was installed",
            "apt install gcc, then install pydsr again",
        )


def _well_or(kind: FindingKind, problem: Problem | None, well: str) -> Iterator[Remark]:
    yield Note(_HOST, well) if problem is None else problem.finding(kind, _HOST)
