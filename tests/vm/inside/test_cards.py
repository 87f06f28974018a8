"""What the doctor finds of network cards: of those that qemu has, brought about and mended."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.doctor_report import command_in, examine
from tests.support.netns.namespaces import Host, eventually, made_directory, made_host
from tests.vm.machine import JOINING, MANY_QUEUES, QUEUES, VMXNET3


@dataclass(frozen=True)
class Card:
    """A card on a host of its own, and the command there."""

    pydsr: Pydsr
    name: str

    def set(self, *command: str) -> None:
        """Run a command that sets something on its host."""
        self.pydsr.host.run(*command)

    def findings(self) -> dict[str, Any]:
        """Return what is found of the card, by kind; of this machine there may be more."""
        found = examine(self.pydsr, self.name).findings
        return {finding["id"]: finding for finding in found if finding["subject"] == self.name}

    @contextmanager
    def mended(self, kind: str) -> Iterator[dict[str, Any]]:
        """Find one kind, look at it in the block, then do what it says mends it."""
        found = self.findings()
        assert [kind] == [*found]
        yield found[kind]
        self.set(*command_in(found[kind]["remedy"]))
        assert {} == self.findings()

    def is_refused_for(self, finding: dict[str, Any]) -> bool:
        """Return whether it takes no program in native mode, for the reason that was foretold."""
        done = self.pydsr("attach", self.name, "--mode", "native")
        assert ExitStatus.CANNOT == done.status
        return f"{finding['what']}: {finding['remedy']}" in done.stderr

    @property
    def interrupts(self) -> dict[int, Path]:
        """The file for each of its interrupts that says which CPUs may take it."""
        shown = self.pydsr.host.run("ethtool", "-i", self.name)
        bus = next(line.split()[1] for line in shown.splitlines() if line.startswith("bus-info"))
        numbers = (int(one.name) for one in Path("/sys/bus/pci/devices", bus, "msi_irqs").iterdir())
        return {number: Path(f"/proc/irq/{number}/smp_affinity_list") for number in numbers}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with the cards, all up; they are the machine's again at its end."""
    subprocess.run(["modprobe", "vmxnet3"], check=True)
    with made_host() as made:
        for mac in (MANY_QUEUES, JOINING, VMXNET3):
            subprocess.run(["ip", "link", "set", name_of(mac), "netns", made.name], check=True)
            made.run("ip", "link", "set", name_of(mac, made), "up")
        yield made


def name_of(mac: str, host: Host | None = None) -> str:
    """Return the name of the card with a MAC, on a host or the machine itself."""
    prefix = host.prefix if host else []

    def named() -> list[str]:
        shown = subprocess.run([*prefix, "ip", "-json", "link"], capture_output=True, check=True)
        return [link["ifname"] for link in json.loads(shown.stdout) if link["address"] == mac]

    (name,) = eventually(named)
    return name


def card_with(mac: str, host: Host) -> Iterator[Card]:
    """Yield the card with a MAC, once it has carrier."""
    with made_directory() as bpffs:
        card = Card(Pydsr(host, bpffs), name_of(mac, host))
        assert eventually(lambda: "LOWER_UP" in host.link(card.name)["flags"])
        yield card


@pytest.fixture
def many(host: Host) -> Iterator[Card]:
    """A virtio NIC with a queue for receiving, and one for sending, for each CPU and program."""
    yield from card_with(MANY_QUEUES, host)


@pytest.fixture
def joining(host: Host) -> Iterator[Card]:
    """A virtio NIC with one queue, whose device joins packets and cannot be told not to."""
    yield from card_with(JOINING, host)


@pytest.fixture
def vmxnet3(host: Host) -> Iterator[Card]:
    """A NIC as VMware has it; one CPU may be given all its interrupts when its rings are made."""
    yield from card_with(VMXNET3, host)


def test_an_mtu_that_is_too_large_is_foretold(many: Card) -> None:
    """With a smaller one the card takes the program, and nothing is found of it then either."""
    many.set("ip", "link", "set", many.name, "mtu", "9000")
    with many.mended("mtu-large") as finding:
        assert "has the MTU 9000" in finding["what"]
        assert many.is_refused_for(finding)
    many.pydsr.ok("attach", many.name, "--mode", "native")
    assert {} == many.findings()
    many.pydsr.ok("detach", "--all", "--purge")


def test_a_device_that_joins_packets_is_foretold_to_take_no_program(joining: Card) -> None:
    """What mends it is the machine's owner's to do, as for the other card here."""
    found = joining.findings()
    assert ["gro-hw-on", "queues-shared"] == [*found]
    assert "ctrl_guest_offloads=on" in found["gro-hw-on"]["remedy"]
    assert f"{QUEUES} queues" in found["queues-shared"]["remedy"]
    assert joining.is_refused_for(found["gro-hw-on"])


def test_queues_of_which_none_is_left_to_send_by(many: Card) -> None:
    many.set("ethtool", "-L", many.name, "combined", str(QUEUES))
    with many.mended("queues-shared") as finding:
        assert f"has {QUEUES} queues" in finding["what"]


def test_fewer_queues_than_there_are_cpus(many: Card) -> None:
    many.set("ethtool", "-L", many.name, "combined", "1")
    with many.mended("queues-unused") as finding:
        assert "receives by 1 queue" in finding["what"]


def test_rings_that_could_be_larger(many: Card) -> None:
    many.set("ethtool", "-G", many.name, "rx", "256")
    with many.mended("ring-small") as finding:
        assert "have room for 256 frames, and could for 1024" in finding["what"]


def test_interrupts_that_one_cpu_takes(many: Card) -> None:
    for path in many.interrupts.values():
        path.write_text("1")
    found = many.findings()
    assert ["interrupts-together"] == [*found]
    finding = found["interrupts-together"]
    assert "taken by CPU 1" in finding["what"]
    numbers = re.search(r"each N of ([0-9 ]+): echo CPU > (\S+)", finding["remedy"])
    assert numbers is not None
    assert sorted(many.interrupts) == [int(number) for number in numbers[1].split()]
    for cpu, number in enumerate(numbers[1].split()):
        Path(numbers[2].replace("N", number)).write_text(str(cpu % 2))
    assert {} == many.findings()


def test_a_driver_that_got_xdp_after_this_kernel(vmxnet3: Card) -> None:
    """Its rings are judged all the same."""
    vmxnet3.set("ethtool", "-G", vmxnet3.name, "rx", "256")
    found = vmxnet3.findings()
    assert {"driver-without-xdp", "ring-small"} <= set(found)
    assert "vmxnet3, has native XDP only since Linux 6.6" in found["driver-without-xdp"]["what"]
    vmxnet3.set(*command_in(found["ring-small"]["remedy"]))
    assert "ring-small" not in vmxnet3.findings()
