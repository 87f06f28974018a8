"""Errors of the kernel that no test can cause, put in where requests are sent."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from array import array
from collections.abc import Callable
from ctypes import c_uint32
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from pydsr.control import attached_interfaces
from pydsr.kernel.bpf import libbpf, program_stats
from pydsr.kernel.bpf.backends import BackendStore
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.tables import TableStore
from pydsr.kernel.machine import host
from pydsr.kernel.net import arp_query, ethtool, managed_neighbours
from pydsr.kernel.net.monitor import EventsLostError, Monitor
from pydsr.kernel.net.netlink import Messages, Netlink, netlink
from pydsr.model.addresses import MacAddress
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError, PydsrError
from pydsr.model.interfaces import Interface
from pydsr.model.netlink_events import Confidence, Neighbour

ADDRESS = ip_address("10.66.0.11")
INTERFACE = Interface(7, "eth7", MacAddress.parse("02:00:00:00:00:01"), 1500, True)


def raising(number: int) -> Callable[..., Any]:
    """Return a function that raises an errno."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def refusing(monkeypatch: pytest.MonkeyPatch, *codes: int) -> list[object]:
    """Have the kernel answer netlink requests with errors, 0 for none; return the requests."""
    requests: list[object] = []

    def request(_: Netlink, kind: int, *__: object, **fields: object) -> list[object]:
        requests.append((kind, fields.get("ifindex")))
        code = codes[len(requests) - 1]
        if code:
            raise NetlinkError(code, os.strerror(code))
        return []

    monkeypatch.setattr(Netlink, "_request", request)
    return requests


# -- netlink


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (errno.EPERM, PermissionDeniedError, "is not permitted"),
        (errno.EACCES, PermissionDeniedError, "is not permitted"),
        (errno.EOPNOTSUPP, EnvironmentCannotError, "refused a netlink request: Operation not"),
    ],
)
def test_a_refused_request_is_an_error_for_the_user(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[PydsrError], message: str
) -> None:
    refusing(monkeypatch, code)
    with pytest.raises(error, match=message), netlink() as ip:
        ip.links()


def test_an_error_of_the_kernel_is_raised_from_its_reply() -> None:
    """Decoded from the message: no interface has that index, or this user may not change it."""
    message = "No such device|is not permitted"
    with pytest.raises(PydsrError, match=message), netlink() as ip:
        ip.delete_neighbour(ADDRESS, 0x7FFFFFFF)


def test_addresses_that_the_kernel_does_not_keep_resolved_are_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing(monkeypatch, 0, errno.EOPNOTSUPP, 0)
    wanted = [(ip_address(f"10.66.0.{number}"), 7) for number in (1, 2, 3)]
    assert [wanted[1][0]] == managed_neighbours.keep_resolved(wanted)


