"""The clean system is what tests take it for."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support.clean_root import CACHE, CleanRoot, made_root
from tests.support.netns.namespaces import eventually, made_host
from tests.support.paths import CHECKOUT


def test_a_copy_is_written_to_and_the_system_stays_as_it_was(
    clean_root: CleanRoot, clean_system: Path
) -> None:
    clean_root.run("sh", "-c", "echo changed >/etc/hostname; rm -r /usr/share/doc; touch /new")
    assert "changed\n" == clean_root.path("/etc/hostname").read_text()
    with made_root(clean_system) as other:
        assert "changed\n" != other.path("/etc/hostname").read_text()
        assert [True, False] == [other.path(path).exists() for path in ("/usr/share/doc", "/new")]


def test_a_copy_can_begin_with_the_changes_of_another(
    clean_root: CleanRoot, clean_system: Path, tmp_path: Path
) -> None:
    clean_root.run("sh", "-c", "rm /etc/hostname; rm -r /usr/share/doc; mkdir /usr/share/doc /new")
    clean_root.save(tmp_path)
    with made_root(clean_system, changes=tmp_path) as other:
        assert not other.path("/etc/hostname").exists()
        assert [] == list(other.path("/usr/share/doc").iterdir())
        assert other.path("/new").is_dir()


def test_only_root_reads_the_cache(clean_system: Path) -> None:
    assert clean_system.parent == CACHE
    assert 0o700 == CACHE.stat().st_mode & 0o777


def test_a_copy_has_mounts_processes_and_a_network_of_its_own(clean_root: CleanRoot) -> None:
    assert ["lo"] == clean_root.run("ls", "/sys/class/net").split()
    assert ["sleep", "ps"] == clean_root.run("ps", "-e", "-o", "comm=").split()
    assert ["maps.debug", "progs.debug"] == clean_root.run("ls", "/sys/fs/bpf").split()


def test_a_copy_can_be_put_into_a_network(clean_system: Path) -> None:
    with made_host() as host, made_root(clean_system, Path("/run/netns", host.name)) as root:
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        assert ["eth0", "eth1", "lo"] == root.run("ls", "/sys/class/net").split()


def test_a_copy_ends_with_the_process_that_made_it(clean_system: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from tests.support.clean_root import made_root
with made_root(Path({str(clean_system)!r})) as root:
    print(root.holder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    holder = Path("/proc", done.stdout.strip())
    assert -signal.SIGKILL == done.returncode
    assert eventually(lambda: not holder.exists())
