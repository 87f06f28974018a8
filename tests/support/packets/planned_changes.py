"""Changes of a rig's services as commands make them: planned, and committed at a chosen time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import SimpleNamespace
from unittest.mock import patch

from pydsr.control import commit as commits
from pydsr.control import garbage_collection
from pydsr.control.attached_interfaces import Attached
from pydsr.control.plan import Plan
from pydsr.control.resolve import Network
from pydsr.control.service_plan import plan_services
from pydsr.control.trace import flow_frame
from pydsr.hashing.table import Table
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.change import removal_changes
from pydsr.model.desired_state import DesiredService
from pydsr.model.interfaces import Interface
from pydsr.model.options import ServiceOptions
from pydsr.model.service import DesiredBackend, Service
from tests.support.packets.data_plane import BALANCER_MAC, INGRESS, Rig

_XDP_TX = 3
CLIENT = IPv4Address("192.0.2.1")
_MODULES = (commits, garbage_collection)

_NETWORK = Network(
    [Attached("lo", INGRESS, BALANCER_MAC, "native", 0)],
    [Interface(INGRESS, "lo", BALANCER_MAC, 1500, True)],
)


@contextmanager
def time_of_control(now: int) -> Iterator[None]:
    """Have the control plane change things at a time in nanoseconds of CLOCK_MONOTONIC."""
    clock = SimpleNamespace(monotonic_ns=lambda: now)
    with patch.object(_MODULES[0], "time", clock), patch.object(_MODULES[1], "time", clock):
        yield


def plan_change(
    state: LiveState,
    endpoint: Endpoint,
    backends: Sequence[str],
    options: ServiceOptions | None = None,
) -> Plan:
    """Return the plan that gives a service these backends, whose MACs are fixed."""
    before = state.services.get(endpoint)
    options = options or (before.options if before else ServiceOptions())
    desired = DesiredService(endpoint, options, tuple(map(DesiredBackend.parse, backends)))
    vips = {each.address for each in state.services.endpoints()}
    services = plan_services(state, [(before, desired)], _NETWORK, vips)
    return Plan(services, changes=tuple(c for service in services for c in service.changes))


def plan_removal(state: LiveState, endpoint: Endpoint) -> Plan:
    """Return the plan that removes a service."""
    service = state.services.get(endpoint)
    assert service is not None
    return Plan(removed=(service,), changes=removal_changes(service))


def change(
    state: LiveState,
    endpoint: Endpoint,
    *backends: str,
    options: ServiceOptions | None = None,
) -> None:
    """Do what a transaction does: collect garbage, plan and commit."""
    garbage_collection.collect_all(state)
    commits.commit(state, plan_change(state, endpoint, backends, options))


def remove(state: LiveState, endpoint: Endpoint) -> None:
    """Do what a transaction that removes a service does."""
    garbage_collection.collect_all(state)
    commits.commit(state, plan_removal(state, endpoint))


def clear(rig: Rig) -> None:
    """Remove all services, records and retired ids that changes have made."""
    for endpoint in rig.state.services.endpoints():
        remove(rig.state, endpoint)
    rig.forget_flows()
    garbage_collection.collect_all(rig.state)


@dataclass(frozen=True)
class Flow:
    """A flow of a client to a service."""

    endpoint: Endpoint
    port: int

    def went_to(self, rig: Rig, syn: bool = False) -> MacAddress | None:
        """Send one of its packets; return the MAC it left for, None if it did not leave."""
        frame = flow_frame(self.endpoint, CLIENT, self.port, syn)
        # Not rig.send(): reading the counters costs more than the packet.
        action, sent, _ = libbpf.run_program(rig.programs.balance, frame)
        return MacAddress(sent[:6]) if action == _XDP_TX else None


def table_of(rig: Rig, endpoint: Endpoint) -> Table:
    """Return the table of a service."""
    service = service_of(rig, endpoint)
    table = rig.state.tables.read(service.id)
    assert table is not None
    return table


def service_of(rig: Rig, endpoint: Endpoint) -> Service:
    """Return a service with its backends."""
    service = rig.state.services.get(endpoint)
    assert service is not None
    return service
