"""The contestants of ``bench.consistency``; each balances in a lab of its own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from bench import nftlb
from pydsr.lab import network
from pydsr.lab.lab import Lab
from pydsr.lab.topology import VIP4, Role
from pydsr.model.addresses import Endpoint

LEARN_SECONDS = 2
"""In place of 900: the connections here are never silent for more than half a second."""

SERVICE = Endpoint(VIP4, 7000)

_SETTLE_SECONDS = LEARN_SECONDS + 1.0


class WrongAnswerError(Exception):
    """What is measured does not work: its figures mean nothing."""


class Balancing(ABC):
    """One way to balance, in a lab whose backends listen; five of them serve at first."""

    name: ClassVar[str]

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._hosts = {host.name: host for host in lab.topology.hosts}

    @abstractmethod
    def begin(self, hosts: Sequence[str]) -> None:
        """Serve with some backends, each of weight 1."""

    @abstractmethod
    def add(self, host: str, weight: int = 1) -> None:
        """Add a backend, or change its weight."""

    @abstractmethod
    def drain(self, host: str) -> None:
        """Give a backend no new connections."""

    @abstractmethod
    def remove(self, host: str) -> None:
        """Remove a backend."""

    @abstractmethod
    def down(self, host: str) -> None:
        """Take a backend for dead."""

    def settle(self) -> None:
        """Wait until what a change has started is over."""
        time.sleep(_SETTLE_SECONDS)


class Pydsr(Balancing):
    """The balancer of this project."""

    name = "pydsr"
    options: ClassVar[tuple[str, ...]] = ("--learn", str(LEARN_SECONDS))

    def begin(self, hosts: Sequence[str]) -> None:
        """Serve with some backends, each of weight 1."""
        self.lab.pydsr("attach", network.INTERFACE)
        self.lab.pydsr("services", "add", str(SERVICE), *self.options)
        self._run("set", *(str(self._hosts[host].address4) for host in hosts))

    def add(self, host: str, weight: int = 1) -> None:
        """Add a backend, or change its weight."""
        self._run("add", f"{self._hosts[host].address4}={weight}")

    def drain(self, host: str) -> None:
        """Give a backend no new connections."""
        self._run("drain", str(self._hosts[host].address4))

    def remove(self, host: str) -> None:
        """Remove a backend."""
        self._run("remove", str(self._hosts[host].address4))

    def down(self, host: str) -> None:
        """Take a backend for dead."""
        self._run("down", str(self._hosts[host].address4))

    def settle(self) -> None:
        """Wait until what a change has started is over, and bring to rest what can be."""
        super().settle()
        self.lab.pydsr("tidy")

    def _run(self, verb: str, *arguments: str) -> None:
        self.lab.pydsr("backends", verb, str(SERVICE), *arguments)


class PlainMaglev(Pydsr):
    """The same table, each slot at rest on its new backend at once."""

    name = "Maglev table alone"
    options = ("--one-packet",)


class Nftables(Balancing):
    """The rule that nftlb writes; a backend that takes no new connections is not in it."""

    name = "nftables, as nftlb writes it"
    seed: ClassVar[str] = ""

    def begin(self, hosts: Sequence[str]) -> None:
        """Serve with some backends, each of weight 1."""
        balancer = self._hosts[Role.BALANCER]
        # Nothing answers ARP for the VIP, as with a VIP that a router sends here.
        neighbour = [str(VIP4), "lladdr", str(balancer.mac), "dev", network.INTERFACE]
        self._run("client1", "ip", "neighbour", "replace", *neighbour)
        self._weights = dict.fromkeys(hosts, 1)
        self._write("")

    def add(self, host: str, weight: int = 1) -> None:
        """Add a backend, or change its weight."""
        self._weights[host] = weight
        self._write("delete table netdev bench;")

    def drain(self, host: str) -> None:
        """Give a backend no new connections."""
        del self._weights[host]
        self._write("delete table netdev bench;")

    def remove(self, host: str) -> None:
        """Remove a backend, which may have been drained."""
        if host in self._weights:
            self.drain(host)

    def down(self, host: str) -> None:
        """Take a backend for dead."""
        self.drain(host)

    def _write(self, before: str) -> None:
        """Replace the table in one transaction."""
        backends = [(str(self._hosts[host].mac), each) for host, each in self._weights.items()]
        mac = str(self._hosts[Role.BALANCER].mac)
        rules = nftlb.ruleset(network.INTERFACE, mac, SERVICE, backends, self.seed)
        self._run(Role.BALANCER, "nft", f"{before} {rules}")

    def _run(self, host: str, *command: str) -> None:
        done = self.lab.run(host, command)
        if done.returncode != 0:
            raise WrongAnswerError(f"{' '.join(command)}: {done.stderr}")


class NftablesSeeded(Nftables):
    """The same rule with a seed, so that only the number of backends changes the hash."""

    name = "nftables, seed kept"
    seed = nftlb.SEED_KEPT


SYSTEMS: tuple[type[Balancing], ...] = (Pydsr, PlainMaglev, NftablesSeeded, Nftables)
