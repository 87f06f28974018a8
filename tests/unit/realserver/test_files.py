"""The files of `pydsr realserver --script`, parsed by their formats."""

from __future__ import annotations

import json
from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml

from pydsr.model.errors import InputError
from pydsr.realserver import commands
from pydsr.realserver.files import FLAVOURS, File, as_stream, files
from pydsr.realserver.values import BackendSpec
from tests.support.umask import each_umask, mode_of, under_umask

BOTH = BackendSpec.parse(["10.0.0.80", "fd00::80"], interfaces=["eth1.5"])
ON_DUMMY = BackendSpec.parse(["10.0.0.80", "fd00::80"], device="vip0")
FOUR, SIX = BackendSpec.parse(["10.0.0.80"]), BackendSpec.parse(["fd00::80"])

SYSCTL_D = "/etc/sysctl.d/90-pydsr-realserver.conf"
SCRIPT = "/usr/local/sbin/pydsr-realserver"
UNIT = "/etc/systemd/system/pydsr-realserver.service"

every_flavour = pytest.mark.parametrize("flavour", FLAVOURS)


def made(spec: BackendSpec, flavour: str) -> dict[str, File]:
    return {file.path: file for file in files(spec, flavour)}


def code(file: File) -> list[str]:
    """Return the lines that are not comments."""
    return [line for line in file.text.splitlines() if line and not line.startswith("#")]


@every_flavour
def test_every_flavour_brings_the_sysctls_for_all_boots(flavour: str) -> None:
    wanted = [
        "net.ipv4.conf.all.arp_ignore = 1",
        "net.ipv4.conf.all.arp_announce = 2",
        "net/ipv4/conf/eth1.5/rp_filter = 2",
    ]
    found = made(BOTH, flavour)
    if flavour == "ansible":
        for line in wanted:
            assert line in found["realserver.yaml"].text
    else:
        assert wanted == code(found[SYSCTL_D])


@every_flavour
def test_ipv6_alone_takes_no_sysctls(flavour: str) -> None:
    found = made(SIX, flavour)
    assert SYSCTL_D not in found
    assert all("sysctl.d" not in file.text for file in found.values())


@every_flavour
@pytest.mark.parametrize("spec", [BOTH, ON_DUMMY, FOUR, SIX])
def test_every_file_says_whose_it_is_and_ends_with_a_line(flavour: str, spec: BackendSpec) -> None:
    for file in made(spec, flavour).values():
        assert "by Direct Server Return. Made by pydsr " in file.text
        assert file.text.endswith("\n")
        assert not file.text.endswith("\n\n")
        assert file.text.isascii()


def test_sh_sets_sysctls_before_the_device_and_that_before_the_addresses() -> None:
    found = made(BOTH, "sh")
    guard = "[ ! -e /proc/sys/net/ipv4/conf/eth1.5/rp_filter ] || "
    assert [
        "set -eu",
        "PATH=$PATH:/usr/sbin:/sbin",
        "sysctl -w net.ipv4.conf.all.arp_ignore=1",
        "sysctl -w net.ipv4.conf.all.arp_announce=2",
        f"{guard}sysctl -w net/ipv4/conf/eth1.5/rp_filter=2",
        "ip link set lo up",
        "ip address replace 10.0.0.80/32 dev lo",
        "ip address replace fd00::80/128 dev lo nodad noprefixroute preferred_lft 0",
    ] == code(found[SCRIPT])
    assert 0o755 == found[SCRIPT].mode
    assert found[SCRIPT].text.startswith("#!/bin/sh\n")


def test_sh_makes_a_dummy_only_where_there_is_none() -> None:
    assert [
        "modprobe -q dummy numdummies=0 || :",
        "ip link show dev vip0 >/dev/null 2>&1 || ip link add vip0 type dummy",
        "ip link set vip0 up",
    ] == code(made(ON_DUMMY, "sh")[SCRIPT])[4:7]


def test_the_unit_of_sh_runs_its_script_after_sysctls_and_before_the_network() -> None:
    unit = RawConfigParser()
    unit.read_string(made(BOTH, "sh")[UNIT].text)
    assert SCRIPT == unit["Service"]["ExecStart"]
    assert "systemd-sysctl.service" in unit["Unit"]["After"].split()
    assert "network-pre.target" in unit["Unit"]["Before"].split()


