"""Directories of pins and sockets, and what the kernel refuses to make there."""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import c_uint32
from pathlib import Path
from types import SimpleNamespace

import pytest

from pydsr.hashing.table import empty_table
from pydsr.kernel.bpf import bpffs, libbpf
from pydsr.kernel.bpf.bpffs import make_private
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.live_state import create_pins
from pydsr.kernel.bpf.lock import locked
from pydsr.kernel.bpf.settings import Settings
from pydsr.kernel.bpf.tables import TableWriter
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError, PydsrError
from tests.support.other_user import give_away
from tests.support.umask import each_umask, mode_of, under_umask


@each_umask
def test_a_directory_is_for_its_owner_and_its_parents_are_not_for_others_to_write(
    tmp_path: Path, umask: int
) -> None:
    directory = tmp_path / "a" / "b" / "pins"
    with under_umask(umask):
        make_private(directory)
    assert 0o700 == mode_of(directory)
    assert [0o755 & ~umask] * 2 == [mode_of(parent) for parent in (*directory.parents,)[:2]]


def test_a_directory_that_exists_keeps_what_it_has(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    (tmp_path / "file").touch()
    make_private(tmp_path)
    assert 0o750 == mode_of(tmp_path)
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("mode", [0o755, 0o702, 0o1777])
def test_a_directory_that_another_user_made_first_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Its owner could swap the pins or sockets in it, or hold its lock."""
    directory = tmp_path / "pins"
    directory.mkdir()
    directory.chmod(mode)
    if mode & 0o1002 != 0o002:
        make_private(directory)
        give_away(directory, monkeypatch)
    with pytest.raises(PermissionDeniedError, match="others than you can replace") as raised:
        make_private(directory)
    assert f"chown root: {directory}" in raised.value.hint
    with pytest.raises(PermissionDeniedError, match="others than you"), locked(directory):
        pass


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "pins"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            make_private(directory)


# -- what the kernel refuses


class Mounting:
    """A C library whose mount() fails with an errno, or succeeds for 0."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.mounted: list[tuple[object, ...]] = []

    def mount(self, *arguments: object) -> int:
        """Note what is mounted where."""
        self.mounted.append(arguments)
        ctypes.set_errno(self.number)
        return -1 if self.number else 0


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Mounting:
    """A host without a BPF file system, and the mount() that it has."""
    mounting = Mounting(request.param)
    monkeypatch.setattr(bpffs, "_file_system", lambda _: "bpf" if mounting.mounted else "sysfs")
    monkeypatch.setattr("pydsr.kernel.bpf.bpffs.ctypes.CDLL", lambda *_, **__: mounting)
    return mounting


@pytest.mark.parametrize("libc", [0], indirect=True)
def test_a_missing_bpf_file_system_is_mounted_for_root_alone(
    monkeypatch: pytest.MonkeyPatch, libc: Mounting
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(bpffs, "make_private", made.append)
    directory = bpffs.STANDARD_MOUNT / "pins"
    bpffs.prepare_directory(directory)
    assert [(b"bpf", b"/sys/fs/bpf", b"bpf", 0, b"mode=0700")] == libc.mounted
    assert [directory, directory / "links"] == made


@pytest.mark.parametrize(
    ("libc", "error", "hint"),
    [
        (errno.EPERM, PermissionDeniedError, "run as root"),
        (errno.ENODEV, EnvironmentCannotError, "CONFIG_BPF_SYSCALL"),
    ],
    indirect=["libc"],
)
@pytest.mark.usefixtures("libc")
def test_a_bpf_file_system_that_cannot_be_mounted_is_said_so(
    error: type[PydsrError], hint: str
) -> None:
    with pytest.raises(error, match="/sys/fs/bpf") as raised:
        bpffs.prepare_directory(bpffs.STANDARD_MOUNT / "pins")
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("number", "error", "hint"),
    [
        (errno.EACCES, PermissionDeniedError, "run as root"),
        (errno.EROFS, EnvironmentCannotError, "findmnt --target /sys/fs/bpf/pins"),
    ],
)
def test_a_directory_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[PydsrError], hint: str
) -> None:
    def fail(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(bpffs, "_file_system", lambda _: "bpf")
    monkeypatch.setattr(bpffs, "make_private", fail)
    with pytest.raises(error, match="/sys/fs/bpf/pins") as raised:
        bpffs.prepare_directory(bpffs.STANDARD_MOUNT / "pins")
    assert hint in raised.value.hint


def test_the_file_system_of_a_path_is_that_of_the_deepest_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The later of two at one place, and a space in a name is written as an octal number."""
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "root / ext4 rw 0 0\n"
        "bpf /sys/fs/bpf tmpfs rw 0 0\n"
        "bpf /sys/fs/bpf bpf rw 0 0\n"
        "sysfs /sys sysfs rw 0 0\n"
        "x /a\\040b xfs rw 0 0\n"
    )
    monkeypatch.setattr(bpffs, "_MOUNTS", mounts)
    kinds = {
        "/home": "ext4",
        "/sys/fs": "sysfs",
        "/sys/fs/bpf": "bpf",
        "/sys/fs/bpf/pydsr/links": "bpf",
        "/sys/fs/bpfs": "sysfs",
        "/a b/c": "xfs",
    }
    assert kinds == {path: bpffs._file_system(Path(path)) for path in kinds}


# -- maps that the kernel does not create


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.EPERM, PermissionDeniedError, "is not permitted"),
        (errno.EINVAL, EnvironmentCannotError, "cannot create the balancer's maps: Invalid"),
        (errno.ENOMEM, EnvironmentCannotError, "out of memory for maps"),
    ],
)
def test_maps_that_cannot_be_created_are_said_so(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    error: type[PydsrError],
    words: str,
) -> None:
    library = SimpleNamespace(bpf_map_create=lambda *_: -number)
    monkeypatch.setattr(libbpf, "_library", lambda: library)
    with pytest.raises(error, match=words):
        create_pins(tmp_path, Settings(251, 1))
    assert [] == [*tmp_path.iterdir()]


@pytest.mark.parametrize("number", [524, errno.EINVAL], ids=["no batches", "another error"])
def test_tables_are_replaced_one_by_one_where_the_kernel_has_no_batch(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Before Linux 5.19; any other error is raised, and no map stays open."""
    written: list[tuple[int, int]] = []

    def update(_: Descriptor, key: c_uint32, value: c_uint32) -> None:
        written.append((key.value, value.value))

    def batch(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(libbpf, "map_update_batch", batch)
    monkeypatch.setattr(libbpf, "map_update", update)
    maps = [Descriptor(os.open(os.devnull, os.O_RDONLY)) for _ in range(2)]
    numbers = [fd.number for fd in maps]
    made = iter(maps)
    with TableWriter(Descriptor(-1), lambda _: next(made)) as writer:
        writer.write(7, empty_table(251))
        writer.write(9, empty_table(251))
        if number == 524:
            writer.flush()
            assert [(7, numbers[0]), (9, numbers[1])] == written
        else:
            with pytest.raises(OSError, match="refused"):
                writer.flush()
    assert [-1, -1] == [fd.number for fd in maps]
