"""The doctor's findings on VIPs and backends, and how they are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from rich.console import Console

from pydsr.doctor.backend_checks import daemon_results
from pydsr.doctor.facts import BackendFacts, NetworkFacts, VipFacts
from pydsr.doctor.network import judge_network
from pydsr.kernel.machine.findings import Finding, FindingKind, Note, Report, only_findings
from pydsr.kernel.net.arp_query import Claim
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.views.text.diagnosis import doctor_document, doctor_report

OURS, BACKENDS, STRANGERS = (MacAddress.parse(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
SERVICE = Endpoint.parse("10.66.0.80:80")
VIP = VipFacts(ip_address("10.66.0.80"), queried=("eth0",))
BACKEND = BackendFacts(
    SERVICE,
    ip_address("10.66.0.11"),
    BACKENDS,
    confirmed_macs=frozenset({BACKENDS}),
    result=PASSED,
)
WELL = NetworkFacts(
    vips=(VIP,),
    backends=(BACKEND,),
    names={BACKENDS: ("10.66.0.11",)},
    own_macs=frozenset({OURS}),
)


def claimed(*macs: MacAddress, **changes: Any) -> NetworkFacts:
    """Return a network in which hosts with some MACs answer for the VIP."""
    claims = frozenset(Claim(mac, "eth0") for mac in macs)
    return replace(WELL, vips=(replace(VIP, claims=claims, **changes),))


def findings(facts: NetworkFacts) -> list[Finding]:
    """Return the findings."""
    return only_findings(judge_network(facts))


def texts(facts: NetworkFacts) -> list[str]:
    """Return the texts of the notes."""
    return [one.text for one in judge_network(facts) if isinstance(one, Note)]


def test_a_balancer_that_serves_well_gives_no_finding() -> None:
    assert [] == findings(WELL)
    assert "this balancer alone answers ARP on eth0" in texts(WELL)
    # Its own other interface, on the same network, is none but it.
    assert [] == findings(claimed(OURS))


def test_those_who_answer_are_told_apart_and_counted() -> None:
    both = findings(claimed(BACKENDS, STRANGERS))
    assert [FindingKind.ARP_LEAK, FindingKind.VIP_CONTESTED] == [finding.kind for finding in both]
    assert f"backend 10.66.0.11 ({BACKENDS}) answers ARP" in both[0].what
    assert str(STRANGERS) in both[1].what
    assert all("3 MACs answer for it" in finding.what for finding in both)


def test_who_answers_for_a_vip_that_this_balancer_does_not_is_only_noted() -> None:
    facts = claimed(STRANGERS, answered=False)
    assert [] == findings(facts)
    assert any("--no-arp" in text for text in texts(facts))
    assert [FindingKind.ARP_LEAK] == [
        one.kind for one in findings(claimed(BACKENDS, answered=False))
    ]
    assert "nobody answers ARP on eth0" in texts(claimed(answered=False))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"mac": None}, FindingKind.BACKEND_UNPLACED),
        ({"confirmed_macs": frozenset({STRANGERS})}, FindingKind.BACKEND_MOVED),
        ({"result": Result(Outcome.VIP_MISSING, "what", "how")}, FindingKind.BACKEND_VIP_MISSING),
        ({"result": Result(Outcome.FILTERED_HERE, "what", "how")}, FindingKind.REPLIES_FILTERED),
    ],
)
def test_each_fault_of_a_backend_is_found_alone(changes: dict[str, Any], kind: FindingKind) -> None:
    facts = replace(WELL, backends=(replace(BACKEND, **changes),))
    assert [kind] == [finding.kind for finding in findings(facts)]


@pytest.mark.parametrize("changes", [{"mac": None}, {"confirmed_macs": frozenset({STRANGERS})}])
@pytest.mark.parametrize(("weight", "spec"), [(1, "10.66.0.11"), (5, "10.66.0.11=5")])
def test_a_backend_that_is_looked_up_again_keeps_its_weight(
    changes: dict[str, Any], weight: int, spec: str
) -> None:
    (finding,) = findings(replace(WELL, backends=(replace(BACKEND, weight=weight, **changes),)))
    assert f"pydsr backends add {SERVICE} {spec}; it resolves the MAC" in finding.remedy


def test_a_backend_that_the_kernel_knows_nothing_of_has_not_moved() -> None:
    assert [] == findings(replace(WELL, backends=(replace(BACKEND, confirmed_macs=frozenset()),)))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"is_attached": False}, FindingKind.NOT_ATTACHED),
        ({"is_attached": False, "is_elsewhere": True}, FindingKind.ELSEWHERE),
        ({"empty": (SERVICE,)}, FindingKind.SERVICE_EMPTY),
        ({"vips": (replace(VIP, local="10.66.0.80/32 dev eth0"),)}, FindingKind.VIP_LOCAL),
    ],
)
def test_each_fault_of_a_balancer_is_found_alone(
    changes: dict[str, Any], kind: FindingKind
) -> None:
    assert [kind] == [finding.kind for finding in findings(replace(WELL, **changes))]


def test_what_a_daemon_holds_is_taken_for_a_check() -> None:
    failure = {"outcome": "port-closed", "message": "closed", "hint": "open", "check": "tcp"}
    backends = [
        {"address": "10.66.0.11", "healthy": True, "failures": []},
        {"address": "10.66.0.12", "healthy": False, "failures": [failure]},
        {"address": "10.66.0.13", "healthy": None, "failures": []},
    ]
    held = daemon_results({"services": [{"service": str(SERVICE), "backends": backends}]})
    assert {
        (SERVICE, ip_address("10.66.0.11")): PASSED,
        (SERVICE, ip_address("10.66.0.12")): Result(Outcome.PORT_CLOSED, "closed", "open"),
        (
            SERVICE,
            ip_address("10.66.0.13"),
        ): "not checked: it is the sorry backend, used when all others fail",
    } == held
    assert {} == daemon_results({})


REPORT = Report(
    (
        Note("host", "kernel 6.1"),
        Note("balancer", "not looked at", looked=False),
        Finding(
            FindingKind.RING_SMALL, "eth0", "rings of eth0 are small", "ethtool -G eth0 rx 4096"
        ),
        Finding(FindingKind.ARP_LEAK, "10.66.0.80", "[fd00::1] answers", "sysctl -w x=1"),
    )
)


def shown(report: Report) -> str:
    """Return a report as printed on a terminal."""
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(doctor_report(report))
    return capture.get()


def test_a_report_says_what_why_and_what_mends_it() -> None:
    text = shown(REPORT)
    for words in (
        "✓ kernel 6.1",
        "? not looked at",
        "[fd00::1] answers  [arp-leak]",
        f"why: {FindingKind.ARP_LEAK.why}",
        "fix: ethtool -G eth0 rx 4096",
        "1 error, 1 advice",
    ):
        assert words in text
    assert text.index("ring-small") < text.index("arp-leak"), "the worst is where the eye is"
    assert "no problems found" in shown(Report((Note("host", "well"),)))


def test_scripts_get_the_same() -> None:
    document = json.loads(json.dumps(doctor_document(REPORT)))
    assert ["arp-leak", "ring-small"] == [finding["id"] for finding in document["findings"]]
    assert {
        "id": "arp-leak",
        "severity": "error",
        "subject": "10.66.0.80",
        "what": "[fd00::1] answers",
        "why": FindingKind.ARP_LEAK.why,
        "remedy": "sysctl -w x=1",
    } == document["findings"][0]
    assert [True, False] == [check["looked"] for check in document["checks"]]
