"""DNS: a query is answered, and as it should be."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from functools import lru_cache

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from pydsr.health.attempt import Attempt
from pydsr.health.streams import PlainStream
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import DnsCheck

_LENGTH = struct.Struct("!H")
"""What comes before a message over TCP (RFC 1035, section 4.2.2), and as long as its number."""

_SHORT = 1232
"""Bytes of a datagram that is never in fragments (DNS flag day 2020); longer ones are not kept."""


async def probe(check: DnsCheck, attempt: Attempt) -> Result:
    """Ask, and compare the answer with what is expected.

    Raises:
        OSError: there is no answer to be had.
    """
    query = _query(check.name, check.record, bool(check.answers))
    ask = _by_tcp if check.transport == "tcp" else _by_udp
    try:
        answer = await ask(query, attempt)
    except dns.exception.DNSException as error:
        return Result(Outcome.WRONG_ANSWER, f"{attempt.target} answers no DNS: {error}")
    return judge_answer(check, answer, str(attempt.target))


@dataclass(frozen=True, eq=False)
class _Query:
    """A query, made once for all checks that ask it; only its number is another each time.

    Attributes:
        message: with the number 0.
        rest: what follows the number.
        asks_records: whether the records of an answer matter; to read them takes four times as long
            as all else of it.
    """

    message: dns.message.Message
    rest: bytes
    asks_records: bool

    def wire(self) -> bytes:
        """Return it with a number of its own."""
        return random.randbytes(_LENGTH.size) + self.rest  # noqa: S311 - it is told from the last

    def answer(self, asked: bytes, got: bytes) -> dns.message.Message | None:
        """Return what has come, or None where it answers another query.

        Raises:
            DNSException: it is no message of DNS.
        """
        size = _LENGTH.size
        if got[:size] != asked[:size]:
            return None
        return (_read_again if len(got) <= _SHORT else _read)(self, got[size:])


def _read(query: _Query, rest: bytes) -> dns.message.Message | None:
    answer = dns.message.from_wire(bytes(_LENGTH.size) + rest, question_only=not query.asks_records)
    return answer if query.message.is_response(answer) else None


# The same bytes mean the same again, and servers send them for as long as a record lives.
_read_again = lru_cache(maxsize=256)(_read)


@lru_cache(maxsize=1024)
def _query(name: str, record: str, asks_records: bool) -> _Query:
    message = dns.message.make_query(name, record, id=0)
    return _Query(message, message.to_wire()[_LENGTH.size :], asks_records)


async def _by_udp(query: _Query, attempt: Attempt) -> dns.message.Message:
    asked = query.wire()
    datagrams = attempt.send(asked)
    while True:
        answer = query.answer(asked, await attempt.receive(datagrams))
        if answer is not None:
            return answer


async def _by_tcp(query: _Query, attempt: Attempt) -> dns.message.Message:
    stream, asked = PlainStream(await attempt.connect()), query.wire()
    await stream.send(_LENGTH.pack(len(asked)) + asked)
    while True:
        (length,) = _LENGTH.unpack(await stream.read_exactly(_LENGTH.size))
        answer = query.answer(asked, await stream.read_exactly(length))
        if answer is not None:
            return answer


def judge_answer(check: DnsCheck, answer: dns.message.Message, who: str) -> Result:
    """Return whether an answer is what a check expects.

    Args:
        check: what it expects.
        answer: what came.
        who: has answered, for messages.
    """
    rcode = dns.rcode.to_text(answer.rcode())
    if rcode != check.rcode:
        return Result(
            Outcome.WRONG_ANSWER, f"{who} answers {rcode} for {check.name}, not {check.rcode}"
        )
    kind = dns.rdatatype.from_text(check.record)
    found = {
        _plain(record.to_text())
        for records in answer.answer
        if records.rdtype == kind
        for record in records
    }
    missing = [text for text in check.answers if _plain(text) not in found]
    if missing:
        return Result(
            Outcome.WRONG_ANSWER,
            f"{who}: {', '.join(missing)} is not among the {check.record} records of {check.name}"
            f" ({', '.join(sorted(found)) or 'there are none'})",
        )
    return PASSED


def _plain(text: str) -> str:
    """Return a record without what says the same in two ways: quotes, case, the last dot."""
    return text.replace('"', "").lower().removesuffix(".")
