"""What a user sees at rest: numbers, the tables, the documents."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from pydsr.captures.pcap import CapturedFrame
from pydsr.control.attached_interfaces import Attached
from pydsr.control.trace import Trace
from pydsr.model.addresses import Endpoint, Tag
from pydsr.model.change import Change, Impact
from pydsr.model.features import Feature, FeatureUse
from pydsr.model.options import Affinity, ServiceOptions
from pydsr.model.rates import rates_between
from pydsr.model.reasons import all_reasons
from pydsr.model.service import BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot
from pydsr.model.source_rules import Action
from pydsr.views.json import documents
from pydsr.views.text import figures, lines, tables
from pydsr.views.text.lines import Lines
from pydsr.views.text.trace import TracedFrame, frame_line, trace_table
from pydsr.views.top.choices import Choices
from pydsr.views.top.frame import frame
from pydsr.views.top.moment import Moment
from tests.support.sample_traffic import LONGEST_V6, MAC, backend, line_with, lines_of, service

FEATURES = FeatureUse(
    Feature.VLAN | Feature.FRAGMENTS | Feature.ACL, unused=Feature.ACL, excluded=Feature.TAP
)

# Numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.5, "0.5"),
        (99.96, "100"),
        (999, "999"),
        (999.6, "1.0k"),
        (1234, "1.2k"),
        (99_960, "100k"),
        (999_900, "1.0M"),
        (3_400_000, "3.4M"),
        (2**64, "18.4E"),
        (None, "–"),
    ],
)
def test_a_count_is_short_and_never_rounded_to_four_digits(value: float | None, text: str) -> None:
    assert figures.count(value) == text


def test_bits_and_shares_carry_their_unit() -> None:
    assert figures.bit_rate(12_345_678) == "12.3 Mbit/s"
    assert figures.bit_rate(0) == "0 bit/s"
    assert [figures.percent(x) for x in (0, 0.0031, 0.48, 1.0, None)] == [
        "0%", "0.3%", "48%", "100%", "–",
    ]  # fmt: skip


def test_a_sparkline_shows_the_newest_at_the_right_and_little_traffic_as_some() -> None:
    assert figures.sparkline([9, 0, 1, 700], 5) == " ▂▁▂█"
    assert figures.sparkline([9, 0, 350, 700], 3) == "▁▅█"
    assert figures.sparkline([0, 0], 2) == "▁▁"
    assert figures.sparkline([], 3) == "   "


def test_a_share_bar_fills_the_width_and_marks_the_weight() -> None:
    assert lines.plain(figures.share_bar(0.5, 0.25, 0.5, 8)) == "━━━┿━━━━"
    assert lines.plain(figures.share_bar(0.25, 0.5, 0.5, 8)) == "━━━━───┿"
    assert lines.plain(figures.share_bar(None, 0.0, 0.0, 4)) == "────"


def test_deviations_carry_their_sign_and_durations_their_unit() -> None:
    assert [figures.signed_percent(x) for x in (0.2, -0.034, 0.0001, 12.0, None)] == [
        "+20%", "-3.4%", "0%", "+>999%", "–",
    ]  # fmt: skip
    assert [figures.duration(x) for x in (0.4, 119, 120, 7200, 180_000, None)] == [
        "0 s", "119 s", "2 min", "2 h", "2 d", "–",
    ]  # fmt: skip


# Tables


def test_brackets_of_an_ipv6_endpoint_are_no_markup() -> None:
    six = service("[fd00::1]:80", backend(1, "fd00::2"), name="[red]")
    snapshot = Snapshot(1.0, (six,), {}, {"tx": 1})
    for table in (
        tables.services_table([six]),
        tables.backends_table([six], {}),
        tables.stats_table(snapshot),
        Lines(frame(Moment(rates_between(None, snapshot)), Choices(), width=80)),
    ):
        line = line_with(lines_of(table), "[fd00::1]:80/tcp")
        assert "[red]" in line


def test_the_backends_table_shows_share_of_slots_state_and_interface() -> None:
    web = service("192.0.2.1:80", backend(1, weight=5, slots=32768, state=BackendState.DRAIN))
    line = line_with(lines_of(tables.backends_table([web], {3: "eth0"})), "10.0.0.1")
    assert line.split() == ["10.0.0.1", "5", "50%", "drain", str(MAC), "eth0"]


def test_the_services_table_shows_what_is_not_usual() -> None:
    options = ServiceOptions("dns", Affinity.SOURCE, netmask4=24, one_packet=True, arp=False)
    dns = Service(1, Endpoint.parse("192.0.2.1:53/udp"), options)
    line = line_with(lines_of(tables.services_table([dns])), "192.0.2.1")
    assert line.split() == [
        "192.0.2.1:53/udp", "dns", "source/24", "0", "120", "s", "one-packet", "no-arp",
    ]  # fmt: skip


def test_the_stats_table_has_exact_totals_and_rates_only_between_two_snapshots() -> None:
    web = service("192.0.2.1:80", backend(1))
    before = Snapshot(1.0, (web,), {1: Counters(0, 0, 0)}, {"tx": 0, "no_service": 0})
    after = Snapshot(3.0, (web,), {1: Counters(1234567, 10, 4)}, {"tx": 8, "no_service": 0})
    alone = lines_of(tables.stats_table(after))
    both = lines_of(tables.stats_table(after, before))
    assert line_with(alone, "  10.0.0.1").split() == ["10.0.0.1", "1234567", "10", "4"]
    assert line_with(both, "  10.0.0.1").split()[4:] == ["617k", "40", "2"]
    assert line_with(both, "tx").split() == ["tx", "8", "4"]
    assert not [line for line in alone if "no_service" in line]


def test_addresses_are_folded_and_never_cut_in_a_narrow_table() -> None:
    six = service(f"[{LONGEST_V6}]:443", backend(1, LONGEST_V6))
    lines = lines_of(tables.backends_table([six], {3: "eth0"}), width=60)
    column = line_with(lines, "weight").index("weight")
    assert LONGEST_V6 in "".join(line[:column].strip() for line in lines)
    assert "…" not in "".join(lines)


INTERFACE = Attached("eth0", 3, MAC, "native", 42)
CHANGES = (
    Change("add", "backend 10.0.0.1", None, "up"),
    Change("set", "weight of 10.0.0.2", 1, 3),
)
EXPLAINED = Trace(
    Endpoint.parse("192.0.2.1:80"), ipaddress.ip_address("10.0.0.1"), MAC, "tx", "tx", 17
)
UNEXPLAINED = Trace(None, None, None, "pass", "no_service", None)


def test_the_plan_table_lists_changes_and_how_many_slots_move() -> None:
    lines = lines_of(tables.plan_table(Impact(CHANGES, 100, 1000)))
    assert line_with(lines, "10.0.0.2").split() == ["set", "weight", "of", "10.0.0.2", "1", "3"]
    assert lines[-2:] == [
        "100 of 1000 slots move (10%)",
        "0 recorded flows would lose their backend",
    ]
    assert lines_of(tables.plan_table(Impact((), 0, 1000))) == ["nothing to change"]


def test_the_trace_table_names_the_backend_or_shows_a_dash() -> None:
    assert line_with(lines_of(trace_table(EXPLAINED)), "backend").split()[1] == "10.0.0.1"
    assert line_with(lines_of(trace_table(UNEXPLAINED)), "backend").split()[1] == "–"


def test_the_status_table_says_the_mode_of_every_interface() -> None:
    lines = lines_of(tables.status_table([replace(INTERFACE, mode="generic")], 1, 2, 3, FEATURES))
    assert line_with(lines, "eth0").split() == ["eth0", "generic", "42"]
    assert "1 service, 2 backends, layout version 3" in lines
    assert "no interface attached" in lines_of(tables.status_table([], 0, 0, 3, FEATURES))


def test_the_status_table_says_which_features_the_program_has_and_needs() -> None:
    lines = lines_of(tables.status_table([], 0, 0, 3, FEATURES))
    assert "features: vlan, fragments, acl" in lines
    assert "no longer used: acl; the next attach leaves them out" in lines
    assert "left out by --without: tap" in lines
    lines = lines_of(tables.status_table([], 0, 0, 3, FeatureUse()))
    assert "features: none" in lines
    assert not [line for line in lines if "no longer used" in line or "left out" in line]


# Documents


def as_json(document: object) -> Any:
    """Return what a script would read."""
    return json.loads(json.dumps(document))


def test_the_status_document_has_the_agreed_keys() -> None:
    document = documents.status_document([INTERFACE], 1, 2, 3, FEATURES)
    assert as_json(document) == {
        "interfaces": [{"name": "eth0", "mode": "native", "program_id": 42}],
        "services": 1,
        "backends": 2,
        "layout_version": 3,
        "features": ["vlan", "fragments", "acl"],
        "unused_features": ["acl"],
        "refused_features": ["tap"],
    }


def test_the_backends_document_has_the_agreed_keys() -> None:
    gone = backend(2, mac=None, ifindex=9, state=BackendState.DOWN)
    web = service("192.0.2.1:80", backend(1, weight=2, slots=43691), gone)
    [document] = as_json(documents.backends_document([web], {3: "eth0"}))
    first, second = document["backends"]
    assert document["service"] == "192.0.2.1:80/tcp"
    assert first == {
        "address": "10.0.0.1",
        "mac": str(MAC),
        "mac_by_hand": False,
        "vlan": None,
        "weight": 2,
        "state": "up",
        "interface": "eth0",
        "share": 0.6667,
    }
    assert (second["mac"], second["interface"], second["share"]) == (None, None, 0.0)


def test_a_backend_of_a_service_without_a_table_has_no_share() -> None:
    bare = Service(1, Endpoint.parse("192.0.2.1:80"), ServiceOptions(), (backend(1),))
    [document] = documents.backends_document([bare], {})
    assert document["backends"][0]["share"] == 0.0


def test_the_services_document_says_the_learning_time_in_force() -> None:
    [document] = as_json(documents.services_document([service("192.0.2.1:53/udp", backend(1))]))
    assert (document["service"], document["learn"], document["backends"]) == (
        "192.0.2.1:53/udp", 120, 1,
    )  # fmt: skip


def test_the_stats_document_has_the_agreed_keys_and_null_flows_for_udp() -> None:
    web, dns = service("192.0.2.1:80", backend(1)), service("192.0.2.1:53/udp", backend(2))
    counters = {1: Counters(5, 500, 2), 2: Counters(6, 600, 0)}
    document = as_json(
        documents.stats_document(Snapshot(1.0, (web, dns), counters, {"tx": 11, "no_service": 0}))
    )
    tcp, udp = document["services"]
    assert tcp["backends"] == [{"address": "10.0.0.1", "packets": 5, "bytes": 500, "new_flows": 2}]
    assert (tcp["service"], tcp["packets"], tcp["bytes"], tcp["new_flows"]) == (
        "192.0.2.1:80/tcp", 5, 500, 2,
    )  # fmt: skip
    assert (udp["new_flows"], udp["backends"][0]["new_flows"]) == (None, None)
    assert document["verdicts"] == {"tx": 11, "no_service": 0}


def test_the_plan_document_keeps_numbers_and_texts() -> None:
    document = documents.plan_document(
        Impact((*CHANGES, Change("remove", "x", "192.0.2.1:80/tcp")), 1, 2, 0, ("left alone",))
    )
    assert as_json(document) == {
        "changes": [
            {"action": "add", "object": "backend 10.0.0.1", "from": None, "to": "up"},
            {"action": "set", "object": "weight of 10.0.0.2", "from": 1, "to": 3},
            {"action": "remove", "object": "x", "from": "192.0.2.1:80/tcp", "to": None},
        ],
        "slots_moved": 1,
        "slots": 2,
        "flows_moved": 0,
        "notes": ["left alone"],
    }


def test_the_explain_document_has_the_agreed_keys() -> None:
    assert as_json(documents.explain_document(EXPLAINED)) == {
        "service": "192.0.2.1:80/tcp",
        "backend": "10.0.0.1",
        "mac": str(MAC),
        "verdict": "tx",
        "reason": "tx",
        "slot": 17,
        "vlan": None,
        "interface": None,
    }
    tagged = replace(EXPLAINED, tags=(Tag(0x8100, 200),))
    assert as_json(documents.explain_document(tagged, "eth0"))["vlan"] == "200"
    assert as_json(documents.explain_document(UNEXPLAINED))["backend"] is None


def test_the_rules_document_lists_scopes_and_sources_in_order() -> None:
    rules = {
        None: {ip_network("203.0.113.0/24"): Action.DENY},
        Endpoint.parse("192.0.2.1:80"): {
            ip_network("2001:db8::/32"): Action.ALLOW,
            ip_network("10.0.0.0/8"): Action.DENY,
            ip_network("10.0.0.0/9"): Action.ALLOW,
        },
    }
    assert as_json(documents.rules_document(rules)) == [
        {"scope": "all", "rules": [{"source": "203.0.113.0/24", "action": "deny"}]},
        {
            "scope": "192.0.2.1:80/tcp",
            "rules": [
                {"source": "10.0.0.0/8", "action": "deny"},
                {"source": "10.0.0.0/9", "action": "allow"},
                {"source": "2001:db8::/32", "action": "allow"},
            ],
        },
    ]
    lines = lines_of(tables.rules_table(rules))
    assert [line.split() for line in lines[1:3]] == [["all"], ["203.0.113.0/24", "deny"]]


def test_no_rules_let_everyone_in() -> None:
    assert lines_of(tables.rules_table({})) == ["no rules: every source is allowed"]


def test_every_reason_is_explained() -> None:
    lines = lines_of(tables.reasons_table(all_reasons()))
    assert len(lines) > len(all_reasons())
    document = as_json(documents.reasons_document(all_reasons()))
    assert [entry["reason"] for entry in document] == [reason.name for reason in all_reasons()]
    assert all(entry["text"] and entry["verdict"] for entry in document)


def test_a_frame_captured_beyond_any_date_has_no_time() -> None:
    captured = CapturedFrame(1, 2.0**64, bytes(60), 60)
    assert frame_line(TracedFrame(captured, None, note="too short")).startswith("     1 00:00")
