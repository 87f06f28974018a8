"""Write the tables of findings and drivers into docs/doctor.md: ``python -m docs.findings``."""

from __future__ import annotations

from pathlib import Path

from docs.tables import with_table
from pydsr.kernel.machine.drivers import DRIVERS, Driver, Version
from pydsr.kernel.machine.findings import FindingKind

DOCUMENT = Path(__file__).with_name("doctor.md")


def with_tables(text: str) -> str:
    """Return the document with the current tables of findings and drivers."""
    kinds = [(f"`{kind.id}`", kind.severity.value, kind.why) for kind in FindingKind]
    text = with_table(text, "findings", ("finding", "severity", "why it matters"), kinds)
    headings = ("driver", "native XDP since", "any MTU since", "otherwise up to")
    return with_table(text, "drivers", headings, [_row(*item) for item in DRIVERS.items()])


def _row(name: str, driver: Driver) -> tuple[str, ...]:
    limit = "" if driver.largest_mtu is None else str(driver.largest_mtu)
    return f"`{name}`", _text(driver.since), _text(driver.frags), limit


def _text(version: Version | None) -> str:
    return "" if version is None else ".".join(map(str, version))


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
