"""Benchmarks that no other test starts run to their end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pydsr.kernel.bpf.python_process import environment

RUNS = {
    "bench.control": ("--rounds", "1", "--services", "2", "--backends", "2"),
    "bench.steps": ("--rounds", "1", "--repeat", "10"),
}


@pytest.mark.parametrize(("module", "arguments"), list(RUNS.items()), ids=list(RUNS))
def test_a_benchmark_shows_its_table(module: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "┏" in done.stdout
