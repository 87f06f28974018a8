"""Take pictures of the status page: ``python -m docs.status_page``, as root; six minutes.

Builds a lab with a daemon, sends real requests, drains a backend, stops the server of another, and
takes screenshots with Chromium.
"""

from __future__ import annotations

import io
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser

from docs.browser import browsing
from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.lab import Lab

IMAGES = Path(__file__).with_name("images")
_FOLDER = Path("/run/pydsr-pictures")
_LISTEN = "127.0.0.1:8080"
_WATCHED_SECONDS = 300
"""How long traffic runs; the plots show this period."""

_TROUBLE_SECONDS = 40
"""How long before the screenshots a backend fails."""

_COLOURS = 128
_REQUESTS = {"10.77.0.80": 300, "[fd77::80]": 60, "10.77.0.80:8443": 120}

_FILE = """\
services:
  - endpoint: 10.77.0.80:80
    name: shop
    checks: [{type: http, interval: 1, timeout: 0.5, fall: 2, rise: 2}]
    backends: [10.77.0.11=2, 10.77.0.12, 10.77.0.13, 10.77.0.14]
  - endpoint: 10.77.0.80:8443
    name: api
    checks: [{type: tcp, interval: 1, timeout: 0.5, fall: 2, rise: 2}]
    backends: [10.77.0.11, 10.77.0.12, 10.77.0.13]
  - endpoint: "[fd77::80]:80"
    name: shop by IPv6
    checks: [{type: http, interval: 1, timeout: 0.5}]
    backends: ["fd77::11", "fd77::12"]
"""


@contextmanager
def watched_lab() -> Iterator[Lab]:
    """Run a lab with traffic, a drained backend, and a backend whose server has stopped."""
    with Lab("pictures", backends=4) as lab:
        lab.serve()
        lab.pydsr("attach", "eth0")
        servers = [
            lab.popen(name, [*PYTHON, "pydsr.lab.server", "--name", name, "--port", "8443"])
            for name in ("backend1", "backend2", "backend3")
        ]
        (_FOLDER / "balancer.yaml").write_text(_FILE)
        command = ["pydsr", "--bpffs", str(lab.bpffs), "run", str(_FOLDER / "balancer.yaml")]
        command += ["--web", _LISTEN, "--runtime-directory", str(_FOLDER)]
        named = ["unshare", "--uts", "sh", "-c", 'hostname lb1; exec "$@"', "sh"]
        daemon = lab.popen("lb", [*named, *PYTHON, *command], stderr=None)
        for place, rate in _REQUESTS.items():
            asking = ["docs.load", f"http://{place}/", str(rate)]
            lab.popen("client1", [sys.executable, "-m", *asking])
        time.sleep(_WATCHED_SECONDS - _TROUBLE_SECONDS)
        lab.pydsr("backends", "drain", "10.77.0.80:80", "10.77.0.14")
        servers[-1].kill()
        time.sleep(_TROUBLE_SECONDS)
        yield lab
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()


def draw(
    browser: Browser,
    name: str,
    size: tuple[int, int],
    scheme: Literal["dark", "light"],
    scale: float = 1.0,
) -> None:
    """Take a screenshot.

    Args:
        browser: in the balancer's namespace.
        name: of the picture.
        size: width and height of the screen.
        scheme: the preferred colour scheme.
        scale: pixels of the picture for each pixel of the screen.
    """
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_page(
        viewport=viewport, color_scheme=scheme, device_scale_factor=scale, reduced_motion="reduce"
    )
    page.goto(f"http://{_LISTEN}/")
    page.locator(".service tbody path.line").first.wait_for(state="attached")
    # By then the daemon has read the counters twice, so the rates are current.
    page.wait_for_timeout(5000)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(_COLOURS).save(IMAGES / f"{name}.png", optimize=True)
    page.close()


if __name__ == "__main__":
    _FOLDER.mkdir(mode=0o700)
    try:
        with watched_lab() as lab, browsing(lab.topology.namespace("lb")) as browser:
            draw(browser, "page-light", (1400, 1160), "light")
            draw(browser, "page-dark", (1400, 1160), "dark")
            draw(browser, "page-phone", (390, 844), "dark", scale=2.0)
    finally:
        shutil.rmtree(_FOLDER)
