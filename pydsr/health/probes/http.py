"""HTTP/1.1 requests (RFC 9112).

httptools, which wraps llhttp of Node.js, parses the answers. With h11, which is written in Python,
an HTTP check took 345 microseconds instead of 165.
"""

from __future__ import annotations

import re
from functools import lru_cache

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pydsr.health.attempt import Attempt
from pydsr.health.sockets import PlainStream, Stream, connection_ended
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import HttpCheck, WebCheck

MAX_BODY = 64 * 1024
"""How many bytes of a body are searched."""

MAX_ANSWER = 4 * MAX_BODY
"""How many bytes of an answer are read, with headers and the framing of chunks."""

_FIRST_FINAL = 200
"""Lower statuses precede another answer (RFC 9110, section 15.2)."""


async def probe_http(check: HttpCheck, attempt: Attempt) -> Result:
    """Request a page."""
    return await request_page(check, attempt, PlainStream(await attempt.connect()))


async def request_page(check: WebCheck, attempt: Attempt, stream: Stream) -> Result:
    """Request a page over a connection, and compare the answer with the expected one.

    Raises:
        OSError: there is no answer.
    """
    await stream.send(request(check.method, check.path, host_header(check, attempt)))
    answer, data = Answer(), await stream.receive()
    if not data:
        raise connection_ended()
    try:
        answer.feed(data)
        while not _is_enough(check, answer):
            answer.feed(await stream.receive())
    except NoHttpError as error:
        return Result(Outcome.WRONG_ANSWER, f"{attempt.target} does not answer by HTTP: {error}")
    if not check.accepts(answer.status):
        return Result(
            Outcome.WRONG_ANSWER,
            f"{attempt.target} answers status {answer.status} for {check.path}",
            "the server's log on the backend may say why",
        )
    if check.body is None or re.search(check.body, answer.body.decode(errors="replace")):
        return PASSED
    return Result(
        Outcome.WRONG_ANSWER, f"{attempt.target}: {check.body!r} is not in the body of {check.path}"
    )


def host_header(check: WebCheck, attempt: Attempt) -> str:
    """Return the Host header of a check: by default, the VIP."""
    vip = attempt.target.vip
    return check.host or (f"[{vip}]" if vip.version == 6 else str(vip))


def _is_enough(check: WebCheck, answer: Answer) -> bool:
    needs_body = check.body is not None and check.accepts(answer.status)
    return answer.is_complete or (answer.status > 0 and not needs_body)


class NoHttpError(ValueError):
    """The answer is not HTTP."""


@lru_cache(maxsize=1024)
def request(method: str, path: str, host: str) -> bytes:
    """Return a request that asks the server to close the connection.

    A check's model ensures that there are no spaces or line ends in its parts.
    """
    lines = (
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: pydsr",
        "Accept: */*",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode()


class Answer:
    """An answer that arrives in parts; informational answers before it (1xx) are skipped.

    The status is 0 until the headers are complete. The body has at most MAX_BODY bytes.
    """

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.is_complete = False
        self._length = 0
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Add the next bytes; no bytes mean that the connection was closed.

        Raises:
            NoHttpError: this is not HTTP, and no status came before.
        """
        self._length += len(data)
        try:
            if data:
                self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._end("it changes to another protocol, which was not asked for")
        except HttpParserError as error:
            self._end(str(error))
        if not data:
            self._end("it ends within its headers")
        elif self._length >= MAX_ANSWER:
            self._end(f"its headers do not end within {MAX_ANSWER // 1024} KiB")

    def _end(self, reason: str) -> None:
        if not self.status:
            raise NoHttpError(reason)
        self.is_complete = True

    def on_headers_complete(self) -> None:
        """Called by the parser, like the next two methods."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL:
            self.status = status

    def on_body(self, data: bytes) -> None:
        """Add a part of the body."""
        self.body = (self.body + data)[:MAX_BODY]
        self.is_complete |= len(self.body) == MAX_BODY

    def on_message_complete(self) -> None:
        """Note the end of an answer."""
        self.is_complete |= self.status > 0
