"""The parts of pyroute2 that pydsr imports, and the MACs in neighbour messages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from pyroute2.netlink import NLM_F_DUMP_INTR, NLMSG_DONE

from pydsr.kernel.net.netlink import Messages, NetlinkMessage, mac_of, netlink
from pydsr.model.addresses import MacAddress
from pydsr.model.errors import EnvironmentCannotError


def run(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_commands_import_little_of_pyroute2() -> None:
    """The rest takes several times as long, its ``__init__`` most of that."""
    loaded = run(
        "import sys, pydsr.control.balancer, pydsr.control.apply\n"
        "sys.stdout.write(' '.join(sys.modules))"
    ).split()
    assert "pyroute2.netlink.rtnl.ifinfmsg" in loaded
    unwanted = {"pyroute2", "pyroute2.iproute", "pyroute2.netlink.nlsocket", "asyncio", "unittest"}
    assert set() == unwanted & set(loaded)


@pytest.mark.parametrize(
    "order",
    [
        ("pydsr.kernel.net.netlink", "pyroute2"),
        ("pydsr.kernel.net.async_netlink", "pyroute2"),
        ("pyroute2", "pydsr.kernel.net.netlink"),
        ("pydsr.kernel.net.ethtool", "pyroute2"),
    ],
)
def test_the_whole_of_pyroute2_can_be_imported_before_or_after(order: tuple[str, str]) -> None:
    imports = "\n".join(f"import {name}" for name in order)
    script = (
        f"{imports}\n"
        "from pyroute2 import netns\n"
        "from pydsr.kernel.net.async_netlink import AsyncIPRoute\n"
        "print(pyroute2.AsyncIPRoute is AsyncIPRoute, pyroute2.NDB.__name__, netns.__name__)"
    )
    assert run(script).split() == ["True", "NDB", "pyroute2.netns"]


@pytest.mark.parametrize(
    ("lladdr", "expected"),
    [
        ("02:00:00:00:00:0a", MacAddress(bytes.fromhex("02000000000a"))),
        ("192.0.2.1", None),  # of a tunnel
        ("00:00:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_a_neighbour_without_an_ethernet_address_has_no_mac(
    lladdr: str | None, expected: MacAddress | None
) -> None:
    assert mac_of({"lladdr": lladdr}) == expected


@pytest.mark.parametrize("at_its_end", [False, True])
def test_a_dump_during_which_something_changed_is_repeated(
    monkeypatch: pytest.MonkeyPatch, at_its_end: bool
) -> None:
    decode = Messages.parse
    dumps: list[int] = []

    def parse(messages: Messages, octets: bytes) -> Iterator[NetlinkMessage]:
        for message in decode(messages, octets):
            header = message["header"]
            is_end = header["type"] == NLMSG_DONE
            if not dumps and is_end is at_its_end:
                header["flags"] |= NLM_F_DUMP_INTR
            if is_end:
                dumps.append(header["sequence_number"])
            yield message

    monkeypatch.setattr(Messages, "parse", parse)
    with netlink() as ip:
        names = [message.get("ifname") for message in ip.links()]
    assert ["lo"] == [name for name in names if name == "lo"]
    assert [1, 2] == dumps


def test_dumps_during_which_something_changes_each_time_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = Messages.parse

    def parse(messages: Messages, octets: bytes) -> Iterator[NetlinkMessage]:
        for message in decode(messages, octets):
            message["header"]["flags"] |= NLM_F_DUMP_INTR
            yield message

    monkeypatch.setattr(Messages, "parse", parse)
    with pytest.raises(EnvironmentCannotError, match="change faster than"), netlink() as ip:
        ip.links()
