"""Which tests the scheduler keeps together, and in which order it sends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import CHECKOUT

_COLLECT = """
import json, pathlib, sys, pytest

class Collected:
    def pytest_collection_finish(self, session):
        from tests.support.distribution import group_of
        groups = [(item.nodeid, group_of(item)) for item in session.items]
        pathlib.Path(sys.argv[1]).write_text(json.dumps(groups))

pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[2:]], [Collected()])
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The group of each test of some files, in the order of a run."""
    files = (
        *("unit/test_docs.py", "netns/control/test_attach.py", "netns/control/test_tap.py"),
        *("e2e/test_service_unit.py", "e2e/test_metrics.py", "e2e/test_distribution.py"),
    )
    output = tmp_path_factory.mktemp("collected") / "groups.json"
    subprocess.run(
        [sys.executable, "-c", _COLLECT, output, *(f"tests/{file}" for file in files)],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if "XDIST" not in name},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return dict(json.loads(output.read_text()))


def groups(collected: dict[str, str | None], file: str) -> set[str | None]:
    """Return the groups that tests of a file are in."""
    return {group for test, group in collected.items() if test.startswith(f"tests/{file}::")}


@pytest.mark.parametrize("file", ["unit/test_docs.py", "e2e/test_metrics.py"])
def test_short_tests_and_those_that_share_a_lab_stay_together(
    collected: dict[str, str | None], file: str
) -> None:
    assert {file} == groups(collected, file)


@pytest.mark.parametrize(
    "file", ["netns/control/test_attach.py", "e2e/test_service_unit.py", "e2e/test_distribution.py"]
)
def test_tests_with_hosts_of_their_own_or_of_all_workers_are_sent_alone(
    collected: dict[str, str | None], file: str
) -> None:
    assert {None} == groups(collected, file)


def test_a_file_may_have_tests_of_both_kinds(collected: dict[str, str | None]) -> None:
    assert {None, "netns/control/test_tap.py"} == groups(collected, "netns/control/test_tap.py")


def test_one_test_makes_the_package_first_and_short_tests_come_last(
    collected: dict[str, str | None],
) -> None:
    files = [test.partition("::")[0].removeprefix("tests/") for test in collected]
    assert ["e2e/test_service_unit.py", "e2e/test_metrics.py"] == files[:2]
    assert "unit/test_docs.py" == files[-1]
    assert files.index("e2e/test_metrics.py") < files.index("e2e/test_distribution.py")
    assert files.index("netns/control/test_tap.py") < files.index("unit/test_docs.py")
