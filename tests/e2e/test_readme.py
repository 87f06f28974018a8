"""The quickstart of the README does what it says."""

from __future__ import annotations

import os
import re
import shlex
import sys

import pytest

from pydsr.lab.lab import Lab
from tests.support.paths import CHECKOUT

README = CHECKOUT / "README.md"


def quickstart() -> list[list[str]]:
    """Return the commands between the README's marks."""
    block = re.search(
        r"<!-- quickstart:begin -->\n(.*)<!-- quickstart:end -->", README.read_text("utf-8"), re.S
    )
    assert block is not None
    return [shlex.split(line) for line in block[1].splitlines() if line.strip()]


@pytest.fixture
def lab() -> Lab:
    """Return a lab whose backends serve, but which nothing balances yet."""
    return Lab(f"readme-{os.getpid()}", backends=3)


def test_the_quickstart_of_the_readme_works_as_written(lab: Lab) -> None:
    with lab:
        lab.serve()
        for program, *arguments in quickstart():
            assert program == "pydsr"
            command = [sys.executable, "-m", "pydsr", "--bpffs", str(lab.bpffs), *arguments]
            done = lab.run("lb", command)
            assert done.returncode == 0, done.stderr
        answer = lab.run("client1", ["curl", "--silent", "--max-time", "30", "http://10.77.0.80/"])
        assert answer.stdout.strip() in ("backend1", "backend2")
