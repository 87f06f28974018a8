"""Commands: what ends with status 0 is good."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress

from pydsr.health.attempt import Attempt
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import CommandCheck

_SHOWN = 200


async def probe(check: CommandCheck, attempt: Attempt) -> Result:
    """Run the command to its end; all it has started ends with it where time runs out."""
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
            "name a program by its whole path",
        )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        await _end(process)
        raise
    if process.returncode == 0:
        return PASSED
    said = output.decode(errors="replace").strip()[-_SHOWN:]
    return Result(
        Outcome.WRONG_ANSWER,
        f"{target}: {check.argv[0]} ends with status {process.returncode}"
        + (f": {said}" if said else ""),
    )


async def _end(process: Process) -> None:
    """Kill the command and all it has started, also where it has ended itself, and reap it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()
