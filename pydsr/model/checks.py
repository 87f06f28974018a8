"""The checks there are, as a configuration file says them: one model each, told apart by ``type``.

:data:`Check` is what a file's key takes; its JSON Schema comes with it. To add a check is to add
a model here, and its probe in :mod:`pydsr.health.probes`.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """What every check has: when it is made, and how many results count."""

    needs_port: ClassVar[bool] = True

    interval: Seconds = 2.0
    """Seconds from one check to the next."""

    fast: Seconds | None = None
    """The same after a result that speaks against what is held; half the interval by default,
    and not below the timeout."""

    timeout: Seconds = 1.0
    """Seconds without an answer after which a check has failed; not above the interval."""

    jitter: Annotated[float, BeforeValidator(number_of), Field(ge=0, le=0.9)] = 0.1
    """By what part of itself an interval may be shorter, at random."""

    rise: Times = 2
    """How many passes in a row make a backend healthy."""

    fall: Times = 3
    """How many failures in a row make it unhealthy."""

    port: Port | None = None
    """Which port to ask; that of the service where it is not said."""

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        if self.timeout > self.interval:
            raise problem(f"timeout {self.timeout:g} is above interval {self.interval:g}")
        if self.fast is not None and self.fast > self.interval:
            raise problem(f"fast {self.fast:g} is above interval {self.interval:g}")
        return self

    @property
    def pace(self) -> Pace:
        """When it is made, and how many results count."""
        fast = max(self.interval / 2, self.timeout) if self.fast is None else self.fast
        return Pace(self.interval, fast, self.jitter, self.timeout, self.rise, self.fall)


class TcpCheck(BaseCheck):
    """The VIP takes a TCP connection."""

    type: Literal["tcp"]
    """A TCP connection."""


class WebCheck(BaseCheck):
    """What checks by HTTP have in common."""

    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    """How to ask."""

    path: Annotated[str, AfterValidator(checked_path)] = "/"
    """What to ask for."""

    host: Annotated[str, AfterValidator(checked_host)] | None = None
    """The Host header; the VIP where it is not said."""

    status: Annotated[
        tuple[Annotated[int | str, AfterValidator(checked_status)], ...],
        AfterValidator(checked_not_empty),
        Field(strict=False),
    ] = ("2xx", "3xx")
    """Which answers are good: statuses, and classes of them such as 2xx."""

    body: Pattern | None = None
    """A regular expression to be found in the first 64 KiB of the body."""

    def accepts(self, status: int) -> bool:
        """Return whether a status is good."""
        return status in self.status or f"{status // 100}xx" in self.status


class HttpCheck(WebCheck):
    """The VIP answers an HTTP/1.1 request."""

    type: Literal["http"]
    """An HTTP request."""


class HttpsCheck(WebCheck):
    """The same over TLS, whose session is taken up again for a minute.

    So once a minute, and where the server has none, the certificate is looked at anew.
    """

    type: Literal["https"]
    """An HTTP request over TLS."""

    sni: Annotated[str, AfterValidator(checked_host)] | None = None
    """The name to ask TLS for, which the certificate must have; the Host header without its port
    where it is not said."""

    verify: bool = True
    """Whether the certificate must be valid, for that name, and trusted."""

    ca_file: str | None = None
    """A file of the authorities to trust (PEM); those of the system where it is not said."""

    certificate_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Warn when the certificate ends in fewer days; 0 never. Not without verify."""


class DnsCheck(BaseCheck):
    """The VIP answers a DNS query."""

    type: Literal["dns"]
    """A DNS query."""

    name: Annotated[str, AfterValidator(checked_name)]
    """What to ask for."""

    record: Annotated[str, AfterValidator(checked_type)] = "A"
    """The type of the record."""

    transport: Literal["udp", "tcp"] = "udp"
    """How to ask."""

    rcode: Annotated[str, AfterValidator(checked_rcode)] = "NOERROR"
    """The response code that is good."""

    answers: Texts = ()
    """What must be among the answers, as in a zone file; nothing where it is not said."""


class UdpCheck(BaseCheck):
    """The VIP answers a datagram."""

    type: Literal["udp"]
    """A datagram."""

    send: str = ""
    """What to send, as text."""

    send_hex: Annotated[str, AfterValidator(checked_hexadecimal)] = ""
    """What to send, in hexadecimal."""

    expect: Pattern | None = None
    """A regular expression that the answer must begin with, in Latin-1; any answer will do where
    it is not said."""

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
    """The VIP on the backend answers ping instead; for the doctor: no file can have it."""


class CommandCheck(BaseCheck):
    """A command ends with status 0.

    Its environment has VIP, PORT and BACKEND, and MARK: a socket with that mark (``ping -m``,
    SO_MARK) reaches the VIP on this very backend.
    """

    type: Literal["command"]
    """A command."""

    argv: Annotated[
        tuple[Annotated[str, AfterValidator(checked_argument)], ...],
        AfterValidator(checked_not_empty),
        Field(strict=False),
    ]
    """The command with its arguments; no shell reads them."""


class AgentCheck(BaseCheck):
    """An agent at the backend's own address says how it is, in the words HAProxy's agents use."""

    type: Literal["agent"]
    """An agent's report."""

    port: Port
    """Where the agent listens."""

    send: str = ""
    """What to send first."""


Check = Annotated[
    TcpCheck | HttpCheck | HttpsCheck | DnsCheck | UdpCheck | IcmpCheck | CommandCheck | AgentCheck,
    Field(discriminator="type"),
]
"""Any check; ``type`` says which."""


@dataclass(frozen=True)
class Pace:
    """How often a check is made, and how many results change a judgement.

    Attributes:
        interval: seconds from the start of one check to the start of the next.
        fast: the same while in doubt: after a failure of a backend that is up, or a pass of one
            that is down.
        jitter: by what part of itself an interval may be shorter, 0 to 1. It never is longer,
            which keeps the bound of :attr:`detection_seconds`.
        timeout: seconds after which a check without an answer has failed.
        rise: how many passes in a row make a backend up.
        fall: how many failures in a row make it down.
    """

    interval: float = 2.0
    fast: float = 1.0
    jitter: float = 0.1
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3

    @property
    def detection_seconds(self) -> float:
        """The most that passes from a backend's death to its being down."""
        return self.interval + (self.fall - 1) * max(self.fast, self.timeout) + self.timeout


def port_of(check: Check, endpoint: Endpoint) -> int:
    """Return which port a check asks: its own, or else the service's.

    Returns:
        0 for a check that needs none, and where a service of every port does not say which.
    """
    if not check.needs_port:
        return 0
    return check.port or (0 if endpoint.port == EVERY_PORT else endpoint.port)
