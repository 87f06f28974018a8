"""Interfaces that are deleted while a command changes something on them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pydsr.control import detach as detaching
from pydsr.control import vip_ownership
from pydsr.control.attached_interfaces import Attached, Interfaces
from pydsr.model.addresses import MacAddress
from pydsr.model.interfaces import Interface

MAC = MacAddress.parse("02:00:00:00:00:01")
ETH0, ETH1 = (Interface(index, f"eth{index - 2}", MAC, 1500, True) for index in (2, 3))
ATTACHED = [Attached(each.name, each.index, MAC, "native", 5) for each in (ETH0, ETH1)]


def test_every_other_interface_is_detached_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """eth0 was deleted after it was found attached."""
    links, told = tmp_path / "links", []
    links.mkdir()
    for interface in ATTACHED:
        (links / str(interface.ifindex)).touch()
    monkeypatch.setattr("pydsr.control.detach.links.all_interfaces", lambda: [ETH1])
    monkeypatch.setattr(detaching, "stop_receiving", lambda each, _: told.append(each.name))
    monkeypatch.setattr("pydsr.control.detach.managed_neighbours.find_neighbours", lambda _: [])
    monkeypatch.setattr("pydsr.control.detach.managed_neighbours.delete_entries", lambda _: None)
    detaching._withdraw(tmp_path, None, ATTACHED)
    assert [] == [*links.iterdir()]
    assert ["eth1"] == told


def test_vips_are_withdrawn_on_the_interfaces_that_are_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[tuple[str, set[Any], set[Any]]] = []
    present = Interfaces([ETH0, ETH1], ATTACHED[1:])
    monkeypatch.setattr(vip_ownership, "read_interfaces", lambda _: present)
    monkeypatch.setattr(
        vip_ownership,
        "stop_receiving",
        lambda each, gone, left: told.append((each.name, gone, left)),
    )
    gone, left = (
        cast("Any", SimpleNamespace(endpoint=SimpleNamespace(address=name))) for name in "ab"
    )
    vip_ownership.withdraw_services(tmp_path, [gone], [left])
    assert [("eth1", {"a"}, {"b"})] == told
