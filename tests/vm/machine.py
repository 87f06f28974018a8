"""One run of the virtual machine: the job is on a second disk, the outcome comes by three ports."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from tests.support.paths import CHECKOUT
from tests.vm.image import Image

NICS = 3
"""How many plain virtio NICs the machine has, all on one hub that leads nowhere else."""

MANY_QUEUES, JOINING, VMXNET3 = (f"52:54:00:00:01:{number:02x}" for number in range(3))
"""MACs of three more, each with something that a plain one lacks: queues, and rings that can be
set; a device that joins packets, whether the driver wants it or not; and another driver."""

QUEUES = 4
"""Of the one that has many: two for each CPU, one to receive by and one to send by."""

_NATIVE = "pydsr/hashing/_native.so"
_QEMU = "qemu-system-x86_64"
_KERNEL_OPTIONS = (
    "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 "
    # On a busy machine the test of the emulated timer fails, and the kernel panics.
    "no_timer_check "
    # Loaded by whoever wants it, so that the plain NICs have the first names.
    "modprobe.blacklist=vmxnet3"
)


class MachineError(Exception):
    """The machine did not come to the command's end; the message says why."""


def run(
    image: Image,
    command: str,
    timeout: float,
    memory: int,
    accelerator: str,
    kernel_options: str = "",
    record: Path | None = None,
) -> int:
    """Boot, run a command in a copy of the checkout, and return its exit status.

    Args:
        image: what to boot.
        command: a script of the shell; its output goes to our standard output.
        timeout: seconds for all of it.
        memory: MiB the machine has.
        accelerator: ``tcg`` or ``kvm``.
        kernel_options: more of the kernel's command line.
        record: the file for what the command writes to ``/job/record``.

    Raises:
        MachineError: qemu is missing, the time is over, or the machine ended before the command.
    """
    if shutil.which(_QEMU) is None:
        raise MachineError(f"{_QEMU} is not here: apt install qemu-system-x86")
    with tempfile.TemporaryDirectory(prefix="pydsr-vm-") as directory:
        job, status, written, log = (
            Path(directory, name) for name in ("job", "status", "record", "log")
        )
        _write_job(job, command)
        qemu = [
            # Its taps are in a network namespace with nothing else, which ends with it.
            *("unshare", "--net", _QEMU, "-accel", accelerator, "-cpu", "max", "-smp", "2"),
            *("-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none"),
            "-no-reboot",
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
            *("-append", f"{_KERNEL_OPTIONS} {kernel_options} init={image.init}"),
            *("-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on"),
            *("-drive", f"file={job},format=raw,if=virtio,readonly=on"),
            *("-serial", f"file:{log}"),
            *("-device", "virtio-serial-pci"),
            *_port("output", "file,path=/dev/stdout,append=on"),
            *_port("status", f"file,path={status}"),
            *_port("record", f"file,path={written}"),
            *_nics(),
        ]
        try:
            done = subprocess.run(
                qemu, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"ended after {timeout:.0f} seconds\n{_tail(log)}") from None
        text = status.read_text() if status.exists() else ""
        if not text.strip():
            why = f"{done.stderr.decode(errors='replace')}{_tail(log)}"
            raise MachineError(f"the machine ended before the command\n{why}")
        if record is not None and written.stat().st_size > 0:
            shutil.copyfile(written, record)
        return int(text)


def _port(name: str, backend: str) -> list[str]:
    return [
        *("-chardev", f"{backend.replace(',', f',id={name},', 1)}"),
        *("-device", f"virtserialport,chardev={name},name={name}"),
    ]


def _nics() -> list[str]:
    hub, virtio, tap = "hubport,hubid=0", "virtio-net-pci", "tap,script=no,downscript=no"
    plain = [_nic(hub, virtio, f"52:54:00:00:00:{number + 1:02x}") for number in range(NICS)]
    # A hub refuses more queues than one, and takes no packets that are joined: a tap does both.
    special = [
        _nic(f"{tap},queues={QUEUES}", f"{virtio},mq=on,rx_queue_size=1024", MANY_QUEUES),
        _nic(tap, f"{virtio},ctrl_guest_offloads=off", JOINING),
        _nic(hub, "vmxnet3", VMXNET3),
    ]
    return [part for nic in (*plain, *special) for part in nic]


def _nic(network: str, device: str, mac: str) -> list[str]:
    name = f"network-{mac.replace(':', '')}"
    return ["-netdev", f"{network},id={name}", "-device", f"{device},netdev={name},mac={mac}"]


def _write_job(path: Path, command: str) -> None:
    """Write the archive that the machine's first process unpacks."""
    with tarfile.open(path, "w") as archive:
        for name in _files():
            archive.add(CHECKOUT / name, f"checkout/{name}", recursive=False)
        archive.add(Path(__file__).parent / "guest.sh", "guest.sh")
        member = tarfile.TarInfo("command")
        content = f"{command}\n".encode()
        member.size = len(content)
        archive.addfile(member, BytesIO(content))


def _files() -> list[str]:
    """Return the paths of the checkout's files as they are now, without those that git ignores.

    The exception is the library of pydsr.hashing: the machine has no compiler.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    names = [*listed.stdout.rstrip("\0").split("\0"), _NATIVE]
    return sorted(name for name in set(names) if (CHECKOUT / name).is_file())


def _tail(log: Path) -> str:
    """Return the last lines of the machine's console."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-60:])
