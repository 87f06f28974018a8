"""The parts of pyroute2 that pydsr imports, and the MACs in neighbour messages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pydsr.kernel.net.netlink import mac_of
from pydsr.model.addresses import MacAddress


def run(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_commands_import_little_of_pyroute2() -> None:
    """Its ``__init__`` takes half as long as everything else that a command imports."""
    loaded = run(
        "import sys, pydsr.kernel.net.monitor, pydsr.kernel.net.neighbours\n"
        "sys.stdout.write(' '.join(name for name in sys.modules if name.startswith('pyroute2')))"
    ).split()
    assert "pyroute2.iproute.linux" in loaded
    unwanted = {"pyroute2", "pyroute2.ndb", "pyroute2.ipdb", "pyroute2.netlink.generic"}
    assert not unwanted & set(loaded)


@pytest.mark.parametrize(
    "order",
    [
        ("pydsr.kernel.net.netlink", "pyroute2"),
        ("pyroute2", "pydsr.kernel.net.netlink"),
        ("pydsr.kernel.net.ethtool", "pyroute2"),
    ],
)
def test_the_whole_of_pyroute2_can_be_imported_before_or_after(order: tuple[str, str]) -> None:
    imports = "\n".join(f"import {name}" for name in order)
    script = (
        f"{imports}\n"
        "from pyroute2 import netns\n"
        "from pydsr.kernel.net.netlink import IPRoute\n"
        "print(pyroute2.IPRoute is IPRoute, pyroute2.NDB.__name__, netns.__name__)"
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
