"""The exporter's process: it asks the daemon, says each problem once, and ends on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pydsr.daemon import metrics_server
from pydsr.daemon.client import NoDaemonError
from pydsr.daemon.metrics_server import export_metrics
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.model.errors import NotAttachedError, PermissionDeniedError, PydsrError
from pydsr.model.listen import Listen

LISTEN = Listen.parse("127.0.0.1:9")
Ask = Callable[[], Awaitable[Any]]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Run an exporter whose daemon answers like that; return what the metrics get of it."""

    def run(
        answers: list[Any], reading: Exception | None = None, number: int = signal.SIGTERM
    ) -> list[Any]:
        got: list[Any] = []

        def read_metrics(path: Path) -> Any:
            assert Path("/run/socket") == path
            answer = answers[len(got)]
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def snapshot(_: SnapshotReader) -> None:
            if reading is not None:
                raise reading

        async def serve(
            _: SnapshotReader, ask: Ask, warn: Callable[[str], object], listen: Listen
        ) -> None:
            assert LISTEN == listen
            warn("the maps cannot be read")
            warn("the maps cannot be read")
            while len(got) < len(answers):
                got.append(await ask())
            signal.raise_signal(number)
            await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(SnapshotReader, "snapshot", snapshot)
        monkeypatch.setattr(metrics_server, "read_metrics", read_metrics)
        monkeypatch.setattr(metrics_server, "serve_metrics", serve)
        asyncio.run(export_metrics(Path("/nowhere"), Path("/run/socket"), LISTEN))
        return got

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_asks_the_daemon_and_ends_on_a_signal(
    exported: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """Without a daemon or a balancer it goes on; other problems are said once."""
    refused = PermissionDeniedError("no permission to ask the daemon")
    answers = [{"pid": 1}, NoDaemonError("none"), refused, refused, {"pid": 2}]
    found = exported(answers, NotAttachedError("none"), number)
    assert [{"pid": 1}, None, None, None, {"pid": 2}] == found
    assert ["the maps cannot be read", "no permission to ask the daemon"] == caplog.messages


def test_an_error_that_every_scrape_would_have_ends_it(
    exported: Callable[..., list[Any]],
) -> None:
    with pytest.raises(PydsrError, match="of another version"):
        exported([], PydsrError("of another version"))
