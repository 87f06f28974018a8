"""The keys of a configuration file and their values; also as JSON Schema.

The parsers of the command line check each value; :mod:`pydsr.config.load` checks values against
each other. To add a key, add a field: its description is what editors and manual pages show.
Options of a service are declared in :mod:`pydsr.model.options`, checks in
:mod:`pydsr.model.checks`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pydsr.config.field_types import (
    AddressText,
    EndpointText,
    MacText,
    MinimumText,
    NeededText,
    SeedText,
    SourceText,
    Text,
    VlanText,
    checked_table_size,
    refused,
)
from pydsr.model.check_values import number_of
from pydsr.model.errors import InputError
from pydsr.model.health_policy import Minimum
from pydsr.model.options import OPTIONS, Option
from pydsr.model.pydantic_base import Shape
from pydsr.model.service import (
    MAX_WEIGHT,
    BackendState,
    DesiredBackend,
    Unserved,
    state_of_weight,
)

if TYPE_CHECKING:
    from pydsr.model.checks import Check


class _OrText:
    """Adds the form of a text to the JSON Schema of a mapping."""

    def __init__(self, examples: list[str], description: str | None = None) -> None:
        self._text: JsonSchemaValue = {"type": "string", "examples": examples}
        if description:
            self._text["description"] = description

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [self._text, handler(core_schema)]}


class RulesShape(Shape):
    """Source rules: the longest prefix that contains a source decides."""

    allow: list[SourceText] = Field(default_factory=list)
    """Networks, addresses or any to allow; deny any and allow some to admit only those."""

    deny: list[SourceText] = Field(default_factory=list)
    """Sources to deny: their packets are dropped and counted as "denied"."""


class InterfaceShape(Shape):
    """An interface to attach the balancer to."""

    name: Text
    """Name of the interface."""

    mode: Literal["auto", "native", "generic"] = "auto"
    """XDP mode: native runs in the driver; generic works anywhere but slowly; auto tries native
    first."""


def _interface(value: Any, mapping: ValidatorFunctionWrapHandler) -> InterfaceShape:
    shape: InterfaceShape = mapping({"name": value} if isinstance(value, str | int) else value)
    return shape


InterfaceEntry = Annotated[InterfaceShape, WrapValidator(_interface), _OrText(["eth0"])]


class VipShape(Shape):
    """Settings of a virtual IP."""

    unserved: Annotated[Unserved, Field(strict=False)] = Unserved.COUNT
    """Packets for a port without a service: count drops them as no_service, drop as intended,
    pass hands them to this machine's kernel."""


class BackendShape(Shape):
    """A backend; also written as text, ADDRESS[=WEIGHT][@MAC[%VLAN]]."""

    address: AddressText
    """Address on a network of the balancer."""

    weight: int = Field(default=1, ge=0, le=MAX_WEIGHT)
    """Share of new flows: weight 2 gets twice the flows of weight 1; 0 drains."""

    mac: MacText | None = None
    """MAC address that frames go to; resolved by ARP/ND if left out."""

    vlan: VlanText | None = None
    """VLAN of frames to the MAC; 100.200 for QinQ, with the provider's VLAN first."""

    state: Annotated[BackendState, Field(strict=False)] | None = None
    """up gets new flows, drain keeps existing flows only, down has no flows. Default: up."""

    def desired(self) -> DesiredBackend:
        """Return the desired backend.

        Raises:
            InputError: a VLAN without a MAC, or up with weight 0.
        """
        if self.vlan is not None and self.mac is None:
            raise InputError("a vlan needs a mac", "name both, or neither: ARP/ND finds them")
        if self.state is BackendState.UP and not self.weight:
            raise InputError("weight 0 takes no new flows, so state cannot be up", "use drain")
        state = self.state or state_of_weight(self.weight)
        return DesiredBackend(self.address, self.weight, state, self.mac, self.vlan or ())


@lru_cache(maxsize=4096)
def _desired_from_text(text: str) -> DesiredBackend:
    return DesiredBackend.parse(text)


def _desired(value: Any, mapping: ValidatorFunctionWrapHandler) -> DesiredBackend:
    try:
        if isinstance(value, str):
            return _desired_from_text(value)
        if not isinstance(value, dict):
            raise InputError("must be ADDRESS[=WEIGHT][@MAC[%VLAN]] or a mapping")
        shape: BackendShape = mapping(value)
        return shape.desired()
    except InputError as error:
        raise refused(error) from None


BackendEntry = Annotated[
    BackendShape,
    WrapValidator(_desired),
    _OrText(
        ["198.51.100.21", "198.51.100.21=2", "198.51.100.21@02:00:00:00:00:21"],
        "ADDRESS[=WEIGHT][@MAC[%VLAN]]",
    ),
]


