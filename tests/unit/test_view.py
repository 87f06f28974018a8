"""What a user sees: the live view at several sizes, the tables, the documents, the keys."""

from __future__ import annotations

import dataclasses
import io
import ipaddress
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from pydsr.acl import Action
from pydsr.errors import InputError
from pydsr.features import Feature, FeatureUse
from pydsr.model import (
    Affinity,
    Backend,
    BackendState,
    Counters,
    Endpoint,
    IPAddress,
    MacAddress,
    Service,
    ServiceOptions,
    Snapshot,
    Tag,
)
from pydsr.reasons import all_reasons
from pydsr.stats import History, Rates, rates_between
from pydsr.view import documents, figures, tables
from pydsr.view.screen import Choices, press, run_live
from pydsr.view.top import Sort, frame

LONGEST_V6 = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
MAC = MacAddress.parse("02:00:00:00:00:01")
INTERFACES = (("eth0", "native"), ("eth1", "generic"))
FEATURES = FeatureUse(
    Feature.VLAN | Feature.FRAGMENTS | Feature.ACL, unused=Feature.ACL, refused=Feature.TAP
)


def backend(id_: int, address: str = "", **values: Any) -> Backend:
    """Make a backend whose address follows from its id where none is given."""
    place = ipaddress.ip_address(address or f"10.0.{id_ // 256}.{id_ % 256}")
    usual = Backend(id_, place, 1, MAC, False, BackendState.UP, ifindex=3)
    return dataclasses.replace(usual, **values)


def service(endpoint: str, *backends: Backend, name: str = "") -> Service:
    return Service(1, Endpoint.parse(endpoint), ServiceOptions(name=name), backends, 65537)


def rates_of(
    *services: Service,
    per_second: dict[int, Counters] | None = None,
    verdicts: dict[str, int] | None = None,
) -> Rates:
    """Return the rates of counters that were zero one second ago."""
    ids = [each.id for every in services for each in every.backends]
    zero = Snapshot(
        1.0, services, {id_: Counters() for id_ in ids}, dict.fromkeys(verdicts or {}, 0)
    )
    return rates_between(
        zero, Snapshot(2.0, services, per_second or {}, verdicts or {}, INTERFACES)
    )


