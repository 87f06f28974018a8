"""Run ``python -m tests.fuzz`` as root: millions of frames in several processes."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.support.packets.fuzz_compare import Comparison, Disagreement, shrunk
from tests.support.packets.fuzz_frames import Mutator, seeds
from tests.support.packets.fuzz_services import build
from tests.support.packets.reference import Reference

_MOST_SHOWN = 5


def run(seed: int, number: int) -> tuple[int, list[Disagreement]]:
    """Compare a number of frames.

    Args:
        seed: of what is done to them.
        number: how many; every seed frame, cut at each length, comes first.

    Returns:
        How many were compared, and the first few disagreements.
    """
    rig, known = build()
    found: list[Disagreement] = []
    with rig:
        comparison = Comparison(rig, Reference(known))
        done = 0
        for frame in _frames(seed, number):
            done += 1
            disagreement = comparison.compare(frame)
            if disagreement is not None:
                found.append(shrunk(comparison, disagreement))
                if len(found) == _MOST_SHOWN:
                    break
    return done, found


def _frames(seed: int, number: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    begin = seeds()
    chance.shuffle(begin)
    systematic = (frame[:size] for frame in begin for size in range(14, min(len(frame), 140) + 1))
    mutator = Mutator(chance, begin)
    for index in range(number):
        frame = next(systematic, None) if index % 2 else None
        yield frame or mutator.frame()


def main() -> None:
    """Run it in as many processes as asked for, and show what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args()
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    start = time.monotonic()
    share = -(-arguments.frames // arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(run, range(seed, seed + arguments.jobs), [share] * arguments.jobs))
    done = sum(number for number, _ in results)
    found = [one for _, disagreements in results for one in disagreements]
    rate = done / (time.monotonic() - start)
    lines = [f"{done:,} frames, {rate:,.0f} a second, seed {seed}: {len(found)} disagreements"]
    sys.stdout.write("\n".join([*lines, *map(str, found)]) + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
