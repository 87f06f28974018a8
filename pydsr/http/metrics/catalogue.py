"""The catalogue of metrics: name, type, help text and labels of each.

Names and units follow the conventions of Prometheus
(https://prometheus.io/docs/practices/naming/). Labels have few values; nothing that a client of a
service sends becomes a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


def _metric(name: str, kind: Kind, text: str, *labels: str) -> Metric:
    made = Metric(f"pydsr_{name}", kind, text, labels)
    METRICS.append(made)
    return made


_counter, _gauge = Kind.COUNTER, Kind.GAUGE
_backend = ("service", "backend")

# The balancer

BUILD_INFO = _metric("build_info", _gauge, "Always 1; the version of pydsr.", "version")
UP = _metric("up", _gauge, "Whether a balancer exists and its maps can be read.")
LAYOUT_VERSION = _metric(
    "layout_version", _gauge, "Version of the layout of the maps that this pydsr reads."
)
INTERFACE_MODE = _metric(
    "interface_mode",
    _gauge,
    "Whether an attached interface runs the program in this mode: native (in the driver) or "
    "generic (after the driver, at a fraction of the speed).",
    "interface",
    "mode",
)

# The program

PACKETS = _metric(
    "packets_total",
    _counter,
    "Packets by verdict and reason (pydsr stats --explain lists the reasons).",
    "reason",
    "verdict",
)
PROGRAM_SECONDS = _metric(
    "program_seconds_total",
    _counter,
    "CPU time of the program, counted while the kernel times programs.",
    "interfaces",
)
PROGRAM_RUNS = _metric(
    "program_runs_total",
    _counter,
    "Runs of the program, one per packet, counted while the kernel times programs.",
    "interfaces",
)
PROGRAM_TIMED = _metric(
    "program_timed", _gauge, "Whether the kernel times programs (sysctl kernel.bpf_stats_enabled)."
)

# Services

SERVICE_INFO = _metric(
    "service_info",
    _gauge,
    "Always 1; the name and affinity of a service.",
    "service",
    "name",
    "affinity",
)
SERVICE_SLOTS = _metric("service_slots", _gauge, "Slots of a service's table.", "service")
SERVICE_SLOTS_CHANGING = _metric(
    "service_slots_changing",
    _gauge,
    "Slots that are not at rest: after a change, the program looks up flow records for them.",
    "service",
)
SERVICE_RECORDS = _metric(
    "service_flow_records", _gauge, "Flow records, kept for slots that are not at rest.", "service"
)
SERVICE_PENDING = _metric(
    "service_pending_flows",
    _gauge,
    "Half-open flows, of which only the SYN was seen, in slots that are not at rest.",
    "service",
)

# Backends

BACKEND_PACKETS = _metric(
    "backend_packets_total", _counter, "Packets sent to a backend.", *_backend
)
BACKEND_BYTES = _metric(
    "backend_bytes_total", _counter, "Bytes sent to a backend, counted as whole frames.", *_backend
)
BACKEND_NEW_FLOWS = _metric(
    "backend_new_flows_total",
    _counter,
    "New flows sent to a backend: TCP SYNs or SCTP INITs. UDP has none.",
    *_backend,
)
BACKEND_WEIGHT = _metric(
    "backend_weight", _gauge, "Weight of a backend in force, which health checks may have lowered.",
    *_backend,
)  # fmt: skip
BACKEND_CONFIGURED_WEIGHT = _metric(
    "backend_configured_weight",
    _gauge,
    "Weight of a checked backend in the file.",
    *_backend,
)
BACKEND_SLOTS_RATIO = _metric(
    "backend_slots_ratio", _gauge, "Share of its service's slots that a backend owns, 0 to 1.",
    *_backend,
)  # fmt: skip
BACKEND_STATE = _metric(
    "backend_state",
    _gauge,
    "Whether a backend is in this state: up (gets new flows), drain (keeps its old flows) or down "
    "(gets no packets).",
    *_backend,
    "state",
)
BACKEND_RESOLVED = _metric(
    "backend_resolved", _gauge, "Whether the MAC of a backend is known.", *_backend
)

# Health

BACKEND_HEALTHY = _metric(
    "backend_healthy", _gauge, "Whether a backend passes its health checks.", *_backend
)
BACKEND_HELD = _metric(
    "backend_held",
    _gauge,
    "Whether an unhealthy backend stays in service because too few would be left.",
    *_backend,
)
BACKEND_FAILING_CHECK = _metric(
    "backend_failing_check",
    _gauge,
    "Always 1; a check that fails on a backend, by its last outcome (pydsr health says more).",
    *_backend,
    "check",
    "outcome",
)
CERTIFICATE_EXPIRY = _metric(
    "backend_certificate_expiry_timestamp_seconds",
    _gauge,
    "When the first certificate expires that checks have seen on a backend.",
    *_backend,
)
CHECKS = _metric(
    "checks_total", _counter, "Health checks by outcome.", "service", "check",
    "outcome",
)  # fmt: skip
CHECK_DURATION = _metric(
    "check_duration_seconds",
    Kind.HISTOGRAM,
    "Duration of health checks, whatever their outcome.",
    "service",
    "check",
)

# The daemon

DAEMON_UP = _metric("daemon_up", _gauge, "Whether a daemon runs for this balancer.")
EVENTS = _metric("events_total", _counter, "Events (pydsr events) by kind.", "event")
RELOAD_SUCCESSFUL = _metric(
    "configuration_last_reload_successful",
    _gauge,
    "Whether the last reload of the file succeeded.",
)
RELOAD_TIME = _metric(
    "configuration_last_reload_success_timestamp_seconds",
    _gauge,
    "When the file was last applied.",
)
WAITING_BACKENDS = _metric(
    "waiting_backends",
    _gauge,
    "Backends of the file that are not in service yet because they do not answer ARP or ND.",
)
