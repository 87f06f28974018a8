"""Every metric there is: its name, its kind, what it says, and by what it is told apart.

Names and units are those of the Prometheus conventions
(https://prometheus.io/docs/practices/naming/). Labels have few values: nothing that a client of a
service sends becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The types of the exposition format that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: as queries have it; of a histogram, without ``_bucket``, ``_sum`` and ``_count``.
        text: what it says.
        labels: names, in the order in which values are given.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


METRICS: list[Metric] = []
"""All of them, in the order in which they are exposed."""


def _metric(name: str, kind: Kind, text: str, *labels: str) -> Metric:
    made = Metric(f"pydsr_{name}", kind, text, labels)
    METRICS.append(made)
    return made


_counter, _gauge = Kind.COUNTER, Kind.GAUGE
_backend = ("service", "backend")

# What there is

BUILD_INFO = _metric("build_info", _gauge, "Always 1; the version of pydsr.", "version")
UP = _metric("up", _gauge, "Whether there is a balancer whose maps can be read.")
LAYOUT_VERSION = _metric(
    "layout_version", _gauge, "Version of the layout of the maps that this pydsr reads."
)
INTERFACE_MODE = _metric(
    "interface_mode",
    _gauge,
    "Whether an attached interface runs the program in this mode: in the driver (native), or at "
    "a fraction of its speed behind it (generic).",
    "interface",
    "mode",
)

# What the program does

PACKETS = _metric(
    "packets_total",
    _counter,
    "Packets that left the program, by the reason (pydsr stats --explain) and what became of them.",
    "reason",
    "verdict",
)
PROGRAM_SECONDS = _metric(
    "program_seconds_total",
    _counter,
    "CPU time of the program, while the kernel times programs.",
    "interfaces",
)
PROGRAM_RUNS = _metric(
    "program_runs_total",
    _counter,
    "Runs of the program, one for each packet, while the kernel times programs.",
    "interfaces",
)
PROGRAM_TIMED = _metric(
    "program_timed", _gauge, "Whether the kernel times programs (sysctl kernel.bpf_stats_enabled)."
)

# Services

SERVICE_INFO = _metric(
    "service_info", _gauge, "Always 1; what a service is.", "service", "name", "affinity"
)
SERVICE_SLOTS = _metric("service_slots", _gauge, "Slots of a service's table.", "service")
SERVICE_SLOTS_CHANGING = _metric(
    "service_slots_changing",
    _gauge,
    "Slots that are not at rest: after a change, flows are looked up there.",
    "service",
)
SERVICE_RECORDS = _metric(
    "service_flow_records", _gauge, "Flows recorded in slots that are not at rest.", "service"
)
SERVICE_PENDING = _metric(
    "service_pending_flows",
    _gauge,
    "Flows of which no more than the SYN has come, in slots that are not at rest.",
    "service",
)

# Backends

BACKEND_PACKETS = _metric(
    "backend_packets_total", _counter, "Packets sent to a backend.", *_backend
)
BACKEND_BYTES = _metric(
    "backend_bytes_total", _counter, "Bytes of the whole frames sent to a backend.", *_backend
)
BACKEND_NEW_FLOWS = _metric(
    "backend_new_flows_total",
    _counter,
    "Flows opened to a backend, by TCP SYN or SCTP INIT; UDP tells none.",
    *_backend,
)
BACKEND_WEIGHT = _metric(
    "backend_weight", _gauge, "Weight that a backend has now, after what health makes of it.",
    *_backend,
)  # fmt: skip
BACKEND_CONFIGURED_WEIGHT = _metric(
    "backend_configured_weight",
    _gauge,
    "Weight of a checked backend in the daemon's file.",
    *_backend,
)
BACKEND_SLOTS_RATIO = _metric(
    "backend_slots_ratio", _gauge, "Part of its service's slots that a backend owns, 0 to 1.",
    *_backend,
)  # fmt: skip
BACKEND_STATE = _metric(
    "backend_state",
    _gauge,
    "Whether a backend is in this state: takes new flows (up), keeps its old ones (drain), or has "
    "none (down).",
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
    "Whether an unhealthy backend is in service because too few would be left.",
    *_backend,
)
BACKEND_FAILING_CHECK = _metric(
    "backend_failing_check",
    _gauge,
    "Always 1; a check that fails on a backend, by the last that came of it (pydsr health).",
    *_backend,
    "check",
    "outcome",
)
CERTIFICATE_EXPIRY = _metric(
    "backend_certificate_expiry_timestamp_seconds",
    _gauge,
    "When the first of the certificates ends that checks have met at a backend.",
    *_backend,
)
CHECKS = _metric(
    "checks_total", _counter, "Health checks made, by what came of them.", "service", "check",
    "outcome",
)  # fmt: skip
CHECK_DURATION = _metric(
    "check_duration_seconds",
    Kind.HISTOGRAM,
    "How long health checks took, whatever came of them.",
    "service",
    "check",
)

# The daemon

DAEMON_UP = _metric("daemon_up", _gauge, "Whether a daemon runs for this balancer.")
EVENTS = _metric("events_total", _counter, "What has happened (pydsr events), by kind.", "event")
RELOAD_SUCCESSFUL = _metric(
    "configuration_last_reload_successful",
    _gauge,
    "Whether the file is in force as it was read last.",
)
RELOAD_TIME = _metric(
    "configuration_last_reload_success_timestamp_seconds",
    _gauge,
    "When the file was last put into force.",
)
WAITING_BACKENDS = _metric(
    "waiting_backends",
    _gauge,
    "Backends of the file that are in no service yet, as they do not answer ARP or ND.",
)
