"""What the daemon is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydsr.model.listen import Listen


@dataclass(frozen=True)
class Options:
    """What the daemon is told.

    Attributes:
        directory: of the pins.
        file: the configuration.
        runtime: directory of the socket.
        notify: a command that is run for each event; empty for none.
        detach_on_exit: whether the data plane ends with the daemon.
        metrics: where metrics are served; None for nowhere.
        web: where the status page is; None for nowhere.
    """

    directory: Path
    file: Path
    runtime: Path
    notify: tuple[str, ...] = ()
    detach_on_exit: bool = False
    metrics: Listen | None = None
    web: Listen | None = None
