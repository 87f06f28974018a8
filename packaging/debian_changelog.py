"""Print CHANGELOG.md as a Debian changelog: ``debian_changelog.py NAME VERSION MAINTAINER``.

Unreleased changes get VERSION, and the date of SOURCE_DATE_EPOCH (seconds since 1970) or now.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
import textwrap
import time
from email.utils import format_datetime
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
_RELEASE = re.compile(r"## \[(?P<version>[^]]+)\](?: - (?P<date>[0-9-]+))?")
_ITEM = "- "
_WIDTH = 78


def debian_changelog(
    text: str, name: str, version: str, maintainer: str, now: datetime.datetime
) -> str:
    """Return a changelog in the format of deb-changelog(5).

    Args:
        text: a changelog in the form of Keep a Changelog.
        name: of the package.
        version: of the unreleased changes.
        maintainer: name and address.
        now: the date of the unreleased changes.
    """
    entries = []
    for part in text.split("\n## ")[1:]:
        heading = _RELEASE.match(f"## {part}")
        if heading is None:
            raise ValueError(f"no heading of a release: {part.splitlines()[0]}")
        day = heading["date"]
        date = datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00") if day else now
        entry = [f"{name} ({heading['version'] if day else version}) unstable; urgency=medium", ""]
        entry += [line for item in _items(part) for line in _wrapped(item)]
        entries.append("\n".join([*entry, "", f" -- {maintainer}  {format_datetime(date)}", ""]))
    return "\n".join(entries)


def _items(part: str) -> list[str]:
    """Return the items of all lists, each as one line."""
    items: list[str] = []
    for line in part.splitlines():
        if line.startswith(_ITEM):
            items.append(line.removeprefix(_ITEM))
        elif items and line.startswith("  "):
            items[-1] += f" {line.strip()}"
    return items


def _wrapped(item: str) -> list[str]:
    return textwrap.wrap(
        item, _WIDTH, initial_indent="  * ", subsequent_indent="    ", break_on_hyphens=False
    )


if __name__ == "__main__":
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    made_now = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    sys.stdout.write(
        debian_changelog(CHANGELOG.read_text(encoding="utf-8"), *sys.argv[1:4], made_now)
    )
