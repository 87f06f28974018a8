"""Draw how tables change, and the states of a slot: ``python -m docs.pictures``.

The tables come from the code that computes real ones.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from bench.plots import COLOURS
from pydsr.hashing.maglev import Member, build_table
from pydsr.kernel.bpf.layout import pack_address

if TYPE_CHECKING:
    from matplotlib.axes import Axes

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "pydsr"

IMAGES = Path(__file__).with_name("images")

_SIZE = 251
"""Slots of the tables in the pictures: few enough to be visible."""

_COLUMNS = 42
_QUIET = "#d9dee4"
_STATES = (
    ("at rest", "packets go to the owner;\nno flow is looked up", "#e8f4ec"),
    (
        "learning",
        "SYN: to the new owner\nothers: to the old owner\nflows are recorded",
        "#fdf1dc",
    ),
    ("settling", "recorded flows: as recorded\nall others: to the owner", "#e4eef7"),
)
_STEPS = (
    "a change assigns\nanother owner",
    "15 minutes\n(UDP: 2)",
    "no record names\nanother backend",
)


def table_of(backends: int) -> array[int]:
    """Return the table of this many backends with equal weights."""
    addresses = [ip_address(f"10.0.0.{number}") for number in range(1, backends + 1)]
    members = [Member(pack_address(one), 1, number) for number, one in enumerate(addresses, 1)]
    return build_table(members, _SIZE)


def moved(before: Sequence[int], after: Sequence[int]) -> set[int]:
    """Return the slots whose owner changed."""
    return {slot for slot in range(len(before)) if before[slot] != after[slot]}


def draw_tables(target: Path) -> None:
    """Draw a table before and after a backend is added, and the same with hash modulo."""
    before, after = table_of(3), table_of(4)
    divided = [slot % 3 + 1 for slot in range(_SIZE)], [slot % 4 + 1 for slot in range(_SIZE)]
    pictures = [
        (before, range(_SIZE), f"{_SIZE} slots of three backends"),
        (
            after,
            moved(before, after),
            f"a fourth is added: {len(moved(before, after))} slots move (grey slots stay)",
        ),
        (
            divided[1],
            moved(*divided),
            f"with hash modulo number of backends, {len(moved(*divided))} slots would move",
        ),
    ]
    with _figure(target, 3, 5.6) as parts:
        for axes, (owners, shown, title) in zip(parts, pictures, strict=True):
            _draw_slots(axes, owners, set(shown), title)


def _draw_slots(axes: Axes, owners: Sequence[int], shown: Collection[int], title: str) -> None:
    colours = [COLOURS[owner - 1] if slot in shown else _QUIET for slot, owner in enumerate(owners)]
    across = [slot % _COLUMNS for slot in range(_SIZE)]
    down = [-(slot // _COLUMNS) for slot in range(_SIZE)]
    axes.scatter(across, down, c=colours, marker="s", s=110)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_axis_off()
    axes.margins(0.02, 0.12)


def draw_slot(target: Path) -> None:
    """Draw the states of a slot and the transitions between them."""
    with _figure(target, 1, 2.7) as (axes,):
        for number, (name, words, colour) in enumerate(_STATES):
            left = 3.2 * number
            axes.text(left, 0.35, name, ha="center", fontsize=13, fontweight="bold")
            axes.text(left, 0.2, words, ha="center", va="top", fontsize=9.5)
            axes.add_patch(mpl.patches.Rectangle((left - 1, -0.7), 2, 1.4, fc=colour, ec="#8a94a0"))
        arrow = {"arrowstyle": "->", "color": "#4a5560", "lw": 1.6}
        for number in range(2):
            axes.annotate("", (3.2 * number + 2.2, 0), (3.2 * number + 1, 0), arrowprops=arrow)
            axes.text(3.2 * number + 1.6, 0.1, _STEPS[number], ha="center", fontsize=8.5)
        axes.plot([6.4, 6.4, 0], [-0.7, -1.05, -1.05], color="#4a5560", lw=1.6)
        axes.annotate("", (0, -0.7), (0, -1.06), arrowprops=arrow)
        axes.text(3.2, -1.0, _STEPS[2].replace("\n", " "), ha="center", fontsize=8.5)
        axes.set_xlim(-1.1, 7.5)
        axes.set_ylim(-1.2, 0.8)
        axes.set_axis_off()


@contextmanager
def _figure(target: Path, rows: int, height_inches: float) -> Iterator[list[Axes]]:
    """Draw axes below each other, and write them to a file at the end of the block."""
    from matplotlib import pyplot

    figure, parts = pyplot.subplots(
        rows, figsize=(9, height_inches), layout="constrained", squeeze=False
    )
    try:
        yield [row[0] for row in parts]
        figure.savefig(target, metadata={"Date": None})
    finally:
        pyplot.close(figure)


def main() -> None:
    """Draw all pictures."""
    draw_tables(IMAGES / "tables.svg")
    draw_slot(IMAGES / "slot.svg")


if __name__ == "__main__":
    main()
