"""The shape of the file: which keys there are, and what each may be. Also its JSON Schema.

Values of one key are checked here, by the parsers of the command line; what several say together
is checked in :mod:`pydsr.config.conversion`. To add a key is to add a field: its description is
what editors show. The shapes of checks are :mod:`pydsr.model.checks`.
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

from pydsr.config.problems import Path
from pydsr.config.values import (
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


class RulesShape(Shape):
    """Which sources may send: the longest prefix that holds a source decides."""

    allow: list[SourceText] = Field(default_factory=list)
    """Sources that are let in; denying any and allowing some lets only those in."""

    deny: list[SourceText] = Field(default_factory=list)
    """Sources whose packets are dropped and counted as "denied"."""


class InterfaceShape(Shape):
    """An interface that the balancer is to be on."""

    name: Text
    """Its name."""

    mode: Literal["auto", "native", "generic"] = "auto"
    """Native runs in the driver; generic works anywhere, slowly; auto tries native first."""


class VipShape(Shape):
    """What a virtual IP does beside its services."""

    unserved: Annotated[Unserved, Field(strict=False)] = Unserved.COUNT
    """What becomes of packets for a port without a service: count (dropped, as no_service), drop
    (dropped, as intended), or pass to this machine's kernel."""


class BackendShape(Shape):
    """A backend; also written as text, ADDRESS[=WEIGHT][@MAC[%VLAN]]."""

    address: AddressText
    """Its address on a network of the balancer."""

    weight: int = Field(default=1, ge=0, le=MAX_WEIGHT)
    """Weight 2 gets twice the flows of weight 1; 0 drains."""

    mac: MacText | None = None
    """Where its frames go; found by ARP/ND where it is not said."""

    vlan: VlanText | None = None
    """The VLAN that the MAC is in, where its frames are to be tagged."""

    state: Annotated[BackendState, Field(strict=False)] | None = None
    """up takes new flows, drain keeps those it has, down keeps none; up where it is not said."""

    def desired(self) -> DesiredBackend:
        """Return the backend that is to be.

        Raises:
            InputError: a VLAN without a MAC, or up with weight 0.
        """
        if self.vlan is not None and self.mac is None:
            raise InputError("a vlan takes a mac", "name both, or neither: ARP/ND finds them")
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


class _BackendSchema:
    """Tells editors that a backend is a text or a mapping."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        text = {
            "type": "string",
            "description": "ADDRESS[=WEIGHT][@MAC[%VLAN]]",
            "examples": ["198.51.100.21", "198.51.100.21=2", "198.51.100.21@02:00:00:00:00:21"],
        }
        return {"anyOf": [text, handler(core_schema)]}


BackendEntry = Annotated[BackendShape, WrapValidator(_desired), _BackendSchema()]


@cache
def _checks() -> TypeAdapter[Check]:
    """Return what reads checks; made for files that have some, as it takes time."""
    from pydsr.model.checks import Check

    return TypeAdapter(Check)


@cache
def _check_shapes() -> dict[str, type[BaseModel]]:
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
    """What follows from checks."""

    needed: NeededText = None
    """How many of the checks must pass for a backend to be healthy: all, any, or a number."""

    on_failure: Literal["down", "drain"] = "down"
    """What an unhealthy backend becomes: down gives its flows to others, drain leaves it those."""

    minimum_healthy: MinimumText = Minimum()
    """How many backends stay in service however many fail: a number, or a percentage."""

    sorry: BackendEntry | None = None
    """The backend that takes the flows when no healthy one is left."""

    slow_start: Annotated[float, BeforeValidator(number_of), Field(ge=0, le=3600)] = 0.0
    """Seconds that the weight of a backend takes to rise when it has become healthy."""

    suspect: bool = True
    """Whether a backend whose new connections do not come about is checked at once (TCP)."""


class EndpointShape(Shape):
    """The endpoint of a service."""

    endpoint: EndpointText
    """VIP:PORT, TCP unless /udp or /sctp follows; PORT * is every port without a service."""


def _option_field(option: Option) -> tuple[Any, Any]:
    """Return the type of an option in the file, and its field."""
    kind: Any = option.type
    if issubclass(option.type, StrEnum):
        kind = Annotated[kind, Field(strict=False)]
    elif option.type is str:
        kind = Text
    if option.default is None:
        kind |= None
    words = [option.describe(), f"Default: {option.default_text}." if option.default_text else ""]
    return kind, Field(default=option.default, description=" ".join(filter(None, words)))


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
    """Which sources may send to this service; those for all have to let in."""

    checks: list[CheckEntry] = Field(default_factory=list)
    """What is asked of each backend again and again; `pydsr run` does so, and acts on it."""

    health: HealthShape = Field(default_factory=HealthShape)
    """What makes a backend healthy by those checks, and what becomes of it."""

    backends: list[BackendEntry] = Field(default_factory=list)
    """Those that flows are spread over."""


def _interface(value: Any, mapping: ValidatorFunctionWrapHandler) -> InterfaceShape:
    shape: InterfaceShape = mapping({"name": value} if isinstance(value, str | int) else value)
    return shape


class _InterfaceSchema:
    """Tells editors that an interface is a name or a mapping."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "examples": ["eth0"]}, handler(core_schema)]}


class FileShape(Shape):
    """The whole state of a balancer."""

    interfaces: list[Annotated[InterfaceShape, WrapValidator(_interface), _InterfaceSchema()]] = (
        Field(default_factory=list)
    )
    """Interfaces the balancer is to be on. It stays on others."""

    table_size: Annotated[int, AfterValidator(checked_table_size)] | None = None
    """Slots of a service's table, a prime: 100 or more a backend. Not to be changed later."""

    seed: SeedText | None = None
    """Key of the flow hash. Not to be changed later."""

    answer_while: AddressText | None = None
    """An address that moves between balancers: ARP/ND for VIPs is answered where it is."""

    rules: RulesShape = Field(default_factory=RulesShape)
    """Which sources may send to any service."""

    vips: dict[str, VipShape] = Field(default_factory=dict)
    """What virtual IPs do beside their services, by address."""

    services: list[ServiceShape]
    """All services there are to be: others are removed."""


_SHAPES: dict[str, type[Shape]] = {
    "": FileShape,
    "interfaces": InterfaceShape,
    "rules": RulesShape,
    "services": ServiceShape,
    "health": HealthShape,
    "backends": BackendShape,
    "sorry": BackendShape,
}


def in_file(path: Path) -> Path:
    """Return where in the file a path of pydantic's is: those also name the member of a union."""
    if "checks" not in path:
        return path
    members = {*_check_shapes(), "int", "str"}
    return tuple(
        step
        for before, step in zip((None, *path), path, strict=False)
        if not (isinstance(before, int) and step in members)
    )


def keys_at(path: Path) -> list[str]:
    """Return the keys that the mapping at a path may have."""
    if path[:1] == ("vips",):
        shape: type[BaseModel] = VipShape
    else:
        name = next((str(step) for step in reversed(path) if isinstance(step, str)), "")
        shape = (_check_shapes() if "checks" in path else _SHAPES)[name]
    return [field.alias or name for name, field in shape.model_fields.items()]


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
