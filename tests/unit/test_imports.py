"""Which module may import which: docs/architecture.md in a form that can fail.

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

MAY_IMPORT = {
    "pydsr.errors": set(),
    "pydsr.sources": set(),
    "pydsr.native": set(),
    "pydsr.maglev": {"pydsr.errors", "pydsr.native"},
    "pydsr.reasons": {"pydsr.sources"},
    "pydsr.model": {"pydsr.errors"},
    "pydsr.stats": {"pydsr.errors", "pydsr.model"},
    "pydsr.slots": {"pydsr.maglev", "pydsr.native"},
    "pydsr.table": {"pydsr.errors", "pydsr.maglev", "pydsr.model", "pydsr.slots"},
    "pydsr.changes": set(),
    "pydsr.features": {"pydsr.errors", "pydsr.model"},
    "pydsr.segments": {"pydsr.model"},
    "pydsr.news": {"pydsr.model", "pydsr.segments"},
    "pydsr.interpreter": {"pydsr"},
    "pydsr.serving.sharing": set(),
    "pydsr.metrics.catalogue": set(),
    "pydsr.metrics.panels": set(),
    "pydsr.metrics.dashboard": {"pydsr.metrics.catalogue", "pydsr.metrics.panels"},
    "pydsr.daemon.events": set(),
    "pydsr.daemon.reactions": {"pydsr.model", "pydsr.news", "pydsr.segments"},
    "pydsr.daemon.service_manager": set(),
    "pydsr.daemon.statistics": {"pydsr.daemon.events", "pydsr.health.schedule", "pydsr.model"},
    "pydsr.daemon.watching": set(),
    "pydsr.suitability": {"pydsr.errors", "pydsr.segments"},
    "pydsr.acl": {"pydsr.changes", "pydsr.errors", "pydsr.model"},
    "pydsr.flows": set(),
    "pydsr.tapped": {"pydsr.model"},
    "pydsr.service_index": set(),
    "pydsr.frames": {"pydsr.model"},
    "pydsr.hexdump": {"pydsr.errors"},
    "pydsr.planner": {"pydsr.changes", "pydsr.errors", "pydsr.model", "pydsr.slots", "pydsr.table"},
    "pydsr.configuration": {
        "pydsr.acl",
        "pydsr.changes",
        "pydsr.features",
        "pydsr.health.policy",
        "pydsr.model",
        "pydsr.planner",
    },
    "pydsr.health.agent": {"pydsr.errors", "pydsr.model"},
    "pydsr.health.outcome": {"pydsr.health.agent"},
    "pydsr.health.judgement": set(),
    "pydsr.health.membership": {"pydsr.errors", "pydsr.model"},
    "pydsr.health.policy": {
        "pydsr.health.membership",
        "pydsr.health.models",
        "pydsr.model",
        "pydsr.planner",
    },
    "pydsr.health.standing": {
        "pydsr.configuration",
        "pydsr.health.agent",
        "pydsr.health.membership",
        "pydsr.health.policy",
        "pydsr.model",
        "pydsr.planner",
    },
    "pydsr.health.passive": {"pydsr.model", "pydsr.stats"},
    "pydsr.health.symptoms": {"pydsr.model"},
    "pydsr.health.targets": {"pydsr.health.models", "pydsr.model", "pydsr.segments"},
    "pydsr.health.diagnosis": {
        "pydsr.health.outcome",
        "pydsr.health.symptoms",
        "pydsr.health.targets",
    },
    "pydsr.doctor.kinds": {"pydsr.health.outcome"},
    "pydsr.doctor.findings": {"pydsr.doctor.kinds"},
    "pydsr.doctor.facts": {
        "pydsr.errors",
        "pydsr.health.outcome",
        "pydsr.model",
        "pydsr.segments",
    },
    "pydsr.doctor.drivers": {"pydsr.doctor.facts"},
    "pydsr.doctor.host": {"pydsr.doctor.facts", "pydsr.doctor.findings", "pydsr.doctor.kinds"},
    "pydsr.doctor.native": {
        "pydsr.doctor.drivers",
        "pydsr.doctor.facts",
        "pydsr.doctor.findings",
        "pydsr.doctor.kinds",
    },
    "pydsr.doctor.nic": {
        "pydsr.doctor.drivers",
        "pydsr.doctor.facts",
        "pydsr.doctor.findings",
        "pydsr.doctor.kinds",
        "pydsr.doctor.native",
        "pydsr.segments",
    },
    "pydsr.doctor.network": {
        "pydsr.doctor.facts",
        "pydsr.doctor.findings",
        "pydsr.doctor.kinds",
        "pydsr.model",
    },
    "pydsr.health.steering_plan": {"pydsr.errors", "pydsr.health.targets", "pydsr.model"},
    "pydsr.health.schedule": {
        "pydsr.health.judgement",
        "pydsr.health.outcome",
        "pydsr.health.targets",
        "pydsr.health.waiting",
    },
    "pydsr.health.waiting": set(),
    "pydsr.view.documents": {
        "pydsr.acl",
        "pydsr.features",
        "pydsr.model",
        "pydsr.reasons",
        "pydsr.stats",
        "pydsr.view.document_types",
    },
    "pydsr.web.attention": {"pydsr.model"},
    "pydsr.web.documents": {
        "pydsr.daemon.events",
        "pydsr.errors",
        "pydsr.model",
        "pydsr.reasons",
        "pydsr.stats",
        "pydsr.view.documents",
        "pydsr.web.attention",
    },
    "pydsr.web.history": {"pydsr.model", "pydsr.stats", "pydsr.view.documents"},
    "pydsr.realserver.values": {"pydsr.errors"},
    "pydsr.realserver.arp": {"pydsr.realserver.values"},
    "pydsr.realserver.record": {"pydsr.realserver.values"},
    "pydsr.realserver.steps": {"pydsr.realserver.values"},
    "pydsr.realserver.planning": {
        "pydsr.errors",
        "pydsr.realserver.arp",
        "pydsr.realserver.record",
        "pydsr.realserver.steps",
        "pydsr.realserver.values",
    },
    "pydsr.realserver.checking": {
        "pydsr.realserver.arp",
        "pydsr.realserver.steps",
        "pydsr.realserver.values",
    },
    "pydsr.realserver.files": {
        "pydsr",
        "pydsr.errors",
        "pydsr.realserver.arp",
        "pydsr.realserver.steps",
        "pydsr.realserver.values",
    },
}
"""Pure modules: what of pydsr they may import; beside it there is the standard library only."""

BELONGS_TO = {
    "aiohttp": {"pydsr.metrics.exposition", "pydsr.serving", "pydsr.web"},
    "bcc": {"pydsr.kernel"},
    "dns": {"pydsr.health.probes", "pydsr.health.validation"},
    "dpkt": {"pydsr.captures", "pydsr.health.echo", "pydsr.kernel.claims", "pydsr.view"},
    "httptools": {"pydsr.health.http"},
    "pyroute2": {
        "pydsr.health.evidence",
        "pydsr.health.neighbour",
        "pydsr.health.steering_netlink",
        "pydsr.kernel",
        "pydsr.lab",
    },
    "click": {"pydsr.cli"},
    "prometheus_client": {"pydsr.metrics"},
    "pydantic": {
        "pydsr.config",
        "pydsr.health.models",
        "pydsr.shapes",
        "pydsr.view.document_types",
        "pydsr.view.schemas",
        "pydsr.view.top_types",
    },
    "pydantic_core": {"pydsr.config", "pydsr.health.validation"},
    "rich": {"pydsr.cli", "pydsr.view"},
    "typing_extensions": {"pydsr.view.document_types", "pydsr.view.top_types"},
    "yaml": {"pydsr.config"},
}
"""The packages that may import a third party's; there are no others."""