def lines_of(renderable: RenderableType, width: int = 80) -> list[str]:
    """Return what a terminal of that width would show, one string a row."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False, record=True)
    console.print(renderable)
    return [line.rstrip() for line in console.export_text().splitlines()]


def draw(rates: Rates, width: int = 80, history: History | None = None, **more: Any) -> list[str]:
    return lines_of(frame(rates, history or History(), width=width, **more), width)


def line_with(lines: list[str], text: str) -> str:
    [found] = [line for line in lines if text in line]
    return found


def busy_web() -> Rates:
    web = service(
        "198.51.100.10:80",
        backend(1, weight=1),
        backend(2, weight=3),
        backend(3, state=BackendState.DRAIN),
        name="web",
    )
    return rates_of(
        web,
        per_second={
            1: Counters(1200, 900_000, 90),
            2: Counters(2400, 200_000, 30),
            3: Counters(400, 500_000, 0),
        },
        verdicts={"tx": 4000, "no_service": 0, "no_backend": 7},
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
    assert figures.share_bar(0.5, 0.25, 0.5, 8).plain == "━━━┿━━━━"
    assert figures.share_bar(0.25, 0.5, 0.5, 8).plain == "━━━━───┿"
    assert figures.share_bar(None, 0.0, 0.0, 4).plain == "────"


# The live view


def test_the_frame_shows_totals_services_backends_and_reasons() -> None:
    lines = draw(busy_web(), clock="12:34:56")
    assert lines[0].split("  ")[0:2] == ["pydsr", "eth0 native, eth1 generic"]
    assert lines[0].endswith("4.0k pkt/s  12.8 Mbit/s  120 new/s  12:34:56")
    assert line_with(lines, "80/tcp").split() == [
        "198.51.100.10:80/tcp", "web", "4.0k", "12.8M", "120",
    ]  # fmt: skip
    assert line_with(lines, "10.0.0.1 ").split()[:7] == [
        "10.0.0.1", "1.2k", "7.2M", "90", "30%", "25%", "up",
    ]  # fmt: skip
    reasons = line_with(lines, "no_backend").split()
    assert reasons == ["tx", "4.0k/s", "4.0k", "no_backend", "7/s", "7"]


def test_reasons_that_never_happened_are_left_out() -> None:
    assert not [line for line in draw(busy_web()) if "no_service" in line]


def test_a_draining_backend_says_so_and_has_no_share_by_weight() -> None:
    assert line_with(draw(busy_web()), "10.0.0.3 ").split()[4:7] == ["10%", "0%", "drain"]


def test_an_up_backend_without_a_mac_is_not_shown_as_up() -> None:
    line = line_with(draw(rates_of(service("192.0.2.1:80", backend(1, mac=None)))), "10.0.0.1")
    assert "no MAC" in line


def test_udp_shows_a_dash_for_new_flows() -> None:
    lines = draw(rates_of(service("192.0.2.1:53/udp", backend(1))))
    assert line_with(lines, "  10.0.0.1 ").split()[4:6] == ["–", "–"]


def test_a_wide_terminal_adds_macs_units_bars_and_a_longer_history() -> None:
    rates, history = busy_web(), History()
    for _ in range(60):
        history.record(rates)
    wide = line_with(draw(rates, 160, history), "10.0.0.2 ")
    assert "1.6 Mbit/s" in wide
    assert str(MAC) in wide
    assert "┿" in wide
    assert wide.count("█") > line_with(draw(rates, 80, history), "10.0.0.2 ").count("█") > 0
    assert cell_len(wide) <= 160


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 160, 240])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    longest = service(f"[{LONGEST_V6}]:65535", backend(1, LONGEST_V6), backend(2), name="名前" * 10)
    rates = rates_of(
        longest,
        per_second={1: Counters(10**13, 10**15, 10**9), 2: Counters(1, 1, 1)},
        verdicts={f"a_rather_long_reason_{n}": 10**12 for n in range(9)},
    )
    lines = draw(rates, width, clock="12:34:56", history=History())
    assert max(map(cell_len, lines)) <= width


def test_long_addresses_stay_whole_at_80_columns() -> None:
    rates = rates_of(service(f"[{LONGEST_V6}]:65535/udp", backend(1, LONGEST_V6), name="storage"))
    lines = draw(rates)
    assert line_with(lines, "65535").startswith(f"[{LONGEST_V6}]:65535/udp")
    assert line_with(lines, f"  {LONGEST_V6} ").split()[-2:] == ["–", "up"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.NAME, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (Sort.PACKETS, ["10.0.0.2", "10.0.0.1", "10.0.0.3"]),
        (Sort.BITS, ["10.0.0.1", "10.0.0.3", "10.0.0.2"]),
        (Sort.FLOWS, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (Sort.SHARE, ["10.0.0.2", "10.0.0.1", "10.0.0.3"]),
    ],
)
def test_backends_are_sorted_and_the_footer_says_how(sort: Sort, order: list[str]) -> None:
    lines = draw(busy_web(), sort=sort)
    assert [line.split()[0] for line in lines if line.startswith("  10.")] == order
    assert f"sort by {sort}" in lines[-1]


def test_names_sort_addresses_by_number_and_ipv4_before_ipv6() -> None:
    mixed = [backend(1, "2001:db8::1"), backend(2, "10.0.0.10"), backend(3, "10.0.0.9")]
    lines = draw(rates_of(service("192.0.2.1:80", *mixed)))
    shown = [line.split()[0] for line in lines if line.startswith("  ") and " up" in line]
    assert shown == ["10.0.0.9", "10.0.0.10", "2001:db8::1"]


def test_the_busiest_service_comes_first_unless_sorted_by_name() -> None:
    quiet, busy = service("192.0.2.1:80", backend(1)), service("192.0.2.2:80", backend(2))
    rates = rates_of(quiet, busy, per_second={1: Counters(1, 1, 1), 2: Counters(9, 9, 9)})
    for sort, order in ((Sort.NAME, [quiet, busy]), (Sort.PACKETS, [busy, quiet])):
        titles = [line.split()[0] for line in draw(rates, sort=sort) if line.startswith("192")]
        assert titles == [str(each.endpoint) for each in order]


@pytest.mark.parametrize("width", [40, 80])
def test_pause_is_told_in_the_header(width: int) -> None:
    assert draw(busy_web(), width, paused=True, clock="12:34:56")[0].endswith("paused")
    assert "paused" not in draw(busy_web(), width)[0]


def test_nothing_configured_is_said_in_words() -> None:
    lines = draw(rates_between(None, Snapshot(1.0)))
    assert "not attached" in lines[0]
    assert line_with(lines, "no services")


def test_a_service_without_backends_says_so() -> None:
    assert line_with(draw(rates_of(service("192.0.2.1:80"))), "no backends")


def test_without_keys_there_is_no_footer() -> None:
    assert not [line for line in draw(busy_web(), keys=False) if "quit" in line]


def test_hundreds_of_backends_fill_the_screen_and_the_rest_is_counted() -> None:
    big = service("192.0.2.1:80", *(backend(n) for n in range(1, 301)))
    small = service("192.0.2.2:80", backend(301), backend(302))
    lines = draw(rates_of(big, small, verdicts={"tx": 5, "no_service": 6}), height=24)
    shown = [line for line in lines if line.startswith("  10.")]
    assert len(lines) == 24
    assert "quit" in lines[-1]
    assert line_with(lines, "no_service")
    assert line_with(lines, "10.0.1.46")
    assert line_with(lines, f"… {302 - len(shown)} more backends")
    assert len(shown) == 15


def test_hundreds_of_services_fill_the_screen_and_the_rest_is_counted() -> None:
    services = [service(f"192.0.2.1:{port}", backend(port)) for port in range(1, 201)]
    lines = draw(rates_of(*services), height=24)
    titles = [line for line in lines if line.startswith("192.")]
    assert len(lines) == 24
    assert line_with(lines, f"… {200 - len(titles)} more services")


def test_without_a_height_everything_is_shown() -> None:
    big = service("192.0.2.1:80", *(backend(n) for n in range(1, 301)))
    assert len([line for line in draw(rates_of(big)) if line.startswith("  10.")]) == 300


@pytest.mark.parametrize("height", range(1, 40))
@pytest.mark.parametrize("backends", [0, 1, 7])
def test_a_frame_is_exactly_as_high_as_the_terminal(height: int, backends: int) -> None:
    services = [
        service(f"192.0.2.{n}:80", *(backend(10 * n + m) for m in range(backends)))
        for n in range(1, 5)
    ]
    verdicts = {f"reason_number_{n}": n for n in range(1, 12)}
    lines = draw(rates_of(*services, verdicts=verdicts), height=height)
    assert len(lines) == height


# Tables


def test_brackets_of_an_ipv6_endpoint_are_no_markup() -> None:
    six = service("[fd00::1]:80", backend(1, "fd00::2"), name="[red]")
    snapshot = Snapshot(1.0, (six,), {}, {"tx": 1})
    for table in (
        tables.services_table([six]),
        tables.backends_table([six], {}),
        tables.stats_table(snapshot),
        frame(rates_between(None, snapshot), History(), width=80),
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


@dataclass(frozen=True)
class Change:
    action: str
    object: str
    before: str | int | Endpoint | None
    after: str | int | Endpoint | None


@dataclass(frozen=True)
class Explanation:
    service: Endpoint | None
    backend: IPAddress | None
    mac: MacAddress | None
    verdict: str
    reason: str
    slot: int | None
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class Interface:
    name: str
    mode: str
    program_id: int


CHANGES = [
    Change("add", "backend 10.0.0.1", None, "up"),
    Change("set", "weight of 10.0.0.2", 1, 3),
]
EXPLAINED = Explanation(
    Endpoint.parse("192.0.2.1:80"), ipaddress.ip_address("10.0.0.1"), MAC, "tx", "tx", 17
)
UNEXPLAINED = Explanation(None, None, None, "pass", "no_service", None)


def test_the_plan_table_lists_changes_and_how_many_slots_move() -> None:
    lines = lines_of(tables.plan_table(CHANGES, 100, 1000))
    assert line_with(lines, "10.0.0.2").split() == ["set", "weight", "of", "10.0.0.2", "1", "3"]
    assert lines[-2:] == [
        "100 of 1000 slots move (10%)",
        "0 recorded flows would lose their backend",
    ]
    assert lines_of(tables.plan_table([], 0, 1000)) == ["nothing to change"]


def test_the_explain_table_names_the_backend_or_shows_a_dash() -> None:
    assert line_with(lines_of(tables.explain_table(EXPLAINED)), "backend").split()[1] == "10.0.0.1"
    assert line_with(lines_of(tables.explain_table(UNEXPLAINED)), "backend").split()[1] == "–"


def test_the_status_table_says_the_mode_of_every_interface() -> None:
    lines = lines_of(tables.status_table([Interface("eth0", "generic", 42)], 1, 2, 3, FEATURES))
    assert line_with(lines, "eth0").split() == ["eth0", "generic", "42"]
    assert "1 service, 2 backends, layout version 3" in lines
    assert "no interface attached" in lines_of(tables.status_table([], 0, 0, 3, FEATURES))


def test_the_status_table_says_which_features_the_program_has_and_needs() -> None:
    lines = lines_of(tables.status_table([], 0, 0, 3, FEATURES))
    assert "features: vlan, fragments, acl" in lines
    assert "no longer used: acl; the next attach leaves it out" in lines
    assert "left out by --without: tap" in lines
    lines = lines_of(tables.status_table([], 0, 0, 3, FeatureUse()))
    assert "features: none" in lines
    assert not [line for line in lines if "no longer used" in line or "left out" in line]


# Documents


def as_json(document: object) -> Any:
    """Return what a script would read."""
    return json.loads(json.dumps(document))


def test_the_status_document_has_the_agreed_keys() -> None:
    document = documents.status_document([Interface("eth0", "native", 42)], 1, 2, 3, FEATURES)
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


def test_the_plan_document_keeps_numbers_and_writes_values_as_text() -> None:
    endpoint = Endpoint.parse("192.0.2.1:80")
    document = documents.plan_document([*CHANGES, Change("remove", "x", endpoint, None)], 1, 2)
    assert as_json(document) == {
        "changes": [
            {"action": "add", "object": "backend 10.0.0.1", "from": None, "to": "up"},
            {"action": "set", "object": "weight of 10.0.0.2", "from": 1, "to": 3},
            {"action": "remove", "object": "x", "from": "192.0.2.1:80/tcp", "to": None},
        ],
        "slots_moved": 1,
        "slots": 2,
        "flows_moved": 0,
        "notes": [],
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
    assert lines_of(tables.rules_table({})) == ["no rules: every source is let in"]


def test_every_reason_is_explained() -> None:
    lines = lines_of(tables.reasons_table(all_reasons()))
    assert len(lines) > len(all_reasons())
    document = as_json(documents.reasons_document(all_reasons()))
    assert [entry["reason"] for entry in document] == [reason.name for reason in all_reasons()]
    assert all(entry["text"] and entry["verdict"] for entry in document)


# Keys and the screen


def test_keys_choose_what_is_shown() -> None:
    start = Choices(1.0)
    assert press(start, "q").done
    assert press(start, "\x04").done
    assert press(start, "p").paused
    assert not press(press(start, " "), "p").paused
    assert press(start, "+").interval == press(start, "=").interval == 2.0
    assert press(start, "-").interval == 0.5
    assert press(start, "x") == start


def test_sorting_goes_round_and_the_interval_stops_at_its_ends() -> None:
    choices, seen = Choices(1.0), []
    for _ in Sort:
        seen.append(choices.sort)
        choices = press(choices, "s")
    assert (seen, choices.sort) == (list(Sort), Sort.NAME)
    assert press(Choices(60.0), "+").interval == 60.0
    assert press(Choices(0.1), "-").interval == 0.1
    assert press(Choices(0.7), "-").interval == 0.5


def two_reads() -> Callable[[], Snapshot]:
    web = service("192.0.2.1:80", backend(1))
    snapshots = iter(Snapshot(float(t), (web,), {1: Counters(1500 * t, 0, 0)}) for t in (1, 2))
    return lambda: next(snapshots)


def test_once_prints_one_frame_with_rates_where_stdout_is_no_terminal() -> None:
    output = io.StringIO()
    run_live(two_reads(), 0.1, once=True, console=Console(file=output, width=80))
    assert line_with(output.getvalue().splitlines(), "10.0.0.1").split()[1] == "1.5k"
    assert "\x1b" not in output.getvalue()
    assert "quit" not in output.getvalue()


def test_without_a_terminal_the_error_names_the_way_that_works() -> None:
    with pytest.raises(InputError) as caught:
        run_live(two_reads(), 1.0, once=False, console=Console(file=io.StringIO()))
    assert "--once" in caught.value.hint
    assert "stats --watch" in caught.value.hint


@pytest.mark.parametrize("interval", [0.0, -1.0, 61.0, float("nan")])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    with pytest.raises(InputError, match="interval"):
        run_live(two_reads(), interval, once=True, console=Console(file=io.StringIO()))


LIVE_PROGRAM = """
import itertools, sys
from rich.console import Console
from pydsr.model import Snapshot
from pydsr.view.screen import run_live

