"""The user's choices in the live view, and how keys change them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydsr.model.addresses import Endpoint

MIN_INTERVAL = 0.1
MAX_INTERVAL = 60.0

_INTERVALS = (MIN_INTERVAL, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, MAX_INTERVAL)
"""Seconds between readings that the keys + and - choose from."""

_PAGE_ROWS = 10
"""Rows that PgUp and PgDn move."""

CTRL_D = "\x04"
"""Quits, even while a filter is typed. Reading a closed terminal returns it too."""

_CTRL_U = "\x15"
_QUIT_KEYS = ("q", "Q", CTRL_D)


class Sort(StrEnum):
    """The order of rows: by name, or the largest first."""

    NAME = "name"
    PACKETS = "packets"
    BITS = "bits"
    FLOWS = "flows"
    SHARE = "share"
    IMBALANCE = "imbalance"
    TROUBLE = "trouble"


SORT_KEYS = {sort[0].upper(): sort for sort in Sort}
"""The first letter of each order."""


class Page(StrEnum):
    """The page on the screen: all services, one service, reasons, or help."""

    SERVICES = "services"
    SERVICE = "service"
    REASONS = "reasons"
    HELP = "help"


@dataclass(frozen=True)
class Choices:
    """The user's choices.

    Attributes:
        interval: seconds between readings.
        filter: words that services and backends must match.
        is_typing: whether keys go into the filter.
        service: the marked service, or the one shown alone; None for the first.
        scrolled: the number of rows above the screen.
    """

    interval: float = 1.0
    sort: Sort = Sort.NAME
    page: Page = Page.SERVICES
    filter: str = ""
    is_typing: bool = False
    service: Endpoint | None = None
    scrolled: int = 0
    paused: bool = False
    done: bool = False


def press(choices: Choices, key: str, visible: Sequence[Endpoint] = ()) -> Choices:
    """Return the choices after a key: a character, or a name such as "page up"."""
    if key == CTRL_D:
        return replace(choices, done=True)
    if choices.is_typing:
        return _type(choices, key)
    if key in _QUIT_KEYS:
        return replace(choices, done=True)
    if key in SORT_KEYS:
        return replace(choices, sort=SORT_KEYS[key])
    if choices.page is Page.HELP and key in ("esc", "?", "h", "enter"):
        return replace(choices, page=Page.SERVICES)
    return _change(choices, key) or _move(choices, key, visible)


def _type(choices: Choices, key: str) -> Choices:
    match key:
        case "enter":
            return replace(choices, is_typing=False)
        case "esc":
            return replace(choices, is_typing=False, filter="")
        case "backspace":
            return replace(choices, filter=choices.filter[:-1])
        case _ if key == _CTRL_U:
            return replace(choices, filter="")
    if len(key) == 1 and key.isprintable():
        return replace(choices, filter=choices.filter + key)
    return choices


def _change(choices: Choices, key: str) -> Choices | None:
    """Return the choices after a key with the same meaning on every page, else None."""
    match key:
        case "p" | " ":
            return replace(choices, paused=not choices.paused)
        case "s":
            order = list(Sort)
            following = (order.index(choices.sort) + 1) % len(order)
            return replace(choices, sort=order[following])
        case "+" | "=":
            longer = (step for step in _INTERVALS if step > choices.interval)
            return replace(choices, interval=next(longer, MAX_INTERVAL))
        case "-":
            shorter = (step for step in reversed(_INTERVALS) if step < choices.interval)
            return replace(choices, interval=next(shorter, MIN_INTERVAL))
        case "/":
            return replace(choices, is_typing=True, page=Page.SERVICES)
        case "?" | "h":
            return replace(choices, page=Page.HELP, scrolled=0)
        case "r":
            page = Page.SERVICES if choices.page is Page.REASONS else Page.REASONS
            return replace(choices, page=page, scrolled=0)
    return None


def _move(choices: Choices, key: str, visible: Sequence[Endpoint]) -> Choices:
    if choices.page is Page.SERVICES:
        return _mark(choices, key, visible)
    match key:
        case "esc" | "backspace":
            return replace(choices, page=Page.SERVICES, scrolled=0)
        case "up" | "k":
            return replace(choices, scrolled=max(0, choices.scrolled - 1))
        case "down" | "j":
            return replace(choices, scrolled=choices.scrolled + 1)
        case "page up":
            return replace(choices, scrolled=max(0, choices.scrolled - _PAGE_ROWS))
        case "page down":
            return replace(choices, scrolled=choices.scrolled + _PAGE_ROWS)
        case "home":
            return replace(choices, scrolled=0)
        case "left" | "right" if choices.page is Page.SERVICE:
            step = 1 if key == "right" else -1
            return replace(choices, service=_beside(choices.service, visible, step), scrolled=0)
    return choices


def _mark(choices: Choices, key: str, visible: Sequence[Endpoint]) -> Choices:
    """Return the choices after a key on the page of all services."""
    steps = {
        "up": -1,
        "k": -1,
        "down": 1,
        "j": 1,
        "page up": -_PAGE_ROWS,
        "page down": _PAGE_ROWS,
        "home": -len(visible),
        "end": len(visible),
    }
    if key == "esc":
        return replace(choices, filter="")
    if key in ("enter", "right") and visible:
        marked = choices.service if choices.service in visible else visible[0]
        return replace(choices, page=Page.SERVICE, service=marked, scrolled=0)
    if key in steps:
        return replace(choices, service=_beside(choices.service, visible, steps[key]))
    return choices


def _beside(service: Endpoint | None, visible: Sequence[Endpoint], step: int) -> Endpoint | None:
    if not visible:
        return service
    place = visible.index(service) if service in visible else 0
    return visible[min(max(0, place + step), len(visible) - 1)]
