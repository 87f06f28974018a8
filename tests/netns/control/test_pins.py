"""The directory of pins: where it may be, who may use it, and what another version left there."""

from __future__ import annotations

import shlex
from ctypes import c_uint32
from dataclasses import replace
from pathlib import Path

import pytest

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.layout import SettingsValue
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import AS_NOBODY, AS_ROOT_WITHOUT_CAPABILITIES, Pydsr
from tests.support.netns.namespaces import BACKENDS, Host, new_name
from tests.support.umask import each_umask, mode_of, under_umask

SERVICE, VIP = "10.66.0.80:80", "10.66.0.80"
COMMANDS = (
    ("attach", "eth0"),
    ("detach", "eth0"),
    ("status",),
    ("services", "list"),
    ("services", "add", "10.66.0.81:80"),
    ("services", "remove", SERVICE),
    ("backends", "list"),
    ("backends", "set", SERVICE, BACKENDS[1]),
    ("backends", "remove", SERVICE, BACKENDS[0]),
    ("stats",),
    ("top", "--once"),
    ("explain", SERVICE, "--from", "10.66.0.2:40000"),
)


def set_layout_version(bpffs: Path, version: int) -> None:
    """Make pins look like those of another version of pydsr."""
    value = SettingsValue()
    with libbpf.open_pin(bpffs / "settings") as fd:
        libbpf.map_lookup(fd, c_uint32(0), value)
        value.layout_version = version
        libbpf.map_update(fd, c_uint32(0), value)


def load_other() -> libbpf.Descriptor:
    """Load a program that is none of pydsr's."""
    flags = libbpf.PROG_FLAG_XDP_HAS_FRAGS
    return libbpf.program_load("other", libbpf.RETURN_XDP_PASS, flags, "GPL")


def raw_settings(bpffs: Path) -> bytes:
    """Return the bytes of the settings."""
    value = SettingsValue()
    with libbpf.open_pin(bpffs / "settings") as fd:
        libbpf.map_lookup(fd, c_uint32(0), value)
    return bytes(value)


# -- where it may be


@pytest.mark.parametrize(
    ("directory", "word"),
    [
        ("/run/pydsr-test-pins", "BPF file system"),
        ("/proc/pydsr-test", "BPF file system"),
        ("/sys/fs/bpf/pydsr-test.d", "dots"),
        ("/sys/fs/bpf/pydsr.test/d", "dots"),
    ],
)
def test_a_directory_that_cannot_hold_pins_is_refused(lb: Host, directory: str, word: str) -> None:
    """The message says why, and nothing is made there or attached."""
    done = Pydsr(lb, Path(directory))("attach", "eth0")
    assert done.status == ExitStatus.BAD_INPUT
    assert word in done.stderr
    assert "--bpffs" in done.stderr or "mount" in done.stderr
    assert not Path("/run/pydsr-test-pins").exists()
    assert lb.xdp_program("eth0") is None


@pytest.mark.parametrize("directory", ["/run/pydsr-test-pins", "/sys/fs/bpf/pydsr-test.d"])
def test_reading_where_no_pins_can_be_does_not_blame_privilege(lb: Host, directory: str) -> None:
    """Root is not told to become root."""
    done = Pydsr(lb, Path(directory))("status")
    assert done.status in (ExitStatus.FAILED, ExitStatus.BAD_INPUT)
    assert "run as root" not in done.stderr


def test_a_directory_may_be_deep(pydsr: Pydsr, bpffs: Path) -> None:
    """Missing parents are made."""
    deep = Pydsr(pydsr.host, bpffs / "one" / "two")
    deep.ok("attach", "eth0")
    assert deep.modes() == {"eth0": "native"}
    deep.ok("detach", "--all", "--purge")
    assert not deep.bpffs.exists()


@each_umask
def test_the_directory_is_roots_alone(pydsr: Pydsr, bpffs: Path, umask: int) -> None:
    """Nobody else may look at the pins, nor rename their parents."""
    directory = bpffs / "parent" / "pins"
    with under_umask(umask):
        nested = replace(pydsr, bpffs=directory)
        nested.ok("attach", "eth0", "--table-size", "251")
        nested.ok("backends", "set", SERVICE, f"{BACKENDS[0]}@02:00:00:00:00:01")
    assert nested.modes() == {"eth0": "native"}
    assert [0o755 & ~umask] * 2 == [mode_of(directory.parent), mode_of(bpffs)]
    folders = [directory, directory / "links"]
    assert folders == [path for path in (directory, *directory.iterdir()) if path.is_dir()]
    assert {0o700} == {mode_of(folder) for folder in folders}
    pins = [path for folder in folders for path in folder.iterdir() if not path.is_dir()]
    assert {0o600 & ~umask} == {mode_of(pin) for pin in pins}
    assert len(pins) > 10


