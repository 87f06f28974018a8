"""Packages that are imported part by part."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from pydsr.kernel.net.lazy_pyroute2 import by_parts


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a part, whose own module says so when it is run."""
    folder = tmp_path / "heavy"
    folder.mkdir()
    (folder / "__init__.py").write_text("from heavy.part import made\nran = True\n")
    (folder / "part.py").write_text("made = 'part'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavy"]:
        del sys.modules[name]


@pytest.mark.usefixtures("heavy")
def test_a_part_is_imported_without_the_rest() -> None:
    by_parts("heavy")
    assert import_module("heavy.part").made == "part"
    assert "ran" not in vars(sys.modules["heavy"])


@pytest.mark.usefixtures("heavy")
def test_what_is_no_part_has_the_package_run() -> None:
    by_parts("heavy")
    package = import_module("heavy")
    assert package.part.made == "part"
    assert "ran" not in vars(package)
    assert (package.made, package.ran) == ("part", True)


@pytest.mark.usefixtures("heavy")
def test_what_is_not_there_at_all_is_an_error_as_ever() -> None:
    by_parts("heavy")
    with pytest.raises(AttributeError, match="nothing"):
        _ = import_module("heavy").nothing


def test_a_package_that_is_not_there_is_left_to_its_import() -> None:
    by_parts("no_such_package")
    assert "no_such_package" not in sys.modules


def test_commands_import_little_of_pyroute2() -> None:
    """Its own module imports all of it, which takes longer than the rest of a command."""
    script = (
        "import sys, pydsr.kernel.net.links, pydsr.kernel.net.neighbours\n"
        "sys.stdout.write(' '.join(name for name in sys.modules if name.startswith('pyroute2.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "pyroute2.iproute.linux" in loaded
    assert not {"pyroute2.ndb", "pyroute2.conntrack", "pyroute2.ipdb"} & set(loaded)
