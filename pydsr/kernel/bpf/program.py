"""Compile the data plane with bcc, and load it with libbpf.

bcc cannot set program flags, so only its compiler is used. The program gets its maps as
descriptors.

After a compilation, bcc keeps 100 MB or more until the process ends. That does not matter to a
command, which compiles in its only thread. The daemon compiles in worker threads, and there a child
process does the work.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydsr.kernel.bpf import compiler, libbpf, placeholders, program_cache
from pydsr.kernel.bpf.layout_check import check_reasons, static_assertions
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import TAP_PROGRAM_MAP, create_program_map
from pydsr.kernel.bpf.program_cache import Compiled
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.model.errors import EnvironmentCannotError, InternalError, PermissionDeniedError
from pydsr.model.features import Feature
from pydsr.model.reasons import all_reasons
from pydsr.model.sources import xdp_directory

LICENCE = "Dual MIT/GPL"
_UAPI = Path("/usr/include")
_COMPILER = (*PYTHON, "pydsr.kernel.bpf.compiler")
_SHIM_PREFIX, _SHIM_SECONDS = "pydsr-headers-", 3600.0
"""The prefix of the directories of :func:`_kernel_shim`, and the age at which none is in use."""

_COMPILER_VARIABLES = {
    *("ARCH", "BCC_KERNEL_MODULES_SUFFIX", "BCC_LINUX_VERSION_CODE", "BCC_SEC_HELPERS"),
    *("CPATH", "C_INCLUDE_PATH", "LD_LIBRARY_PATH", "LD_PRELOAD"),
}
"""Variables of the environment that bcc, clang and the dynamic linker read.

