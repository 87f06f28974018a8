"""The style of all plots: SVG, and the same file for the same figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#E69F00", "#56B4E9", "#D55E00")
"""Of Okabe and Ito (https://jfly.uni-koeln.de/color/): all eyes tell them apart."""

_WIDTH_INCHES = 9
_LABEL_POINTS = 8


@contextmanager
def drawing(
    file: Path, title: str, height_inches: float, legend_columns: int = 3
) -> Iterator[Axes]:
    """Draw horizontal bars, and write them to a file at the end of the block."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "pydsr"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    try:
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.grid(visible=True, color="#e5e5e5")
        axes.set_axisbelow(True)
        yield axes
        figure.legend(loc="outside lower center", ncols=legend_columns, frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
    finally:
        pyplot.close(figure)


def name_rows(axes: Axes, names: list[str]) -> None:
    """Name the groups of bars, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def label_bar(axes: Axes, end: float, row: float, text: str) -> None:
    """Write beside the end of a bar."""
    axes.text(end, row, text, va="center", fontsize=_LABEL_POINTS)
