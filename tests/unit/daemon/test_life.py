"""The life of a daemon on a host that the test plays: reloads, its socket, and its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pydsr.daemon import daemon as daemon_module
from pydsr.daemon import file_apply
from pydsr.daemon.client import read_health, read_metrics, socket_path
from pydsr.daemon.daemon import Daemon, Options
from pydsr.daemon.file_apply import Applied
from pydsr.daemon.tasks import Task
from pydsr.model.addresses import Endpoint
from pydsr.model.change import Impact
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, InputError, PydsrError
from pydsr.model.events import Event, EventKind
from pydsr.model.listen import Listen
from pydsr.model.service import BackendState, DesiredBackend
from tests.support.virtual_time import run_in_virtual_time

WEB = Endpoint.parse("10.66.0.80:80")
KEPT_TASKS = ("watching the file", "reloading the file")
ALL_TASKS = {
    "tracking neighbours and links",
    "watching the file",
    "reloading the file",
    "adding backends that answer",
    "checking health",
    "watching for ARP conflicts",
    "watching for the VRRP address",
    "collecting garbage",
    "trimming memory",
}


class Host:
    """A host whose kernel does what the test says.

    Attributes:
        waiting: how many backends do not answer.
        errors: of the next applies.
        calls: of detach and of the instance.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.waiting = 0
        self.errors: list[Exception] = []
        self.calls: list[str] = []
        self.detached: Exception | list[str] = ["eth0"]
        self.happened: list[Event] = []
        (folder / "balancer.yaml").write_text("one")
        monkeypatch.setattr(file_apply, "load", lambda _: DesiredState())
        monkeypatch.setattr(file_apply, "apply_without_silent", self._apply)
        monkeypatch.setattr(daemon_module, "detach", self._detach)
        monkeypatch.setattr(daemon_module, "tune_process", lambda: None)
        monkeypatch.setattr(
            "pydsr.daemon.instance.Instance.acquire", lambda _: self.calls.append("acquire")
        )
        monkeypatch.setattr(
            "pydsr.daemon.instance.Instance.close", lambda _: self.calls.append("close")
        )
        tasks = Daemon._tasks

        def few(daemon: Daemon) -> dict[str, Task]:
            return {name: task for name, task in tasks(daemon).items() if name in KEPT_TASKS}

        monkeypatch.setattr(Daemon, "_tasks", few)

    def _apply(self, _: Path, __: DesiredState) -> Applied:
        if self.errors:
            raise self.errors.pop(0)
        backends = tuple(
            DesiredBackend(Endpoint.parse(f"10.66.0.{n}:1").address, 1, BackendState.UP)
            for n in range(1, self.waiting + 1)
        )
        return Applied(Impact(()), {WEB: backends} if backends else {})

    def _detach(self, _: Path, names: list[str]) -> list[str]:
        self.calls.append(f"detach {names}")
        if isinstance(self.detached, Exception):
            raise self.detached
        return self.detached

    def options(self, **more: Any) -> Options:
        return Options(Path("/nowhere"), self.folder / "balancer.yaml", self.folder / "run", **more)

    @property
    def socket(self) -> Path:
        """The daemon's socket."""
        return socket_path(self.folder / "run", Path("/nowhere"))

    async def run(self, *steps: Callable[[], Any], **options: Any) -> None:
        """Run a daemon; call steps in it, and then stop it as systemd does."""
        daemon = Daemon(self.options(**options))
        daemon._events.subscribe(self.happened.append)
        running = asyncio.ensure_future(daemon.run())
        await asyncio.sleep(1)
        for step in steps:
            result = step()
            if asyncio.iscoroutine(result):
                await result
            await asyncio.sleep(1)
        if not running.done():
            signal.raise_signal(signal.SIGTERM)
        await running

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events so far."""
        return [event.kind.value for event in self.happened]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def hang_up() -> None:
    signal.raise_signal(signal.SIGHUP)


def test_it_reloads_on_request_and_leaves_the_data_plane_running(host: Host) -> None:
    """Its socket is there as long as it runs, with the modes of root's own."""
    modes: list[int] = []

    def look() -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in (host.folder / "run", host.socket))

    run_in_virtual_time(host.run(hang_up, look))
    assert ["started", "applied", "reloaded", "stopping"] == host.kinds
    assert [0o700, 0o600] == modes
    assert not host.socket.exists()
    assert ["acquire", "acquire", "acquire", "close"] == host.calls


