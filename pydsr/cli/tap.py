"""``pydsr tap``: packets with what becomes of them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click


@click.command()
@click.option("--count", type=int, default=0, metavar="N", help="End after so many packets.")
@click.option("--drops", is_flag=True, help="Only packets that are dropped.")
@click.option(
    "--reason", "reasons", multiple=True, metavar="REASON", help="Only those that leave for it."
)
@click.option("--sample", type=int, default=1, metavar="N", help="One packet of N, by chance.")
@click.option(
    "-w",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write pcapng there, with what became of each packet as its comment; - for stdout.",
)
@click.pass_obj
def tap(
    directory: Path,
    count: int,
    drops: bool,
    reasons: tuple[str, ...],
    sample: int,
    path: Path | None,
) -> None:
    """Show packets as they come in, with verdict, reason and backend.

    Nothing becomes of packets that would not have become of them anyway. Ctrl-C ends it.

    \b
    Examples:
      pydsr tap --count 10
      pydsr tap --drops
      pydsr tap --reason no_service --reason fragment
      pydsr tap --sample 1000 -w capture.pcapng
      pydsr tap -w - | tshark -r - -T fields -e frame.comment
    """
    from pydsr.tap import Tap, TapOptions, interface_names
    from pydsr.view.capture import CaptureFile, line

    running = Tap(directory, TapOptions(count, sample, reasons, drops))
    with ExitStack() as stack:
        take = lambda packet: click.echo(line(packet))  # noqa: E731
        if path is not None:
            names = interface_names(directory)
            file = (
                sys.stdout.buffer
                if str(path) == "-"
                else stack.enter_context(click.open_file(str(path), "wb"))
            )
            take = CaptureFile(file, names).write
        try:
            running.run(take)
        except KeyboardInterrupt:
            pass  # the usual end of a capture
        finally:
            click.echo(f"{running.done.packets} packets captured", err=True)
            if running.done.lost:
                click.echo(
                    f"{running.done.lost} packets found no room: take fewer, with --sample",
                    err=True,
                )
