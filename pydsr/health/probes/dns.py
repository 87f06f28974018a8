"""DNS: a query is answered, and as it should be."""

from __future__ import annotations

import struct
from contextlib import aclosing

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from pydsr.health.attempt import Attempt
from pydsr.health.models import DnsCheck
from pydsr.health.outcome import Outcome, Result
from pydsr.health.streams import PlainStream


async def probe(check: DnsCheck, attempt: Attempt) -> Result:
    """Ask, and compare the answer with what is expected.

    Raises:
        OSError: there is no answer to be had.
    """
    query = dns.message.make_query(check.name, check.record)
    ask = _by_tcp if check.transport == "tcp" else _by_udp
    try:
        answer = await ask(query, attempt)
    except dns.exception.DNSException as error:
        return Result(Outcome.WRONG_ANSWER, f"{attempt.target} answers no DNS: {error}")
    return judge_answer(check, answer, str(attempt.target))


async def _by_udp(query: dns.message.Message, attempt: Attempt) -> dns.message.Message:
    async with aclosing(attempt.exchange(query.to_wire())) as answers:
        while True:
            answer = dns.message.from_wire(await anext(answers), raise_on_truncation=False)
            if query.is_response(answer):
                return answer


async def _by_tcp(query: dns.message.Message, attempt: Attempt) -> dns.message.Message:
    stream = PlainStream(await attempt.connect())
    await stream.send(query.to_wire(prepend_length=True))
    (length,) = struct.unpack("!H", await stream.read_exactly(2))
    return dns.message.from_wire(await stream.read_exactly(length))


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
    return Result.good()


def _plain(text: str) -> str:
    """Return a record without what says the same in two ways: quotes, case, the last dot."""
    return text.replace('"', "").lower().removesuffix(".")
