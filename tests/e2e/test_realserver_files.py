"""Each kind of files that `pydsr realserver --script` writes, brought to life by its own tool.

The tools run in a clean system that is a backend on a wire with a client.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from pydsr.realserver.standalone import archive
from tests.support.clean_root import CleanRoot, made_root
from tests.support.netns.checked_host import needs
from tests.support.netns.namespaces import eventually
from tests.support.netns.realserver_host import VIP4, VIPS, Backend, made_backend

UNIT = "/etc/systemd/system/pydsr-realserver.service"
SCRIPT = "/usr/local/sbin/pydsr-realserver"
SETTINGS = {
    "net.ipv4.conf.all.arp_ignore": "1",
    "net.ipv4.conf.all.arp_announce": "2",
    "net.ipv4.conf.eth0.rp_filter": "2",
}
ADDRESSES = {f"{VIP4}/32", "fd66::80/128"}

_PYZ = "/root/realserver.pyz"


@dataclass(frozen=True)
class System:
    """A clean system that is a backend's.

    Attributes:
        root: the system, which has the file that needs nothing of pydsr.
        backend: its network, and a client.
    """

    root: CleanRoot
    backend: Backend

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the standalone file with an isolated Python of the distribution."""
        return self.root.attempt("/usr/bin/python3", "-I", _PYZ, *arguments)

    def get_files(self, flavour: str, vips: Sequence[str] = VIPS) -> None:
        """Install the files of a flavour, as this machine's pydsr writes them."""
        arguments = ("setup", *vips, "--interface", "eth0", "--script", flavour)
        done = self.backend.pydsr("realserver", *arguments, "--output", str(self.root.path("/")))
        assert 0 == done.status, done

    def set_sysctls(self) -> None:
        """Apply sysctl.d as the system does when it boots."""
        # Others belong to this machine as well.
        self.root.run("/lib/systemd/systemd-sysctl", "--prefix=/net")

    def settings(self) -> dict[str, str]:
        """Return the relevant sysctls."""
        return {name: self.root.run("sysctl", "-n", name).strip() for name in SETTINGS}

    def has_addresses(self) -> bool:
        """Return whether the loopback has the VIPs and its own addresses only."""
        words = self.root.run("ip", "-oneline", "address", "show", "dev", "lo").split()
        found = {after for word, after in pairwise(words) if "inet" in word}
        return found == {"127.0.0.1/8", "::1/128", *ADDRESSES}

    def assert_set_up(self) -> None:
        """Check that it is a backend, by its own check and on the wire."""
        assert SETTINGS == self.settings()
        assert self.has_addresses()
        assert 0 == self.command("check", *VIPS, "--interface", "eth0").returncode
        assert not any(self.backend.claims(vip) for vip in VIPS)

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        """Run a program in it during the block, with a read-only /sys."""
        # By a /sys that cannot be written they know that no udev will tell of interfaces.
        self.root.run("mount", "-o", "remount,ro", "/sys")
        self.root.run("sh", "-c", f"{' '.join(command)} >/run/log 2>&1 & echo $! >/run/pid")
        try:
            yield
        finally:
            self.root.attempt("sh", "-c", "kill $(cat /run/pid)")

    def log(self) -> str:
        """Return the program's output."""
        return self.root.run("cat", "/run/log")


@pytest.fixture
def system(clean_system: Path, tmp_path: Path) -> Iterator[System]:
    """A clean system with the standalone file and a network; nothing is set up."""
    with made_backend(tmp_path) as backend:
        network = Path("/run/netns", backend.host.name)
        with made_root(clean_system, network) as root:
            root.path(_PYZ).write_bytes(archive())
            backend.host.run("sysctl", "-w", "net.ipv4.conf.eth0.rp_filter=1")
            yield System(root, backend)


def test_one_file_is_enough_on_a_backend_without_pydsr(system: System) -> None:
    assert 5 == system.command("check", *VIPS).returncode
    before = system.backend.snapshot()
    assert 0 == system.command("setup", *VIPS).returncode
    assert 0 == system.command("check", *VIPS).returncode
    assert not any(system.backend.claims(vip) for vip in VIPS)
    assert 0 == system.command("undo", "--all").returncode
    assert before == system.backend.snapshot()


