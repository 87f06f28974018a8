"""The BPF file system: check, mount and create directories of pins."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from pathlib import Path

from pydsr.model.errors import EnvironmentCannotError, InputError, PermissionDeniedError

STANDARD_MOUNT = Path("/sys/fs/bpf")
_MOUNTS = Path("/proc/self/mounts")


def check_name(directory: Path) -> None:
    """Refuse a path with a dot, for which a BPF file system says "not permitted" even to root.

    Raises:
        InputError: a part of the path has a dot.
    """
    if any("." in part for part in directory.parts):
        raise InputError(
            f"{directory} cannot hold pins: the BPF file system takes no dots in names",
            "choose another name for --bpffs",
        )


def check_place(directory: Path) -> None:
    """Refuse a directory that cannot hold pins.

    Raises:
        InputError: its name has a dot, or it is on another kind of file system.
    """
    check_name(directory)
    if _file_system(directory) != "bpf":
        raise InputError(
            f"{directory} is not on a BPF file system",
            f"choose one below {STANDARD_MOUNT}, or mount one: mount -t bpf bpf {directory.parent}",
        )


def prepare_directory(directory: Path) -> None:
    """Create a directory for pins that only root can use, if it does not exist.

    Mounts a BPF file system at its standard place if there is none.

    Raises:
        InputError: the directory is on another kind of file system, or its name has a dot.
        PermissionDeniedError: not privileged, or another user can replace what is in it.
        EnvironmentCannotError: the kernel has no BPF file system.
    """
    check_name(directory)
    if directory.is_relative_to(STANDARD_MOUNT) and _file_system(STANDARD_MOUNT) != "bpf":
        _mount(STANDARD_MOUNT)
    check_place(directory)
    try:
        make_private(directory)
        make_private(directory / "links")
    except PermissionError:
        raise PermissionDeniedError(
            f"creating {directory} is not permitted", "run as root (sudo)"
        ) from None
    except OSError as error:
        raise EnvironmentCannotError(
            f"{directory} cannot be created: {error.strerror}",
            f"see how it is mounted, and for a service its sandbox: findmnt --target {directory}",
        ) from None


def make_private(directory: Path) -> None:
    """Create a directory that only root can use, if it does not exist.

    Only root can write to the parents that this creates, whatever the umask.

    Raises:
        PermissionDeniedError: it exists, and another user can replace what is in it.
        OSError: it cannot be created.
    """
    missing = [parent for parent in directory.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o755, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    check_owner(directory, directory.stat())


def check_owner(directory: Path, status: os.stat_result) -> None:
    """Refuse a directory in which another user than this one and root can replace files.

    Where every user can create directories, one may have made it before us: without the option
    ``mode``, a BPF file system is mounted like /tmp.

    Raises:
        PermissionDeniedError: another user can.
    """
    is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
    if is_open or status.st_uid not in (0, os.geteuid()):
        raise PermissionDeniedError(
            f"others than you can replace what is in {directory}",
            f"check what is in it, then: chown root: {directory}; chmod 700 {directory}",
        )


def remove_directory(directory: Path) -> None:
    """Remove a directory of pins and everything in it."""
    shutil.rmtree(directory)


def _file_system(path: Path) -> str:
    """Return the type of the file system of a path, which need not exist."""
    deepest, kind = Path("/"), ""
    for line in _MOUNTS.read_text(encoding="utf-8").splitlines():
        _, mount, mounted_kind, *_ = line.split(" ")
        point = Path(mount.encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= len(deepest.parts):
            deepest, kind = point, mounted_kind
    return kind


def _mount(point: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", str(point).encode(), b"bpf", 0, b"mode=0700") == 0:
        return
    number = ctypes.get_errno()
    if number == 1:
        raise PermissionDeniedError(
            f"no BPF file system is mounted at {point}, and mounting one is not permitted",
            "run as root (sudo)",
        )
    raise EnvironmentCannotError(
        f"no BPF file system can be mounted at {point}: {os.strerror(number)}",
        "the kernel needs CONFIG_BPF_SYSCALL, and /sys must be mounted",
    )
