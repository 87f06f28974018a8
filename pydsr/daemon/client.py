"""Ask the daemon of a balancer over its unix socket.

Commands use this module, so it imports nothing slow: no asyncio and no BPF.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydsr.model.errors import InputError, PermissionDeniedError, PydsrError

if TYPE_CHECKING:
    from pydsr.model.desired_state import DesiredState
    from pydsr.views.json.document_types import HealthDocument

FOLLOW = b"follow\n"
PAST = b"past\n"
HEALTH = b"health\n"
METRICS = b"metrics\n"
"""Requests: a client sends one line."""

_TIMEOUT_SECONDS = 5.0
_SOCKET_PATH_MAX = 107
"""Bytes of sun_path without the final zero (unix(7))."""


class NoDaemonError(PydsrError):
    """No daemon answers."""


def socket_path(runtime: Path, bpffs_directory: Path) -> Path:
    """Return the socket of the daemon that runs for a directory of pins.

    Raises:
        InputError: the path is too long for a socket.
    """
    name = "-".join(bpffs_directory.parts[1:]) or "root"
    path = runtime / f"{name}.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise InputError(f"{path} is too long for a socket", "choose a shorter --runtime-directory")
    return path


def read_events(path: Path, follow: bool) -> Iterator[str]:
    """Yield the events of a running daemon as lines of JSON.

    Args:
        path: of its socket.
        follow: continue with new events until the daemon ends.

    Raises:
        NoDaemonError: no daemon runs, or it does not answer in time.
        PermissionDeniedError: not privileged.
    """
    return _request(path, FOLLOW) if follow else _request(path, PAST, _TIMEOUT_SECONDS)


def read_health(path: Path) -> HealthDocument:
    """Return the daemon's document of backend health (``pydsr health --json``).

    Raises:
        NoDaemonError: no daemon runs, or it does not answer in time.
        PermissionDeniedError: not privileged.
    """
    return cast("HealthDocument", _document(path, HEALTH))


def with_daemon_health(
    desired: DesiredState, runtime: Path, bpffs_directory: Path
) -> tuple[DesiredState, tuple[str, ...]]:
    """Apply the health that the daemon knows to a desired state.

    Returns:
        The state with that health; as it was, with a note for users, if no daemon runs.
    """
    checked = [service.endpoint for service in desired.services if service.health is not None]
    if not checked:
        return desired, ()
    # Imported late: other commands use this module too, and must start fast.
    from pydsr.health.service_health import apply_health, health_from_document

    try:
        document = read_health(socket_path(runtime, bpffs_directory))
    except NoDaemonError:
        more = f" and {len(checked) - 1} more services" if len(checked) > 1 else ""
        note = f"nobody checks the health of {checked[0]}{more}: start pydsr run"
        return desired, (f"{note}; backends are as in the file",)
    return apply_health(desired, health_from_document(document)), ()


def read_metrics(path: Path, timeout: float = _TIMEOUT_SECONDS) -> dict[str, Any]:
    """Return the daemon's document for the metrics exporter; ``timeout`` is in seconds.

    Raises:
        NoDaemonError: no daemon runs, or it does not answer in time.
        PermissionDeniedError: not privileged.
    """
    return _document(path, METRICS, timeout)


def _document(path: Path, request: bytes, timeout: float = _TIMEOUT_SECONDS) -> dict[str, Any]:
    try:
        # A reply cut off by the end of the daemon is not valid JSON.
        document: dict[str, Any] = json.loads(next(_request(path, request, timeout), ""))
    except ValueError:
        raise _no_answer(path) from None
    return document


def _no_answer(path: Path) -> NoDaemonError:
    return NoDaemonError(f"the pydsr daemon at {path} does not answer", "its log may say why")


def _request(path: Path, request: bytes, timeout: float | None = None) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
        except PermissionError:
            raise PermissionDeniedError(
                f"no permission to ask the daemon at {path}", "run as root (sudo)"
            ) from None
        except OSError:
            raise NoDaemonError(
                f"no pydsr daemon answers at {path}",
                "start one with pydsr run FILE, or name another with --bpffs or "
                "--runtime-directory",
            ) from None
        try:
            connection.sendall(request)
            with connection.makefile(encoding="utf-8") as lines:
                for line in lines:
                    yield line.rstrip("\n")
        except OSError:
            raise _no_answer(path) from None
