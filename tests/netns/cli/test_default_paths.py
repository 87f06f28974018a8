"""An ordinary user's commands, with the paths of the machine that nobody named.

Each command runs in mounts of its own, where these paths are absent, for root only, or those of a
running daemon, whatever this machine has there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from pydsr.cli.main import cli
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import REACHING_CHECKOUT, Pydsr
from tests.support.netns.namespaces import Host, made_wire

FILE = Path("/run/balancer.yaml")
SERVICE, BACKEND, VIP = "10.66.0.80:80", "10.66.0.101", "10.66.0.80"
COMMANDS: dict[str, tuple[str, ...]] = {
    "acl allow": (SERVICE, "192.0.2.0/24"),
    "acl deny": ("all", "192.0.2.0/24"),
    "acl list": (),
    "acl remove": ("all", "192.0.2.0/24"),
    "apply": (str(FILE),),
    "attach": ("eth0",),
    "backends add": (SERVICE, BACKEND),
    "backends down": (SERVICE, BACKEND),
    "backends drain": (SERVICE, BACKEND),
    "backends list": (),
    "backends remove": (SERVICE, BACKEND),
    "backends set": (SERVICE, BACKEND),
    "backends undrain": (SERVICE, BACKEND),
    "detach": ("eth0",),
    "diff": (str(FILE),),
    "doctor": ("eth0",),
    "events": (),
    "explain": (SERVICE, "--from", "192.0.2.1:40000"),
    "export": (),
    "exporter": (),
    "health": (),
    "lab demo": (),
    "lab down": (),
    "lab up": (),
    "realserver setup": (VIP,),
    "realserver undo": ("--all",),
    "run": (str(FILE),),
    "services add": (SERVICE,),
    "services list": (),
    "services remove": (SERVICE,),
    "stats": (),
    "status": (),
    "tap": (),
    "tidy": (),
    "top": ("--once",),
    "vips list": (),
    "vips set": (VIP, "--unserved", "pass"),
}
"""Every command that needs a privilege, with the arguments that it needs."""

WITHOUT_PRIVILEGE = {"completion", "realserver check", "realserver standalone", "schema"}

ASKING_THE_DAEMON = {"events", "health"}

BELOW_RUN = {
    *("apply", "diff", "doctor", "events", "exporter", "health", "run", "top"),
    *("lab demo", "lab down", "lab up", "realserver setup", "realserver undo"),
}
"""Commands with a path below /run."""

_CLONE_NEWNS = 0x00020000
_HUNG_SECONDS = 60
_MOUNTS = """\
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t bpf -o mode=700 bpf /sys/fs/bpf
echo 'services: [{endpoint: "10.66.0.80:80", checks: [{type: tcp}]}]' > /run/balancer.yaml
chmod 644 /run/balancer.yaml
"""
_RUNTIME = "/run/pydsr /run/pydsr-lab /run/pydsr-realserver"
_PINS = "/sys/fs/bpf/pydsr /sys/fs/bpf/pydsr/links"
MACHINES = {
    "nothing there": "",
    "for root only": f"mkdir -m 700 {_PINS} {_RUNTIME}",
    "of a daemon": f"mkdir -m 700 {_PINS}; mkdir -m 755 {_RUNTIME}",
}
"""How the paths are made, by what is there."""


def every_command(group: click.Command = cli, prefix: str = "") -> Iterator[str]:
    """Yield the names of all commands, with those of their groups."""
    if not isinstance(group, click.Group):
        yield prefix.strip()
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from every_command(command, f"{prefix} {name}")


def as_user_of(machine: str, *arguments: str) -> Callable[[], None]:
    """Return what makes this process an ordinary user's command on a machine."""

    def prepare() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        script = f"set -e\n{_MOUNTS}{MACHINES[machine]}"
        subprocess.run(["sh", "-c", script], check=True)
        if REACHING_CHECKOUT:
            subprocess.run(REACHING_CHECKOUT, check=True)
        if machine == "of a daemon":
            os.umask(0o177)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind("/run/pydsr/sys-fs-bpf-pydsr.sock")
            listening.listen()
            os.set_inheritable(listening.detach(), False)
        for name in ("PYDSR_RUNTIME_DIRECTORY", "PYDSR_BPFFS"):
            os.environ.pop(name, None)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        sys.argv = ["pydsr", *arguments]
        signal.alarm(_HUNG_SECONDS)

    return prepare


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with an interface to attach."""
    with made_wire() as (made, _):
        yield made


def test_every_command_is_listed() -> None:
    assert set(every_command()) == {*COMMANDS, *WITHOUT_PRIVILEGE}


@pytest.mark.parametrize(
    ("command", "machine"),
    [
        (command, machine)
        for command in COMMANDS
        for machine in MACHINES
        if command in BELOW_RUN or machine == "for root only"
    ],
)
def test_a_command_without_privilege_says_so(host: Host, command: str, machine: str) -> None:
    """Never wrong usage: the user has named no path."""
    words = (*command.split(), *COMMANDS[command])
    done = Pydsr(host, Path("/absent")).in_fork(prepare=as_user_of(machine, *words))
    if command in ASKING_THE_DAEMON and machine == "nothing there":
        assert ExitStatus.FAILED == done.status, done
        assert "no pydsr daemon answers" in done.stderr
        return
    assert ExitStatus.CANNOT == done.status, done
    assert "run as root" in done.stdout + done.stderr
