"""The demo: real requests through a real balancer, and measurements of what crossed what.

It reports findings as it makes them and ends with the checks that had to hold. It renders
nothing and cleans nothing up: the lab does when it ends.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydsr.lab import network
from pydsr.lab.client import Answer
from pydsr.lab.findings import (
    Bypass,
    Check,
    Finding,
    Removal,
    Requests,
    Screen,
    Step,
    Traffic,
    Verdict,
)
from pydsr.lab.lab import Lab
from pydsr.lab.processes import PYTHON
from pydsr.lab.topology import SERVICES, VIP4, VIP6, Role, records_of
from pydsr.model.errors import InputError, PydsrError

_REQUESTS_PER_BACKEND = 30
_REQUESTS_AT_LEAST = 300
_REPLY_BYTES = 100_000
_THREADS = 8
_PHASE_SECONDS = 2.0
_TIMEOUT_SECONDS = 2.0
_DEADLINE_SECONDS = 120.0
_SMALL_SHARE = 0.2
"""The largest share of the replies' bytes that may leave the balancer: acknowledgements are 5 %."""


@dataclass(frozen=True)
class _Worker:
    """A client process with the file that its answers go to."""

    process: subprocess.Popen[str]
    output: Path

    def stop(self) -> None:
        """Tell it to begin no further request, if it runs until told."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def answers(self) -> list[Answer]:
        """Wait for its end and return its answers.

        Raises:
            PydsrError: it failed.
        """
        try:
            status = self.process.wait(timeout=_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise PydsrError("a client of the lab does not end") from None
        if status != 0:
            raise PydsrError(f"a client of the lab failed ({status})")
        return [Answer.parse(line) for line in self.output.read_text().splitlines()]


class Demo:
    """One run of the demo in a lab that is up.

    Args:
        lab: a lab with servers and balancer, and two backends or more.
        report: is told each finding.
    """

    def __init__(self, lab: Lab, report: Callable[[Finding], None]) -> None:
        self._lab = lab
        self._report = report
        self._backends = [host.name for host in lab.topology.hosts_of(Role.BACKEND)]
        self._clients = [host.name for host in lab.topology.hosts_of(Role.CLIENT)]
        self._threads = max(1, _THREADS // len(self._clients))

    @staticmethod
    def check_size(backends: int) -> None:
        """Refuse a lab that would be too small, before it is built.

        Raises:
            InputError: a backend could not be removed, because it is the only one.
        """
        if backends < 2:
            raise InputError("the demo removes a backend, so it needs two", "use --backends 2")

    def run(self) -> Verdict:
        """Run all steps and return what held.

        Raises:
            PydsrError: a step could not be done.
        """
        checks = [*self._spread(), *self._remove_one()]
        verdict = Verdict(tuple(checks))
        self._report(verdict)
        return verdict

    def _spread(self) -> Iterator[Check]:
        """Run a number of requests: who answered, and what crossed the balancer."""
        count = max(_REQUESTS_AT_LEAST, _REQUESTS_PER_BACKEND * len(self._backends))
        each = -(-count // len(self._clients))
        self._report(
            Step(
                f"{each * len(self._clients)} HTTP requests for {_REPLY_BYTES // 1000} kB each, "
                f"to {VIP4} and {VIP6} in turn, a new connection for each"
            )
        )
        before = self._traffic()
        workers = [self._start(client, each) for client in self._clients]
        requests = summarize(_finish(workers), self._backends)
        after = self._traffic()
        self._report(requests)
        yield Check("every request was answered", requests.failed == 0)
        yield Check("every backend answered some", all(requests.answered.values()))

        crossed = {host: after[host] - before[host] for host in after}
        balancer = crossed.pop(Role.BALANCER)
        self._report(Bypass(requests.bytes, balancer, crossed))
        yield Check(
            "the replies did not cross the balancer",
            balancer.sent_bytes < _SMALL_SHARE * requests.bytes,
        )
        yield Check(
            "the backends sent them themselves",
            sum(traffic.sent_bytes for traffic in crossed.values()) > requests.bytes,
        )

    def _remove_one(self) -> Iterator[Check]:
        """Remove a backend while requests run: who noticed."""
        gone = self._lab.topology.hosts_of(Role.BACKEND)[-1]
        self._report(
            Step(f"Requests go on and on; after {_PHASE_SECONDS:g} s {gone.name} is removed")
        )
        workers = [self._start(client) for client in self._clients]
        self._let_run(workers)
        removing = time.monotonic()
        for service in SERVICES:
            self._lab.pydsr("backends", "remove", str(service), str(gone.address_for(service)))
        removed = time.monotonic()
        self._let_run(workers)
        screen = Screen("pydsr top --once", self._lab.pydsr("top", "--once"))
        answers = _finish(workers)

        earlier = [answer for answer in answers if answer.ended < removing]
        later = [answer for answer in answers if answer.began > removed]
        before = summarize(earlier, self._backends)
        after = summarize(later, self._backends)
        cut_off = sum(bool(answer.error) for answer in answers) - before.failed - after.failed
        self._report(Removal(gone.name, before, after, cut_off))
        self._report(screen)
        yield Check("no request failed before the removal", before.failed == 0)
        yield Check("no request failed that began after it", after.failed == 0)
        yield Check(
            "at most the requests in flight were cut off",
            cut_off <= len(SERVICES) * self._threads * len(self._clients),
        )
        yield Check(f"{gone.name} answered before", before.answered[gone.name] > 0)
        yield Check(f"{gone.name} got nothing after", after.answered[gone.name] == 0)
        yield Check(
            "every other backend answered after",
            all(count for name, count in after.answered.items() if name != gone.name),
        )

    def _start(self, client: str, requests: int | None = None) -> _Worker:
        """Start a worker that runs some requests, or requests until it is told to stop."""
        command = [*PYTHON, "pydsr.lab.client", f"--threads={self._threads}"]
        command += [f"--timeout={_TIMEOUT_SECONDS}", f"--path=/bytes/{_REPLY_BYTES}"]
        for service in SERVICES:
            command += ["--target", str(service).removesuffix(f"/{service.protocol}")]
        if requests is not None:
            command.append(f"--requests={requests}")
        stdin = subprocess.DEVNULL if requests is not None else subprocess.PIPE
        answers = records_of(self._lab.name) / f"{client}.answers"
        with answers.open("w") as output:
            return _Worker(self._lab.popen(client, command, stdin=stdin, stdout=output), answers)

    def _let_run(self, workers: list[_Worker]) -> None:
        """Let time pass for the workers to run in.

        Raises:
            PydsrError: one of them ended by itself.
        """
        deadline = time.monotonic() + _PHASE_SECONDS
        for worker in workers:
            try:
                worker.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
            raise PydsrError("a client of the lab ended before it was told to")

    def _traffic(self) -> dict[str, Traffic]:
        """Read the counters of the balancer and the backends."""
        hosts = [Role.BALANCER, *self._backends]
        return {host: network.traffic(self._lab.name, host) for host in hosts}


def summarize(answers: list[Answer], backends: Iterable[str]) -> Requests:
    """Sum up what became of requests; backends that answered none are in it with a zero."""
    answered = Counter(answer.backend for answer in answers if not answer.error)
    return Requests(
        seconds=max((a.ended for a in answers), default=0.0)
        - min((a.began for a in answers), default=0.0),
        answered=dict.fromkeys(backends, 0) | answered,
        bytes=sum(answer.bytes for answer in answers),
        errors=dict(Counter(answer.error for answer in answers if answer.error)),
    )


def _finish(workers: list[_Worker]) -> list[Answer]:
    """Tell all workers to stop before waiting for any; return all answers."""
    for worker in workers:
        worker.stop()
    return [answer for worker in workers for answer in worker.answers()]
