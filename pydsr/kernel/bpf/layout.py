"""Mirrors of the structs in ``xdp/types.h``; ``layout_check.py`` makes the compiler compare them.

Addresses, ports and MACs are bytes in network order; everything else is in the host's order.
"""

from __future__ import annotations

import ipaddress
from ctypes import Structure, c_char, c_ubyte, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum, IntFlag
from functools import cache

from pydsr.hashing.service_index import BUCKET_ENTRIES, BUCKETS, VIP_WORDS
from pydsr.model.addresses import IPAddress

LAYOUT_VERSION = 3
LAYOUT_REASONS, LAYOUT_REASONS_FINGERPRINT = 25, 0x569F21A8
"""The reasons that this layout began with; new ones follow, these keep their numbers."""

BACKENDS_MAX = 65535
SERVICES_MAX = 16384
INTERFACES_MAX = 65536
ACL_SCOPE_ALL4 = 0xFFFFFFFE
ACL_SCOPE_ALL6 = 0xFFFFFFFF
TAGS_MAX = 2
TAP_BYTES_MAX = 2047
_MEMBERS_PER_SLOT = 16

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"

Address = c_ubyte * 16
Mac = c_ubyte * 6


class ServiceFlag(IntFlag):
    """Mirrors enum service_flag."""

    ONE_PACKET = 1
    ARP = 2
    ACL = 4
    ACL_ALL = 8
    GUARD = 16
    EVERY_PORT = 32
    UNSERVED_PASS = 64
    UNSERVED_DROP = 128


class AffinityNumber(IntEnum):
    """Mirrors enum affinity."""

    FLOW = 0
    SOURCE = 1
    DESTINATION = 2


class StateNumber(IntEnum):
    """Mirrors enum backend_state."""

    FREE = 0
    UP = 1
    DRAIN = 2
    DOWN = 3
    RETIRED = 4


class UnservedNumber(IntEnum):
    """Mirrors enum unserved."""

    COUNT = 0
    PASS = 1
    DROP = 2


class AclAction(IntEnum):
    """Mirrors enum acl_action."""

    ALLOW = 0
    DENY = 1


class RecordFlag(IntFlag):
    """Mirrors enum record_flag."""

    CLOSING = 1


class ServiceKey(Structure):
    """Mirrors struct service_key."""

    _fields_ = [
        ("vip", Address),
        ("port", c_ubyte * 2),
        ("ip_proto", c_uint8),
        ("is_vip", c_uint8),
        ("pad", c_ubyte * 4),
    ]


class ServiceConfig(Structure):
    """Mirrors struct service_config."""

    _fields_ = [
        ("id", c_uint32),
        ("learn_seconds", c_uint32),
        ("affinity", c_uint8),
        ("flags", c_uint8),
        ("netmask4", c_uint8),
        ("netmask6", c_uint8),
        ("max_new_flows", c_uint32),
        ("guard_netmask4", c_uint8),
        ("guard_netmask6", c_uint8),
        ("pad", c_ubyte * 6),
        ("name", c_char * 64),
    ]


class VipConfig(Structure):
    """Mirrors struct vip_config."""

    _fields_ = [("unserved", c_uint8), ("pad", c_ubyte * 7)]


class ServiceValue(Structure):
    """Mirrors struct service."""

    _fields_ = [
        ("id", c_uint32),
        ("affinity", c_uint8),
        ("flags", c_uint8),
        ("prefix", c_uint8),
        ("pad", c_uint8),
    ]


class ServiceEntry(Structure):
    """Mirrors struct service_entry."""

    _fields_ = [("key", ServiceKey), ("service", ServiceValue)]


class ServiceBucket(Structure):
    """Mirrors struct service_bucket."""

    _fields_ = [("entries", ServiceEntry * BUCKET_ENTRIES)]


class ServiceIndex(Structure):
    """Mirrors struct service_index."""

    _fields_ = [
        ("salt", c_uint64),
        ("pad", c_ubyte * 56),
        ("vips", c_uint64 * VIP_WORDS),
        ("buckets", ServiceBucket * BUCKETS),
    ]


class TagValue(Structure):
    """Mirrors struct tag."""

    _fields_ = [("protocol", c_ubyte * 2), ("vlan", c_ubyte * 2)]


class BackendValue(Structure):
    """Mirrors struct backend."""

    _fields_ = [
        ("mac", Mac),
        ("pad", c_ubyte * 2),
        ("ifindex", c_uint32),
        ("service", c_uint32),
        ("state", c_uint8),
        ("mac_by_hand", c_uint8),
        ("pad2", c_ubyte * 6),
        ("address", Address),
        ("tags", TagValue * TAGS_MAX),
        ("pad3", c_ubyte * 16),
    ]


