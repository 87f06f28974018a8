"""Imports point down: docs/architecture.md in a form that can fail.

Imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import pydsr

_ROOT = Path(pydsr.__file__).parent

LAYERS = (
    {"cli"},
    {"daemon", "lab"},
    {"http"},
    {"views", "doctor"},
    {"health", "config", "control"},
    {"captures", "kernel", "realserver"},
    {"hashing"},
    {"model"},
)
"""Packages from top to bottom. A package imports only those of layers below its own."""

PURE = {
    "pydsr.captures",
    "pydsr.control.edits",
    "pydsr.daemon.netlink_decisions",
    "pydsr.hashing",
    "pydsr.health.check_health",
    "pydsr.health.diagnosis",
    "pydsr.health.passive",
    "pydsr.health.service_health",
    "pydsr.health.steering_plan",
    "pydsr.health.targets",
    "pydsr.model",
}
"""Packages and modules without subprocesses, clocks or event loops. They import only each other."""

IMPURE_MODULES = {"asyncio", "fcntl", "mmap", "select", "selectors", "subprocess", "time"}

BELONGS_TO = {
    "aiohttp": {"pydsr.http"},
    "bcc": {"pydsr.kernel.bpf"},
    "click": {"pydsr.cli"},
    "dns": {"pydsr.health.probes", "pydsr.model.check_values"},
    "dpkt": {"pydsr.health.ping", "pydsr.kernel.net", "pydsr.views.text"},
    "httptools": {"pydsr.health.probes"},
    "prometheus_client": {"pydsr.http.metrics"},
    "pydantic": {"pydsr.config", "pydsr.model", "pydsr.views.json"},
    "pydantic_core": {"pydsr.config", "pydsr.model"},
    "pyroute2": {"pydsr.kernel.net", "pydsr.lab"},
    "rich": {"pydsr.cli", "pydsr.lab", "pydsr.views"},
    "typing_extensions": {"pydsr.views.json"},
    "yaml": {"pydsr.config"},
}
"""The packages that may import a third party's; there are no others."""


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(_ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(_ROOT.rglob("*.py"))}


def imports_in(source: str) -> set[str]:
    """Return what a source imports, modules of pydsr by their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return found


@cache
def imports_of(module: str) -> set[str]:
    """Return what a module of pydsr imports."""
    return imports_in(MODULES[module].read_text(encoding="utf-8"))


def package_of(module: str) -> str:
    """Return the name at the top of ``pydsr/`` that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def layer_of(package: str) -> int:
    """Return the number of a package's layer, from the top."""
    return next(number for number, layer in enumerate(LAYERS) if package in layer)


def is_within(module: str, packages: set[str]) -> bool:
    """Return whether a module is one of the packages or in one of them."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def test_every_form_of_import_is_seen() -> None:
    source = """
import os.path as path
from pydsr.hashing import maglev
from pydsr import __version__
from pydsr.model.service import Backend
if TYPE_CHECKING:
    from pydsr.cli import main
def late():
    import bcc
"""
    expected = {
        "os.path",
        "pydsr",
        "pydsr.hashing.maglev",
        "pydsr.model.service",
        "pydsr.cli.main",
        "bcc",
    }
    assert expected == imports_in(source)


def test_the_package_has_at_most_15_names_at_its_top() -> None:
    names = {path.name for path in _ROOT.iterdir()} - {"__init__.py", "__main__.py", "__pycache__"}
    assert len(names - {"py.typed"}) <= 15
    assert {name for layer in LAYERS for name in layer} == names - {"py.typed"}


@pytest.mark.parametrize("module", [name for name in MODULES if package_of(name)])
def test_imports_point_down(module: str) -> None:
    package = package_of(module)
    if package == "__main__":
        return
    for imported in imports_of(module):
        other = package_of(imported) if imported.startswith("pydsr.") else ""
        if other and other != package:
            assert layer_of(package) < layer_of(other), f"{module} imports {imported}"


@pytest.mark.parametrize("module", [name for name in MODULES if package_of(name) == "realserver"])
def test_what_runs_on_backends_takes_the_standard_library_alone(module: str) -> None:
    for imported in imports_of(module):
        if is_within(imported, {"pydsr.realserver", "pydsr.model.errors"}) or imported == "pydsr":
            continue
        assert imported.partition(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("module", [name for name in MODULES if is_within(name, PURE)])
def test_a_pure_module_stays_pure(module: str) -> None:
    imported = imports_of(module)
    assert set() == imported & IMPURE_MODULES
    of_pydsr = {name for name in imported if name.startswith("pydsr.")}
    assert set() == {name for name in of_pydsr if not is_within(name, PURE)}


@pytest.mark.parametrize(
    "module", [name for name in MODULES if is_within(name, {"pydsr.views.json"})]
)
def test_documents_are_made_without_input_or_output(module: str) -> None:
    assert set() == imports_of(module) & IMPURE_MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_third_party_is_imported_where_it_belongs(module: str) -> None:
    for imported in imports_of(module):
        package = imported.partition(".")[0]
        if package != "pydsr" and package not in sys.stdlib_module_names:
            assert package in BELONGS_TO, f"{package} is no dependency"
            assert is_within(module, BELONGS_TO[package]), f"{package} has no place here"
