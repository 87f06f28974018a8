"""Diagnose a failed check from its symptoms and other evidence. Pure.

These signs were observed on real hosts (``tests/netns/health/test_health.py``):

===========================  =================================================================
the backend                  what its balancer sees
===========================  =================================================================
lacks the VIP, no forwarding nothing; the backend's own address answers ping, the VIP does not
lacks the VIP, forwards      ICMP time exceeded from the backend, as checks have a TTL of 1
has a closed port            RST, or ICMP port unreachable, from the VIP
has a firewall that rejects  ICMP prohibited from the VIP or the backend
answers from another source  nothing on its socket; a segment or datagram on another one
is off the network           nothing, until the kernel's neighbour entry fails seconds later
stopped its server           TCP connects, and nothing follows; UDP: nothing, VIP answers ping
loses packets                replies to some of several pings
===========================  =================================================================
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from pydsr.health.targets import CheckTarget
from pydsr.model.addresses import IPAddress
from pydsr.model.check_result import Outcome, Result

_NO_ROUTE = (errno.EACCES, errno.ENETUNREACH, errno.ENETDOWN, errno.ENODEV)
"""This machine has no route; a prohibited route gives EACCES."""

_NO_RESOURCES = (
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOBUFS,
    errno.EADDRNOTAVAIL,
    errno.EADDRINUSE,
    errno.EAGAIN,
)
"""This machine lacks something; EAGAIN and the two before it: no port is free."""


@dataclass(frozen=True)
class IcmpError:
    """An ICMP error about a packet of a socket; its numbers depend on the version of IP."""

    offender: IPAddress
    version: int
    type: int
    code: int

    @property
    def is_time_exceeded(self) -> bool:
        """Whether the hop limit was exceeded: the sender forwards the packet."""
        return self.type == (3 if self.version == 6 else 11)

    @property
    def is_prohibited(self) -> bool:
        """Whether a firewall rejected the packet (RFC 1812, 5.2.7.1; RFC 4443, 3.1)."""
        if self.version == 6:
            return self.type == 1 and self.code in (1, 5, 6)
        return self.type == 3 and self.code in (9, 10, 13)

    @property
    def is_port_unreachable(self) -> bool:
        """Whether nothing listens on the port."""
        return (self.type, self.code) == ((1, 4) if self.version == 6 else (3, 3))


@dataclass(frozen=True)
class Symptoms:
    """How a probe failed.

    Attributes:
        errno: of its error; 0 for a timeout.
        is_connected: whether a TCP connection was established.
        icmp: the ICMP error that came back.
        wrong_source: another address that answered.
        is_own_address: whether the probe asked the backend's own address instead of the VIP.
        is_late: whether it timed out because this machine was too busy to read an answer.
    """

    errno: int = 0
    is_connected: bool = False
    icmp: IcmpError | None = None
    wrong_source: IPAddress | None = None
    is_own_address: bool = False
    is_late: bool = False


@dataclass(frozen=True)
class Evidence:
    """The evidence of an investigation; None is unknown.

    Attributes:
        has_neighbour: whether the kernel has a MAC for the backend.
        backend_answers: whether the backend's own address answers ping.
        vip_answers: whether the VIP on that backend answers ping.
        wrong_source: another address that answered a connection to the VIP.
        filter: the setting that stops this machine's reverse path filter from dropping answers.
        pings_sent: to the addresses that have answered at least one.
        pings_lost: how many of those were not answered.
        is_blocked: whether this machine's firewall drops packets to the VIP.
    """

    has_neighbour: bool | None = None
    backend_answers: bool | None = None
    vip_answers: bool | None = None
    wrong_source: IPAddress | None = None
    filter: str = ""
    pings_sent: int = 0
    pings_lost: int = 0
    is_blocked: bool = False

    @property
    def is_lossy(self) -> bool:
        """Whether packets get lost; a single ping may only have been late."""
        return self.pings_lost > 1


NOTHING_KNOWN = Evidence()


def is_decided(symptoms: Symptoms) -> bool:
    """Return whether the symptoms alone are enough for a diagnosis."""
    return (
        symptoms.is_late
        or (symptoms.is_connected and symptoms.errno != 0)
        or symptoms.errno in (errno.ECONNREFUSED, *_NO_ROUTE, *_NO_RESOURCES)
        or symptoms.icmp is not None
        or symptoms.wrong_source is not None
    )


def diagnose(target: CheckTarget, symptoms: Symptoms, evidence: Evidence = NOTHING_KNOWN) -> Result:
    """Return a failed check's result: its outcome, with a message and a hint."""
    backend, vip = target.route.backend, target.vip
    subject = f"{backend} (port {target.port})" if symptoms.is_own_address else str(target)
    wrong_source = symptoms.wrong_source or evidence.wrong_source
    if symptoms.is_late:
        return Result(
            Outcome.UNCHECKED,
            f"{subject} cannot be checked in time: this machine is too busy",
            "check less often, or give pydsr more CPU time (CPUWeight= of its unit, nice)",
        )
    if symptoms.errno in _NO_RESOURCES:
        return _unchecked(subject, symptoms.errno)
    if evidence.is_blocked and not symptoms.is_own_address:
        return _unchecked(subject, errno.EPERM)
    if symptoms.errno in _NO_ROUTE and symptoms.icmp is None:
        return Result(
            Outcome.UNSTEERED,
            f"this machine has no route to {backend}",
            "is the interface up? `ip link` shows it",
        )
    if symptoms.is_connected:
        return _after_connecting(subject, symptoms, evidence)
    if wrong_source is not None:
        return Result(
            Outcome.WRONG_SOURCE,
            f"{target}: the answer comes from {wrong_source}, not from {vip}",
            "bind the server to the VIP, so that it answers from the address that was asked; the "
            "backend must not translate sources (nft list ruleset)",
        )
    if symptoms.icmp is not None:
        return _by_icmp(target, symptoms.icmp, subject, symptoms.is_own_address)
    if symptoms.errno == errno.ECONNREFUSED:
        return _closed(target, subject)
    if evidence.has_neighbour is False and not evidence.backend_answers:
        return Result(
            Outcome.NO_NEIGHBOUR,
            f"{backend} does not answer ARP or neighbour discovery",
            "is the backend up, and in the same network and VLAN?",
        )
    if evidence.filter:
        return Result(
            Outcome.FILTERED_HERE,
            f"this machine's reverse path filter drops the answers of {vip}",
            evidence.filter,
        )
    if evidence.is_lossy:
        return _lost(subject, evidence)
    if evidence.backend_answers and evidence.vip_answers is False and not symptoms.is_own_address:
        return _vip_missing(target, "answers ping, but not for the VIP")
    return _silent(target, subject, evidence)


