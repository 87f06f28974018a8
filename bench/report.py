"""Present results as a table and as JSON, with the machine they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import plots
from bench.figures import Figure, net, summarise
from bench.harness import BALANCER, EMPTY, FORWARDER, FULL, SWAP
from bench.kinds import Kind

_JIT = Path("/proc/sys/net/core/bpf_jit_enable")


@dataclass(frozen=True)
class Result:
    """One kind of packets in a number of flows: nanoseconds of each round by program."""

    kind: Kind
    flows: int
    rounds: dict[str, tuple[int, ...]]

    def net(self, program: str) -> Figure:
        """Return what a program costs beyond the empty one."""
        return summarise(net(self.rounds[program], self.rounds[EMPTY]))


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    system = os.uname()
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": str(os.cpu_count()),
        "kernel": f"{system.sysname} {system.release}",
        "jit": _JIT.read_text(encoding="ascii").strip() if _JIT.exists() else "unknown",
        "python": platform.python_version(),
    }


def as_table(results: Sequence[Result], caption: str) -> Table:
    """Return the figures as they are shown: nanoseconds, median and quartiles."""
    table = Table(title="ns/packet beyond an empty program: median (quartiles)", caption=caption)
    table.add_column("packet")
    for heading in ("flows", "MAC swap", "forwarder", BALANCER, FULL, "wrapper alone"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result.kind.name,
            f"{result.flows:,}",
            *(
                str(result.net(name)) if name in result.rounds else "–"  # noqa: RUF001
                for name in (SWAP, FORWARDER, BALANCER, FULL)
            ),
            str(summarise(result.rounds[EMPTY])),
        )
    return table


def as_json(results: Sequence[Result], settings: dict[str, Any]) -> dict[str, Any]:
    """Return everything measured; times are nanoseconds for each packet."""
    return {
        "machine": machine(),
        "settings": settings,
        "results": [
            {
                "packet": result.kind.name,
                "reason": result.kind.reason,
                "flows": result.flows,
                "net": {name: asdict(result.net(name)) for name in result.rounds},
                "rounds": result.rounds,
            }
            for result in results
        ],
    }


def _row_name(name: str, flows: int) -> str:
    return f"{name}, {flows:,} flow{'s' if flows > 1 else ''}"


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw what each kind costs, in the most flows it was measured in."""
    last = {result.kind.name: result for result in results}
    names = list(last)
    programs = (FORWARDER, BALANCER, FULL)
    title = "What a packet costs, in nanoseconds beyond an empty program"
    with plots.drawing(file, title, height_inches=11) as axes:
        for number, (program, colour) in enumerate(zip(programs, plots.COLOURS, strict=False)):
            height = 0.8 / len(programs)
            for row, name in enumerate(names):
                if program not in last[name].rounds:
                    continue
                figure = last[name].net(program)
                place = row + (number - 1) * height
                axes.barh(
                    place,
                    figure.median,
                    0.9 * height,
                    color=colour,
                    xerr=[[figure.median - figure.low], [figure.high - figure.median]],
                    error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
                    label=program if name == names[0] else None,
                )
                plots.label_bar(axes, figure.high + 1, place, f"{figure.median:.0f}")
        plots.name_rows(axes, [_row_name(name, last[name].flows) for name in names])
        axes.set_xlabel("nanoseconds a packet: median and quartiles; less is better")
