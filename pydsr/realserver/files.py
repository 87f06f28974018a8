"""Files that keep a backend set up across reboots, for each way to configure a network. Pure.

All of them use sysctl.d for the sysctls. systemd applies it before any network comes up
(systemd-sysctl.service is part of sysinit.target), and an interface's own settings again when the
interface appears: so they are set before the address is added.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from pydsr import __version__
from pydsr.model.errors import InputError
from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH
from pydsr.realserver.steps import SetSysctl, add_address, create_dummy, set_link
from pydsr.realserver.values import EVERY_INTERFACE, LOOPBACK, Assigned, BackendSpec

_NAME = "pydsr-realserver"
_SCRIPT = f"/usr/local/sbin/{_NAME}"
_UNIT = f"/etc/systemd/system/{_NAME}.service"


@dataclass(frozen=True)
class File:
    """A file for a backend, with its absolute path and permissions."""

    path: str
    text: str
    mode: int = 0o644


def files(spec: BackendSpec, flavour: str) -> list[File]:
    """Return the files of a flavour for a backend."""
    if flavour not in FLAVOURS:
        raise InputError(f"there is no script for {flavour!r}", f"choose of {', '.join(FLAVOURS)}")
    return FLAVOURS[flavour](spec)


def as_stream(generated: list[File]) -> str:
    """Return files as one text, each after a line with its path."""
    return "\n".join(
        f"# ---- {file.path} (mode {file.mode:04o}) ----\n{file.text}" for file in generated
    )


def _header(spec: BackendSpec) -> str:
    vips = ", ".join(map(str, spec.vips))
    return f"# Backend of {vips} by Direct Server Return. Made by pydsr {__version__}.\n"


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _settings(spec: BackendSpec) -> list[SetSysctl]:
    settings = []
    if spec.of(4):
        settings = [SetSysctl(rule.setting(EVERY_INTERFACE), rule.wanted) for rule in ARP_RULES]
        settings += [
            SetSysctl(REVERSE_PATH.setting(name), REVERSE_PATH.wanted) for name in spec.interfaces
        ]
    return settings


def _sysctl_d(spec: BackendSpec) -> list[File]:
    lines = [f"{each.setting} = {each.value}" for each in _settings(spec)]
    text = _header(spec) + _lines(lines)
    return [File(f"/etc/sysctl.d/90-{_NAME}.conf", text)] if lines else []


def _sh(spec: BackendSpec) -> list[File]:
    lines = []
    for each in _settings(spec):
        # An interface may appear later; sysctl.d sets it then.
        guard = f"[ ! -e /proc/sys/{each.setting.path} ] || "
        is_own = each.setting.interface != EVERY_INTERFACE
        lines.append((guard if is_own else "") + each.command)
    if spec.device != LOOPBACK:
        make = create_dummy(spec.device).command
        lines.append("modprobe -q dummy numdummies=0 || :")
        lines.append(f"ip link show dev {spec.device} >/dev/null 2>&1 || {make}")
    lines.append(set_link(spec.device, "up").command)
    lines += [add_address(vip, spec.device, "replace").command for vip in spec.vips]
    script = f"""\
#!/bin/sh
{_header(spec)}\
# It can run at any time, and changes only what is wrong. To run it at every boot:
# systemctl enable {_NAME}.service
set -eu
PATH=$PATH:/usr/sbin:/sbin
{_lines(lines)}"""
    unit = f"""\
{_header(spec)}
[Unit]
Description=Virtual IPs of a Direct Server Return backend
DefaultDependencies=no
Conflicts=shutdown.target
After=local-fs.target systemd-sysctl.service
Wants=network-pre.target
Before=network-pre.target shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={_SCRIPT}

