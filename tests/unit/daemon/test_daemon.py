"""The daemon without a kernel: decisions about netlink events, reloads, events, logs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.daemon.client import NoDaemonError, read_events, read_metrics, socket_path
from pydsr.daemon.event_server import EventServer
from pydsr.daemon.file_apply import waiting_backends, without
from pydsr.daemon.file_reload import ChangeDetector, Stamp, stamp_of
from pydsr.daemon.journal import LineFormatter, goes_to_journal, journal_prefix, plain_prefix
from pydsr.daemon.netlink_decisions import (
    LinkReaction,
    MacChange,
    MacHistory,
    NeighbourReaction,
    merge_neighbour,
    react_to_link,
    react_to_neighbour,
    topology_of,
)
from pydsr.daemon.notify_hook import NotifyHook
from pydsr.daemon.systemd import SystemdNotifier
from pydsr.daemon.tasks import keep_running
from pydsr.model.addresses import Endpoint, MacAddress, Tag
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.errors import InputError, PydsrError
from pydsr.model.events import Event, EventKind, EventLog
from pydsr.model.interfaces import Interface
from pydsr.model.netlink_events import Confidence, Link, Neighbour
from pydsr.model.service import BackendState, DesiredBackend
from pydsr.views.text.diagnosis import event_line
from tests.support.virtual_time import run_in_virtual_time

OLD, NEW = MacAddress.parse("02:00:00:00:00:01"), MacAddress.parse("02:00:00:00:00:02")
MULTICAST, ZERO = MacAddress(bytes.fromhex("010000000001")), MacAddress(bytes(6))
ADDRESS = ip_address("10.66.0.11")
SURE, UNSURE, FAILED, NONE = (
    Confidence.SURE,
    Confidence.UNSURE,
    Confidence.FAILED,
    Confidence.NONE,
)


def entry(confidence: Confidence, mac: MacAddress | None = OLD) -> Neighbour:
    return Neighbour(2, ADDRESS, mac, confidence)


@pytest.mark.parametrize(
    ("what", "before", "now", "expected"),
    [
        ("as packets have it", entry(SURE), entry(SURE), "NOTHING"),
        ("confirmed anew", None, entry(SURE, NEW), "FOLLOW"),
        ("announced by itself", entry(SURE), entry(UNSURE, NEW), "FOLLOW"),
        ("announced, and then confirmed", entry(UNSURE, NEW), entry(SURE, NEW), "FOLLOW"),
        ("old, and never confirmed", None, entry(UNSURE, NEW), "NOTHING"),
        ("the same, being asked again", entry(UNSURE, NEW), entry(UNSURE, NEW), "NOTHING"),
        ("became stale", entry(SURE), entry(UNSURE), "NOTHING"),
        ("did not answer", entry(UNSURE), entry(FAILED, None), "SILENT"),
        ("still does not", entry(FAILED, None), entry(FAILED, None), "NOTHING"),
        ("answers again", entry(FAILED, None), entry(SURE), "NOTHING"),
        ("answers with another card", entry(FAILED, None), entry(SURE, NEW), "FOLLOW"),
        ("a multicast MAC", entry(SURE), entry(SURE, MULTICAST), "NOTHING"),
        ("no MAC", entry(SURE), entry(SURE, ZERO), "NOTHING"),
        ("is being asked", entry(SURE), entry(NONE, None), "NOTHING"),
    ],
)
def test_a_changed_mac_is_followed(
    what: str, before: Neighbour | None, now: Neighbour, expected: str
) -> None:
    assert NeighbourReaction[expected] is react_to_neighbour(before, now, {OLD}), what


def test_the_last_mac_survives_while_the_kernel_asks_again() -> None:
    """An entry that fails again and again is silent once, and a new NIC is followed."""
    known = merge_neighbour(entry(SURE), entry(FAILED, None))
    known = merge_neighbour(known, entry(NONE, None))
    assert entry(FAILED, OLD) == known
    assert NeighbourReaction.NOTHING is react_to_neighbour(known, entry(FAILED, None), {OLD})
    assert NeighbourReaction.FOLLOW is react_to_neighbour(known, entry(UNSURE, NEW), {OLD})


def test_a_mac_that_changes_back_means_two_hosts_with_one_address() -> None:
    history = MacHistory(seconds=60)
    assert MacChange.NEW is history.record(ADDRESS, OLD, NEW, 100)
    assert MacChange.DUPLICATE is history.record(ADDRESS, NEW, OLD, 110)
    assert MacChange.STILL_DUPLICATE is history.record(ADDRESS, OLD, NEW, 120)
    assert MacChange.DUPLICATE is history.record(ADDRESS, NEW, OLD, 175)
    assert MacChange.NEW is history.record(ADDRESS, OLD, NEW, 500)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(60.0, MacChange.DUPLICATE), (60.1, MacChange.NEW)]
)
def test_a_mac_may_change_back_after_a_minute(seconds: float, expected: MacChange) -> None:
    history = MacHistory()
    history.record(ADDRESS, OLD, NEW, 100)
    assert expected is history.record(ADDRESS, NEW, OLD, 100 + seconds)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(60.0, MacChange.STILL_DUPLICATE), (60.1, MacChange.DUPLICATE)]
)
def test_a_duplicate_address_is_reported_once_a_minute(seconds: float, expected: MacChange) -> None:
    history = MacHistory()
    for number, when in enumerate((0.0, 10.0, 50.0)):
        macs = (OLD, NEW) if number % 2 == 0 else (NEW, OLD)
        history.record(ADDRESS, *macs, 100 + when)
    assert expected is history.record(ADDRESS, NEW, OLD, 110 + seconds)


def test_former_backends_are_forgotten() -> None:
    history = MacHistory(seconds=60)
    history.record(ADDRESS, OLD, NEW, 100)
    history.keep_only([])
    assert MacChange.NEW is history.record(ADDRESS, NEW, OLD, 110)


ETH0 = Link(Interface(2, "eth0", OLD, 1500, is_up=True), has_carrier=True)
DOWN = replace(ETH0, interface=replace(ETH0.interface, is_up=False))
UNPLUGGED = replace(ETH0, has_carrier=False)
OTHER = replace(ETH0, interface=replace(ETH0.interface, index=3))


@pytest.mark.parametrize(
    ("what", "before", "now", "expected"),
    [
        ("the same", ETH0, ETH0, "NOTHING"),
        ("set down", ETH0, DOWN, "DOWN"),
        ("unplugged", ETH0, UNPLUGGED, "DOWN"),
        ("unplugged, then set down", UNPLUGGED, DOWN, "NOTHING"),
        ("plugged in", UNPLUGGED, ETH0, "UP"),
        ("not known before", None, ETH0, "NOTHING"),
        ("not attached", ETH0, replace(OTHER, has_carrier=False), "NOTHING"),
    ],
)
def test_a_link_that_carries_nothing_is_down(
    what: str, before: Link | None, now: Link, expected: str
) -> None:
    assert LinkReaction[expected] is react_to_link(before, now, {2}, ()), what


def test_a_lost_interface_is_recognised_by_its_name() -> None:
    assert LinkReaction.BACK is react_to_link(None, OTHER, (), {"eth0"})
    assert LinkReaction.NOTHING is react_to_link(None, OTHER, {3}, {"eth0"})


def test_only_what_matters_to_packets_changes_the_topology() -> None:
    """The interface's MAC and a VLAN on it do; an unrelated interface does not."""
    before = topology_of([ETH0], {2})
    elsewhere = Link(Interface(9, "veth9", NEW, 1500, is_up=True), has_carrier=True)
    assert before == topology_of([ETH0, elsewhere], {2})
    renamed = replace(ETH0, interface=replace(ETH0.interface, mac=NEW))
    assert before != topology_of([renamed], {2})
    tag = Tag(0x8100, 7)
    vlan = Interface(4, "eth0.7", OLD, 1500, is_up=True, parent=2, kind="vlan", tag=tag)
    assert before != topology_of([ETH0, Link(vlan, has_carrier=True)], {2})


