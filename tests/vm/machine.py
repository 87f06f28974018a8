"""One run of the virtual machine: the job on a second disk, its output and status by two ports."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from tests.vm.image import CHECKOUT, Image

NICS = 3
"""How many virtio NICs the machine has, all on one hub that leads nowhere else."""

_KERNEL_OPTIONS = "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0"


class MachineError(Exception):
    """The machine did not come to the command's end; the message says why."""


def run(
    image: Image,
    command: str,
    timeout: float,
    memory: int,
    accelerator: str,
    kernel_options: str = "",
) -> int:
    """Boot, run a command in a copy of the checkout, and return its exit status.

    Args:
        image: what to boot.
        command: a script of the shell; its output goes to our standard output.
        timeout: seconds for all of it.
        memory: MiB the machine has.
        accelerator: ``tcg`` or ``kvm``.
        kernel_options: more of the kernel's command line.

    Raises:
        MachineError: qemu is missing, the time is over, or the machine ended before the command.
    """
    with tempfile.TemporaryDirectory(prefix="pydsr-vm-") as directory:
        job, status, log = (Path(directory, name) for name in ("job", "status", "log"))
        _write_job(job, command)
        qemu = [
            *("qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-smp", "2"),
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
            *(part for number in range(NICS) for part in _nic(number)),
        ]
        try:
            done = subprocess.run(
                qemu, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=timeout, check=False
            )
        except FileNotFoundError:
            raise MachineError(f"{qemu[0]} is not here: apt install qemu-system-x86") from None
        except subprocess.TimeoutExpired:
            raise MachineError(f"ended after {timeout:.0f} seconds\n{_tail(log)}") from None
        text = status.read_text() if status.exists() else ""
        if not text.strip():
            why = f"{done.stderr.decode(errors='replace')}{_tail(log)}"
            raise MachineError(f"the machine ended before the command\n{why}")
        return int(text)


def _port(name: str, backend: str) -> list[str]:
    return [
        *("-chardev", f"{backend.replace(',', f',id={name},', 1)}"),
        *("-device", f"virtserialport,chardev={name},name={name}"),
    ]


def _nic(number: int) -> list[str]:
    # More queues than one are refused by a hub; XDP shares the one for sending.
    return [
        *("-netdev", f"hubport,id=hub{number},hubid=0"),
        *("-device", f"virtio-net-pci,netdev=hub{number},mac=52:54:00:00:00:{number + 1:02x}"),
    ]


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
    """Return the paths of the checkout's files as they are now, but for what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    names = listed.stdout.rstrip("\0").split("\0")
    return sorted(name for name in set(names) if (CHECKOUT / name).is_file())


def _tail(log: Path) -> str:
    """Return the last lines of the machine's console."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-60:])
