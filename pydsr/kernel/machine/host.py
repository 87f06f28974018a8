"""Facts about this host: its kernel, limits, privileges and installed tools."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from pydsr.hashing.c_library import is_built
from pydsr.kernel.bpf import bpffs, libbpf, program
from pydsr.kernel.machine.drivers import Version, version_of
from pydsr.kernel.machine.findings import Problem, problem_of

_CAPABILITIES = {"NET_ADMIN": 12, "NET_RAW": 13, "SYS_ADMIN": 21}
"""Numbers of linux/capability.h; SYS_ADMIN includes BPF and PERFMON."""

_JIT = Path("/proc/sys/net/core/bpf_jit_enable")


@dataclass(frozen=True)
class HostFacts:
    """Facts about a host; None means unknown, and for a problem, none.

    Attributes:
        release: of its kernel.
        missing_capabilities: capabilities that this process needs and lacks.
        bpf: why no BPF program can be loaded; None also where the process may not try.
        jit: whether programs are compiled to machine code.
        pins: why the directory of pins cannot be used.
        directory: the directory of pins.
        memlock: bytes that this process may lock; None without a limit.
        bcc, libbpf, headers: why each cannot be used.
        has_native: whether the C library that fills tables is built.
    """

    release: str
    missing_capabilities: frozenset[str] = frozenset()
    bpf: Problem | None = None
    jit: bool | None = None
    pins: Problem | None = None
    directory: str = ""
    memlock: int | None = None
    bcc: Problem | None = None
    libbpf: Problem | None = None
    headers: Problem | None = None
    has_native: bool = True

    @property
    def version(self) -> Version:
        """The version of its kernel."""
        return version_of(self.release)


def read_host(directory: Path) -> HostFacts:
    """Return facts about this host, for a balancer with its pins in a directory."""
    missing = _missing_capabilities()
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_privileged = "SYS_ADMIN" not in missing
    library = problem_of(libbpf.check_library)
    bpf, is_compiled = (None, None) if missing or library else _load_program()
    setting = _read_jit()
    return HostFacts(
        os.uname().release,
        missing_capabilities=missing,
        bpf=bpf,
        jit=is_compiled if setting is None else setting,
        pins=_check_pins(directory, can_mount=is_privileged),
        directory=str(directory),
        memlock=None if is_privileged or limit == resource.RLIM_INFINITY else limit,
        bcc=problem_of(program.find_bcc),
        libbpf=library,
        headers=problem_of(program.find_headers),
        has_native=is_built(),
    )


def _missing_capabilities() -> frozenset[str]:
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    bits = int(effective, 16)
    return frozenset(name for name, bit in _CAPABILITIES.items() if not bits >> bit & 1)


def _load_program() -> tuple[Problem | None, bool | None]:
    """Return why no program can be loaded, and whether one was compiled to machine code."""
    flags = libbpf.PROG_FLAG_XDP_HAS_FRAGS
    try:
        with libbpf.program_load("pydsr_doctor", libbpf.RETURN_XDP_PASS, flags, "GPL") as loaded:
            return None, libbpf.program_info(loaded).jited_prog_len > 0
    except OSError as error:
        problem = Problem(
            f"the kernel refuses to load a BPF program: {error.strerror}",
            "build the kernel with CONFIG_BPF_SYSCALL; in a container, allow bpf() in its "
            "seccomp filter",
        )
        return problem, None


def _read_jit() -> bool | None:
    """Return the JIT setting; None outside the initial network namespace, which alone shows it."""
    try:
        return int(_JIT.read_text(encoding="ascii")) > 0
    except (OSError, ValueError):
        return None


def _check_pins(directory: Path, *, can_mount: bool) -> Problem | None:
    """Return why pins cannot be in a directory; attach mounts the standard place itself."""
    is_mounted_by_attach = can_mount and directory.is_relative_to(bpffs.STANDARD_MOUNT)
    check = bpffs.check_name if is_mounted_by_attach else bpffs.check_place
    return problem_of(lambda: check(directory))
