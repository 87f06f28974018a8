"""Metrics of a daemon with real traffic and real checks, as Prometheus scrapes them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import IO, Any, cast

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pydsr.http.metrics.catalogue import CERTIFICATE_EXPIRY, METRICS
from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.lab import Lab
from tests.support.lab.daemon_lab import ADDRESSES, PORT, Kept, Servers, file_of, keeping
from tests.support.lab.requests import (
    DEADLINE_SECONDS,
    VIP4,
    answers,
    eventually,
    running,
    running_lab,
)
from tests.support.scraping import Scrape, promtool

ADDRESS = "127.0.0.1:9477"
URL = f"http://{ADDRESS}/metrics"
SERVICE = f"{VIP4}:{PORT}/tcp"
FIRST, SECOND, THIRD = ADDRESSES[VIP4]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this file's own, since a daemon takes all services for its own."""
    with running_lab() as made:
        yield made


@pytest.fixture(scope="module")
def kept(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A daemon that serves metrics; nothing listens on its second backend."""
    servers = Servers(lab)
    servers.start("backend1", "backend3")
    folder = tmp_path_factory.mktemp("metrics")
    with keeping(lab, folder, file_of(), "--metrics", ADDRESS) as made:
        made.until("backend-unhealthy", SECOND)
        answers(lab, f"{VIP4}:{PORT}", 30)
        assert eventually(lambda: is_served(lab, URL)), made.log
        yield made


def is_served(lab: Lab, url: str) -> bool:
    return lab.run("lb", ["curl", "--silent", url]).returncode == 0


def scrape(lab: Lab, *options: str) -> Scrape:
    return Scrape.of(page(lab, URL, *options))


def page(lab: Lab, url: str, *options: str) -> str:
    done = lab.run("lb", ["curl", "--silent", "--show-error", "--fail", *options, url])
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(lab: Lab, url: str, name: str, value: float) -> Scrape:
    """Scrape until a metric without labels has a value."""
    found = eventually(
        lambda: (now := Scrape.of(page(lab, url))) and now.value(name) == value and now
    )
    assert found, (name, value)
    return found


def stats(lab: Lab) -> dict[str, Any]:
    return dict(json.loads(lab.pydsr("stats", "--json")))


def test_counters_are_the_same_as_in_the_maps(lab: Lab, kept: Kept) -> None:
    """Packets, bytes and new flows of each backend, and packets by reason."""
    assert kept.process is not None
    name = "pydsr_backend_new_flows_total"
    # A page may be half a second old.
    found = eventually(lambda: sum((now := scrape(lab)).series(name).values()) == 30 and now)
    assert found
    after = stats(lab)
    (service,) = after["services"]
    for backend in service["backends"]:
        labels = {"service": SERVICE, "backend": backend["address"]}
        for key in ("packets", "bytes", "new_flows"):
            assert backend[key] == found.value(f"pydsr_backend_{key}_total", **labels)
    forwarded = found.value("pydsr_packets_total", reason="forwarded", verdict="tx")
    current = found.value("pydsr_packets_total", reason="forwarded_current", verdict="tx")
    assert (forwarded or 0) + (current or 0) > 0


def test_health_has_its_cause(lab: Lab, kept: Kept) -> None:
    """The backend without a server is down, and the series says that its port is closed."""
    assert kept.process is not None
    found = scrape(lab)
    of_second = {"service": SERVICE, "backend": SECOND}
    assert {FIRST: 1, SECOND: 0, THIRD: 1} == {
        dict(labels)["backend"]: value
        for labels, value in found.series("pydsr_backend_healthy").items()
    }
    assert 1 == found.value(
        "pydsr_backend_failing_check", **of_second, check="http", outcome="port-closed"
    )
    assert (0, 0, 1) == tuple(
        found.value("pydsr_backend_state", **of_second, state=state)
        for state in ("up", "drain", "down")
    )
    checks = {"service": SERVICE, "check": "http"}
    made = sum(found.series("pydsr_checks_total").values())
    assert made == found.value("pydsr_check_duration_seconds_count", **checks)
    assert made == found.value("pydsr_check_duration_seconds_bucket", **checks, le="+Inf")
    assert len(kept.events("backend-unhealthy")) == found.value(
        "pydsr_events_total", event="backend-unhealthy"
    )


def test_promtool_has_no_remarks(lab: Lab, kept: Kept) -> None:
    """It reads the page, and accepts names, units and types."""
    assert kept.process is not None
    assert "" == promtool("check", "metrics", page=page(lab, URL))


def test_every_metric_of_the_catalogue_is_served(lab: Lab, kept: Kept) -> None:
    """Except the expiry of certificates, as no check of this lab sees one."""
    assert kept.process is not None
    found = scrape(lab)
    families = {name.removesuffix("_bucket") for name in found.names}
    assert {CERTIFICATE_EXPIRY} == {one for one in METRICS if one.name not in families}


def test_both_formats_are_served(lab: Lab, kept: Kept) -> None:
    """OpenMetrics, compressed, has the same series as plain text."""
    assert kept.process is not None
    accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    text = page(lab, URL, "--compressed", "--header", accept)
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    names = {sample.name for family in families for sample in family.samples}
    assert scrape(lab).names == names


def test_a_failed_reload_is_shown_until_one_succeeds(lab: Lab, kept: Kept) -> None:
    """Meanwhile the time of the last success stays the same."""
    successful = "pydsr_configuration_last_reload_successful"
    time = "pydsr_configuration_last_reload_success_timestamp_seconds"
    before = scrape(lab)
    kept.write("services: 7\n")
    failed = until(lab, URL, successful, 0)
    kept.write(file_of())
    again = until(lab, URL, successful, 1)
    was, meanwhile, now = (each.value(time) or 0 for each in (before, failed, again))
    assert (True, True) == (was == meanwhile, meanwhile < now)


def test_a_separate_exporter_serves_the_same_and_outlives_the_daemon(lab: Lab, kept: Kept) -> None:
    """The series of a killed daemon are left out; the counters continue."""
    other = "127.0.0.1:9478"
    url = f"http://{other}/metrics"
    command = [*PYTHON, "pydsr", "--bpffs", str(lab.bpffs), "exporter", "--listen", other]
    with running(lab, "lb", [*command, *kept.runtime]) as exporter:
        assert eventually(lambda: is_served(lab, url))
        assert scrape(lab).names == Scrape.of(page(lab, url)).names
        kept.end(signal.SIGKILL)
        gone = until(lab, url, "pydsr_daemon_up", 0)
        assert {} == gone.series("pydsr_backend_healthy") | gone.series("pydsr_events_total")
        assert 30 == sum(gone.series("pydsr_backend_new_flows_total").values())
        kept.start()
        back = until(lab, url, "pydsr_daemon_up", 1)
        assert 0 == back.value("pydsr_backend_healthy", service=SERVICE, backend=SECOND)
        exporter.send_signal(signal.SIGTERM)
        assert (0, "") == (exporter.wait(DEADLINE_SECONDS), cast("IO[str]", exporter.stderr).read())
