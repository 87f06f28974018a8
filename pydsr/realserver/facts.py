"""Reads a backend's network: links and addresses by ``ip -json``, sysctls by /proc/sys."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError
from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH
from pydsr.realserver.values import EVERY_INTERFACE, Address, Assigned, Facts, Interface, Setting

_PROC_SYS = Path("/proc/sys")
_QUIET = {"LOOPBACK", "NOARP"}
_OUTSIDE = "192.0.2.1"
"""An address behind routers: of documentation, so nobody's (RFC 5737)."""

_FAMILIES = {"inet", "inet6"}
_SECONDS = 30


def environment() -> dict[str, str]:
    """Return the environment of commands: with the directories of the system's, in English."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}


def run_ip(arguments: Iterable[str]) -> str:
    """Run ``ip`` and return what it prints.

    Raises:
        PermissionDeniedError: not privileged.
        EnvironmentCannotError: the kernel cannot, or there is no ``ip``.
    """
    done = run_program("ip", *arguments)
    if done is None:
        raise EnvironmentCannotError("there is no `ip` command here", "install iproute2")
    if done.returncode == 0:
        return done.stdout
    command = " ".join(("ip", *arguments))
    reason = done.stderr.strip().rpartition("\n")[2] or f"it ends with {done.returncode}"
    if "Operation not permitted" in reason:
        raise PermissionDeniedError(f"`{command}` is not permitted", "run as root (sudo)")
    raise EnvironmentCannotError(f"`{command}` fails: {reason}")


def run_program(program: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program to its end, whatever that is; None where it is not installed."""
    variables = environment()
    path = shutil.which(program, path=variables["PATH"])
    if path is None:
        return None
    return subprocess.run(
        [path, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env=variables,
    )


def read_facts() -> Facts:
    """Read what there is.

    Raises:
        EnvironmentCannotError: it cannot be read.
    """
    interfaces = {
        found["ifname"]: _interface(found)
        # An interface that goes away meanwhile leaves an empty object.
        for found in json.loads(run_ip(("-json", "address", "show")))
        if found
    }
    settings = read_settings(_settings_of(interfaces))
    facts = Facts(interfaces, settings)
    return Facts(interfaces, settings, _refusing(facts), _dropping_chains())


def read_settings(settings: Iterable[Setting]) -> dict[Setting, int]:
    """Return the values of those settings that there are."""
    values = {setting: _read(setting) for setting in settings}
    return {setting: value for setting, value in values.items() if value is not None}


def write_setting(setting: Setting, value: int) -> None:
    """Give a setting a value.

    Raises:
        PermissionDeniedError: not privileged.
        EnvironmentCannotError: the kernel does not have it, or /proc/sys is not to be written.
    """
    path = _PROC_SYS / setting.path
    try:
        path.write_text(f"{value}\n", encoding="ascii")
    except PermissionError:
        raise PermissionDeniedError(
            f"setting {setting} is not permitted", "run as root (sudo)"
        ) from None
    except OSError as error:
        raise EnvironmentCannotError(
            f"{setting} cannot be set: {error.strerror}",
            "in a container, set it on the host or where the container is started",
        ) from None


def _read(setting: Setting) -> int | None:
    try:
        return int((_PROC_SYS / setting.path).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None


def _interface(found: Mapping[str, Any]) -> Interface:
    flags = set(found["flags"])
    return Interface(
        found["ifname"],
        "UP" in flags,
        not flags & _QUIET,
        tuple(
            Assigned(ipaddress.ip_address(each["local"]), int(each["prefixlen"]))
            for each in found["addr_info"]
            if each["family"] in _FAMILIES
        ),
    )


def _settings_of(interfaces: Iterable[str]) -> list[Setting]:
    names = [EVERY_INTERFACE, "default", *interfaces]
    settings = [Setting(6, name, "disable_ipv6") for name in names]
    for rule in (*ARP_RULES, REVERSE_PATH):
        settings += [rule.setting(name) for name in names]
    return settings


def _refusing(facts: Facts) -> frozenset[str]:
    """Ask the kernel which interfaces drop what comes from behind routers."""
    own = _own_address(facts)
    return frozenset(
        name
        for name in facts.announcing
        if own is not None
        and facts.interfaces[name].is_up
        and REVERSE_PATH.effective(facts, name) not in REVERSE_PATH.accepted
        and not _takes(name, own)
    )


def _own_address(facts: Facts) -> Address | None:
    for name in facts.announcing:
        for assigned in facts.interfaces[name].addresses:
            if assigned.address.version == 4:
                return assigned.address
    return None


def _takes(interface: str, own: Address) -> bool:
    done = run_program("ip", "route", "get", str(own), "from", _OUTSIDE, "iif", interface)
    return done is not None and done.returncode == 0


def _dropping_chains() -> tuple[str, ...]:
    """Return the chains of nftables that drop what comes in by default, if that can be read."""
    done = run_program("nft", "-json", "list", "chains")
    if done is None or done.returncode != 0:
        return ()
    chains = [each["chain"] for each in json.loads(done.stdout)["nftables"] if "chain" in each]
    return tuple(
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if (chain.get("hook"), chain.get("policy")) == ("input", "drop")
    )
