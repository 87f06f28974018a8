"""Measure the share of a core that 1,000 checks per second take."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bench.cores import measured_core, on_one_core, undisturbed
from bench.health_server import web_server
from pydsr.health.checker import Checker, Wanted
from pydsr.health.targets import Route
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import Outcome
from tests.support.netns.checked_host import VIP, Checked, made_check
from tests.support.netns.namespaces import eventually, made_wire

CHECKS, BACKENDS = 1000, 10
"""How many checks there are, and on how many backends."""

QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x04test\x00\x00\x01\x00\x01"
"""A query for the addresses of www.test (RFC 1035, section 4.1), which answers a check by UDP."""

KINDS: dict[str, dict[str, Any]] = {
    "tcp": {"port": 80},
    "http": {"port": 80},
    "https": {"port": 443, "verify": False},
    "dns": {"port": 53, "name": "www.test"},
    "udp": {"port": 53, "send-hex": QUERY.hex()},
    "icmp": {},
}
_WARM_SECONDS = 1.5
_MARK, _BATCH = 7, 10


@dataclass(frozen=True)
class Cost:
    """What checks of a kind cost; of a core, in percent, for 1,000 a second.

    Attributes:
        rounds: each round's.
        failed: how many had no good answer, in all.
    """

    kind: str
    rounds: Sequence[float]
    failed: int = 0


def wanted_checks(checked: Checked, kind: str) -> Wanted:
    """Return 1,000 checks of a kind, each made once a second."""
    ifindex = int(checked.lb.link("eth0")["ifindex"])
    routes = [Route(ip_address(address), ifindex) for address in addresses()]
    vip = ip_address(VIP[4])
    # The jitter tells them apart, or else all services would share the checks of one.
    return [
        (
            Endpoint(vip, 1000 + number),
            [made_check(kind, interval=1.0, timeout=0.5, jitter=number / 1e6, **KINDS[kind])],
            routes,
        )
        for number in range(CHECKS // BACKENDS)
    ]


def addresses() -> list[str]:
    """Return the addresses of the backends."""
    return [f"10.66.0.{150 + number}" for number in range(BACKENDS)]


async def measure(checked: Checked, kind: str, rounds: int, seconds: float) -> Cost:
    """Check for some rounds, and return what that took of this process."""
    outcomes: Counter[Outcome] = Counter()
    percents = []
    async with Checker(lambda _, result, *__: outcomes.update([result.outcome])) as checker:
        await checker.watch(wanted_checks(checked, kind))
        await asyncio.sleep(_WARM_SECONDS)
        for _ in range(rounds):
            made, used = outcomes.total(), time.process_time()
            await asyncio.sleep(seconds)
            percents.append(_percent(time.process_time() - used, outcomes.total() - made))
    return Cost(kind, percents, outcomes.total() - outcomes[Outcome.PASSED])


def measure_bare(rounds: int, seconds: float) -> Cost:
    """Make the system calls of connections alone, ten in a hundredth of a second."""
    percents = []
    for _ in range(rounds):
        begun, used, made = time.monotonic(), time.process_time(), 0
        while made < CHECKS * seconds:
            for _ in range(_BATCH):
                with socket.socket() as stream:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK)
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    stream.connect((VIP[4], 80))
            made += _BATCH
            time.sleep(max(0.0, begun + made / CHECKS - time.monotonic()))
        percents.append(_percent(time.process_time() - used, made))
    return Cost("bare connections", percents)


def _percent(seconds: float, checks: int) -> float:
    return 100 * seconds * CHECKS / max(checks, 1)


@contextmanager
def made_world(folder: Path) -> Iterator[Checked]:
    """Make a balancer's host and one that is all backends, with their servers."""
    with made_wire() as (lb, peer), ExitStack() as servers:
        checked = Checked(lb, peer)
        checked.add_vip()
        for address in addresses():
            peer.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        lb.run("ip", "route", "add", VIP[4], "via", addresses()[0])
        servers.enter_context(checked.dnsmasq())
        servers.enter_context(peer.running("nginx", "-c", str(web_server(folder))))
        if not eventually(lambda: checked.lb.asks_for_page(VIP[4])):
            raise SystemExit("nginx does not answer")
        yield checked


def measure_costs(kinds: Sequence[str], rounds: int, seconds: float) -> list[Cost]:
    """Return what each kind costs, after the bare connections."""
    with (
        tempfile.TemporaryDirectory() as folder,
        made_world(Path(folder)) as checked,
        enter_namespace(checked.lb.name),
        on_one_core(measured_core()),
        undisturbed(),
    ):
        bare = measure_bare(rounds, seconds)
        return [bare, *(asyncio.run(measure(checked, kind, rounds, seconds)) for kind in kinds)]
