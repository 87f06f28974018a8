"""What name servers, datagrams, commands and agents say is compared with what is wanted."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import AbstractContextManager
from typing import Any

import dns.message
import pytest

from pydsr.model.check_result import Outcome
from pydsr.model.checks import Check
from tests.support.netns.checked_host import SHORT, Checked, made_check
from tests.support.netns.namespaces import eventually


def test_dns_answers_are_compared(checked: Checked) -> None:
    cases: list[tuple[Outcome, dict[str, Any]]] = [
        (Outcome.PASSED, {"name": "www.test", "answers": ["192.0.2.7"]}),
        (Outcome.PASSED, {"name": "www.test.", "transport": "tcp", "answers": ["192.0.2.7"]}),
        (Outcome.PASSED, {"name": "text.test", "record": "TXT", "answers": ["hello"]}),
        (Outcome.WRONG_ANSWER, {"name": "www.test", "answers": ["192.0.2.8"]}),
        (Outcome.WRONG_ANSWER, {"name": "else.where", "answers": []}),
        (Outcome.PASSED, {"name": "else.where", "rcode": "REFUSED"}),
    ]
    with checked.dnsmasq():
        jobs = [checked.job(made_check("dns", **settings), 53) for _, settings in cases]
        results = checked.results(*jobs)
    assert [expected for expected, _ in cases] == [result.outcome for result in results]


def test_an_echoed_query_is_no_answer(checked4: Checked) -> None:
    with checked4.echoing(checked4.vip):
        assert (
            Outcome.TIMED_OUT
            == checked4.result("dns", 5353, name="www.test", timeout=SHORT).outcome
        )


@pytest.mark.parametrize(
    ("order", "expected"), [([1, 0], Outcome.PASSED), ([1], Outcome.BROKEN_OFF)]
)
def test_an_answer_to_another_query_is_ignored(
    checked4: Checked, order: list[int], expected: Outcome
) -> None:
    def answer(connection: socket.socket) -> None:
        query = dns.message.from_wire(connection.recv(1000)[2:])
        right = query.id
        for change in order:
            query.id = right ^ change
            connection.sendall(dns.message.make_response(query).to_wire(prepend_length=True))

    with checked4.taking(answer, 53):
        check = {"name": "www.test", "transport": "tcp"}
        assert expected == checked4.result("dns", 53, **check).outcome


def test_a_udp_answer_is_compared(checked: Checked) -> None:
    with checked.echoing(checked.vip):
        job = checked.job(made_check("udp", send="ping", expect="pi.g"), 5353)
        other = checked.job(made_check("udp", send_hex="00ff", expect="pong"), 5353)
        results = checked.results(job, other)
    assert [Outcome.PASSED, Outcome.WRONG_ANSWER] == [result.outcome for result in results]


def _command(script: str, **settings: float) -> Check:
    return made_check("command", argv=["sh", "-c", script], **settings)


def test_a_command_gets_its_target_in_the_environment(checked: Checked) -> None:
    script = f'[ "$VIP $PORT $BACKEND" = "{checked.vip} 80 {checked.address}" ]'
    good = checked.job(_command(script))
    ping = checked.job(_command('ping -c1 -m "$MARK" "$VIP"'))
    bad = checked.job(_command("echo oh no; exit 3"))
    sleep = f"sleep 600.{os.getpid()}"  # so that other tests have none like it
    slow = checked.job(_command(f"{sleep} & {sleep}", timeout=SHORT))
    gone = checked.job(_command(f"{sleep} & exit", timeout=SHORT))
    none = checked.job(made_check("command", argv=["/nowhere"]))
    results = checked.results(good, ping, bad, slow, gone, none)
    assert [
        Outcome.PASSED,
        Outcome.PASSED,
        Outcome.WRONG_ANSWER,
        Outcome.TIMED_OUT,
        Outcome.TIMED_OUT,
        Outcome.WRONG_ANSWER,
    ] == [result.outcome for result in results]
    assert "ends with status 3: oh no" in results[2].message
    running = ["pgrep", "--full", "--exact", sleep]
    assert eventually(lambda: subprocess.run(running, check=False).returncode == 1)


def test_an_agent_reports_on_its_backend(checked: Checked) -> None:
    def says(line: bytes) -> AbstractContextManager[None]:
        return checked.taking(lambda connection: connection.sendall(line), 7777)

    with says(b"up 50%\n"):
        result = checked.result("agent", port=7777)
    assert result.passed
    assert result.report is not None
    assert 50 == result.report.percent
    with says(b"down # disk full\n"):
        result = checked.result("agent", port=7777)
    assert Outcome.DECLARED_DOWN == result.outcome
    assert "disk full" in result.message
    assert Outcome.PORT_CLOSED == checked.result("agent", port=7778).outcome