[Install]
WantedBy=multi-user.target
"""
    return [*_sysctl_d(spec), File(_SCRIPT, script, 0o755), File(_UNIT, unit)]


def _networkd(spec: BackendSpec) -> list[File]:
    generated = _sysctl_d(spec)
    base = f"/etc/systemd/network/90-{_NAME}"
    if spec.device != LOOPBACK:
        netdev = f"{_header(spec)}\n[NetDev]\nName={spec.device}\nKind=dummy\n"
        generated.append(File(f"{base}.netdev", netdev))
    effect = "# To take effect now: sysctl --system && networkctl reload\n"
    sections = [f"[Match]\nName={spec.device}\n", "[Network]\nLinkLocalAddressing=no\n"]
    for vip in spec.vips:
        section = f"[Address]\nAddress={Assigned.alone(vip)}\n"
        if vip.version == 6:
            section += "DuplicateAddressDetection=none\nPreferredLifetime=0\nAddPrefixRoute=no\n"
        sections.append(section)
    generated.append(File(f"{base}.network", "\n".join((_header(spec) + effect, *sections))))
    return generated


def _netplan(spec: BackendSpec) -> list[File]:
    kind = "ethernets" if spec.device == LOOPBACK else "dummy-devices"
    lines = [
        _header(spec).rstrip(),
        "# To take effect now: sysctl --system && netplan apply",
        *(["# Dummies need netplan 1.0 or newer."] if kind == "dummy-devices" else []),
        "network:",
        "  version: 2",
        f"  {kind}:",
        f"    {spec.device}:",
        "      renderer: networkd",  # NetworkManager cannot deprecate an address
        "      link-local: []",
        "      addresses:",
    ]
    for vip in spec.vips:
        lines.append(f'        - "{Assigned.alone(vip)}"' + (":" if vip.version == 6 else ""))
        if vip.version == 6:
            lines.append("            lifetime: 0")
    return [*_sysctl_d(spec), File(f"/etc/netplan/90-{_NAME}.yaml", _lines(lines), 0o600)]


def _nmcli(spec: BackendSpec) -> list[File]:
    # A loopback cannot have an IP version disabled.
    kind, none = ("loopback", "auto") if spec.device == LOOPBACK else ("dummy", "disabled")
    settings = [f"sysctl -q -e -p {file.path}" for file in _sysctl_d(spec)]
    options = []
    for version in (4, 6):
        prefixes = ",".join(str(Assigned.alone(vip)) for vip in spec.of(version))
        method = "manual" if prefixes else none
        options.append(f"ipv{version}.method {method} ipv{version}.addresses '{prefixes}'")
    script = f"""\
#!/bin/sh
{_header(spec)}\
# Run it once: NetworkManager stores the connection. Running it again does no harm.
set -eu
{_lines(settings)}\
set -- {options[0]} \\
	{options[1]}
if nmcli connection show {_NAME} >/dev/null 2>&1; then
	nmcli connection modify {_NAME} "$@"
else
	nmcli connection add type {kind} con-name {_NAME} ifname {spec.device} "$@"
fi
nmcli connection up {_NAME}
"""
    return [*_sysctl_d(spec), File(_SCRIPT, script, 0o755)]


def _ansible(spec: BackendSpec) -> list[File]:
    """Return a playbook that installs the files of ``sh`` and runs them."""
    tasks = [
        f"    - name: Install {file.path}\n"
        "      ansible.builtin.copy:\n"
        f"        dest: {file.path}\n"
        f'        mode: "{file.mode:04o}"\n'
        "        content: |\n" + textwrap.indent(file.text, " " * 10)
        for file in _sh(spec)
    ]
    playbook = f"""\
{_header(spec)}\
# ansible-playbook -i INVENTORY realserver.yaml
- name: Set up backends of Direct Server Return
  hosts: all
  gather_facts: false
  become: true
  tasks:
{"".join(tasks)}\
    - name: Apply it now
      ansible.builtin.command: {_SCRIPT}
      changed_when: false
    - name: Apply it at every boot
      ansible.builtin.systemd_service:
        name: {_NAME}.service
        enabled: true
        daemon_reload: true
"""
    return [File("realserver.yaml", playbook)]


FLAVOURS: dict[str, Callable[[BackendSpec], list[File]]] = {
    "sh": _sh,
    "networkd": _networkd,
    "netplan": _netplan,
    "nmcli": _nmcli,
    "ansible": _ansible,
}
"""The functions that make the files, by flavour."""
