"""The record of setup's changes, from which undo restores exactly these.

It is written before the first change, and removed after the last one is undone. It is below /run,
because sysctls and addresses do not survive a reboot either. Each network namespace has its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydsr.model.errors import BusyError, EnvironmentCannotError, PermissionDeniedError, PydsrError
from pydsr.realserver.values import Address, Assigned, Setting

DIRECTORY = Path("/run/pydsr-realserver")

_SO_NETNS_COOKIE = 71
"""asm-generic/socket.h: a number that no other network namespace gets before a reboot."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Change:
    """A sysctl's value before setup, and the value that setup set."""

    before: int
    set: int


@dataclass(frozen=True)
class Record:
    """The changes of setup that undo has not undone.

    Attributes:
        vips: the VIPs that were set up, whether or not something was changed.
        settings: the sysctls that were changed.
        addresses: the addresses that were added, with their device, including the one that the
            kernel adds to a loopback that is brought up.
        created: the devices that were created.
        raised: the devices that were brought up.
    """

    vips: tuple[Address, ...] = ()
    settings: Mapping[Setting, Change] = field(default_factory=dict)
    addresses: Mapping[Assigned, str] = field(default_factory=dict)
    created: tuple[str, ...] = ()
    raised: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "vips": [str(vip) for vip in self.vips],
            "settings": {
                setting.path: {"found": change.before, "set": change.set}
                for setting, change in self.settings.items()
            },
            "addresses": {str(each): device for each, device in self.addresses.items()},
            "created": list(self.created),
            "raised": list(self.raised),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Record:
        """Parse the result of ``to_document``."""
        return cls(
            tuple(ip_address(vip) for vip in document["vips"]),
            {
                Setting.parse(path): Change(int(change["found"]), int(change["set"]))
                for path, change in document["settings"].items()
            },
            {Assigned.parse(text): str(device) for text, device in document["addresses"].items()},
            tuple(str(device) for device in document["created"]),
            tuple(str(device) for device in document["raised"]),
        )


class RecordFile:
    """The file with the record of the calling thread's network namespace, in a directory."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._path = directory / f"{_namespace()}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from changing this host during the block."""
        self._create_directory()
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
        """Return the record; an empty one if nothing was set up since boot."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Record()
        except PermissionError:
            raise PermissionDeniedError(
                f"reading {self._path} is not permitted", "run as root (sudo)"
            ) from None
        except OSError as error:
            raise EnvironmentCannotError(
                f"{self._path} cannot be read: {error.strerror}",
                "choose another directory with --record-directory",
            ) from None
        try:
            document = json.loads(text)
            return Record.from_document(document) if document["boot"] == _boot() else Record()
        except (ValueError, KeyError, TypeError, AttributeError, PydsrError) as error:
            raise EnvironmentCannotError(
                f"{self._path} is not a record of what setup has changed: {error}",
                "delete it, and undo what `ip address` and `sysctl` show",
            ) from None

    def save(self, record: Record) -> None:
        """Replace the record; an empty one deletes the file."""
        try:
            if record == Record():
                self._path.unlink(missing_ok=True)
                return
            text = json.dumps({"boot": _boot(), **record.to_document()}, indent=2)
            new = self._path.with_suffix(".new")
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            new.write_text(text + "\n", encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            raise EnvironmentCannotError(
                f"{self._path} cannot be written: {error.strerror}",
                "setup changes nothing without a record to undo it by",
            ) from None

    def _create_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            status = self._directory.stat()
        except PermissionError:
            raise PermissionDeniedError(
                f"creating {self._directory} is not permitted", "run as root (sudo)"
            ) from None
        except OSError as error:
            raise EnvironmentCannotError(
                f"{self._directory} cannot be created: {error.strerror}",
                "choose another one with --record-directory",
            ) from None
        if os.geteuid() not in (0, status.st_uid):
            raise PermissionDeniedError(
                f"changing {self._directory} is not permitted", "run as root (sudo)"
            )
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionDeniedError(
                f"others than you can write to {self._directory}",
                f"check what is in it, then: chown root: {self._directory}; "
                f"chmod 700 {self._directory}",
            )


def _namespace() -> str:
    """Return a name for this network namespace that no other gets before a reboot."""
    with socket.socket(socket.AF_UNIX) as any_socket:
        try:
            cookie = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:  # before Linux 5.14
            return f"inode-{Path('/proc/thread-self/ns/net').stat().st_ino}"
    return f"cookie-{int.from_bytes(cookie, sys.byteorder)}"


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
