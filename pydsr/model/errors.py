"""The error tree, by who has to act, and the exit statuses of the command."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address


class ExitStatus(IntEnum):
    """Exit statuses of the command: a contract for scripts, documented in docs/commands.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    CANNOT = 4
    NOT_AS_DESIRED = 5
    INTERRUPTED = 130


class PydsrError(Exception):
    """An error for the user: what is wrong, and what to do about it.

    Args:
        message: what is wrong, naming the object.
        hint: what to do about it; may be empty.
    """

    status = ExitStatus.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(PydsrError):
    """The user's input is wrong; nothing was changed."""

    status = ExitStatus.BAD_INPUT


class BackendUnresolvedError(PydsrError):
    """A backend has no usable MAC: it does not answer, or is not on an attached link.

    Attributes:
        silent: the addresses of the backends that do not answer.
    """

    silent: frozenset[IPv4Address | IPv6Address] = frozenset()


class PermissionDeniedError(PydsrError):
    """The process lacks a privilege."""

    status = ExitStatus.CANNOT


class EnvironmentCannotError(PydsrError):
    """The kernel, the NIC or the system lacks something that the command needs."""

    status = ExitStatus.CANNOT


class NotAttachedError(PydsrError):
    """The bpffs directory holds no balancer state."""


class BusyError(PydsrError):
    """Another command holds the lock on the balancer's state."""


class InternalError(PydsrError):
    """A defect of pydsr itself."""
