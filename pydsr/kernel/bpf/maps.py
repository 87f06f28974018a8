"""The maps: keys, values and writers of each, and how they are created, pinned and opened.

They are pinned in one directory and are the only state of pydsr.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import Structure, c_uint32, c_uint64, sizeof
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.libbpf import Descriptor

VERDICTS_MAX = 64
RECORDS_MAX = 1 << 18
PENDING_MAX = 1 << 16
FRAGMENTS_MAX = 1 << 15
GUARDS_MAX = 1 << 16
ACL_RULES_MAX = 1 << 16
EGRESS_MAX = 256
TAP_PROGRAM_MAP = "tap_program"

_BATCH = 4096


@dataclass(frozen=True)
class MapSpec:
    """The properties of a map; sizes are in bytes."""

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0


def map_specs() -> tuple[MapSpec, ...]:
    """Return every map of the data plane, except the inner maps of maps of maps."""
    hash_, array, percpu = (
        libbpf.MAP_TYPE_HASH,
        libbpf.MAP_TYPE_ARRAY,
        libbpf.MAP_TYPE_PERCPU_ARRAY,
    )
    index = sizeof(c_uint32)
    return (
        # One element: the layout and the hash of these pins. Written at creation, features later.
        MapSpec("settings", array, index, sizeof(layout.SettingsValue), 1),
        # (VIP, port, protocol) -> the service's options. Written by the control plane.
        MapSpec(
            "services",
            hash_,
            sizeof(layout.ServiceKey),
            sizeof(layout.ServiceConfig),
            layout.SERVICES_MAX,
        ),
        # One element: a map of one element, the service index. Written by the control plane.
        MapSpec("service_index", libbpf.MAP_TYPE_ARRAY_OF_MAPS, index, index, 1),
        # Service id -> its table, a map of one element. Written by the control plane.
        MapSpec("tables", libbpf.MAP_TYPE_ARRAY_OF_MAPS, index, index, layout.SERVICES_MAX),
        # Backend id -> the backend. Written by the control plane, its MAC with one store.
        MapSpec(
            "backends",
            array,
            index,
            sizeof(layout.BackendValue),
            layout.BACKENDS_MAX,
            libbpf.MAP_FLAG_MMAPABLE,
        ),
        # Backend id -> its counters. Written by the program.
        MapSpec("counters", percpu, index, sizeof(layout.CountersValue), layout.BACKENDS_MAX),
        # Reason -> packets. Written by the program.
        MapSpec("verdicts", percpu, index, sizeof(c_uint64), VERDICTS_MAX),
        # Flow -> its backend, while its slot is changing. Written by the program.
        MapSpec(
            "records",
            libbpf.MAP_TYPE_LRU_HASH,
            sizeof(layout.FlowKey),
            sizeof(layout.RecordValue),
            RECORDS_MAX,
        ),
        # Half-open flow -> the backend of its SYN. Written by the program.
        MapSpec(
            "pending",
            libbpf.MAP_TYPE_LRU_HASH,
            sizeof(layout.FlowKey),
            sizeof(layout.RecordValue),
            PENDING_MAX,
        ),
        # Packet in fragments -> the backend of its first fragment. Written by the program.
        MapSpec(
            "fragments",
            libbpf.MAP_TYPE_LRU_HASH,
            sizeof(layout.FragmentKey),
            sizeof(layout.FragmentValue),
            FRAGMENTS_MAX,
        ),
        # VIP -> its policy, if it is not the default. Written by the control plane.
        MapSpec(
            "vips",
            hash_,
            sizeof(layout.Address),
            sizeof(layout.VipConfig),
            layout.SERVICES_MAX,
        ),
        # One element: a map, (scope, source prefix) -> rule. Written by the control plane.
        MapSpec("acl", libbpf.MAP_TYPE_ARRAY_OF_MAPS, index, index, 1),
        # (Service, source network) -> when its next flow is due. Written by the program.
        MapSpec(
            "guards",
            libbpf.MAP_TYPE_LRU_HASH,
            sizeof(layout.GuardKey),
            sizeof(layout.GuardValue),
            GUARDS_MAX,
        ),
        # Interface index -> its MAC, or zeros if not attached. Written by the control plane.
        MapSpec("interfaces", array, index, sizeof(layout.InterfaceValue), layout.INTERFACES_MAX),
        # Interface index -> itself, for redirects. Written by the control plane.
        MapSpec("egress", libbpf.MAP_TYPE_DEVMAP_HASH, index, index, EGRESS_MAX),
        # One element: whether a capture runs. Written by the control plane.
        MapSpec("tap", array, index, index, 1),
    )


def create_acl_map() -> Descriptor:
    """Create the inner map of the source rules."""
    return libbpf.map_create(
        libbpf.MAP_TYPE_LPM_TRIE,
        "rules",
        sizeof(layout.AclKey),
        sizeof(layout.AclRule),
        ACL_RULES_MAX,
        libbpf.MAP_FLAG_NO_PREALLOC,
    )


def create_index_map() -> Descriptor:
    """Create the inner map of the service index."""
    return libbpf.map_create(
        libbpf.MAP_TYPE_ARRAY, "index", sizeof(c_uint32), sizeof(layout.ServiceIndex), 1
    )


def create_table_map(table_size: int) -> Descriptor:
    """Create the inner map of one service's table."""
    return libbpf.map_create(
        libbpf.MAP_TYPE_ARRAY,
        "table",
        sizeof(c_uint32),
        sizeof(layout.table_type(table_size)),
        1,
    )


