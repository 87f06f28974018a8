"""Write the Grafana dashboard from the catalogue of metrics: ``python -m docs.dashboard``."""

from __future__ import annotations

import json
from pathlib import Path

from docs.dashboard_panels import Json, Panel, laid_out, number, plot, states, table, variable
from pydsr.http.metrics import catalogue as of

DASHBOARD = Path(__file__).parent.parent / "packaging" / "grafana" / "pydsr.json"

_HERE = 'instance=~"$instance"'
_CHOSEN = f'{_HERE}, service=~"$service"'
_DROPPED, _NOT_DROPPED = (f'{_HERE}, verdict{is_}"drop"' for is_ in ("=", "!="))
_RATE = "[$__rate_interval]"


def _by(labels: str, expression: str) -> str:
    return f"sum by ({labels}) ({expression})"


def _rate(metric: of.Metric, matchers: str = _CHOSEN) -> str:
    return f"rate({metric}{{{matchers}}}{_RATE})"


_PER_PACKET = (
    f"{_by('instance', _rate(of.PROGRAM_SECONDS, _HERE))}"
    f" / {_by('instance', _rate(of.PROGRAM_RUNS, _HERE))}"
)
_DURATIONS = f"rate({of.CHECK_DURATION}_bucket{{{_CHOSEN}}}{_RATE})"
_SHARE = (
    f"{_by('instance, service, backend', _rate(of.BACKEND_PACKETS))}"
    f" / on (instance, service) group_left () "
    f"{_by('instance, service', _rate(of.BACKEND_PACKETS))}"
)
_UP = f'{of.BACKEND_STATE}{{{_CHOSEN}, state="up"}}'

_ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            number("Balancers", f"sum({of.UP}{{{_HERE}}})", text=of.UP.text),
            number("Daemons", f"sum({of.DAEMON_UP}{{{_HERE}}})", text=of.DAEMON_UP.text),
            number("Services", f"count({of.SERVICE_INFO}{{{_CHOSEN}}})"),
            number("Backends up", f"sum({_UP})"),
            number("Unhealthy", f"count({of.BACKEND_HEALTHY}{{{_CHOSEN}}} == 0) or vector(0)"),
            number("Packets", f"sum({_rate(of.BACKEND_PACKETS)})", "pps"),
            number("Traffic in", f"8 * sum({_rate(of.BACKEND_BYTES)})", "bps"),
            number(
                "CPU per packet",
                f"max({_PER_PACKET})",
                "s",
                "Empty unless the kernel times programs: sysctl kernel.bpf_stats_enabled=1.",
            ),
        ),
    ),
    (
        "Traffic",
        (
            plot(
                "Packets by service",
                _by("service", _rate(of.BACKEND_PACKETS)),
                "{{service}}",
                "pps",
                of.BACKEND_PACKETS.text,
            ),
            plot(
                "Traffic by service",
                f"8 * {_by('service', _rate(of.BACKEND_BYTES))}",
                "{{service}}",
                "bps",
                "From clients; replies bypass the balancer.",
            ),
            plot(
                "New flows by service",
                _by("service", _rate(of.BACKEND_NEW_FLOWS)),
                "{{service}}",
                "cps",
                of.BACKEND_NEW_FLOWS.text,
            ),
            plot(
                "Packets by backend",
                _by("service, backend", _rate(of.BACKEND_PACKETS)),
                "{{backend}} of {{service}}",
                "pps",
            ),
            Panel(
                "Share of packets and of slots",
                "timeseries",
                (
                    (_SHARE, "packets: {{backend}} of {{service}}"),
                    (
                        f"{of.BACKEND_SLOTS_RATIO}{{{_CHOSEN}}}",
                        "slots: {{backend}} of {{service}}",
                    ),
                ),
                "percentunit",
                "If they differ for long, few clients send most of the traffic.",
            ),
            plot(
                "Weight",
                f"{of.BACKEND_WEIGHT}{{{_CHOSEN}}}",
                "{{backend}} of {{service}}",
                text=of.BACKEND_WEIGHT.text,
            ),
        ),
    ),
    (
        "Verdicts",
        (
            plot(
                "Dropped",
                f"{_by('reason', _rate(of.PACKETS, _DROPPED))} > 0",
                "{{reason}}",
                "pps",
                "pydsr stats --explain describes each reason.",
            ),
            plot(
                "Sent, answered and passed",
                f"{_by('reason', _rate(of.PACKETS, _NOT_DROPPED))} > 0",
                "{{reason}}",
                "pps",
            ),
        ),
    ),
    (
        "Health",
        (
            states(
                "Healthy",
                f"{of.BACKEND_HEALTHY}{{{_CHOSEN}}}",
                "{{backend}} of {{service}}",
                {0: ("fails", "red"), 1: ("passes", "green")},
            ),
            table(
                "Failing checks",
                f"{of.BACKEND_FAILING_CHECK}{{{_CHOSEN}}}",
                "pydsr health says more.",
            ),
            plot(
                "Duration of checks, 95th percentile",
                f"histogram_quantile(0.95, {_by('service, check, le', _DURATIONS)})",
                "{{check}} of {{service}}",
                "s",
                of.CHECK_DURATION.text,
            ),
            plot("Checks by outcome", _by("outcome", _rate(of.CHECKS)), "{{outcome}}", "ops"),
            table(
                "Certificates expire in",
                f"sort({of.CERTIFICATE_EXPIRY}{{{_CHOSEN}}} - time())",
                of.CERTIFICATE_EXPIRY.text,
                "s",
            ),
            plot(
                "Unhealthy but in service",
                f"{of.BACKEND_HELD}{{{_CHOSEN}}} == 1",
                "{{backend}} of {{service}}",
                text=of.BACKEND_HELD.text,
            ),
        ),
    ),
    (
        "Changes",
        (
            plot(
                "Slots not at rest",
                f"{of.SERVICE_SLOTS_CHANGING}{{{_CHOSEN}}} / {of.SERVICE_SLOTS}{{{_CHOSEN}}}",
                "{{service}}",
                "percentunit",
                of.SERVICE_SLOTS_CHANGING.text,
                8,
            ),
            Panel(
                "Flow records",
                "timeseries",
                (
                    (f"{of.SERVICE_RECORDS}{{{_CHOSEN}}}", "{{service}}"),
                    (f"{of.SERVICE_PENDING}{{{_CHOSEN}}}", "{{service}}, half-open"),
                ),
                text=of.SERVICE_RECORDS.text,
                width=8,
            ),
            plot(
                "Events",
                f"sum by (event) (increase({of.EVENTS}{{{_HERE}}}{_RATE})) > 0",
                "{{event}}",
                text=of.EVENTS.text,
                width=8,
            ),
        ),
    ),
    (
        "The balancer itself",
        (
            plot("CPU per packet", _PER_PACKET, "{{instance}}", "s", of.PROGRAM_SECONDS.text, 8),
            plot(
                "CPU of the daemon",
                f"rate(pydsr_daemon_process_cpu_seconds_total{{{_HERE}}}{_RATE})",
                "{{instance}}",
                "percentunit",
                width=8,
            ),
            plot(
                "Memory of the daemon",
                f"pydsr_daemon_process_resident_memory_bytes{{{_HERE}}}",
                "{{instance}}",
                "bytes",
                width=8,
            ),
        ),
    ),
)


def dashboard() -> Json:
    """Return the dashboard as Grafana imports it."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "pydsr",
        "title": "pydsr",
        "description": "A layer-4 load balancer for Direct Server Return.",
        "tags": ["pydsr", "load balancer"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                source,
                variable("instance", "Balancer", f"label_values({of.UP}, instance)"),
                variable(
                    "service", "Service", f"label_values({of.SERVICE_INFO}{{{_HERE}}}, service)"
                ),
            ]
        },
        "panels": list(laid_out(_ROWS)),
    }


def text() -> str:
    """Return the dashboard as a file of ``packaging/grafana``."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text(), encoding="utf-8")
