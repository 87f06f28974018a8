"""What is said of a failure, by what was seen of it."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from pydsr.health.diagnosis import (
    NOTHING_KNOWN,
    Evidence,
    IcmpError,
    Symptoms,
    diagnose,
    is_decided,
)
from pydsr.health.targets import CheckTarget, Route
from pydsr.model.check_result import Outcome

VIP, BACKEND, OTHER = map(ip_address, ("192.0.2.80", "198.51.100.11", "198.51.100.1"))
VIP6, BACKEND6 = ip_address("2001:db8::80"), ip_address("2001:db8::11")
TARGET = CheckTarget(VIP, 80, Route(BACKEND, 2))

SILENCE = Symptoms()
HERE = Evidence(has_neighbour=True, backend_answers=True, vip_answers=True)
WITHOUT_VIP = Evidence(has_neighbour=True, backend_answers=True, vip_answers=False)
GONE = Evidence(has_neighbour=False, backend_answers=False, vip_answers=False)
LOSSY = Evidence(True, backend_answers=True, vip_answers=True, pings_sent=10, pings_lost=4)
LATE = Evidence(True, backend_answers=True, vip_answers=True, pings_sent=10, pings_lost=1)
UNLUCKY = Evidence(True, backend_answers=True, vip_answers=False, pings_sent=5, pings_lost=2)
DEAF = Evidence(has_neighbour=True, backend_answers=False, vip_answers=False)

CASES = [
    (Outcome.PORT_CLOSED, Symptoms(errno.ECONNREFUSED), NOTHING_KNOWN),
    (Outcome.PORT_CLOSED, Symptoms(errno.ECONNREFUSED, icmp=IcmpError(VIP, 4, 3, 3)), HERE),
    (Outcome.PORT_CLOSED, Symptoms(errno.ECONNREFUSED, icmp=IcmpError(VIP6, 6, 1, 4)), HERE),
    (Outcome.VIP_MISSING, Symptoms(errno.EHOSTUNREACH, icmp=IcmpError(BACKEND, 4, 11, 0)), HERE),
    (Outcome.VIP_MISSING, Symptoms(errno.EHOSTUNREACH, icmp=IcmpError(BACKEND6, 6, 3, 0)), HERE),
    (Outcome.VIP_MISSING, Symptoms(errno.EHOSTUNREACH, icmp=IcmpError(OTHER, 4, 3, 1)), HERE),
    (Outcome.VIP_MISSING, SILENCE, WITHOUT_VIP),
    (Outcome.REJECTED, Symptoms(errno.EHOSTUNREACH, icmp=IcmpError(VIP, 4, 3, 13)), HERE),
    (Outcome.REJECTED, Symptoms(errno.EACCES, icmp=IcmpError(BACKEND6, 6, 1, 1)), HERE),
    (Outcome.UNSTEERED, Symptoms(errno.EACCES), NOTHING_KNOWN),
    (Outcome.UNSTEERED, Symptoms(errno.ENETUNREACH), NOTHING_KNOWN),
    (Outcome.UNCHECKED, Symptoms(errno.EMFILE), NOTHING_KNOWN),
    (Outcome.UNCHECKED, Symptoms(errno.EPERM), NOTHING_KNOWN),
    (Outcome.UNCHECKED, Symptoms(is_late=True), NOTHING_KNOWN),
    (Outcome.UNCHECKED, Symptoms(is_connected=True, is_late=True), Evidence(vip_answers=True)),
    (Outcome.NO_NEIGHBOUR, SILENCE, GONE),
    (Outcome.NO_NEIGHBOUR, Symptoms(errno.EHOSTUNREACH), GONE),
    (Outcome.WRONG_SOURCE, Symptoms(wrong_source=BACKEND), NOTHING_KNOWN),
    (Outcome.WRONG_SOURCE, SILENCE, Evidence(True, True, True, wrong_source=BACKEND)),
    (Outcome.FILTERED_HERE, SILENCE, Evidence(True, True, False, filter="sysctl -w …")),
    (Outcome.TIMED_OUT, Symptoms(is_connected=True), WITHOUT_VIP),
    (Outcome.TIMED_OUT, SILENCE, HERE),
    (Outcome.TIMED_OUT, SILENCE, DEAF),
    (Outcome.TIMED_OUT, SILENCE, NOTHING_KNOWN),
    (Outcome.TIMED_OUT, Symptoms(is_own_address=True), WITHOUT_VIP),
    (Outcome.PACKETS_LOST, SILENCE, LOSSY),
    (Outcome.PACKETS_LOST, Symptoms(is_connected=True), LOSSY),
    (Outcome.PACKETS_LOST, SILENCE, UNLUCKY),
    (Outcome.TIMED_OUT, SILENCE, LATE),
    (Outcome.BROKEN_OFF, Symptoms(errno.ECONNRESET, is_connected=True), NOTHING_KNOWN),
]


@pytest.mark.parametrize(("expected", "symptoms", "evidence"), CASES)
def test_symptoms_and_evidence_give_the_outcome(
    expected: Outcome, symptoms: Symptoms, evidence: Evidence
) -> None:
    result = diagnose(TARGET, symptoms, evidence)
    assert expected == result.outcome
    assert result.message
    assert not result.passed


@pytest.mark.parametrize(("expected", "symptoms", "evidence"), CASES)
def test_what_is_decided_does_not_wait_for_evidence(
    expected: Outcome, symptoms: Symptoms, evidence: Evidence
) -> None:
    if is_decided(symptoms):
        for any_evidence in (evidence, GONE, DEAF, LOSSY, WITHOUT_VIP, NOTHING_KNOWN):
            assert expected == diagnose(TARGET, symptoms, any_evidence).outcome


def test_a_ping_that_is_answered_proves_a_neighbour() -> None:
    """The kernel may just be asking for it anew."""
    asking = Evidence(has_neighbour=False, backend_answers=True, vip_answers=True)
    assert Outcome.TIMED_OUT == diagnose(TARGET, SILENCE, asking).outcome


def test_messages_name_what_was_asked() -> None:
    closed = Symptoms(errno.ECONNREFUSED)
    assert "192.0.2.80:80 on 198.51.100.11:" in diagnose(TARGET, closed).message
    own = Symptoms(errno.ECONNREFUSED, is_own_address=True)
    assert "198.51.100.11 (port 80):" in diagnose(TARGET, own).message
    over6 = CheckTarget(VIP6, 80, Route(BACKEND6, 2))
    assert "[2001:db8::80]:80 on 2001:db8::11" in diagnose(over6, closed).message
    missing = diagnose(over6, SILENCE, WITHOUT_VIP)
    assert "on the backend: ip address add 2001:db8::80/128 dev lo" == missing.hint
