"""Metrics as Prometheus gets them: over HTTP, read by its own tool and by a parser."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """What was scraped: samples by name and labels."""

    text: str
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def of(cls, text: str) -> Scrape:
        """Parse a page."""
        return cls(
            text,
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            },
        )

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return the value of one series; None where there is none."""
        return self.samples.get((name, frozenset(labels.items())))

    def series(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Return all series of a metric."""
        return {labels: value for (found, labels), value in self.samples.items() if found == name}

    @property
    def names(self) -> set[str]:
        """The names of all series."""
        return {name for name, _ in self.samples}


def promtool(*arguments: str, page: str = "") -> str:
    """Run Prometheus's own tool, which must find nothing wrong; return what it says."""
    done = subprocess.run(
        ["promtool", *arguments], input=page, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
