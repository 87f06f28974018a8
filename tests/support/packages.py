"""Builds what is released, from this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.clean_root import CleanRoot
from tests.support.paths import CHECKOUT

VERSION_FILE = "usr/lib/pydsr/pydsr/__init__.py"


def built(script: str, directory: Path) -> None:
    """Run a script of ``packaging`` that builds into a directory."""
    done = subprocess.run(
        [CHECKOUT / "packaging" / script, directory],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Compressing well takes as long as all the rest.
        env={**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout


def another_version(package: Path, version: str, directory: Path) -> Path:
    """Make a Debian package that differs from another one in its version only."""
    content = directory / "content"
    subprocess.run(["dpkg-deb", "--raw-extract", package, content], check=True)
    (before,) = [
        line.partition(" ")[2]
        for line in (content / "DEBIAN/control").read_text().splitlines()
        if line.startswith("Version:")
    ]
    for path, line in (("DEBIAN/control", "Version: {}"), (VERSION_FILE, '__version__ = "{}"')):
        file = content / path
        file.write_text(file.read_text().replace(line.format(before), line.format(version)))
    made = directory / f"pydsr_{version}.deb"
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "--build", content, made],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    shutil.rmtree(content)
    return made


def install(root: CleanRoot, package: Path) -> str:
    """Install a Debian package in a root, whose dependencies are there; return what is said."""
    shutil.copy(package, root.path("/tmp/package.deb"))  # noqa: S108 - the root's own
    return root.run("dpkg", "--install", "/tmp/package.deb", timeout=300)  # noqa: S108