def test_sh_is_a_script_and_a_unit_that_runs_it_at_every_boot(system: System) -> None:
    needs("shellcheck")
    system.get_files("sh")
    subprocess.run(["shellcheck", system.root.path(SCRIPT)], check=True)
    assert "" == system.root.run("systemd-analyze", "verify", "--man=no", UNIT)
    for _ in range(2):
        system.root.run(SCRIPT)
        system.assert_set_up()
    system.root.run("systemctl", "enable", UNIT)
    wanted = "/etc/systemd/system/multi-user.target.wants/pydsr-realserver.service"
    assert UNIT == os.fspath(system.root.path(wanted).readlink())


def test_networkd_adds_the_addresses_of_its_files(system: System) -> None:
    system.get_files("networkd")
    networkd_sets_up(system)


def test_netplan_makes_files_for_networkd_of_its_own(system: System) -> None:
    system.get_files("netplan")
    assert "" == system.root.run("netplan", "generate")
    networkd_sets_up(system)


def networkd_sets_up(system: System) -> None:
    """Let systemd-networkd read its files; it logs a line that it does not understand."""
    system.set_sysctls()
    system.root.run("sh", "-ec", _PREPARE_NETWORKD)
    with system.running("/lib/systemd/systemd-networkd"):
        assert eventually(system.has_addresses), system.log()
        system.assert_set_up()
    assert [] == re.findall(r".*\.network:[0-9]+.*", system.log())


_PREPARE_NETWORKD = """
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif
"""


def test_nmcli_tells_networkmanager_which_keeps_it(system: System) -> None:
    """First a VIP of one IP version, then both, then both again."""
    unmanaged = "[keyfile]\nunmanaged-devices=interface-name:eth0\n"
    system.root.path("/etc/NetworkManager/conf.d/eth0.conf").write_text(unmanaged)
    system.root.run("sh", "-ec", "mkdir -p /run/dbus; dbus-daemon --system --fork")
    with system.running("NetworkManager", "--no-daemon"):
        assert eventually(lambda: system.root.attempt("nmcli", "general").returncode == 0)
        for vips in ([VIP4], VIPS, VIPS):
            system.get_files("nmcli", vips)
            subprocess.run(["shellcheck", system.root.path(SCRIPT)], check=True)
            system.root.run(SCRIPT)
        assert eventually(system.has_addresses)
        system.assert_set_up()
        kept = "/etc/NetworkManager/system-connections/pydsr-realserver.nmconnection"
        assert f"address1={VIP4}/32" in system.root.run("cat", kept)


def test_ansible_brings_the_files_and_finds_nothing_to_change_then(tmp_path: Path) -> None:
    """Ansible is this machine's, with other directories mounted where the files belong."""
    with made_backend(tmp_path / "records") as backend:
        backend.host.run("sysctl", "-w", "net.ipv4.conf.eth0.rp_filter=1")
        arguments = ("setup", *VIPS, "--interface", "eth0")
        playbook = backend.pydsr("realserver", *arguments, "--script", "ansible").stdout
        (tmp_path / "playbook.yaml").write_text(playbook)
        ansible = shlex.join(_ANSIBLE)
        script = "; ".join([*(f"mount -t tmpfs tmpfs {place}" for place in _PLACES), ansible])
        done = subprocess.run(
            [*backend.host.prefix, "unshare", "--mount", "sh", "-ec", f"{script}; {ansible}"],
            cwd=tmp_path,
            env=os.environ | _ANSIBLE_VARIABLES | {"ANSIBLE_HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert 0 == done.returncode, done.stdout
        assert ["4", "0"] == re.findall(r"changed=([0-9]+)", done.stdout)
        backend.did("check", *VIPS, "--interface", "eth0")


_PLACES = ("/etc/sysctl.d", "/etc/systemd/system", "/usr/local/sbin", "/run/systemd")
_ANSIBLE = (
    *(str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"),
    *("-e", "ansible_become=false", "playbook.yaml"),
)
_ANSIBLE_VARIABLES = {
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    "ANSIBLE_PIPELINING": "true",
    "SYSTEMD_OFFLINE": "1",
}