STAYS_OUT_OF = {
    "pydsr.kernel": {"pydsr.balancer", "pydsr.daemon", "pydsr.planner", "pydsr.lab", "pydsr.view"},
    "pydsr.lab": {"pydsr.balancer", "pydsr.daemon", "pydsr.planner", "pydsr.view"},
    "pydsr.daemon": {"pydsr.lab", "pydsr.view"},
    "pydsr.doctor": {"pydsr.balancer", "pydsr.daemon", "pydsr.lab", "pydsr.view"},
    "pydsr.config": {
        "pydsr.applying",
        "pydsr.balancer",
        "pydsr.comparing",
        "pydsr.kernel",
        "pydsr.view",
    },
    "pydsr.health": {
        "pydsr.applying",
        "pydsr.balancer",
        "pydsr.config",
        "pydsr.kernel",
        "pydsr.lab",
        "pydsr.view",
    },
    "pydsr.answering": {"pydsr.config", "pydsr.daemon", "pydsr.lab", "pydsr.view"},
    "pydsr.applying": {"pydsr.config", "pydsr.daemon", "pydsr.lab", "pydsr.view"},
    "pydsr.view": {"pydsr.attached", "pydsr.attachment", "pydsr.balancer", "pydsr.kernel"},
    "pydsr.balancer": {"pydsr.daemon", "pydsr.lab", "pydsr.serving", "pydsr.view"},
    "pydsr.metrics": {"pydsr.config", "pydsr.daemon", "pydsr.lab", "pydsr.view"},
    "pydsr.serving": {"pydsr.applying", "pydsr.config", "pydsr.daemon", "pydsr.lab", "pydsr.view"},
    "pydsr.web": {
        "pydsr.applying",
        "pydsr.balancer",
        "pydsr.config",
        "pydsr.kernel",
        "pydsr.lab",
    },
}
"""What else a package must not know of; the command line is for nobody to import."""


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


def is_within(module: str, packages: set[str]) -> bool:
    """Return whether a module is one of the packages or in one of them."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def test_every_form_of_import_is_seen() -> None:
    source = """
import os.path as path
from pydsr import maglev, __version__
from pydsr.model import Backend
if TYPE_CHECKING:
    from pydsr.cli import main
def late():
    import bcc
"""
    expected = {"os.path", "pydsr.maglev", "pydsr.model", "pydsr.cli.main", "bcc"}
    assert expected == imports_in(source)


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_a_pure_module_stays_pure(module: str) -> None:
    for imported in imports_of(module):
        package = imported.partition(".")[0]
        assert imported in MAY_IMPORT[module] or package in sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_a_third_party_is_imported_where_it_belongs(module: str) -> None:
    for imported in imports_of(module):
        package = imported.partition(".")[0]
        if package != "pydsr" and package not in sys.stdlib_module_names:
            assert package in BELONGS_TO, f"{package} is no dependency"
            assert is_within(module, BELONGS_TO[package]), f"{package} has no place here"


@pytest.mark.parametrize("package", STAYS_OUT_OF)
def test_a_layer_knows_nothing_of_those_above(package: str) -> None:
    modules = [module for module in MODULES if is_within(module, {package})]
    assert modules
    for module in modules:
        above = {name for name in imports_of(module) if is_within(name, STAYS_OUT_OF[package])}
        assert set() == above, f"imported by {module}"


def test_nothing_imports_the_command_line() -> None:
    importers = {
        module
        for module in MODULES
        if not is_within(module, {"pydsr.cli"})
        if any(is_within(imported, {"pydsr.cli"}) for imported in imports_of(module))
    }
    assert {"pydsr.__main__"} == importers
