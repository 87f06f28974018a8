"""Figures of a benchmark."""

from __future__ import annotations

import pytest

from bench.figures import Figure, net, summarise


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([7], Figure(7, 7, 7)),
        ([1, 3], Figure(2, 1.5, 2.5)),
        ([5, 1, 3], Figure(3, 2, 4)),
        ([1, 2, 3, 4, 1000], Figure(3, 2, 4)),
        ([4] * 9, Figure(4, 4, 4)),
    ],
    ids=["one round", "two", "any order", "an outlier does not count", "no spread"],
)
def test_rounds_are_summarised_by_median_and_quartiles(
    rounds: list[float], expected: Figure
) -> None:
    assert summarise(rounds) == expected


def test_no_rounds_are_no_figure() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        summarise([])


def test_the_net_cost_is_taken_round_by_round() -> None:
    assert net([30, 45, 31], [20, 35, 21]) == (10, 10, 10)


def test_rounds_without_an_empty_run_beside_them_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        net([30, 45], [20])


def test_a_figure_shows_its_spread() -> None:
    assert str(Figure(66.0, 65.4, 70.2)) == "66 (65-70)"