def test_networkd_has_a_section_for_every_address() -> None:
    (network,) = (file for path, file in made(BOTH, "networkd").items() if ".network" in path)
    assert [
        *("[Match]", "Name=lo", "[Network]", "LinkLocalAddressing=no"),
        *("[Address]", "Address=10.0.0.80/32"),
        *("[Address]", "Address=fd00::80/128"),
        *("DuplicateAddressDetection=none", "PreferredLifetime=0", "AddPrefixRoute=no"),
    ] == code(network)


def test_networkd_makes_a_dummy() -> None:
    found = made(ON_DUMMY, "networkd")
    netdev = found["/etc/systemd/network/90-pydsr-realserver.netdev"]
    assert ["[NetDev]", "Name=vip0", "Kind=dummy"] == code(netdev)
    assert "Name=vip0" in code(found["/etc/systemd/network/90-pydsr-realserver.network"])


@pytest.mark.parametrize(
    ("spec", "kind", "device"), [(BOTH, "ethernets", "lo"), (ON_DUMMY, "dummy-devices", "vip0")]
)
def test_netplan_has_the_addresses_for_its_own_eyes(
    spec: BackendSpec, kind: str, device: str
) -> None:
    file = made(spec, "netplan")["/etc/netplan/90-pydsr-realserver.yaml"]
    assert 0o600 == file.mode
    settings = {
        "renderer": "networkd",
        "link-local": [],
        "addresses": ["10.0.0.80/32", {"fd00::80/128": {"lifetime": 0}}],
    }
    assert {"network": {"version": 2, kind: {device: settings}}} == yaml.safe_load(file.text)


@pytest.mark.parametrize(
    ("spec", "kind", "other"),
    [
        (FOUR, "add type loopback", "ipv6.method auto ipv6.addresses ''"),
        (SIX, "add type loopback", "ipv4.method auto ipv4.addresses ''"),
        (
            BackendSpec.parse(["10.0.0.80"], device="vip0"),
            "add type dummy",
            "ipv6.method disabled ipv6.addresses ''",
        ),
    ],
)
def test_nmcli_leaves_the_other_ip_version_alone(spec: BackendSpec, kind: str, other: str) -> None:
    text = made(spec, "nmcli")[SCRIPT].text
    assert kind in text
    assert other in text


def test_the_playbook_has_the_files_of_sh_and_no_others() -> None:
    (play,) = yaml.safe_load(made(BOTH, "ansible")["realserver.yaml"].text)
    copied = [task["ansible.builtin.copy"] for task in play["tasks"][:3]]
    assert [
        {"dest": file.path, "mode": f"{file.mode:04o}", "content": file.text}
        for file in files(BOTH, "sh")
    ] == copied


@every_flavour
def test_a_stream_has_all_files_after_their_names(flavour: str) -> None:
    stream = as_stream(files(BOTH, flavour))
    for path, file in made(BOTH, flavour).items():
        assert f"# ---- {path} (mode {file.mode:04o}) ----\n{file.text}" in stream


@every_flavour
def test_files_are_written_below_a_directory_with_their_modes(flavour: str, tmp_path: Path) -> None:
    said = commands.make_files(BOTH, flavour, directory=tmp_path)
    for path, file in made(BOTH, flavour).items():
        written = tmp_path / path.lstrip("/")
        assert (file.text, file.mode) == (written.read_text(), written.stat().st_mode & 0o777)
        assert str(written) in said.messages


@each_umask
@every_flavour
def test_written_files_and_their_folders_have_their_modes_whatever_the_umask(
    flavour: str, umask: int, tmp_path: Path
) -> None:
    """Services that are not root's read them: systemd-networkd for one."""
    with under_umask(umask):
        commands.make_files(BOTH, flavour, directory=tmp_path / "files")
    for path, file in made(BOTH, flavour).items():
        written = tmp_path / "files" / path.lstrip("/")
        assert file.mode == mode_of(written)
        for folder in written.relative_to(tmp_path / "files").parents[:-1]:
            assert 0o755 == mode_of(tmp_path / "files" / folder)


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc").chmod(0o700)
    commands.make_files(BOTH, "networkd", directory=tmp_path)
    assert 0o700 == mode_of(tmp_path / "etc")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*: Not a directory"):
        commands.make_files(BOTH, "networkd", directory=tmp_path)


def test_files_are_values_in_json() -> None:
    document = json.loads(commands.make_files(FOUR, "sh", as_json=True).output)
    assert [SYSCTL_D, SCRIPT, UNIT] == [file["path"] for file in document["files"]]