reads = itertools.count(1)

def read():
    number = next(reads)
    if number > int(sys.argv[1]):
        raise RuntimeError("the counters are gone")
    return Snapshot(float(number), (), {}, {"tx": 1000 * number})

run_live(read, 0.1, once=False, console=Console())
"""


class Terminal:
    """A pseudo-terminal of 80 columns with the live view running in it."""

    def __init__(self, reads: int) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        self.attributes = termios.tcgetattr(self.slave)
        self.shown = ""
        plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LIVE_PROGRAM, str(reads)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=plain | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )

    def wait_for(self, text: str, seconds: float = 20.0) -> None:
        """Read what is shown until the text has come, from now on."""
        self.shown = ""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left))
            assert ready, f"{text!r} did not come within {seconds} s: {self.shown[-2000:]!r}"
            self.shown += os.read(self.master, 65536).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def left(self) -> int:
        """Wait until the alternate screen is left and the program has ended."""
        self.wait_for("\x1b[?1049l")
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(getattr(request, "param", 1_000_000))
    yield terminal
    terminal.close()


def test_q_quits_and_restores_the_terminal(terminal: Terminal) -> None:
    terminal.wait_for("sort by name")
    assert termios.tcgetattr(terminal.slave) != terminal.attributes
    terminal.type("q")
    assert terminal.left() == 0
    assert termios.tcgetattr(terminal.slave) == terminal.attributes


def test_keys_pause_sort_and_change_the_interval_but_arrows_do_nothing(terminal: Terminal) -> None:
    terminal.wait_for("every 0.1 s")
    terminal.type("s")
    terminal.wait_for("sort by packets")
    terminal.type("+")
    terminal.wait_for("every 0.2 s")
    terminal.type("\x1b[B\x1bOqp")
    terminal.wait_for("paused")
    terminal.wait_for("sort by packets")
    terminal.type("q")
    assert terminal.left() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_restores_the_terminal(terminal: Terminal, number: signal.Signals) -> None:
    terminal.wait_for("sort by name")
    terminal.process.send_signal(number)
    assert terminal.left() != 0
    assert termios.tcgetattr(terminal.slave) == terminal.attributes


@pytest.mark.parametrize("terminal", [3], indirect=True)
def test_a_failed_read_restores_the_terminal_and_is_told(terminal: Terminal) -> None:
    terminal.wait_for("the counters are gone")
    assert terminal.process.wait(timeout=20) == 1
    assert termios.tcgetattr(terminal.slave) == terminal.attributes
