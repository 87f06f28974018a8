"""What all tests share: who may run them, and what a skip means."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

_TESTS = Path(__file__).parent
_ROOT_TIERS = ("xdp", "netns", "e2e")
_NEEDS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="loading programs and making namespaces takes root"
)

settings.register_profile("pydsr", deadline=None, database=None, print_blob=True)
settings.load_profile("pydsr")


def skips_are_failures() -> bool:
    """Return whether every test has to run: in CI, or where PYDSR_NO_SKIPS says so."""
    wanted = os.environ.get("PYDSR_NO_SKIPS", os.environ.get("CI", ""))
    return wanted.lower() not in ("", "0", "false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tiers that need root where there is none."""
    for item in items:
        if item.path.relative_to(_TESTS).parts[0] in _ROOT_TIERS:
            item.add_marker(_NEEDS_ROOT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where every test has to run."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and skips_are_failures():
        report.outcome = "failed"
        report.longrepr = f"{_reason(report)}; skips are failures here"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same with a module that skips as a whole."""
    report = yield
    if report.skipped and skips_are_failures():
        report.outcome = "failed"
        report.longrepr = f"{_reason(report)}; skips are failures here"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return what a skipped report gives as its reason."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
