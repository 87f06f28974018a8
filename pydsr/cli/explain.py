"""``pydsr explain``: where packets would go, and why."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from pydsr.cli.arguments import ATTACHED, ENDPOINT, SOURCE
from pydsr.cli.output import console, json_option, show
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import InputError

if TYPE_CHECKING:
    from pydsr.captures.pcap import CapturedFrame
    from pydsr.control.balancer import Balancer
    from pydsr.control.trace import Explainer
    from pydsr.views.text.explained import ExplainedFrame


@click.command()
@click.argument("endpoint", type=ENDPOINT, required=False)
@click.option("--from", "source", type=SOURCE, help="The client's end of the flow.")
@click.option("--syn", is_flag=True, help="A packet that opens the connection.")
@click.option(
    "--pcap",
    type=click.Path(readable=False, allow_dash=True),
    metavar="FILE",
    help="Every packet of a capture, pcap or pcapng; - for stdin.",
)
@click.option(
    "--hex", "text", metavar="FRAME", help="One frame as hex, or as a hex dump; - for stdin."
)
@click.option(
    "--in",
    "ingress",
    type=ATTACHED,
    metavar="IFACE",
    help="The one it comes in by.  [default: its backend's; a frame's: the one with the MAC it "
    "was sent to, or the first]",
)
@click.option(
    "--to-us", is_flag=True, help="Take frames for sent to that interface, whatever MAC they name."
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

    Nothing is sent, counted or recorded. The packet is one of a flow, that of ENDPOINT and --from,
    or those of a capture, or a frame. Each is asked about by itself, as things are now: what
    packets before it would have had the program remember is not known, so a later fragment is told
    to come without its first.

    Frames are taken as they are: one that was captured on another host, or of a router, is not
    for this balancer's MAC, and passes; --to-us has it taken as if it was. Padding, and what a
    capture left out, are filled up; where that could decide, it is said instead. With --json each
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
        raise click.UsageError("Name an ENDPOINT, or --pcap, or --hex.")
    if endpoint is None and (source or syn):
        raise click.UsageError("--from and --syn are of an ENDPOINT.")
    if endpoint is not None and (source is None or to_us):
        raise click.UsageError("An ENDPOINT needs --from, and takes no --to-us.")
    with Balancer(directory) as balancer:
        if endpoint is not None and source is not None:
            _explain_flow(balancer, endpoint, source, syn, ingress, as_json)
            return
        names = {one.ifindex: one.name for one in balancer.interfaces()}
        with balancer.explainer() as explainer:
            asking = _Asking(explainer, names, ingress, to_us)
            if text is not None:
                _explain_hex(asking, text, as_json)
            elif pcap is not None:
                _explain_capture(asking, pcap, as_json)


def _explain_flow(
    balancer: Balancer,
    endpoint: Endpoint,
    source: Endpoint,
    syn: bool,
    ingress: str | None,
    as_json: bool,
) -> None:
    from pydsr.views.json import documents
    from pydsr.views.text import tables

    found = balancer.explain(endpoint, source.address, source.port, syn, ingress)
    names = {one.ifindex: one.name for one in balancer.interfaces()}
    leaves_by = names.get(found.interface) if found.interface else None
    show(
        as_json,
        lambda: documents.explain_document(found, leaves_by),
        lambda: tables.explain_table(found, leaves_by),
    )


@dataclass
class _Asking:
    """What is asked about frames, and what was answered so far."""

    explainer: Explainer
    names: dict[int, str]
    ingress: str | None
    to_us: bool
    reasons: Counter[str | None] = field(default_factory=Counter)

    def ask(self, captured: CapturedFrame) -> ExplainedFrame:
        from pydsr.control.trace import UnanswerableError
        from pydsr.views.text.explained import ExplainedFrame

        answer, note = None, ""
        try:
            answer = self.explainer.explain_frame(
                captured.frame, captured.length, self.ingress, self.to_us
            )
        except UnanswerableError as error:
            note = error.message
        self.reasons[answer.reason if answer else None] += 1
        leaves_by = self.names.get(answer.interface) if answer and answer.interface else None
        return ExplainedFrame(captured, answer, leaves_by, note)

    def tell_of_macs(self) -> None:
        """Say what to do about frames that were for others."""
        if self.reasons["not_our_mac"] and not self.to_us:
            click.echo(
                "pydsr: note: not_our_mac is what was sent to the MAC of none of the attached "
                "interfaces; --to-us takes it as if it was",
                err=True,
            )


def _explain_hex(asking: _Asking, text: str, as_json: bool) -> None:
    from pydsr.captures.hexdump import parse_frame
    from pydsr.captures.pcap import CapturedFrame
    from pydsr.views.text import explained

    frame = parse_frame(sys.stdin.read() if text == "-" else text)
    answer = asking.ask(CapturedFrame(1, None, frame, len(frame)))
    show(as_json, lambda: explained.frame_document(answer), lambda: explained.frame_table(answer))
    asking.tell_of_macs()


def _explain_capture(asking: _Asking, path: str, as_json: bool) -> None:
    from pydsr.captures.pcap import read_capture
    from pydsr.views.text import explained, tables

    with _opened(path) as file:
        try:
            for captured in read_capture(file, "stdin" if path == "-" else path):
                answer = asking.ask(captured)
                click.echo(
                    json.dumps(explained.frame_document(answer))
                    if as_json
                    else explained.frame_line(answer)
                )
        finally:
            if asking.reasons and not as_json:
                console().print(tables.outcomes_table(asking.reasons))
            asking.tell_of_macs()


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        file = click.open_file(path, "rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "name another file") from None
    with file:
        yield file
