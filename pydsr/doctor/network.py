"""Derive findings about VIPs and backends from facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydsr.doctor.facts import BackendFacts, NetworkFacts, VipFacts
from pydsr.kernel.machine.findings import Finding, FindingKind, Note, Remark, kind_of
from pydsr.model.addresses import MacAddress

_BALANCER = "balancer"


def judge_network(facts: NetworkFacts) -> list[Remark]:
    """Return the remarks on a balancer's VIPs and backends."""
    return [
        *_attachment(facts),
        *(remark for vip in facts.vips for remark in _vip(vip, facts)),
        *(_empty(str(service)) for service in facts.empty),
        *(remark for backend in facts.backends for remark in _backend(backend)),
    ]


def _attachment(facts: NetworkFacts) -> Iterator[Remark]:
    if facts.is_attached:
        return
    if facts.is_elsewhere:
        yield Finding(
            FindingKind.ELSEWHERE,
            _BALANCER,
            "this balancer is attached in another network namespace",
            "run pydsr there: nsenter --net=/run/netns/NAME pydsr doctor; or give each network "
            "namespace its own balancer: --bpffs DIR",
        )
    else:
        yield Finding(
            FindingKind.NOT_ATTACHED, _BALANCER, "no interface is attached", "pydsr attach IFACE"
        )


def _vip(facts: VipFacts, network: NetworkFacts) -> Iterator[Remark]:
    vip, name = facts.vip, str(facts.vip)
    if facts.local:
        yield Finding(
            FindingKind.VIP_LOCAL,
            name,
            f"the VIP {vip} is an address of this machine",
            f"ip address del {facts.local}; the balancer answers for it without",
        )
    others = [claim for claim in facts.claims if claim.mac not in network.own_macs]
    macs = sorted({claim.mac for claim in others}, key=str)
    for mac in macs:
        devices = ", ".join(sorted({claim.device for claim in others if claim.mac == mac}))
        yield _claimed(facts, mac, devices, network.names.get(mac, ()), len(macs))
    if facts.queried and not macs:
        devices = ", ".join(facts.queried)
        whose = "this balancer alone answers" if facts.answered else "nobody answers"
        yield Note(name, f"{whose} {_protocol(facts)} on {devices}")
    yield from (Note(name, reason, looked=False) for reason in facts.not_queried)


def _claimed(
    facts: VipFacts, mac: MacAddress, devices: str, backends: Sequence[str], others: int
) -> Remark:
    vip = facts.vip
    number = others + facts.answered
    count = f"{number} MACs answer for it" if number > 1 else "nobody else does"
    claim = f"answers {_protocol(facts)} for {vip} on {devices}"
    if backends:
        return Finding(
            FindingKind.ARP_LEAK,
            str(vip),
            f"backend {', '.join(backends)} ({mac}) {claim} ({count})",
            f"on the backend: {_stop_leak(facts)}",
        )
    if not facts.answered:
        # Intended: the VIP is routed, or another balancer answers for it.
        return Note(str(vip), f"{mac} {claim}, and this balancer does not (--no-arp)")
    return Finding(
        FindingKind.VIP_CONTESTED,
        str(vip),
        f"{mac} {claim}, and is neither this balancer nor a backend ({count})",
        f"take {vip} off that host; if it is another balancer, let only one answer at a time "
        "(answer-while in the file, with keepalived), or none: --no-arp",
    )


def _stop_leak(facts: VipFacts) -> str:
    if facts.vip.version == 6:
        return f"put {facts.vip}/128 on lo, and on no interface to the network"
    return (
        "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2, and put "
        f"{facts.vip}/32 on lo"
    )


def _protocol(facts: VipFacts) -> str:
    return "neighbour discovery" if facts.vip.version == 6 else "ARP"


def _empty(service: str) -> Finding:
    return Finding(
        FindingKind.SERVICE_EMPTY,
        service,
        f"{service} has no backend that takes new flows",
        f"pydsr backends add {service} ADDRESS; or undrain a backend",
    )


def _backend(facts: BackendFacts) -> Iterator[Remark]:
    name = f"{facts.service} on {facts.address}"
    address, mac = facts.address, facts.mac
    if mac is None:
        yield Finding(
            FindingKind.BACKEND_UNPLACED,
            name,
            f"backend {address} of {facts.service} has no MAC address",
            _resolve_again(facts),
        )
        return
    if facts.confirmed_macs and mac not in facts.confirmed_macs:
        seen = ", ".join(sorted(map(str, facts.confirmed_macs)))
        yield Finding(
            FindingKind.BACKEND_MOVED,
            name,
            f"packets for backend {address} go to {mac}, but it is at {seen}",
            f"{_resolve_again(facts)}; the daemon (pydsr run) does so by itself",
        )
    if facts.result is None:
        yield Note(name, facts.not_checked, looked=False)
    elif facts.result.passed:
        yield Note(name, "accepts packets to the VIP, and replies from it")
    else:
        result = facts.result
        yield Finding(kind_of(result.outcome), name, result.message, result.hint)


def _resolve_again(facts: BackendFacts) -> str:
    weight = "" if facts.weight == 1 else f"={facts.weight}"
    return f"pydsr backends add {facts.service} {facts.address}{weight}; it resolves the MAC"
