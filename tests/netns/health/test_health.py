"""Every failure that health checks tell apart, caused for real, is reported as what it is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.health.investigation import MOST_PER_BACKEND
from pydsr.health.targets import Route
from pydsr.lab.network import enter_namespace
from pydsr.model.check_result import Outcome, Result
from tests.support.netns.checked_host import (
    BACKEND,
    SHORT,
    Checked,
    checked_once,
    made_check,
    needs,
)
from tests.support.netns.namespaces import DEADLINE_SECONDS, connect
from tests.support.virtual_time import pass_time, run_in_virtual_time


@pytest.fixture
def web(checked: Checked, tmp_path: Path) -> Iterator[int]:
    """The pid of a web server on the backend."""
    with checked.nginx(tmp_path) as pid:
        yield pid


@pytest.mark.usefixtures("web")
def test_a_backend_that_answers_for_the_vip_passes(checked: Checked) -> None:
    jobs = [
        checked.job(made_check("tcp")),
        checked.job(made_check("http", body="hello", status=[200])),
        checked.job(made_check("http", host="www.example", body="^hello www.example$")),
        checked.job(made_check("http", path="/broken", status=["5xx"], method="HEAD")),
        checked.job(made_check("icmp")),
    ]
    assert [Outcome.PASSED] * len(jobs) == [result.outcome for result in checked.results(*jobs)]


@pytest.mark.usefixtures("web")
def test_a_wrong_status_or_body_is_a_wrong_answer(checked: Checked) -> None:
    status = checked.result("http", path="/broken")
    body = checked.result("http", body="good ?bye")
    assert [Outcome.WRONG_ANSWER] * 2 == [status.outcome, body.outcome]
    assert "status 503 for /broken" in status.message
    assert "'good ?bye' is not in the body" in body.message


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_vip_that_is_removed_is_missing(checked: Checked, kind: str) -> None:
    assert checked.result(kind).passed
    checked.remove_vip()
    result = checked.result(kind, timeout=SHORT)
    assert Outcome.VIP_MISSING == result.outcome
    assert f"{checked.address} does not have {checked.vip}" in result.message
    assert f"ip address add {checked.vip}" in result.hint


@pytest.mark.usefixtures("web")
def test_a_forwarded_vip_is_missing_at_once(checked: Checked) -> None:
    """Not even another backend can answer in its place: the packet has one hop."""
    checked.remove_vip()
    family = "ipv4.ip_forward" if checked.version == 4 else "ipv6.conf.all.forwarding"
    checked.backend.run("sysctl", "-qw", f"net.{family}=1")
    result = checked.result_at_once("tcp")
    assert Outcome.VIP_MISSING == result.outcome
    assert "forwards its packets" in result.message


def test_a_port_without_a_server_is_closed(checked: Checked) -> None:
    cases: list[tuple[str, dict[str, str]]] = [("tcp", {}), ("http", {}), ("udp", {"send": "x"})]
    for kind, settings in cases:
        result = checked.result_at_once(kind, 81, **settings)
        assert Outcome.PORT_CLOSED == result.outcome, kind


def test_a_server_at_the_backends_own_address_does_not_serve_the_vip(checked: Checked) -> None:
    with checked.echoing(checked.address):
        assert Outcome.PORT_CLOSED == checked.result("udp", 5353, send="x").outcome


def test_a_udp_server_that_answers_from_its_own_address_is_a_wrong_source(
    checked: Checked,
) -> None:
    """Bound to every address, a server that does not look where it was asked answers so."""
    with checked.echoing("", 5353):
        result = checked.result("udp", 5353, send="x", timeout=SHORT)
    assert Outcome.WRONG_SOURCE == result.outcome
    assert f"not from {checked.vip}" in result.message
    with checked.echoing(checked.vip, 5354):
        assert checked.result("udp", 5354, send="x").passed


@pytest.mark.usefixtures("web")
def test_a_source_that_the_backend_translates_is_a_wrong_source(checked: Checked) -> None:
    family = "ip" if checked.version == 4 else "ip6"
    translate = f"{family} saddr {checked.vip} {family} saddr set {checked.address}"
    needs("nft")
    checked.backend.run("nft", "add table inet t")
    checked.backend.run("nft", "add chain inet t out { type filter hook output priority raw + 1; }")
    checked.backend.run("nft", f"add rule inet t out {translate}")
    result = checked.result("tcp", timeout=SHORT)
    assert Outcome.WRONG_SOURCE == result.outcome
    assert f"comes from {checked.address}" in result.message


def test_a_backend_off_the_network_is_no_neighbour(checked: Checked) -> None:
    checked.result("tcp")
    checked.backend.run("ip", "link", "set", "eth0", "down")
    for kind in ("tcp", "icmp"):
        result = checked.result(kind, timeout=SHORT)
        assert Outcome.NO_NEIGHBOUR == result.outcome, result
        assert checked.address in result.message


def test_the_kernels_own_icmp_errors_do_not_count(checked: Checked) -> None:
    """It sends an ICMP error to itself when it gives up, long before the check does."""
    setting = f"net.ipv{checked.version}.neigh.eth0.retrans_time_ms=60"
    checked.lb.run("sysctl", "-qw", setting)
    checked.backend.run("ip", "link", "set", "eth0", "down")
    assert Outcome.NO_NEIGHBOUR == checked.result_at_once("tcp").outcome


@pytest.mark.usefixtures("web")
def test_a_backend_that_hangs_is_no_neighbour_at_once(checked: Checked) -> None:
    """Though the kernel remembers where it was, and would for half a minute."""
    assert checked.result("tcp").passed
    hook = "type filter hook ingress device eth0 priority 0; policy drop;"
    needs("nft")
    checked.backend.run("nft", "add table netdev t")
    checked.backend.run("nft", f"add chain netdev t in {{ {hook} }}")
    assert Outcome.NO_NEIGHBOUR == checked.result("tcp", timeout=SHORT).outcome


def test_a_stopped_server_accepts_connections_and_times_out(checked: Checked, web: int) -> None:
    os.kill(web, signal.SIGSTOP)
    assert checked.result("tcp").passed
    result = checked.result("http", timeout=SHORT)
    assert Outcome.TIMED_OUT == result.outcome
    assert "accepts connections, but does not answer" in result.message


@pytest.mark.parametrize(
    ("answers", "stands_until", "expected"),
    [
        (False, 0.6, Outcome.TIMED_OUT),
        (False, 1.0, Outcome.UNCHECKED),
        (True, 0.6, Outcome.UNCHECKED),
    ],
    ids=["no answer", "no chance to see one", "an answer that nobody looked at"],
)
def test_a_machine_that_stands_still_is_not_the_backends_fault(
    checked4: Checked, answers: bool, stands_until: float, expected: Outcome
) -> None:
    """For a moment from which on a check of half a second gets nothing done."""
    is_connected, may_answer, has_answered = (threading.Event() for _ in range(3))

    def answer(connection: socket.socket) -> None:
        is_connected.set()
        may_answer.wait(DEADLINE_SECONDS)
        with suppress(ConnectionError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        has_answered.set()

    async def stand_still() -> None:
        # After the check has lost its patience, when its end is set.
        await asyncio.sleep(0.3)
        if answers:
            may_answer.set()
            assert has_answered.wait(DEADLINE_SECONDS)
        pass_time(stands_until - 0.3)

    async def main() -> Result:
        (result,), _ = await asyncio.gather(
            checked_once([checked4.job(made_check("http", timeout=0.5))]), stand_still()
        )
        return result

    with checked4.taking(answer), enter_namespace(checked4.lb.name):
        result = run_in_virtual_time(main(), is_connected.is_set)
        may_answer.set()
    assert expected == result.outcome, result
    assert ("this machine is too busy" in result.message) == (expected is Outcome.UNCHECKED)


def test_a_firewall_that_drops_is_no_missing_vip(checked: Checked) -> None:
    needs("nft")
    checked.backend.run("nft", "add table inet t")
    checked.backend.run("nft", "add chain inet t in { type filter hook input priority 0; }")
    checked.backend.run("nft", "add rule inet t in tcp dport 80 drop")
    result = checked.result("tcp", timeout=SHORT)
    assert Outcome.TIMED_OUT == result.outcome
    assert "the VIP answers ping there" in result.message


def test_a_firewall_that_rejects_is_recognized(checked: Checked) -> None:
    needs("nft")
    checked.backend.run("nft", "add table inet t")
    checked.backend.run("nft", "add chain inet t in { type filter hook input priority 0; }")
    reject = "reject with icmpx type admin-prohibited"
    checked.backend.run("nft", f"add rule inet t in meta l4proto {{ tcp, udp }} {reject}")
    cases: list[tuple[str, dict[str, str]]] = [("tcp", {}), ("udp", {"send": "x"})]
    for kind, settings in cases:
        assert Outcome.REJECTED == checked.result_at_once(kind, **settings).outcome, kind


@pytest.mark.usefixtures("web")
def test_lost_answers_are_no_missing_vip(checked: Checked) -> None:
    """Of each check at least: what does not pass says that packets are lost, mostly."""
    needs("nft")
    family = "ip" if checked.version == 4 else "ip6"
    rules = f"""
        add table inet lossy
        add chain inet lossy out {{ type filter hook output priority 0; }}
        add rule inet lossy out {family} saddr {{ {checked.vip}, {checked.address} }} \
            meta l4proto != ipv6-icmp numgen random mod 2 == 0 drop
        add rule inet lossy out icmpv6 type echo-reply numgen random mod 2 == 0 drop
    """
    checked.backend.run("nft", rules.replace("\\\n", " "))
    jobs = [checked.job(made_check("http", timeout=SHORT / 2))] * MOST_PER_BACKEND
    failed: list[Outcome] = []
    for _ in range(30):
        outcomes = (result.outcome for result in checked.results(*jobs))
        failed += [outcome for outcome in outcomes if outcome is not Outcome.PASSED]
        if len(failed) >= 16:
            break
    # Each has sixteen pings of its own, and all of one address may be lost: seldom of many.
    assert failed.count(Outcome.PACKETS_LOST) >= len(failed) - 2, failed
    assert len(failed) >= 16


def test_a_server_that_hangs_up_has_broken_off(checked: Checked) -> None:
    with checked.taking(lambda _: None):
        assert checked.result("tcp").passed
        assert Outcome.BROKEN_OFF == checked.result("http").outcome


def test_another_protocol_is_a_wrong_answer(checked4: Checked) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"220 mail\r\n")

    with checked4.taking(answer):
        result = checked4.result("http")
    assert Outcome.WRONG_ANSWER == result.outcome
    assert "does not answer by HTTP" in result.message


def test_a_firewall_of_this_machine_is_not_the_backends_fault(
    checked4: Checked, tmp_path: Path
) -> None:
    """A VIP in no network of the balancer, and a reverse path filter: replies are dropped here."""
    routed = "192.0.2.80"
    checked4.backend.run("ip", "address", "add", f"{routed}/32", "dev", "lo")
    with checked4.nginx(tmp_path):
        elsewhere = RoutedChecked(checked4.lb, checked4.backend)
        assert elsewhere.result("tcp").passed
        for mode in (1, 2):
            setting = f"net.ipv4.conf.eth0.rp_filter={mode}"
            checked4.lb.run("sysctl", "-qw", setting)
            result = elsewhere.result("tcp", timeout=SHORT)
            assert Outcome.FILTERED_HERE == result.outcome
            assert checked4.result("tcp").passed
        checked4.lb.run("ip", "route", "add", "default", "via", "10.66.0.2")
        assert elsewhere.result("tcp").passed


class RoutedChecked(Checked):
    """The same with a VIP that is routed to the balancer."""

    @property
    def vip(self) -> str:
        """A virtual IP of no network of the balancer."""
        return "192.0.2.80"


@pytest.mark.usefixtures("web")
def test_a_check_uses_a_mac_set_by_hand(checked: Checked) -> None:
    check, mac = made_check("http"), checked.backend.mac()
    right = checked.job(check, mac=mac)
    wrong = checked.job(made_check("http", timeout=SHORT), mac="02:00:00:00:00:99")
    other = checked.job(check, mac=mac, backend=BACKEND[10 - checked.version])
    found = [result.outcome for result in checked.results(right, wrong, other)]
    assert [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED] == found


def test_a_backend_behind_another_interface_is_checked_there(
    checked4: Checked, tmp_path: Path
) -> None:
    """Though the VIP is in the network of the first; a strict filter then takes it amiss."""
    lb = checked4.lb
    connect(lb, checked4.backend, "eth1", [("10.67.0.1/24", "10.67.0.11/24")])
    job = checked4.job(made_check("http", timeout=SHORT))
    behind = Route(ip_address("10.67.0.11"), int(lb.link("eth1")["ifindex"]))
    job = replace(job, target=replace(job.target, route=behind))
    with checked4.nginx(tmp_path):
        with checked4.backend.listen("eth1") as listener:
            assert checked4.results(job)[0].passed
            assert listener.until(lambda frame: ip_address("10.66.0.80").packed in frame)
        lb.run("sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=1")
        (result,) = checked4.results(job)
        assert Outcome.FILTERED_HERE == result.outcome
        assert "sysctl -w net.ipv4.conf.eth1.rp_filter=2" == result.hint
        lb.run(*result.hint.split())
        assert checked4.results(job)[0].passed


@pytest.mark.usefixtures("web")
def test_an_ipv4_vip_is_checked_on_a_backend_known_by_ipv6(checked: Checked) -> None:
    if checked.version == 4:
        job = checked.job(made_check("http"), backend=BACKEND[6])
        assert checked.results(job)[0].passed


def test_a_check_takes_no_other_route_while_its_interface_is_down(checked: Checked) -> None:
    """There, another balancer or router might answer for the VIP."""
    lb = checked.lb
    connect(lb, checked.backend, "other", [])
    lb.run("ip", f"-{checked.version}", "route", "add", "default", "dev", "other")
    lb.run("ip", "link", "set", "eth0", "down")
    result = checked.result("tcp")
    assert Outcome.UNSTEERED == result.outcome
    assert f"no route to {checked.address}" in result.message
