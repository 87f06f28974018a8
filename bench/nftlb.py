"""The rule that nftlb writes for Direct Server Return. Pure.

Source: ``tests/004_dsr_ipv4_tcp_hash`` of nftlb (https://github.com/zevenet/nftlb); here it hashes
source address and port. nftlb sets no seed, so the kernel draws another one with every rule. The
same rule with a fixed seed is the best case.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydsr.model.addresses import Endpoint

SEED_KEPT = "seed 0x5eed"


def ruleset(
    interface: str,
    mac: str,
    service: Endpoint,
    backends: Iterable[tuple[str, int]],
    seed: str = "",
) -> str:
    """Return the table ``netdev bench`` as ``nft`` reads it.

    Args:
        interface: where packets come in, and go out again.
        mac: of that interface.
        service: an IPv4 VIP and its TCP port.
        backends: MAC and weight of each.
        seed: SEED_KEPT, or nothing.
    """
    ranges, total = [], 0
    for backend, weight in backends:
        ranges.append(f"{total}-{total + weight - 1} : {backend}")
        total += weight
    choice = f"jhash ip saddr . tcp sport mod {total} {seed} map {{ {', '.join(ranges)} }}"
    return f"""table netdev bench {{
        chain ingress {{
            type filter hook ingress device "{interface}" priority 100;
            ip daddr {service.address} tcp dport {service.port} ether saddr set {mac} \
                ether daddr set {choice} fwd to "{interface}"
        }}
    }}"""
