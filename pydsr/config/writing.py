"""A configuration as the text of a file that says the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from pydsr.model.addresses import format_tags
from pydsr.model.desired_state import AUTO, DesiredInterface, DesiredService, DesiredState
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.options import OPTIONS
from pydsr.model.service import BackendState, DesiredBackend
from pydsr.model.source_rules import Action, Rules, sort_key

_LINE_CHARACTERS = 100


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML takes for something else than text; leaves short lists in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        del data
        return True


def write_text(configuration: DesiredState) -> str:
    """Return the file of a configuration; what it says by default is left out."""
    return yaml.dump(
        _document(configuration),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_LINE_CHARACTERS,
    )


def _document(configuration: DesiredState) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if configuration.interfaces:
        document["interfaces"] = [_interface(one) for one in configuration.interfaces]
    if configuration.table_size is not None:
        document["table-size"] = configuration.table_size
    if configuration.seed is not None:
        document["seed"] = f"{configuration.seed:016x}"
    if configuration.answer_while is not None:
        document["answer-while"] = str(configuration.answer_while)
    document |= _rules(configuration.rules)
    if configuration.policies:
        document["vips"] = {
            str(vip): {"unserved": policy.value} for vip, policy in configuration.policies.items()
        }
    document["services"] = [_service(service) for service in configuration.services]
    return document


def _interface(interface: DesiredInterface) -> Any:
    if interface.mode == AUTO:
        return interface.name
    return {"name": interface.name, "mode": interface.mode}


def _rules(rules: Rules) -> dict[str, Any]:
    written = {
        action.value: [str(net) for net in sorted(rules, key=sort_key) if rules[net] is action]
        for action in Action
    }
    written = {action: sources for action, sources in written.items() if sources}
    return {"rules": written} if written else {}


def _service(service: DesiredService) -> dict[str, Any]:
    document: dict[str, Any] = {"endpoint": str(service.endpoint)}
    for option in OPTIONS:
        value = getattr(service.options, option.name)
        if value != option.default:
            document[option.key] = str(value) if isinstance(value, str) else value
    document |= _rules(service.rules)
    backends = service.backends
    if service.health is not None:
        document |= _health(service.health)
        # What stands in is among the backends, but named apart from them.
        backends = backends[:-1] if service.health.sorry else backends
    document["backends"] = list(_backends(backends))
    return document


def _health(policy: HealthPolicy) -> dict[str, Any]:
    checks = [
        check.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for check in policy.checks
    ]
    health = {
        "needed": policy.needed,
        "on-failure": policy.on_failure.value,
        "minimum-healthy": _minimum(policy.minimum),
        "sorry": next(iter(_backends([policy.sorry])), None) if policy.sorry else None,
        "slow-start": policy.slow_start,
        "suspect": policy.suspects,
    }
    defaults = (None, BackendState.DOWN.value, _minimum(Minimum()), None, 0.0, True)
    said = {
        key: value
        for (key, value), default in zip(health.items(), defaults, strict=True)
        if value != default
    }
    return {"checks": checks} | ({"health": said} if said else {})


def _minimum(minimum: Minimum) -> int | str:
    return f"{minimum.number}%" if minimum.is_percentage else minimum.number


def _backends(backends: Iterable[DesiredBackend]) -> Iterable[Any]:
    for item in backends:
        natural = BackendState.UP if item.weight else BackendState.DRAIN
        tags = format_tags(item.tags)
        if item.state is natural:
            weight = f"={item.weight}" if item.weight != 1 else ""
            place = f"@{item.mac}" if item.mac else ""
            yield f"{item.address}{weight}{place}" + (f"%{tags}" if tags else "")
            continue
        document: dict[str, Any] = {"address": str(item.address)}
        if item.weight != 1:
            document["weight"] = item.weight
        if item.mac is not None:
            document["mac"] = str(item.mac)
        if tags:
            document["vlan"] = int(tags) if tags.isdigit() else tags
        document["state"] = item.state.value
        yield document
