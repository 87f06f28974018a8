"""Reads what metrics are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydsr.http.metrics.families import Document, View
from pydsr.http.observer import Observer
from pydsr.kernel.bpf.layout import LAYOUT_VERSION
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.reasons import all_reasons
from pydsr.model.snapshot import Snapshot


class Lookout:
    """Looks at a balancer, and at what its daemon says.

    Args:
        observer: reads the maps.
        ask: returns what the daemon says; None where none runs.
        complain: is told why the maps cannot be read; nothing where there is no balancer.
    """

    def __init__(
        self,
        observer: Observer,
        ask: Callable[[], Awaitable[Document | None]],
        complain: Callable[[str], object],
    ) -> None:
        self._observer = observer
        self._ask = ask
        self._complain = complain

    async def look(self) -> View:
        """Return what is, as far as it can be seen."""
        return View(await self._snapshot(), await self._ask(), all_reasons(), LAYOUT_VERSION)

    async def _snapshot(self) -> Snapshot | None:
        try:
            return await self._observer.snapshot()
        except NotAttachedError:
            return None
        except PydsrError as error:
            self._complain(f"the balancer cannot be read for metrics: {error.message}")
            return None
