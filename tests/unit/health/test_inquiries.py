"""Which failing checks are looked into when there are many."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from pydsr.health.inquiries import KEPT_SECONDS, MOST_AT_ONCE, MOST_OF_A_BACKEND, Inquiries
from pydsr.health.symptoms import NOTHING_KNOWN, Evidence
from pydsr.health.targets import Route, Target

EVIDENCE = Evidence(has_neighbour=True, backend_answers=True)


class Looking:
    """Counts how often it was started."""

    def __init__(self) -> None:
        self.started = 0

    def start(self) -> None:
        self.started += 1


def target(number: int) -> Target:
    return Target(ip_address("192.0.2.80"), 80, Route(ip_address("198.51.100.0") + number, 2))


def test_no_more_than_so_many_are_under_way() -> None:
    inquiries, looking = Inquiries(), Looking()
    routes = [target(number).route for number in range(MOST_AT_ONCE + 5)]
    begun = [inquiries.begin(route, looking) for route in routes]
    assert [True] * MOST_AT_ONCE + [False] * 5 == begun
    assert MOST_AT_ONCE == looking.started
    inquiries.end(routes[0])
    assert inquiries.begin(routes[-1], looking)
    assert not inquiries.begin(routes[0], looking)


def test_a_backend_in_many_services_takes_the_room_of_no_other() -> None:
    inquiries, looking = Inquiries(), Looking()
    dead, other = target(1).route, target(2).route
    begun = [inquiries.begin(dead, looking) for _ in range(MOST_OF_A_BACKEND + 5)]
    assert [True] * MOST_OF_A_BACKEND + [False] * 5 == begun
    assert inquiries.begin(other, looking)
    inquiries.end(dead)
    assert inquiries.begin(dead, looking)


def test_what_was_found_stands_in_for_a_while() -> None:
    async def main() -> None:
        inquiries = Inquiries()
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.time = lambda: now  # type: ignore[method-assign]
        assert inquiries.remembered(target(1)) == NOTHING_KNOWN
        inquiries.keep(target(1), EVIDENCE)
        assert inquiries.remembered(target(1)) == EVIDENCE
        assert inquiries.remembered(target(2)) == NOTHING_KNOWN
        now += KEPT_SECONDS
        assert inquiries.remembered(target(1)) == NOTHING_KNOWN

    asyncio.run(main())


def test_what_was_found_stands_in_for_other_ports_but_for_what_is_of_one_server() -> None:
    async def main() -> None:
        inquiries = Inquiries()
        of_one_server = replace(EVIDENCE, wrong_source=ip_address("192.0.2.99"))
        inquiries.keep(target(1), of_one_server)
        assert inquiries.remembered(target(1)) == of_one_server
        assert inquiries.remembered(replace(target(1), port=81)) == EVIDENCE
        elsewhere = replace(target(1), port=81, vip=ip_address("192.0.2.81"))
        assert inquiries.remembered(elsewhere) == NOTHING_KNOWN

    asyncio.run(main())
