"""Findings: reported by the doctor, and named by a refused attach.

Every kind of finding is declared here, with its severity and why it matters. docs/doctor.md shows
them as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum

from pydsr.model.check_result import Outcome
from pydsr.model.errors import PydsrError


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    ERROR = "error"
    """Packets are lost, or attaching fails."""

    WARNING = "warning"
    """It works, but more slowly or less reliably than intended."""

    ADVICE = "advice"
    """It could be faster."""


_ERROR, _WARNING, _ADVICE = Severity


class FindingKind(Enum):
    """A kind of finding. Its name in lower case, with dashes, is a contract with scripts."""

    # -- the host

    CAPABILITY_MISSING = (
        _ERROR,
        "pydsr needs privileges to load programs, add routing rules and send ARP queries",
    )
    KERNEL_OLD = _ERROR, "XDP programs for frames in several buffers need Linux 5.18"
    BPF_MISSING = _ERROR, "without BPF no program can be loaded"
    JIT_OFF = _WARNING, "the kernel interprets the program, which is several times slower"
    BPFFS_MISSING = _ERROR, "the balancer's whole state is pinned there"
    MEMLOCK_LOW = _ERROR, "kernels before 5.11 count the memory of maps against this limit"
    BCC_MISSING = _ERROR, "attach compiles the program with bcc"
    LIBBPF_MISSING = _ERROR, "every command reads and writes the maps through libbpf"
    HEADERS_MISSING = _ERROR, "the program includes these headers"
    NATIVE_MISSING = _ADVICE, "Python fills the tables instead, some thirty times slower"

    # -- interfaces

    INTERFACE_UNSUITABLE = _ERROR, "attach refuses it: packets would bypass it, or be slow"
    INTERFACE_DOWN = _ERROR, "no packet comes in or goes out"
    NO_CARRIER = _ERROR, "the cable is unplugged, or the other end is down"
    XDP_FOREIGN = _ERROR, "an interface takes one program, and pydsr replaces nobody else's"
    XDP_ABOVE = _ERROR, "the kernel refuses a program below a device that has one"
    DRIVER_WITHOUT_XDP = _WARNING, "attach falls back to generic mode, at a fraction of the speed"
    GENERIC_MODE = _WARNING, "the kernel allocates a buffer for each packet before the program runs"
    MODES_MIXED = (
        _WARNING,
        "a program in native mode cannot send out of an interface in generic mode",
    )
    REDIRECT_UNSUPPORTED = _WARNING, "packets for backends behind another interface are dropped"
    BOND_UNSUITABLE = _ERROR, "a bond takes a program only in some of its modes"
    MTU_LARGE = _ERROR, "the driver refuses programs at this MTU"
    LRO_ON = _ERROR, "the driver refuses programs while it merges received packets"
    GRO_HW_ON = _ERROR, "the driver refuses programs while the device merges received packets"
    VLAN_STRIPPED = _WARNING, "the program takes tagged packets for untagged ones"
    QUEUES_FEW = _ERROR, "the driver refuses programs without enough transmit queues"
    QUEUES_SHARED = _WARNING, "CPUs wait for each other to send"
    QUEUES_UNUSED = _ADVICE, "one CPU serves each queue: fewer queues use fewer CPUs"
    RING_SMALL = _ADVICE, "a burst longer than the ring is lost before the program sees it"
    INTERRUPTS_TOGETHER = _ADVICE, "one CPU does all the work"
    MAC_CHANGED = _ERROR, "the program ignores packets sent to the interface's new MAC"
    ND_UNHEARD = _WARNING, "the NIC may filter out neighbour solicitations for an IPv6 VIP"

    # -- the balancer and its VIPs

    ELSEWHERE = _ERROR, "interface indices mean other interfaces in each network namespace"
    NOT_ATTACHED = _WARNING, "there are services, but no packet reaches them"
    STATE_UNREADABLE = _ERROR, "no command can read or change the balancer"
    VIP_LOCAL = _ERROR, "the VIP's other ports are cut off, and its checks stay on this machine"
    VIP_CONTESTED = _ERROR, "clients whose router hears that host first never reach the balancer"
    ARP_LEAK = _ERROR, "clients then send to that backend alone, past the balancer"
    SERVICE_EMPTY = _WARNING, "new connections to it are dropped"

    # -- backends

    BACKEND_UNPLACED = _ERROR, "the balancer cannot send it packets"
    BACKEND_MOVED = _ERROR, "its packets are sent to a MAC that is no longer its own"
    BACKEND_VIP_MISSING = _ERROR, "it drops or forwards what the balancer sends it"
    BACKEND_PORT_CLOSED = _ERROR, "it refuses every connection that the balancer sends it"
    BACKEND_REJECTED = _ERROR, "its firewall refuses the packets, and may refuse those of clients"
    BACKEND_WRONG_SOURCE = _ERROR, "clients ignore replies from another address than the VIP"
    BACKEND_NO_NEIGHBOUR = _ERROR, "nobody answers ARP/ND for it: it is down, or elsewhere"
    BACKEND_PACKETS_LOST = _ERROR, "connections to it are slow, and some fail"
    BACKEND_TIMED_OUT = _ERROR, "clients get no answer from it"
    BACKEND_BROKEN_OFF = _ERROR, "it closes connections before it has answered"
    BACKEND_WRONG_ANSWER = _ERROR, "its answer is not the one that the file's check expects"
    BACKEND_BAD_CERTIFICATE = _ERROR, "clients that verify certificates refuse it"
    BACKEND_DECLARED_DOWN = _WARNING, "its agent reports that it is down"
    BACKEND_UNSTEERED = _ERROR, "this machine cannot send checks to it, so its health is unknown"
    BACKEND_UNCHECKED = _WARNING, "its health is unknown"
    REPLIES_FILTERED = _WARNING, "health checks get no answer; clients' packets are not affected"

    def __init__(self, severity: Severity, why: str) -> None:
        self.severity = severity
        self.why = why

    @property
    def id(self) -> str:
        """The name that scripts use."""
        return self.name.lower().replace("_", "-")


def kind_of(outcome: Outcome) -> FindingKind:
    """Return the kind of finding for a failed check of a backend."""
    if outcome is Outcome.FILTERED_HERE:
        return FindingKind.REPLIES_FILTERED
    return FindingKind["BACKEND_" + outcome.name]


@dataclass(frozen=True)
class Finding:
    """A fault, or something to improve.

    Attributes:
        kind: its kind, which has the severity and why it matters.
        subject: the host, interface, VIP or backend it is about.
        what: what is wrong, naming the object.
        remedy: the command or action that fixes it.
    """

    kind: FindingKind
    subject: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Note:
    """Something that is fine, or that could not be examined.

    Attributes:
        subject: the host, interface, VIP or backend it is about.
        text: the observation, or why there is none.
        looked: whether it was examined.
    """

    subject: str
    text: str
    looked: bool = True


Remark = Finding | Note


@dataclass(frozen=True)
class Report:
    """All remarks of one examination, in the order they were made."""

    remarks: tuple[Remark, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, the worst first."""
        ranks = list(Severity)
        return tuple(
            sorted(
                only_findings(self.remarks), key=lambda finding: ranks.index(finding.kind.severity)
            )
        )

    @property
    def notes(self) -> tuple[Note, ...]:
        """The notes: what is fine, and what could not be examined."""
        return tuple(remark for remark in self.remarks if isinstance(remark, Note))

    @property
    def lacks_privilege(self) -> bool:
        """Whether something could not be examined for lack of a privilege."""
        kinds = {finding.kind for finding in self.findings}
        return FindingKind.CAPABILITY_MISSING in kinds

    @property
    def is_well(self) -> bool:
        """Whether there is no error and no warning; there may be advice."""
        return all(finding.kind.severity is Severity.ADVICE for finding in self.findings)


def only_findings(remarks: Iterable[Remark]) -> list[Finding]:
    """Return those remarks that are findings."""
    return [remark for remark in remarks if isinstance(remark, Finding)]


@dataclass(frozen=True)
class Problem:
    """The message of an error (what is wrong), and its hint (what to do)."""

    message: str
    hint: str

    def finding(self, kind: FindingKind, subject: str) -> Finding:
        """Return the problem as a finding."""
        return Finding(kind, subject, self.message, self.hint)


def problem_of(check: Callable[[], object]) -> Problem | None:
    """Return the problem that a check raises as an error; None if it raises none."""
    try:
        check()
    except PydsrError as error:
        return Problem(error.message, error.hint)
    return None
