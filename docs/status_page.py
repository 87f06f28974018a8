"""Take the pictures of the status page: ``python -m docs.status_page``, as root.

Builds a lab whose balancer a daemon keeps, sends real traffic, stops a backend's server, drains another, and
photographs the page in Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from docs.browser import browsing
from pydsr.lab.lab import Lab
from pydsr.lab.processes import PYTHON

IMAGES = Path(__file__).with_name("images")
_URL = "http://127.0.0.1:8080/"
_LOOKED_SECONDS = 20
"""How long there is traffic before the picture, so that plots have something to show."""

_FILE = """\
interfaces: [eth0]
services:
  - endpoint: 10.77.0.80:80
    name: shop
    checks: [{type: http, interval: 1, timeout: 0.5, fall: 2, rise: 2}]
    backends: [10.77.0.11=2, 10.77.0.12, 10.77.0.13, 10.77.0.14]
  - endpoint: "[fd77::80]:80"
    name: shop-v6
    checks: [{type: http, interval: 1, timeout: 0.5}]
    backends: ["fd77::11", "fd77::12"]
  - endpoint: 10.77.0.80:8443
    name: api
    checks: [{type: tcp, interval: 1, timeout: 0.5, fall: 2, rise: 2}]
    health: {on-failure: down}
    backends: [10.77.0.11, 10.77.0.12, 10.77.0.13]
"""


@contextmanager
def balanced() -> Iterator[Lab]:
    """Have a lab with traffic, one backend that fails and one that is drained."""
    with Lab("status-page", backends=4) as lab, tempfile.TemporaryDirectory() as folder:
        lab.serve()
        for number in (1, 2, 3):
            name = f"backend{number}"
            server = [*PYTHON, "pydsr.lab.server", "--name", name, "--port", "8443"]
            ended = lab.popen(name, server)
        file = Path(folder) / "balancer.yaml"
        file.write_text(_FILE)
        run = ["pydsr", "--bpffs", str(lab.bpffs), "run", str(file), "--web", "127.0.0.1:8080"]
        lab.popen("lb", [*PYTHON, *run, "--runtime-directory", folder], stderr=sys.stderr)
        time.sleep(4)
        for rate, url in ((300, "http://10.77.0.80/"), (60, "http://[fd77::80]/"), (120, "http://10.77.0.80:8443/")):
            _load(lab, url, rate)
        time.sleep(_LOOKED_SECONDS)
        lab.pydsr("backends", "drain", "10.77.0.80:80", "10.77.0.14")
        ended.kill()
        time.sleep(25)
        yield lab


def _load(lab: Lab, url: str, rate: int) -> None:
    script = (
        "import math,random,subprocess,sys,time,urllib.request\n"
        "url,rate=sys.argv[1],float(sys.argv[2])\n"
        "while True:\n"
        "    try: urllib.request.urlopen(url,timeout=2).read()\n"
        "    except OSError: pass\n"
        "    time.sleep(max(.001,(1+.6*math.sin(time.time()/23)+.2*random.random())/rate))\n"
    )
    lab.popen("client1", [sys.executable, "-c", script, url, str(rate)])


def photograph(browser: Browser, name: str, width: int, height: int, scheme: str, full: bool = False) -> None:
    """Write a picture of the page."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1)
    page = context.new_page()
    page.on("console", lambda m: print(m.type, m.text))
    page.on("pageerror", lambda m: print("ERR", m))
    page.goto(_URL)
    page.wait_for_selector("details.service")
    page.wait_for_timeout(5000)
    page.screenshot(path=IMAGES / f"{name}.png", full_page=full)
    print(name, page.evaluate("[document.documentElement.scrollWidth, innerWidth]"))
    context.close()


if __name__ == "__main__":
    with balanced() as lab, browsing(lab.topology.namespace("lb")) as browser:
        photograph(browser, "page-light", 1400, 900, "light")
        photograph(browser, "page-dark", 1400, 900, "dark")
        photograph(browser, "page-phone", 390, 844, "dark", full=True)
        if len(sys.argv)>1: time.sleep(600)
