"""Packet rates over a wire: flows, what becomes of them, and how they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from bench import nftlb
from bench.figures import Figure
from bench.wire_flows import Run, WrongAnswerError, check, check_change, make_flows
from bench.wire_report import (
    Changes,
    Result,
    as_json,
    as_table,
    describe_changes,
    floor_of,
    lost_share,
    plot,
    ratio,
    shown,
    shown_loss,
)
from pydsr.model.addresses import Endpoint

EVEN = (10,) * 16
ONLY_ONE = (160, *(0,) * 15)


def run(mpps: float, received: int = 1_000_000, sent: int = 1_000_000) -> Run:
    """Return a run of a rate."""
    return Run(sent, received / mpps / 1e6, (received, *(0,) * 15))


def result(contestant: str, *mpps: float, version: int = 4, flows: int = 1) -> Result:
    """Return a contestant's rounds."""
    return Result(contestant, version, flows, tuple(run(each) for each in mpps))


def checksum(total: int) -> int:
    """Return what RFC 1071 makes of a sum."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF ^ total


@pytest.mark.parametrize("version", [4, 6])
def test_the_sums_of_flows_and_a_flow_make_its_checksums(version: int) -> None:
    flows = make_flows(version, 100_000)
    address, port = 0xFEDC, 0xBA98
    frame = bytearray(flows.frame)
    for offset, word in ((flows.address_offset, address), (flows.port_offset, port)):
        assert bytes(2) == frame[offset : offset + 2]
        frame[offset : offset + 2] = word.to_bytes(2, "big")
    packet = Ether(bytes(frame))
    ip = packet[IP if version == 4 else IPv6]
    assert port == ip[TCP].sport
    del ip[TCP].chksum
    if version == 4:
        del ip.chksum
    right = Ether(bytes(packet))
    assert right[TCP].chksum == checksum(flows.tcp_sum + address + port)
    if version == 4:
        assert right[IP].chksum == checksum(flows.ip_sum + address)
    else:
        assert flows.ip_check_offset == 0


@pytest.mark.parametrize(
    ("by_backend", "flows", "is_spread"),
    [(EVEN, 100_000, True), (ONLY_ONE, 1, True), (ONLY_ONE, 100_000, False)],
    ids=["many flows, all backends", "one flow, one backend", "everything to one MAC"],
)
def test_a_run_that_is_what_it_should_be_counts(
    by_backend: tuple[int, ...], flows: int, is_spread: bool
) -> None:
    check(Run(160, 1.0, by_backend), flows, is_spread)


@pytest.mark.parametrize(
    ("wrong", "flows", "message"),
    [
        (Run(160, 1.0, EVEN, others=1), 100_000, "1 frames arrived that were not"),
        (Run(159, 1.0, EVEN), 100_000, "160 frames arrived of 159"),
        (Run(160, 1.0, (0,) * 16), 1, "0 frames arrived of 160"),
        (Run(160, 1.0, ONLY_ONE), 100_000, "1 backends had frames of 100000 flows, not 16"),
        (Run(160, 1.0, EVEN), 1, "16 backends had frames of 1 flows, not 1"),
    ],
    ids=["strangers", "more than sent", "nothing", "not spread", "a flow on many backends"],
)
def test_a_wrong_answer_has_no_rate(wrong: Run, flows: int, message: str) -> None:
    with pytest.raises(WrongAnswerError, match=message):
        check(wrong, flows)


def test_changes_that_lose_nothing_and_move_no_flow_pass() -> None:
    check_change(Run(160, 2.0, EVEN), Run(160, 1.0, EVEN))


@pytest.mark.parametrize(
    ("by_backend", "message"),
    [((9, *EVEN[1:]), "1 frames of 160 were lost"), ((9, 11, *EVEN[2:]), "other backends")],
    ids=["a lost frame", "a moved flow"],
)
def test_changes_may_not_lose_or_move_a_frame(by_backend: tuple[int, ...], message: str) -> None:
    with pytest.raises(WrongAnswerError, match=message):
        check_change(Run(160, 1.0, by_backend), Run(160, 1.0, EVEN))


def test_a_rate_counts_what_came_back() -> None:
    half = Run(2_000_000, 0.5, (1_000_000, *(0,) * 15))
    assert (half.mpps, half.loss) == (2.0, 0.5)


def test_the_loss_is_of_all_rounds() -> None:
    assert lost_share([run(1.0), run(1.0, received=500_000)]) == 0.25


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "0"), (0.0000125, "0.0013 %"), (0.25, "25.0000 %")]
)
def test_no_loss_looks_unlike_a_small_one(share: float, expected: str) -> None:
    assert expected == shown_loss(share)


def test_a_ratio_is_taken_round_by_round() -> None:
    # A machine that is half as fast for a while halves both.
    ours, theirs = result("pydsr", 4.0, 2.0, 4.0), result("forwarder", 2.0, 1.0, 2.0)
    assert pytest.approx((2, 2, 2)) == tuple(vars(ours.ratio(theirs)).values())
    assert "2.00 (2.00-2.00)" == shown(ratio(ours.runs, theirs.runs))


def test_rounds_without_the_forwarder_beside_them_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        result("pydsr", 4.0, 2.0).ratio(result("forwarder", 4.0))


def test_the_floor_is_the_forwarder_with_as_many_flows() -> None:
    floors = [result("forwarder", 1.0, flows=flows) for flows in (1, 100_000)]
    assert floors[1] is floor_of(result("pydsr", 1.0, version=6, flows=100_000), floors)


RESULTS = (
    result("forwarder", 4.0, 4.0),
    result("pydsr", 5.0, 5.0),
    result("pydsr", 3.0, 3.0, version=6),
)
CHANGES = Changes((run(4.0),), (run(3.0),), switches=50, seconds=0.5, slots_changing=4_301)


def test_changes_are_told_with_what_was_sent_and_received() -> None:
    assert describe_changes(CHANGES) == (
        "Under 100 table switches a second, 4,301 slots changing: 1,000,000 frames sent, "
        "1,000,000 received, every flow on its backend; rate 0.75 (0.75-0.75) of that at rest"
    )


def test_a_row_has_rate_ratio_and_loss() -> None:
    table = as_table(RESULTS, "a machine")
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    expected = ("TCP v4", "1", "pydsr", "5.00 (5.00-5.00)", "1.25 (1.25-1.25)", "0")
    assert expected == rows[1]


def test_the_document_has_every_round_and_says_who_is_not_in_it() -> None:
    document = as_json(RESULTS, CHANGES, {"forwarder in tc": "no"}, {"rounds": 2})
    assert {"forwarder in tc": "no"} == document["left_out"]
    pydsr6 = document["results"][2]
    assert ("pydsr", "TCP v6", 1, 0.0) == tuple(
        pydsr6[key] for key in ("contestant", "packet", "flows", "loss")
    )
    assert {"median": 0.75, "low": 0.75, "high": 0.75} == pytest.approx(pydsr6["ratio"])
    assert (2_000_000, 2_000_000) == (pydsr6["sent"], pydsr6["received"])
    assert [3.0, 3.0] == pydsr6["rounds"]
    under_change = document["under_change"]
    assert pytest.approx(100) == under_change["switches_per_second"]
    assert ([4.0], [3.0]) == tuple(under_change[key]["rounds"] for key in ("at_rest", "changed"))


def test_the_plot_is_the_same_file_for_the_same_figures(tmp_path: Path) -> None:
    files = [tmp_path / "new" / name for name in ("one.svg", "two.svg")]
    for file in files:
        plot(RESULTS, file)
    one, two = (file.read_bytes() for file in files)
    assert one.startswith(b"<?xml")
    assert one == two


def test_a_weight_is_that_many_numbers_of_the_hash() -> None:
    service = Endpoint.parse("198.51.100.10:80")
    backends = [("02:00:00:00:00:0a", 1), ("02:00:00:00:00:0b", 3)]
    rules = nftlb.ruleset("eth7", "02:00:00:00:00:01", service, backends, nftlb.SEED_KEPT)
    assert "mod 4 seed 0x5eed map { 0-0 : 02:00:00:00:00:0a, 1-3 : 02:00:00:00:00:0b }" in rules
    assert "ip daddr 198.51.100.10 tcp dport 80 ether saddr set 02:00:00:00:00:01" in rules
    assert 'fwd to "eth7"' in rules


def test_a_figure_of_rates_has_two_decimals() -> None:
    assert "4.05 (3.90-4.13)" == shown(Figure(4.051, 3.899, 4.126))