def test_without_privilege_nothing_is_kept_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EPERM)
    with pytest.raises(PermissionDeniedError):
        managed_neighbours.keep_resolved([(ADDRESS, 7)])


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV])
def test_entries_that_are_gone_need_no_deleting(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Alone, or with the interface they were on."""
    requests = refusing(monkeypatch, code, 0)
    managed_neighbours.delete_entries([(ADDRESS, 7), (ADDRESS, 8)])
    assert [7, 8] == [device for _, device in cast("list[tuple[int, int]]", requests)]


def test_an_entry_that_cannot_be_deleted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EINVAL)
    with pytest.raises(EnvironmentCannotError, match="Invalid argument"):
        managed_neighbours.delete_entries([(ADDRESS, 7)])


def test_a_monitor_that_may_not_listen_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    fake = SimpleNamespace(
        setsockopt=raising(errno.EPERM), bind=lambda _: None, close=lambda: closed.append(True)
    )
    monkeypatch.setattr("pydsr.kernel.net.monitor.socket.socket", lambda *_: fake)
    with pytest.raises(EnvironmentCannotError, match="Operation not permitted") as error:
        Monitor()
    assert "NET_ADMIN" in error.value.hint
    assert [True] == closed


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOBUFS, EventsLostError), (errno.ENOMEM, OSError)]
)
def test_events_that_did_not_fit_the_buffer_are_lost(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    ours, theirs = socket.socketpair()
    events = Monitor.__new__(Monitor)
    vars(events).update(_messages=Messages(), _socket=ours)

    async def read() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "sock_recv", raising(number))
        await events.read()

    with ours, theirs, pytest.raises(error):
        asyncio.run(read())


# -- the network


def test_a_device_that_cannot_be_asked_is_named_and_the_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a lack of privilege ends the whole query."""
    monkeypatch.setattr(arp_query, "_ArpQuery", lambda _: raising(errno.ENODEV)())
    monkeypatch.setattr(arp_query._ArpQuery, "version", 4, raising=False)
    answers = arp_query.query([INTERFACE], [ADDRESS])
    assert ["eth7: No such device"] == answers.failed[4]
    assert ([], {ADDRESS: set()}) == (answers.queried[4], answers.claims)


def test_without_the_privilege_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydsr.kernel.net.arp_query.socket.socket", raising(errno.EPERM))
    with pytest.raises(PermissionError):
        arp_query.query([INTERFACE], [ADDRESS])


def test_a_socket_that_cannot_be_set_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = socket.socket()
    monkeypatch.setattr(arp_query._ArpQuery, "_configure", raising(errno.ENETDOWN))
    monkeypatch.setattr("pydsr.kernel.net.arp_query.socket.socket", lambda *_: source)
    with pytest.raises(OSError, match="Network is down"):
        arp_query._ArpQuery(INTERFACE)
    assert -1 == source.fileno()


def test_a_device_without_a_driver_of_its_own_has_no_name_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pydsr.kernel.net.ethtool.fcntl.ioctl", raising(errno.EOPNOTSUPP))
    assert ("", "") == ethtool.driver_and_bus("eth7")


# -- programs and maps


@pytest.mark.parametrize("function", ["program_by_id", "program_info"])
def test_a_program_that_is_gone_has_no_cost(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setattr(libbpf, "program_by_id", lambda _: Descriptor(-1))
    monkeypatch.setattr(libbpf, function, raising(errno.ENOENT))
    assert program_stats.program_cost(7) is None


@pytest.mark.parametrize(("text", "is_on"), [("1\n", True), ("0\n", False), (None, False)])
def test_programs_are_timed_where_the_switch_is_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, is_on: bool
) -> None:
    """A kernel without the switch times none."""
    switch = tmp_path / "bpf_stats_enabled"
    if text is not None:
        switch.write_text(text)
    monkeypatch.setattr(program_stats, "SWITCH", switch)
    assert is_on is program_stats.is_on()


def test_a_foreign_program_that_is_gone_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused all the same: the interface had one when it was looked at."""
    monkeypatch.setattr(libbpf, "program_by_id", raising(errno.ENOENT))
    busy = Interface(7, "eth7", INTERFACE.mac, 1500, True, "native", 99)
    with pytest.raises(EnvironmentCannotError, match=r"unknown \(id 99, native mode\)"):
        attached_interfaces.refuse_foreign_program(busy, None)


def test_attaching_without_privilege_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "link_create", raising(errno.EPERM))
    with pytest.raises(PermissionDeniedError, match="attaching to eth7 is not permitted"):
        attached_interfaces._link_in_mode(INTERFACE, Descriptor(-1), "auto")


def test_a_table_that_is_replaced_while_it_is_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readers do not wait for commands; the map of before is gone with its last user."""
    numbers = iter([5, 6])
    opened: list[int] = []

    def map_by_id(number: int) -> Descriptor:
        opened.append(number)
        if number == 5:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return Descriptor(-1)

    def lookup(_: Descriptor, _key: c_uint32, value: Any) -> bool:
        if isinstance(value, c_uint32):
            value.value = next(numbers)
        else:
            value.learn_until = 77
        return True

    monkeypatch.setattr(libbpf, "map_by_id", map_by_id)
    monkeypatch.setattr(libbpf, "map_lookup", lookup)
    store = TableStore(Descriptor(-1), 251, cast("BackendStore", None))
    table = store.read(3)
    assert table is not None
    assert (77, array("H", bytes(2 * 251))) == (table.learn_until, table.current)
    assert [5, 6] == opened


# -- facts about the host


def test_a_kernel_that_loads_no_program_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "program_load", raising(errno.ENOSYS))
    problem, jit = host._load_program()
    assert problem is not None
    assert "refuses to load a BPF program: Function not implemented" in problem.message
    assert jit is None