@cache
def _checks() -> TypeAdapter[Check]:
    """Return the validator of checks; made for files that have some, as it takes time."""
    from pydsr.model.checks import Check

    return TypeAdapter(Check)


@cache
def check_shapes() -> dict[str, type[BaseModel]]:
    """Return the shape of each type of check."""
    from pydsr.model.checks import Check

    return {
        name: model
        for model in get_args(get_args(Check)[0])
        for name in get_args(model.model_fields["type"].annotation)
    }


def _check(value: Any) -> Check:
    return _checks().validate_python({"type": value} if isinstance(value, str) else value)


CheckEntry = Annotated[
    Any,
    PlainValidator(_check),
    WithJsonSchema({"type": "string", "enum": ["tcp", "http", "https", "icmp"]}),
]


class HealthShape(Shape):
    """When a backend is healthy, and what happens to an unhealthy backend."""

    needed: NeededText = None
    """Checks that must pass for a backend to be healthy: all, any, or a number."""

    on_failure: Literal["down", "drain"] = "down"
    """State of an unhealthy backend: down moves its flows to others, drain keeps them."""

    minimum_healthy: MinimumText = Minimum()
    """Backends that stay in service however many fail: a number, or a percentage."""

    sorry: BackendEntry | None = None
    """Backend that takes the flows when no healthy one is left."""

    slow_start: Annotated[float, BeforeValidator(number_of), Field(ge=0, le=3600)] = 0.0
    """Seconds for the weight of a backend to rise after it became healthy."""

    suspect: bool = True
    """Check a backend at once when new connections to it fail (TCP)."""


class EndpointShape(Shape):
    """The endpoint of a service."""

    endpoint: EndpointText
    """VIP:PORT, TCP unless /udp or /sctp follows; PORT * is every port without a service."""


def _option_field(option: Option) -> tuple[Any, Any]:
    """Return the type and the field of an option."""
    kind: Any = option.type
    if issubclass(option.type, StrEnum):
        kind = Annotated[kind, Field(strict=False)]
    elif option.type is str:
        kind = Text
    if option.default is None:
        kind |= None
    description = option.describe()
    if option.default_text:
        description += f" Default: {option.default_text}."
    return kind, Field(default=option.default, description=description)


if TYPE_CHECKING:
    OptionsShape = EndpointShape
else:
    OptionsShape = create_model(
        "OptionsShape",
        __base__=EndpointShape,
        **{option.name: _option_field(option) for option in OPTIONS},
    )


class ServiceShape(OptionsShape):
    """A service: a virtual IP with a port and protocol."""

    rules: RulesShape = Field(default_factory=RulesShape)
    """Sources that may send to this service; the rules for all services must admit them too."""

    checks: list[CheckEntry] = Field(default_factory=list)
    """Checks of each backend; only `pydsr run` makes them and acts on the results."""

    health: HealthShape = Field(default_factory=HealthShape)
    """Which checks must pass for a backend to be healthy, and what happens to an unhealthy
    backend."""

    backends: list[BackendEntry] = Field(default_factory=list)
    """Backends that share the flows."""


class FileShape(Shape):
    """The desired state of a balancer."""

    interfaces: list[InterfaceEntry] = Field(default_factory=list)
    """Interfaces to attach. Others that are attached stay attached."""

    table_size: Annotated[int, AfterValidator(checked_table_size)] | None = None
    """Slots of a service's table, a prime: 100 or more per backend. Cannot be changed later."""

    seed: SeedText | None = None
    """Key of the flow hash, up to 16 hexadecimal digits; cannot be changed later. Balancers with
    the same key choose the same backends. Keep it secret: whoever knows it can choose the backend
    of a flow."""

    answer_while: AddressText | None = None
    """The VRRP address: only a balancer that has it answers ARP/ND for VIPs."""

    rules: RulesShape = Field(default_factory=RulesShape)
    """Sources that may send to any service."""

    vips: dict[str, VipShape] = Field(default_factory=dict)
    """Settings of virtual IPs, by address."""

    services: list[ServiceShape]
    """All services; those that are not in the file are removed."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    schema = FileShape.model_json_schema(by_alias=True)
    checks = _checks().json_schema(by_alias=True)
    schema["$defs"] |= checks.pop("$defs") | {"Check": checks}
    entry = schema["$defs"]["ServiceShape"]["properties"]["checks"]
    entry["items"] = {"anyOf": [entry["items"], {"$ref": "#/$defs/Check"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "pydsr configuration",
    }
