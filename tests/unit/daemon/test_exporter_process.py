"""The exporter beside the daemon: its messages, and its end in every way."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from pydsr.daemon.exporter_process import ExporterProcess
from pydsr.daemon.tasks import keep_running
from pydsr.model.errors import PydsrError
from pydsr.model.listen import Listen
from tests.support.virtual_time import run_in_virtual_time

_OBEYS = "signal.SIG_DFL"
_IGNORES = "signal.SIG_IGN"


def exporter(script: str) -> ExporterProcess:
    """Return an exporter that runs a script in place of ``pydsr exporter``."""
    made = ExporterProcess(Path("/nowhere"), Path("/run/nowhere"), Listen.parse("127.0.0.1:9477"))
    made._command = (sys.executable, "-c", script)  # type: ignore[assignment]
    return made


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_started_for_the_daemons_balancer_and_ends_with_it() -> None:
    made = ExporterProcess(Path("/nowhere"), Path("/run/nowhere"), Listen.parse("127.0.0.1:9477"))
    words = " ".join(made._command)
    assert words.startswith("setpriv --pdeathsig TERM ")
    assert " pydsr --bpffs /nowhere exporter --listen 127.0.0.1:9477" in words
    assert words.endswith(" --runtime-directory /run/nowhere")


def test_its_messages_are_logged_once_however_often_it_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its end is a reason to start it again, also logged once."""
    script = "import sys; print('pydsr: error: taken', file=sys.stderr); sys.exit(5)"
    made, started = exporter(script), 0

    async def run() -> None:
        nonlocal started
        started += 1
        if started == 4:
            raise asyncio.CancelledError
        await made.run()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keep_running("serving metrics", run, 0.0))
    assert [
        "exporter: error: taken",
        "serving metrics: the exporter has ended with status 5; trying again",
    ] == caplog.messages


@pytest.mark.parametrize("on_sigterm", [_OBEYS, _IGNORES])
def test_it_ends_with_its_task_even_if_it_ignores_sigterm(
    caplog: pytest.LogCaptureFixture, on_sigterm: str
) -> None:
    script = f"""
import os, signal, sys
signal.alarm(100)  # it ends even if the test fails
signal.signal(signal.SIGTERM, {on_sigterm})
print(os.getpid(), file=sys.stderr, flush=True)
while True:
    signal.pause()
"""

    async def main() -> None:
        task = asyncio.ensure_future(exporter(script).run())
        while not caplog.messages:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # The clock jumps, so that three seconds pass at once.
    run_in_virtual_time(main())
    pid = int(caplog.messages[0].removeprefix("exporter: "))
    assert not is_running(pid)


def test_its_end_has_its_status() -> None:
    with pytest.raises(PydsrError, match="the exporter has ended with status 3"):
        asyncio.run(exporter("raise SystemExit(3)").run())
