"""The JSON report of ``pydsr doctor``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.support.netns.command import Done, Pydsr


@dataclass(frozen=True)
class Examined:
    """An examination that ended.

    Attributes:
        status: what the command exited with.
        findings, checks: as its JSON has them.
    """

    status: int
    findings: tuple[dict[str, Any], ...]
    checks: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, done: Done) -> Examined:
        """Parse the output of the command."""
        document = json.loads(done.stdout)
        return cls(done.status, tuple(document["findings"]), tuple(document["checks"]))

    @property
    def ids(self) -> list[str]:
        """The kinds of its findings, without duplicates."""
        return sorted({finding["id"] for finding in self.findings})

    def first(self, kind: str) -> dict[str, Any]:
        """Return the first finding of a kind, which must exist."""
        return next(finding for finding in self.findings if finding["id"] == kind)

    def unseen(self) -> str:
        """Return what was not examined, and why."""
        return "; ".join(check["text"] for check in self.checks if not check["looked"])


def examine(pydsr: Pydsr, *interfaces: str) -> Examined:
    """Run the doctor."""
    return Examined.of(pydsr("doctor", *interfaces, "--json"))


def command_in(remedy: str) -> list[str]:
    """Return the command in a remedy, without the words around it."""
    command = re.sub(r"^(on the backend|at its other end|then here): ", "", remedy)
    return re.split(r"[;,]", command, maxsplit=1)[0].split()
