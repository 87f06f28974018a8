"""Pack values of the model into keys and values of the maps, and unpack them.

An option with a field of its name in struct service_config, or a flag of its name in enum
service_flag, needs no code here.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.layout import ServiceFlag, StateNumber
from pydsr.model.addresses import EVERY_PORT, Endpoint, IPAddress, Protocol, Tag
from pydsr.model.options import DEFAULT_LEARN_SECONDS, OPTIONS, Affinity, ServiceOptions
from pydsr.model.service import BackendState, Service, Unserved

_IP_PROTOCOLS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_PROTOCOLS = {number: protocol for protocol, number in _IP_PROTOCOLS.items()}
STATE_NUMBERS = {
    BackendState.UP: StateNumber.UP,
    BackendState.DRAIN: StateNumber.DRAIN,
    BackendState.DOWN: StateNumber.DOWN,
}
_UNSERVED_FLAGS = {
    Unserved.COUNT: ServiceFlag(0),
    Unserved.PASS: ServiceFlag.UNSERVED_PASS,
    Unserved.DROP: ServiceFlag.UNSERVED_DROP,
}
STATES = {number: state for state, number in STATE_NUMBERS.items()}

_AFFINITIES = tuple(Affinity)
_STORED_AS_FLAG = tuple(
    (option, ServiceFlag[option.name.upper()])
    for option in OPTIONS
    if option.name.upper() in ServiceFlag.__members__
)
_STORED_AS_NUMBER = tuple(
    option
    for option in OPTIONS
    if option.type in (int, bool) and hasattr(layout.ServiceConfig, option.name)
)
_INDEX_VALUE = struct.Struct("=IBBBx")
"""struct service, the value in an entry of the index."""

_TAG = struct.Struct(">HH")


def pack_endpoint(endpoint: Endpoint) -> layout.ServiceKey:
    """Return the key of an endpoint in the services map."""
    return layout.ServiceKey(
        vip=layout.Address(*layout.pack_address(endpoint.address)),
        port=(ctypes.c_ubyte * 2)(*endpoint.port.to_bytes(2, "big")),
        ip_proto=_IP_PROTOCOLS[endpoint.protocol],
    )


def unpack_endpoint(key: Any) -> Endpoint:
    """Return the endpoint of a key of the services map."""
    return Endpoint(
        layout.unpack_address(bytes(key.vip)),
        int.from_bytes(bytes(key.port), "big"),
        _PROTOCOLS[key.ip_proto],
    )


def unpack_options(value: Any, protocol: Protocol) -> ServiceOptions:
    """Return the options of a value of the services map."""
    learn = value.learn_seconds
    options: dict[str, Any] = {
        option.name: option.type(getattr(value, option.name)) for option in _STORED_AS_NUMBER
    }
    options |= {option.name: bool(value.flags & flag) for option, flag in _STORED_AS_FLAG}
    return ServiceOptions(
        name=value.name.decode(),
        affinity=_AFFINITIES[value.affinity],
        learn=None if learn == DEFAULT_LEARN_SECONDS[protocol] else learn,
        **options,
    )


def pack_config(service: Service) -> layout.ServiceConfig:
    """Return the value of a service in the services map."""
    options = service.options
    return layout.ServiceConfig(
        id=service.id,
        name=options.name.encode(),
        affinity=_AFFINITIES.index(options.affinity),
        learn_seconds=service.learn_seconds,
        flags=_flags(options),
        **{option.name: getattr(options, option.name) for option in _STORED_AS_NUMBER},
    )


def pack_index(
    services: Iterable[Service],
    ruled: Collection[int | None] = (),
    policies: Mapping[IPAddress, Unserved] | None = None,
) -> dict[bytes, bytes]:
    """Return the entries of the service index: one for each service and for each VIP.

    A VIP answers ARP/ND if one of its services does.

    Args:
        services: all services.
        ruled: ids of services with source rules; None stands for the rules of all services.
        policies: policies of VIPs other than COUNT.
    """
    entries: dict[bytes, bytes] = {}
    vips: dict[IPAddress, ServiceFlag] = {}
    policies = policies or {}
    for service in services:
        options, vip = service.options, service.endpoint.address
        flags = _flags(options)
        if service.endpoint.port == EVERY_PORT:
            flags |= ServiceFlag.EVERY_PORT
        vips[vip] = vips.get(vip, _UNSERVED_FLAGS[policies.get(vip, Unserved.COUNT)]) | (
            flags & (ServiceFlag.ARP | ServiceFlag.EVERY_PORT)
        )
        if service.id in ruled:
            flags |= ServiceFlag.ACL
        if None in ruled:
            flags |= ServiceFlag.ACL_ALL
        prefix = 96 + options.netmask4 if vip.version == 4 else options.netmask6
        affinity = _AFFINITIES.index(options.affinity)
        value = _INDEX_VALUE.pack(service.id, affinity, flags, prefix)
        entries[bytes(pack_endpoint(service.endpoint))] = value
    for vip, flags in vips.items():
        key = layout.ServiceKey(vip=layout.Address(*layout.pack_address(vip)), is_vip=1)
        entries[bytes(key)] = _INDEX_VALUE.pack(0, 0, flags, 0)
    return entries


def pack_tags(tags: Sequence[Tag]) -> Any:
    """Return VLAN tags in the form of a backend's entry."""
    packed = (layout.TagValue * layout.TAGS_MAX)()
    for position, tag in enumerate(tags):
        packed[position].protocol[:] = tag.protocol.to_bytes(2, "big")
        packed[position].vlan[:] = tag.vlan.to_bytes(2, "big")
    return packed


def unpack_tags(packed: Any) -> tuple[Tag, ...]:
    """Return the VLAN tags in the entry of a backend."""
    octets = bytes(packed)
    if not any(octets):
        return ()
    tags = (Tag(*numbers) for numbers in _TAG.iter_unpack(octets))
    return tuple(tag for tag in tags if tag.protocol)


def _flags(options: ServiceOptions) -> ServiceFlag:
    flags = ServiceFlag(0)
    for option, flag in _STORED_AS_FLAG:
        if getattr(options, option.name):
            flags |= flag
    if options.max_new_flows:
        flags |= ServiceFlag.GUARD
    return flags
