"""The results of the demo, step by step. Pure: ``demo_report`` renders them."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Traffic:
    """Counters of an interface; bytes include Ethernet headers."""

    received_packets: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0

    def __sub__(self, earlier: Traffic) -> Traffic:
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return Traffic(*(later - before for later, before in pairs))


@dataclass(frozen=True)
class Step:
    """A sentence about what happens next."""

    text: str


@dataclass(frozen=True)
class Commands:
    """Commands to copy, each with its meaning."""

    title: str
    commands: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RequestStats:
    """The outcome of a number of requests.

    Attributes:
        seconds: from the first request to the last reply.
        answered: replies by backend, with a zero for a backend that sent none.
        bytes: length of all reply bodies.
        errors: how often requests failed, by cause.
    """

    seconds: float
    answered: dict[str, int]
    bytes: int
    errors: dict[str, int]

    @property
    def done(self) -> int:
        """The number of requests that were answered."""
        return sum(self.answered.values())

    @property
    def failed(self) -> int:
        """The number of requests that failed."""
        return sum(self.errors.values())

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class ReturnPath:
    """The traffic of each host while clients received ``reply_bytes`` of bodies."""

    reply_bytes: int
    balancer: Traffic
    backends: dict[str, Traffic]


@dataclass(frozen=True)
class Removal:
    """Requests before and after a backend's removal, and how many in flight were cut off."""

    backend: str
    before: RequestStats
    after: RequestStats
    cut_off: int


@dataclass(frozen=True)
class CommandOutput:
    """A command and what it printed."""

    command: str
    text: str


@dataclass(frozen=True)
class Expectation:
    """An expectation of the demo, and whether it was met."""

    claim: str
    is_met: bool


@dataclass(frozen=True)
class Conclusion:
    """All expectations of the demo."""

    expectations: tuple[Expectation, ...]

    @property
    def is_met(self) -> bool:
        """Whether all of them were met."""
        return all(expectation.is_met for expectation in self.expectations)


DemoOutput = Step | Commands | RequestStats | ReturnPath | Removal | CommandOutput | Conclusion
