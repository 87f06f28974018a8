"""A plugin of pytest that writes a run's outcome and versions: ``-p tests.support.record``."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import pytest

_COUNTED = ("passed", "failed", "error", "skipped")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file."""
    parser.addoption("--record", type=Path, required=True, help="write the outcome there, as JSON")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the file, once for all workers."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    counts = {name: len(reporter.stats.get(name, ())) for name in _COUNTED}
    text = json.dumps({**versions(), **counts})
    session.config.getoption("record").write_text(f"{text}\n", encoding="utf-8")


def versions() -> dict[str, Any]:
    """Return the date and what the tests run on; bcc and LLVM are None where bcc is not there."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "kernel": kernel_version(platform.release(), platform.version()),
        "bcc": importlib.metadata.version("bcc") if importlib.util.find_spec("bcc") else None,
        "llvm": _llvm_version() if importlib.util.find_spec("bcc") else None,
        "python": platform.python_version(),
    }


def kernel_version(release: str, version: str) -> str:
    """Return Debian's version of its kernel, whose release lacks the last number; or the release.

    Args:
        release: as ``uname --kernel-release`` prints it.
        version: as ``uname --kernel-version`` prints it.
    """
    found = re.search(r"Debian (\S+)", version)
    return found[1] if found else release


def _llvm_version() -> str | None:
    """Return the version in the name of the library that bcc has loaded."""
    importlib.import_module("bcc")
    found = re.search(r"/libLLVM[-.](?:so\.)?([\d.]*\d)", Path("/proc/self/maps").read_text())
    return found[1] if found else None
