"""What happens to a balancer in weeks, at the pace of minutes: each event is waited for."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from pydsr.lab.lab import Lab
from tests.support.lab.daemon_lab import (
    PORT,
    TCP_CHECK,
    Kept,
    Servers,
    closed,
    unplugged,
    without_vip,
)
from tests.support.lab.requests import VIP4, eventually

PORTS = tuple(range(8100, 8120))
"""Of services beside that of the servers; each is checked there, so that a failure is of all."""

_BACKENDS = ("10.77.0.11", "10.77.0.12", "10.77.0.13")
_DEADLINE_SECONDS = 60.0


def file_of(weights: tuple[int, ...]) -> str:
    """Return a file of checked services whose backends have some weights."""
    listed = ", ".join(f"{one}={n}" for one, n in zip(_BACKENDS, weights, strict=True))
    check = TCP_CHECK.replace("{", f"{{port: {PORT}, ")
    services = (
        f"  - {{endpoint: '{VIP4}:{port}', checks: [{check}], backends: [{listed}]}}\n"
        for port in PORTS
    )
    return "services:\n" + "".join(services)


@dataclass
class Life:
    """One daemon, and all that befalls it.

    Attributes:
        happened: how often what was done.
    """

    lab: Lab
    kept: Kept
    servers: Servers
    chance: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._log = (self.kept.folder / "log").open()
        self._heard: Counter[str] = Counter()

    def go_on(self) -> None:
        """Have one more thing happen, and wait until the daemon has dealt with it."""
        deeds: dict[Callable[[], None], int] = {
            self._reload: 60,
            self._hang_up: 20,
            self._fail_to_reload: 5,
            self._flap: 10,
            self._replace_card: 3,
            self._change_by_hand: 2,
        }
        (deed,) = self.chance.choices([*deeds], weights=[*deeds.values()])
        deed()
        self.happened[deed.__name__.strip("_").replace("_", " ")] += 1

    def close(self) -> None:
        """Stop listening to the log."""
        self._log.close()

    # -- the log

    def _count(self, kind: str) -> int:
        """Return how many events of a kind there have been."""
        for line in self._log:
            words = line.split(": ")
            if len(words) > 2:
                self._heard[words[2]] += 1
        return self._heard[kind]

    def _is_well(self) -> bool:
        return self._count("backend-unhealthy") == self._count("backend-healthy")

    def _wait_for(self, kind: str, before: int, more: int = 1) -> None:
        enough = before + more
        assert eventually(lambda: self._count(kind) >= enough, _DEADLINE_SECONDS), (
            kind,
            self.happened,
            self.kept.log[-4000:],
        )

    # -- what happens

    def _reload(self) -> None:
        before = self._count("reloaded")
        self.kept.write(file_of(tuple(self.chance.randint(1, 9) for _ in _BACKENDS)))
        self._wait_for("reloaded", before)

    def _hang_up(self) -> None:
        before = self._count("reloaded")
        self._signal(signal.SIGHUP)
        self._wait_for("reloaded", before)

    def _fail_to_reload(self) -> None:
        before = self._count("reload-failed")
        self.kept.write("services: [nonsense]\n")
        self._wait_for("reload-failed", before)
        self._reload()

    def _flap(self) -> None:
        troubles: list[Callable[[Lab, Servers], AbstractContextManager[None]]] = [
            closed,
            without_vip,
            unplugged,
        ]
        # A card that was replaced may have made checks fail.
        assert eventually(self._is_well, _DEADLINE_SECONDS), self.happened
        out, back = self._count("backend-unhealthy"), self._count("backend-healthy")
        with self.chance.choice(troubles)(self.lab, self.servers):
            self._wait_for("backend-unhealthy", out, len(PORTS))
        self._wait_for("backend-healthy", back, len(PORTS))

    def _replace_card(self) -> None:
        before = self._count("mac-changed")
        # Each another one: back and forth would be two hosts with one address.
        number = self.chance.randrange(1 << 24).to_bytes(3).hex(":")
        command = ["ip", "link", "set", "eth0", "address", f"02:00:00:{number}"]
        assert self.lab.run("backend2", command).returncode == 0
        self._wait_for("mac-changed", before)

    def _change_by_hand(self) -> None:
        service = f"{VIP4}:{self.chance.choice(PORTS)}"
        self.lab.pydsr("backends", "drain", service, _BACKENDS[0])
        self.lab.pydsr("backends", "undrain", service, _BACKENDS[0])

    def _signal(self, number: signal.Signals) -> None:
        assert self.kept.process is not None
        self.kept.process.send_signal(number)


@dataclass(frozen=True)
class Usage:
    """What a process takes of the machine; memory is anonymous, in KiB."""

    memory: int
    descriptors: int
    threads: int


def usage(pid: int) -> Usage:
    """Return what a process takes now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    memory = int(values["RssAnon"].removesuffix("kB"))
    descriptors = len([*Path(f"/proc/{pid}/fd").iterdir()])
    return Usage(memory, descriptors, int(values["Threads"]))
