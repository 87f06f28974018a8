"""What the virtual machine boots: Debian's kernel, its initrd, and a disk with what tests need.

All of it is made by Debian's own tools, and kept for a week, or until this file or the locked
packages change.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import CHECKOUT

CACHE = CHECKOUT / ".cache" / "vm"

_MIRROR = "http://deb.debian.org/debian"
_DISK_SIZE = "4G"
_PACKAGES = (
    "linux-image-cloud-amd64",  # its modules: 8021q, bonding, ip_vs, virtio; no drivers of cards
    "initramfs-tools",
    "python3-bpfcc",
    "linux-libc-dev",
    *("iproute2", "ethtool", "kmod", "procps", "util-linux"),
    *("curl", "bind9-dnsutils", "dnsmasq-base", "nginx-light", "iperf3", "tcpdump"),
    *("iputils-arping", "iputils-ping", "ipvsadm", "keepalived", "nftables", "openssl"),
)
_LOCK, _TOOLS_LOCK = CHECKOUT / "requirements.lock", CHECKOUT / "requirements-dev.lock"
_TOOLS = ("hypothesis", "jsonschema", "pytest", "pytest-timeout", "pytest-xdist", "scapy")
_WHEELS = "x86_64-manylinux_2_36"
"""For the C library of the oldest release."""

_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_JOB = "/job"
_INIT = f"""\
#!/bin/sh
mkdir {_JOB}
tar --extract --file /dev/vdb --directory {_JOB}
exec {_JOB}/guest.sh {_JOB}
"""


class ImageError(Exception):
    """The image cannot be made; the message says why."""


@dataclass(frozen=True)
class Debian:
    """What an image is made from.

    Attributes:
        title: for readers.
        release: the release whose packages are installed.
        python: the version of its Python.
        kernel: the suite that the kernel comes from; empty means the release.
    """

    title: str
    release: str
    python: str
    kernel: str = ""


DEBIANS = {
    "bookworm": Debian("Debian 12", "bookworm", "3.11"),
    "trixie": Debian("Debian 13", "trixie", "3.13"),
    "newest": Debian(
        "Debian 13 with the kernel of trixie-backports", "trixie", "3.13", "trixie-backports"
    ),
}


@dataclass(frozen=True)
class Image:
    """Files to boot from; `init` is the path of the first process on the disk."""

    kernel: Path
    initrd: Path
    disk: Path
    init: str = "/sbin/init-job"


def image(name: str) -> Image:
    """Return an image, after making it where there is none yet (two minutes, 1.5 GB).

    Args:
        name: a key of :data:`DEBIANS`.

    Raises:
        ImageError: not root, mmdebstrap is missing, or a package cannot be had.
    """
    year, week, _ = datetime.datetime.now(tz=datetime.UTC).isocalendar()
    recipe = b"".join(path.read_bytes() for path in (Path(__file__), _LOCK, _TOOLS_LOCK))
    key = f"{name}-{year}-{week}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    directory = CACHE / key
    found = Image(directory / "vmlinuz", directory / "initrd.img", directory / "disk.img")
    if not directory.exists():
        for older in CACHE.glob(f"{name}-*/"):
            shutil.rmtree(older)
        _make(DEBIANS[name], found, directory)
    return found


def _make(debian: Debian, wanted: Image, directory: Path) -> None:
    if os.geteuid() != 0:
        raise ImageError("making the disk of the virtual machine takes root")
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        made, root = Path(temporary, "made"), Path(temporary, "root")
        made.mkdir()
        _run(
            "unshare",  # what it mounts goes with it, however it ends
            *("--mount", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
            *("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/locale/*"),
            *("--dpkgopt=path-exclude=/usr/share/doc/*", f"--setup-hook={_prefer_kernel(debian)}"),
            f"--include={','.join(_PACKAGES)}",
            *(debian.release, str(root), *_sources(debian)),
        )
        packages = Path(f"usr/local/lib/python{debian.python}/dist-packages")
        _install_from_pypi(debian, root / packages)
        # Otherwise each command that the machine runs would compile its imports.
        _run("chroot", root, "python3", "-m", "compileall", "-q", Path("/") / packages)
        init = root / wanted.init[1:]
        init.write_text(_INIT)
        init.chmod(0o755)
        kernel = next((root / "boot").glob("vmlinuz-*"))
        version = kernel.name.removeprefix("vmlinuz-")
        initrd = root / "boot" / f"initrd.img-{version}"
        if not initrd.exists():  # apt configured the kernel before initramfs-tools
            _run("chroot", root, "update-initramfs", "-c", "-k", version)
        shutil.copy(kernel, made / wanted.kernel.name)
        shutil.copy(initrd, made / wanted.initrd.name)
        _run(
            "mkfs.ext4", "-q", "-O", "^has_journal", "-d", root, made / wanted.disk.name, _DISK_SIZE
        )
        made.rename(directory)


def _sources(debian: Debian) -> list[str]:
    suites = [debian.release, f"{debian.release}-updates"]
    suites += [debian.kernel] if debian.kernel else []
    signed = f"deb [signed-by={_KEYS}]"
    return [
        *(f"{signed} {_MIRROR} {suite} main" for suite in suites),
        f"{signed} {_MIRROR}-security {debian.release}-security main",
    ]


def _prefer_kernel(debian: Debian) -> str:
    """Return a command that makes apt prefer the kernel of another suite, and nothing else."""
    if not debian.kernel:
        return "true"
    packages = "linux-image-* linux-modules-* linux-base* linux-binary-*"
    pin = f"Package: {packages}\\nPin: release n={debian.kernel}\\nPin-Priority: 900\\n"
    return f"""printf '{pin}' >"$1/etc/apt/preferences.d/kernel\""""


def _install_from_pypi(debian: Debian, target: Path) -> None:
    """Install the locked packages for the machine's Python, which may not be this one."""
    _run(
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-config"),
        *("--target", target, "--link-mode=copy", "--only-binary=:all:"),
        *("--python-version", debian.python, "--python-platform", _WHEELS),
        *("--requirement", _LOCK, "--constraint", _TOOLS_LOCK, *_TOOLS),
    )


def _run(*command: str | Path) -> None:
    done = _attempt([str(part) for part in command])
    if done.returncode != 0:
        raise ImageError(f"{command[0]} failed:\n{done.stdout[-2000:]}")


def _attempt(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        )
    except FileNotFoundError:
        raise ImageError(f"{command[0]} is not here: apt install mmdebstrap e2fsprogs") from None
