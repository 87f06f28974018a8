"""Commands: exit status 0 passes."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress

from pydsr.health.attempt import Attempt
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import CommandCheck

_SHOWN_CHARACTERS = 200


async def probe_command(check: CommandCheck, attempt: Attempt) -> Result:
    """Run the command; at the timeout, kill it with everything it has started."""
    target = attempt.target
    environment = {
        "VIP": str(target.vip),
        "PORT": str(target.port or ""),
        "BACKEND": str(target.route.backend),
        "MARK": str(attempt.mark),
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *check.argv,
            env=os.environ | environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Result(
            Outcome.WRONG_ANSWER,
            f"{check.argv[0]} cannot be run: {error.strerror}",
            "give the program's full path",
        )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        await _kill(process)
        raise
    if process.returncode == 0:
        return PASSED
    shown = output.decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
    return Result(
        Outcome.WRONG_ANSWER,
        f"{target}: {check.argv[0]} ends with status {process.returncode}"
        + (f": {shown}" if shown else ""),
    )


async def _kill(process: Process) -> None:
    """Kill the command's session, even if the command itself has ended, and reap it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()
