"""The sdist and the wheel: complete, the same each time, and enough without the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import pytest

from tests.support.netns.namespaces import made_directory, made_wire
from tests.support.packages import built
from tests.support.paths import CHECKOUT
from tests.support.shared_by_workers import made_once


@pytest.fixture(scope="session")
def distribution() -> Path:
    """A directory with an sdist and the wheel that was built from it."""
    return made_once("distribution", partial(built, "dist.sh"))


def only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found


def files_of_checkout(*folders: str) -> set[str]:
    """Return what git knows of, and would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (CHECKOUT / name).is_file()}


def content(archive: Path) -> dict[str, bytes]:
    """Return the files of an sdist or a wheel."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        files = [(member.name, sdist.extractfile(member)) for member in sdist]
        return {name.partition("/")[2]: file.read() for name, file in files if file}


def test_the_sdist_is_the_checkout(distribution: Path) -> None:
    sdist = content(only(distribution, "*.tar.gz"))
    assert files_of_checkout() | {"PKG-INFO"} == sdist.keys()


def test_the_wheel_has_the_package_and_the_data_plane(distribution: Path) -> None:
    wheel = content(only(distribution, "*.whl"))
    expected = {name.replace("xdp/", "pydsr/xdp/", 1) for name in files_of_checkout("xdp")}
    expected |= files_of_checkout("pydsr") | {"pydsr/hashing/_native.so"}
    assert expected == {name for name in wheel if ".dist-info/" not in name}


def test_nothing_tells_of_the_machine_that_built_it(distribution: Path) -> None:
    for archive in distribution.iterdir():
        for name, data in content(archive).items():
            for secret in (str(CHECKOUT), str(distribution)):
                assert secret.encode() not in data, name


def test_the_same_checkout_gives_the_same_bytes(distribution: Path, tmp_path: Path) -> None:
    built("dist.sh", tmp_path)
    for again in tmp_path.iterdir():
        assert (distribution / again.name).read_bytes() == again.read_bytes()


def test_an_installed_wheel_attaches_without_the_checkout(
    distribution: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", environment],
        check=True,
    )
    python = environment / "bin/python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*pip, str(only(distribution, "*.whl"))], cwd=tmp_path, check=True)
    # What it depends on is taken from where these tests run: this folder, but no .pth file in it.
    site = only(environment, "lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    with made_wire() as (lb, _), made_directory() as bpffs:
        where = lb.run(str(python), "-P", "-c", "import pydsr; print(pydsr.__file__)")
        assert f"{site}/pydsr/__init__.py\n" == where
        command = [str(environment / "bin/pydsr"), "--bpffs", str(bpffs)]
        assert "eth0: attached, native mode" in lb.run(*command, "attach", "eth0")
        assert lb.xdp_program("eth0") is not None
