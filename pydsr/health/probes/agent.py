"""Agents: a line from the backend's own address says how it is."""

from __future__ import annotations

from pydsr.health.attempt import Attempt
from pydsr.health.streams import PlainStream
from pydsr.model.agent_report import parse_agent
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import AgentCheck
from pydsr.model.errors import InputError

_MAX_LINE = 4096


async def probe(check: AgentCheck, attempt: Attempt) -> Result:
    """Connect, and read a line.

    Raises:
        OSError: there is no agent to be reached.
    """
    attempt.is_own_address = True
    line = b""
    stream = PlainStream(await attempt.connect())
    if check.send:
        await stream.send(check.send.encode())
    while b"\n" not in line and len(line) < _MAX_LINE and (more := await stream.receive()):
        line += more
    try:
        report = parse_agent(line.decode(errors="replace"))
    except InputError as error:
        backend = attempt.target.route.backend
        return Result(Outcome.WRONG_ANSWER, f"agent of {backend}: {error.message}", error.hint)
    if report.is_up is False:
        said = f" ({report.description})" if report.description else ""
        message = f"the agent of {attempt.target.route.backend} says it is down{said}"
        return Result(Outcome.DECLARED_DOWN, message, report=report)
    return Result(Outcome.PASSED, report=report)
