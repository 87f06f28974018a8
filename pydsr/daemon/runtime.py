"""Where the daemon of a directory of pins is found: its socket, and the lock that says it runs."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from pydsr.control.detach import remove_unused_directory
from pydsr.kernel.bpf import bpffs
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.lock import not_permitted
from pydsr.model.errors import BusyError, InputError, NotAttachedError, PermissionDeniedError

_LONGEST_SOCKET = 107
"""sun_path of unix(7) has 108 bytes, one for the end."""


def socket_path(runtime: Path, bpffs_directory: Path) -> Path:
    """Return the socket of the daemon of a directory of pins, each its own.

    Raises:
        InputError: the names are too long for one.
    """
    name = "-".join(bpffs_directory.parts[1:]) or "root"
    path = runtime / f"{name}.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise InputError(f"{path} is too long for a socket", "choose a shorter --runtime-directory")
    return path


class Instance:
    """The right to be the one daemon of a directory of pins.

    It is a lock on the directory of links within, which holds nobody else up: commands lock the
    directory itself. The kernel gives it back when the process dies, however that is.

    Args:
        directory: of the pins, which is made if need be.

    Raises:
        BusyError: another daemon has it.
        PermissionDeniedError: not privileged.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = not directory.exists()
        self._lock: Descriptor | None = None
        self.hold()

    def hold(self) -> None:
        """Take the right, and again where the directory was purged and made anew.

        Raises:
            BusyError: another daemon has it.
            PermissionDeniedError: not privileged.
        """
        links = self._directory / "links"
        if self._lock is not None and _is_same(self._lock, links):
            return
        bpffs.prepare_directory(self._directory)
        try:
            lock = Descriptor(os.open(links, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except PermissionError:
            raise not_permitted(self._directory) from None
        try:
            fcntl.flock(lock.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise BusyError(
                f"another pydsr daemon runs for {self._directory}",
                "one is enough; --bpffs names another balancer",
            ) from None
        self._release()
        self._lock = lock

    def close(self) -> None:
        """Give the right back, and leave no empty directory behind that was not there before."""
        if self._made and not self._has_state():
            with suppress(BusyError, NotAttachedError):
                remove_unused_directory(self._directory)
        self._release()

    def _has_state(self) -> bool:
        return (self._directory / "settings").exists()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _is_same(lock: Descriptor, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(lock.number)
    return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)


def prepare_runtime(directory: Path) -> None:
    """Make the directory of sockets, for root alone, where there is none.

    Raises:
        PermissionDeniedError: not privileged.
        InputError: it cannot be.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except PermissionError:
        raise PermissionDeniedError(
            f"creating {directory} is not permitted", "run as root (sudo)"
        ) from None
    except OSError as error:
        raise InputError(
            f"{directory} cannot be made: {error.strerror}",
            "name another place with --runtime-directory",
        ) from None