def test_its_file_is_watched_also_after_a_reload_that_failed(host: Host) -> None:

    async def change(text: str) -> None:
        (host.folder / "balancer.yaml").write_text(text)
        await asyncio.sleep(2)

    async def change_and_fail() -> None:
        host.errors.append(PydsrError("the kernel refuses"))
        await change("three more words")

    run_in_virtual_time(host.run(lambda: change("two words"), change_and_fail, lambda: change("4")))
    assert ["started", "applied", "reloaded", "reload-failed", "reloaded", "stopping"] == host.kinds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_stopped_while_it_waits_for_the_lock(host: Host, number: int) -> None:
    """From the start on; then nothing was applied."""
    host.errors = [BusyError("another command")] * 10**6

    async def main() -> None:
        running = asyncio.ensure_future(Daemon(host.options()).run())
        while len(host.calls) < 3:
            await asyncio.sleep(0)
        signal.raise_signal(number)
        await running

    run_in_virtual_time(main())
    assert "close" == host.calls[-1]


def test_a_file_that_cannot_be_applied_ends_it(host: Host) -> None:
    """The lock is released, and the socket is gone."""
    host.errors = [InputError("there is no interface 'eth7'")]
    with pytest.raises(InputError, match="eth7"):
        run_in_virtual_time(host.run())
    assert ["acquire", "acquire", "close"] == host.calls
    assert not host.socket.exists()


@pytest.mark.parametrize(
    ("detached", "event"),
    [(["eth0", "eth1"], "eth0, eth1"), ([], "nothing")],
)
def test_it_detaches_at_its_end_if_asked_to(host: Host, detached: list[str], event: str) -> None:
    host.detached = detached
    run_in_virtual_time(host.run(detach_on_exit=True))
    last = host.happened[-1]
    assert (EventKind.DETACHED, event) == (last.kind, last.object)
    assert ["acquire", "acquire", "detach []", "close"] == host.calls


def test_a_detach_that_fails_is_logged(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """The daemon ends nevertheless."""
    host.detached = BusyError("another command")
    run_in_virtual_time(host.run(detach_on_exit=True))
    assert "cannot detach: another command" in caplog.messages
    assert ["started", "applied"] == host.kinds
    assert "close" == host.calls[-1]


def test_commands_and_the_exporter_ask_it_for_documents(host: Host) -> None:
    """With the backends that wait."""
    host.waiting = 2
    found: list[Any] = []

    async def ask() -> None:
        found.append(await asyncio.to_thread(read_health, host.socket))
        found.append(await asyncio.to_thread(read_metrics, host.socket))

    run_in_virtual_time(host.run(ask))
    health, metrics = found
    assert {"services": []} == health == metrics["health"]
    assert (2, True, 1) == (metrics["waiting"], metrics["in_force"], metrics["events"]["applied"])
    assert 2 == metrics["events"]["backend-waiting"]


def test_systemd_is_told_of_every_state(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload ends even if it fails, and the line of the status has what is missing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(host.folder / "notify")
        manager.bind(path)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        host.waiting = 1

        def hang_up_and_fail() -> None:
            host.errors.append(PydsrError("refused"))
            hang_up()

        run_in_virtual_time(host.run(hang_up, hang_up_and_fail))
        told: list[str] = []
        with suppress(BlockingIOError):
            while True:
                told.append(manager.recv(4096).decode())
    ready = f"READY=1\nSTATUS=as in {host.folder}/balancer.yaml, but 1 backends do not answer"
    assert [ready, "RELOADING=1", ready, "RELOADING=1", ready, "STOPPING=1"] == [
        text if text.startswith("READY") else text.split("\n")[0] for text in told
    ]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, set()),
        ({"notify": ("true",)}, {"running the notify command"}),
        ({"metrics": Listen.parse("127.0.0.1:9")}, {"serving metrics"}),
        ({"web": Listen.parse("127.0.0.1:9")}, {"serving the status page"}),
    ],
)
def test_it_runs_the_tasks_of_its_options(
    tmp_path: Path, options: dict[str, Any], more: set[str]
) -> None:
    made = Daemon(Options(Path("/nowhere"), tmp_path / "file", tmp_path, **options))
    assert ALL_TASKS | more == made._tasks().keys()


def test_it_feeds_the_watchdog_that_systemd_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    made = Daemon(Options(Path("/nowhere"), tmp_path / "file", tmp_path))
    assert ALL_TASKS | {"feeding the watchdog"} == made._tasks().keys()
