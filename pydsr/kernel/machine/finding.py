"""What the doctor says: findings, each of a kind with a name that stays, and what it looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydsr.kernel.machine.finding_kinds import Kind, Severity


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or could be better.

    Attributes:
        kind: what sort of thing it is, with how much it matters and why.
        subject: what it was found at: the host, an interface, a VIP, a backend.
        what: what is wrong, naming the object.
        remedy: the command that mends it, or what else does.
    """

    kind: Kind
    subject: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Note:
    """Something that was looked at and is well, or that could not be looked at.

    Attributes:
        subject: as of a finding.
        text: what was seen; or why nothing was.
        looked: whether it was looked at.
    """

    subject: str
    text: str
    looked: bool = True


Remark = Finding | Note


@dataclass(frozen=True)
class Report:
    """All remarks of one examination, in the order they were made."""

    remarks: tuple[Remark, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, the worst first."""
        found = [remark for remark in self.remarks if isinstance(remark, Finding)]
        ranks = list(Severity)
        return tuple(sorted(found, key=lambda finding: ranks.index(finding.kind.severity)))

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is well, and what could not be looked at."""
        return tuple(remark for remark in self.remarks if isinstance(remark, Note))

    @property
    def lacks_privilege(self) -> bool:
        """Whether not all could be looked at, for lack of a privilege."""
        return any(finding.kind is Kind.CAPABILITY_MISSING for finding in self.findings)

    @property
    def is_well(self) -> bool:
        """Whether there is no error and no warning: advice alone leaves a balancer well."""
        return all(finding.kind.severity is Severity.ADVICE for finding in self.findings)


def only_findings(remarks: Iterable[Remark]) -> list[Finding]:
    """Return those remarks that are findings."""
    return [remark for remark in remarks if isinstance(remark, Finding)]
