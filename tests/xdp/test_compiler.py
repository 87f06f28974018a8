"""Compiling in a child process gives the same program as compiling in this one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pydsr.kernel.bpf import program
from pydsr.model.errors import InternalError


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a flag that is set by a test reset after it."""
    monkeypatch.setattr(program, "_is_apart", False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two functions of XDP in a file."""
    path = tmp_path / "two.c"
    path.write_text(
        "int one(struct xdp_md *context) { return NUMBER; }\n"
        "int two(struct xdp_md *context) { return context->data_end > context->data; }\n"
    )
    return path


@pytest.mark.usefixtures("apart")
def test_what_is_compiled_apart_is_the_same(source: Path) -> None:
    here = program.compile_source(source, ["-DNUMBER=2"])
    program.compile_apart()
    assert here == program.compile_source(source, ["-DNUMBER=2"])
    assert {"one", "two"} == here.keys()
    with program.load_function(here, "two") as loaded:
        assert loaded.number > 0


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("is_apart", [False, True])
def test_what_does_not_compile_is_said(
    source: Path, is_apart: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if is_apart:
        program.compile_apart()
    with pytest.raises(InternalError, match=r"two\.c does not compile"):
        program.compile_source(source, ["-DNUMBER=unknown"])
    assert "unknown" in capfd.readouterr().err


def test_a_function_that_is_not_there_is_said(source: Path) -> None:
    compiled = program.compile_source(source, ["-DNUMBER=2"])
    with pytest.raises(InternalError, match="no function three"):
        program.load_function(compiled, "three")


def test_what_killed_compilers_left_goes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, in_use, other = (tmp_path / name for name in ("pydsr-headers-1", "pydsr-headers-2", "x"))
    for folder in (left, in_use, other):
        (folder / "include").mkdir(parents=True)
    for folder in (left, other):
        os.utime(folder, (0, 0))
    program.compile_source(source, ["-DNUMBER=2"])
    assert {in_use, other, source} == {*tmp_path.iterdir()}
