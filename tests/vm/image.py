"""What the virtual machine boots: Debian's kernel, its initrd, and a disk with what tests need.

All of it is made by Debian's own tools, and kept until this file or the locked packages change.
"""

from __future__ import annotations

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
_RELEASE, _PYTHON, _GLIBC = "bookworm", "3.11", (2, 36)
_DISK_SIZE = "3G"
_PACKAGES = (
    "linux-image-cloud-amd64",  # its modules: 8021q, bonding, ip_vs, virtio; no drivers of cards
    "python3-bpfcc",
    "linux-libc-dev",
    *("iproute2", "ethtool", "kmod", "procps", "util-linux"),
    *("curl", "bind9-dnsutils", "dnsmasq-base", "nginx-light", "iperf3", "tcpdump"),
    *("iputils-arping", "iputils-ping", "ipvsadm", "nftables"),
)
_LOCK = CHECKOUT / "requirements-dev.lock"
_LOCKS = (CHECKOUT / "requirements.lock", _LOCK)
"""The second includes the first."""
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
class Image:
    """Files to boot from; `init` is the path of the first process on the disk."""

    kernel: Path
    initrd: Path
    disk: Path
    init: str = "/sbin/init-job"


def image() -> Image:
    """Return the image, after making it where there is none yet (a minute or two, a gigabyte).

    Raises:
        ImageError: not root, debootstrap is missing, or a package cannot be had.
    """
    recipe = b"".join(path.read_bytes() for path in (Path(__file__), *_LOCKS))
    directory = CACHE / hashlib.sha256(recipe).hexdigest()[:12]
    found = Image(directory / "vmlinuz", directory / "initrd.img", directory / "disk.img")
    if not directory.exists():
        for older in CACHE.glob("*/"):
            shutil.rmtree(older)
        _make(found, directory)
    return found


def _make(wanted: Image, directory: Path) -> None:
    if os.geteuid() != 0:
        raise ImageError("making the disk of the virtual machine takes root")
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        made, root = Path(temporary, "made"), Path(temporary, "root")
        made.mkdir()
        packages = ",".join(_PACKAGES)
        _run("debootstrap", "--variant=minbase", f"--include={packages}", _RELEASE, root, _MIRROR)
        shutil.rmtree(root / "var/cache/apt")
        _install_from_pypi(root / f"usr/local/lib/python{_PYTHON}/dist-packages")
        init = root / wanted.init[1:]
        init.write_text(_INIT)
        init.chmod(0o755)
        for source, target in (("vmlinuz-*", wanted.kernel), ("initrd.img-*", wanted.initrd)):
            shutil.copy(next((root / "boot").glob(source)), made / target.name)
        _run(
            "mkfs.ext4", "-q", "-O", "^has_journal", "-d", root, made / wanted.disk.name, _DISK_SIZE
        )
        made.rename(directory)


def _install_from_pypi(target: Path) -> None:
    """Install the locked packages for the machine's Python, which may not be this one."""
    tags = ["manylinux2014", *(f"manylinux_{_GLIBC[0]}_{m}" for m in range(17, _GLIBC[1] + 1))]
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--requirement", _LOCK, "--target", target),
        *("--only-binary=:all:", "--python-version", _PYTHON),
        *(f"--platform={tag}_x86_64" for tag in tags),
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
        raise ImageError(f"{command[0]} is not here: apt install debootstrap e2fsprogs") from None