def create_program_map() -> Descriptor:
    """Create the map through which the attached program jumps to a capture's program."""
    return libbpf.map_create(
        libbpf.MAP_TYPE_PROG_ARRAY, TAP_PROGRAM_MAP, sizeof(c_uint32), sizeof(c_uint32), 1
    )


def create_map(spec: MapSpec, table_size: int) -> Descriptor:
    """Create a map, without pinning it."""
    inner = None
    if spec.name == "service_index":
        inner = create_index_map()
    elif spec.name == "tables":
        inner = create_table_map(table_size)
    elif spec.name == "acl":
        inner = create_acl_map()
    return libbpf.map_create(
        spec.kind,
        spec.name,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.flags,
        inner,
    )


def mismatch(spec: MapSpec, fd: Descriptor) -> str:
    """Return how a map differs from its spec; empty if it does not."""
    info = libbpf.map_info(fd)
    for what, expected, actual in (
        ("type", spec.kind, info.type),
        ("key size", spec.key_size, info.key_size),
        ("value size", spec.value_size, info.value_size),
        ("entries", spec.max_entries, info.max_entries),
    ):
        if expected != actual:
            return f"{spec.name}: {what} {actual}, expected {expected}"
    return ""


class HashMap:
    """A hash map whose keys and values are structs."""

    def __init__(self, fd: Descriptor, key_type: type[Any], value_type: type[Structure]) -> None:
        self.fd = fd
        self._key_type = key_type
        self._value_type = value_type

    def get(self, key: Any) -> Any | None:
        """Return the value of a key, or None."""
        value = self._value_type()
        return value if libbpf.map_lookup(self.fd, key, value) else None

    def put(self, key: Any, value: Structure) -> None:
        """Create or replace an element in one step."""
        libbpf.map_update(self.fd, key, value)

    def delete(self, key: Any) -> bool:
        """Delete an element; return False if the key is missing."""
        return libbpf.map_delete(self.fd, key)

    def all_keys(self) -> list[Any]:
        """Return every key."""
        return list(libbpf.map_keys(self.fd, self._key_type))


def read_all(
    fd: Descriptor, key_type: type[Structure], value_type: type[Structure]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the elements of a hash map as bytes; changes meanwhile may hide or repeat some."""
    key_size, value_size = sizeof(key_type), sizeof(value_type)
    for keys, values in read_batches(fd, key_type, value_type):
        for key, value in zip(
            range(0, len(keys), key_size), range(0, len(values), value_size), strict=True
        ):
            yield keys[key : key + key_size], values[value : value + value_size]


def read_batches(
    fd: Descriptor, key_type: type[Structure], value_type: type[Structure]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the elements of a hash map in batches: joined keys, and joined values."""
    key_size, value_size = sizeof(key_type), sizeof(value_type)
    keys, values = (key_type * _BATCH)(), (value_type * _BATCH)()
    cursor = ctypes.create_string_buffer(max(key_size, 8))
    first = True
    while True:
        count, ended = libbpf.map_read_batch(fd, keys, values, cursor, first)
        yield bytes(keys)[: count * key_size], bytes(values)[: count * value_size]
        if ended:
            return
        first = False


class Pins:
    """The directory of pins, and the descriptors of the maps in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, Descriptor] = {}

    def path(self, name: str) -> Path:
        """Return where an object is pinned."""
        return self.directory / name

    def __getitem__(self, name: str) -> Descriptor:
        """Return a map, opened at its first use."""
        if name not in self._open:
            self._open[name] = libbpf.open_pin(self.path(name))
        return self._open[name]

    def ensure(self, table_size: int, fill_settings: Callable[[Descriptor], None]) -> None:
        """Create and pin every missing map, ``settings`` last.

        A directory without ``settings`` is left from an interrupted creation. Nothing uses its
        maps, so they are replaced.
        """
        specs = map_specs()
        fresh = not self.path("settings").exists()
        for spec in sorted(specs, key=lambda spec: spec.name == "settings"):
            path = self.path(spec.name)
            if fresh:
                path.unlink(missing_ok=True)
            if path.exists():
                continue
            fd = create_map(spec, table_size)
            if spec.name == "settings":
                fill_settings(fd)
            libbpf.pin(fd, path)

    def close(self) -> None:
        """Close every map."""
        for fd in self._open.values():
            fd.close()
        self._open.clear()
