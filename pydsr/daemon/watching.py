"""When a file is to be loaded again: what can be seen of it, and when that has settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.5
"""How often the file is looked at. Asking costs a microsecond, and sees what inotify does not:
the file behind a chain of links (as Kubernetes mounts it), or on another machine (NFS)."""


@dataclass(frozen=True)
class Stamp:
    """What tells one content of a file from another, without reading it."""

    device: int
    inode: int
    modified: int
    size: int


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file; None where it is not there, or cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


class Settling:
    """Decides from one look to the next whether a file is to be loaded again. Pure.

    A change counts when two looks in a row see the same, so that a file is not read while an
    editor writes it, and when there is a file: some editors take it away for a moment.

    Args:
        loaded: the stamp of what was loaded.
    """

    def __init__(self, loaded: Stamp | None) -> None:
        self._loaded = loaded
        self._last = loaded

    def look(self, now: Stamp | None) -> bool:
        """Return whether what is seen now is to be loaded; it counts as loaded then."""
        has_settled = now == self._last
        self._last = now
        if now is None or not has_settled or now == self._loaded:
            return False
        self._loaded = now
        return True


async def watch(path: Path, loaded: Stamp | None, changed: Callable[[], None]) -> None:
    """Call something whenever a file has changed; never returns."""
    settling = Settling(loaded)
    while True:
        if settling.look(stamp_of(path)):
            changed()
        await asyncio.sleep(POLL_SECONDS)
