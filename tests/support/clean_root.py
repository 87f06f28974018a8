"""A clean system of this machine's release, to install a package in and to run foreign tools in.

mmdebstrap makes it once a week from this machine's own apt sources, into a cache outside of the
checkout. A test gets a copy for itself, whose changes are in memory, with mounts, processes and a
network of its own: nothing that runs in it is seen by this machine, and all of it is gone with the
process that holds it, however that ends.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path("/var/cache/pydsr-tests/clean-root")
"""Where systems are kept, for root alone; it may be removed when no test runs."""

PACKAGES = (
    "systemd-sysv",  # services, and the first process of a system that is booted
    *("python3-bpfcc", "python3-venv", "linux-libc-dev"),  # what our package depends on
    *("iproute2", "procps"),
    *("bash-completion", "man-db"),
    *("netplan.io", "network-manager"),  # read what `pydsr realserver --script` writes
)
"""What is installed in it, beside what every Debian has."""

_MAKE = (
    *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
    *("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/locale/*"),
    f"--include={','.join(PACKAGES)}",
)
_END_SECONDS = 10.0
"""How long the processes of a booted system may take to be gone after it was ended."""

_APT = Path("/etc/apt")
_HOLD = """\
set -e
lower=$1 below=$2 booted=$3
mount -t tmpfs tmpfs "$below"
mkdir "$below/upper" "$below/work" "$below/root"
mount -t overlay -o "volatile,lowerdir=$lower,upperdir=$below/upper,workdir=$below/work" \
	overlay "$below/root"
read -r pid rest </proc/self/stat # of the process id that this machine sees
cd "$below/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net # the network is its own, the rest is this machine's
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/changes
mount --bind "$below/upper" run/changes
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do
	ln -s "/proc/self/fd/${number%:*}" "dev/${number#*:}"
done
ip link set lo up
set -- sleep infinity
if [ "$booted" ]; then
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	# It is there to read files, and would configure the interfaces of tests.
	for service in NetworkManager NetworkManager-wait-online; do
		ln -s /dev/null "etc/systemd/system/$service.service"
	done
	set -- /lib/systemd/systemd
fi
# Who holds it is said when that is inside.
exec env --ignore-environment PATH="$PATH" container=pydsr \
	chroot . sh -c 'echo "$0"; exec "$@" >/dev/null' "$pid" "$@"
"""
"""Makes layers usable below an empty directory, says who holds them, and holds or boots them."""

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


@dataclass(frozen=True)
class CleanRoot:
    """A copy of the clean system, for one test.

    Attributes:
        holder: the process that holds it, as this machine numbers it.
    """

    holder: int

    @property
    def prefix(self) -> list[str]:
        """What has a command run in it; set the environment as :meth:`attempt` does."""
        return [
            *("nsenter", f"--target={self.holder}", "--mount", "--pid", "--net"),
            *("--root", "--wd", "--"),
        ]

    def path(self, inside: str | Path) -> Path:
        """Return where this machine sees one of its files; absolute links lead out of it."""
        return Path(f"/proc/{self.holder}/root", str(inside).lstrip("/"))

    def save(self, directory: Path) -> None:
        """Write what was changed in it, for copies of the system that begin with that."""
        changes = self.path("/run/changes")
        subprocess.run(["cp", "--archive", "--no-target-directory", changes, directory], check=True)

    def attempt(
        self, *command: str | Path, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end, whatever that is; messages are part of the output."""
        return subprocess.run(
            [*self.prefix, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env=_ENVIRONMENT,
            check=False,
        )

    def run(self, *command: str | Path, timeout: float = 120) -> str:
        """Run a command in it that must succeed, and return its output."""
        done = self.attempt(*command, timeout=timeout)
        assert done.returncode == 0, (command, done.stdout)
        return done.stdout


@contextmanager
def kept_system() -> Iterator[Path]:
    """Keep the system in the cache for the length of the block, after making it if need be.

    Yields:
        Its directory. Nothing is to be changed there: use :func:`made_root`.
    """
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = CACHE / _key()
        if not directory.exists():
            _remove_unused()
            _make(directory)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield directory
    finally:
        os.close(handle)


@contextmanager
def made_root(
    system: Path,
    network: Path | None = None,
    *,
    changes: Path | None = None,
    booted: bool = False,
) -> Iterator[CleanRoot]:
    """Make a copy of the system, with its own mounts and processes.

    Args:
        system: what :func:`kept_system` yields.
        network: the network namespace it is to be in, as ``/run/netns/NAME``; None is a new one
            without any interface but loopback.
        changes: what :meth:`CleanRoot.save` has written, to begin with.
        booted: run its systemd, as a container does; it may still be starting services.
    """
    enter = ["nsenter", f"--net={network}"] if network else ["unshare", "--net"]
    own = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    with ExitStack() as stack:
        below = stack.enter_context(tempfile.TemporaryDirectory(prefix="pydsr-root-"))
        if booted:
            group = stack.enter_context(_control_group(Path(below).name))
            enter += ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(group)]
            own += ["--cgroup"]
        lower = f"{changes}:{system}" if changes else str(system)
        hold = ["sh", "-c", _HOLD, "sh", lower, below, "booted" if booted else ""]
        holder = stack.enter_context(
            subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *enter, *own, *hold],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(holder.kill)
        assert holder.stdout is not None
        pid = holder.stdout.readline()
        assert pid, "the clean system cannot be mounted; see the messages above"
        yield CleanRoot(int(pid))


@contextmanager
def _control_group(name: str) -> Iterator[Path]:
    """Make a control group for a system that is booted; remove it with all below it."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    tops = [Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2"]
    assert tops, "there is no control group file system of version 2"
    group = tops[0] / name
    group.mkdir()
    try:
        yield group
    finally:
        deadline = time.monotonic() + _END_SECONDS
        while "populated 1" in (group / "cgroup.events").read_text():
            assert time.monotonic() < deadline, f"processes go on in {group}"
            time.sleep(0.01)
        for directory, _, _ in os.walk(group, topdown=False):
            Path(directory).rmdir()


def _key() -> str:
    """Return a name for the system that this machine would make this week."""
    year, week, _ = datetime.datetime.now(tz=datetime.UTC).isocalendar()
    recipe = repr(_MAKE).encode() + b"".join(path.read_bytes() for path in _sources())
    return f"{_release()}-{year}-{week}-{hashlib.sha256(recipe).hexdigest()[:12]}"


def _release() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def _sources() -> Sequence[Path]:
    """Return the files that say where this machine has its packages from."""
    candidates = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]
    return [path for path in candidates if path.suffix in (".list", ".sources") and _names(path)]


def _names(path: Path) -> bool:
    """Return whether a file names any source: what is not there or all comment does not."""
    text = path.read_text() if path.exists() else ""
    return any(line.startswith(("deb ", "Types:")) for line in text.splitlines())


def _remove_unused() -> None:
    """Remove older systems, but those that another run of the tests has in use."""
    for older in CACHE.glob("*/"):
        handle = os.open(older, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(older)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def _make(directory: Path) -> None:
    """Make the system; what is left of an attempt that was killed is removed by the next."""
    made = Path(f"{directory}.making")
    subprocess.run(
        [*_MAKE, _release(), str(made), *map(str, _sources())],
        stdin=subprocess.DEVNULL,
        check=True,
    )
    made.rename(directory)
