"""The lock on a directory of pins, and the errors of unusable directories."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydsr.kernel.bpf.bpffs import check_owner
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.errors import BusyError, NotAttachedError, PermissionDeniedError

LOCK_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02


@contextmanager
def locked(directory: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock on a directory of pins for the length of the block.

    The kernel frees it when the process ends, even if killed.

    Raises:
        BusyError: another command held the lock until the deadline.
        NotAttachedError: there is no such directory.
        PermissionDeniedError: not privileged, or another user can replace what is in it.
    """
    deadline = time.monotonic() + seconds
    while True:
        with _open(directory) as lock:
            check_owner(directory, os.fstat(lock.number))
            _wait(lock, directory, deadline)
            # Another may have purged the directory and made it anew until now.
            if is_same(lock, directory):
                yield
                return


def _open(directory: Path) -> Descriptor:
    try:
        return Descriptor(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        raise not_attached(directory) from None
    except PermissionError:
        raise not_permitted(directory) from None


def _wait(lock: Descriptor, directory: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BusyError(
                    f"another pydsr command is changing {directory}",
                    "wait for it to end, and try again",
                ) from None
            time.sleep(_LOCK_POLL_SECONDS)


def is_same(lock: Descriptor, path: Path) -> bool:
    """Return whether a path still leads to the directory that is open as a lock."""
    try:
        present = path.stat()
    except FileNotFoundError:
        return False
    locked_directory = os.fstat(lock.number)
    return (locked_directory.st_dev, locked_directory.st_ino) == (present.st_dev, present.st_ino)


def not_attached(directory: Path) -> NotAttachedError:
    """Return the error of a directory without pins."""
    return NotAttachedError(
        f"no balancer is attached here (no state in {directory})",
        "pydsr attach IFACE starts one; --bpffs names another directory",
    )


def not_permitted(directory: Path) -> PermissionDeniedError:
    """Return the error of pins that this user may not open."""
    return PermissionDeniedError(
        f"opening the balancer's state in {directory} is not permitted", "run as root (sudo)"
    )