ONE, TWO = Stamp(1, 10, 1000, 5), Stamp(1, 11, 2000, 6)


@pytest.mark.parametrize(
    ("what", "looks", "loaded"),
    [
        ("nothing happened", [ONE, ONE, ONE], 0),
        ("replaced", [ONE, TWO, TWO, TWO], 1),
        ("away for a moment, then another", [None, None, TWO, TWO], 1),
        ("away, and back as it was", [None, ONE, ONE], 0),
        ("still being written", [replace(TWO, size=n) for n in range(5)], 0),
        ("changed, and changed back", [TWO, TWO, ONE, ONE], 2),
        ("gone for good", [None, None, None], 0),
    ],
)
def test_a_file_is_loaded_once_it_is_stable(
    what: str, looks: list[Stamp | None], loaded: int
) -> None:
    detector = ChangeDetector(ONE)
    assert loaded == sum(detector.needs_reload(stamp) for stamp in looks), what


def test_a_file_behind_a_link_has_the_stamp_of_its_target(tmp_path: Path) -> None:
    """Kubernetes replaces a ConfigMap by changing such a link."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("one")
    before = stamp_of(link)
    link.unlink()
    link.symlink_to("two")
    assert None not in (before, stamp_of(link))
    assert before != stamp_of(link)
    assert stamp_of(tmp_path / "none") is None


def numbered(count: int) -> Iterator[Event]:
    return (Event(EventKind.LINK_UP, f"eth{n}", "cause", 0.25) for n in range(count))


def test_the_newest_events_are_kept_and_numbered() -> None:
    log = EventLog(kept=3)
    received: list[Event] = []
    unsubscribe = log.subscribe(received.append)
    for event in numbered(5):
        log.record(event)
    unsubscribe()
    unsubscribe()
    log.record(next(numbered(1)))
    assert [4, 5, 6] == [event.number for event in log.past()]
    assert [1, 2, 3, 4, 5] == [event.number for event in received]


def test_long_events_leave_room_for_fewer() -> None:
    (short,) = numbered(1)
    long = replace(short, details={"changes": "x" * 1000})
    log = EventLog(kept=100, kept_bytes=1000 + 5 * len(short.line()))
    for event in (*[short] * 9, long, short):
        log.record(event)
    assert [8, 9, 10, 11] == [event.number for event in log.past()]
    log.record(replace(short, details={"changes": "x" * 9000}))
    assert [12] == [event.number for event in log.past()]


def test_an_event_is_one_line_of_json() -> None:
    event = Event(EventKind.MAC_CHANGED, "10.66.0.11", "why\nso", 0.25, {"from": "a", "to": "b"})
    document = json.loads(event.line())
    assert "\n" not in event.line()
    assert {
        "number": 0,
        "event": "mac-changed",
        "object": "10.66.0.11",
        "cause": "why\nso",
        "duration": 0.25,
        "from": "a",
        "to": "b",
    } == {key: value for key, value in document.items() if key != "time"}
    assert document["time"].endswith("Z")
    assert event_line(document).endswith("mac-changed  10.66.0.11: a -> b, why; so (250.0 ms)")


class _SubscribedLog(EventLog):
    """A log that tells when somebody subscribes."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribed = asyncio.Event()

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.subscribed.set()
        return super().subscribe(listener)


