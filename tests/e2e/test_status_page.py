"""The status page of a real daemon, over HTTP and in Chromium."""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from signal import SIGKILL
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from docs.browser import browsing, is_installed
from pydsr.http.page.status_page import STREAMS_MAX
from pydsr.lab.lab import Lab
from pydsr.lab.network import enter_namespace
from tests.support.lab.daemon_lab import CHECK, PORT, Kept, Servers, closed, keeping
from tests.support.lab.requests import DEADLINE_SECONDS, VIP4, answers, eventually, running_lab

WEB_PORT = 8081
URL = f"http://127.0.0.1:{WEB_PORT}/"
SERVICE = f"{VIP4}:{PORT}/tcp"
NOTIFIED = "a-secret-of-the-notify-command"
MARKUP = "<img src=x onerror=injected=1>"
"""A service's name, and what an agent says."""

AGENT_PORT = 9998
SOME = re.compile("[1-9]")
_MS = 15_000

FILE = f"""\
services:
  - endpoint: "{VIP4}:{PORT}"
    name: "{MARKUP}"
    checks: [{CHECK}]
    backends: [10.77.0.11=2, 10.77.0.12, 10.77.0.13]
  - endpoint: "{VIP4}:9999"
    name: agents
    checks: [{{type: agent, port: {AGENT_PORT}, interval: 0.2, timeout: 0.15, fall: 1}}]
    backends: [10.77.0.11]
"""

AGENT = f"""
import socketserver
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"down # {MARKUP}\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", {AGENT_PORT}), Answer).serve_forever()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this file's own, since a daemon takes all services for its own."""
    with running_lab() as made:
        yield made


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Servers:
    """A server on every backend, and on the first one an agent that is down."""
    made = Servers(lab)
    made.start("backend1", "backend2", "backend3")
    lab.popen("backend1", [sys.executable, "-c", AGENT])
    return made


