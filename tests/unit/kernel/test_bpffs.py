"""Directories of pins and sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydsr.kernel.bpf.bpffs import make_private
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


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "pins"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            make_private(directory)
