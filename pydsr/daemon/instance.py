"""Ensure that only one daemon runs for a balancer, and prepare its runtime directory."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from pydsr.control.detach import remove_unused_directory
from pydsr.kernel.bpf import bpffs
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.lock import is_same, not_permitted
from pydsr.model.errors import BusyError, InputError, NotAttachedError, PermissionDeniedError


class Instance:
    """The lock that makes this process the only daemon of a directory of pins.

    The lock is on the ``links`` directory inside, so it never blocks commands, which lock the
    directory itself. The kernel releases it when the process dies.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._created = False
        self._lock: Descriptor | None = None

    def acquire(self) -> None:
        """Take the lock, also again after a purge, and create a missing directory.

        Raises:
            BusyError: another daemon runs.
            PermissionDeniedError: not privileged.
        """
        links = self._directory / "links"
        if self._lock is not None and is_same(self._lock, links):
            return
        if self._lock is None:
            self._created = not self._directory.exists()
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
        """Release the lock, and remove the directory if this created it and it is still empty."""
        if self._created and not self._has_state():
            with suppress(BusyError, NotAttachedError):
                remove_unused_directory(self._directory)
        self._release()

    def _has_state(self) -> bool:
        return (self._directory / "settings").exists()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def prepare_runtime(directory: Path) -> None:
    """Create the directory of sockets, accessible to root alone, if it is missing.

    Raises:
        PermissionDeniedError: not privileged, or another user can replace what is in it.
        InputError: it cannot be created.
    """
    try:
        bpffs.make_private(directory)
    except PermissionError:
        raise PermissionDeniedError(
            f"no permission to create {directory}", "run as root (sudo)"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot create {error.filename}: {error.strerror}",
            "choose another place with --runtime-directory",
        ) from None
