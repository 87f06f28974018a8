"""TCP connections, datagrams, pings, agents and commands."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress

from pydsr.health.attempt import Attempt
from pydsr.health.ping import ping, ping_socket
from pydsr.health.sockets import PlainStream
from pydsr.model.agent_report import parse_agent
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import AgentCheck, CommandCheck, IcmpCheck, TcpCheck, UdpCheck, VipPingCheck
from pydsr.model.errors import InputError

_SHOWN_BYTES = 40
_MAX_REPORT = 4096
_SHOWN_CHARACTERS = 200


async def probe_tcp(_: TcpCheck, attempt: Attempt) -> Result:
    """Connect."""
    await attempt.connect()
    return PASSED


async def probe_udp(check: UdpCheck, attempt: Attempt) -> Result:
    """Send a datagram, and compare the first answer with the expected one."""
    answer = await attempt.receive(attempt.send(check.payload))
    if check.expect is None or re.match(check.expect, answer.decode("latin-1"), re.DOTALL):
        return PASSED
    return Result(
        Outcome.WRONG_ANSWER,
        f"{attempt.target} answers {answer[:_SHOWN_BYTES]!r}, which is not {check.expect!r}",
    )


async def probe_ping(_: IcmpCheck, attempt: Attempt) -> Result:
    """Ping the backend's own address."""
    attempt.is_own_address = True
    return await _ping(attempt)


async def probe_vip_ping(_: VipPingCheck, attempt: Attempt) -> Result:
    """Ping the VIP on the backend."""
    return await _ping(attempt)


async def _ping(attempt: Attempt) -> Result:
    with ping_socket(attempt.address, attempt.mark) as raw:
        await ping(raw, attempt.address)
    return PASSED


async def probe_agent(check: AgentCheck, attempt: Attempt) -> Result:
    """Read a line from the agent at the backend's own address."""
    attempt.is_own_address = True
    backend, line = attempt.target.route.backend, b""
    stream = PlainStream(await attempt.connect())
    if check.send:
        await stream.send(check.send.encode())
    while b"\n" not in line and len(line) < _MAX_REPORT and (more := await stream.receive()):
        line += more
    try:
        report = parse_agent(line.decode(errors="replace"))
    except InputError as error:
        return Result(Outcome.WRONG_ANSWER, f"agent of {backend}: {error.message}", error.hint)
    if report.is_up is False:
        reason = f" ({report.description})" if report.description else ""
        message = f"the agent of {backend} reports that it is down{reason}"
        return Result(Outcome.DECLARED_DOWN, message, report=report)
    return Result(Outcome.PASSED, report=report)


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
