"""The Debian package, in a system that has nothing else of ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pydsr
from tests.support.clean_root import CleanRoot, made_root
from tests.support.netns.namespaces import made_wire
from tests.support.packages import install

SERVICE, BACKENDS = "10.66.0.80:80", ("10.66.0.11", "10.66.0.12")
PINS = "/sys/fs/bpf/pydsr"
NOT_OURS = "-path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log"
"""What else changes while a package comes and goes, but for the package manager's own."""


@pytest.fixture
def root(clean_system: Path, package_installed: Path) -> Iterator[CleanRoot]:
    """A balancer's host with the package, backends at the other end of its eth0."""
    with (
        made_wire() as (lb, _),
        made_root(clean_system, lb.namespace, changes=package_installed) as root,
    ):
        yield root


def files(root: CleanRoot) -> set[str]:
    """Return every file of the system that a package may leave."""
    found = root.run("sh", "-c", f"find / \\( {NOT_OURS} \\) -prune -o -print")
    return {
        name
        for name in found.splitlines()
        if not name.startswith(("/var/lib/dpkg/", "/var/cache/", "/var/lib/systemd/"))
    }


def test_lintian_has_nothing_to_say(debian_package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", debian_package],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stdout)


def test_the_installed_command_balances(root: CleanRoot) -> None:
    assert f"pydsr, version {pydsr.__version__}\n" == root.run("pydsr", "--version")
    assert "attached, native mode" in root.run("pydsr", "attach", "eth0")
    root.run("pydsr", "backends", "set", SERVICE, *BACKENDS)
    explained = root.run("pydsr", "explain", SERVICE, "--from", "10.66.0.2:40000")
    assert any(backend in explained for backend in BACKENDS)


def test_the_environment_of_who_runs_it_brings_no_other_code(root: CleanRoot) -> None:
    root.path("/tmp/click.py").write_text("raise SystemExit('not this one')\n")  # noqa: S108
    version = root.run("sh", "-c", "cd /tmp && PYTHONPATH=/tmp pydsr --version")
    assert f"pydsr, version {pydsr.__version__}\n" == version


@pytest.mark.parametrize("page", ["pydsr", "pydsr-run", "pydsr.yaml"])
def test_its_manual_is_found(root: CleanRoot, page: str) -> None:
    assert f"/{page}." in root.run("man", "--where", page)


def test_bash_completes_it(root: CleanRoot) -> None:
    script = """
source /usr/share/bash-completion/bash_completion
_completion_loader pydsr
COMP_LINE='pydsr att' COMP_POINT=9 COMP_WORDS=(pydsr att) COMP_CWORD=1
$(complete -p pydsr | sed 's/.*-F \\([^ ]*\\).*/\\1/') pydsr 2>/dev/null
echo "${COMPREPLY[@]}"
"""
    assert "attach\n" == root.run("bash", "-c", script)


def test_other_shells_have_their_completion(root: CleanRoot) -> None:
    zsh = root.path("/usr/share/zsh/vendor-completions/_pydsr").read_text()
    fish = root.path("/usr/share/fish/vendor_completions.d/pydsr.fish").read_text()
    assert zsh.startswith("#compdef pydsr")
    assert "--command pydsr" in fish


def test_its_unit_is_correct(root: CleanRoot) -> None:
    assert "" == root.run("systemd-analyze", "verify", "/lib/systemd/system/pydsr.service")


def test_its_example_is_a_configuration(root: CleanRoot) -> None:
    """It is refused for what it names and is not here, not for what it says."""
    done = root.attempt("pydsr", "apply", "--plan", "/etc/pydsr/balancer.yaml.example")
    assert "balancer.yaml.example:" not in done.stdout


def test_removed_the_data_plane_goes_on_and_purged_nothing_is_left(
    clean_system: Path, debian_package: Path
) -> None:
    with made_wire() as (lb, _), made_root(clean_system, lb.namespace) as root:
        before = files(root)
        install(root, debian_package)
        root.run("pydsr", "attach", "eth0")
        root.run("pydsr", "backends", "set", SERVICE, *BACKENDS)
        root.path("/etc/pydsr/balancer.yaml").write_text("services: []\n")
        program = lb.xdp_program("eth0")
        said = root.run("dpkg", "--remove", "pydsr")
        assert "apt purge pydsr" in said
        assert program is not None
        assert program == lb.xdp_program("eth0")
        assert root.path("/etc/pydsr/balancer.yaml").exists()
        root.run("dpkg", "--purge", "pydsr")
        assert lb.xdp_program("eth0") is None
        assert set() == files(root) - before
