"""Load a configuration file: the desired state it describes, or everything wrong with it.

:mod:`pydsr.config.yaml_source` reads the YAML, :mod:`pydsr.config.schema` checks each value, and
this module checks values against each other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from pydsr.config.field_types import in_words
from pydsr.config.problems import problems_of
from pydsr.config.schema import FileShape, InterfaceShape, RulesShape, ServiceShape, VipShape
from pydsr.config.yaml_source import Path, Problem, YamlSource, read
from pydsr.model.addresses import Endpoint, IPAddress, parse_address
from pydsr.model.desired_state import DesiredInterface, DesiredService, DesiredState
from pydsr.model.errors import InputError
from pydsr.model.health_policy import HealthPolicy
from pydsr.model.options import (
    DEFAULT_LEARN_SECONDS,
    OPTIONS,
    ServiceOptions,
    check_options,
    option_errors,
)
from pydsr.model.service import BackendState, Unserved
from pydsr.model.source_rules import Action, IPNetwork, Rules, parse_networks

_STDIN = "-"


def load_file(name: str) -> DesiredState:
    """Load a file, or stdin if the name is ``-``.

    Raises:
        InputError: the file cannot be read or has errors; the message lists all of them.
    """
    try:
        if name == _STDIN:
            name, octets = "stdin", sys.stdin.buffer.read()
        else:
            octets = FilePath(name).read_bytes()
        text = octets.decode("utf-8")
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not text in UTF-8: {error.reason} at byte {error.start}"
        ) from None
    return load_text(name, text)


def load_text(name: str, text: str) -> DesiredState:
    """Load the text of a file that messages call by a name.

    Raises:
        InputError: the text has errors; the message lists all of them.
    """
    source = read(name, text)
    if source.value is None and source.problems:
        raise _error(source, source.problems)
    value = {} if source.value is None else source.value
    conversion = _Conversion(source.problems)
    try:
        shape = FileShape.model_validate(value)
    except ValidationError as error:
        # The services that are valid may have problems with each other.
        conversion.services(_valid_services(value))
        raise _error(source, [*problems_of(error), *conversion.problems]) from None
    state = conversion.state(shape)
    if conversion.problems:
        raise _error(source, conversion.problems)
    return state


def _error(source: YamlSource, problems: Iterable[Problem]) -> InputError:
    by_line = sorted(
        (problem.line or source.line(problem.path), str(problem)) for problem in problems
    )
    lines = [f"{source.name}:{line}: {text}" for line, text in dict.fromkeys(by_line)]
    if len(lines) > 1:
        lines.insert(0, f"{source.name} has {len(lines)} errors")
    return InputError("\n".join(lines))


def _valid_services(value: Any) -> list[tuple[int, ServiceShape]]:
    """Return services with their positions, without the keys whose values are wrong."""
    items = value.get("services") if isinstance(value, dict) else None
    services = []
    for number, item in enumerate(items if isinstance(items, list) else ()):
        try:
            services.append((number, ServiceShape.model_validate(item)))
        except ValidationError as error:
            wrong = {details["loc"][0] for details in error.errors() if details["loc"]}
            if isinstance(item, dict) and "endpoint" not in wrong:
                rest = {key: item[key] for key in item.keys() - wrong}
                services.append((number, ServiceShape.model_validate(rest)))
    return services


class _Conversion:
    """Makes the desired state of a file whose values are valid one by one.

    Attributes:
        problems: values that contradict each other; if there are any, discard the result.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)

    def _problem(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))

    def state(self, shape: FileShape) -> DesiredState:
        """Return the desired state of the whole file."""
        services = self.services(enumerate(shape.services))
        vips = {service.endpoint.address for service in services}
        if shape.answer_while in vips:
            message = f"{shape.answer_while} is a VIP: name the VRRP address instead"
            self._problem(("answer-while",), message)
        return DesiredState(
            interfaces=self._interfaces(shape.interfaces),
            table_size=shape.table_size,
            seed=shape.seed,
            policies=self._policies(shape.vips, vips),
            services=services,
            rules=self._rules(shape.rules, None, ()),
            answer_while=shape.answer_while,
        )

    def services(self, shapes: Iterable[tuple[int, ServiceShape]]) -> tuple[DesiredService, ...]:
        """Return services, which come with their positions in the file."""
        numbered = [(number, self._service(shape, number)) for number, shape in shapes]
        first: dict[Endpoint, int] = {}
        vips = {service.endpoint.address for _, service in numbered}
        for number, service in numbered:
            earlier = first.setdefault(service.endpoint, number)
            if earlier != number:
                message = f"{service.endpoint} is the endpoint of services[{earlier}] already"
                self._problem(("services", number, "endpoint"), message)
            self._check_backends(service, vips, ("services", number))
        return tuple(service for _, service in numbered)

    def _interfaces(self, shapes: Iterable[InterfaceShape]) -> tuple[DesiredInterface, ...]:
        interfaces: dict[str, DesiredInterface] = {}
        for number, shape in enumerate(shapes):
            if shape.name in interfaces:
                self._problem(("interfaces", number), f"{shape.name} is named twice")
            interfaces[shape.name] = DesiredInterface(shape.name, shape.mode)
        return tuple(interfaces.values())

    def _policies(
        self, shapes: Mapping[str, VipShape], vips: set[IPAddress]
    ) -> dict[IPAddress, Unserved]:
        policies: dict[IPAddress, Unserved] = {}
        for text, shape in shapes.items():
            try:
                vip = parse_address(text)
            except InputError as error:
                self._problem(("vips", text), in_words(error))
                continue
            if vip not in vips:
                self._problem(("vips", text), f"no service has the VIP {vip}")
            elif vip in policies:
                self._problem(("vips", text), f"{vip} is there twice")
            policies[vip] = shape.unserved
        return {vip: policy for vip, policy in policies.items() if policy is not Unserved.COUNT}

    def _rules(self, shape: RulesShape, scope: Endpoint | None, path: Path) -> Rules:
        rules: dict[IPNetwork, Action] = {}
        for action, texts in ((Action.ALLOW, shape.allow), (Action.DENY, shape.deny)):
            for number, text in enumerate(texts):
                where = (*path, "rules", action.value, number)
                try:
                    networks = parse_networks([text], scope)
                except InputError as error:
                    self._problem(where, in_words(error))
                    continue
                for network in networks:
                    if rules.get(network, action) is not action:
                        self._problem(where, f"{network} is allowed as well")
                    rules[network] = action
        return rules

    def _service(self, shape: ServiceShape, number: int) -> DesiredService:
        path: Path = ("services", number)
        backends: list[Any] = shape.backends
        health = self._health(shape, path) if shape.checks else None
        if not shape.checks and shape.health.model_fields_set:
            self._problem((*path, "health"), "has no effect without checks")
        if health and health.sorry:
            backends = [*backends, replace(health.sorry, state=BackendState.DOWN)]
        return DesiredService(
            shape.endpoint,
            self._options(shape, path),
            tuple(backends),
            self._rules(shape.rules, shape.endpoint, path),
            health,
        )

    def _options(self, shape: ServiceShape, path: Path) -> ServiceOptions:
        values = {option.name: getattr(shape, option.name) for option in OPTIONS}
        if values["learn"] == DEFAULT_LEARN_SECONDS[shape.endpoint.protocol]:
            values["learn"] = None
        try:
            options = ServiceOptions(**values)
        except InputError:
            for option, error in option_errors(values):
                self._problem((*path, option.key), in_words(error))
            return ServiceOptions()
        try:
            check_options(shape.endpoint, options)
        except InputError as error:
            self._problem((*path, "max-new-flows"), in_words(error))
        return options

    def _health(self, shape: ServiceShape, path: Path) -> HealthPolicy:
        from pydsr.model.checks import port_of

        for number, check in enumerate(shape.checks):
            if check.needs_port and not port_of(check, shape.endpoint):
                message = f"needs a port: {shape.endpoint} is a service of every port"
                self._problem((*path, "checks", number), message)
        health = shape.health
        if (health.needed or 0) > len(shape.checks):
            message = f"is {health.needed}, but there are {len(shape.checks)} checks"
            self._problem((*path, "health", "needed"), message)
        sorry: Any = health.sorry
        if sorry is not None and sorry.state is not BackendState.UP:
            message = "must have a weight and no state: the daemon sets it up when it is needed"
            self._problem((*path, "health", "sorry"), message)
        return HealthPolicy(
            tuple(shape.checks),
            health.needed,
            health.minimum_healthy,
            sorry,
            health.slow_start,
            BackendState(health.on_failure),
            health.suspect,
        )

    def _check_backends(self, service: DesiredService, vips: set[IPAddress], path: Path) -> None:
        addresses = {backend.address for backend in service.backends}
        if len(addresses) == len(service.backends) and not addresses & vips:
            return
        addresses.clear()
        has_sorry = service.health is not None and service.health.sorry is not None
        for number, backend in enumerate(service.backends):
            is_sorry = has_sorry and number == len(service.backends) - 1
            where = (*path, "health", "sorry") if is_sorry else (*path, "backends", number)
            if backend.address in addresses:
                self._problem(where, f"backend {backend.address} is named twice")
            elif backend.address in vips:
                message = f"backend {backend.address} is a VIP: name it by an address of its own"
                self._problem(where, message)
            addresses.add(backend.address)
