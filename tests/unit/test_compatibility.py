"""Runs on other systems: their records become a table, and the workflow has all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from docs.compatibility import DOCUMENT, PYTHONS, SYSTEMS, with_results
from tests.support.paths import CHECKOUT
from tests.support.record import kernel_version

TRIXIE = {
    "date": "2026-11-29",
    "kernel": "6.12.117-1",
    "bcc": "0.31.0",
    "llvm": "19.1",
    "python": "3.13.5",
    "passed": 7,
    "failed": 1,
    "error": 2,
    "skipped": 3,
}
EMPTY = (
    "<!-- systems:begin -->\n<!-- systems:end -->\n<!-- pythons:begin -->\n<!-- pythons:end -->\n"
)


def test_a_row_has_versions_and_what_did_not_pass_as_failed() -> None:
    lines = with_results(EMPTY, {"trixie": TRIXIE}).splitlines()
    assert "| Debian 12 | not run |  |  |  |  |  |  |" in lines
    assert "| Debian 13 | 6.12.117-1 | 0.31.0 | 19.1 | 3.13.5 | 7 | 6 | 2026-11-29 |" in lines


def test_rows_of_other_runs_stay() -> None:
    first = with_results(EMPTY, {"trixie": TRIXIE})
    second = with_results(first, {"python-3.12": {**TRIXIE, "python": "3.12.1"}})
    assert "| Debian 13 | 6.12.117-1 |" in second
    assert "| Python 3.12 | 3.12.1 | 7 | 6 | 2026-11-29 |" in second
    assert second == with_results(second, {})


def test_the_page_has_a_row_for_every_run() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_results(text, {})


def test_the_version_of_a_kernel_is_the_packages() -> None:
    version = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-3 (2026-11-26)"
    assert "6.1.192-3" == kernel_version("6.1.0-57-cloud-amd64", version)
    assert "6.18.44" == kernel_version("6.18.44", "#1 SMP PREEMPT_DYNAMIC")


def test_a_run_is_recorded(tmp_path: Path) -> None:
    """Failures, errors and skips are counted apart; workers write nothing of their own."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): pass\n"
        "def test_c(): assert 0\n"
        "def test_d(): pytest.skip()\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_e(broken): pass\n"
    )
    record = tmp_path / "record"
    pytest = (sys.executable, "-m", "pytest", "-p", "tests.support.record", "--record", str(record))
    subprocess.run(
        [*pytest, "--numprocesses=1", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=CHECKOUT,
        # This test may be in a worker, and that run is in none.
        env={name: value for name, value in os.environ.items() if "XDIST" not in name},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    document = json.loads(record.read_text())
    assert (2, 1, 1, 1) == tuple(document[key] for key in ("passed", "failed", "error", "skipped"))
    assert sys.version.split()[0] == document["python"]


def test_the_workflow_runs_everything_that_the_page_has() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    versions = jobs["python"]["strategy"]["matrix"]["version"]
    assert [*SYSTEMS] == jobs["vm"]["strategy"]["matrix"]["system"]
    assert [*PYTHONS] == [f"python-{version}" for version in versions]
