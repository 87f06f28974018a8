"""Files that keep a backend set up over reboots, for each way of setting up a network. Pure.

All of them bring the sysctls by sysctl.d, which systemd reads before any network comes up
(systemd-sysctl.service is part of sysinit.target), and for an interface's own again when the
interface appears: so they hold before the address is there.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from pydsr import __version__
from pydsr.model.errors import InputError
from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH
from pydsr.realserver.steps import SetSysctl, add_address, make_dummy, set_link
from pydsr.realserver.values import EVERY_INTERFACE, LOOPBACK, Assigned, Wish

_NAME = "pydsr-realserver"
_SCRIPT = f"/usr/local/sbin/{_NAME}"
_UNIT = f"/etc/systemd/system/{_NAME}.service"


@dataclass(frozen=True)
class File:
    """A file of a backend.

    Attributes:
        path: where it belongs.
        text: what is in it; the first line is a comment or an interpreter.
        mode: its permissions.
    """

    path: str
    text: str
    mode: int = 0o644


def files(wish: Wish, flavour: str) -> list[File]:
    """Return what has to be on a backend.

    Args:
        wish: what the backend is to be.
        flavour: one of ``FLAVOURS``.

    Raises:
        InputError: there is no such flavour.
    """
    if flavour not in FLAVOURS:
        raise InputError(f"there is no script for {flavour!r}", f"choose of {', '.join(FLAVOURS)}")
    return FLAVOURS[flavour](wish)


def as_stream(made: list[File]) -> str:
    """Return files as one text, each after its name."""
    return "\n".join(
        f"# ---- {file.path} (mode {file.mode:04o}) ----\n{file.text}" for file in made
    )


def _header(wish: Wish) -> str:
    vips = ", ".join(map(str, wish.vips))
    return f"# Backend of {vips} by Direct Server Return. Made by pydsr {__version__}.\n"


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _settings(wish: Wish) -> list[SetSysctl]:
    settings = []
    if wish.of(4):
        settings = [SetSysctl(rule.setting(EVERY_INTERFACE), rule.wanted) for rule in ARP_RULES]
        settings += [
            SetSysctl(REVERSE_PATH.setting(name), REVERSE_PATH.wanted) for name in wish.interfaces
        ]
    return settings


def _sysctl_d(wish: Wish) -> list[File]:
    """Return the file of sysctls, if there are any."""
    lines = [f"{each.setting} = {each.value}" for each in _settings(wish)]
    text = _header(wish) + _lines(lines)
    return [File(f"/etc/sysctl.d/90-{_NAME}.conf", text)] if lines else []


def _sh(wish: Wish) -> list[File]:
    lines = []
    for each in _settings(wish):
        # An interface may come later; sysctl.d has its setting then.
        guard = f"[ ! -e /proc/sys/{each.setting.path} ] || "
        is_own = each.setting.interface != EVERY_INTERFACE
        lines.append((guard if is_own else "") + each.command)
    if wish.device != LOOPBACK:
        make = make_dummy(wish.device).command
        lines.append("modprobe -q dummy numdummies=0 || :")
        lines.append(f"ip link show dev {wish.device} >/dev/null 2>&1 || {make}")
    lines.append(set_link(wish.device, "up").command)
    lines += [add_address(vip, wish.device, "replace").command for vip in wish.vips]
    script = f"""\
#!/bin/sh
{_header(wish)}\
# It may run at any time, and changes what is not as it has to be. At every boot:
# systemctl enable {_NAME}.service
set -eu
PATH=$PATH:/usr/sbin:/sbin
{_lines(lines)}"""
    unit = f"""\
{_header(wish)}
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
    return [*_sysctl_d(wish), File(_SCRIPT, script, 0o755), File(_UNIT, unit)]


