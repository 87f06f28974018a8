"""Build families of metrics from a snapshot and the daemon's document. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from pydsr import __version__
from pydsr.http.metrics import catalogue
from pydsr.http.metrics.catalogue import METRICS, Kind, Metric
from pydsr.model.rates import backend_counters
from pydsr.model.reasons import Reason
from pydsr.model.service import BackendState
from pydsr.model.snapshot import Snapshot
from pydsr.views.json.documents import slot_share

Document = Mapping[str, Any]

_MODES = ("native", "generic")


@dataclass(frozen=True)
class View:
    """The source of all metrics at one moment.

    Attributes:
        snapshot: of the maps; None if they cannot be read.
        daemon: the daemon's document; None if no daemon runs.
        reasons: all reasons for a verdict.
        layout_version: of the maps that this pydsr reads.
    """

    snapshot: Snapshot | None
    daemon: Document | None
    reasons: tuple[Reason, ...]
    layout_version: int


def families(view: View) -> Iterator[Family]:
    """Yield every metric that has samples, in the order of the catalogue."""
    samples: defaultdict[Metric, list[Sample]] = defaultdict(list)
    parts = [_of_pydsr(view)]
    if view.snapshot is not None:
        parts += [
            _of_program(view.snapshot, view.reasons),
            _of_services(view.snapshot),
            _of_backends(view.snapshot),
        ]
    if view.daemon is not None:
        parts += [_of_health(view.daemon), _of_checks(view.daemon), _of_daemon(view.daemon)]
    for part in parts:
        for metric, values, value in part:
            labels = dict(zip(metric.labels, values, strict=True))
            samples[metric].append(Sample(metric.name, labels, float(value)))
    if view.daemon is not None:
        samples[catalogue.CHECK_DURATION] += _durations(view.daemon)
    for metric in METRICS:
        if samples_of_metric := samples.get(metric):
            # A counter's family is named without the suffix (OpenMetrics 1.0).
            name = metric.name.removesuffix("_total")
            family = Family(
                name if metric.kind is Kind.COUNTER else metric.name, metric.text, metric.kind
            )
            family.samples = samples_of_metric
            yield family


_Rows = Iterable[tuple[Metric, tuple[str, ...], float]]


def _of_pydsr(view: View) -> _Rows:
    yield catalogue.BUILD_INFO, (__version__,), 1
    yield catalogue.UP, (), view.snapshot is not None
    yield catalogue.LAYOUT_VERSION, (), view.layout_version
    yield catalogue.DAEMON_UP, (), view.daemon is not None


def _of_program(snapshot: Snapshot, reasons: Iterable[Reason]) -> _Rows:
    for interface, mode in snapshot.interfaces:
        for each in _MODES:
            yield catalogue.INTERFACE_MODE, (interface, each), each == mode
    for reason in reasons:
        packets = snapshot.verdicts.get(reason.name, 0)
        yield catalogue.PACKETS, (reason.name, reason.verdict), packets
    yield catalogue.PROGRAM_TIMED, (), snapshot.programs_timed
    for program in snapshot.programs:
        # Not labelled by program ID: an upgrade resets the counter, and starts no new series.
        on = (",".join(program.interfaces),)
        yield catalogue.PROGRAM_SECONDS, on, program.seconds_total
        yield catalogue.PROGRAM_RUNS, on, program.runs_total


def _of_services(snapshot: Snapshot) -> _Rows:
    for service in snapshot.services:
        name = (str(service.endpoint),)
        options = service.options
        yield catalogue.SERVICE_INFO, (*name, options.name, str(options.affinity)), 1
        yield catalogue.SERVICE_SLOTS, name, service.table_size
        yield catalogue.SERVICE_SLOTS_CHANGING, name, service.slots_changing
        yield catalogue.SERVICE_RECORDS, name, snapshot.records.get(service.id, 0)
        yield catalogue.SERVICE_PENDING, name, snapshot.pending.get(service.id, 0)


def _of_backends(snapshot: Snapshot) -> _Rows:
    for service in snapshot.services:
        endpoint = str(service.endpoint)
        for backend in service.backends:
            name = (endpoint, str(backend.address))
            counters = backend_counters(snapshot, service, backend)
            yield catalogue.BACKEND_PACKETS, name, counters.packets
            yield catalogue.BACKEND_BYTES, name, counters.bytes
            if counters.new_flows is not None:
                yield catalogue.BACKEND_NEW_FLOWS, name, counters.new_flows
            yield catalogue.BACKEND_WEIGHT, name, backend.weight
            yield catalogue.BACKEND_SLOTS_RATIO, name, slot_share(service, backend)
            yield catalogue.BACKEND_RESOLVED, name, backend.mac is not None
            for state in BackendState:
                yield catalogue.BACKEND_STATE, (*name, state.value), backend.state is state


def _of_health(daemon: Document) -> _Rows:
    for service in daemon["health"]["services"]:
        for backend in service["backends"]:
            name = (service["service"], backend["address"])
            yield catalogue.BACKEND_CONFIGURED_WEIGHT, name, backend["configured_weight"]
            yield catalogue.BACKEND_HELD, name, backend["held"]
            if backend["healthy"] is not None:
                yield catalogue.BACKEND_HEALTHY, name, backend["healthy"]
            if backend["certificate_ends"] is not None:
                yield catalogue.CERTIFICATE_EXPIRY, name, backend["certificate_ends"]
            # Two checks of one type may fail alike, but each series may occur only once.
            failures = {(check["check"], check["outcome"]) for check in backend["failures"]}
            for failure in failures:
                yield catalogue.BACKEND_FAILING_CHECK, (*name, *failure), 1


def _of_checks(daemon: Document) -> _Rows:
    for checks in daemon["checks"]:
        for outcome, number in checks["outcomes"].items():
            yield catalogue.CHECKS, (checks["service"], checks["check"], outcome), number


def _durations(daemon: Document) -> Iterator[Sample]:
    name = catalogue.CHECK_DURATION.name
    bounds = [*map(str, daemon["bounds"]), "+Inf"]
    for checks in daemon["checks"]:
        labels = {"service": checks["service"], "check": checks["check"]}
        totals = list(accumulate(checks["buckets"]))
        for bound, total in zip(bounds, totals, strict=True):
            yield Sample(f"{name}_bucket", labels | {"le": bound}, float(total))
        yield Sample(f"{name}_sum", labels, checks["seconds"])
        yield Sample(f"{name}_count", labels, float(totals[-1]))


def _of_daemon(daemon: Document) -> _Rows:
    for event, number in daemon["events"].items():
        yield catalogue.EVENTS, (event,), number
    yield catalogue.RELOAD_SUCCESSFUL, (), daemon["in_force"]
    if daemon["in_force_since"] is not None:
        yield catalogue.RELOAD_TIME, (), daemon["in_force_since"]
    yield catalogue.WAITING_BACKENDS, (), daemon["waiting"]