class CountersValue(Structure):
    """Mirrors struct counters."""

    _fields_ = [("packets", c_uint64), ("bytes", c_uint64), ("new_flows", c_uint64)]


class MemberValue(Structure):
    """Mirrors struct member."""

    _fields_ = [
        ("weight", c_uint32),
        ("slots", c_uint32),
        ("backend", c_uint16),
        ("state", c_uint8),
        ("pad", c_ubyte * 5),
    ]


class SlotValue(Structure):
    """Mirrors struct slot."""

    _fields_ = [("current", c_uint16), ("previous", c_uint16)]


class FlowKey(Structure):
    """Mirrors struct flow_key."""

    _fields_ = [
        ("address", Address),
        ("service", c_uint32),
        ("source_port", c_ubyte * 2),
        ("destination_port", c_ubyte * 2),
    ]


class RecordValue(Structure):
    """Mirrors struct record."""

    _fields_ = [
        ("last_seen", c_uint64),
        ("slot", c_uint32),
        ("backend", c_uint16),
        ("flags", c_uint16),
    ]


class FragmentKey(Structure):
    """Mirrors struct fragment_key."""

    _fields_ = [
        ("source", Address),
        ("destination", Address),
        ("id", c_uint32),
        ("ip_proto", c_uint8),
        ("pad", c_ubyte * 3),
    ]


class FragmentValue(Structure):
    """Mirrors struct fragment."""

    _fields_ = [
        ("last_seen", c_uint64),
        ("service", c_uint32),
        ("backend", c_uint16),
        ("pad", c_ubyte * 2),
    ]


class AclKey(Structure):
    """Mirrors struct acl_key."""

    _fields_ = [("prefix", c_uint32), ("scope", c_uint32), ("source", Address)]


class AclRule(Structure):
    """Mirrors struct acl_rule."""

    _fields_ = [("action", c_uint32)]


class GuardKey(Structure):
    """Mirrors struct guard_key."""

    _fields_ = [("source", Address), ("service", c_uint32), ("pad", c_ubyte * 4)]


class GuardValue(Structure):
    """Mirrors struct guard."""

    _fields_ = [("due", c_uint64)]


class InterfaceValue(Structure):
    """Mirrors struct interface."""

    _fields_ = [("mac", Mac), ("pad", c_ubyte * 2)]


class SettingsValue(Structure):
    """Mirrors struct settings."""

    _fields_ = [
        ("layout_version", c_uint32),
        ("table_size", c_uint32),
        ("seed", c_uint64),
        ("changing", c_uint32),
        ("features", c_uint32),
        ("features_with", c_uint32),
        ("features_without", c_uint32),
    ]


NO_SLOT = 0xFFFFFFFF
"""In an explanation: the packet has no slot."""


class Explanation(Structure):
    """Mirrors struct explanation."""

    _fields_ = [
        ("reason", c_uint32),
        ("service", c_uint32),
        ("slot", c_uint32),
        ("backend", c_uint16),
        ("pad", c_uint16),
        ("egress", c_uint32),
    ]


class TapEvent(Structure):
    """Mirrors struct tap_event."""

    _fields_ = [
        ("time", c_uint64),
        ("reason", c_uint32),
        ("ingress", c_uint32),
        ("egress", c_uint32),
        ("service", c_uint32),
        ("backend", c_uint32),
        ("frame_bytes", c_uint32),
        ("captured_bytes", c_uint32),
        ("pad", c_uint32),
        ("frame", c_ubyte * (TAP_BYTES_MAX + 1)),
    ]


class TableValue(Structure):
    """The fields that tables of every size have; see :func:`table_type`."""

    learn_until: int
    members_count: int
    tracked_slots: int


def members_max(table_size: int) -> int:
    """Return how many backends fit a table of a given size."""
    return table_size // _MEMBERS_PER_SLOT


@cache
def table_type(table_size: int) -> type[TableValue]:
    """Return the mirror of struct table for a given number of slots."""

    class Table(TableValue):
        _fields_ = [
            ("learn_until", c_uint64),
            ("members_count", c_uint32),
            ("tracked_slots", c_uint32),
            ("members", MemberValue * members_max(table_size)),
            ("slots", SlotValue * table_size),
            ("pad", c_ubyte * 4),
        ]

    return Table


def pack_address(address: IPAddress) -> bytes:
    """Return an address as 16 bytes, IPv4 in its mapped form (RFC 4291, 2.5.5.2)."""
    return address.packed if address.version == 6 else _MAPPED_PREFIX + address.packed


def unpack_address(octets: bytes) -> IPAddress:
    """Return the address of 16 bytes; the mapped form is IPv4."""
    address = ipaddress.IPv6Address(bytes(octets))
    return address.ipv4_mapped or address
