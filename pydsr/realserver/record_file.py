"""The record of what setup has changed, as a file.

It is written before the first change and removed after the last is undone. It lives under /run,
like what it is about: sysctls and addresses do not survive a reboot, and what was found before
one says nothing after it. Every network namespace has its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydsr.model.errors import BusyError, EnvironmentCannotError, PermissionDeniedError, PydsrError
from pydsr.realserver.record import Record

DIRECTORY = Path("/run/pydsr-realserver")

_SO_NETNS_COOKIE = 71
"""Of asm-generic/socket.h: a number that no other network namespace gets until a reboot."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RecordFile:
    """The record of the network namespace of the calling thread, as a file.

    Args:
        directory: of the records of all namespaces; made, for root alone, where it is written.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._path = directory / f"{_namespace()}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other command change this host meanwhile.

        Raises:
            BusyError: another does.
            PermissionDeniedError: not privileged, or others could have written the records.
        """
        self._make_directory()
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BusyError(
                "another realserver command is changing this host",
                "wait for it to end, and try again",
            ) from None
        finally:
            os.close(descriptor)

    def load(self) -> Record:
        """Return the record; an empty one where nothing was set up since the host was started.

        Raises:
            PermissionDeniedError: not privileged.
            EnvironmentCannotError: the file is not one that setup wrote.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Record()
        except PermissionError:
            raise PermissionDeniedError(
                f"reading {self._path} is not permitted", "run as root (sudo)"
            ) from None
        try:
            document = json.loads(text)
            return Record.from_document(document) if document["boot"] == _boot() else Record()
        except (ValueError, KeyError, TypeError, AttributeError, PydsrError) as error:
            raise EnvironmentCannotError(
                f"{self._path} is not a record of what setup has changed: {error}",
                "delete it, and put back by hand what `ip address` and `sysctl` show",
            ) from None

    def save(self, record: Record) -> None:
        """Replace the record as a whole; one without VIPs is no file.

        Raises:
            EnvironmentCannotError: it cannot be written.
        """
        try:
            if record == Record():
                self._path.unlink(missing_ok=True)
                return
            text = json.dumps({"boot": _boot(), **record.to_document()}, indent=2)
            new = self._path.with_suffix(".new")
            new.write_text(text + "\n", encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            raise EnvironmentCannotError(
                f"{self._path} cannot be written: {error.strerror}",
                "nothing is changed without a record of what was there",
            ) from None

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            found = self._directory.stat()
        except PermissionError:
            raise PermissionDeniedError(
                f"making {self._directory} is not permitted", "run as root (sudo)"
            ) from None
        except OSError as error:
            raise EnvironmentCannotError(
                f"{self._directory} cannot be made: {error.strerror}",
                "name another place with --record-directory",
            ) from None
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionDeniedError(
                f"others than you may write {self._directory}",
                f"see what is in it, then: chown root: {self._directory}; "
                f"chmod 700 {self._directory}",
            )


def _namespace() -> str:
    """Return what tells this network namespace from all others until a reboot."""
    with socket.socket(socket.AF_UNIX) as any_socket:
        try:
            cookie = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:  # before Linux 5.14
            return f"inode-{Path('/proc/thread-self/ns/net').stat().st_ino}"
    return f"cookie-{int.from_bytes(cookie, sys.byteorder)}"


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
