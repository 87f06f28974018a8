"""Between values of the model and what the maps hold."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Any

from pydsr.kernel import layout
from pydsr.kernel.layout import ServiceFlag, StateNumber
from pydsr.model import (
    DEFAULT_LEARN_SECONDS,
    Affinity,
    BackendState,
    Endpoint,
    IPAddress,
    Protocol,
    Service,
    ServiceOptions,
)

_IP_PROTOCOLS = {Protocol.TCP: 6, Protocol.UDP: 17}
_PROTOCOLS = {number: protocol for protocol, number in _IP_PROTOCOLS.items()}
STATE_NUMBERS = {
    BackendState.UP: StateNumber.UP,
    BackendState.DRAIN: StateNumber.DRAIN,
    BackendState.DOWN: StateNumber.DOWN,
}
STATES = {number: state for state, number in STATE_NUMBERS.items()}


# The end of struct service, after its key.
_INDEX_VALUE = struct.Struct("=IBBBx")


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
    return ServiceOptions(
        name=value.name.decode(),
        affinity=tuple(Affinity)[value.affinity],
        netmask4=value.netmask4,
        netmask6=value.netmask6,
        one_packet=bool(value.flags & ServiceFlag.ONE_PACKET),
        learn=None if learn == DEFAULT_LEARN_SECONDS[protocol] else learn,
        arp=bool(value.flags & ServiceFlag.ARP),
    )


def pack_config(service: Service) -> layout.ServiceConfig:
    """Return a service as the services map holds it."""
    options = service.options
    return layout.ServiceConfig(
        id=service.id,
        learn_seconds=service.learn_seconds,
        affinity=tuple(Affinity).index(options.affinity),
        flags=_flags(options),
        netmask4=options.netmask4,
        netmask6=options.netmask6,
        name=options.name.encode(),
    )


def pack_index(services: Iterable[Service]) -> dict[bytes, bytes]:
    """Return the entries of the index of services: each service, and each VIP.

    A VIP answers ARP/ND if any of its services wants it to.
    """
    entries: dict[bytes, bytes] = {}
    vips: dict[IPAddress, ServiceFlag] = {}
    for service in services:
        options, vip = service.options, service.endpoint.address
        flags = _flags(options)
        prefix = 96 + options.netmask4 if vip.version == 4 else options.netmask6
        affinity = tuple(Affinity).index(options.affinity)
        value = _INDEX_VALUE.pack(service.id, affinity, flags, prefix)
        entries[bytes(pack_endpoint(service.endpoint))] = value
        vips[vip] = vips.get(vip, ServiceFlag(0)) | flags & ServiceFlag.ARP
    for vip, flags in vips.items():
        key = layout.ServiceKey(vip=layout.Address(*layout.pack_address(vip)), is_vip=1)
        entries[bytes(key)] = _INDEX_VALUE.pack(0, 0, flags, 0)
    return entries


def _flags(options: ServiceOptions) -> ServiceFlag:
    flags = ServiceFlag(0)
    if options.one_packet:
        flags |= ServiceFlag.ONE_PACKET
    if options.arp:
        flags |= ServiceFlag.ARP
    return flags
