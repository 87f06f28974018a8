"""Backends whose VIPs are on a dummy, which is a module of Debian's kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns.realserver_host import VIPS, Backend, made_backend


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A host that is to be a backend, with nothing done to it yet."""
    with made_backend(tmp_path / "records") as made:
        yield made


def interfaces() -> list[str]:
    """Return the interfaces of the machine itself, where a module makes its own."""
    shown = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in shown.stdout.splitlines()]


@pytest.mark.parametrize("device", ["vip0", "dummy0"])
def test_setup_makes_a_dummy_and_undo_leaves_the_host_exactly_as_it_was(
    backend: Backend, device: str
) -> None:
    subprocess.run(["modprobe", "--remove", "dummy"], check=True)
    before, of_machine = backend.snapshot(), interfaces()
    backend.did("setup", *VIPS, "--device", device)
    backend.did("check", *VIPS, "--device", device)
    assert not any(backend.claims(vip) for vip in VIPS)
    backend.steer(VIPS[0])
    assert backend.client.pings(VIPS[0])
    backend.did("undo", "--all")
    assert before == backend.snapshot()
    assert of_machine == interfaces()


def test_the_script_makes_a_dummy_once(backend: Backend, tmp_path: Path) -> None:
    arguments = ("--device", "dummy0", "--script", "sh", "--output", str(tmp_path))
    backend.did("setup", *VIPS, *arguments)
    for _ in range(2):
        backend.host.run(str(tmp_path / "usr/local/sbin/pydsr-realserver"))
        backend.did("check", *VIPS, "--device", "dummy0")
