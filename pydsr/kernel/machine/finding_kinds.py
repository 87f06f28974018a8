"""Every kind of finding: its name, how much it matters, and why. docs/doctor.md shows the table."""

from __future__ import annotations

from enum import Enum, StrEnum

from pydsr.model.check_result import Outcome


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    ERROR = "error"
    """Packets are lost, or attaching fails."""

    WARNING = "warning"
    """It works, but not as well or as surely as it is meant to."""

    ADVICE = "advice"
    """It could be faster."""


_ERROR, _WARNING, _ADVICE = Severity


class Kind(Enum):
    """A kind of finding; its name in lower case, with dashes, is a contract with scripts."""

    # -- the host

    CAPABILITY_MISSING = (
        _ERROR,
        "loading programs, making rules and asking the network take privileges",
    )
    KERNEL_OLD = _ERROR, "the program is loaded for frames in several buffers, since Linux 5.18"
    BPF_MISSING = _ERROR, "without it no program can be loaded"
    JIT_OFF = _WARNING, "the kernel then interprets the program, several times slower"
    BPFFS_MISSING = _ERROR, "the balancer's whole state is pinned there"
    MEMLOCK_LOW = _ERROR, "kernels before 5.11 count the memory of maps against this limit"
    BCC_MISSING = _ERROR, "attach compiles the program with it"
    LIBBPF_MISSING = _ERROR, "every command reaches the maps through it"
    HEADERS_MISSING = _ERROR, "the program is compiled with them"
    NATIVE_MISSING = (
        _ADVICE,
        "tables are then filled in Python: the same, some thirty times slower",
    )

    # -- interfaces

    INTERFACE_UNSUITABLE = _ERROR, "attach refuses it: packets would not come by it, or slowly"
    INTERFACE_DOWN = _ERROR, "no packet comes in or goes out"
    NO_CARRIER = _ERROR, "the wire is unplugged or its other end is down"
    XDP_FOREIGN = _ERROR, "an interface takes one program, and pydsr takes nobody's off"
    XDP_ABOVE = _ERROR, "one on a device above an interface stands against one on it"
    DRIVER_WITHOUT_XDP = _WARNING, "attach falls back to generic mode, at a fraction of the speed"
    GENERIC_MODE = _WARNING, "every packet is given memory before the program sees it"
    MODES_MIXED = _WARNING, "a program in the driver cannot send out of one in generic mode"
    REDIRECT_UNSUPPORTED = (
        _WARNING,
        "packets for backends behind another interface would be dropped",
    )
    BOND_UNSUITABLE = _ERROR, "a bond takes a program in few of its modes"
    MTU_LARGE = _ERROR, "the driver refuses programs at this MTU"
    LRO_ON = _ERROR, "the driver refuses programs while it joins packets"
    GRO_HW_ON = _ERROR, "the driver refuses programs while the device joins packets"
    VLAN_STRIPPED = _WARNING, "the program takes tagged packets for untagged ones"
    QUEUES_FEW = (
        _ERROR,
        "the driver refuses programs without a queue to send by for each that it needs",
    )
    QUEUES_SHARED = _WARNING, "CPUs wait for each other to send"
    QUEUES_UNUSED = _ADVICE, "each queue is a CPU's work: fewer use fewer CPUs"
    RING_SMALL = _ADVICE, "a burst longer than the ring is lost before the program sees it"
    INTERRUPTS_TOGETHER = _ADVICE, "one CPU does all the work"
    MAC_CHANGED = _ERROR, "the program passes what is sent to the interface's new MAC"
    ND_UNHEARD = _WARNING, "the NIC may filter the multicasts that ask for an IPv6 VIP"

    # -- the balancer and its VIPs

    ELSEWHERE = _ERROR, "indices of interfaces mean others in each network namespace"
    NOT_ATTACHED = _WARNING, "services are there, and no packet comes to them"
    STATE_UNREADABLE = _ERROR, "no command can read or change it"
    VIP_LOCAL = _ERROR, "its other ports are cut off, and checks of it stay on this machine"
    VIP_CONTESTED = _ERROR, "clients whose router hears that host first never reach the balancer"
    ARP_LEAK = _ERROR, "clients then go to that backend alone, past the balancer"
    SERVICE_EMPTY = _WARNING, "new connections to it are dropped"

    # -- backends

    BACKEND_UNPLACED = _ERROR, "its packets cannot be sent anywhere"
    BACKEND_MOVED = _ERROR, "its packets are sent to a MAC that is no longer its own"
    BACKEND_VIP_MISSING = _ERROR, "it drops or forwards what the balancer sends it"
    BACKEND_PORT_CLOSED = _ERROR, "it refuses every connection that the balancer sends it"
    BACKEND_REJECTED = _ERROR, "its filter refuses the packets; it may refuse clients too"
    BACKEND_WRONG_SOURCE = _ERROR, "no client takes an answer from another address"
    BACKEND_NO_NEIGHBOUR = _ERROR, "nobody answers for it: it is down, or elsewhere"
    BACKEND_PACKETS_LOST = _ERROR, "connections to it are slow, and some do not come about"
    BACKEND_TIMED_OUT = _ERROR, "clients wait for it in vain"
    BACKEND_BROKEN_OFF = _ERROR, "it ends connections before it has answered"
    BACKEND_WRONG_ANSWER = _ERROR, "it answers, and not as the checks of the file want it"
    BACKEND_BAD_CERTIFICATE = _ERROR, "clients that verify certificates refuse it"
    BACKEND_DECLARED_DOWN = _WARNING, "its agent says that it is down"
    BACKEND_UNSTEERED = _ERROR, "this machine has no way to it, so nobody knows whether it works"
    BACKEND_UNCHECKED = _WARNING, "nobody knows whether it works"
    REPLIES_FILTERED = (
        _WARNING,
        "health checks get no answer; packets of clients are not affected",
    )

    @property
    def id(self) -> str:
        """The name that scripts know it by."""
        return self.name.lower().replace("_", "-")

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        severity: Severity = self.value[0]
        return severity

    @property
    def why(self) -> str:
        """Why it matters."""
        why: str = self.value[1]
        return why


def kind_of(outcome: Outcome) -> Kind:
    """Return what kind of finding a failed check of a backend is."""
    if outcome is Outcome.FILTERED_HERE:
        return Kind.REPLIES_FILTERED
    return Kind["BACKEND_" + outcome.name]