@pytest.mark.parametrize(
    ("text", "expected"), [("1\n", True), ("2\n", True), ("0\n", False), ("", None), (None, None)]
)
def test_the_jit_is_unknown_where_the_kernel_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, expected: bool | None
) -> None:
    if text is not None:
        (tmp_path / "jit").write_text(text)
    monkeypatch.setattr(host, "_JIT", tmp_path / "jit")
    assert expected is host._read_jit()


# -- neighbours


@pytest.mark.parametrize(
    ("state", "confidence", "is_fixed"),
    [
        (0x02, Confidence.SURE, False),  # NUD_REACHABLE
        (0x80, Confidence.SURE, True),  # NUD_PERMANENT
        (0x40, Confidence.SURE, True),  # NUD_NOARP
        (0x04, Confidence.UNSURE, False),  # NUD_STALE
        (0x08, Confidence.UNSURE, False),  # NUD_DELAY
        (0x10, Confidence.UNSURE, False),  # NUD_PROBE
        (0x20, Confidence.FAILED, False),  # NUD_FAILED
        (0x01, Confidence.NONE, False),  # NUD_INCOMPLETE
        (0x00, Confidence.NONE, False),
    ],
)
@pytest.mark.parametrize(
    ("flags", "protocol", "is_managed", "is_ours"),
    [(None, None, False, False), (1, 69, True, True), (1, 3, True, False), (2, 69, False, False)],
)
def test_a_neighbour_is_as_sure_as_its_state(
    state: int,
    confidence: Confidence,
    is_fixed: bool,
    flags: int | None,
    protocol: int | None,
    is_managed: bool,
    is_ours: bool,
) -> None:
    """Numbers of linux/neighbour.h."""
    message = {
        "family": socket.AF_INET,
        "dst": str(ADDRESS),
        "ifindex": 7,
        "lladdr": str(INTERFACE.mac),
        "state": state,
        "flags_ext": flags,
        "protocol": protocol,
    }
    expected = Neighbour(
        7,
        ADDRESS,
        INTERFACE.mac,
        confidence,
        is_managed=is_managed,
        is_ours=is_ours,
        is_fixed=is_fixed,
    )
    assert expected == managed_neighbours.decode_neighbour(message)


@pytest.mark.parametrize("message", [{"family": 7, "dst": "x"}, {"family": 2, "dst": None}])
def test_a_neighbour_without_an_ip_address_is_none(message: dict[str, object]) -> None:
    assert managed_neighbours.decode_neighbour(message) is None


def test_an_entry_is_kept_resolved_under_our_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """NTF_EXT_MANAGED of linux/neighbour.h, and the protocol that marks it as pydsr's."""
    requested: list[Any] = []
    monkeypatch.setattr(
        Netlink, "_request", lambda _, *__, **fields: requested.append(fields["attrs"])
    )
    assert [] == managed_neighbours.keep_resolved([(ADDRESS, 7)])
    expected = [["NDA_DST", "10.66.0.11"], ["NDA_FLAGS_EXT", 1], ["NDA_PROTOCOL", 69]]
    assert [expected] == requested
