"""What all tests share: who may run them, and what a skip means."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer

from tests.support.clean_root import CleanRoot, kept_system, made_root
from tests.support.distribution import Scheduler, distribute
from tests.support.examples import register_profiles
from tests.support.shared_by_workers import RUN, remove_run

_TESTS = Path(__file__).parent
_ROOT_TIERS = ("xdp", "netns", "e2e")
_NEEDS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="loading programs and making namespaces takes root"
)

_FROM_THE_NETWORK = {"clean_system", "debian_package"}
_MAKING_IT = pytest.mark.timeout(900)
"""For tests with a clean system or a package: the first of them has to make it."""

register_profiles()

# A pydsr daemon or balancer of this machine must not meet the tests: commands that name no
# directories use these, which do not exist.
os.environ["PYDSR_RUNTIME_DIRECTORY"] = f"/run/pydsr-test-{os.getpid()}-absent"
os.environ["PYDSR_BPFFS"] = f"/sys/fs/bpf/pydsr-test-{os.getpid()}-absent"

# All tests of a run share compiled programs.
os.environ.setdefault("PYDSR_CACHE_DIRECTORY", str(RUN / "programs"))

for _number in (signal.SIGINT, signal.SIGHUP):
    # In the background of a script they are ignored, as they would be by every command of a test.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)


def skips_are_failures() -> bool:
    """Return whether every test has to run: in CI, or where PYDSR_NO_SKIPS says so."""
    wanted = os.environ.get("PYDSR_NO_SKIPS", os.environ.get("CI", ""))
    return wanted.lower() not in ("", "0", "false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tiers that need root where there is none; distribute tests over workers."""
    distribute(items)
    for item in items:
        if item.path.relative_to(_TESTS).parts[0] in _ROOT_TIERS:
            item.add_marker(_NEEDS_ROOT)
        if _FROM_THE_NETWORK.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(_MAKING_IT)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler:
    """Distribute tests as ``tests/support/distribution.py`` says, whatever ``--dist`` says."""
    config.option.loadscopereorder = False
    return Scheduler(config, log)


def pytest_unconfigure() -> None:
    """Remove what the workers have shared."""
    remove_run()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name, in place of pytest's: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="pydsr-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def clean_system() -> Iterator[Path]:
    """A system of this machine's release with nothing of ours in it, to be copied only."""
    with kept_system() as directory:
        yield directory


@pytest.fixture
def clean_root(clean_system: Path) -> Iterator[CleanRoot]:
    """A copy of the clean system for one test, without a network."""
    with made_root(clean_system) as root:
        yield root


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
