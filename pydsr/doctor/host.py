"""What is wrong with a host. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pydsr.kernel.machine.facts import HostFacts, Trouble
from pydsr.kernel.machine.finding import Finding, Note, Remark
from pydsr.kernel.machine.finding_kinds import Kind

OLDEST_KERNEL = (5, 18)
"""The first with XDP programs for frames in several buffers."""

_MEMCG_ACCOUNTING = (5, 11)
_LOCKED_BYTES = 1 << 30
"""More than the maps of a full balancer take at its start; tables come on top."""

_HOST = "host"


def judge_host(facts: HostFacts) -> list[Remark]:
    """Return what is to be said of a host."""
    return [*_kernel(facts), *_limits(facts), *_tools(facts)]


def _kernel(facts: HostFacts) -> Iterator[Remark]:
    if facts.version < OLDEST_KERNEL:
        yield Finding(
            Kind.KERNEL_OLD,
            _HOST,
            f"the kernel is {facts.release}, and pydsr needs 5.18 or later",
            "boot a newer kernel: that of Debian 12 or Ubuntu 24.04 will do",
        )
    else:
        yield Note(_HOST, f"kernel {facts.release}")
    if facts.jit is None:
        yield Note(_HOST, "whether programs are compiled (JIT) is not to be seen", looked=False)
    elif facts.jit:
        yield Note(_HOST, "programs are compiled to machine code (JIT)")
    else:
        yield Finding(
            Kind.JIT_OFF,
            _HOST,
            "the kernel's compiler for BPF programs (JIT) is off",
            "sysctl -w net.core.bpf_jit_enable=1",
        )


def _limits(facts: HostFacts) -> Iterator[Remark]:
    if facts.missing_capabilities:
        names = ", ".join(sorted(facts.missing_capabilities))
        yield Finding(
            Kind.CAPABILITY_MISSING,
            _HOST,
            f"this process lacks the capabilities {names}: not all could be looked at",
            "run as root (sudo); a container needs them added",
        )
        yield Note(_HOST, "BPF was not tried: not privileged", looked=False)
    else:
        yield Note(_HOST, "all capabilities that it takes")
        yield from _trouble(Kind.BPF_MISSING, facts.bpf, "BPF programs can be loaded")
    yield from _trouble(Kind.BPFFS_MISSING, facts.pins, f"pins can be in {facts.directory}")
    is_limited = facts.memlock is not None and facts.memlock < _LOCKED_BYTES
    if facts.version < _MEMCG_ACCOUNTING and is_limited:
        yield Finding(
            Kind.MEMLOCK_LOW,
            _HOST,
            f"this process may lock {facts.memlock} bytes of memory, and maps take more",
            "ulimit -l unlimited; LimitMEMLOCK=infinity in a unit of systemd",
        )


def _tools(facts: HostFacts) -> Iterator[Remark]:
    yield from _trouble(Kind.BCC_MISSING, facts.bcc, "bcc, the compiler")
    yield from _trouble(Kind.LIBBPF_MISSING, facts.libbpf, "libbpf")
    yield from _trouble(Kind.HEADERS_MISSING, facts.headers, "the kernel's user-space headers")
    if facts.has_native:
        yield Note(_HOST, "tables are filled in C")
    else:
        yield Finding(
            Kind.NATIVE_MISSING,
            _HOST,
            "the loop that fills tables was not compiled when pydsr was installed",
            "apt install gcc, then install pydsr again",
        )


def _trouble(kind: Kind, trouble: Trouble | None, well: str) -> Iterator[Remark]:
    if trouble is None:
        yield Note(_HOST, well)
    else:
        yield Finding(kind, _HOST, trouble.message, trouble.hint)
