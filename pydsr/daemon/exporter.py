"""The exporter beside the daemon.

It is a process of its own. In a thread of the daemon's it would hold Python's lock while it writes
thousands of lines, and whoever scrapes often enough would have checks miss their answers.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

from pydsr.daemon.options import Options
from pydsr.daemon.supervision import Complaints
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.model.errors import PydsrError

_END_SECONDS = 3.0
_DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM")

_log = logging.getLogger(__name__)


class Exporter:
    """Has ``pydsr exporter`` run where metrics are to be served.

    Args:
        options: of the daemon.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._complaints = Complaints(_log)

    async def run(self) -> None:
        """Have it run until cancelled; it also ends when this process does, however that is.

        Raises:
            PydsrError: it has ended.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=DEVNULL,
            stderr=PIPE,
            env=environment(),
            start_new_session=True,
        )
        try:
            await self._listen_to(process)
            status = await process.wait()
        finally:
            await _end(process)
        raise PydsrError(f"the exporter has ended with status {status}")

    def _command(self) -> Sequence[str]:
        options = self._options
        return (
            *_DIES_WITH_US,
            *(*PYTHON, "pydsr", "--bpffs", str(options.directory)),
            *("exporter", "--listen", str(options.metrics)),
            *("--runtime-directory", str(options.runtime)),
        )

    async def _listen_to(self, process: Process) -> None:
        """Log what it says, each line once, though it may say so at every start."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._complaints.say(text, f"exporter: {text.removeprefix('pydsr: ')}")


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
