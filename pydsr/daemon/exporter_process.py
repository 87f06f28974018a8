"""Run the metrics exporter beside the daemon.

The exporter is a process of its own. In a thread it would hold Python's lock while it writes
thousands of lines, and frequent scrapes would make health checks miss their answers.
"""

from __future__ import annotations

import logging
from asyncio import create_subprocess_exec, ensure_future, wait
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

from pydsr.daemon.tasks import WarnOnce
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.model.errors import PydsrError
from pydsr.model.listen import Listen

_STOP_SECONDS = 3.0
_DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")

_log = logging.getLogger(__name__)


class ExporterProcess:
    """Runs ``pydsr exporter``."""

    def __init__(self, directory: Path, runtime: Path, listen: Listen) -> None:
        self._command = (
            *_DIES_WITH_PARENT,
            *(*PYTHON, "pydsr", "--bpffs", str(directory)),
            *("exporter", "--listen", str(listen)),
            *("--runtime-directory", str(runtime)),
        )
        self._warnings = WarnOnce(_log)

    async def run(self) -> None:
        """Run the exporter until cancelled; it also ends if this process dies.

        Raises:
            PydsrError: the exporter has ended.
        """
        process = await create_subprocess_exec(
            *self._command,
            stdin=DEVNULL,
            stderr=PIPE,
            env=environment(),
            start_new_session=True,
        )
        try:
            await self._log_messages(process)
            status = await process.wait()
        finally:
            await _stop(process)
        raise PydsrError(f"the exporter has ended with status {status}")

    async def _log_messages(self, process: Process) -> None:
        """Log each line of its stderr, once even if every start prints it again."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._warnings.warn(text, f"exporter: {text.removeprefix('pydsr: ')}")


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    # Not asyncio.timeout: in a cancelled task, Python 3.11 raises no TimeoutError.
    ending = ensure_future(process.wait())
    await wait([ending], timeout=_STOP_SECONDS)
    if not ending.done():
        process.kill()
    await ending
