"""``pydsr explain``: trace packets through the loaded program."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydsr.cli.arguments import ATTACHED, ENDPOINT, SOURCE
from pydsr.cli.output import console, json_option, open_bytes, show
from pydsr.model.addresses import Endpoint

if TYPE_CHECKING:
    from pydsr.captures.pcap import CapturedFrame
    from pydsr.control.balancer import Balancer
    from pydsr.control.trace import Tracer
    from pydsr.views.text.trace import TracedFrame


@click.command()
@click.argument("endpoint", type=ENDPOINT, required=False)
@click.option("--from", "source", type=SOURCE, help="The client's address and port.")
@click.option("--syn", is_flag=True, help="Trace a TCP SYN, which opens a connection.")
@click.option(
    "--pcap",
    type=click.Path(readable=False, allow_dash=True),
    metavar="FILE",
    help="Trace every packet of a pcap or pcapng file; - for stdin.",
)
@click.option(
    "--hex", "text", metavar="FRAME", help="Trace one frame, as hex or a hex dump; - for stdin."
)
@click.option(
    "--in",
    "ingress",
    type=ATTACHED,
    metavar="IFACE",
    help="The interface where packets arrive.  [default: for a flow, its backend's; for a frame, "
    "the one with the frame's destination MAC, or the first]",
)
@click.option(
    "--to-us",
    is_flag=True,
    help="Treat frames as sent to that interface, whatever their destination MAC.",
)
@json_option
@click.pass_obj
def explain(
    directory: Path,
    endpoint: Endpoint | None,
    source: Endpoint | None,
    syn: bool,
    pcap: str | None,
    text: str | None,
    ingress: str | None,
    to_us: bool,
    as_json: bool,
) -> None:
    """Ask the loaded program where a packet would go, and why.

    Trace a packet of the flow from --from to ENDPOINT, every packet of a capture, or one frame.
    Nothing is sent, counted or recorded. Each packet is traced by itself against the present state:
    the program does not see the packets before it, so a later fragment counts as one whose first
    fragment is missing.

    A frame captured on another host or sent to a router does not have this balancer's MAC, so the
    program passes it; --to-us traces it as if it had. Padding and bytes that the capture left out
    are filled in; where they could change the verdict, the output says so instead. With --json each
    packet of a capture is one line.

    \b
    Examples:
      pydsr explain 198.51.100.10:80 --from 192.0.2.7:40000
      pydsr explain [2001:db8::10]:80 --from [2001:db8::7]:40000 --syn --json
      pydsr explain 198.51.100.10:80 --from 192.0.2.7:40000 --in eth1
      pydsr explain --pcap capture.pcapng --to-us
      tcpdump -i eth0 -c 100 -w - | pydsr explain --pcap - --json
      pydsr explain --hex '02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00 …'
    """
    from pydsr.control.balancer import Balancer

    if [endpoint, pcap, text].count(None) != 2:
        raise click.UsageError("Give one of ENDPOINT, --pcap and --hex.")
    if endpoint is None and (source or syn):
        raise click.UsageError("--from and --syn need an ENDPOINT.")
    if endpoint is not None and source is None:
        raise click.UsageError("An ENDPOINT needs --from.")
    if endpoint is not None and to_us:
        raise click.UsageError("--to-us needs --pcap or --hex.")
    with Balancer(directory) as balancer:
        if endpoint is not None and source is not None:
            _trace_flow(balancer, endpoint, source, syn, ingress, as_json)
            return
        names = {each.ifindex: each.name for each in balancer.interfaces()}
        with balancer.tracer() as tracer:
            frames = _Frames(tracer, names, ingress, to_us)
            if text is not None:
                _trace_hex(frames, text, as_json)
            elif pcap is not None:
                _trace_capture(frames, pcap, as_json)


def _trace_flow(
    balancer: Balancer,
    endpoint: Endpoint,
    source: Endpoint,
    syn: bool,
    ingress: str | None,
    as_json: bool,
) -> None:
    from pydsr.views.json.documents import explain_document
    from pydsr.views.text.trace import trace_table

    with balancer.tracer() as tracer:
        trace = tracer.trace_flow(endpoint, source.address, source.port, syn, ingress)
    names = {each.ifindex: each.name for each in balancer.interfaces()}
    egress = names.get(trace.interface) if trace.interface else None
    show(as_json, lambda: explain_document(trace, egress), lambda: trace_table(trace, egress))


@dataclass
class _Frames:
    """Traces frames, and counts their reasons; None counts frames without an answer."""

    tracer: Tracer
    names: dict[int, str]
    ingress: str | None
    to_us: bool
    reasons: Counter[str | None] = field(default_factory=Counter)

    def trace(self, captured: CapturedFrame) -> TracedFrame:
        from pydsr.control.trace import UntraceableError
        from pydsr.views.text.trace import TracedFrame

        answer, note = None, ""
        try:
            answer = self.tracer.trace_frame(
                captured.frame, captured.length, self.ingress, self.to_us
            )
        except UntraceableError as error:
            note = error.message
        self.reasons[answer.reason if answer else None] += 1
        egress = self.names.get(answer.interface) if answer and answer.interface else None
        return TracedFrame(captured, answer, egress, note)

    def print_note(self) -> None:
        """Print what to do about frames for other MACs."""
        if self.reasons["not_our_mac"] and not self.to_us:
            click.echo(
                "pydsr: note: frames with the reason not_our_mac are for no MAC of an attached "
                "interface; --to-us traces them as if they were",
                err=True,
            )


def _trace_hex(tracer: _Frames, text: str, as_json: bool) -> None:
    from pydsr.captures.hexdump import parse_frame
    from pydsr.captures.pcap import CapturedFrame
    from pydsr.views.text.trace import frame_document, frame_table

    frame = parse_frame(sys.stdin.read() if text == "-" else text)
    traced = tracer.trace(CapturedFrame(1, None, frame, len(frame)))
    show(as_json, lambda: frame_document(traced), lambda: frame_table(traced))
    tracer.print_note()


def _trace_capture(tracer: _Frames, path: str, as_json: bool) -> None:
    from pydsr.captures.pcap import read_capture
    from pydsr.views.text.trace import frame_document, frame_line, outcomes_table

    with open_bytes(path, "rb") as file:
        try:
            for captured in read_capture(file, "stdin" if path == "-" else path):
                traced = tracer.trace(captured)
                click.echo(json.dumps(frame_document(traced)) if as_json else frame_line(traced))
        finally:
            if tracer.reasons and not as_json:
                console().print(outcomes_table(tracer.reasons))
            tracer.print_note()
