"""Rules and routes of health checks: what there is while they are made, and after any end."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
from pyroute2 import AsyncIPRoute

from pydsr.health import steering_netlink
from pydsr.health.checker import Checker
from pydsr.health.steering import Steering
from pydsr.health.steering_plan import PROTOCOL, Entry
from pydsr.health.targets import CheckTarget, Route
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.check_result import Result
from pydsr.model.errors import BusyError, EnvironmentCannotError, InputError, PermissionDeniedError
from tests.support.netns.checked_host import Checked, made_check
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host

VIP4, VIP6 = ip_address("10.66.0.80"), ip_address("fd66::80")
MAC = MacAddress.parse("02:00:00:00:00:11")


def rules_and_routes(lb: Host) -> list[str]:
    """Return everything that could have been left: rules, routes, neighbours, sockets."""
    found = []
    for family in ("-4", "-6"):
        found += lb.run("ip", family, "rule", "show").splitlines()
        for routes in json.loads(lb.run("ip", family, "-json", "route", "show", "table", "all")):
            found.append(json.dumps(routes, sort_keys=True))
        found += lb.run("ip", family, "neigh", "show", "nud", "permanent").splitlines()
    with enter_namespace(lb.name):
        names = [line.split()[7:] for line in Path("/proc/net/unix").read_text().splitlines()]
    return sorted(found + [name[0] for name in names if name and "pydsr" in name[0]])


def targets(lb: Host, number: int = 3) -> list[CheckTarget]:
    """Return targets of every kind: both IP versions, across them, MACs by hand."""
    ifindex = int(lb.link("eth0")["ifindex"])
    made = []
    for low in range(11, 11 + number):
        four, six = ip_address(f"10.66.0.{low}"), ip_address(f"fd66::{low}")
        made += [
            CheckTarget(VIP4, 80, Route(four, ifindex)),
            CheckTarget(VIP6, 80, Route(six, ifindex)),
            CheckTarget(VIP4, 80, Route(six, ifindex)),
            CheckTarget(VIP6, 80, Route(four, ifindex, MAC)),
            CheckTarget(VIP4, 80, Route(six, ifindex, MAC)),
        ]
    return made


async def steered(wanted: Sequence[CheckTarget], act: Callable[[Steering], None]) -> None:
    """Steer to targets, act, and be done."""
    async with Steering() as steering:
        await steering.steer(wanted)
        act(steering)


def in_namespace(lb: Host, wanted: Sequence[CheckTarget], act: Callable[[Steering], None]) -> None:
    """Do the same on the balancer's host."""
    with enter_namespace(lb.name):
        asyncio.run(steered(wanted, act))


