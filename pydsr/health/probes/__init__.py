"""The probes: a function for each kind of check.

A probe returns a result if it got an answer. It raises OSError if something prevents an answer; its
caller ends it at the timeout. To add a kind of check: a model in :mod:`pydsr.model.checks`, a probe
here, and a line in :data:`PROBES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydsr.health.attempt import Attempt
from pydsr.health.probes.basic import (
    probe_agent,
    probe_command,
    probe_ping,
    probe_tcp,
    probe_udp,
    probe_vip_ping,
)
from pydsr.health.probes.dns import probe_dns
from pydsr.health.probes.http import probe_http
from pydsr.health.probes.https import probe_https
from pydsr.model.check_result import Result
from pydsr.model.checks import (
    AgentCheck,
    CommandCheck,
    DnsCheck,
    HttpCheck,
    HttpsCheck,
    IcmpCheck,
    TcpCheck,
    UdpCheck,
    VipPingCheck,
)

# Any: each probe takes the model of its own kind.
PROBES: dict[type, Callable[[Any, Attempt], Awaitable[Result]]] = {
    TcpCheck: probe_tcp,
    HttpCheck: probe_http,
    HttpsCheck: probe_https,
    DnsCheck: probe_dns,
    UdpCheck: probe_udp,
    IcmpCheck: probe_ping,
    VipPingCheck: probe_vip_ping,
    CommandCheck: probe_command,
    AgentCheck: probe_agent,
}
