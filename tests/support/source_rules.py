"""What source rules mean, as the program has to decide it."""

from __future__ import annotations

from pydsr.model.addresses import IPAddress
from pydsr.model.source_rules import Action, Rules


def is_denied(rules: Rules, source: IPAddress) -> bool:
    """Return whether the rules of a scope deny a source, as the program decides it."""
    holding = [net for net in rules if net.version == source.version and source in net]
    longest = max(holding, key=lambda network: network.prefixlen, default=None)
    return longest is not None and rules[longest] is Action.DENY
