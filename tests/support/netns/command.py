"""The pydsr command as a user runs it, in a namespace."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from pyroute2 import netns

import pydsr
from pydsr.cli.main import main
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.model.errors import ExitStatus
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host
from tests.support.paths import CHECKOUT

_SHOW_CHECKOUT = """\
set -e
mount --bind "$2" /mnt
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir -p "$2"
mount --bind /mnt "$2"
shift 2
exec "$@"
"""
"""Shows the checkout to users who may not enter the folder that it is in."""


def _reaching_checkout() -> tuple[str, ...]:
    """Return the prefix that shows the checkout to a command in its mounts; mostly empty."""
    closed = [one for one in CHECKOUT.parents if not one.stat().st_mode & 0o001]
    if not closed:
        return ()
    return ("sh", "-c", _SHOW_CHECKOUT, "sh", str(closed[-1]), str(CHECKOUT))


REACHING_CHECKOUT = _reaching_checkout()
"""The prefix that shows the checkout to a command that has mounts of its own; mostly empty."""

AS_NOBODY = (
    *(("unshare", "--mount") if REACHING_CHECKOUT else ()),
    *REACHING_CHECKOUT,
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
)
"""The prefix that runs a command without privileges."""

AS_ROOT_WITHOUT_CAPABILITIES = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
"""The prefix that runs a command as root in a container without capabilities."""


@dataclass(frozen=True)
class Done:
    """The outcome of a command."""

    status: int
    stdout: str
    stderr: str


@dataclass
class Fork:
    """A command that runs in a fork of this process, with files for its output."""

    pid: int
    output: IO[bytes]
    errors: IO[bytes]
    done: Done | None = None

    def wait(self) -> Done:
        """Wait for its end, and return how it ended."""
        if self.done is None:
            _, status = os.waitpid(self.pid, 0)
            texts = []
            for stream in (self.output, self.errors):
                stream.seek(0)
                texts.append(stream.read().decode())
            self.done = Done(os.waitstatus_to_exitcode(status), *texts)
        return self.done

    def is_running(self) -> bool:
        """Return whether it has not ended."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self.done is None and os.waitid(os.P_PID, self.pid, options) is None

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self.done is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


@dataclass(frozen=True)
class Pydsr:
    """Runs the command on a host with a directory of pins.

    Attributes:
        host: whose network namespace.
        bpffs: the directory of pins.
        wrapper: a command that runs the command, such as AS_NOBODY.
        forked: without a wrapper, a command is a fork of this process, which saves starting
            Python and its imports; everything from the command line on is the same.
    """

    host: Host
    bpffs: Path
    wrapper: Sequence[str] = ()
    forked: bool = True

    def command(self, *arguments: str) -> list[str]:
        """Return the command line, without the prefix that enters the namespace."""
        return [*self.wrapper, *PYTHON, "pydsr", "--bpffs", str(self.bpffs), *arguments]

    def __call__(self, *arguments: str) -> Done:
        """Run the command to its end; it must not print a traceback."""
        by_fork = self.forked and not self.wrapper
        done = self.in_fork(*arguments) if by_fork else self._started(*arguments)
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        return done

    def _started(self, *arguments: str) -> Done:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        return Done(process.returncode, output, errors)

    def in_fork(self, *arguments: str, prepare: Callable[[], None] | None = None) -> Done:
        """Run the command to its end in a fork of this process, after ``prepare``."""
        with self.forking(*arguments, prepare=prepare) as fork:
            return fork.wait()

    @contextmanager
    def forking(self, *arguments: str, prepare: Callable[[], None] | None = None) -> Iterator[Fork]:
        """Run it in a fork of this process during the block."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            pid = self.fork(
                *arguments, output=output.fileno(), errors=errors.fileno(), prepare=prepare
            )
            fork = Fork(pid, output, errors)
            try:
                yield fork
            finally:
                fork.kill()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it without waiting."""
        return subprocess.Popen(
            [*self.host.prefix, *self.command(*arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def fork(
        self,
        *arguments: str,
        output: int | None = None,
        errors: int | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> int:
        """Start it in a fork of this process; return the pid.

        Args:
            arguments: the command line.
            output: the descriptor of its stdout; None is nowhere.
            errors: the same of its stderr.
            prepare: called in the fork before anything else.
        """
        _import_everything()
        pid = os.fork()
        if pid:
            return pid
        status: Any = ExitStatus.FAILED
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number, wanted in ((0, nowhere), (1, output), (2, errors)):
                os.dup2(nowhere if wanted is None else wanted, number)
            with os.fdopen(1, "w") as sys.stdout, os.fdopen(2, "w") as sys.stderr:
                netns.setns(self.host.name)
                sys.argv = ["pydsr", "--bpffs", str(self.bpffs), *arguments]
                if prepare is not None:
                    prepare()
                status = _exit_status()
        finally:
            os._exit(status)

    def shell(self, script: str) -> str:
        """Run a shell script in the wrapper; all its commands must succeed."""
        done = subprocess.run(
            [*self.host.prefix, *self.wrapper, "sh", "-e", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            env=environment(),
            check=False,
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = self(*arguments)
        assert done.status == ExitStatus.DONE, (arguments, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed, and return the JSON it prints."""
        return json.loads(self.ok(*arguments, "--json"))

    def state(self) -> tuple[Any, Any]:
        """Return all services and all backends."""
        return self.json("services", "list"), self.json("backends", "list")

    def addresses(self, endpoint: str) -> set[str]:
        """Return the addresses of a service's backends."""
        (service,) = self.json("backends", "list", endpoint)
        return {backend["address"] for backend in service["backends"]}

    def modes(self) -> dict[str, str]:
        """Return the mode of each attached interface."""
        return {each["name"]: each["mode"] for each in self.json("status")["interfaces"]}


@cache
def _import_everything() -> None:
    """Import all of pydsr once, which otherwise every fork would do for itself."""
    for module in pkgutil.walk_packages(pydsr.__path__, "pydsr."):
        if not module.name.rpartition(".")[2].startswith("_"):
            importlib.import_module(module.name)


def _exit_status() -> Any:
    """Run the command in this process, and return its exit status."""
    try:
        main()
    except SystemExit as end:
        return end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    return ExitStatus.FAILED
