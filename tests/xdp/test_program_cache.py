"""A cached program is the one that the compiler makes, with the seed and maps of its balancer."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pydsr.control.trace import flow_frame
from pydsr.kernel.bpf import compiler, program_cache
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.features import DEFAULT_FEATURES, Feature
from pydsr.model.options import Affinity, ServiceOptions
from tests.support.packets.data_plane import EVERY_FEATURE, TABLE_SIZE, Rig

VIP = Endpoint.parse("198.51.100.10:80")
VIP6 = Endpoint.parse("[2001:db8::10]:80")
VIP_BY_SOURCE = Endpoint.parse("198.51.100.10:81")
SERVICES = {VIP: Affinity.FLOW, VIP6: Affinity.FLOW, VIP_BY_SOURCE: Affinity.SOURCE}
SEEDS = (0, 1, 0x0123456789ABCDEF, 2**64 - 1)
MULTIPLIER = 0xD6E8FEB86659FD93


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv(program_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without space for a program."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]
    subprocess.run(["mount", *options, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def no_compiler(*_: object) -> None:
    """Fail the test that compiles."""
    raise AssertionError("compiled")


def slot_of(seed: int, source: IPAddress, source_port: int, port: int) -> int:
    """Return the slot of a flow, by the description of the hash in docs/algorithm.md."""
    address = source.packed if source.version == 6 else bytes(10) + b"\xff\xff" + source.packed
    ports = int.from_bytes(source_port.to_bytes(2, "big"), "little") << 16
    ports |= int.from_bytes(port.to_bytes(2, "big"), "little")
    state = seed
    for word in (*(int.from_bytes(address[at : at + 8], "little") for at in (0, 8)), ports):
        state ^= word
        state ^= state >> 32
        state = state * MULTIPLIER % 2**64
        state ^= state >> 32
    return (state * MULTIPLIER % 2**64 >> 32) * TABLE_SIZE >> 32


@pytest.mark.parametrize("features", [DEFAULT_FEATURES, EVERY_FEATURE], ids=["default", "every"])
def test_balancers_of_other_seeds_share_a_program(
    features: Feature, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [ipaddress.ip_address("192.0.2.1") + 7919 * number for number in range(20)]
    clients6 = [ipaddress.ip_address("2001:db8:1::1") + (number << 61) for number in range(20)]
    for seed in SEEDS:
        with Rig(seed=seed, features=features) as rig:
            for endpoint, affinity in SERVICES.items():
                rig.serve(str(endpoint), [1, 2], options=ServiceOptions(affinity=affinity))
            for endpoint, sources in ((VIP, clients), (VIP6, clients6)):
                assert [
                    rig.explain(flow_frame(endpoint, source, 40_000)).slot for source in sources
                ] == [slot_of(seed, source, 40_000, 80) for source in sources]
            assert [
                rig.explain(flow_frame(VIP_BY_SOURCE, source, 40_000)).slot for source in clients
            ] == [slot_of(seed, source, 0, 0) for source in clients]
        monkeypatch.setattr(compiler, "compile_text", no_compiler)
    assert len([*cache.iterdir()]) == 1


def test_a_worker_thread_starts_no_child_for_a_cached_program(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(Rig).result().close()
        assert len([*cache.iterdir()]) == 1
        monkeypatch.setattr(subprocess, "run", no_compiler)
        pool.submit(Rig).result().close()


def test_a_cached_program_follows_the_files_that_bcc_read(cache: Path) -> None:
    Rig().close()
    (entry,) = cache.iterdir()
    read = entry.read_text()
    for part in ("/linux/bpf.h", "/asm/types.h", "/asm-generic/", "/libbcc.so", "/libLLVM"):
        assert part in read
    assert "/bcc/__init__.py" in read
    assert "/pydsr-headers-" not in read


def test_a_full_disk_does_not_matter(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program_cache.VARIABLE, str(full_disk / "cache"))
    (full_disk / "fill").write_bytes(bytes(48 << 10))
    Rig().close()
    assert {"fill"} == {path.name for path in full_disk.rglob("*") if path.is_file()}


def test_a_read_only_file_system_serves_what_it_has(
    full_disk: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", full_disk], check=True)
    Rig().close()
    shutil.copytree(cache, full_disk / "cache", copy_function=shutil.copy)
    (full_disk / "cache").chmod(0o700)
    subprocess.run(["mount", "-o", "remount,ro", full_disk], check=True)
    monkeypatch.setenv(program_cache.VARIABLE, str(full_disk / "cache"))
    Rig(features=EVERY_FEATURE).close()
    monkeypatch.setattr(compiler, "compile_text", no_compiler)
    Rig().close()
