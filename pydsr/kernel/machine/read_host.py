"""What this machine has of what pydsr needs."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from pydsr.hashing.c_library import is_built
from pydsr.kernel.bpf import bpffs, libbpf, program
from pydsr.kernel.machine.facts import HostFacts, Trouble

_CAPABILITIES = {"NET_ADMIN": 12, "NET_RAW": 13, "SYS_ADMIN": 21}
"""Numbers of linux/capability.h; SYS_ADMIN stands for BPF and PERFMON as well."""

_JIT = Path("/proc/sys/net/core/bpf_jit_enable")


def read_host(directory: Path) -> HostFacts:
    """Return what is known of this machine, for a balancer with its pins in a directory."""
    missing = missing_capabilities()
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_privileged = "SYS_ADMIN" not in missing
    library = Trouble.of(libbpf.check_library)
    bpf, is_compiled = (None, None) if missing or library else _try_bpf()
    setting = _jit()
    return HostFacts(
        os.uname().release,
        missing_capabilities=missing,
        bpf=bpf,
        jit=is_compiled if setting is None else setting,
        pins=_pins(directory, can_mount=is_privileged),
        directory=str(directory),
        memlock=None if is_privileged or limit == resource.RLIM_INFINITY else limit,
        bcc=Trouble.of(program.check_bcc),
        libbpf=library,
        headers=Trouble.of(program.find_headers),
        has_native=is_built(),
    )


def missing_capabilities() -> frozenset[str]:
    """Return which capabilities this process needs for some command, and does not have."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    (held,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    bits = int(held, 16)
    return frozenset(name for name, bit in _CAPABILITIES.items() if not bits >> bit & 1)


def _try_bpf() -> tuple[Trouble | None, bool | None]:
    """Load a program of two instructions, and forget it again.

    Returns:
        Why it cannot be loaded, and whether it was compiled to machine code.
    """
    flags = libbpf.PROG_FLAG_XDP_HAS_FRAGS
    try:
        with libbpf.program_load("pydsr_doctor", libbpf.RETURN_XDP_PASS, flags, "GPL") as program:
            return None, libbpf.program_info(program).jited_prog_len > 0
    except OSError as error:
        trouble = Trouble(
            f"the kernel loads no BPF program: {error.strerror}",
            "it needs CONFIG_BPF_SYSCALL; a container needs its seccomp filter to let bpf() pass",
        )
        return trouble, None


def _jit() -> bool | None:
    """Return the setting; None where it is not to be seen: but for the first network namespace."""
    try:
        return int(_JIT.read_text(encoding="ascii")) > 0
    except (OSError, ValueError):
        return None


def _pins(directory: Path, *, can_mount: bool) -> Trouble | None:
    """Return why pins cannot be in a directory; attach itself mounts at the standard place."""
    by_itself = can_mount and directory.is_relative_to(bpffs.STANDARD_MOUNT)
    return Trouble.of(lambda: (bpffs.check_name if by_itself else bpffs.check_place)(directory))
