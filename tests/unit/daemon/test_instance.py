"""The runtime directory with its modes, and the lock of the only daemon."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pydsr.daemon import instance
from pydsr.daemon.instance import Instance, prepare_runtime
from pydsr.kernel.bpf import bpffs
from pydsr.model.errors import BusyError, InputError, NotAttachedError, PermissionDeniedError


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_root_may_enter_the_runtime_directory(tmp_path: Path, umask: int) -> None:
    """Nor replace it, whatever the umask is. One that exists, as systemd makes it, stays as is."""
    existing, new = tmp_path / "existing", tmp_path / "some" / "new"
    existing.mkdir()
    existing.chmod(0o755)
    before = os.umask(umask)
    try:
        prepare_runtime(existing)
        prepare_runtime(new)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o7777 for path in (existing, new, new.parent)]
    assert [0o755, 0o700, 0o755 & ~umask] == modes


def test_a_directory_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot create .*/file/run: Not a directory"):
        prepare_runtime(tmp_path / "file" / "run")
    with pytest.raises(InputError, match=r"cannot create .*/file: File exists") as raised:
        prepare_runtime(tmp_path / "file")
    assert "--runtime-directory" in raised.value.hint

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionDeniedError, match="no permission to create /run/none"):
        prepare_runtime(Path("/run/none"))


# The lock


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for pins that is not there yet, on an ordinary file system."""

    def prepare(directory: Path) -> None:
        (directory / "links").mkdir(parents=True, exist_ok=True)

    def remove(directory: Path) -> None:
        shutil.rmtree(directory)

    monkeypatch.setattr(bpffs, "prepare_directory", prepare)
    monkeypatch.setattr(instance, "remove_unused_directory", remove)
    return tmp_path / "pydsr"


def test_one_daemon_runs_for_a_directory(pins: Path) -> None:
    """Another takes over when it ends."""
    first, second = Instance(pins), Instance(pins)
    first.acquire()
    first.acquire()
    with pytest.raises(BusyError, match="another pydsr daemon runs for"):
        second.acquire()
    (pins / "settings").write_text("")
    first.close()
    second.acquire()
    second.close()


def test_after_a_purge_the_lock_is_taken_again(pins: Path) -> None:
    """Another daemon that has come first keeps it."""
    first, second = Instance(pins), Instance(pins)
    first.acquire()
    shutil.rmtree(pins)
    first.acquire()
    with pytest.raises(BusyError):
        second.acquire()
    shutil.rmtree(pins)
    second.acquire()
    with pytest.raises(BusyError):
        first.acquire()
    (pins / "settings").write_text("")
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("was_there", "has_state", "is_left"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, True)],
)
def test_an_unused_directory_is_removed_by_whoever_made_it(
    pins: Path, was_there: bool, has_state: bool, is_left: bool
) -> None:
    if was_there:
        pins.mkdir()
    made = Instance(pins)
    made.acquire()
    if has_state:
        (pins / "settings").write_text("")
    made.close()
    assert is_left == pins.exists()


@pytest.mark.parametrize("error", [BusyError("another command"), NotAttachedError("gone")])
def test_a_directory_that_is_used_or_gone_is_left_to_others(
    pins: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(_: Path) -> None:
        raise error

    monkeypatch.setattr(instance, "remove_unused_directory", refuse)
    made = Instance(pins)
    made.acquire()
    made.close()
    Instance(pins).acquire()


def test_a_directory_that_may_not_be_opened_is_named(
    pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    made = Instance(pins)
    bpffs.prepare_directory(pins)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDeniedError, match="is not permitted"):
        made.acquire()
    monkeypatch.undo()
    made.close()
