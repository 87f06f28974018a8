"""From the shape of a file to a configuration: what its values mean, and say of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pydsr.config.problems import Path, Problem, in_words
from pydsr.config.schema import InterfaceShape, RulesShape, ServiceShape, VipShape
from pydsr.model.addresses import Endpoint, IPAddress, parse_address
from pydsr.model.change import check_options
from pydsr.model.desired_state import DesiredInterface, DesiredService
from pydsr.model.errors import InputError
from pydsr.model.health_policy import HealthPolicy
from pydsr.model.options import DEFAULT_LEARN_SECONDS, OPTIONS, ServiceOptions, option_errors
from pydsr.model.service import BackendState, Unserved
from pydsr.model.source_rules import Action, IPNetwork, Rules, parse_networks

Problems = list[Problem]


def interfaces_of(
    shapes: Iterable[InterfaceShape], problems: Problems
) -> tuple[DesiredInterface, ...]:
    """Return the interfaces; one that is named twice is a problem."""
    found: dict[str, DesiredInterface] = {}
    for number, shape in enumerate(shapes):
        if shape.name in found:
            problems.append(Problem(("interfaces", number), f"{shape.name} is named twice"))
        found[shape.name] = DesiredInterface(shape.name, shape.mode)
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


def answer_while_of(
    address: IPAddress | None, services: Iterable[DesiredService], problems: Problems
) -> IPAddress | None:
    """Return the address with which VIPs are answered for; one that is a VIP is a problem."""
    for service in services:
        if address == service.endpoint.address:
            message = f"{address} is a VIP, which no balancer has: name an address beside it"
            problems.append(Problem(("answer-while",), message))
            break
    return address


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


def service_of(shape: ServiceShape, path: Path, problems: Problems) -> DesiredService:
    """Return a service, as far as it can be."""
    backends: list[Any] = shape.backends
    health = _health_of(shape, path, problems)
    sorry = (replace(health.sorry, state=BackendState.DOWN),) if health and health.sorry else ()
    return DesiredService(
        shape.endpoint,
        _options_of(shape, path, problems),
        (*backends, *sorry),
        rules_of(shape.rules, shape.endpoint, path, problems),
        health,
    )


def _health_of(shape: ServiceShape, path: Path, problems: Problems) -> HealthPolicy | None:
    """Return what the checks of a service come to; None without any."""
    given = shape.health
    if not shape.checks:
        if given.model_fields_set:
            problems.append(Problem((*path, "health"), "says nothing without checks"))
        return None
    from pydsr.model.checks import port_of

    for number, check in enumerate(shape.checks):
        if check.needs_port and not port_of(check, shape.endpoint):
            message = f"needs a port: {shape.endpoint} is a service of every port"
            problems.append(Problem((*path, "checks", number), message))
    if (given.needed or 0) > len(shape.checks):
        message = f"is {given.needed}, but there are {len(shape.checks)} checks"
        problems.append(Problem((*path, "health", "needed"), message))
    sorry: Any = given.sorry
    if sorry is not None and sorry.state is not BackendState.UP:
        message = "must have a weight, and no state: it is up when it is needed"
        problems.append(Problem((*path, "health", "sorry"), message))
    return HealthPolicy(
        tuple(shape.checks),
        given.needed,
        given.minimum_healthy,
        sorry,
        given.slow_start,
        BackendState(given.on_failure),
        given.suspect,
    )


def _options_of(shape: ServiceShape, path: Path, problems: Problems) -> ServiceOptions:
    values = {option.name: getattr(shape, option.name) for option in OPTIONS}
    if values["learn"] == DEFAULT_LEARN_SECONDS[shape.endpoint.protocol]:
        values["learn"] = None
    wrong = [Problem((*path, one.key), in_words(error)) for one, error in option_errors(values)]
    if wrong:
        problems += wrong
        return ServiceOptions()
    options = ServiceOptions(**values)
    try:
        check_options(shape.endpoint, options)
    except InputError as error:
        problems.append(Problem((*path, "max-new-flows"), in_words(error)))
    return options


def check_together(services: Sequence[tuple[int, DesiredService]], problems: Problems) -> None:
    """Find services and backends that cannot be together; services come with their numbers."""
    first: dict[Endpoint, int] = {}
    vips = {service.endpoint.address for _, service in services}
    for number, service in services:
        path: Path = ("services", number)
        earlier = first.setdefault(service.endpoint, number)
        if earlier != number:
            message = f"{service.endpoint} is the endpoint of services[{earlier}] already"
            problems.append(Problem((*path, "endpoint"), message))
        _check_backends(service, vips, path, problems)


def _check_backends(
    service: DesiredService, vips: set[IPAddress], path: Path, problems: Problems
) -> None:
    backends = service.backends
    addresses = {item.address for item in backends}
    if len(addresses) == len(backends) and not addresses & vips:
        return
    addresses.clear()
    for number, item in enumerate(backends):
        where: Path = (*path, "backends", number)
        if service.health and service.health.sorry and number == len(backends) - 1:
            where = (*path, "health", "sorry")
        if item.address in addresses:
            problems.append(Problem(where, f"backend {item.address} is named twice"))
        elif item.address in vips:
            message = f"backend {item.address} is a VIP: name it by an address of its own"
            problems.append(Problem(where, message))
        addresses.add(item.address)
