"""``pydsr tap``: capture packets with their verdicts."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import REASON
from pydsr.cli.output import json_option, open_bytes

if TYPE_CHECKING:
    from pydsr.model.captured_packet import CapturedPacket


@click.command()
@click.option("--count", type=int, default=0, metavar="N", help="End after N packets.")
@click.option("--drops", is_flag=True, help="Capture dropped packets only.")
@click.option(
    "--reason",
    "reasons",
    type=REASON,
    multiple=True,
    metavar="REASON",
    help="Capture packets with this reason only; may be given several times.",
)
@click.option(
    "--sample", type=int, default=1, metavar="N", help="Capture one packet in N, at random."
)
@click.option(
    "-w",
    "path",
    type=click.Path(readable=False, allow_dash=True),
    metavar="FILE",
    help="Write a pcapng file, with each packet's verdict as its comment; - for stdout.",
)
@json_option
@click.pass_obj
def tap(
    directory: Path,
    count: int,
    drops: bool,
    reasons: tuple[str, ...],
    sample: int,
    path: str | None,
    as_json: bool,
) -> None:
    """Capture packets, with verdict, reason and backend.

    Capturing does not change what happens to packets. Ctrl-C ends it. With --json each packet is
    one line.

    \b
    Examples:
      pydsr tap --count 10
      pydsr tap --drops
      pydsr tap --reason no_service --reason fragment
      pydsr tap --sample 1000 -w capture.pcapng
      pydsr tap -w - | tshark -r - -T fields -e frame.comment
    """
    if as_json and path is not None:
        raise click.UsageError("-w writes pcapng: leave --json out.")
    from pydsr.control.capture import Capture, CaptureOptions, interface_names

    # `timeout 60 pydsr tap` ends as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = Capture(directory, CaptureOptions(count, sample, reasons, drops))
    names = interface_names(directory)
    with _writer(path, names, as_json) as write:
        try:
            running.run(write, lambda: click.echo(f"capturing on {', '.join(names)}", err=True))
        except KeyboardInterrupt:
            pass  # the usual end of a capture
        finally:
            captured, lost = running.totals.packets, running.totals.lost
            click.echo(f"{captured} packet{'' if captured == 1 else 's'} captured", err=True)
            if lost:
                click.echo(f"{lost} packets lost: capture fewer with --sample", err=True)


@contextmanager
def _writer(
    path: str | None, interfaces: list[str], as_json: bool
) -> Iterator[Callable[[CapturedPacket], None]]:
    """Yield a function that prints a packet, or writes it to a file."""
    from pydsr.views.text.capture import CaptureFile, line, packet_document

    if path is None:
        form = (lambda packet: json.dumps(packet_document(packet))) if as_json else line
        yield lambda packet: click.echo(form(packet))
        return
    with open_bytes(path, "wb") as file:
        yield CaptureFile(file, interfaces).write
