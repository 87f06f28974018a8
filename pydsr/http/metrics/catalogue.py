"""The catalogue of metrics: name, type, help text and labels of each.

Names and units follow the conventions of Prometheus
(https://prometheus.io/docs/practices/naming/). Labels have few values; nothing that a client of a
service sends becomes a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class Kind(StrEnum):
    """The types of metrics in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: as in queries; of a histogram, without ``_bucket``, ``_sum`` and ``_count``.
        text: the help text.
        labels: names, in the order of the values.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


METRICS: list[Metric] = []
"""All metrics, in the order of exposition."""


def _metric(kind: Kind, name: str, text: str, *labels: str) -> Metric:
    METRICS.append(Metric(f"pydsr_{name}", kind, text, labels))
    return METRICS[-1]


_counter = partial(_metric, Kind.COUNTER)
_gauge = partial(_metric, Kind.GAUGE)
_histogram = partial(_metric, Kind.HISTOGRAM)
_backend = ("service", "backend")

# The balancer

BUILD_INFO = _gauge("build_info", "Always 1; the version of pydsr.", "version")
UP = _gauge("up", "Whether a balancer exists and its maps can be read.")
LAYOUT_VERSION = _gauge(
    "layout_version", "Version of the layout of the maps that this pydsr reads."
)
INTERFACE_MODE = _gauge(
    "interface_mode",
    "Whether an attached interface runs the program in this mode: native (in the driver) or "
    "generic (after the driver, at a fraction of the speed).",
    "interface",
    "mode",
)

# The program

PACKETS = _counter(
    "packets_total",
    "Packets by verdict and reason (pydsr stats --explain lists the reasons).",
    "reason",
    "verdict",
)
PROGRAM_SECONDS = _counter(
    "program_seconds_total",
    "CPU time of the program, counted while the kernel times programs.",
    "interfaces",
)
PROGRAM_RUNS = _counter(
    "program_runs_total",
    "Runs of the program, one per packet, counted while the kernel times programs.",
    "interfaces",
)
PROGRAM_TIMED = _gauge(
    "program_timed", "Whether the kernel times programs (sysctl kernel.bpf_stats_enabled)."
)

# Services

SERVICE_INFO = _gauge(
    "service_info", "Always 1; the name and affinity of a service.", "service", "name", "affinity"
)
SERVICE_SLOTS = _gauge("service_slots", "Slots of a service's table.", "service")
SERVICE_SLOTS_CHANGING = _gauge(
    "service_slots_changing",
    "Slots that are not at rest: after a change, the program looks up flow records for them.",
    "service",
)
SERVICE_RECORDS = _gauge(
    "service_flow_records", "Flow records, kept for slots that are not at rest.", "service"
)
SERVICE_PENDING = _gauge(
    "service_pending_flows",
    "Half-open flows, of which only the SYN was seen, in slots that are not at rest.",
    "service",
)

# Backends

BACKEND_PACKETS = _counter("backend_packets_total", "Packets sent to a backend.", *_backend)
BACKEND_BYTES = _counter(
    "backend_bytes_total", "Bytes sent to a backend, counted as whole frames.", *_backend
)
BACKEND_NEW_FLOWS = _counter(
    "backend_new_flows_total",
    "New flows sent to a backend: TCP SYNs or SCTP INITs. UDP has none.",
    *_backend,
)
BACKEND_WEIGHT = _gauge(
    "backend_weight",
    "Weight of a backend in force, which health checks may have lowered.",
    *_backend,
)
BACKEND_CONFIGURED_WEIGHT = _gauge(
    "backend_configured_weight", "Weight of a checked backend in the file.", *_backend
)
BACKEND_SLOTS_RATIO = _gauge(
    "backend_slots_ratio", "Share of its service's slots that a backend owns, 0 to 1.", *_backend
)
BACKEND_STATE = _gauge(
    "backend_state",
    "Whether a backend is in this state: up (gets new flows), drain (keeps its old flows) or down "
    "(gets no packets).",
    *_backend,
    "state",
)
BACKEND_RESOLVED = _gauge("backend_resolved", "Whether the MAC of a backend is known.", *_backend)

# Health

BACKEND_HEALTHY = _gauge(
    "backend_healthy", "Whether a backend passes its health checks.", *_backend
)
BACKEND_HELD = _gauge(
    "backend_held",
    "Whether an unhealthy backend stays in service because too few would be left.",
    *_backend,
)
BACKEND_FAILING_CHECK = _gauge(
    "backend_failing_check",
    "Always 1; a check that fails on a backend, by its last outcome (pydsr health says more).",
    *_backend,
    "check",
    "outcome",
)
CERTIFICATE_EXPIRY = _gauge(
    "backend_certificate_expiry_timestamp_seconds",
    "When the first certificate expires that checks have seen on a backend.",
    *_backend,
)
CHECKS = _counter("checks_total", "Health checks by outcome.", "service", "check", "outcome")
CHECK_DURATION = _histogram(
    "check_duration_seconds",
    "Duration of health checks, whatever their outcome.",
    "service",
    "check",
)

# The daemon

DAEMON_UP = _gauge("daemon_up", "Whether a daemon runs for this balancer.")
EVENTS = _counter("events_total", "Events (pydsr events) by kind.", "event")
RELOAD_SUCCESSFUL = _gauge(
    "configuration_last_reload_successful", "Whether the last reload of the file succeeded."
)
RELOAD_TIME = _gauge(
    "configuration_last_reload_success_timestamp_seconds", "When the file was last applied."
)
WAITING_BACKENDS = _gauge(
    "waiting_backends",
    "Backends of the file that are not in service yet because they do not answer ARP or ND.",
)
