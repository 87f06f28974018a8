"""From what was seen of a failed check to what is wrong. Pure.

What the signs look like was tried with real hosts (``tests/netns/health/test_health.py``):

===========================  =================================================================
the backend                  what its balancer sees
===========================  =================================================================
lacks the VIP, no forwarding nothing at all; its own address answers ping, the VIP does not
lacks the VIP, forwards      ICMP time exceeded from the backend, as a check has one hop only
has nothing at the port      RST, or ICMP port unreachable, from the VIP
has a filter that refuses    ICMP prohibited from the VIP or the backend
answers from another source  nothing at its socket; a segment or datagram from there at another
is off the network           nothing, until the kernel's neighbour entry fails, seconds later
stopped its server           TCP connects, and nothing follows; UDP: nothing, VIP answers ping
loses packets                of several pings some are answered, others not
===========================  =================================================================
"""

from __future__ import annotations

import errno
import os

from pydsr.health.symptoms import NOTHING_KNOWN, Evidence, IcmpError, Symptoms
from pydsr.health.targets import Target
from pydsr.model.check_result import Outcome, Result

_NO_WAY = (errno.EACCES, errno.ENETUNREACH, errno.ENETDOWN, errno.ENODEV)
"""This machine has no way there; EACCES is what a prohibited route gives."""

_NO_MEANS = (
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOBUFS,
    errno.EADDRNOTAVAIL,
    errno.EADDRINUSE,
    errno.EAGAIN,
)
"""This machine has not what a check takes; EAGAIN and the two before it: no port is free."""


def is_decided(symptoms: Symptoms) -> bool:
    """Return whether the symptoms alone say what is wrong."""
    return (
        symptoms.is_late
        or (symptoms.is_connected and symptoms.errno != 0)
        or symptoms.errno in (errno.ECONNREFUSED, *_NO_WAY, *_NO_MEANS)
        or symptoms.icmp is not None
        or symptoms.wrong_source is not None
    )


def diagnose(target: Target, symptoms: Symptoms, evidence: Evidence = NOTHING_KNOWN) -> Result:
    """Return what is wrong, in words.

    Args:
        target: what was asked.
        symptoms: how it failed.
        evidence: what was found out beside.
    """
    backend, vip = target.route.backend, target.vip
    asked = f"{backend} (port {target.port})" if symptoms.is_own_address else str(target)
    wrong_source = symptoms.wrong_source or evidence.wrong_source
    if symptoms.is_late:
        return Result(
            Outcome.UNCHECKED,
            f"{asked} cannot be checked in time: this machine is too busy",
            "make checks less often, or give pydsr more of a CPU (CPUWeight= of its unit, nice)",
        )
    if symptoms.errno in _NO_MEANS:
        return _unchecked(asked, symptoms.errno)
    if evidence.is_blocked and not symptoms.is_own_address:
        return _unchecked(asked, errno.EPERM)
    if symptoms.errno in _NO_WAY and symptoms.icmp is None:
        return Result(
            Outcome.UNSTEERED,
            f"this machine has no way to {backend}",
            "is the interface up? `ip link` shows it",
        )
    if symptoms.is_connected:
        return _after_connecting(asked, symptoms, evidence)
    if wrong_source is not None:
        return Result(
            Outcome.WRONG_SOURCE,
            f"{target}: the answer comes from {wrong_source}, not from {vip}",
            "let the server answer from the address it was asked at: bind it to the VIP; and "
            "let the backend not translate sources (nft list ruleset)",
        )
    if symptoms.icmp is not None:
        return _by_icmp(target, symptoms.icmp, asked, symptoms.is_own_address)
    if symptoms.errno == errno.ECONNREFUSED:
        return _closed(target, asked)
    if evidence.has_neighbour is False and not evidence.backend_answers:
        return Result(
            Outcome.NO_NEIGHBOUR,
            f"{backend} does not say where it is (ARP, neighbour discovery)",
            "is the backend up, and in the same network and VLAN?",
        )
    if evidence.filter:
        return Result(
            Outcome.FILTERED_HERE,
            f"this machine drops what {vip} answers: its reverse path filter",
            evidence.filter,
        )
    if evidence.is_lossy:
        return _lost(asked, evidence)
    if evidence.backend_answers and evidence.vip_answers is False and not symptoms.is_own_address:
        return _vip_missing(target, "answers ping, but not for the VIP")
    return _silent(target, asked, evidence)


def _unchecked(asked: str, number: int) -> Result:
    hint = "raise the limit of open files, or make checks less often"
    if number == errno.EPERM:
        hint = (
            "run as root (sudo), or with the capabilities NET_ADMIN and NET_RAW; and let a filter "
            "of this machine (nft list ruleset) pass its own packets to the VIPs"
        )
    return Result(Outcome.UNCHECKED, f"{asked} cannot be checked: {os.strerror(number)}", hint)


def _lost(asked: str, evidence: Evidence) -> Result:
    answered = evidence.pings_sent - evidence.pings_lost
    return Result(
        Outcome.PACKETS_LOST,
        f"{asked} does not answer in time, and of {evidence.pings_sent} pings only {answered} were "
        "answered: packets are lost on the way",
        "look at errors and drops: `ip -s link` on both ends, and the switch's ports",
    )


def _after_connecting(asked: str, symptoms: Symptoms, evidence: Evidence) -> Result:
    if symptoms.errno:
        return Result(
            Outcome.BROKEN_OFF,
            f"{asked} took the connection, and ended it before it had answered",
            "the server's log on the backend may say why",
        )
    if evidence.is_lossy:
        return _lost(asked, evidence)
    return Result(
        Outcome.TIMED_OUT,
        f"{asked} takes connections, but does not answer in time",
        "is the server overloaded or stopped?",
    )


def _by_icmp(target: Target, icmp: IcmpError, asked: str, is_own_address: bool) -> Result:
    if icmp.is_port_unreachable:
        return _closed(target, asked)
    if icmp.is_prohibited:
        return Result(
            Outcome.REJECTED,
            f"{asked}: {icmp.offender} refuses the packets by a filter",
            "let the balancer's address in: nft list ruleset, on the backend",
        )
    if icmp.offender != target.vip and not is_own_address:
        how = "forwards its packets" if icmp.is_time_exceeded else "looks for it elsewhere"
        return _vip_missing(target, how)
    return Result(
        Outcome.TIMED_OUT,
        f"{asked}: unreachable, says {icmp.offender} (ICMP type {icmp.type}, code {icmp.code})",
    )


def _closed(target: Target, asked: str) -> Result:
    return Result(
        Outcome.PORT_CLOSED,
        f"{asked}: nothing listens at the port",
        f"`ss -ln` on {target.route.backend} shows what does; a server bound to the backend's "
        "own address does not serve the VIP",
    )


def _vip_missing(target: Target, how: str) -> Result:
    length = target.vip.max_prefixlen
    return Result(
        Outcome.VIP_MISSING,
        f"{target.route.backend} does not have {target.vip}: it {how}",
        f"on the backend: ip address add {target.vip}/{length} dev lo",
    )


def _silent(target: Target, asked: str, evidence: Evidence) -> Result:
    if evidence.vip_answers:
        return Result(
            Outcome.TIMED_OUT,
            f"{asked} does not answer, though the VIP answers ping there",
            "is the server stopped, or does a filter drop its packets?",
        )
    if evidence.backend_answers is False:
        return Result(
            Outcome.TIMED_OUT,
            f"{target.route.backend} answers nothing, not even ping",
            "is the backend up?",
        )
    return Result(Outcome.TIMED_OUT, f"{asked} does not answer in time")
