"""Compiling in a child process gives the same program as compiling in this one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pydsr.kernel.bpf import compiler, program
from pydsr.kernel.bpf.program_cache import Compiled
from pydsr.model.errors import InternalError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two functions of XDP in a file."""
    path = tmp_path / "two.c"
    path.write_text(
        "int one(struct xdp_md *context) { return NUMBER; }\n"
        "int two(struct xdp_md *context) { return context->data_end > context->data; }\n"
    )
    return path


def compile_in_worker(source: Path, definitions: list[str]) -> Compiled:
    """Compile in a worker thread, as the daemon does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(program.compile_source, source, definitions).result()


def test_a_worker_thread_compiles_the_same_in_a_child(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process = program.compile_source(source, ["-DNUMBER=2"])
    monkeypatch.delattr(compiler, "compile_text")
    assert in_this_process == compile_in_worker(source, ["-DNUMBER=2"])
    assert {"one", "two"} == in_this_process.keys()
    with program.load_function(in_this_process, "two") as loaded:
        assert loaded.number > 0


@pytest.mark.parametrize("compile_source", [program.compile_source, compile_in_worker])
def test_what_does_not_compile_is_said(
    source: Path,
    compile_source: Callable[[Path, list[str]], Compiled],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InternalError, match=r"two\.c does not compile"):
        compile_source(source, ["-DNUMBER=unknown"])
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