def _unchecked(subject: str, number: int) -> Result:
    hint = "raise the limit of open files, or check less often"
    if number == errno.EPERM:
        hint = (
            "run as root (sudo), or with the capabilities NET_ADMIN and NET_RAW; this machine's "
            "firewall (nft list ruleset) must pass its own packets to the VIPs"
        )
    return Result(Outcome.UNCHECKED, f"{subject} cannot be checked: {os.strerror(number)}", hint)


def _lost(subject: str, evidence: Evidence) -> Result:
    answered = evidence.pings_sent - evidence.pings_lost
    return Result(
        Outcome.PACKETS_LOST,
        f"{subject} does not answer in time, and only {answered} of {evidence.pings_sent} pings "
        "were answered: packets get lost",
        "look for errors and drops: `ip -s link` on both ends, and the switch's ports",
    )


def _after_connecting(subject: str, symptoms: Symptoms, evidence: Evidence) -> Result:
    if symptoms.errno:
        return Result(
            Outcome.BROKEN_OFF,
            f"{subject} accepted the connection, and closed it before it answered",
            "the server's log on the backend may say why",
        )
    if evidence.is_lossy:
        return _lost(subject, evidence)
    return Result(
        Outcome.TIMED_OUT,
        f"{subject} accepts connections, but does not answer in time",
        "is the server overloaded or stopped?",
    )


def _by_icmp(target: CheckTarget, icmp: IcmpError, subject: str, is_own_address: bool) -> Result:
    if icmp.is_port_unreachable:
        return _closed(target, subject)
    if icmp.is_prohibited:
        return Result(
            Outcome.REJECTED,
            f"{subject}: a firewall on {icmp.offender} rejects the packets",
            "allow the balancer's address on the backend: nft list ruleset",
        )
    if icmp.offender != target.vip and not is_own_address:
        how = "forwards its packets" if icmp.is_time_exceeded else "looks for it elsewhere"
        return _vip_missing(target, how)
    return Result(
        Outcome.TIMED_OUT,
        f"{subject}: unreachable, says {icmp.offender} (ICMP type {icmp.type}, code {icmp.code})",
    )


def _closed(target: CheckTarget, subject: str) -> Result:
    return Result(
        Outcome.PORT_CLOSED,
        f"{subject}: nothing listens on the port",
        f"`ss -ln` on {target.route.backend} shows what does; a server bound to the backend's "
        "own address does not serve the VIP",
    )


def _vip_missing(target: CheckTarget, how: str) -> Result:
    length = target.vip.max_prefixlen
    return Result(
        Outcome.VIP_MISSING,
        f"{target.route.backend} does not have {target.vip}: it {how}",
        f"on the backend: ip address add {target.vip}/{length} dev lo",
    )


def _silent(target: CheckTarget, subject: str, evidence: Evidence) -> Result:
    if evidence.vip_answers:
        return Result(
            Outcome.TIMED_OUT,
            f"{subject} does not answer, though the VIP answers ping there",
            "is the server stopped, or does a firewall drop its packets?",
        )
    if evidence.backend_answers is False:
        return Result(
            Outcome.TIMED_OUT,
            f"{target.route.backend} answers nothing, not even ping",
            "is the backend up?",
        )
    return Result(Outcome.TIMED_OUT, f"{subject} does not answer in time")
