"""Chromium inside a network namespace, for tests of the status page and its pictures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def is_installed() -> bool:
    """Return whether there is a Chromium that a namespace can have: a snap's cannot be entered."""
    return shutil.which(CHROMIUM) is not None


@contextmanager
def browsing(namespace: str) -> Iterator[Browser]:
    """Have a browser whose network is that of a namespace, by the name that `ip netns` has."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        # Playwright talks to it by pipes, which need no network.
        entering = Path(folder) / "chromium"
        entering.write_text(
            f'#!/bin/sh\nexec nsenter --net=/run/netns/{namespace} {CHROMIUM} "$@"\n'
        )
        entering.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=entering, args=[*_OPTIONS])
        try:
            yield browser
        finally:
            browser.close()