def test_events_are_served_to_the_owner_alone(tmp_path: Path) -> None:
    """Past events, then new ones up to the last when the daemon ends."""
    path = tmp_path / "events.sock"
    path.write_text("left by a daemon that was killed")
    log = _SubscribedLog()

    async def serve() -> tuple[list[str], list[str], int]:
        past, coming = numbered(2)
        log.record(past)
        server = asyncio.create_task(EventServer(log, path, {}).run())
        while not path.is_socket():
            await asyncio.sleep(0)
        mode = path.stat().st_mode & 0o777
        once = await asyncio.to_thread(lambda: [*read_events(path, follow=False)])
        following = asyncio.create_task(
            asyncio.to_thread(lambda: [*read_events(path, follow=True)])
        )
        await log.subscribed.wait()
        log.record(coming)
        server.cancel()
        return once, await following, mode

    once, followed, mode = asyncio.run(serve())
    assert ["eth0"] == [json.loads(line)["object"] for line in once]
    assert ["eth0", "eth1"] == [json.loads(line)["object"] for line in followed]
    assert 0o600 == mode
    assert not path.exists()
    with pytest.raises(PydsrError, match="no pydsr daemon answers"):
        next(read_events(path, follow=False))


def test_each_directory_of_pins_has_a_socket_of_its_own() -> None:
    runtime = Path("/run/pydsr")
    assert runtime / "sys-fs-bpf-pydsr.sock" == socket_path(runtime, Path("/sys/fs/bpf/pydsr"))
    with pytest.raises(InputError, match="too long"):
        socket_path(runtime, Path("/sys/fs/bpf") / ("x" * 100))