def test_a_missing_bpf_file_system_is_mounted(pydsr: Pydsr) -> None:
    """Where no BPF file system is mounted at its usual place, attach mounts one."""
    fresh = Pydsr(pydsr.host, Path("/sys/fs/bpf") / new_name())
    commands = [shlex.join(fresh.command(*one)) for one in (COMMANDS[0], COMMANDS[2])]
    script = "; ".join(["umount --lazy /sys/fs/bpf", *commands, "findmnt -n /sys/fs/bpf"])
    done = replace(pydsr, wrapper=("unshare", "--mount")).shell(script)
    assert "eth0: attached, native mode" in done
    assert "no interface" not in done
    assert "/sys/fs/bpf bpf" in " ".join(done.split())
    assert not fresh.bpffs.exists(), "it was mounted in the test's own mount namespace"


# -- who may use it


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_privilege_commands_say_so(balancer: Pydsr, command: tuple[str, ...]) -> None:
    """A plain user is told what is not permitted and what to do, whatever the command."""
    done = replace(balancer, wrapper=AS_NOBODY)(*command)
    assert done.status == ExitStatus.CANNOT
    assert "permitted" in done.stderr
    assert "run as root" in done.stderr
    assert "Errno" not in done.stderr


@pytest.mark.parametrize(
    "command", [("attach", "eth0"), ("backends", "set", SERVICE, BACKENDS[0])], ids=lambda c: c[0]
)
def test_root_without_capabilities_is_told_so(balancer: Pydsr, command: tuple[str, ...]) -> None:
    """Root in a container may lack what is needed: that is no traceback either."""
    state = balancer.state()
    balancer.host.run("ip", "neigh", "flush", "all")
    done = replace(balancer, wrapper=AS_ROOT_WITHOUT_CAPABILITIES)(*command)
    assert done.status == ExitStatus.CANNOT
    assert "permitted" in done.stderr
    assert balancer.state() == state


# -- what another version, or an accident, left


def test_the_state_of_another_version_is_refused_with_advice(
    balancer: Pydsr, bpffs: Path, peer: Host
) -> None:
    """Every command says which layouts differ and what to do, and touches nothing."""
    balancer.ok("services", "add", SERVICE)
    set_layout_version(bpffs, 99)
    settings, program = raw_settings(bpffs), balancer.host.xdp_program("eth0")
    for command in COMMANDS:
        if command[0] != "detach":
            done = balancer(*command)
            assert done.status == ExitStatus.CANNOT, command
            assert "layout 99" in done.stderr
            assert "pydsr detach --all --purge" in done.stderr
    assert raw_settings(bpffs) == settings
    assert balancer.host.xdp_program("eth0") == program
    assert peer.pings(VIP)


def test_the_state_of_another_version_can_be_removed(
    balancer: Pydsr, bpffs: Path, lb: Host
) -> None:
    """The advice works: after detach --all --purge attach starts anew."""
    set_layout_version(bpffs, 99)
    balancer.ok("detach", "--all", "--purge")
    assert not bpffs.exists()
    assert lb.xdp_program("eth0") is None
    balancer.ok("attach", "eth0")


@pytest.mark.parametrize("name", ["backends", "interfaces"])
def test_a_missing_pin_is_named_and_the_advice_works(
    balancer: Pydsr, bpffs: Path, lb: Host, name: str
) -> None:
    """A pin that somebody removed is no traceback, and does not keep from starting anew."""
    balancer.ok("services", "add", SERVICE)
    (bpffs / name).unlink()
    done = balancer("explain", SERVICE, "--from", "10.66.0.2:40000")
    assert done.status in (ExitStatus.CANNOT, ExitStatus.FAILED)
    assert name in done.stderr
    balancer.ok("detach", "--all", "--purge")
    assert lb.xdp_program("eth0") is None
    balancer.ok("attach", "eth0")


def test_an_upgrade_removes_the_pinned_program_of_earlier_versions(
    balancer: Pydsr, bpffs: Path
) -> None:
    """They pinned the program for traces, which is now loaded by the command that needs it."""
    with load_other() as program:
        libbpf.pin(program, bpffs / "explain")
    balancer.ok("attach", "eth0")
    assert not (bpffs / "explain").exists()
    balancer.ok("services", "add", SERVICE)
    assert balancer.json("explain", SERVICE, "--from", "10.66.0.2:1")["reason"] == "no_backend"


def test_a_trace_says_that_another_version_attached_the_program(
    balancer: Pydsr, bpffs: Path
) -> None:
    balancer.ok("services", "add", SERVICE)
    question = ("explain", SERVICE, "--from", "10.66.0.2:1")
    assert not balancer(*question).stderr
    (link,) = (bpffs / "links").iterdir()
    with libbpf.open_pin(link) as opened, load_other() as program:
        libbpf.link_update(opened, program)
        done = balancer(*question)
    assert done.status == ExitStatus.DONE
    assert "another version of pydsr attached the program" in done.stderr
    balancer.ok("attach", "--all")
    assert not balancer(*question).stderr
