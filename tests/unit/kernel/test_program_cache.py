"""Compiled programs are cached: never a wrong one, never a failure where compiling works."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pydsr.kernel.bpf import compiler, libbpf, placeholders, program, program_cache
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.features import Feature
from pydsr.model.sources import xdp_directory
from tests.support.other_user import give_away

EXIT = bytes.fromhex("9500000000000000")


class Compiler:
    """A stand-in for bcc: its library, a kernel header, and how often it compiled.

    Attributes:
        during: called in the middle of a compilation.
    """

    def __init__(self, folder: Path) -> None:
        self.library = folder / "libbcc.so.0"
        self.header = folder / "types.h"
        self.xdp = folder / "xdp"
        shutil.copytree(xdp_directory(), self.xdp)
        for path in (self.library, self.header):
            path.write_text("old\n")
        self.age()
        self.compiled = 0
        self.during: Callable[[], object] = lambda: None

    def age(self) -> None:
        """Wait until the files are older than the next compilation."""
        changed = max(path.stat().st_ctime_ns for path in (self.library, self.header))
        while time.time_ns() < changed + 2 * program_cache._RECENT_NS:
            time.sleep(0.01)

    def compile_text(self, _: str, flags: list[str]) -> tuple[dict[str, bytes], set[str]]:
        """Return a function with as many instructions as there were compilations."""
        self.compiled += 1
        rule = Path(flags[flags.index("-MF") + 1])
        rule.write_text(f"main.o: /virtual/main.c \\\n  {self.header} {self.xdp}/types.h\n")
        self.during()
        return {"balance": self.compiled * EXIT}, {str(self.library)}

    def run(self, **changes: Any) -> int:
        """Get the program and return the number of the compilation that it comes from."""
        arguments = {"table_size": 251, "seed": 1, "features": Feature.TAP, "constants": None}
        with Descriptor(os.open("/dev/null", os.O_RDONLY)) as fd:
            compiled = program.compile_balancer({"maps": fd}, **{**arguments, **changes})
        assert not len(compiled["balance"]) % len(EXIT)
        return len(compiled["balance"]) // len(EXIT)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the cache, which does not exist yet."""
    monkeypatch.setenv(program_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bcc(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """The compiler of a test, with a cache of its own."""
    monkeypatch.setattr(program_cache, "_RECENT_NS", 20_000_000)
    fake = Compiler(cache.parent)
    monkeypatch.setattr(compiler, "compile_text", fake.compile_text)
    monkeypatch.setattr(program, "find_bcc", lambda: "/bcc/__init__.py")
    monkeypatch.setattr(program, "find_headers", lambda: tmp_path)
    monkeypatch.setattr(program, "xdp_directory", lambda: fake.xdp)
    return fake


def entry_of(cache: Path) -> Path:
    """Return the only file of the cache."""
    (entry,) = cache.iterdir()
    return entry


def test_a_program_is_compiled_once(bcc: Compiler, cache: Path) -> None:
    assert [bcc.run(), bcc.run(), bcc.run()] == [1, 1, 1]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry_of(cache).stat().st_mode) == 0o600


def test_the_standard_directory_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(program_cache.VARIABLE)
    assert program_cache.directory() == Path("/var/cache/pydsr")
    monkeypatch.setenv(program_cache.VARIABLE, "")
    assert program_cache.directory() == Path("/var/cache/pydsr")


def test_seed_and_maps_come_into_a_cached_program(
    bcc: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = placeholders.fill
    seeds, numbers = [], []

    def filled(instructions: bytes, descriptors: dict[int, int], seed: int) -> bytes:
        seeds.append(seed)
        numbers.append(descriptors)
        return fill(instructions, descriptors, seed)

    monkeypatch.setattr(placeholders, "fill", filled)
    for seed in (5, 2**64 - 1):
        with libbpf.Descriptor(os.open("/dev/null", os.O_RDONLY)) as fd:
            program.compile_balancer({"first": fd, "second": fd}, 251, seed, Feature(0))
            assert numbers[-1] == {1: fd.number, 2: fd.number}
    assert seeds == [5, 2**64 - 1]
    assert bcc.compiled == 1


def set_variable(name: str) -> Callable[[Compiler, pytest.MonkeyPatch], None]:
    """Return a change of a variable of the environment."""
    return lambda _, monkeypatch: monkeypatch.setenv(name, "/other")


def other_kernel(_: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another kernel run."""
    uname = os.uname()
    other = os.uname_result((uname[0], uname[1], "7.0", *uname[3:]))
    monkeypatch.setattr(os, "uname", lambda: other)


def other_libraries(_: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the dynamic linker know other libraries."""
    identify = program_cache.identify
    monkeypatch.setattr(
        program_cache,
        "identify",
        lambda path: (path, 1, 2, 3) if path == "/etc/ld.so.cache" else identify(path),
    )


def rewrite(name: str) -> Callable[[Compiler, pytest.MonkeyPatch], None]:
    """Return a change of a source's text that keeps its size and times."""

    def change(bcc: Compiler, _: pytest.MonkeyPatch) -> None:
        path = bcc.xdp / name
        before = path.stat()
        path.write_text(path.read_text().replace(" ", "\t", 1))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def replace_library(bcc: Compiler, _: pytest.MonkeyPatch) -> None:
    """Install another library of the same size and time of change."""
    status = bcc.library.stat()
    bcc.library.unlink()
    bcc.library.write_text("new\n")
    os.utime(bcc.library, ns=(status.st_atime_ns, status.st_mtime_ns))
    bcc.age()


CHANGES: dict[str, Callable[[Compiler, pytest.MonkeyPatch], object]] = {
    "source": rewrite("pydsr.c"),
    "header": rewrite("reasons.h"),
    "shim": rewrite("shim/include/linux/types.h"),
    "new header": lambda bcc, _: (bcc.xdp / "new.h").write_text(""),
    "renamed header": lambda bcc, _: (bcc.xdp / "tap.h").rename(bcc.xdp / "pat.h"),
    "assertions": lambda _, patch: patch.setattr(program, "static_assertions", lambda _: "int i;"),
    "flags": lambda _, patch: patch.setattr(program, "_flags", lambda _: ["-O0"]),
    "bcc's module": lambda _, patch: patch.setattr(program, "find_bcc", lambda: "/usr/local"),
    "bcc's library": replace_library,
    "kernel header": lambda bcc, _: bcc.header.write_text("longer than before\n"),
    "folder of headers": lambda _, patch: patch.setattr(program, "find_headers", lambda: "/else"),
    "kernel": other_kernel,
    "libraries": other_libraries,
    "placeholders": lambda _, patch: patch.setattr(placeholders, "VERSION", 0),
    **{name: set_variable(name) for name in ("CPATH", "LD_LIBRARY_PATH", "BCC_LINUX_VERSION_CODE")},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_decides_the_program_compiles_it_anew(
    change: Callable[[Compiler, pytest.MonkeyPatch], object],
    bcc: Compiler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bcc.run() == 1
    change(bcc, monkeypatch)
    assert bcc.run() == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"table_size": 509},
        {"features": Feature.TAP | Feature.VLAN},
        {"features": Feature(0)},
        {"constants": {"PYDSR_TAP_EVERY": "2"}},
    ],
    ids=["size", "more features", "fewer", "constant"],
)
def test_other_arguments_compile_another_program(arguments: dict[str, Any], bcc: Compiler) -> None:
    assert [bcc.run(), bcc.run(**arguments)] == [1, 2]
    assert [bcc.run(), bcc.run(**arguments)] == [1, 2]


def test_a_header_that_is_gone_compiles_anew(bcc: Compiler) -> None:
    assert bcc.run() == 1
    bcc.header.unlink()
    assert bcc.run() == 2
    # A compiler that read it cannot be right: nothing is cached.
    assert bcc.run() == 3


def flip(position: float) -> Callable[[Path], object]:
    """Return the change of one bit, at a share of an entry's length."""

    def change(entry: Path) -> None:
        content = bytearray(entry.read_bytes())
        content[int(position * (len(content) - 1))] ^= 1
        entry.write_bytes(content)

    return change


def truncate(share: float) -> Callable[[Path], object]:
    """Return a truncation to a share of an entry's length."""
    return lambda entry: os.truncate(entry, int(share * entry.stat().st_size))


def to_link(entry: Path) -> None:
    """Replace an entry by a link to a good one."""
    target = entry.parent.parent / "target"
    entry.rename(target)
    entry.symlink_to(target)


def to_fifo(entry: Path) -> None:
    """Replace an entry by a FIFO, from which reading would wait."""
    entry.unlink()
    os.mkfifo(entry, 0o600)


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{f"bit flipped at {share}": flip(share) for share in (0, 0.02, 0.3, 0.7, 1)},
    **{f"truncated to {share}": truncate(share) for share in (0, 0.02, 0.1, 0.5, 0.99)},
    "longer": lambda entry: entry.write_bytes(entry.read_bytes() + b" "),
    "writable by all": lambda entry: entry.chmod(0o602),
    "writable by a group": lambda entry: entry.chmod(0o620),
    "link": to_link,
    "FIFO": to_fifo,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_bad_entry_is_compiled_anew_and_replaced(
    damage: Callable[[Path], object], bcc: Compiler, cache: Path
) -> None:
    assert bcc.run() == 1
    damage(entry_of(cache))
    assert [bcc.run(), bcc.run()] == [2, 2]
    status = entry_of(cache).lstat()
    assert stat.S_ISREG(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_an_entry_of_another_key_is_not_used(bcc: Compiler, cache: Path) -> None:
    bcc.run()
    first = entry_of(cache)
    stored = first.read_bytes()
    first.unlink()
    bcc.run(table_size=509)
    entry_of(cache).write_bytes(stored)
    assert bcc.run(table_size=509) == 3


def test_an_entry_of_another_user_is_not_used(
    bcc: Compiler, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bcc.run()
    give_away(entry_of(cache), monkeypatch)
    assert bcc.run() == 2


def directory_of_another_user(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the directory away."""
    give_away(cache, monkeypatch)


def directory_is_a_link(cache: Path, _: pytest.MonkeyPatch) -> None:
    """Move the directory, and leave a link."""
    cache.symlink_to(cache.rename(cache.with_name("elsewhere")))


def parent_of_another_user(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the folder above away."""
    give_away(cache.parent, monkeypatch)


UNTRUSTED: dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "of another user": directory_of_another_user,
    "below another user's": parent_of_another_user,
    "writable by all": lambda cache, _: cache.chmod(0o702),
    "writable by a group": lambda cache, _: cache.chmod(0o720),
    "sticky": lambda cache, _: cache.chmod(0o1777),
    "below a folder for all": lambda cache, _: cache.parent.chmod(0o777),
    "link": directory_is_a_link,
}


@pytest.mark.parametrize("change", UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_a_directory_that_others_can_write_is_not_used(
    change: Callable[[Path, pytest.MonkeyPatch], object],
    bcc: Compiler,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bcc.run() == 1
    change(cache, monkeypatch)
    assert [bcc.run(), bcc.run()] == [2, 3]


def test_a_directory_for_all_that_is_sticky_may_be_above(bcc: Compiler, cache: Path) -> None:
    bcc.run()
    cache.parent.chmod(0o1777)
    assert bcc.run() == 1


@pytest.mark.parametrize("where", ["/nowhere/cache", "/dev/null", "/dev/null/cache"])
def test_without_a_directory_programs_are_compiled(
    where: str, bcc: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(program_cache.VARIABLE, where)
    assert [bcc.run(), bcc.run()] == [1, 2]


def test_a_compiler_that_does_not_say_what_it_read_is_run_each_time(
    bcc: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(program, "_included", fails(errno.ENOENT))
        assert [bcc.run(), bcc.run()] == [1, 2]
    assert [bcc.run(), bcc.run()] == [3, 3]


def test_a_source_that_vanishes_while_the_key_is_made_does_not_matter(
    bcc: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fails(errno.ENOENT))
        assert [bcc.run(), bcc.run()] == [1, 2]
    assert [bcc.run(), bcc.run()] == [3, 3]


def fails(number: int) -> Callable[..., Any]:
    """Return a function that fails with an error number."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "fstat", "rename", "listdir", "utime", "unlink"])
def test_an_error_of_the_disk_does_not_matter(
    call: str, number: int, bcc: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "os", SimpleNamespace(**{**vars(os), call: fails(number)}))
        assert bcc.run() == 1
        assert bcc.run() in (1, 2)
    last = bcc.run()
    assert bcc.run() == last == bcc.compiled


def test_what_a_full_disk_cut_off_is_removed(
    bcc: Compiler, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fake = SimpleNamespace(**{**vars(os), "rename": fails(errno.ENOSPC)})
        patch.setattr(program_cache, "os", fake)
        bcc.run()
    assert not [*cache.iterdir()]


def test_the_compiler_needs_no_space_on_the_disk_for_temporary_files(
    bcc: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It aborts the process where it has too little; folders and links are there already."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    Path(tempfile.gettempdir()).mkdir()
    written: list[Path] = []

    def look() -> None:
        found = [*Path(tempfile.gettempdir()).rglob("*")]
        assert found
        written.extend(path for path in found if path.is_file() and not path.is_symlink())

    bcc.during = look
    assert [bcc.run(), bcc.run()] == [1, 1]
    assert not written


@pytest.mark.parametrize("whose", ["ours", "all users'", "another user's"])
def test_headers_are_linked_where_no_other_user_can_replace_the_links(
    bcc: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Where /tmp is full, the temporary directory is the working directory, perhaps a user's."""
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o755)
    if whose == "all users'":
        temporary.chmod(0o777)
    elif whose == "another user's":
        give_away(temporary, monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    used: list[Path] = []
    bcc.during = lambda: used.append(Path(os.environ["BCC_KERNEL_SOURCE"]).parent)
    assert bcc.run() == 1
    assert used == [temporary if whose == "ours" else Path("/tmp")]  # noqa: S108 - as specified


def test_two_at_once_cache_the_same(bcc: Compiler, cache: Path) -> None:
    results = []

    def other() -> None:
        bcc.during = lambda: None
        results.append(bcc.run())

    bcc.during = other
    results.append(bcc.run())
    # Either was given what it compiled; the entry is one of them as a whole.
    assert results == [2, 2]
    assert bcc.run() == 2
    assert entry_of(cache)


@pytest.mark.parametrize("what", ["header", "library", "source"])
def test_what_changed_during_the_compilation_is_not_cached(
    what: str, bcc: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"header": bcc.header, "library": bcc.library, "source": bcc.xdp / "tap.h"}
    if what != "source":
        # Any time since the start of this test is during the compilation.
        monkeypatch.setattr(program_cache, "_RECENT_NS", 3600 * 10**9)
    before = files[what].read_text()
    bcc.during = lambda: files[what].write_text("changed\n")
    assert bcc.run() == 1
    bcc.during = lambda: None
    if what == "source":
        # The key is that of the text before.
        files[what].write_text(before)
    assert bcc.run() == 2


def test_the_entries_used_last_are_kept(
    bcc: Compiler, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_cache, "ENTRIES_MAX", 3)
    sizes = (251, 509, 1021)
    for age, size in enumerate(sizes):
        bcc.run(table_size=size)
        newest = max(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1000 + age, 1000 + age))
    assert bcc.run(table_size=251) == 1
    assert bcc.run(table_size=2039) == 4
    assert len([*cache.iterdir()]) == 3
    # The one from 509 was used least recently.
    assert bcc.run(table_size=251) == 1
    assert bcc.run(table_size=1021) == 3
    assert bcc.run(table_size=509) == 5


def test_what_killed_processes_left_is_removed(bcc: Compiler, cache: Path) -> None:
    bcc.run()
    old, new = cache / "a.1.1.new", cache / "b.2.2.new"
    for path in (old, new):
        path.write_text("")
    os.utime(old, (0, 0))
    bcc.run(table_size=509)
    assert not old.exists()
    assert new.exists()


def test_a_file_is_known_by_size_and_times(bcc: Compiler) -> None:
    status = bcc.header.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    assert program_cache.identify(str(bcc.header)) == (str(bcc.header), 4, *times)


def test_an_entry_says_which_files_were_read(bcc: Compiler, cache: Path) -> None:
    bcc.run()
    content = entry_of(cache).read_bytes()[64:]
    assert {path for path, *_ in json.loads(content)["files"]} == {
        str(bcc.header),
        str(bcc.library),
    }


@pytest.fixture(autouse=True)
def _modes(tmp_path: Path) -> Iterator[None]:
    """Make the folder one's own again, so that it can be removed."""
    yield
    tmp_path.chmod(0o700)
