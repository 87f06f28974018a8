"""The reasons a packet leaves with are read from the header that defines them."""

from __future__ import annotations

from docs.reasons import DOCUMENT, with_reasons
from pydsr.model.reasons import all_reasons
from pydsr.model.sources import xdp_directory


def test_every_reason_of_the_header_is_known_in_its_order() -> None:
    header = (xdp_directory() / "reasons.h").read_text(encoding="utf-8")
    calls = [line.partition("(")[2] for line in header.splitlines() if line.startswith("REASON(")]
    assert [reason.name.upper() for reason in all_reasons()] == [
        call.partition(",")[0] for call in calls
    ]


def test_every_reason_says_why_and_what_becomes_of_the_packet() -> None:
    for reason in all_reasons():
        assert reason.text
        assert reason.verdict in ("tx", "pass", "drop")


def test_the_documentation_has_the_reasons_of_today() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_reasons(text) == text, "run: python -m docs.reasons"
