"""Compiled programs on disk, so that a program is compiled once for all balancers of this machine.

An entry is a file named by its key, the hash of everything that is known before a compilation and
decides its result. In the entry are the files that the compiler read, and what they were like. The
directory and its files are used only if nobody but this user can write to them. Whatever is wrong
with an entry or the directory, the caller compiles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(__name__)

STANDARD_DIRECTORY = Path("/var/cache/pydsr")
VARIABLE = "PYDSR_CACHE_DIRECTORY"

ENTRIES_MAX = 64
"""More than the combinations of features that a machine uses; some 5 MB."""

_ENTRY_BYTES_MAX = 1 << 22
_DIGEST_CHARACTERS = hashlib.sha256().digest_size * 2
_TEMPORARY = ".new"
_TEMPORARY_SECONDS = 3600.0
"""The age at which a temporary file belongs to a process that was killed."""

_RECENT_NS = 100_000_000
"""A file system's clock is behind the system's by one tick, at most 10 ms."""

Compiled = Mapping[str, bytes]
"""The instructions of each function of a source."""

Identity = tuple[str, int, int, int]
"""A file's path, size, and times of the last change of its content and of its inode in ns."""


def directory() -> Path:
    """Return the directory of the cache."""
    return Path(os.environ.get(VARIABLE) or STANDARD_DIRECTORY)


def identify(path: str) -> Identity:
    """Return what changes if a file is written to or replaced."""
    status = Path(path).stat()
    return path, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read(key: str) -> Compiled | None:
    """Return the program of a key; None if the cache has none that can be trusted."""
    try:
        with _opened_directory() as folder:
            compiled = _parse(_read_file(folder, key), key)
            with suppress(OSError):
                # The oldest entries are removed first.
                os.utime(key, dir_fd=folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _log.debug("the cached program %s is not used: %s", key, error)
        return None
    return compiled


def write(key: str, compiled: Compiled, files: Iterable[str], since_ns: int) -> None:
    """Store a program; without a usable directory or enough space, do nothing.

    Args:
        key: names the entry.
        compiled: the program.
        files: the files that the compiler read, itself included.
        since_ns: when the compilation started; a file that changed later may have been read before.
    """
    try:
        identities = [identify(path) for path in sorted(files)]
        if any(changed >= since_ns - _RECENT_NS for *_, changed in identities):
            raise ValueError("a file changed while it was compiled")
        content = json.dumps(
            {
                "key": key,
                "files": identities,
                "functions": {name: octets.hex() for name, octets in compiled.items()},
            }
        ).encode()
        with suppress(FileExistsError):
            directory().mkdir(mode=0o700)
        with _opened_directory() as folder:
            _write_file(folder, key, hashlib.sha256(content).hexdigest().encode() + content)
            _prune(folder)
    except (OSError, ValueError) as error:
        _log.debug("the compiled program is not cached in %s: %s", directory(), error)


@contextmanager
def _opened_directory() -> Iterator[int]:
    """Open the directory if nobody else can write to it or replace it.

    Raises:
        OSError: it does not exist, or is a symbolic link.
        ValueError: somebody else can write to it or to a directory above it.
    """
    path = directory()
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check_writers(path, os.fstat(folder))
        check_above(path)
        yield folder
    finally:
        os.close(folder)


def check_above(path: Path) -> None:
    """Refuse a path that a user other than this one and root can lead elsewhere.

    Raises:
        OSError: a directory above it is not there.
        ValueError: somebody else can.
    """
    for above in path.resolve().parents:
        _check_writers(above, above.stat(), sticky=True)


def _check_writers(path: object, status: os.stat_result, sticky: bool = False) -> None:
    """Refuse a file that a user other than this one and root can write to.

    Args:
        path: the file, for the message.
        status: its status.
        sticky: accept a directory like /tmp, where only its owner can replace a file.

    Raises:
        ValueError: somebody else can.
    """
    if status.st_uid not in (0, os.geteuid()):
        raise ValueError(f"{path} belongs to user {status.st_uid}")
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if shared and not (sticky and status.st_mode & stat.S_ISVTX):
        raise ValueError(f"others can write to {path}")


def _opener(folder: int) -> Callable[[str, int], int]:
    """Return an opener of files in the directory; it does not follow links, or wait for a FIFO."""
    further = os.O_NOFOLLOW | os.O_NONBLOCK
    return lambda name, flags: os.open(name, flags | further, 0o600, dir_fd=folder)


def _read_file(folder: int, name: str) -> bytes:
    with open(name, "rb", opener=_opener(folder)) as file:
        _check_writers(name, os.fstat(file.fileno()))
        return file.read(_ENTRY_BYTES_MAX)


def _parse(stored: bytes, key: str) -> Compiled:
    """Return the program of an entry.

    Raises:
        OSError: a file that the compiler read is gone.
        ValueError: the entry is damaged, belongs to another key, or such a file has changed.
    """
    digest, content = stored[:_DIGEST_CHARACTERS], stored[_DIGEST_CHARACTERS:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("it is damaged")
    entry = json.loads(content)
    if entry["key"] != key:
        raise ValueError("it belongs to another key")
    for identity in entry["files"]:
        if list(identify(identity[0])) != identity:
            raise ValueError(f"{identity[0]} has changed")
    return {name: bytes.fromhex(octets) for name, octets in entry["functions"].items()}


def _write_file(folder: int, name: str, content: bytes) -> None:
    """Create or replace a file in one step."""
    temporary = f"{name}.{os.getpid()}.{time.monotonic_ns()}{_TEMPORARY}"
    try:
        with open(temporary, "xb", opener=_opener(folder)) as file:
            file.write(content)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _prune(folder: int) -> None:
    """Remove the oldest entries, and temporary files of processes that were killed."""
    entries = []
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            modified = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            if not name.endswith(_TEMPORARY):
                entries.append((modified, name))
            elif time.time() - modified > _TEMPORARY_SECONDS:
                os.unlink(name, dir_fd=folder)
    for _, name in sorted(entries, reverse=True)[ENTRIES_MAX:]:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
