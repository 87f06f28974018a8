"""Write a desired state as a configuration file."""

from __future__ import annotations

from typing import Any

import yaml

from pydsr.model.addresses import format_tags
from pydsr.model.desired_state import AUTO, DesiredInterface, DesiredService, DesiredState
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.options import OPTIONS
from pydsr.model.service import BackendState, DesiredBackend, state_of_weight
from pydsr.model.source_rules import Action, Rules, sort_key

_LINE_CHARACTERS = 100


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML would read as something else, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def write_text(state: DesiredState) -> str:
    """Return the file that describes a state; defaults are left out."""
    return yaml.dump(
        _document(state),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_LINE_CHARACTERS,
    )


def _document(state: DesiredState) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if state.interfaces:
        document["interfaces"] = [_interface(interface) for interface in state.interfaces]
    if state.table_size is not None:
        document["table-size"] = state.table_size
    if state.seed is not None:
        document["seed"] = f"{state.seed:016x}"
    if state.answer_while is not None:
        document["answer-while"] = str(state.answer_while)
    document |= _rules(state.rules)
    if state.policies:
        document["vips"] = {
            str(vip): {"unserved": policy.value} for vip, policy in state.policies.items()
        }
    document["services"] = [_service(service) for service in state.services]
    return document


def _interface(interface: DesiredInterface) -> Any:
    if interface.mode == AUTO:
        return interface.name
    return {"name": interface.name, "mode": interface.mode}


def _rules(rules: Rules) -> dict[str, Any]:
    ordered = sorted(rules, key=sort_key)
    by_action = {
        action.value: [str(network) for network in ordered if rules[network] is action]
        for action in Action
    }
    written = {action: networks for action, networks in by_action.items() if networks}
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
        # The sorry backend is the last of the backends, and has a key of its own.
        backends = backends[:-1] if service.health.sorry else backends
    document["backends"] = [_backend(backend) for backend in backends]
    return document


def _health(policy: HealthPolicy) -> dict[str, Any]:
    checks = [
        check.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for check in policy.checks
    ]
    with_defaults = {
        "needed": (policy.needed, None),
        "on-failure": (policy.on_failure.value, BackendState.DOWN.value),
        "minimum-healthy": (_minimum(policy.minimum), _minimum(Minimum())),
        "sorry": (_backend(policy.sorry) if policy.sorry else None, None),
        "slow-start": (policy.slow_start, 0.0),
        "suspect": (policy.suspects, True),
    }
    health = {key: value for key, (value, default) in with_defaults.items() if value != default}
    return {"checks": checks} | ({"health": health} if health else {})


def _minimum(minimum: Minimum) -> int | str:
    return f"{minimum.number}%" if minimum.is_percentage else minimum.number


def _backend(backend: DesiredBackend) -> Any:
    tags = format_tags(backend.tags)
    if backend.state is state_of_weight(backend.weight):
        weight = f"={backend.weight}" if backend.weight != 1 else ""
        mac = f"@{backend.mac}" if backend.mac else ""
        return f"{backend.address}{weight}{mac}" + (f"%{tags}" if tags else "")
    document: dict[str, Any] = {"address": str(backend.address)}
    if backend.weight != 1:
        document["weight"] = backend.weight
    if backend.mac is not None:
        document["mac"] = str(backend.mac)
    if tags:
        document["vlan"] = int(tags) if tags.isdigit() else tags
    document["state"] = backend.state.value
    return document