def killed_while_steering(lb: Host, wanted: Sequence[CheckTarget]) -> None:
    """Steer to targets in a process that is killed then."""
    pid = os.fork()
    if not pid:
        try:
            in_namespace(lb, wanted, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert signal.SIGKILL == os.WTERMSIG(status)


def test_nothing_is_left_after_the_end(lb: Host) -> None:
    before = rules_and_routes(lb)
    during: list[str] = []
    in_namespace(lb, targets(lb), lambda _: during.extend(rules_and_routes(lb)))
    assert len(during) > len(before) + 30
    assert before == rules_and_routes(lb)


def test_the_next_start_removes_what_a_killed_process_left(lb: Host) -> None:
    """And what others have made stays, be it as like it as can be."""
    lb.run("ip", "rule", "add", "pref", "441", "fwmark", "0x70440009", "lookup", "9")
    lb.run("ip", "route", "add", "10.66.0.81/32", "dev", "eth0", "table", "1883504641")
    before = rules_and_routes(lb)
    killed_while_steering(lb, targets(lb))
    assert len(rules_and_routes(lb)) > len(before) + 30
    during: list[str] = []
    in_namespace(lb, (), lambda _: during.extend(rules_and_routes(lb)))
    lock = [line for line in during if "pydsr-health" in line]
    assert 1 == len(lock)
    assert before == [line for line in during if line not in lock]
    assert before == rules_and_routes(lb)


def test_half_made_entries_of_a_killed_process_go_too(lb: Host) -> None:
    """Wherever between two changes of the kernel it fell."""
    before = rules_and_routes(lb)
    wanted = targets(lb, 1)
    step, was_killed = 0, True
    while was_killed:
        step += 2
        pid = os.fork()
        if not pid:
            try:
                kill_before_change(step)
                in_namespace(lb, wanted, lambda _: os._exit(0))
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        was_killed = os.WIFSIGNALED(status)
        assert was_killed or os.WEXITSTATUS(status) == 0
        in_namespace(lb, (), lambda _: None)
        assert before == rules_and_routes(lb), f"killed before change {step}"
    assert step > 20


def kill_before_change(number: int) -> None:
    """Have this process killed before it makes its Nth entry in the kernel."""
    add, count = steering_netlink.add, itertools.count(1)

    async def counted(ip: AsyncIPRoute, entry: Entry) -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        await add(ip, entry)

    steering_netlink.add = counted


def test_a_checker_that_is_cancelled_at_any_moment_leaves_nothing(lb: Host) -> None:
    before = rules_and_routes(lb)
    check = made_check("tcp", interval=0.02, timeout=0.02)
    endpoint = Endpoint(VIP4, 80)
    ways = [target.route for target in targets(lb, 2) if target.vip == VIP4]

    async def run() -> None:
        async with Checker(lambda *_: None) as checker:
            await checker.watch([(endpoint, [check], ways)])
            await asyncio.sleep(60)

    async def cancelled(seconds: float) -> None:
        task = asyncio.create_task(run())
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert {asyncio.current_task()} == asyncio.all_tasks()

    for milliseconds in (0, 1, 3, 5, 8, 12, 20, 40, 80):
        with enter_namespace(lb.name):
            asyncio.run(cancelled(milliseconds / 1000))
        assert before == rules_and_routes(lb), milliseconds


def test_a_start_keeps_the_entries_it_needs(lb: Host) -> None:
    killed_while_steering(lb, targets(lb, 2))
    wanted = targets(lb, 3)
    fresh: list[str] = []
    taken_over: list[str] = []
    in_namespace(lb, wanted, lambda _: taken_over.extend(rules_and_routes(lb)))
    in_namespace(lb, wanted, lambda _: fresh.extend(rules_and_routes(lb)))
    assert fresh == taken_over


def test_one_process_at_a_time_makes_checks(lb: Host) -> None:
    def second(_: Steering) -> None:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                with pytest.raises(BusyError, match="another process makes health checks"):
                    in_namespace(lb, (), lambda _: None)
                status = 0
            finally:
                os._exit(status)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    in_namespace(lb, (), second)


def test_marks_stay_and_are_not_reused_at_once(lb: Host) -> None:
    one, _, _, two, _ = targets(lb, 1)

    async def run() -> None:
        async with Steering() as steering:
            await steering.steer([one])
            first = steering.mark(one.route)
            await steering.steer([one, two])
            assert first == steering.mark(one.route)
            second = steering.mark(two.route)
            await steering.steer([two])
            await steering.steer([two, one])
            assert second == steering.mark(two.route)
            assert steering.mark(one.route) not in (first, second)

    with enter_namespace(lb.name):
        asyncio.run(run())


def test_an_ipv6_vip_by_an_ipv4_backend_takes_a_mac(lb: Host) -> None:
    ifindex = int(lb.link("eth0")["ifindex"])
    without = CheckTarget(VIP6, 80, Route(ip_address("10.66.0.11"), ifindex))
    before = rules_and_routes(lb)
    with pytest.raises(InputError, match="cannot be checked without a MAC"):
        in_namespace(lb, [without], lambda _: None)
    assert before == rules_and_routes(lb)


def test_a_conflicting_route_of_others_is_an_error_and_stays(lb: Host) -> None:
    lb.run("ip", "route", "add", "10.66.0.80/32", "dev", "eth0", "table", "1883504641")
    before = rules_and_routes(lb)
    with pytest.raises(EnvironmentCannotError, match=r"refused a rule or route.*File exists"):
        in_namespace(lb, targets(lb), lambda _: None)
    assert before == rules_and_routes(lb)


def test_the_error_names_a_missing_privilege(lb: Host) -> None:
    target = targets(lb)[0]
    pid = os.fork()
    if not pid:
        status = 1
        try:
            with enter_namespace(lb.name):
                os.seteuid(65534)
                with pytest.raises(PermissionDeniedError, match="is not permitted"):
                    asyncio.run(steered([target], lambda _: None))
                os.seteuid(0)
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_rules_leave_other_traffic_alone(lb: Host) -> None:
    """It takes its own way to the VIP, and to what other rules say."""
    lb.run("ip", "rule", "add", "fwmark", "5", "lookup", "5")
    lb.run("ip", "route", "add", "192.0.2.1", "via", "10.66.0.12", "table", "5")

    def ways() -> list[str]:
        asked = [["10.66.0.80"], ["10.66.0.11"], ["192.0.2.1", "mark", "5"]]
        return [lb.run("ip", "-oneline", "route", "get", *words) for words in asked]

    before = ways()
    during: list[str] = []
    in_namespace(lb, targets(lb), lambda _: during.extend(ways()))
    assert before == during


def test_checks_go_on_when_an_interface_comes_back(lb: Host, peer: Host, tmp_path: Path) -> None:
    """The kernel removes the routes of one that goes down."""
    checked = Checked(lb, peer)
    checked.add_vip()
    job = checked.job(made_check("tcp", interval=0.2, timeout=0.2, rise=1, fall=1))
    vip = checked.job(made_check("tcp")).target.vip
    changes: asyncio.Queue[bool] = asyncio.Queue()

    def report(_: object, result: Result, has_changed: bool, __: object) -> None:
        if has_changed:
            changes.put_nowait(result.passed)

    async def run() -> None:
        async with Checker(report) as checker, asyncio.timeout(DEADLINE_SECONDS):
            await checker.watch([(Endpoint(vip, 80), [job.check], [job.target.route])])
            lb.run("ip", "link", "set", "eth0", "down")
            assert not await changes.get()
            lb.run("ip", "link", "set", "eth0", "up")
            assert await changes.get()

    with checked.nginx(tmp_path), enter_namespace(lb.name):
        asyncio.run(run())


def test_rules_that_others_remove_are_restored(lb: Host, peer: Host) -> None:
    checked = Checked(lb, peer)
    job = checked.job(made_check("tcp"))
    endpoint = Endpoint(job.target.vip, 80)

    def ours() -> list[str]:
        return [line for line in rules_and_routes(lb) if f"proto {PROTOCOL}" in line]

    async def run() -> None:
        async with Checker(lambda *_: None) as checker, asyncio.timeout(DEADLINE_SECONDS):
            await checker.watch([(endpoint, [job.check], [job.target.route])])
            before = ours()
            assert 3 == len(before)
            for priority in ("440", "441", "442"):
                lb.run("ip", "rule", "del", "pref", priority)
            assert [] == ours()
            while ours() != before:
                await asyncio.sleep(0.05)

    with enter_namespace(lb.name):
        asyncio.run(run())


def test_the_protocol_number_is_shown_as_documented(lb: Host) -> None:
    def shown(_: Steering) -> None:
        rules = lb.run("ip", "rule", "show")
        assert f"fwmark 0x70440001 lookup 1883504641 proto {PROTOCOL}" in rules
        assert f"not from all fwmark 0x70440000/0xffff0000 goto 442 proto {PROTOCOL}" in rules

    in_namespace(lb, targets(lb, 1), shown)
