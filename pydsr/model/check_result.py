"""What a check has found out about a backend. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydsr.model.agent_report import AgentReport


class Outcome(StrEnum):
    """What became of one check."""

    GOOD = "good"
    VIP_MISSING = "vip-missing"
    """The backend does not have the VIP: it forwards packets for it, or says nothing at all."""

    PORT_CLOSED = "port-closed"
    """The VIP is there, and says that nothing listens at the port."""

    REJECTED = "rejected"
    """A filter on the backend refuses the packets, and says so."""

    WRONG_SOURCE = "wrong-source"
    """An answer came, but from another address than the VIP: no client would take it."""

    NO_NEIGHBOUR = "no-neighbour"
    """The backend's address is not answered for on its network (ARP, neighbour discovery)."""

    TIMED_OUT = "timed-out"
    """The backend is there, but what was asked did not answer in time."""

    PACKETS_LOST = "packets-lost"
    """Some packets to the backend, or its answers, do not arrive: others do."""

    BROKEN_OFF = "broken-off"
    """The server took the connection, and closed or reset it before it had answered."""

    WRONG_ANSWER = "wrong-answer"
    """There was an answer, and not the one that is wanted."""

    BAD_CERTIFICATE = "bad-certificate"
    """TLS failed, or the certificate is not to be trusted."""

    DECLARED_DOWN = "declared-down"
    """The backend's agent says that it is down."""

    UNSTEERED = "unsteered"
    """This machine has no way to that backend, nor have clients' packets: mostly, its interface is
    down."""

    FILTERED_HERE = "filtered-here"
    """This machine's own reverse path filter drops what the VIP answers."""

    UNCHECKED = "unchecked"
    """This machine could not make the check: it lacks files, memory, ports, time or privilege."""

    @property
    def tells_of_backend(self) -> bool:
        """Whether it says anything of the backend; what does not changes no judgement."""
        return self not in (Outcome.FILTERED_HERE, Outcome.UNCHECKED)


@dataclass(frozen=True)
class Result:
    """One check of one backend.

    Attributes:
        outcome: what it was.
        message: what is wrong, naming the address and port; empty where nothing is.
        hint: what to do about it; empty where there is nothing to add.
        seconds: how long it took.
        warnings: what will be wrong soon, such as a certificate's end.
        report: what an agent said.
        certificate_ends: when the certificate ends that was met, in seconds since the epoch; None
            where there was none, or it was not verified.
    """

    outcome: Outcome
    message: str = ""
    hint: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    report: AgentReport | None = None
    certificate_ends: int | None = None

    @property
    def is_good(self) -> bool:
        """Whether the check has passed."""
        return self.outcome is Outcome.GOOD

    def after(self, seconds: float) -> Result:
        """Return it with how long it took; a third of what ``replace`` takes, for every check."""
        return Result(
            self.outcome,
            self.message,
            self.hint,
            seconds,
            self.warnings,
            self.report,
            self.certificate_ends,
        )

    @classmethod
    def good(cls, *warnings: str, report: AgentReport | None = None) -> Self:
        """Return the result of a check that has passed."""
        return cls(Outcome.GOOD, warnings=warnings, report=report)
