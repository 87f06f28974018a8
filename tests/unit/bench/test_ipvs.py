"""IPVS beside pydsr: what is sent, what becomes of it, and how it leaves the machine."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from bench.figures import Figure
from bench.ipvs_contestants import ALL, SCHEDULERS, parse_connections
from bench.ipvs_flows import Workload, check_connections, check_kept
from bench.ipvs_report import Output, Result, as_document, as_table, document_line
from bench.wire_flows import PORT, VIP4, Flows, Run, WrongAnswerError

KEPT = Workload("kept", 1_000)
NEW = Workload("new", begins=True)
UNEVEN = (7, 3, *(0,) * 14)

SHORTEST_FRAME = 60

LISTING = """\
IP Virtual Server version 1.2.1 (size=1048576)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  198.51.100.10:80 mh (mh-port)
  -> 10.66.0.11:80                Route   1      60         2
  -> 10.66.0.12:80                Route   1      0          5
"""


def run(seconds: float, sent: int = 1_000, received: int = 1_000) -> Run:
    """Return a run whose frames went to one backend."""
    return Run(sent, seconds, (received, *(0,) * 15))


def cycle(*by_backend: int, sent: int = 0) -> Run:
    """Return a run that lost nothing unless more were sent."""
    return Run(sent or sum(by_backend), 1.0, by_backend)


@pytest.mark.parametrize(
    ("flows", "flags"),
    [(KEPT.opening(), "S"), (KEPT.flows(0), "A"), (NEW.flows(0, 5), "S")],
    ids=["opening", "kept", "new"],
)
def test_frames_are_right_and_longer_than_what_ethernet_pads(flows: Flows, flags: str) -> None:
    packet = Ether(flows.frame)
    assert (VIP4, PORT, flags) == (packet[IP].dst, packet[TCP].dport, str(packet[TCP].flags))
    assert SHORTEST_FRAME < len(flows.frame) == 14 + packet[IP].len
    checksums = packet[IP].chksum, packet[TCP].chksum
    del packet[IP].chksum, packet[TCP].chksum
    right = Ether(bytes(packet))
    assert (right[IP].chksum, right[TCP].chksum) == checksums


def test_connections_that_stay_are_the_same_in_every_round() -> None:
    assert KEPT.flows(0) == KEPT.flows(5)
    assert Ether(KEPT.opening().frame)[IP].src == Ether(KEPT.flows(5).frame)[IP].src
    assert KEPT.opening().number == KEPT.flows(5).number == 1_000


def test_connections_that_begin_were_in_no_round_before() -> None:
    rounds = [NEW.flows(number, 200_000) for number in range(9)]
    assert {200_000} == {flows.number for flows in rounds}
    kept = Ether(KEPT.opening().frame)[IP].src
    assert 10 == len({kept, *(Ether(flows.frame)[IP].src for flows in rounds)})


@pytest.mark.parametrize(
    ("measured", "before"),
    [
        (cycle(*UNEVEN), cycle(*UNEVEN)),
        (cycle(*(3 * frames for frames in UNEVEN)), cycle(*UNEVEN)),
        (cycle(6, 3, sent=10), cycle(7, 3)),
        (cycle(8, 2), cycle(6, 3, sent=10)),
    ],
    ids=["the same", "three times as many", "some lost now", "some lost before"],
)
def test_flows_that_may_have_kept_their_backends_are_let_be(measured: Run, before: Run) -> None:
    check_kept(measured, before)


def test_flows_with_other_backends_than_before_are_a_wrong_answer() -> None:
    with pytest.raises(WrongAnswerError, match="other backends"):
        check_kept(cycle(15, 5), cycle(7, 3))


@pytest.mark.parametrize("kept", [None, 900, 1_000])
def test_as_many_connections_as_frames_came_through_may_be_kept(kept: int | None) -> None:
    check_connections(kept, 900, 1_000)


@pytest.mark.parametrize("kept", [0, 899, 1_001])
def test_fewer_or_more_connections_are_a_wrong_answer(kept: int) -> None:
    with pytest.raises(WrongAnswerError, match=f"^{kept} connections"):
        check_connections(kept, 900, 1_000)


def test_connections_are_counted_over_all_backends() -> None:
    assert 67 == parse_connections(LISTING)


def test_a_service_without_backends_keeps_no_connection() -> None:
    assert 0 == parse_connections("\n".join(LISTING.splitlines()[:4]))


def test_both_schedulers_are_measured_beside_each_other_and_the_rest() -> None:
    names = [contestant.name for contestant in ALL]
    assert len(names) == len(set(names))
    assert {"forwarder", "pydsr", *SCHEDULERS} < set(names)


def test_ratios_are_taken_round_by_round() -> None:
    result = Result("kept", {"one": [run(2), run(40), run(6)], "other": [run(1), run(10), run(3)]})
    assert Figure(0.5, 0.375, 0.5) == result.ratio("one", "other")


def test_what_is_lost_is_not_counted_as_brought() -> None:
    result = Result("kept", {"one": [run(1, received=500)], "other": [run(1)]})
    assert 0.5 == result.ratio("one", "other").median
    assert 50 == result.lost_percent("one")
    table = as_table([result], "other", "")
    assert ["0.500 (0.500-0.500), 50.00 % lost", "1.000 (1.000-1.000)"] == list(
        table.columns[1].cells
    )


def test_a_document_leaves_the_machine_in_one_line_among_others() -> None:
    result = Result("kept", {"one": [run(2)], "other": [run(1)]})
    document = as_document([result], ["other"], {"cpu": "any"}, {"rounds": 1})
    assert document["results"][0]["ratios"]["other"]["one"]["median"] == 0.5
    line = document_line(document)
    assert "\n" not in line
    output = Output(["measuring\n", f"{line}\n", "the end\n"])
    assert ["measuring\n", "the end\n"] == list(output.shown())
    assert document == output.document


def test_a_machine_that_ends_early_leaves_no_document() -> None:
    output = Output(["measuring\n"])
    assert ["measuring\n"] == list(output.shown())
    assert output.document is None
