"""Between values of the model and what the maps hold."""

from __future__ import annotations

import ctypes
from typing import Any

from pydsr.kernel import layout
from pydsr.kernel.layout import ServiceFlag, StateNumber
from pydsr.model import (
    DEFAULT_LEARN_SECONDS,
    Affinity,
    BackendState,
    Endpoint,
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


def pack_service(service: Service) -> layout.ServiceValue:
    """Return a service as the services map holds it."""
    options, endpoint = service.options, service.endpoint
    is_ipv4 = endpoint.address.version == 4
    flags = ServiceFlag.ONE_PACKET * options.one_packet | ServiceFlag.ARP * options.arp
    return layout.ServiceValue(
        id=service.id,
        affinity=tuple(Affinity).index(options.affinity),
        flags=flags,
        mask=layout.Address(
            *layout.pack_mask(
                endpoint.address.version, options.netmask4 if is_ipv4 else options.netmask6
            )
        ),
        learn_seconds=service.learn_seconds,
        netmask4=options.netmask4,
        netmask6=options.netmask6,
        name=options.name.encode(),
    )
