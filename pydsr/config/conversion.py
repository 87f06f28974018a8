"""From the shape of a file to a configuration: what its values mean, and say of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydsr.acl import Action, IPNetwork, Rules, parse_networks
from pydsr.config.problems import Path, Problem, in_words
from pydsr.config.schema import InterfaceShape, RulesShape, ServiceShape, VipShape
from pydsr.configuration import ConfiguredInterface, ConfiguredService
from pydsr.errors import InputError
from pydsr.model import (
    DEFAULT_LEARN_SECONDS,
    Endpoint,
    IPAddress,
    ServiceOptions,
    Unserved,
    parse_address,
)
from pydsr.planner import DesiredBackend, check_options

Problems = list[Problem]

_OPTIONS = (
    "name",
    "affinity",
    "netmask4",
    "netmask6",
    "one_packet",
    "learn",
    "arp",
    "max_new_flows",
    "guard_netmask4",
    "guard_netmask6",
)


def interfaces_of(
    shapes: Iterable[InterfaceShape], problems: Problems
) -> tuple[ConfiguredInterface, ...]:
    """Return the interfaces; one that is named twice is a problem."""
    found: dict[str, ConfiguredInterface] = {}
    for number, shape in enumerate(shapes):
        if shape.name in found:
            problems.append(Problem(("interfaces", number), f"{shape.name} is named twice"))
        found[shape.name] = ConfiguredInterface(shape.name, shape.mode)
    return tuple(found.values())


def policies_of(
    shapes: dict[str, VipShape], endpoints: Iterable[Endpoint], problems: Problems
) -> dict[IPAddress, Unserved]:
    """Return the policies of VIPs; one without a service is a problem."""
    vips = {endpoint.address for endpoint in endpoints}
    found: dict[IPAddress, Unserved] = {}
    for text, shape in shapes.items():
        try:
            vip = parse_address(text)
        except InputError as error:
            problems.append(Problem(("vips", text), in_words(error)))
            continue
        if vip not in vips:
            problems.append(Problem(("vips", text), f"{vip} is the VIP of no service"))
        elif vip in found:
            problems.append(Problem(("vips", text), f"{vip} is there twice"))
        found[vip] = shape.unserved
    return {vip: policy for vip, policy in found.items() if policy is not Unserved.COUNT}


def rules_of(shape: RulesShape, scope: Endpoint | None, path: Path, problems: Problems) -> Rules:
    """Return the rules of a scope; sources that cannot send to it, or come twice, are problems."""
    found: dict[IPNetwork, Action] = {}
    for action, texts in ((Action.ALLOW, shape.allow), (Action.DENY, shape.deny)):
        for number, text in enumerate(texts):
            where = (*path, "rules", action.value, number)
            try:
                networks = parse_networks([text], scope)
            except InputError as error:
                problems.append(Problem(where, in_words(error)))
                continue
            for network in networks:
                if found.get(network, action) is not action:
                    problems.append(Problem(where, f"{network} is allowed as well"))
                found[network] = action
    return found


def service_of(shape: ServiceShape, path: Path, problems: Problems) -> ConfiguredService:
    """Return a service, as far as it can be."""
    backends: list[Any] = shape.backends
    return ConfiguredService(
        shape.endpoint,
        _options_of(shape, path, problems),
        tuple(backends),
        rules_of(shape.rules, shape.endpoint, path, problems),
    )


def _options_of(shape: ServiceShape, path: Path, problems: Problems) -> ServiceOptions:
    given = {name: getattr(shape, name) for name in _OPTIONS}
    if given["learn"] == DEFAULT_LEARN_SECONDS[shape.endpoint.protocol]:
        given["learn"] = None
    try:
        options = ServiceOptions(**given)
    except InputError:
        problems += _option_problems(given, path)
        return ServiceOptions()
    try:
        check_options(shape.endpoint, options)
    except InputError as error:
        problems.append(Problem((*path, "max-new-flows"), in_words(error)))
    return options


def _option_problems(given: dict[str, Any], path: Path) -> list[Problem]:
    """Say which options are wrong, trying each by itself."""
    problems = []
    for name, value in given.items():
        try:
            ServiceOptions(**{"affinity": given["affinity"], name: value})
        except InputError as error:
            problems.append(Problem((*path, name.replace("_", "-")), in_words(error)))
    return problems


def check_together(services: Sequence[tuple[int, ConfiguredService]], problems: Problems) -> None:
    """Find services and backends that cannot be together; services come with their numbers."""
    first: dict[Endpoint, int] = {}
    vips = {service.endpoint.address for _, service in services}
    for number, service in services:
        path: Path = ("services", number)
        earlier = first.setdefault(service.endpoint, number)
        if earlier != number:
            message = f"{service.endpoint} is the endpoint of services[{earlier}] already"
            problems.append(Problem((*path, "endpoint"), message))
        _check_backends(service.backends, vips, path, problems)


def _check_backends(
    backends: Sequence[DesiredBackend], vips: set[IPAddress], path: Path, problems: Problems
) -> None:
    addresses = {item.address for item in backends}
    if len(addresses) == len(backends) and not addresses & vips:
        return
    addresses.clear()
    for number, item in enumerate(backends):
        where = (*path, "backends", number)
        if item.address in addresses:
            problems.append(Problem(where, f"backend {item.address} is named twice"))
        elif item.address in vips:
            message = f"backend {item.address} is a VIP: name it by an address of its own"
            problems.append(Problem(where, message))
        addresses.add(item.address)
