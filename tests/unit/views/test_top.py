"""The live view as a pure function: its pages at several sizes, filters, orders and keys."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from pydsr.model.errors import NotAttachedError
from pydsr.model.rates import History, Rates, rates_between
from pydsr.model.reasons import all_reasons
from pydsr.model.service import BackendState
from pydsr.model.snapshot import Counters, ProgramRun, Snapshot
from pydsr.views.json.top import top_document
from pydsr.views.top.choices import SORT_KEYS, Choices, Page, Sort, press
from pydsr.views.top.moment import Moment, health_by_backend
from pydsr.views.top.selection import select
from pydsr.views.top.terminal import split_keys
from tests.support.sample_traffic import (
    LONGEST_V6,
    MAC,
    backend,
    busy_web,
    draw,
    line_with,
    rates_of,
    service,
    unhealthy,
)

WEB = "198.51.100.10:80/tcp"


def test_the_frame_shows_totals_services_backends_and_reasons() -> None:
    lines = draw(busy_web(), clock="12:34:56")
    assert lines[0].split("  ")[0:2] == ["pydsr", "eth0 native, eth1 generic"]
    assert lines[0].endswith("4.0k pkt/s  12.8 Mbit/s  120 new/s  12:34:56")
    assert line_with(lines, "80/tcp").split() == [
        "198.51.100.10:80/tcp", "web", "4.0k", "12.8M", "120", "2/3",
    ]  # fmt: skip
    assert line_with(lines, "10.0.0.1 ").split()[:7] == [
        "10.0.0.1", "1.2k", "7.2M", "90", "30%", "25%", "up",
    ]  # fmt: skip
    reasons = line_with(lines, "no_backend").split()
    assert reasons == ["no_backend", "7/s", "7", "forwarded", "4.0k/s", "4.0k"]


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
    wide = line_with(draw(rates, 160, history=history), "10.0.0.2 ")
    assert "1.6 Mbit/s" in wide
    assert str(MAC) in wide
    assert "┿" in wide
    assert wide.count("█") > line_with(draw(rates, 80, history=history), "10.0.0.2 ").count("█") > 0
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
    lines = draw(busy_web(), choices=Choices(sort=sort))
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
        titles = [
            line.split()[0]
            for line in draw(rates, choices=Choices(sort=sort))
            if line.startswith("192")
        ]
        assert titles == [str(each.endpoint) for each in order]


@pytest.mark.parametrize("width", [40, 80])
def test_pause_is_told_in_the_header(width: int) -> None:
    assert draw(busy_web(), width, choices=Choices(paused=True), clock="12:34:56")[0].endswith(
        "paused"
    )
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
    lines = draw(rates_of(big, small, verdicts={"forwarded": 5, "no_service": 6}), height=24)
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


# Pages of one service, of reasons, of help


def on(page: Page, rates: Rates, **values: Any) -> Choices:
    """Return the choices of who has opened a page, with the first service marked."""
    return Choices(page=page, service=rates.services[0].service.endpoint, **values)


def fives(number: int) -> Rates:
    """Return services of five backends, the first of each busier than the second and so on."""
    services = [
        service(f"192.0.2.{n}:80", *(backend(10 * n + m) for m in range(1, 6)), name=f"site{n}")
        for n in range(1, number + 1)
    ]
    counters = {
        10 * n + m: Counters(1000 * (6 - m) * n, 1, 1)
        for n in range(1, number + 1)
        for m in range(1, 6)
    }
    return rates_of(*services, per_second=counters)


def test_a_service_alone_shows_everything_about_its_backends() -> None:
    web = service(
        "198.51.100.10:80",
        backend(1, weight=1, slots=32768),
        backend(2, weight=1, slots=32769, mac_by_hand=True),
        name="web",
        slots_changing=6554,
        learn_until=602_000_000_000,
    )
    rates = rates_of(
        web, per_second={1: Counters(600, 1000, 5), 2: Counters(400, 1000, 5)}, records={1: 12}
    )
    ages = {(web.backends[0].address, MAC): 7.4}
    health = unhealthy(WEB, "10.0.0.1", "connection refused")
    lines = draw(rates, 220, choices=on(Page.SERVICE, rates), health=health, mac_ages=ages)
    assert line_with(lines, "2 of 2 backends up").startswith("198.51.100.10:80/tcp  web")
    assert line_with(lines, "1.0k packets, 2.0 kB, 10 flows").endswith("largest deviation +20%")
    assert (
        "6554 of 65537 slots (10%) changing, 12 flow records; existing flows are learnt for "
        "another 10 min"
    ) == line_with(lines, "slots (")
    row = line_with(lines, "  10.0.0.1 ")
    for cell in ("60%", "50%", "+20%", "1/4", "12 s", "7 s", str(MAC)):
        assert cell in row
    assert "fixed" in line_with(lines, "10.0.0.2 ")
    assert "✘ 10.0.0.1 http: connection refused" in lines
    assert line_with(lines, "confirmed")


@pytest.mark.parametrize(
    ("width", "expected"),
    [(80, "down"), (100, "✘ refused 12 s"), (120, "✘ refused 12 s"), (200, "✘ timed out 12 s")],
)
def test_what_is_wrong_stands_where_the_history_of_nothing_would(width: int, expected: str) -> None:
    [web] = busy_web().snapshot.services
    first, *others = web.backends
    broken = replace(web, backends=(replace(first, state=BackendState.DOWN), *others))
    health = unhealthy(WEB, "10.0.0.1", "timed out")
    assert expected in line_with(draw(rates_of(broken), width, health=health), "10.0.0.1 ")


def test_a_service_that_has_gone_is_not_forgotten_silently() -> None:
    lines = draw(rates_of(), choices=on(Page.SERVICE, busy_web()), height=10)
    assert line_with(lines, f"the service {WEB} was removed")


def test_a_page_of_many_backends_is_scrolled_and_says_where_it_is() -> None:
    big = rates_of(service("192.0.2.1:80", *(backend(n) for n in range(1, 101))))
    top = draw(big, height=24, choices=on(Page.SERVICE, big))
    below = draw(big, height=24, choices=on(Page.SERVICE, big, scrolled=50))
    end = draw(big, height=24, choices=on(Page.SERVICE, big, scrolled=9999))
    assert line_with(top, "  10.0.0.1 ")
    assert line_with(top, "… 1 to ")
    assert line_with(below, "  10.0.0.51 ")
    assert line_with(end, "  10.0.0.100 ")
    assert line_with(end, " to 100 of 100 backends")


def test_reasons_are_told_with_what_they_mean_and_drops_come_first() -> None:
    lines = draw(busy_web(), 120, choices=on(Page.REASONS, busy_web()))
    shown = [line.split()[0] for line in lines if line.startswith("  ") and "/s" in line]
    assert ["no_backend", "forwarded"] == shown
    meaning = next(reason.text for reason in all_reasons() if reason.name == "no_backend")
    assert line_with(lines, "no_backend").endswith(meaning)
    assert line_with(lines, "kernel.bpf_stats_enabled=1")


def test_what_a_packet_costs_is_told_where_the_kernel_times_the_program() -> None:
    runs = [(ProgramRun(7, ("eth0",), seconds, 10**6 * n),) for n, seconds in ((1, 1.0), (3, 1.09))]
    before, after = (
        Snapshot(float(time), programs=run, programs_timed=True) for time, run in enumerate(runs, 1)
    )
    rates = rates_between(before, after)
    lines = draw(rates, 120, choices=Choices(page=Page.REASONS))
    assert "45 ns/pkt" in lines[0]
    assert "program 7 on eth0: 45 ns per packet, 9.0% of a CPU" in [line.strip() for line in lines]
    assert not [line for line in lines if "bpf_stats_enabled" in line]


def test_help_names_every_key_of_an_order() -> None:
    lines = draw(busy_web(), choices=Choices(page=Page.HELP))
    assert line_with(lines, " ".join(SORT_KEYS))


def test_what_keeps_the_counters_from_being_read_is_told_above_the_last_of_them() -> None:
    problem = NotAttachedError("no balancer is attached", "pydsr attach IFACE")
    lines = draw(busy_web(), problem=problem)
    assert "no balancer is attached (pydsr attach IFACE)" == lines[1]
    assert line_with(lines, "10.0.0.1 ")


def test_what_a_backend_has_in_its_answer_commands_no_terminal() -> None:
    health = unhealthy(WEB, "10.0.0.1", "bad\x1b]0;owned\x07 \x1b[2J\nline")
    lines = draw(busy_web(), 200, health=health)
    assert "✘ bad?]0;owned? ?[2J?line 12 s" in line_with(lines, "10.0.0.1 ")


# Filters, orders, pages


@pytest.mark.parametrize(
    ("words", "services", "backends"),
    [
        ("", 3, 15),
        ("192.0.2.2", 1, 5),
        ("SITE3", 1, 5),
        ("site1 10.0.0.13", 1, 1),
        ("10.0.0.3", 1, 5),
        ("down", 1, 1),
        ("no mac", 1, 1),
        ("unhealthy", 1, 1),
        ("site2 down", 0, 0),
        ("nothing", 0, 0),
    ],
)
def test_a_filter_finds_services_and_backends(words: str, services: int, backends: int) -> None:
    rates = fives(3)
    first, *others = rates.snapshot.services
    three, four, *rest = first.backends
    broken = (replace(three, state=BackendState.DOWN), replace(four, mac=None), *rest)
    rates = rates_of(replace(first, backends=broken), *others)
    health = health_by_backend(unhealthy("192.0.2.2:80/tcp", "10.0.0.21", "refused"))
    found = select(Moment(rates, health=health), words)
    assert (services, backends) == (len(found), sum(len(one.backends) for one in found))


def test_a_filter_that_finds_nothing_says_how_to_end_it() -> None:
    lines = draw(busy_web(), choices=Choices(filter="nowhere"))
    assert line_with(lines, "nothing matches 'nowhere': press Esc")


def test_trouble_comes_first_where_it_is_sorted_by() -> None:
    healthy = service("192.0.2.1:80", backend(1), backend(2))
    limping = service("192.0.2.2:80", backend(3), backend(4, state=BackendState.DOWN))
    dead = service("192.0.2.3:80", backend(5, mac=None))
    lines = draw(rates_of(healthy, limping, dead), choices=Choices(sort=Sort.TROUBLE))
    titles = [line.split()[0] for line in lines if line.startswith("192.")]
    assert ["192.0.2.3:80/tcp", "192.0.2.2:80/tcp", "192.0.2.1:80/tcp"] == titles
    shown = [line.split()[0] for line in lines if line.startswith("  10.")]
    assert ["10.0.0.5", "10.0.0.4", "10.0.0.3", "10.0.0.1", "10.0.0.2"] == shown
    assert "1/2" in line_with(lines, "192.0.2.2:80/tcp")


def test_the_page_is_that_of_the_marked_service() -> None:
    rates = fives(100)
    marked = rates.services[70].service.endpoint
    lines = draw(rates, height=24, choices=Choices(service=marked))
    assert line_with(lines, str(marked))
    assert not [line for line in lines if "192.0.2.1:80" in line]
    assert line_with(lines, " more services")


# Whatever it is, it fits


@pytest.mark.parametrize("page", Page)
@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 100, 160, 240, 300])
def test_no_page_is_wider_or_higher_than_the_terminal(page: Page, width: int) -> None:
    drawing = random.Random(width)
    health = unhealthy(WEB, "10.0.0.1", "a long reason " * 9)
    for height in [*range(1, 12), 24, 50, 100]:
        number = drawing.choice([0, 1, 5, 60])
        rates = drawing.choice([busy_web(), fives(number), rates_of(service("192.0.2.1:80"))])
        marked = drawing.choice([None, *(one.service.endpoint for one in rates.services)])
        choices = Choices(
            page=page,
            service=marked,
            sort=drawing.choice(list(Sort)),
            filter=drawing.choice(["", "site1", "nothing"]),
            is_typing=drawing.random() < 0.3,
            scrolled=drawing.choice([0, 3, 1000]),
            paused=drawing.random() < 0.3,
        )
        lines = draw(rates, width, height=height, choices=choices, health=health, clock="12:34:56")
        assert height == len(lines), (choices, number)
        assert width >= max(map(cell_len, lines)), (choices, number)


# The document


def test_the_document_has_rates_totals_imbalance_and_health() -> None:
    health = health_by_backend(unhealthy(WEB, "10.0.0.1", "refused"))
    document = top_document(Moment(busy_web(), health=health), Choices())
    [web] = document["services"]
    assert (4000.0, 12_800_000.0, 120.0) == tuple(
        document[key] for key in ("packets", "bits", "new_flows")
    )
    assert ("web", -0.2, 65537, 0) == tuple(
        web[key] for key in ("name", "imbalance", "slots", "slots_changing")
    )
    one = web["backends"][0]
    assert ("10.0.0.1", 1200.0, 0.3, 0.25) == tuple(
        one[key] for key in ("address", "packets", "share", "weight_share")
    )
    assert {"packets": 1200, "bytes": 900_000, "new_flows": 90} == one["total"]
    assert "refused" == one["health"]["failures"][0]["message"]
    assert web["backends"][1]["health"] is None
    assert {"packets": 7.0, "total": 7} == document["verdicts"]["no_backend"]


def test_the_document_has_what_the_choices_let_through_in_their_order() -> None:
    rates = fives(3)
    busiest = top_document(Moment(rates), Choices(sort=Sort.PACKETS))
    assert ["site3", "site2", "site1"] == [one["name"] for one in busiest["services"]]
    [only] = top_document(Moment(rates), on(Page.SERVICE, rates))["services"]
    assert "site1" == only["name"]
    assert [] == top_document(Moment(rates), Choices(filter="nothing"))["services"]


# Keys


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


def test_every_order_has_a_key_of_its_own() -> None:
    assert list(Sort) == [press(Choices(), key).sort for key in SORT_KEYS]


def typed(text: str, choices: Choices | None = None, rates: Rates | None = None) -> Choices:
    """Return the choices after keys, typed one after the other."""
    moment = Moment(rates or fives(30))
    choices = choices or Choices()
    for key in split_keys(text):
        shown = [one.endpoint for one in select(moment, choices.filter, choices.sort)]
        choices = press(choices, key, shown)
    return choices


def test_a_filter_is_typed_corrected_kept_and_cleared() -> None:
    typing = typed("/web q\x7f\x7fs")
    assert ("webs", True, False) == (typing.filter, typing.is_typing, typing.done)
    kept = typed("\r", typing)
    assert ("webs", False) == (kept.filter, kept.is_typing)
    assert ("webs", True) == (typed("/", kept).filter, typed("/", kept).is_typing)
    assert ("", False) == (typed("\x1b", typing).filter, typed("\x1b", typing).is_typing)
    assert "" == typed("\x1b", kept).filter
    assert "x" == typed("/abc\x15x").filter
    assert typed("/abc\x04").done


def test_arrows_mark_a_service_and_enter_opens_it() -> None:
    down = typed("\x1b[B\x1b[B\x1bOA")
    assert "192.0.2.2:80/tcp" == str(down.service)
    opened = typed("\r", down)
    assert (Page.SERVICE, down.service) == (opened.page, opened.service)
    beside = typed("\x1b[C", opened)
    assert "192.0.2.3:80/tcp" == str(beside.service)
    assert Page.SERVICES == typed("\x1b", beside).page
    assert "192.0.2.30:80/tcp" == str(typed("\x1b[F\x1b[B").service)
    assert "192.0.2.1:80/tcp" == str(typed("\x1b[F\x1b[H").service)
    assert "192.0.2.12:80/tcp" == str(typed("\x1b[6~\x1b[B").service)


def test_enter_opens_the_first_service_of_those_that_the_filter_leaves() -> None:
    assert "192.0.2.20:80/tcp" == str(typed("/site20\r\r").service)
    assert Page.SERVICES == typed("/nowhere\r\r").page


def test_pages_are_opened_scrolled_and_left() -> None:
    reasons = typed("r\x1b[B\x1b[Bj\x1b[A")
    assert (Page.REASONS, 2) == (reasons.page, reasons.scrolled)
    assert Page.SERVICES == typed("r", reasons).page
    for key in ("?", "h"):
        assert Page.HELP == typed(key).page
        assert (Page.SERVICES, 0) == (typed("j" + key, typed(key)).page, typed(key).scrolled)


def test_sequences_without_a_meaning_type_nothing() -> None:
    assert ["up", "q", "esc", "é", "enter"] == split_keys("\x1b[A\x1b[1;5Pq\x1bOQ\x1bé\r")
