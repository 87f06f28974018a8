"""Answers of DNS and certificates, judged without a network."""

from __future__ import annotations

import ssl

import dns.message
import pytest
from pydantic import TypeAdapter

from pydsr.health.probes.dns import compare_answer
from pydsr.health.probes.https import certificate_end, expiry_warning
from pydsr.model.check_result import Outcome
from pydsr.model.checks import DnsCheck

ANSWER = """id 1
opcode QUERY
rcode NOERROR
flags QR
;QUESTION
www.example. IN A
;ANSWER
www.example. 60 IN CNAME Web.Example.
web.example. 60 IN A 192.0.2.1
web.example. 60 IN A 192.0.2.2
web.example. 60 IN TXT "v=1" "more"
"""


@pytest.mark.parametrize(
    ("record", "answers", "expected"),
    [
        ("A", [], Outcome.PASSED),
        ("A", ["192.0.2.2"], Outcome.PASSED),
        ("A", ["192.0.2.2", "192.0.2.1"], Outcome.PASSED),
        ("A", ["192.0.2.2", "192.0.2.3"], Outcome.WRONG_ANSWER),
        ("CNAME", ["web.example"], Outcome.PASSED),
        ("CNAME", ["WEB.example."], Outcome.PASSED),
        ("TXT", ['"v=1" "more"'], Outcome.PASSED),
        ("AAAA", [], Outcome.PASSED),
        ("AAAA", ["2001:db8::1"], Outcome.WRONG_ANSWER),
    ],
)
def test_expected_answers_must_be_among_the_records(
    record: str, answers: list[str], expected: Outcome
) -> None:
    settings = {"type": "dns", "name": "www.example", "record": record, "answers": answers}
    check = TypeAdapter(DnsCheck).validate_python(settings)
    assert expected == compare_answer(check, dns.message.from_text(ANSWER), "it").outcome


def test_another_response_code_is_a_wrong_answer() -> None:
    check = DnsCheck(type="dns", name="www.example", rcode="NXDOMAIN")
    result = compare_answer(check, dns.message.from_text(ANSWER), "it")
    assert Outcome.WRONG_ANSWER == result.outcome
    assert "it answers NOERROR for www.example, not NXDOMAIN" == result.message


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0, ""), (9, ""), (11, "the certificate expires in 10.0 days")],
)
def test_a_warning_comes_so_many_days_before(days: int, expected: str) -> None:
    ends = certificate_end({"notAfter": "Jun 11 12:00:00 2030 GMT"})
    now = ssl.cert_time_to_seconds("Jun  1 12:00:00 2030 GMT")
    assert expected == expiry_warning(ends, days, now)


def test_a_certificate_that_was_not_verified_gives_no_warning() -> None:
    assert "" == expiry_warning(certificate_end({}), 30, 0)
