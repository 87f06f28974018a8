"""Chromium in a network namespace, for tests and pictures of the status page."""

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
    """Return whether a Chromium is installed that can run in a namespace; a snap cannot."""
    return shutil.which(CHROMIUM) is not None


@contextmanager
def browsing(namespace: str) -> Iterator[Browser]:
    """Run a browser in the network namespace with this name (`ip netns`)."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        # Playwright uses pipes, so the namespace needs no network to it.
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
