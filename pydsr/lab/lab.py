"""A lab: build hosts, start servers and the balancer, run commands on hosts, remove all of it.

The name of a lab leads to all of it: namespaces ``pydsr-NAME-*``, the bpffs directory
``pydsr-NAME`` and the records of its processes.
"""

from __future__ import annotations

import logging
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Self, cast

from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.lab import network
from pydsr.lab.interrupts import signals_deferred
from pydsr.lab.processes import ProcessRecords
from pydsr.lab.server import READY
from pydsr.lab.topology import (
    RECORDS,
    SERVICES,
    Role,
    Topology,
    bpffs_of,
    check_name,
    namespace_of,
    records_of,
)
from pydsr.model.errors import InputError, PydsrError

_log = logging.getLogger(__name__)

_SERVERS_DEADLINE_SECONDS = 60.0
_DETACH_SECONDS = 60.0

Stream = int | IO[str] | None
"""A target of a standard stream, as in the module subprocess."""


class Lab:
    """A balancer, clients and backends, each in a network namespace of its own.

    :meth:`build` creates the hosts. ``with`` calls it, and removes the lab at its end::

        with Lab("test", backends=2) as lab:
            lab.serve()
            lab.balance()
            lab.run("client1", ["curl", "http://10.77.0.80/"])

    Args:
        name: of the lab; labs with different names are independent.
        backends, clients, balancers: the number of hosts; only the first balancer, ``lb``, is
            attached.
        xdp_delivery: whether frames that the balancer's program sends reach the switch; that
            needs the privilege to load a program.
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

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def bpffs(self) -> Path:
        """The directory with the balancer's pins."""
        return bpffs_of(self.name)

    def up(self) -> None:
        """Build the hosts, start the servers and the balancer; after a failure nothing is left."""
        with self._removed_on_failure():
            self.build()
            self.serve()
            self.balance()

    def build(self) -> None:
        """Build the hosts; after a failure nothing is left.

        Raises:
            InputError: there is a lab of that name.
        """
        with self._removed_on_failure():
            self._claim()
            network.build(self.topology, self._xdp_delivery)

    def serve(self) -> None:
        """Start an HTTP server on every backend, and wait until all of them listen."""
        deadline = time.monotonic() + _SERVERS_DEADLINE_SECONDS
        servers = {}
        for host in self.topology.hosts_of(Role.BACKEND):
            with self._log_file(host.name).open("w") as log:
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
                    lines = self._log_file(name).read_text().strip().splitlines()
                    raise PydsrError(
                        f"the HTTP server of {name} does not listen", lines[-1] if lines else ""
                    )

    def balance(self) -> None:
        """Attach pydsr on the balancer, and add the backends to its services."""
        self.pydsr("attach", network.INTERFACE)
        for service in SERVICES:
            backends = self.topology.hosts_of(Role.BACKEND)
            addresses = [str(host.address_for(service)) for host in backends]
            self.pydsr("backends", "set", str(service), *addresses)

    def down(self) -> None:
        """Remove the lab, if this object has built it."""
        with signals_deferred():
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
        """Start a command on a host; :meth:`down` ends it."""
        namespace = self.topology.namespace(host)
        with (
            network.kernel_errors(f"run {command[0]} on {host}"),
            network.enter_namespace(namespace),
        ):
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
        self, host: str, command: Sequence[str], *, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host such as ``client1``; return its output and exit status.

        Raises:
            PydsrError: it took longer than ``timeout`` seconds, and was killed.
        """
        child = self.popen(host, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise PydsrError(f"{command[0]} on {host} took more than {timeout:g} s") from None
        finally:
            with signals_deferred():
                child.kill()
                child.communicate()
                self._children.remove(child)
                self._processes.forget(child.pid)
        return subprocess.CompletedProcess(list(command), child.returncode, output, errors)

    def pydsr(self, *arguments: str) -> str:
        """Run a pydsr command on the balancer, with the lab's pins, and return its output."""
        done = self.run(Role.BALANCER, [*PYTHON, "pydsr", "--bpffs", str(self.bpffs), *arguments])
        if done.returncode != 0:
            raise PydsrError(
                f"`pydsr {' '.join(arguments)}` on the balancer failed ({done.returncode})",
                done.stderr.strip(),
            )
        return done.stdout

    @contextmanager
    def _removed_on_failure(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(self.down)
            yield
            stack.pop_all()

    def _claim(self) -> None:
        """Create the directory of records, which claims the name."""
        exists = InputError(
            f"there is already a lab {self.name!r}",
            f"remove it with `pydsr lab down --name {self.name}`, or choose another --name",
        )
        with network.kernel_errors(f"create {RECORDS}"):
            RECORDS.mkdir(mode=0o700, exist_ok=True)
        with signals_deferred(), network.kernel_errors(f"create {records_of(self.name)}"):
            if network.namespaces(self.name) or bpffs_of(self.name).exists():
                raise exists
            try:
                records_of(self.name).mkdir(mode=0o700)
            except FileExistsError:
                raise exists from None
            self._claimed = True

    def _log_file(self, host: str) -> Path:
        return records_of(self.name) / f"{host}.log"


def remove(name: str) -> bool:
    """Remove the lab of a name, even if it is incomplete; return whether there was such a lab."""
    check_name(name)
    records, pins = records_of(name), bpffs_of(name)
    with network.kernel_errors(f"look for the lab {name!r}"):
        exists = records.exists() or pins.exists() or bool(network.namespaces(name))
    with signals_deferred():
        ProcessRecords(records / "processes").end_all()
        try:
            _remove_balancer(name)
        finally:
            network.remove_namespaces(name)
        shutil.rmtree(records, ignore_errors=True)
    return exists


def _remove_balancer(name: str) -> None:
    """Detach the balancer; if that fails, delete its pins, which detaches it as well."""
    pins = bpffs_of(name)
    if not pins.exists():
        return
    balancer = namespace_of(name, Role.BALANCER)
    exists = balancer in network.namespaces(name)
    with network.enter_namespace(balancer) if exists else nullcontext():
        try:
            subprocess.run(
                [*PYTHON, "pydsr", "--bpffs", str(pins), "detach", "--all", "--purge"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                env=environment(),
                start_new_session=True,
                timeout=_DETACH_SECONDS,
            )
        except subprocess.SubprocessError as error:
            _log.warning("pydsr detach failed, so the pins are deleted: %s", error)
    if pins.exists():
        with network.kernel_errors(f"remove {pins}"):
            shutil.rmtree(pins)
