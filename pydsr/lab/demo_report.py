"""What the demo of the lab found, for people. Pure functions of findings."""

from __future__ import annotations

import io
from functools import singledispatch

from rich import box
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pydsr.lab.findings import (
    Bypass,
    Commands,
    Finding,
    Removal,
    Requests,
    Screen,
    Step,
    Traffic,
    Verdict,
)
from pydsr.views.text.figures import amount

_BAR_CELLS = 24


def to_text(finding: Finding, width: int) -> str:
    """Render a finding as text with colour codes, which the caller strips where not wanted.

    Args:
        finding: what was found.
        width: characters a line may have; commands to copy are never broken.
    """
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="standard", _environ={}
    )
    with console.capture() as captured:
        console.print(render(finding), soft_wrap=isinstance(finding, Commands | Screen))
    return captured.get()


@singledispatch
def render(finding: Finding) -> RenderableType:
    """Return what shows a finding."""
    raise NotImplementedError(type(finding).__name__)


@render.register
def _(step: Step) -> RenderableType:
    return Text.assemble("\n", (f"▸ {step.text}", "bold"))


@render.register
def _(commands: Commands) -> RenderableType:
    lines = [Text.assemble("\n", (commands.title, "bold"))]
    for command, meaning in commands.commands:
        lines += [Text(f"  # {meaning}", style="dim"), Text(f"  {command}")]
    return Group(*lines)


@render.register
def _(requests: Requests) -> RenderableType:
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


@render.register
def _(bypass: Bypass) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("interface")
    for heading in ("received", "packets", "sent", "packets"):
        table.add_column(heading, justify="right")
    table.add_row("balancer eth0", *_traffic(bypass.balancer), style="bold")
    for name, traffic in bypass.backends.items():
        table.add_row(f"{name} eth0", *_traffic(traffic))
    share = bypass.balancer.sent_bytes / bypass.reply_bytes if bypass.reply_bytes else 0.0
    return Group(
        table,
        Text.assemble(
            "  The clients received ",
            (amount(bypass.reply_bytes), "bold"),
            "; the balancer's interface sent ",
            (amount(bypass.balancer.sent_bytes), "bold"),
            f" ({share:.1%}): requests only.",
        ),
    )


@render.register
def _(removal: Removal) -> RenderableType:
    before, after = removal.before, removal.after
    return Group(
        _spread({"before": before, "after": after}),
        Text(
            f"  {before.rate:.0f} requests/s before, {after.rate:.0f} after {removal.backend} "
            f"was removed."
        ),
        Text(
            f"  Failed: {before.failed} before, {removal.cut_off} under way at the removal, "
            f"{after.failed} after."
        ),
    )


@render.register
def _(screen: Screen) -> RenderableType:
    return Group(Text(f"\n$ {screen.command}", style="bold"), Text(screen.text.rstrip("\n")))


@render.register
def _(verdict: Verdict) -> RenderableType:
    lines = Text("\n").join(
        Text.assemble(
            ("✔ ", "green") if check.held else ("✘ ", "bold red"),
            check.claim if check.held else (f"not so: {check.claim}", "bold"),
        )
        for check in verdict.checks
    )
    title = "everything held" if verdict.held else "something did not hold"
    return Panel(lines, title=title, border_style="green" if verdict.held else "red", expand=False)


def _spread(columns: dict[str, Requests]) -> Table:
    """Draw replies by backend: a number and a bar for each column."""
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
