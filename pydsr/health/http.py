"""A request of HTTP/1.1 and what has come of its answer (RFC 9112). Pure: bytes in, values out.

llhttp reads the answer, the parser of Node.js. It is some ten times as fast as one in Python.
"""

from __future__ import annotations

from functools import lru_cache

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_BODY = 64 * 1024
"""How much of a body is looked at, in bytes."""

MAX_ANSWER = 4 * MAX_BODY
"""How much of an answer is read, in bytes: headers and the framing of chunks count."""

_FIRST_FINAL = 200
"""The first status of an answer that no other follows (RFC 9110, section 15.2)."""


class NoHttpError(ValueError):
    """What came is no answer of HTTP."""


@lru_cache(maxsize=1024)
def request(method: str, path: str, host: str) -> bytes:
    """Return a request, after which the connection is to end.

    Args:
        method: such as GET.
        path: what is asked for, without spaces or line ends, as a check's model has it.
        host: the same, with a port where it is not the usual one.
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
    """An answer as far as it has come; informational ones before it (1xx) are passed over.

    Attributes:
        status: 0 until the headers are whole.
        body: what there is of it, MAX_BODY at most.
        is_over: whether nothing more comes that matters.
    """

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.is_over = False
        self._length = 0
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what has come next; nothing says that the other side has ended.

        Raises:
            NoHttpError: this is no HTTP, and no status came before it.
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
        self.is_over = True

    def on_headers_complete(self) -> None:
        """Be told so by the parser, as by the next two."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL:
            self.status = status

    def on_body(self, data: bytes) -> None:
        """Be told of a part of the body."""
        self.body = (self.body + data)[:MAX_BODY]
        self.is_over |= len(self.body) == MAX_BODY

    def on_message_complete(self) -> None:
        """Be told of the end of an answer."""
        self.is_over |= self.status > 0
