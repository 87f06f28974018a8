"""The result of a check of a backend. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydsr.model.agent_report import AgentReport


class Outcome(StrEnum):
    """The outcome of a check: passed, failed with a cause, or inconclusive."""

    PASSED = "good"

    VIP_MISSING = "vip-missing"
    """The backend does not have the VIP: it forwards packets for it, or is silent."""

    PORT_CLOSED = "port-closed"
    """The VIP is there, and answers that nothing listens on the port."""

    REJECTED = "rejected"
    """A firewall on the backend rejects the packets."""

    WRONG_SOURCE = "wrong-source"
    """An answer came, but not from the VIP: no client would accept it."""

    NO_NEIGHBOUR = "no-neighbour"
    """The backend does not answer ARP or neighbour discovery."""

    TIMED_OUT = "timed-out"
    """The backend is there, but did not answer the check in time."""

    PACKETS_LOST = "packets-lost"
    """Some packets to or from the backend get lost, others do not."""

    BROKEN_OFF = "broken-off"
    """The server accepted the connection, and closed or reset it before it answered."""

    WRONG_ANSWER = "wrong-answer"
    """The answer is not the expected one."""

    BAD_CERTIFICATE = "bad-certificate"
    """TLS failed, or the certificate is not trusted."""

    DECLARED_DOWN = "declared-down"
    """The backend's agent reports that it is down."""

    UNSTEERED = "unsteered"
    """This host has no route to the backend, mostly because the interface is down. The packets of
    clients do not reach it either."""

    FILTERED_HERE = "filtered-here"
    """This host's reverse path filter drops the VIP's answers. Inconclusive."""

    UNCHECKED = "unchecked"
    """This host cannot check: it lacks files, memory, ports, time or privileges. Inconclusive."""

    @property
    def is_conclusive(self) -> bool:
        """Whether it says something about the backend; if not, no health changes."""
        return self not in (Outcome.FILTERED_HERE, Outcome.UNCHECKED)


@dataclass(frozen=True)
class Result:
    """The result of one check of one backend.

    Attributes:
        outcome: passed, or why not.
        message: what is wrong, with address and port; empty if nothing is.
        hint: what to do about it; may be empty.
        seconds: how long the check took.
        warnings: future faults, such as an expiring certificate.
        report: what an agent reported.
        certificate_ends: when the server's certificate expires, in seconds since the epoch; None
            without TLS or verification.
    """

    outcome: Outcome
    message: str = ""
    hint: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    report: AgentReport | None = None
    certificate_ends: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the check has passed."""
        return self.outcome is Outcome.PASSED

    def lasting(self, seconds: float) -> Result:
        """Return the result with its duration."""
        # Not with ``replace``, which takes three times as long: every check runs this.
        return Result(
            self.outcome,
            self.message,
            self.hint,
            seconds,
            self.warnings,
            self.report,
            self.certificate_ends,
        )


PASSED = Result(Outcome.PASSED)
