"""The kinds of health checks: a model for each, as in the file; ``type`` says which.

To add a kind, add a model here and to :data:`Check`, and its probe to :mod:`pydsr.health.probes`.
The file's JSON Schema comes with it: docstrings are its descriptions.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pydsr.model.addresses import EVERY_PORT, Endpoint
from pydsr.model.check_values import (
    checked_argument,
    checked_hexadecimal,
    checked_host,
    checked_name,
    checked_not_empty,
    checked_path,
    checked_pattern,
    checked_rcode,
    checked_status,
    checked_type,
    number_of,
    problem,
)
from pydsr.model.pydantic_base import Shape

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, BeforeValidator(number_of), Field(gt=0, le=3600)]
Times = Annotated[int, Field(ge=1, le=1000)]

Pattern = Annotated[str, AfterValidator(checked_pattern)]
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class BaseCheck(Shape, populate_by_name=True):
    """The options of every check: when it runs, and how many results count."""

    needs_port: ClassVar[bool] = True

    interval: Seconds = 2.0
    """Seconds from one check to the next."""

    fast: Seconds | None = None
    """The same after a result that contradicts the backend's health; by default half the interval,
    and at least the timeout."""

    timeout: Seconds = 1.0
    """Seconds without an answer until a check fails; at most the interval."""

    jitter: Annotated[float, BeforeValidator(number_of), Field(ge=0, le=0.9)] = 0.1
    """The share of an interval by which it may be shorter, at random. It is never longer."""

    rise: Times = 2
    """How many passes in a row make a backend healthy."""

    fall: Times = 3
    """How many failures in a row make it unhealthy."""

    port: Port | None = None
    """The port to check; by default the service's."""

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        if self.timeout > self.interval:
            raise problem(f"timeout {self.timeout:g} is above interval {self.interval:g}")
        if self.fast is not None and self.fast > self.interval:
            raise problem(f"fast {self.fast:g} is above interval {self.interval:g}")
        return self

    @property
    def fast_interval(self) -> float:
        """Seconds to the next check after a result that contradicts the backend's health."""
        return max(self.interval / 2, self.timeout) if self.fast is None else self.fast

    @property
    def connects_to_vip(self) -> bool:
        """Whether it connects to the VIP by TCP."""
        return False


class TcpCheck(BaseCheck):
    """The VIP accepts a TCP connection."""

    type: Literal["tcp"]
    """A TCP connection."""

    @property
    def connects_to_vip(self) -> bool:
        """Whether it connects to the VIP by TCP."""
        return True


class WebCheck(BaseCheck):
    """The options of HTTP checks."""

    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    """The method of the request."""

    path: Annotated[str, AfterValidator(checked_path)] = "/"
    """The path to request."""

    host: Annotated[str, AfterValidator(checked_host)] | None = None
    """The Host header; by default the VIP."""

    status: Annotated[
        tuple[Annotated[int | str, AfterValidator(checked_status)], ...],
        AfterValidator(checked_not_empty),
        Field(strict=False),
    ] = ("2xx", "3xx")
    """Which statuses pass, such as 200, and classes such as 2xx."""

    body: Pattern | None = None
    """A regular expression that must match somewhere in the first 64 KiB of the body."""

    def accepts(self, status: int) -> bool:
        """Return whether a status passes."""
        return status in self.status or f"{status // 100}xx" in self.status

    @property
    def connects_to_vip(self) -> bool:
        """Whether it connects to the VIP by TCP."""
        return True


class HttpCheck(WebCheck):
    """The VIP answers an HTTP/1.1 request."""

    type: Literal["http"]
    """An HTTP request."""


class HttpsCheck(WebCheck):
    """The VIP answers an HTTP/1.1 request over TLS.

    Checks resume the TLS session for a minute. So they see the certificate once a minute, or each
    time if the server resumes none.
    """

    type: Literal["https"]
    """An HTTP request over TLS."""

    sni: Annotated[str, AfterValidator(checked_host)] | None = None
    """The server name for TLS, which the certificate must have; by default the Host header without
    its port."""

    verify: bool = True
    """Whether the certificate must be valid, trusted and for that name."""

    ca_file: str | None = None
    """A file of trusted authorities (PEM); by default the system's."""

    certificate_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Warn if the certificate expires in fewer days; 0 is never. Needs verify."""


class DnsCheck(BaseCheck):
    """The VIP answers a DNS query."""

    type: Literal["dns"]
    """A DNS query."""

    name: Annotated[str, AfterValidator(checked_name)]
    """The name to query."""

    record: Annotated[str, AfterValidator(checked_type)] = "A"
    """The type of record to query."""

    transport: Literal["udp", "tcp"] = "udp"
    """The transport of the query."""

    rcode: Annotated[str, AfterValidator(checked_rcode)] = "NOERROR"
    """The response code that passes."""

    answers: Texts = ()
    """Records that must be among the answers, as in a zone file; by default none."""

    @property
    def connects_to_vip(self) -> bool:
        """Whether it connects to the VIP by TCP."""
        return self.transport == "tcp"


class UdpCheck(BaseCheck):
    """The VIP answers a datagram."""

    type: Literal["udp"]
    """A datagram."""

    send: str = ""
    """The text to send."""

    send_hex: Annotated[str, AfterValidator(checked_hexadecimal)] = ""
    """The bytes to send, in hexadecimal."""

    expect: Pattern | None = None
    """A regular expression that must match the beginning of the answer, in Latin-1; by default any
    answer passes."""

    @model_validator(mode="after")
    def _one_is_sent(self) -> Self:
        if bool(self.send) == bool(self.send_hex):
            raise problem("needs one of send and send-hex")
        return self

    @property
    def payload(self) -> bytes:
        """The bytes to send."""
        return self.send.encode() or bytes.fromhex(self.send_hex)


class IcmpCheck(BaseCheck):
    """The backend answers a ping of its own address."""

    needs_port: ClassVar[bool] = False

    type: Literal["icmp"]
    """A ping of the backend's own address."""


class VipPingCheck(IcmpCheck):
    """The VIP on the backend answers a ping; for the doctor, not for files."""


class CommandCheck(BaseCheck):
    """A command ends with status 0.

    Its environment has VIP, PORT, BACKEND and MARK. A socket with that mark (``ping -m``, SO_MARK)
    reaches the VIP on this backend.
    """

    type: Literal["command"]
    """A command."""

    argv: Annotated[
        tuple[Annotated[str, AfterValidator(checked_argument)], ...],
        AfterValidator(checked_not_empty),
        Field(strict=False),
    ]
    """The command and its arguments; there is no shell."""


class AgentCheck(BaseCheck):
    """An agent at the backend's own address reports its health, in HAProxy's words."""

    type: Literal["agent"]
    """An agent's report."""

    port: Port
    """The agent's port."""

    send: str = ""
    """Text to send first."""


Check = Annotated[
    TcpCheck | HttpCheck | HttpsCheck | DnsCheck | UdpCheck | IcmpCheck | CommandCheck | AgentCheck,
    Field(discriminator="type"),
]
"""A check; ``type`` says of which kind."""


def port_of(check: Check, endpoint: Endpoint) -> int:
    """Return the port to check, the check's own or the service's; 0 if there is none."""
    if not check.needs_port:
        return 0
    return check.port or (0 if endpoint.port == EVERY_PORT else endpoint.port)
