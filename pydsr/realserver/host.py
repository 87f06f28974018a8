"""The backend's network: read by ``ip -json`` and /proc/sys, changed one step at a time.

All of it concerns the network namespace of the calling thread.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError
from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH
from pydsr.realserver.steps import SetSysctl, Step
from pydsr.realserver.values import EVERY_INTERFACE, Address, Assigned, Facts, Interface, Setting

_PROC_SYS = Path("/proc/sys")
_SILENT_FLAGS = {"LOOPBACK", "NOARP"}
_OUTSIDE = "192.0.2.1"
"""An address behind routers that no host has: it is for documentation (RFC 5737)."""

_FAMILIES = {"inet", "inet6"}
_TIMEOUT_SECONDS = 30


def environment() -> dict[str, str]:
    """Return the environment for commands: a PATH with the system's directories, and English."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}


def run_ip(arguments: Iterable[str]) -> str:
    """Run ``ip`` and return what it prints."""
    done = run_program("ip", *arguments)
    if done is None:
        raise EnvironmentCannotError("the command `ip` is missing", "install iproute2")
    if done.returncode == 0:
        return done.stdout
    command = " ".join(("ip", *arguments))
    reason = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
    if "Operation not permitted" in reason:
        raise PermissionDeniedError(f"`{command}` is not permitted", "run as root (sudo)")
    raise EnvironmentCannotError(f"`{command}` fails: {reason}")


def run_program(program: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program and return its result; None if it is not installed."""
    variables = environment()
    path = shutil.which(program, path=variables["PATH"])
    if path is None:
        return None
    return subprocess.run(
        [path, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
        env=variables,
    )


def read_facts() -> Facts:
    """Return the facts about the backend's network."""
    interfaces = {
        link["ifname"]: _interface(link)
        # An interface that vanishes meanwhile leaves an empty object.
        for link in json.loads(run_ip(("-json", "address", "show")))
        if link
    }
    settings = _read_settings(_settings_of(interfaces))
    facts = Facts(interfaces, settings)
    return Facts(interfaces, settings, _filtering(facts), _dropping_chains())


def execute(steps: Iterable[Step]) -> None:
    """Run the steps in order; if one raises an error, the earlier ones are done."""
    for step in steps:
        if isinstance(step, SetSysctl):
            _write_setting(step.setting, step.value)
            continue
        if step.creates_dummy:
            # The kernel would load the module itself, and create an unwanted dummy0 with it.
            run_program("modprobe", "--quiet", "dummy", "numdummies=0")
        run_ip(step.arguments)


def _write_setting(setting: Setting, value: int) -> None:
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
            "in a container, set it on the host, or in the options that start the container",
        ) from None


def _read_settings(settings: Iterable[Setting]) -> dict[Setting, int]:
    values = {}
    for setting in settings:
        # A setting that is missing does not exist in this kernel.
        with suppress(FileNotFoundError):
            values[setting] = int((_PROC_SYS / setting.path).read_text(encoding="ascii"))
    return values


def _interface(link: Mapping[str, Any]) -> Interface:
    flags = set(link["flags"])
    return Interface(
        link["ifname"],
        "UP" in flags,
        not flags & _SILENT_FLAGS,
        tuple(
            Assigned(ipaddress.ip_address(each["local"]), int(each["prefixlen"]))
            for each in link["addr_info"]
            if each["family"] in _FAMILIES
        ),
    )


def _settings_of(interfaces: Iterable[str]) -> list[Setting]:
    names = [EVERY_INTERFACE, "default", *interfaces]
    settings = [Setting(6, name, "disable_ipv6") for name in names]
    for rule in (*ARP_RULES, REVERSE_PATH):
        settings += [rule.setting(name) for name in names]
    return settings


def _filtering(facts: Facts) -> frozenset[str]:
    """Ask the kernel which interfaces drop packets from behind routers."""
    own = _own_address(facts)
    return frozenset(
        name
        for name in facts.announcing
        if own is not None
        and facts.interfaces[name].is_up
        and REVERSE_PATH.effective(facts, name) not in REVERSE_PATH.accepted
        and not _accepts(name, own)
    )


def _own_address(facts: Facts) -> Address | None:
    for name in facts.announcing:
        for assigned in facts.interfaces[name].addresses:
            if assigned.address.version == 4:
                return assigned.address
    return None


def _accepts(interface: str, own: Address) -> bool:
    done = run_program("ip", "route", "get", str(own), "from", _OUTSIDE, "iif", interface)
    return done is not None and done.returncode == 0


def _dropping_chains() -> tuple[str, ...]:
    """Return the nftables input chains that drop by default, if they can be read."""
    done = run_program("nft", "-json", "list", "chains")
    if done is None or done.returncode != 0:
        return ()
    chains = [each["chain"] for each in json.loads(done.stdout)["nftables"] if "chain" in each]
    return tuple(
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if (chain.get("hook"), chain.get("policy")) == ("input", "drop")
    )