def _networkd(wish: Wish) -> list[File]:
    made = _sysctl_d(wish)
    base = f"/etc/systemd/network/90-{_NAME}"
    if wish.device != LOOPBACK:
        netdev = f"{_header(wish)}\n[NetDev]\nName={wish.device}\nKind=dummy\n"
        made.append(File(f"{base}.netdev", netdev))
    effect = "# To take effect now: sysctl --system && networkctl reload\n"
    sections = [f"[Match]\nName={wish.device}\n", "[Network]\nLinkLocalAddressing=no\n"]
    for vip in wish.vips:
        section = f"[Address]\nAddress={Assigned.alone(vip)}\n"
        if vip.version == 6:
            section += "DuplicateAddressDetection=none\nPreferredLifetime=0\nAddPrefixRoute=no\n"
        sections.append(section)
    made.append(File(f"{base}.network", "\n".join((_header(wish) + effect, *sections))))
    return made


def _netplan(wish: Wish) -> list[File]:
    kind = "ethernets" if wish.device == LOOPBACK else "dummy-devices"
    lines = [
        _header(wish).rstrip(),
        "# To take effect now: sysctl --system && netplan apply",
        *(["# Dummies take netplan 1.0 or newer."] if kind == "dummy-devices" else []),
        "network:",
        "  version: 2",
        f"  {kind}:",
        f"    {wish.device}:",
        "      renderer: networkd",  # NetworkManager cannot deprecate an address
        "      link-local: []",
        "      addresses:",
    ]
    for vip in wish.vips:
        lines.append(f'        - "{Assigned.alone(vip)}"' + (":" if vip.version == 6 else ""))
        if vip.version == 6:
            lines.append("            lifetime: 0")
    return [*_sysctl_d(wish), File(f"/etc/netplan/90-{_NAME}.yaml", _lines(lines), 0o600)]


def _nmcli(wish: Wish) -> list[File]:
    # A loopback cannot be without an IP version.
    kind, none = ("loopback", "auto") if wish.device == LOOPBACK else ("dummy", "disabled")
    settings = [f"sysctl -q -e -p {file.path}" for file in _sysctl_d(wish)]
    options = []
    for version in (4, 6):
        prefixes = ",".join(str(Assigned.alone(vip)) for vip in wish.of(version))
        method = "manual" if prefixes else none
        options.append(f"ipv{version}.method {method} ipv{version}.addresses '{prefixes}'")
    script = f"""\
#!/bin/sh
{_header(wish)}\
# Run it once: NetworkManager keeps what it is told. It may run again.
set -eu
{_lines(settings)}\
set -- {options[0]} \\
	{options[1]}
if nmcli connection show {_NAME} >/dev/null 2>&1; then
	nmcli connection modify {_NAME} "$@"
else
	nmcli connection add type {kind} con-name {_NAME} ifname {wish.device} "$@"
fi
nmcli connection up {_NAME}
"""
    return [*_sysctl_d(wish), File(_SCRIPT, script, 0o755)]


def _ansible(wish: Wish) -> list[File]:
    """Return a playbook that brings the files of ``sh`` and has them take effect."""
    tasks = [
        f"    - name: Keep {file.path}\n"
        "      ansible.builtin.copy:\n"
        f"        dest: {file.path}\n"
        f'        mode: "{file.mode:04o}"\n'
        "        content: |\n" + textwrap.indent(file.text, " " * 10)
        for file in _sh(wish)
    ]
    playbook = f"""\
{_header(wish)}\
# ansible-playbook -i INVENTORY realserver.yaml
- name: Set up backends of Direct Server Return
  hosts: all
  gather_facts: false
  become: true
  tasks:
{"".join(tasks)}\
    - name: Have that take effect now
      ansible.builtin.command: {_SCRIPT}
      changed_when: false
    - name: Do so at every boot
      ansible.builtin.systemd_service:
        name: {_NAME}.service
        enabled: true
        daemon_reload: true
"""
    return [File("realserver.yaml", playbook)]


FLAVOURS: dict[str, Callable[[Wish], list[File]]] = {
    "sh": _sh,
    "networkd": _networkd,
    "netplan": _netplan,
    "nmcli": _nmcli,
    "ansible": _ansible,
}
"""What makes the files, by the name of the flavour."""
