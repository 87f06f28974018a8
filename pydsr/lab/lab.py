"""A lab: builds its hosts, starts servers and the balancer, runs commands in it, removes it."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from pydsr.lab import network
from pydsr.lab.interrupts import held
from pydsr.lab.processes import PYTHON, ProcessRecords, environment
from pydsr.lab.removal import remove
from pydsr.lab.server import READY
from pydsr.lab.topology import RECORDS, SERVICES, Role, Topology, bpffs_of, records_of
from pydsr.model.errors import InputError, PydsrError

_SERVERS_DEADLINE_SECONDS = 60.0

Stream = int | IO[str] | None
"""What a standard stream is connected to, as in the subprocess module."""


class Lab:
    """A balancer, clients and backends, each in a network namespace of its own.

    Nothing is made before :meth:`build` (which ``with`` calls; it removes the lab at its end)::

        with Lab("test", backends=2) as lab:
            lab.serve()
            lab.balance()
            lab.run("client1", ["curl", "http://10.77.0.80/"])

    Args:
        name: names the lab; two of different names do not meet.
        backends, clients: how many hosts of each.
        balancers: how many; those beside the first, ``lb``, are left to whoever asks for them.
        xdp_delivery: whether frames the balancer's program sends reach the switch; it takes the
            right to load a program.

    Raises:
        InputError: the name or a count cannot be used.
    """

    def __init__(
        self,
        name: str,
        backends: int = 3,
        clients: int = 1,
        *,
        balancers: int = 1,
        xdp_delivery: bool = True,
    ) -> None:
        self.topology = Topology(name, backends, clients, balancers)
        self.name = name
        self._xdp_delivery = xdp_delivery
        self._processes = ProcessRecords(records_of(name) / "processes")
        self._children: list[subprocess.Popen[str]] = []
        self._claimed = False

    def __enter__(self) -> Self:
        self.build()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def bpffs(self) -> Path:
        """The directory of the balancer's pins."""
        return bpffs_of(self.name)

    def up(self) -> None:
        """Build the hosts, start the servers and the balancer: all of it, or nothing is left.

        Raises:
            InputError: there is a lab of that name.
            PydsrError: a part could not be made.
        """
        with self._removed_on_failure():
            self.build()
            self.serve()
            self.balance()

    def build(self) -> None:
        """Build the hosts alone: all of them, or nothing is left.

        Raises:
            InputError: there is a lab of that name.
            PydsrError: a host could not be made.
        """
        with self._removed_on_failure():
            self._claim()
            network.build(self.topology, self._xdp_delivery)

    def serve(self) -> None:
        """Start an HTTP server on every backend and wait until all of them listen.

        Raises:
            PydsrError: a server does not run; the message has its last words.
        """
        deadline = time.monotonic() + _SERVERS_DEADLINE_SECONDS
        servers = {}
        for host in self.topology.hosts_of(Role.BACKEND):
            with self._log(host.name).open("w") as log:
                servers[host.name] = self.popen(
                    host.name,
                    [*PYTHON, "pydsr.lab.server", "--name", host.name],
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
        for name, server in servers.items():
            left = max(0.0, deadline - time.monotonic())
            with cast("IO[str]", server.stdout) as output:
                readable, _, _ = select.select([output], [], [], left)
                if not readable or output.readline().strip() != READY:
                    words = self._log(name).read_text().strip().splitlines()
                    raise PydsrError(
                        f"the HTTP server of {name} does not listen", words[-1] if words else ""
                    )

    def balance(self) -> None:
        """Attach pydsr on the balancer and give it the backends.

        Raises:
            PydsrError: a command failed; the message has what it said.
        """
        self.pydsr("attach", network.INTERFACE)
        for service in SERVICES:
            backends = self.topology.hosts_of(Role.BACKEND)
            addresses = [str(host.address_for(service)) for host in backends]
            self.pydsr("backends", "set", str(service), *addresses)

    def down(self) -> None:
        """Remove the lab if this object made it: a second call does nothing."""
        with held():
            if self._claimed:
                self._claimed = False
                try:
                    remove(self.name)
                finally:
                    for child in self._children:
                        child.wait()

    def popen(
        self,
        host: str,
        command: Sequence[str],
        *,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start a command on a host; :meth:`down` ends it if it still runs.

        Raises:
            InputError: the lab has no such host.
            PydsrError: the command could not be started.
        """
        namespace = self.topology.namespace(host)
        with network.explained(f"run {command[0]} on {host}"), network.entered(namespace):
            child = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=environment(),
                start_new_session=True,
            )
            self._children.append(child)
            self._processes.add(child.pid)
        return child

    def run(
        self, host: str, command: Sequence[str], *, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end and return what it wrote and its exit status.

        Args:
            host: the host's name, such as ``client1``.
            command: the program and its arguments.
            timeout: seconds after which it is killed.

        Raises:
            InputError: the lab has no such host.
            PydsrError: the command could not be started or took too long.
        """
        child = self.popen(host, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise PydsrError(f"{command[0]} on {host} took more than {timeout:g} s") from None
        finally:
            with held():
                child.kill()
                child.communicate()
                self._children.remove(child)
                self._processes.forget(child.pid)
        return subprocess.CompletedProcess(list(command), child.returncode, output, errors)

    def pydsr(self, *arguments: str) -> str:
        """Run a pydsr command on the balancer, with the lab's state, and return its output.

        Raises:
            PydsrError: it failed; the message has what it said.
        """
        done = self.run(Role.BALANCER, [*PYTHON, "pydsr", "--bpffs", str(self.bpffs), *arguments])
        if done.returncode != 0:
            raise PydsrError(
                f"`pydsr {' '.join(arguments)}` on the balancer failed ({done.returncode})",
                done.stderr.strip(),
            )
        return done.stdout

    @contextmanager
    def _removed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.down()
            raise

    def _claim(self) -> None:
        """Make the directory of records, which no other lab of that name can make."""
        exists = InputError(
            f"there is a lab {self.name!r} already",
            f"remove it by `pydsr lab down --name {self.name}`, or choose another --name",
        )
        with network.explained(f"make {RECORDS}"):
            RECORDS.mkdir(mode=0o700, exist_ok=True)
        with held(), network.explained(f"make {records_of(self.name)}"):
            if network.namespaces(self.name) or bpffs_of(self.name).exists():
                raise exists
            try:
                records_of(self.name).mkdir(mode=0o700)
            except FileExistsError:
                raise exists from None
            self._claimed = True

    def _log(self, host: str) -> Path:
        return records_of(self.name) / f"{host}.log"