Without BCC_KERNEL_SOURCE, which :func:`_kernel_shim` sets.
"""


@contextmanager
def compiled_programs(
    maps: Mapping[str, Descriptor], table_size: int, seed: int, features: Feature
) -> Iterator[Compiled]:
    """Yield the attached program and the one for traces, to be loaded within the block.

    Args:
        maps: every map of :func:`pydsr.kernel.bpf.maps.map_specs` by name.
        table_size: slots of a table.
        seed: the 64-bit key of the hash.
        features: the parts to compile in.

    Raises:
        EnvironmentCannotError: bcc is missing; the hint says what to install.
    """
    # This map is not pinned: the kernel removes a capture's program from it as soon as the
    # capture's process closes its descriptor or dies.
    with create_program_map() as tap_program:
        yield compile_balancer({**maps, TAP_PROGRAM_MAP: tap_program}, table_size, seed, features)


def compile_balancer(
    maps: Mapping[str, Descriptor],
    table_size: int,
    seed: int,
    features: Feature,
    constants: Mapping[str, str] | None = None,
) -> Compiled:
    """Compile the data plane, or take it from the cache.

    Args:
        maps: the maps of map_specs(), and ``tap_program``.
        table_size: slots of a table.
        seed: the 64-bit key of the hash.
        features: the parts to compile in.
        constants: further definitions.
    """
    check_reasons(all_reasons())
    numbers = {name: number for number, name in enumerate(maps, 1)}
    compiled = _compile_cached(
        xdp_directory() / "pydsr.c",
        [
            *balancer_definitions(
                numbers, table_size, (placeholders.SEED, placeholders.SEED_IPV4), features
            ),
            *(f"-D{name}={value}" for name, value in (constants or {}).items()),
        ],
        static_assertions(table_size),
    )
    descriptors = {numbers[name]: fd.number for name, fd in maps.items()}
    return {
        name: placeholders.fill(instructions, descriptors, seed)
        for name, instructions in compiled.items()
    }


def balancer_definitions(
    maps: Mapping[str, int], table_size: int, seeds: tuple[int, int], features: Feature
) -> list[str]:
    """Return the definitions that the sources in ``xdp/`` need, as compiler flags.

    Args:
        maps: the descriptor of each map, or a placeholder.
        table_size: slots of a table.
        seeds: the 64-bit key of the hash, and its seed_ipv4(); or placeholders.
        features: the parts to compile in.
    """
    return [
        f"-DPYDSR_TABLE_SIZE={table_size}",
        f"-DPYDSR_SEED={seeds[0]:#x}",
        f"-DPYDSR_SEED_IPV4={seeds[1]:#x}",
        *(f"-DPYDSR_FD_{name}={number}" for name, number in maps.items()),
        *(f"-DPYDSR_WITH_{feature.name}" for feature in Feature if feature in features),
    ]


def compile_source(source: Path, definitions: list[str], appended: str = "") -> Compiled:
    """Compile a C file with bcc.

    Args:
        source: the file; its directory is searched for headers.
        definitions: compiler flags.
        appended: C text to compile behind the file's.
    """
    find_bcc()
    return _compile(source, definitions, appended)[0]


def _compile_cached(source: Path, definitions: list[str], appended: str) -> Compiled:
    """Compile a file, or take it from the cache.

    It may include only headers of its directory and the kernel's.
    """
    key = _cache_key(source, definitions, appended)
    if key and (cached := program_cache.read(key)) is not None:
        return cached
    started = time.time_ns()
    compiled, files = _compile(source, definitions, appended)
    if key and files and key == _cache_key(source, definitions, appended):
        program_cache.write(key, compiled, files, started)
    return compiled


def _cache_key(source: Path, definitions: list[str], appended: str) -> str | None:
    """Return a hash of what decides the result of a compilation, but for files outside ``xdp/``.

    The compiler says which of those it read. The dynamic linker's cache decides which libraries
    it consists of.

    Returns:
        None if a file cannot be read.
    """
    try:
        libraries = program_cache.identify("/etc/ld.so.cache")
    except OSError:
        libraries = None
    try:
        texts = {
            str(path.relative_to(source.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(source.parent.rglob("*"))
            if path.is_file()
        }
    except OSError:
        return None
    machine = os.uname()
    parts = [
        placeholders.VERSION,
        [str(source), *_flags(source), *definitions, appended],
        texts,
        [str(find_headers()), machine.machine, machine.release, machine.version],
        [find_bcc(), libraries],
        {name: value for name, value in sorted(os.environ.items()) if name in _COMPILER_VARIABLES},
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _flags(source: Path) -> list[str]:
    return [
        # bcc has its own copy of this header, the shim tree has none.
        "-D__LINUX_BPF_H__",
        f"-I{source.parent}",
        "-Wall",
        "-Wno-unused-function",
        "-Wno-address-of-packed-member",
        "-Werror=implicit-function-declaration",
        # Debug information is not used, and takes a fifth of the time.
        "-g0",
    ]


def _compile(source: Path, definitions: list[str], appended: str) -> tuple[Compiled, set[str]]:
    """Return the instructions, and the files outside the source's directory that decided them.

    No files, if the compiler does not say which headers it read.
    """
    with _kernel_shim() as shim, _file_in_memory() as listed:
        flags = [*_flags(source), *definitions, "-MD", "-MF", str(listed)]
        try:
            text = f"{source.read_text(encoding='utf-8')}\n{appended}"
            compiled, files = _compile_text(text, flags)
        except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
            raise InternalError(
                f"{source.name} does not compile with this bcc: {error}",
                "the compiler's messages are above; please report them with `pydsr --version`",
            ) from None
        try:
            included = _included(listed, shim)
        except (OSError, ValueError):
            return compiled, set()
        own = str(source.parent.resolve())
        return compiled, files | {path for path in included if not path.startswith(f"{own}/")}


@contextmanager
def _file_in_memory() -> Iterator[Path]:
    """Yield a file for this process and its children.

    The compiler aborts the process if the disk is too full for a file.
    """
    with os.fdopen(os.memfd_create("included"), "rb") as file:
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def _included(listed: Path, directory: Path) -> set[str]:
    """Return the files in a rule for make, without those within the compiler.

    Args:
        listed: the file with the rule.
        directory: what relative paths start from.
    """
    _, _, files = listed.read_text(encoding="utf-8").replace("\\\n", " ").partition(":")
    return {
        str((directory / path).resolve())
        for path in files.split()
        if not path.startswith("/virtual/")
    }


def _compile_text(text: str, flags: list[str]) -> tuple[Compiled, set[str]]:
    if threading.current_thread() is threading.main_thread():
        return compiler.compile_text(text, flags)
    # A process with worker threads lives long: 179 MB resident with bcc's compiler in it, 64 MB
    # without. The child takes 0.1 s longer.
    done = subprocess.run(
        _COMPILER,
        input=json.dumps({"text": text, "flags": flags}),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        check=True,
    )
    result = json.loads(done.stdout)
    functions = {name: bytes.fromhex(octets) for name, octets in result["functions"].items()}
    return functions, set(result["files"])


def load_function(compiled: Compiled, name: str) -> Descriptor:
    """Load a function as an XDP program that accepts frames in several buffers (jumbo MTUs)."""
    instructions = compiled.get(name)
    if not instructions:
        raise InternalError(f"the compiled program has no function {name}")
    try:
        return libbpf.program_load(name, instructions, libbpf.PROG_FLAG_XDP_HAS_FRAGS, LICENCE)
    except libbpf.VerifierError as error:
        if error.errno == errno.EPERM:
            raise PermissionDeniedError(
                "loading a BPF program is not permitted", "run as root (sudo)"
            ) from None
        raise EnvironmentCannotError(
            f"the kernel refused the program {name}: {error.strerror}\n{error.log[-2000:]}",
            f"this is kernel {os.uname().release}; pydsr needs 5.18 or later",
        ) from None


def find_bcc() -> str:
    """Return the file of the Python package bcc, without importing it.

    Raises:
        EnvironmentCannotError: bcc is not installed; the hint says how to install it.
    """
    spec = importlib.util.find_spec("bcc")
    # A directory of that name without a module also has a spec, but no origin.
    if spec is None or spec.origin is None:
        raise EnvironmentCannotError(
            "the Python package bcc is not installed",
            "apt install python3-bpfcc, and use the system's python3 or a venv of it made "
            "with --system-site-packages",
        )
    return spec.origin


def find_headers() -> Path:
    """Return the ``asm`` directory of the kernel's user-space headers for this architecture.

    Raises:
        EnvironmentCannotError: they are not installed; the hint says how to install them.
    """
    architecture = _UAPI / (sysconfig.get_config_var("MULTIARCH") or "") / "asm"
    if not architecture.is_dir():
        architecture = _UAPI / "asm"
    for needed in (_UAPI / "linux" / "if_ether.h", architecture / "types.h"):
        if not needed.exists():
            raise EnvironmentCannotError(
                f"the kernel's user-space headers are missing ({needed})",
                "apt install linux-libc-dev",
            )
    return architecture


@contextmanager
def _kernel_shim() -> Iterator[Path]:
    """Make bcc use ``xdp/shim`` as the kernel's source tree, in a temporary directory."""
    architecture = find_headers()
    shim = xdp_directory() / "shim" / "include"
    before = os.environ.get("BCC_KERNEL_SOURCE")
    temporary = _temporary_directory()
    _remove_stale_shims(temporary)
    with tempfile.TemporaryDirectory(prefix=_SHIM_PREFIX, dir=temporary) as directory:
        include = Path(directory) / "include"
        uapi = include / "uapi"
        uapi.mkdir(parents=True)
        (uapi / "linux").symlink_to(_UAPI / "linux")
        (uapi / "asm").symlink_to(architecture)
        (uapi / "asm-generic").symlink_to(_UAPI / "asm-generic")
        for folder in shim.iterdir():
            (include / folder.name).symlink_to(folder)
        os.environ["BCC_KERNEL_SOURCE"] = directory
        try:
            yield Path(directory)
        finally:
            if before is None:
                del os.environ["BCC_KERNEL_SOURCE"]
            else:
                os.environ["BCC_KERNEL_SOURCE"] = before


def _temporary_directory() -> Path:
    """Return a directory where no other user can replace what this process creates.

    If /tmp and /var/tmp are full, tempfile chooses the working directory, which may be a user's.
    """
    chosen = Path(tempfile.gettempdir())
    try:
        program_cache.check_above(chosen / _SHIM_PREFIX)
    except (OSError, ValueError):
        return Path("/tmp")  # noqa: S108 - names in it are random
    return chosen


def _remove_stale_shims(temporary: Path) -> None:
    """Remove the directories of processes that were killed while they compiled."""
    for stale in temporary.glob(f"{_SHIM_PREFIX}*"):
        with suppress(OSError):
            status = stale.lstat()
            is_ours = status.st_uid == os.geteuid()
            if is_ours and time.time() - status.st_mtime > _SHIM_SECONDS:
                shutil.rmtree(stale)
