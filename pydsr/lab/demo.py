"""The demo: real requests through a real balancer, and the traffic of each host.

It reports results as they come, and ends with its expectations. The lab cleans up.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab import network
from pydsr.lab.client import Answer
from pydsr.lab.demo_results import (
    CommandOutput,
    Conclusion,
    DemoOutput,
    Expectation,
    Removal,
    RequestStats,
    ReturnPath,
    Step,
    Traffic,
)
from pydsr.lab.lab import Lab
from pydsr.lab.topology import SERVICES, VIP4, VIP6, Role, records_of
from pydsr.model.errors import InputError, PydsrError

_REQUESTS_PER_BACKEND = 30
_MIN_REQUESTS = 300
_REPLY_BYTES = 100_000
_THREADS = 8
_PHASE_SECONDS = 2.0
_TIMEOUT_SECONDS = 10.0
_DEADLINE_SECONDS = 120.0
_SMALL_SHARE = 0.2
"""The share of the replies' bytes that the balancer may send. Acknowledgements are 5 %."""


@dataclass(frozen=True)
class _Client:
    """A process that sends requests, and the file with its answers."""

    process: subprocess.Popen[str]
    output: Path

    def stop(self) -> None:
        """Let it finish its requests, if it runs until its stdin is closed."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def answers(self) -> list[Answer]:
        """Wait for its end, and return its answers."""
        try:
            status = self.process.wait(timeout=_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise PydsrError("a client of the lab does not end") from None
        if status != 0:
            raise PydsrError(f"a client of the lab failed ({status})")
        return [Answer.parse(line) for line in self.output.read_text().splitlines()]


class Demo:
    """One run of the demo in a running lab, which reports each result."""

    def __init__(self, lab: Lab, report: Callable[[DemoOutput], None]) -> None:
        self._lab = lab
        self._report = report
        self._backends = [host.name for host in lab.topology.hosts_of(Role.BACKEND)]
        self._clients = [host.name for host in lab.topology.hosts_of(Role.CLIENT)]
        self._threads = max(1, _THREADS // len(self._clients))

    @staticmethod
    def check_size(backends: int) -> None:
        """Refuse a lab with a single backend, before it is built."""
        if backends < 2:
            raise InputError(
                "the demo removes a backend, so it needs at least two", "use --backends 2"
            )

    def run(self) -> Conclusion:
        """Run all steps and return which expectations were met."""
        conclusion = Conclusion((*self._send_requests(), *self._remove_backend()))
        self._report(conclusion)
        return conclusion

    def _send_requests(self) -> Iterator[Expectation]:
        """Show which backends answer, and that replies bypass the balancer."""
        count = max(_MIN_REQUESTS, _REQUESTS_PER_BACKEND * len(self._backends))
        each = -(-count // len(self._clients))
        self._report(
            Step(
                f"{each * len(self._clients)} HTTP requests for {_REPLY_BYTES // 1000} kB each, "
                f"to {VIP4} and {VIP6} in turn, each on a new connection"
            )
        )
        before = self._traffic()
        clients = [self._start(name, each) for name in self._clients]
        requests = summarize(_finish(clients), self._backends)
        after = self._traffic()
        self._report(requests)
        yield Expectation("every request was answered", requests.failed == 0)
        yield Expectation("every backend answered requests", all(requests.answered.values()))

        crossed = {host: after[host] - before[host] for host in after}
        balancer = crossed.pop(Role.BALANCER)
        self._report(ReturnPath(requests.bytes, balancer, crossed))
        yield Expectation(
            "replies did not pass through the balancer",
            balancer.sent_bytes < _SMALL_SHARE * requests.bytes,
        )
        yield Expectation(
            "backends sent the replies themselves",
            sum(traffic.sent_bytes for traffic in crossed.values()) > requests.bytes,
        )

    def _remove_backend(self) -> Iterator[Expectation]:
        """Show that removing a backend while requests run breaks no other requests."""
        gone = self._lab.topology.hosts_of(Role.BACKEND)[-1]
        self._report(
            Step(f"Requests run without pause; after {_PHASE_SECONDS:g} s {gone.name} is removed")
        )
        clients = [self._start(name) for name in self._clients]
        self._let_run(clients)
        removing = time.monotonic()
        for service in SERVICES:
            self._lab.pydsr("backends", "remove", str(service), str(gone.address_for(service)))
        removed = time.monotonic()
        self._let_run(clients)
        screen = CommandOutput("pydsr top --once", self._lab.pydsr("top", "--once"))
        answers = _finish(clients)

        earlier = [answer for answer in answers if answer.ended < removing]
        later = [answer for answer in answers if answer.began > removed]
        before = summarize(earlier, self._backends)
        after = summarize(later, self._backends)
        cut_off = sum(bool(answer.error) for answer in answers) - before.failed - after.failed
        self._report(Removal(gone.name, before, after, cut_off))
        self._report(screen)
        yield Expectation("no request failed before the removal", before.failed == 0)
        yield Expectation("no request that began after it failed", after.failed == 0)
        yield Expectation(
            "at most the requests in flight failed at the removal",
            cut_off <= len(SERVICES) * self._threads * len(self._clients),
        )
        yield Expectation(f"{gone.name} answered requests before", before.answered[gone.name] > 0)
        yield Expectation(f"{gone.name} answered nothing after", after.answered[gone.name] == 0)
        yield Expectation(
            "every other backend answered requests after",
            all(count for name, count in after.answered.items() if name != gone.name),
        )

    def _start(self, name: str, requests: int | None = None) -> _Client:
        """Start sending a number of requests, or requests until it is stopped."""
        command = [*PYTHON, "pydsr.lab.client", f"--threads={self._threads}"]
        command += [f"--timeout={_TIMEOUT_SECONDS}", f"--path=/bytes/{_REPLY_BYTES}"]
        for service in SERVICES:
            command += ["--target", str(service).removesuffix(f"/{service.protocol}")]
        if requests is not None:
            command.append(f"--requests={requests}")
        stdin = subprocess.DEVNULL if requests is not None else subprocess.PIPE
        answers = records_of(self._lab.name) / f"{name}.answers"
        with answers.open("w") as output:
            return _Client(self._lab.popen(name, command, stdin=stdin, stdout=output), answers)

    def _let_run(self, clients: list[_Client]) -> None:
        """Let clients send requests for a while; none of them may end by itself."""
        deadline = time.monotonic() + _PHASE_SECONDS
        for client in clients:
            try:
                client.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
            raise PydsrError("a client of the lab ended too early")

    def _traffic(self) -> dict[str, Traffic]:
        hosts = [Role.BALANCER, *self._backends]
        return {host: network.traffic(self._lab.name, host) for host in hosts}


def summarize(answers: list[Answer], backends: Iterable[str]) -> RequestStats:
    """Return the outcome of requests, with a zero for backends that answered none."""
    answered = Counter(answer.backend for answer in answers if not answer.error)
    return RequestStats(
        seconds=max((a.ended for a in answers), default=0.0)
        - min((a.began for a in answers), default=0.0),
        answered=dict.fromkeys(backends, 0) | answered,
        bytes=sum(answer.bytes for answer in answers),
        errors=dict(Counter(answer.error for answer in answers if answer.error)),
    )


def _finish(clients: list[_Client]) -> list[Answer]:
    """Stop all clients, then wait for them, and return all answers."""
    for client in clients:
        client.stop()
    return [answer for client in clients for answer in client.answers()]
