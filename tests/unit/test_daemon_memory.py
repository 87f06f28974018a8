"""The daemon's threads take memory from one arena of malloc."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import ctypes, re, sys, threading
from pathlib import Path

from pydsr.daemon.memory import share_one_arena

if sys.argv[1] == "shared":
    share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(4)

def take():
    together.wait()
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=take) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
ends = [[int(n, 16) for n in line.split()[0].split("-")] for line in Path("/proc/self/maps").open()]
# The heap of an arena begins where a multiple of 64 MiB does (HEAP_MAX_SIZE of glibc's arena.c).
print(sum(start % (64 << 20) == 0 for start, _ in ends))
"""


@pytest.mark.skipif(sys.maxsize < 2**32, reason="heaps of arenas are smaller on 32 bits")
@pytest.mark.parametrize(("how", "arenas"), [("shared", False), ("as it is", True)])
def test_threads_have_no_arenas_of_their_own(how: str, arenas: bool) -> None:
    command = [sys.executable, "-c", COUNT, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert arenas == (int(done.stdout) > 0)
