"""The doctor's findings on hosts; every kind of finding is documented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from docs.findings import DOCUMENT, with_tables
from pydsr.doctor.host import judge_host
from pydsr.kernel.machine.drivers import version_of
from pydsr.kernel.machine.findings import (
    Finding,
    FindingKind,
    Note,
    Problem,
    Report,
    Severity,
    kind_of,
)
from pydsr.kernel.machine.host import HostFacts
from pydsr.model.check_result import Outcome

WELL = HostFacts("6.1.0-18-amd64", jit=True, directory="/sys/fs/bpf/pydsr")
TROUBLE = Problem("it is not here", "apt install it")


def kinds(facts: HostFacts) -> list[FindingKind]:
    """Return the kinds of findings on a host."""
    return [remark.kind for remark in judge_host(facts) if isinstance(remark, Finding)]


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.1.0-18-amd64", (6, 1)),
        ("5.18", (5, 18)),
        ("6.18.44-fc-v595", (6, 18)),
        ("7.0-rc1", (7, 0)),
        ("unheard-of", (0, 0)),
    ],
)
def test_the_version_of_a_kernel_is_in_its_release(release: str, version: tuple[int, int]) -> None:
    assert version == version_of(release)


def test_a_host_that_has_everything_is_well() -> None:
    assert [] == kinds(WELL)
    assert all(isinstance(remark, Note) and remark.looked for remark in judge_host(WELL))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"release": "5.17.9"}, FindingKind.KERNEL_OLD),
        ({"jit": False}, FindingKind.JIT_OFF),
        ({"missing_capabilities": frozenset({"NET_RAW"})}, FindingKind.CAPABILITY_MISSING),
        ({"bpf": TROUBLE}, FindingKind.BPF_MISSING),
        ({"pins": TROUBLE}, FindingKind.BPFFS_MISSING),
        ({"bcc": TROUBLE}, FindingKind.BCC_MISSING),
        ({"libbpf": TROUBLE}, FindingKind.LIBBPF_MISSING),
        ({"headers": TROUBLE}, FindingKind.HEADERS_MISSING),
        ({"has_native": False}, FindingKind.NATIVE_MISSING),
    ],
)
def test_each_lack_is_found_alone(changes: dict[str, Any], kind: FindingKind) -> None:
    assert [kind] == kinds(replace(WELL, **changes))


def test_locked_memory_matters_before_it_is_counted_otherwise() -> None:
    limited = replace(WELL, memlock=65536)
    assert [] == kinds(limited)
    assert [FindingKind.KERNEL_OLD, FindingKind.MEMLOCK_LOW] == kinds(
        replace(limited, release="5.10.0")
    )
    assert [FindingKind.KERNEL_OLD] == kinds(replace(WELL, release="5.10.0"))


def test_what_cannot_be_seen_is_said() -> None:
    unseen = replace(WELL, jit=None)
    (note,) = (one for one in judge_host(unseen) if isinstance(one, Note) and not one.looked)
    assert "JIT" in note.text


def test_findings_are_told_the_worst_first_and_advice_leaves_a_host_well() -> None:
    advice, error = (
        Finding(kind, "host", "what", "remedy")
        for kind in (FindingKind.RING_SMALL, FindingKind.LRO_ON)
    )
    assert (error, advice) == Report((advice, Note("host", "well"), error)).findings
    assert Report((advice,)).is_well
    assert not Report((advice, error)).is_well


def test_every_kind_has_a_name_and_a_reason_of_its_own() -> None:
    every = list(FindingKind)
    assert len(every) == len({kind.id for kind in every}) == len({kind.why for kind in every})
    assert all(isinstance(kind.severity, Severity) for kind in every)
    assert "arp-leak" == FindingKind.ARP_LEAK.id


def test_every_failure_of_a_check_is_a_kind_of_finding() -> None:
    found = {kind_of(outcome) for outcome in Outcome if outcome is not Outcome.PASSED}
    assert len(Outcome) - 1 == len(found)


def test_the_documentation_has_the_tables_of_today() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run: python -m docs.findings"
