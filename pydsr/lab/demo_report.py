"""The demo's output as text. Pure."""

from __future__ import annotations

import io
from functools import singledispatch

from rich import box
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pydsr.lab.demo_results import (
    CommandOutput,
    Commands,
    Conclusion,
    DemoOutput,
    Removal,
    RequestStats,
    ReturnPath,
    Step,
    Traffic,
)
from pydsr.views.text.figures import amount

_BAR_CELLS = 24


def to_text(output: DemoOutput, width: int) -> str:
    """Return output as text with colour codes, in lines of a width; commands are never broken."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="standard", _environ={}
    )
    with console.capture() as captured:
        console.print(_render(output), soft_wrap=isinstance(output, Commands | CommandOutput))
    return captured.get()


@singledispatch
def _render(output: DemoOutput) -> RenderableType:
    raise NotImplementedError(type(output).__name__)


@_render.register
def _(step: Step) -> RenderableType:
    return Text.assemble("\n", (f"▸ {step.text}", "bold"))


@_render.register
def _(commands: Commands) -> RenderableType:
    lines = [Text.assemble("\n", (commands.title, "bold"))]
    for command, meaning in commands.commands:
        lines += [Text(f"  # {meaning}", style="dim"), Text(f"  {command}")]
    return Group(*lines)


@_render.register
def _(requests: RequestStats) -> RenderableType:
    return Group(
        _spread({"replies": requests}),
        Text(
            f"  {requests.done} answered, {requests.failed} failed, in {requests.seconds:.1f} s: "
            f"{requests.rate:.0f} requests/s, {amount(requests.bytes)}"
        ),
        *(
            Text(f"  {count} times {error}", style="red")
            for error, count in requests.errors.items()
        ),
    )


@_render.register
def _(path: ReturnPath) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("interface")
    for heading in ("received", "packets", "sent", "packets"):
        table.add_column(heading, justify="right")
    table.add_row("balancer eth0", *_traffic(path.balancer), style="bold")
    for name, traffic in path.backends.items():
        table.add_row(f"{name} eth0", *_traffic(traffic))
    share = path.balancer.sent_bytes / path.reply_bytes if path.reply_bytes else 0.0
    return Group(
        table,
        Text.assemble(
            "  The clients received ",
            (amount(path.reply_bytes), "bold"),
            "; the balancer's interface sent ",
            (amount(path.balancer.sent_bytes), "bold"),
            f" ({share:.1%}): requests only.",
        ),
    )


@_render.register
def _(removal: Removal) -> RenderableType:
    before, after = removal.before, removal.after
    return Group(
        _spread({"before": before, "after": after}),
        Text(
            f"  {before.rate:.0f} requests/s before, {after.rate:.0f} after {removal.backend} "
            f"was removed."
        ),
        Text(
            f"  Failed: {before.failed} before, {removal.cut_off} in flight at the removal, "
            f"{after.failed} after."
        ),
    )


@_render.register
def _(output: CommandOutput) -> RenderableType:
    return Group(Text(f"\n$ {output.command}", style="bold"), Text(output.text.rstrip("\n")))


@_render.register
def _(conclusion: Conclusion) -> RenderableType:
    lines = Text("\n").join(
        Text.assemble(
            ("✔ ", "green") if expectation.is_met else ("✘ ", "bold red"),
            expectation.claim if expectation.is_met else (f"failed: {expectation.claim}", "bold"),
        )
        for expectation in conclusion.expectations
    )
    title = "all expectations met" if conclusion.is_met else "some expectations failed"
    return Panel(
        lines, title=title, border_style="green" if conclusion.is_met else "red", expand=False
    )


def _spread(columns: dict[str, RequestStats]) -> Table:
    """Return the replies by backend, a number and a bar for each column."""
    table = Table(box=None, show_header=len(columns) > 1, padding=(0, 1, 0, 1))
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
        table.add_column("", width=_BAR_CELLS)
    most = {heading: max(each.answered.values(), default=0) for heading, each in columns.items()}
    for backend in next(iter(columns.values())).answered:
        cells: list[RenderableType] = [backend]
        for heading, requests in columns.items():
            count = requests.answered.get(backend, 0)
            cells.append(str(count))
            cells.append(Bar(max(1, most[heading]), 0, count, width=_BAR_CELLS, color="cyan"))
        table.add_row(*cells)
    return table


def _traffic(traffic: Traffic) -> tuple[str, str, str, str]:
    return (
        amount(traffic.received_bytes),
        str(traffic.received_packets),
        amount(traffic.sent_bytes),
        str(traffic.sent_packets),
    )
