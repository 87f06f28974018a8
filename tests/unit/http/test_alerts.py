"""Alert rules and the dashboard: what they ask for exists, and the rules fire when they should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import dashboard
from docs.dashboard import DASHBOARD
from pydsr.http.metrics.catalogue import METRICS, Kind
from pydsr.model.check_result import Outcome
from pydsr.model.reasons import all_reasons
from pydsr.model.service import BackendState
from tests.support.netns.checked_host import needs
from tests.support.paths import CHECKOUT
from tests.support.scraping import promtool

PACKAGING = CHECKOUT / "packaging"
RULES = PACKAGING / "prometheus" / "alerts.yml"

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
}
NAMES = {
    metric.name + suffix
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
} | {f"pydsr_daemon_process_{name}" for name in ("cpu_seconds_total", "resident_memory_bytes")}
BACKEND = 'instance="lb:9477",service="web",backend="b1"'
OTHER = 'instance="lb:9477",service="web",backend="b2"'
SERVICE = 'instance="lb:9477",service="web"'
INSTANCE = 'instance="lb:9477"'
DAY = 86400

Series = dict[str, str]
CASES: dict[str, tuple[Series, list[Series]]] = {
    "PydsrAway": (
        {f'up{{job="pydsr",{INSTANCE}}}': "1 0x200"},
        [
            {f'up{{job="pydsr",{INSTANCE}}}': "1x200"},
            {f'up{{job="node",{INSTANCE}}}': "0x200"},
        ],
    ),
    "PydsrNoBalancer": (
        {f"pydsr_up{{{INSTANCE}}}": "1 0x200"},
        [{f"pydsr_up{{{INSTANCE}}}": "1x200"}],
    ),
    "PydsrNotAttached": (
        {f"pydsr_up{{{INSTANCE}}}": "1x200"},
        [
            {
                f"pydsr_up{{{INSTANCE}}}": "1x200",
                f'pydsr_interface_mode{{{INSTANCE},interface="eth0",mode="native"}}': "1x200",
            },
            {f"pydsr_up{{{INSTANCE}}}": "0x200"},
        ],
    ),
    "PydsrGenericMode": (
        {f'pydsr_interface_mode{{{INSTANCE},interface="eth0",mode="generic"}}': "1x200"},
        [
            {
                f'pydsr_interface_mode{{{INSTANCE},interface="eth0",mode="generic"}}': "0x200",
                f'pydsr_interface_mode{{{INSTANCE},interface="eth0",mode="native"}}': "1x200",
            }
        ],
    ),
    "PydsrDaemonAway": (
        {f"pydsr_daemon_up{{{INSTANCE}}}": "1 0x200"},
        [{f"pydsr_daemon_up{{{INSTANCE}}}": "1x5 0 1x200"}],
    ),
    "PydsrReloadFailed": (
        {f"pydsr_configuration_last_reload_successful{{{INSTANCE}}}": "1 0x200"},
        [{f"pydsr_configuration_last_reload_successful{{{INSTANCE}}}": "1x200"}],
    ),
    "PydsrNoBackend": (
        {
            f'pydsr_service_info{{{SERVICE},name="shop",affinity="flow"}}': "1x200",
            f'pydsr_backend_state{{{BACKEND},state="up"}}': "1 0x200",
            f'pydsr_backend_state{{{BACKEND},state="down"}}': "0 1x200",
        },
        [
            {
                f'pydsr_service_info{{{SERVICE},name="shop",affinity="flow"}}': "1x200",
                f'pydsr_backend_state{{{BACKEND},state="up"}}': "0x200",
                f'pydsr_backend_state{{{OTHER},state="up"}}': "1x200",
            }
        ],
    ),
    "PydsrBackendUnhealthy": (
        {f"pydsr_backend_healthy{{{BACKEND}}}": "1 0x200"},
        [{f"pydsr_backend_healthy{{{BACKEND}}}": "1x5 0 1x200"}],
    ),
    "PydsrBackendHeld": (
        {f"pydsr_backend_held{{{BACKEND}}}": "1x200"},
        [{f"pydsr_backend_held{{{BACKEND}}}": "0x200"}],
    ),
    "PydsrBackendUnresolved": (
        {f"pydsr_backend_resolved{{{BACKEND}}}": "0x200"},
        [{f"pydsr_backend_resolved{{{BACKEND}}}": "1x200"}],
    ),
    "PydsrBackendsWaiting": (
        {f"pydsr_waiting_backends{{{INSTANCE}}}": "2x200"},
        [{f"pydsr_waiting_backends{{{INSTANCE}}}": "2x5 0x200"}],
    ),
    "PydsrOneSided": (
        {
            f"pydsr_backend_packets_total{{{BACKEND}}}": "0+54000x200",
            f"pydsr_backend_packets_total{{{OTHER}}}": "0+6000x200",
            f"pydsr_backend_slots_ratio{{{BACKEND}}}": "0.4x200",
            f"pydsr_backend_slots_ratio{{{OTHER}}}": "0.6x200",
        },
        [
            {
                f"pydsr_backend_packets_total{{{BACKEND}}}": "0+54000x200",
                f"pydsr_backend_packets_total{{{OTHER}}}": "0+54000x200",
                f"pydsr_backend_slots_ratio{{{BACKEND}}}": "0.5x200",
                f"pydsr_backend_slots_ratio{{{OTHER}}}": "0.5x200",
            },
            {
                f"pydsr_backend_packets_total{{{BACKEND}}}": "0+54x200",
                f"pydsr_backend_packets_total{{{OTHER}}}": "0+6x200",
                f"pydsr_backend_slots_ratio{{{BACKEND}}}": "0.4x200",
                f"pydsr_backend_slots_ratio{{{OTHER}}}": "0.6x200",
            },
        ],
    ),
    "PydsrBlackHole": (
        {
            f"pydsr_backend_new_flows_total{{{BACKEND}}}": "0+60x200",
            f"pydsr_backend_packets_total{{{BACKEND}}}": "0+60x200",
        },
        [
            {
                f"pydsr_backend_new_flows_total{{{BACKEND}}}": "0+60x200",
                f"pydsr_backend_packets_total{{{BACKEND}}}": "0+300x200",
            },
            {
                f"pydsr_backend_new_flows_total{{{BACKEND}}}": "0+1x200",
                f"pydsr_backend_packets_total{{{BACKEND}}}": "0+1x200",
            },
        ],
    ),
    "PydsrBackendWithoutVip": (
        {f'pydsr_packets_total{{{INSTANCE},reason="bounced",verdict="drop"}}': "0+5x200"},
        [{f'pydsr_packets_total{{{INSTANCE},reason="bounced",verdict="drop"}}': "7x200"}],
    ),
    "PydsrDropsForBackends": (
        {f'pydsr_packets_total{{{INSTANCE},reason="no_mac",verdict="drop"}}': "0+5x200"},
        [{f'pydsr_packets_total{{{INSTANCE},reason="denied",verdict="drop"}}': "0+5x200"}],
    ),
    "PydsrTrafficWithoutService": (
        {f'pydsr_packets_total{{{INSTANCE},reason="no_service",verdict="drop"}}': "0+600x200"},
        [{f'pydsr_packets_total{{{INSTANCE},reason="no_service",verdict="drop"}}': "0+6x200"}],
    ),
    "PydsrChecksNotMade": (
        {f'pydsr_checks_total{{{SERVICE},check="tcp",outcome="unchecked"}}': "0+30x200"},
        [{f'pydsr_checks_total{{{SERVICE},check="tcp",outcome="port-closed"}}': "0+30x200"}],
    ),
    "PydsrCertificateEnds": (
        {f"pydsr_backend_certificate_expiry_timestamp_seconds{{{BACKEND}}}": f"{13 * DAY}x200"},
        [{f"pydsr_backend_certificate_expiry_timestamp_seconds{{{BACKEND}}}": f"{15 * DAY}x200"}],
    ),
    "PydsrCertificateEndsNow": (
        {f"pydsr_backend_certificate_expiry_timestamp_seconds{{{BACKEND}}}": f"{DAY}x200"},
        [{f"pydsr_backend_certificate_expiry_timestamp_seconds{{{BACKEND}}}": f"{3 * DAY}x200"}],
    ),
    "PydsrSlotsNotAtRest": (
        {f"pydsr_service_slots_changing{{{SERVICE}}}": "120x200"},
        [{f"pydsr_service_slots_changing{{{SERVICE}}}": "120x60 0x140"}],
    ),
}
"""For each alert, series each minute that have it fire, and such that do not."""

LABELS = re.compile(r'(\w+)="([^"]*)"')
ANNOTATED = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


def expected(alert: str, firing: Series) -> dict[str, Any]:
    """Return the expected alert, with the labels of the first series."""
    rule, first = ALERTS[alert], next(iter(firing))
    labels = dict(LABELS.findall(first))
    return {
        "exp_labels": labels | rule["labels"],
        "exp_annotations": {
            key: ANNOTATED.sub(lambda found: labels[found[1]], text)
            for key, text in rule["annotations"].items()
        },
    }


def moment(alert: str) -> str:
    """Return when an alert must have fired: after its duration and that of the rates."""
    number, unit = re.fullmatch(r"(\d+)([mh])", ALERTS[alert]["for"]).groups()  # type: ignore[union-attr]
    return f"{int(number) * (60 if unit == 'h' else 1) + 12}m"


def rule_tests() -> Iterator[dict[str, Any]]:
    for alert, (firing, quiet) in CASES.items():
        for number, series in enumerate([firing, *quiet]):
            alerts = [] if number else [expected(alert, firing)]
            yield {
                "interval": "1m",
                "input_series": [{"series": name, "values": one} for name, one in series.items()],
                "alert_rule_test": [
                    {"eval_time": moment(alert), "alertname": alert, "exp_alerts": alerts},
                ],
            }


def test_every_alert_fires_exactly_when_it_should(tmp_path: Path) -> None:
    """As evaluated by Prometheus, with its labels and texts."""
    needs("promtool")
    assert ALERTS.keys() == CASES.keys()
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": list(rule_tests()),
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(document))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_every_alert_waits() -> None:
    """So that one bad scrape wakes nobody."""
    assert set() == {name for name, rule in ALERTS.items() if "for" not in rule}


def test_an_alert_explains_itself() -> None:
    """In three annotations, and with a severity for routing."""
    for name, rule in ALERTS.items():
        assert {"summary", "description", "action"} == rule["annotations"].keys(), name
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name


def expressions() -> dict[str, str]:
    """Return all expressions by file."""
    asked = {name: rule["expr"] for name, rule in ALERTS.items()}
    for panel in dashboard.dashboard()["panels"]:
        for target in panel.get("targets", ()):
            asked[f"{panel['title']} {target['refId']}"] = target["expr"]
    return asked


@pytest.mark.parametrize("where", expressions())
def test_expressions_use_existing_metrics(where: str) -> None:
    """And existing values of labels."""
    asked = expressions()[where]
    values = {
        "reason": {reason.name for reason in all_reasons()},
        "verdict": {reason.verdict for reason in all_reasons()},
        "outcome": {*Outcome},
        "state": {*BackendState},
        "mode": {"native", "generic"},
    }
    assert set() == set(re.findall(r"pydsr_\w+", asked)) - NAMES
    for label, spelt in re.findall(r'(\w+)!?=~?"([^"$]+)"', asked):
        assert label == "job" or set() == set(spelt.split("|")) - values[label]


def test_every_expression_of_the_dashboard_parses(tmp_path: Path) -> None:
    """By Prometheus's own parser, Grafana's variables filled in."""
    needs("promtool")
    filled = (
        text.replace("$__rate_interval", "5m").replace("$", "") for text in expressions().values()
    )
    rules = [{"record": f"test:{n}", "expr": text} for n, text in enumerate(filled)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_dashboard_is_up_to_date() -> None:
    """``python -m docs.dashboard`` updates it."""
    assert dashboard.text() == DASHBOARD.read_text()


def test_panels_do_not_overlap() -> None:
    """And each has its own number."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(places)) == len(places)
    assert len(panels) == len({panel["id"] for panel in panels})
    assert {True} == {0 <= x < 24 for x, _ in places}
