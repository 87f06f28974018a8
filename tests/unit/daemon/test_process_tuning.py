"""The daemon's threads share one arena of malloc, and free memory is returned."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys, threading
from pathlib import Path

from pydsr.daemon.process_tuning import use_one_arena

if sys.argv[1] == "shared":
    use_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(4)

def take():
    together.wait()
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# An arena reserves 64 MiB at a multiple of that (HEAP_MAX_SIZE of glibc's arena.c): a part in use,
# followed by one without access.
SIZE = 64 << 20
lines = [line.split() for line in Path("/proc/self/maps").open()]
maps = [(*(int(end, 16) for end in line[0].split("-")), line[1]) for line in lines]
print(sum(
    start % SIZE == 0 and (rest, access, top) == (end, "---p", start + SIZE)
    for (start, end, _), (rest, top, access) in zip(maps, maps[1:])
))
"""

GIVE_BACK = """
import ctypes
from pathlib import Path

from pydsr.daemon.process_tuning import trim_memory

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon:")))

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(8192) for _ in range(5000)]
for block in blocks:
    ctypes.memset(block, 1, 8192)
for number, block in enumerate(blocks):
    if number % 50 != 49:
        libc.free(block)
before = anonymous()
trim_memory()
print(before - anonymous())
"""


def run(script: str, *arguments: str) -> int:
    """Return the number that a script prints, in an interpreter of its own."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(sys.maxsize < 2**32, reason="heaps of arenas are smaller on 32 bits")
@pytest.mark.parametrize(("how", "arenas"), [("shared", False), ("as it is", True)])
def test_threads_have_no_arenas_of_their_own(how: str, arenas: bool) -> None:
    assert arenas == (run(COUNT, how) > 0)


def test_free_memory_between_blocks_in_use_is_returned() -> None:
    """Of 40,000 KiB, a fiftieth is in use."""
    assert run(GIVE_BACK) > 20_000
