"""Reasons are read from their header, and their numbers are part of the layout of the maps."""

from __future__ import annotations

import pytest

from docs.reasons import DOCUMENT, with_reasons
from pydsr.kernel.bpf.layout import LAYOUT_REASONS
from pydsr.kernel.bpf.layout_check import check_reasons
from pydsr.model.errors import InternalError
from pydsr.model.reasons import all_reasons, parse_reasons
from pydsr.model.sources import xdp_directory

HEADER = (xdp_directory() / "reasons.h").read_text(encoding="utf-8")


def test_every_reason_of_the_header_is_known_by_its_number() -> None:
    calls = [line.partition("(")[2] for line in HEADER.splitlines() if line.startswith("REASON(")]
    assert {call.split(", ")[0]: call.split(", ")[1].lower() for call in calls} == {
        str(number): reason.name for number, reason in enumerate(all_reasons())
    }


def test_every_reason_has_an_explanation_and_a_verdict() -> None:
    for reason in all_reasons():
        assert reason.text
        assert reason.verdict in ("tx", "pass", "drop")


def test_the_documentation_lists_the_current_reasons() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_reasons(text) == text, "run: python -m docs.reasons"


def test_the_order_of_lines_is_free() -> None:
    one, other = "REASON(17, NO_BACKEND", "REASON(18, NO_MAC"
    head, _, rest = HEADER.partition(one)
    first, _, tail = rest.partition(other)
    second, end, tail = tail.partition("\n")
    moved = f"{head}{other}{second}{end}{one}{first}{tail}"
    assert moved != HEADER
    assert parse_reasons(moved) == all_reasons()


def test_a_reason_may_be_appended() -> None:
    appended = parse_reasons(f'{HEADER}REASON({len(all_reasons())}, LATE, DROP, "too late")\n')
    check_reasons(appended)
    assert appended[-1].name == "late"
    assert len(appended) > LAYOUT_REASONS


@pytest.mark.parametrize(
    ("one", "other"), [("NO_BACKEND", "NO_MAC"), ("FORWARDED", "MALFORMED"), ("NOT_IP", "GONE")]
)
def test_reasons_that_swapped_numbers_need_a_new_layout(one: str, other: str) -> None:
    swapped = {one: other, other: one}
    header = HEADER
    for name, new in swapped.items():
        header = header.replace(f", {name}, ", f", <{new}>, ")
    with pytest.raises(InternalError, match="other numbers to reasons of layout"):
        check_reasons(parse_reasons(header.replace("<", "").replace(">", "")))


@pytest.mark.parametrize(("old", "new"), [("(24, ", "(23, "), ("(24, ", "(30, "), ("DROP", "drop")])
def test_a_header_that_cannot_be_numbered_is_refused(old: str, new: str) -> None:
    with pytest.raises(InternalError, match=r"reasons\.h"):
        parse_reasons(HEADER.replace(old, new))
