"""The doctor's findings on a host that really lacks privileges, files, system calls or a kernel."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pydsr.hashing import c_library
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import AS_NOBODY, AS_ROOT_WITHOUT_CAPABILITIES, Done, Pydsr
from tests.support.netns.doctor_report import Examined, examine
from tests.support.netns.namespaces import Host

OLD_KERNEL = ("setarch", "--uname-2.6")
"""The prefix that shows a command a kernel release of 2.6."""

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_BPF_NUMBERS = {"x86_64": 321, "aarch64": 280}
_LOAD_NUMBER, _JUMP_UNLESS_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ENOSYS = 0x7FFF0000, 0x00050026
"""Numbers of linux/prctl.h, seccomp.h and bpf_common.h."""


def examined_with(lb: Host, bpffs: Path, *wrapper: str) -> Examined:
    """Run the doctor behind a prefix."""
    return examine(Pydsr(lb, bpffs, wrapper), "eth0")


def over(path: Path, other: Path) -> tuple[str, ...]:
    """Return the prefix that mounts a file or folder over another."""
    script = f'mount --bind {other} {path}; exec "$@"'
    return ("unshare", "--mount", "sh", "-ec", script, "sh")


@pytest.mark.parametrize("wrapper", [AS_NOBODY, AS_ROOT_WITHOUT_CAPABILITIES])
def test_without_privileges_it_says_what_it_sees(
    lb: Host, bpffs: Path, wrapper: tuple[str, ...]
) -> None:
    """Nearly everything about interfaces can be read."""
    found = examined_with(lb, bpffs, *wrapper)
    assert ExitStatus.CANNOT == found.status
    finding = found.first("capability-missing")
    assert "NET_ADMIN, NET_RAW, SYS_ADMIN" in finding["what"]
    assert "BPF was not tested: not privileged" in found.unseen()
    assert any("native XDP should work" in check["text"] for check in found.checks)


def test_without_privileges_a_running_balancer_is_not_looked_at(balancer: Pydsr) -> None:
    found = examined_with(balancer.host, balancer.bpffs, *AS_NOBODY)
    assert ExitStatus.CANNOT == found.status
    assert "opening the balancer's state" in found.unseen()


def test_root_without_capabilities_may_open_pins_and_no_more(balancer: Pydsr) -> None:
    balancer.ok("backends", "set", "10.66.0.80:80", "10.66.0.11")
    found = examined_with(balancer.host, balancer.bpffs, *AS_ROOT_WITHOUT_CAPABILITIES)
    assert ExitStatus.CANNOT == found.status
    assert ["capability-missing"] == found.ids
    assert "what it serves was not examined: not privileged" in found.unseen()


def test_an_old_kernel(lb: Host, bpffs: Path) -> None:
    found = examined_with(lb, bpffs, *OLD_KERNEL)
    assert ["kernel-old"] == found.ids
    assert ExitStatus.NOT_AS_DESIRED == found.status


def test_a_limit_of_locked_memory_matters_to_old_kernels(lb: Host, bpffs: Path) -> None:
    found = examined_with(lb, bpffs, *AS_NOBODY, *OLD_KERNEL, "prlimit", "--memlock=65536")
    assert "65536 bytes" in found.first("memlock-low")["what"]
    new = examined_with(lb, bpffs, *AS_NOBODY, "prlimit", "--memlock=65536")
    assert "memlock-low" not in new.ids


def test_pins_that_cannot_be_there(lb: Host, tmp_path: Path) -> None:
    found = examine(Pydsr(lb, tmp_path / "pins"), "eth0")
    assert ["bpffs-missing"] == found.ids
    assert f"mount -t bpf bpf {tmp_path}" in found.first("bpffs-missing")["remedy"]


def test_a_name_that_pins_cannot_have(lb: Host) -> None:
    assert ["bpffs-missing"] == examine(Pydsr(lb, Path("/sys/fs/bpf/a.b")), "eth0").ids


def bcc_module() -> Path:
    """Return the folder of the module bcc."""
    spec = importlib.util.find_spec("bcc")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def libbpf_file() -> Path:
    """Return the file of the library libbpf."""
    with Path("/proc/self/maps").open(encoding="ascii") as maps:
        return next(Path(line.split()[-1]) for line in maps if "/libbpf.so" in line)


@pytest.mark.parametrize(
    ("kind", "hidden", "remedy"),
    [
        ("bcc-missing", bcc_module, "python3-bpfcc"),
        ("headers-missing", lambda: Path("/usr/include/linux"), "linux-libc-dev"),
        ("libbpf-missing", libbpf_file, "libbpf1"),
    ],
)
def test_a_tool_that_is_missing_is_named_as_attach_names_it(
    lb: Host, bpffs: Path, tmp_path: Path, kind: str, hidden: Callable[[], Path], remedy: str
) -> None:
    path = hidden()
    empty = tmp_path if path.is_dir() else Path("/dev/null")
    pydsr = Pydsr(lb, bpffs, over(path, empty))
    finding = examine(pydsr, "eth0").first(kind)
    assert remedy in finding["remedy"]
    attached = pydsr("attach", "eth0")
    assert ExitStatus.CANNOT == attached.status
    assert finding["what"] in attached.stderr
    assert finding["remedy"] in attached.stderr


def test_tables_that_are_filled_in_python(lb: Host, bpffs: Path) -> None:
    """It is advice: everything works."""
    assert c_library.is_built()
    library = Path(c_library.__file__).with_name("_native.so")
    found = examined_with(lb, bpffs, *over(library, Path("/dev/null")))
    assert ["native-missing"] == found.ids
    assert ExitStatus.DONE == found.status


def test_a_compiler_of_programs_that_is_off(bpffs: Path, tmp_path: Path) -> None:
    """The setting is one of the first network namespace alone: another file is put over it."""
    setting = Path("/proc/sys/net/core/bpf_jit_enable")
    if not setting.exists():
        pytest.skip("the tests run in a network namespace of their own, without that setting")
    off = tmp_path / "off"
    off.write_text("0\n")
    command = [*over(setting, off), *PYTHON, "pydsr", "--bpffs", str(bpffs), "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    found = Examined.of(Done(done.returncode, done.stdout, done.stderr))
    assert "sysctl -w net.core.bpf_jit_enable=1" == found.first("jit-off")["remedy"]


def test_a_kernel_without_bpf(lb: Host, bpffs: Path) -> None:
    """As in a container whose seccomp filter refuses bpf()."""
    with tempfile.TemporaryFile("w+") as output:
        arguments = ("doctor", "eth0", "--json")
        pid = Pydsr(lb, bpffs).fork(*arguments, output=output.fileno(), prepare=refuse_bpf)
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        found = Examined.of(Done(os.waitstatus_to_exitcode(status), output.read(), ""))
    assert ["bpf-missing"] == found.ids
    assert "seccomp" in found.first("bpf-missing")["remedy"]


def refuse_bpf() -> None:
    """Make bpf() fail with ENOSYS in the calling process."""
    number = _BPF_NUMBERS[platform.machine()]
    instructions = b"".join(
        struct.pack("=HBBI", *one)
        for one in (
            (_LOAD_NUMBER, 0, 0, 0),
            (_JUMP_UNLESS_EQUAL, 0, 1, number),
            (_RETURN, 0, 0, _ENOSYS),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("=H6xQ", len(instructions) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0),
    ):
        assert libc.prctl(*call) == 0, ctypes.get_errno()
