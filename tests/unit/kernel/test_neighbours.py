"""Interfaces that are deleted while backends behind them are looked for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from pydsr.kernel.net import neighbours
from pydsr.kernel.net.netlink import Netlink, NetlinkMessage, rt_type
from pydsr.model.errors import BackendUnresolvedError
from pydsr.model.interfaces import Segment

BACKEND = ip_address("10.66.0.11")


class Kernel(Netlink):
    """A kernel with one route, or an error, and an empty neighbour table."""

    def __init__(self, route: dict[str, object] | NetlinkError) -> None:
        self._route = route
        self.requested: list[object] = []

    def close(self) -> None:
        """Close nothing."""

    def route(self, _: object) -> NetlinkMessage:
        """Return the route."""
        if isinstance(self._route, NetlinkError):
            raise self._route
        return self._route

    def neighbours(self, _: int) -> list[NetlinkMessage]:
        """Return no neighbour."""
        return []

    def replace_neighbour(self, *arguments: object, **_: object) -> None:
        """Note what was asked for."""
        self.requested.append(arguments)


ROUTED = {"type": rt_type["unicast"], "oif": 7}


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (NetlinkError(101, "Network is unreachable"), "there is no route to backend 10.66.0.11"),
        ({"type": rt_type["unreachable"]}, "there is no route to backend 10.66.0.11"),
        ({"type": rt_type["blackhole"]}, "there is no route to backend 10.66.0.11"),
        ({"type": rt_type["local"], "oif": 1}, "backend 10.66.0.11 is an address of this machine"),
        (ROUTED | {"gateway": "10.66.0.254"}, r"\(the route goes through the router 10.66.0.254\)"),
        (ROUTED | {"via": "fd66::1"}, r"\(the route goes through the router fd66::1\)"),
        (ROUTED, "the interface that leads to backend 10.66.0.11 has just been deleted"),
    ],
)
def test_a_backend_that_no_attached_interface_leads_to_is_refused(
    monkeypatch: pytest.MonkeyPatch, route: dict[str, object] | NetlinkError, message: str
) -> None:
    monkeypatch.setattr(neighbours, "all_interfaces", list)
    with pytest.raises(BackendUnresolvedError, match=message):
        neighbours.device_of(Kernel(route), BACKEND, {})


def test_an_interface_deleted_while_a_backend_is_asked_for_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel(ROUTED)
    monkeypatch.setattr("pydsr.kernel.net.netlink.Netlink", lambda: kernel)
    monkeypatch.setattr(neighbours, "all_interfaces", list)
    monkeypatch.setattr(neighbours, "interface_names", dict)
    with pytest.raises(BackendUnresolvedError) as error:
        neighbours.resolve([BACKEND], {7: Segment(7)}, seconds=-1)
    assert "backend 10.66.0.11 does not answer ARP/ND on a deleted interface" in str(error.value)
    assert {BACKEND} == error.value.silent
    assert [(BACKEND, 7)] == kernel.requested
