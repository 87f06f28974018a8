"""The lock on a directory of pins, which may be no directory, or soon another one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from pydsr.control.attached_interfaces import living_links
from pydsr.kernel.bpf.lock import locked
from pydsr.model.errors import BusyError, NotAttachedError


@pytest.mark.parametrize("path", ["nothing", "file", "file/below"])
def test_no_balancer_is_attached_where_there_is_no_directory(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAttachedError), locked(tmp_path / path):
        pass
    with pytest.raises(NotAttachedError):
        living_links(tmp_path / path)


def until_another_waits(directory: Path) -> None:
    """Wait until a second thread has opened the directory, which it does to lock it."""
    deadline = time.monotonic() + 60
    while _times_opened(directory) < 2:
        assert time.monotonic() < deadline, "nobody waits"


def _times_opened(directory: Path) -> int:
    opened = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            opened += file.readlink() == directory
    return opened


def test_the_lock_is_on_the_directory_that_is_there_at_last(tmp_path: Path) -> None:
    """A command waited while another purged the balancer and a third attached it anew."""
    directory = tmp_path / "pins"
    directory.mkdir()

    def wait() -> None:
        with locked(directory), pytest.raises(BusyError), locked(directory, seconds=0):
            pass

    with ThreadPoolExecutor() as threads:
        with locked(directory):
            waiting = threads.submit(wait)
            until_another_waits(directory)
            directory.rename(tmp_path / "purged")
            directory.mkdir()
        waiting.result()


def test_the_lock_of_a_balancer_purged_meanwhile_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "pins"
    directory.mkdir()

    def wait() -> None:
        with pytest.raises(NotAttachedError), locked(directory):
            pass

    with ThreadPoolExecutor() as threads:
        with locked(directory):
            waiting = threads.submit(wait)
            until_another_waits(directory)
            directory.rmdir()
        waiting.result()