async def run_hook(command: list[str], events: int, queued: int = 1000) -> None:
    hook = NotifyHook(command, queued_max=queued)
    for event in numbered(events):
        hook.add(event)
    await hook.finish(math.inf)


def test_the_notify_command_gets_every_event_in_order(tmp_path: Path) -> None:
    notified = tmp_path / "notified"
    asyncio.run(run_hook(["tee", "-a", str(notified)], 3))
    objects = [json.loads(line)["object"] for line in notified.read_text().splitlines()]
    assert ["eth0", "eth1", "eth2"] == objects


def test_a_notify_command_that_hangs_is_killed_with_its_children(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pids = tmp_path / "pids"
    pids.touch()

    def both_run() -> bool:
        started = pids.read_text().split()
        return len(started) == 2 and all(map(is_running, started))

    hanging = f"echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait"
    run_in_virtual_time(run_hook(["sh", "-c", hanging], 1), both_run)
    assert "did not end within 10 seconds" in caplog.text
    both = pids.read_text().split()
    # The kernel takes its time to end what was killed; only the first is waited for.
    deadline = time.monotonic() + 60
    while any(map(is_running, both)) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert [] == [pid for pid in both if is_running(pid)]


def is_running(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path("/proc", pid, "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_notify_command_need_not_read_its_event() -> None:
    warnings: list[object] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: warnings.append(what))
        hook = NotifyHook(["true"])
        # More than a pipe holds, so that the rest cannot be written any more.
        hook.add(Event(EventKind.LINK_UP, "eth0", "x" * 1_000_000))
        await hook.finish(60)

    asyncio.run(run())
    gc.collect()
    assert [] == warnings


def test_a_notify_command_is_killed_when_the_daemon_ends(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    async def run() -> None:
        hook = NotifyHook(["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60"])
        hook.add(next(numbered(1)))
        task = asyncio.create_task(hook.run())
        async with asyncio.timeout(60):
            while not pid.exists():
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_events_beyond_the_queue_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The oldest are dropped, and nothing waits."""
    notified = tmp_path / "notified"
    asyncio.run(run_hook(["tee", "-a", str(notified)], 5, queued=2))
    objects = [json.loads(line)["object"] for line in notified.read_text().splitlines()]
    assert ["eth3", "eth4"] == objects
    assert ["the notify command tee is too slow: 3 events were dropped"] == caplog.messages


def test_a_failing_notify_command_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asyncio.run(run_hook(["false"], 3))
    asyncio.run(run_hook(["/no/such/command"], 2))
    assert [
        "the notify command false ended with status 1",
        "the notify command /no/such/command cannot be run: No such file or directory",
    ] == caplog.messages


def test_systemd_is_notified(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(tmp_path / "notify")
        manager.bind(path)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"})
        notifier.ready("as in a file")
        notifier.reloading()
        notified = [manager.recv(4096).decode() for _ in range(2)]
    assert "READY=1\nSTATUS=as in a file" == notified[0]
    assert notified[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert 3 == notifier.watchdog_seconds
    notifier.stopping()


def test_systemd_may_listen_at_an_abstract_name() -> None:
    name = f"pydsr-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": "@" + name})
        notifier.stopping()
        notifier.status("as in a file")
        received = [manager.recv(4096).decode() for _ in range(2)]
    assert ["STOPPING=1\nSTATUS=stopping", "STATUS=as in a file"] == received


def test_a_service_manager_that_is_gone_is_no_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).stopping()
    SystemdNotifier({}).stopping()
    assert [] == caplog.messages


def test_the_watchdog_is_fed_twice_in_its_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        notifier = SystemdNotifier(
            {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
        )

        async def feed(seconds: float) -> int:
            feeding = asyncio.ensure_future(notifier.feed_watchdog())
            await asyncio.sleep(seconds)
            feeding.cancel()
            fed = 0
            with suppress(BlockingIOError):
                while manager.recv(100) == b"WATCHDOG=1":
                    fed += 1
            return fed

        assert 5 == run_in_virtual_time(feed(6.1))


def test_the_watchdog_of_another_process_is_not_fed() -> None:
    of_another = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert 0 == SystemdNotifier(of_another).watchdog_seconds
    assert 0 == SystemdNotifier({}).watchdog_seconds


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("pydsr", level, "", 0, text, None, None)


def test_every_line_in_the_journal_has_its_priority() -> None:
    formatted = LineFormatter(journal_prefix).format(
        record(logging.ERROR, "a.yaml:3: one\na.yaml:4: two")
    )
    assert "<3>a.yaml:3: one\n<3>a.yaml:4: two" == formatted
    assert "<7>x" == LineFormatter(journal_prefix).format(record(logging.DEBUG, "x"))
    assert "pydsr: info: x" == LineFormatter(plain_prefix).format(record(logging.INFO, "x"))


def test_stderr_is_the_journal_only_if_it_is_the_named_stream(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert goes_to_journal(named, stream.fileno())
        assert not goes_to_journal({"JOURNAL_STREAM": "1:2"}, stream.fileno())
        assert not goes_to_journal({}, stream.fileno())


def test_a_failing_task_is_restarted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = 0

    async def start() -> None:
        nonlocal started
        started += 1
        if started < 4:
            raise OSError(105, "No buffer space available")
        raise ValueError("a defect")

    with pytest.raises(ExceptionGroup, match="unhandled"):
        asyncio.run(run_in_group(start))
    assert 4 == started
    assert ["listening: [Errno 105] No buffer space available; trying again"] == caplog.messages


async def run_in_group(start: object) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_running("listening", start, 0.001))  # type: ignore[arg-type]


def test_backends_that_do_not_answer_are_left_out_and_waited_for() -> None:
    """Except one whose MAC is given, which need not answer."""
    other = ip_address("10.66.0.12")
    silent = DesiredBackend(ADDRESS, 1, BackendState.UP)
    by_hand = DesiredBackend(ADDRESS, 1, BackendState.UP, OLD)
    answers = DesiredBackend(other, 1, BackendState.UP)
    one, two = Endpoint.parse("10.66.0.80:80"), Endpoint.parse("10.66.0.80:81")
    wanted = DesiredState(
        services=(
            DesiredService(one, backends=(silent, answers)),
            DesiredService(two, backends=(by_hand,)),
        )
    )
    left = without(wanted, {ADDRESS})
    assert [(answers,), (by_hand,)] == [service.backends for service in left.services]
    assert {one: (silent,)} == waiting_backends(wanted, {ADDRESS})
    assert wanted == without(wanted, ())


@pytest.mark.parametrize("answer", [b"", b'{"services": ['])
def test_a_reply_that_is_cut_off_is_none(tmp_path: Path, answer: bytes) -> None:
    """The daemon was killed while it answered."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NoDaemonError, match="does not answer"):
            read_metrics(path)
        thread.join()


def test_a_daemon_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """The kernel accepts the connection, but the daemon does not reply."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        with pytest.raises(NoDaemonError, match="does not answer"):
            read_metrics(tmp_path / "socket", timeout=0.1)


@pytest.mark.parametrize(("events", "first"), [(1000, 1), (1001, 2)])
def test_a_thousand_events_may_wait_for_the_notify_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, events: int, first: int
) -> None:
    """Then the oldest are dropped."""
    notified = tmp_path / "notified"

    async def run() -> None:
        hook = NotifyHook(["sh", "-c", f"cat >> {notified}; exit 9"])
        for number in range(1, events + 1):
            hook.add(Event(EventKind.LINK_UP, f"eth{number}", "cause"))
        running = asyncio.ensure_future(hook.run())
        while not caplog.messages:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert f"eth{first}" == json.loads(notified.read_text().splitlines()[0])["object"]
    assert "ended with status 9" in caplog.text
