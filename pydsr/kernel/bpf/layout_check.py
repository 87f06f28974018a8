"""Compare the layout in Python with the layout in ``xdp/``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import Structure
from enum import IntEnum, IntFlag

from pydsr.hashing.service_index import BUCKET_BITS, VIP_BITS
from pydsr.hashing.slots import LOOK_UP_ONLY, NO_BACKEND
from pydsr.kernel.bpf import layout
from pydsr.model.errors import InternalError
from pydsr.model.features import Feature
from pydsr.model.reasons import Reason, reasons_fingerprint

_SAME_NAMES = (
    "LAYOUT_VERSION",
    "BACKENDS_MAX",
    "SERVICES_MAX",
    "INTERFACES_MAX",
    "ACL_SCOPE_ALL4",
    "ACL_SCOPE_ALL6",
    "TAGS_MAX",
    "TAP_BYTES_MAX",
    "NO_SLOT",
)
_OTHERS = (
    ("LOOK_UP_ONLY", "slots.py: LOOK_UP_ONLY", LOOK_UP_ONLY),
    ("NO_BACKEND", "slots.py: NO_BACKEND", NO_BACKEND),
    ("INDEX_BUCKET_BITS", "service_index.py: BUCKET_BITS", BUCKET_BITS),
    ("INDEX_VIP_BITS", "service_index.py: VIP_BITS", VIP_BITS),
)


def static_assertions(table_size: int) -> str:
    """Return C assertions that compile only if every mirror in layout.py matches its struct."""
    mirrors: dict[str, type[Structure]] = {
        "service_key": layout.ServiceKey,
        "service": layout.ServiceValue,
        "service_entry": layout.ServiceEntry,
        "service_bucket": layout.ServiceBucket,
        "service_index": layout.ServiceIndex,
        "service_config": layout.ServiceConfig,
        "vip_config": layout.VipConfig,
        "tag": layout.TagValue,
        "backend": layout.BackendValue,
        "counters": layout.CountersValue,
        "member": layout.MemberValue,
        "slot": layout.SlotValue,
        "flow_key": layout.FlowKey,
        "record": layout.RecordValue,
        "fragment_key": layout.FragmentKey,
        "fragment": layout.FragmentValue,
        "acl_key": layout.AclKey,
        "acl_rule": layout.AclRule,
        "guard_key": layout.GuardKey,
        "guard": layout.GuardValue,
        "interface": layout.InterfaceValue,
        "settings": layout.SettingsValue,
        "explanation": layout.Explanation,
        "tap_event": layout.TapEvent,
        "table": layout.table_type(table_size),
    }
    lines = [
        f'_Static_assert({name} == {getattr(layout, name)}, "layout.py: {name}");'
        for name in _SAME_NAMES
    ]
    lines += [f'_Static_assert({name} == {value}, "{where}");' for name, where, value in _OTHERS]
    enums: dict[str, type[IntEnum] | type[IntFlag]] = {
        "AFFINITY": layout.AffinityNumber,
        "SERVICE": layout.ServiceFlag,
        "BACKEND": layout.StateNumber,
        "RECORD": layout.RecordFlag,
        "UNSERVED": layout.UnservedNumber,
        "ACL": layout.AclAction,
        "FEATURE": Feature,
    }
    for prefix, enum in enums.items():
        lines += [
            f'_Static_assert({prefix}_{item.name} == {item.value}, "layout.py: {enum.__name__}");'
            for item in enum
        ]
    for name, mirror in mirrors.items():
        lines.append(
            f"_Static_assert(sizeof(struct {name}) == {ctypes.sizeof(mirror)}, "
            f'"layout.py: size of struct {name}");'
        )
        for field_name, *_ in mirror._fields_:
            field = getattr(mirror, field_name)
            where = f"__builtin_offsetof(struct {name}, {field_name})"
            size = f"sizeof(((struct {name} *)0)->{field_name})"
            lines.append(
                f"_Static_assert({where} == {field.offset} && {size} == {field.size}, "
                f'"layout.py: {name}.{field_name}");'
            )
    return "\n".join(lines) + "\n"


def check_reasons(reasons: Sequence[Reason]) -> None:
    """Refuse reasons whose numbers do not match the counters that this layout has pinned.

    Raises:
        InternalError: a reason was renumbered, renamed or removed.
    """
    if reasons_fingerprint(reasons[: layout.LAYOUT_REASONS]) != layout.LAYOUT_REASONS_FINGERPRINT:
        raise InternalError(
            f"xdp/reasons.h gives other numbers to reasons of layout {layout.LAYOUT_VERSION}",
            "append new reasons with the next number; for any other change raise LAYOUT_VERSION in "
            "xdp/types.h and pydsr/kernel/bpf/layout.py, and LAYOUT_REASONS with it",
        )
