"""Connections that live long, kept busy by a process of their own that notices any break."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self, cast

from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.lab import Lab
from pydsr.lab.server import READY
from pydsr.lab.topology import Role
from pydsr.model.addresses import Endpoint
from tests.support.lab.long_connections import Connection

_WORKER = (*PYTHON, "tests.support.lab.long_connections")
_DEADLINE_SECONDS = 60.0


def start_servers(lab: Lab, ports: Sequence[int]) -> None:
    """Serve the VIPs on every backend, TCP and UDP, and return once all listen."""
    servers = [
        lab.popen(
            host.name,
            [*_WORKER, "serve", host.name, *map(str, ports)],
            stdout=subprocess.PIPE,
        )
        for host in lab.topology.hosts_of(Role.BACKEND)
    ]
    for server in servers:
        with cast("IO[str]", server.stdout) as output:
            assert READY == _read_line(output).strip()


class Connections:
    """The connections of a client, kept busy by a process of its own from with to its end.

    Args:
        lab: where the client is.
        interval: the longest silence of a connection, in seconds.
        host: the client.
    """

    def __init__(self, lab: Lab, interval: float = 1.0, host: str = "client1") -> None:
        command = [*_WORKER, "keep", str(interval)]
        self._process = lab.popen(host, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(BrokenPipeError):
            cast("IO[str]", self._process.stdin).close()
        self._process.wait(_DEADLINE_SECONDS)
        cast("IO[str]", self._process.stdout).close()

    def open(self, service: Endpoint, count: int, group: str = "") -> list[Connection]:
        """Open connections to a service; returns all when these have got their first answer."""
        return self._order(
            "open",
            protocol=str(service.protocol),
            address=str(service.address),
            port=service.port,
            count=count,
            group=group,
        )

    def close(self, group: str | None = None, backend: str | None = None) -> list[Connection]:
        """End the connections of a group, or to a backend, in order; returns the others."""
        return self._order("close", group=group, backend=backend)

    def check(self) -> list[Connection]:
        """Return all connections once each has got one answer more, or is broken."""
        return self._order("check")

    def _order(self, do: str, **details: Any) -> list[Connection]:
        orders = cast("IO[str]", self._process.stdin)
        orders.write(json.dumps({"do": do, **details}) + "\n")
        orders.flush()
        answer = _read_line(cast("IO[str]", self._process.stdout))
        return [Connection(**each) for each in json.loads(answer)]


def broken(connections: Sequence[Connection]) -> list[Connection]:
    """Return the connections that are."""
    return [each for each in connections if each.error]


def _read_line(stream: IO[str]) -> str:
    readable, _, _ = select.select([stream], [], [], _DEADLINE_SECONDS)
    line = stream.readline() if readable else ""
    if not line.endswith("\n"):
        raise TimeoutError(f"a worker has not answered in {_DEADLINE_SECONDS:g} s, or has ended")
    return line