@pytest.fixture(scope="module")
def seed(lab: Lab) -> str:
    """The balancer's secret."""
    found = re.search(r"^seed: '?([0-9a-f]{16})", lab.pydsr("export"), re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def kept(lab: Lab, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A daemon that serves the page."""
    del servers
    options = ("--web", f"127.0.0.1:{WEB_PORT}", "--notify", f"true {NOTIFIED}")
    with keeping(lab, tmp_path_factory.mktemp("page"), FILE, *options) as made:
        assert eventually(lambda: "listening at" in made.log)
        yield made


@pytest.fixture(scope="module")
def browser(lab: Lab) -> Iterator[Browser]:
    """Chromium on the balancer."""
    if not is_installed():
        pytest.skip("there is no Chromium that can be started in a namespace")
    with browsing(lab.topology.namespace("lb")) as made:
        yield made


@contextmanager
def connected(lab: Lab) -> Iterator[http.client.HTTPConnection]:
    """Connect to the page's server."""
    with enter_namespace(lab.topology.namespace("lb")):
        connection = http.client.HTTPConnection("127.0.0.1", WEB_PORT, timeout=DEADLINE_SECONDS)
        connection.connect()
    try:
        yield connection
    finally:
        connection.close()


def ask(
    lab: Lab, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    """Return status, headers and body of an answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with connected(lab) as connection:
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def state(lab: Lab) -> dict[str, Any]:
    """Return the document of the page."""
    return dict(json.loads(ask(lab, "/api/state")[2]))


# -- over HTTP


PATHS = ("/", "/static/page.js", "/static/page.css", "/api/state", "/api/history")


@pytest.mark.parametrize(
    "path", [*PATHS, "/nothing", "/static/..%2fpage.py", "/api/history?service=x"]
)
def test_every_answer_has_the_headers_that_protect_its_reader(
    lab: Lab, kept: Kept, path: str
) -> None:
    del kept
    status, headers, _ = ask(lab, path)
    assert (200 if path in PATHS else 400 if "?" in path else 404) == status
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert ("nosniff", "no-store", "DENY") == tuple(
        headers[name] for name in ("X-Content-Type-Options", "Cache-Control", "X-Frame-Options")
    )


def test_nothing_can_be_changed(lab: Lab, kept: Kept) -> None:
    del kept
    before = state(lab)["services"]
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in (*PATHS, "/api/stream"):
            status, headers, _ = ask(lab, path, method)
            assert (405, "nosniff") == (status, headers["X-Content-Type-Options"])
            assert set(headers["Allow"].split(",")) <= {"GET", "HEAD"}
    assert before == state(lab)["services"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "rebound.example"}, 421),
        ({"Host": f"localhost:{WEB_PORT}"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}, 200),
    ],
)
def test_only_the_page_itself_gets_answers(
    lab: Lab, kept: Kept, headers: dict[str, str], expected: int
) -> None:
    del kept
    assert expected == ask(lab, "/api/state", **headers)[0]


def test_the_state_is_the_same_as_in_commands(lab: Lab, kept: Kept) -> None:
    del kept

    def differing() -> list[Any]:
        listed = json.loads(lab.pydsr("backends", "list", "--json"))
        found = state(lab)["services"]
        for service in found:
            for key in service.keys() - {"service", "name", "backends"}:
                del service[key]
            for backend in service["backends"]:
                del backend["health"], backend["weight_share"]
        return [] if found == listed else [found, listed]

    # The agent may have only just reported that its backend is down.
    eventually(lambda: not differing())
    assert [] == differing()
    whole = state(lab)
    assert ([{"name": "eth0", "mode": "native"}], None) == (whole["interfaces"], whole["problem"])


def test_no_secret_is_shown(lab: Lab, kept: Kept, seed: str) -> None:
    """Errors in a file may quote them."""
    kept.write(f'seed: "{seed} and more"\n{FILE}')
    try:
        kept.until("reload-failed")
        assert seed in json.dumps(kept.events("reload-failed"))
        shown = "".join(ask(lab, path)[2] for path in PATHS)
        assert "reload-failed" in shown
        assert (False, False) == (seed in shown, NOTIFIED in shown)
    finally:
        kept.write(FILE)
        kept.until("reloaded")


def test_open_pages_are_limited(lab: Lab, kept: Kept) -> None:
    del kept

    def watch(streams: ExitStack) -> int:
        connection = streams.enter_context(connected(lab))
        connection.request("GET", "/api/stream")
        answer = connection.getresponse()
        if answer.status == 200:
            assert b"event: state\n" == answer.readline()
        return answer.status

    with ExitStack() as streams:
        assert {200} == {watch(streams) for _ in range(STREAMS_MAX)}
        assert 503 == watch(streams)
        assert 200 == ask(lab, "/api/state")[0]

    def is_let_in() -> bool:
        with ExitStack() as streams:
            return watch(streams) == 200

    assert eventually(is_let_in)


# -- in a browser


class Watched:
    """A page in the browser, with its requests and errors."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text))
        page.goto(URL)

    def service(self, text: str) -> Any:
        """Return the group of a service."""
        return self.page.locator("details.service").filter(has_text=text)

    def backend(self, text: str) -> Any:
        """Return the row of a backend of the first service."""
        return self.service(SERVICE).locator("tbody tr:not(.why)").filter(has_text=text)


@contextmanager
def watching(browser: Browser, **options: Any) -> Iterator[Watched]:
    """Open the page; at the end it must have no errors and no requests to other hosts."""
    context = browser.new_context(**options)
    try:
        watched = Watched(context.new_page())
        yield watched
        assert [] == watched.errors
        assert [] == [url for url in watched.requests if not url.startswith(URL)]
        assert None is watched.page.evaluate("window.injected ?? null")
    finally:
        context.close()


def test_the_page_shows_services_and_their_rates(lab: Lab, kept: Kept, browser: Browser) -> None:
    """A name with markup is shown as text."""
    del kept
    with watching(browser) as watched:
        expect(watched.service(SERVICE)).to_contain_text(MARKUP, timeout=_MS)
        answers(lab, f"{VIP4}:{PORT}", 200)
        expect(watched.page.locator("#total-packets")).to_have_text(SOME, timeout=_MS)
        expect(watched.backend("10.77.0.11").locator("td.packets")).to_have_text(SOME, timeout=_MS)
        expect(watched.backend("10.77.0.12").locator("td.share")).to_contain_text("(25%)")
        line = watched.service(SERVICE).locator("summary path.line")
        assert eventually(lambda: "L" in (line.get_attribute("d") or ""))
        expect(watched.page.locator("#reasons")).to_contain_text("sent to the backend of its slot")
        expect(watched.page.locator("#interfaces")).to_have_text("eth0 native")
        assert 0 == watched.page.locator("main img").count()


def test_messages_from_the_network_are_shown_as_text(kept: Kept, browser: Browser) -> None:
    del kept
    with watching(browser) as watched:
        expect(watched.page.locator("#attention")).to_contain_text(MARKUP, timeout=_MS)
        expect(watched.page.locator("#events")).to_contain_text(MARKUP)
        assert 0 == watched.page.locator("main img").count()


def test_a_stopped_server_needs_attention_until_it_is_back(
    lab: Lab, servers: Servers, kept: Kept, browser: Browser
) -> None:
    del kept
    with watching(browser) as watched:
        row = watched.backend("10.77.0.12")
        expect(row.locator("td.state")).to_have_text("up", timeout=_MS)
        expect(row.locator("td.health")).to_contain_text("healthy")
        with closed(lab, servers):
            expect(row.locator("td.state")).to_have_text("down", timeout=_MS)
            expect(row.locator("td.health")).to_contain_text("unhealthy")
            finding = watched.page.locator("#attention li").filter(has_text="10.77.0.12")
            expect(finding).to_contain_text("nothing listens on the port")
            expect(finding.locator("code")).to_have_text("ss -ln")
            newest = watched.page.locator("#events li").first
            expect(newest).to_contain_text("backend-unhealthy")
        expect(row.locator("td.state")).to_have_text("up", timeout=_MS)
        expect(finding).to_have_count(0)
        assert 1 == watched.requests.count(URL)


def test_the_page_outlives_the_daemon(kept: Kept, browser: Browser) -> None:
    with watching(browser) as watched:
        stale = watched.page.locator("#stale")
        events = watched.page.locator("#events")
        expect(watched.page.locator("#connection")).to_contain_text("live", timeout=_MS)
        expect(stale).to_be_hidden()
        kept.end(SIGKILL)
        expect(stale).to_contain_text("the daemon does not answer", timeout=_MS)
        expect(watched.backend("10.77.0.11")).to_be_visible()
        kept.start()
        expect(stale).to_be_hidden(timeout=_MS)
        expect(watched.page.locator("#connection")).to_contain_text("live")
        assert 1 == watched.requests.count(URL)
        expect(events.locator("li").filter(has_text="started")).to_have_count(1)
        # Only the connection errors are expected.
        watched.errors[:] = [one for one in watched.errors if "net::ERR_" not in one]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_page_fits_a_narrow_screen(kept: Kept, browser: Browser, width: int) -> None:
    del kept
    with watching(browser, viewport={"width": width, "height": 800}, has_touch=True) as watched:
        expect(watched.backend("10.77.0.11")).to_be_visible(timeout=_MS)
        assert width == watched.page.evaluate("document.documentElement.scrollWidth")


def test_the_keyboard_filters_and_opens(kept: Kept, browser: Browser) -> None:
    del kept
    with watching(browser) as watched:
        group = watched.service(SERVICE)
        expect(group).to_have_attribute("open", "", timeout=_MS)
        watched.page.keyboard.press("/")
        watched.page.keyboard.type("agents")
        expect(group).to_be_hidden()
        expect(watched.service("agents")).to_be_visible()
        watched.page.keyboard.press("Escape")
        expect(group).to_be_visible()
        group.locator("summary").focus()
        watched.page.keyboard.press("Enter")
        expect(watched.backend("10.77.0.11")).to_have_count(0)


@pytest.mark.usefixtures("kept")
def test_a_purged_balancer_is_a_problem(lab: Lab, browser: Browser) -> None:
    with watching(browser) as watched:
        problem = watched.page.locator("#problem")
        expect(watched.backend("10.77.0.11")).to_be_visible(timeout=_MS)
        lab.pydsr("detach", "--all", "--purge")
        expect(problem).to_contain_text("pydsr attach", timeout=_MS)
        expect(watched.backend("10.77.0.11")).to_be_hidden()
        lab.pydsr("attach", "eth0")
        expect(problem).to_be_hidden(timeout=_MS)
        expect(watched.page.locator("#nothing")).to_contain_text("There are no services")
