"""What the demo finds out, step by step. Values only, no kernel: the view renders them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """Counters of an interface; bytes count whole Ethernet frames."""

    received_packets: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(
            self.received_packets - earlier.received_packets,
            self.received_bytes - earlier.received_bytes,
            self.sent_packets - earlier.sent_packets,
            self.sent_bytes - earlier.sent_bytes,
        )


@dataclass(frozen=True)
class Step:
    """What the demo does next, in a sentence."""

    text: str


@dataclass(frozen=True)
class Commands:
    """Commands to copy, each with what it shows."""

    title: str
    commands: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Requests:
    """What became of some requests.

    Attributes:
        seconds: how long they took together.
        answered: replies by backend; a backend that answered nothing has a zero.
        bytes: what the clients received, bodies only.
        errors: why requests failed, with how often.
    """

    seconds: float
    answered: dict[str, int]
    bytes: int
    errors: dict[str, int]

    @property
    def done(self) -> int:
        """How many were answered."""
        return sum(self.answered.values())

    @property
    def failed(self) -> int:
        """How many were not."""
        return sum(self.errors.values())

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Bypass:
    """How much crossed whose interface while clients received ``reply_bytes`` of bodies."""

    reply_bytes: int
    balancer: Traffic
    backends: dict[str, Traffic]


@dataclass(frozen=True)
class Removal:
    """Requests before and after a backend was removed while they ran.

    Attributes:
        cut_off: how many failed of those that were under way at the removal.
    """

    backend: str
    before: Requests
    after: Requests
    cut_off: int


@dataclass(frozen=True)
class Screen:
    """The output of a command, as it was."""

    command: str
    text: str


@dataclass(frozen=True)
class Check:
    """Something that has to hold, and whether it did."""

    claim: str
    held: bool


@dataclass(frozen=True)
class Verdict:
    """Everything that had to hold."""

    checks: tuple[Check, ...]

    @property
    def held(self) -> bool:
        """Whether all of it did."""
        return all(check.held for check in self.checks)


Finding = Step | Commands | Requests | Bypass | Removal | Screen | Verdict
