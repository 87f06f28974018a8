"""What a user of the live view has chosen, and what each key makes of that. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydsr.model.addresses import Endpoint

MIN_INTERVAL = 0.1
MAX_INTERVAL = 60.0

_INTERVALS = (MIN_INTERVAL, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, MAX_INTERVAL)
"""Seconds that the keys + and - step through."""

_PAGE = 10
"""How many rows the keys of pages go."""

CTRL_D = "\x04"
"""Quits, also while a filter is typed: a closed terminal is read as this, too."""

_CTRL_U = "\x15"
_QUIT_KEYS = ("q", "Q", CTRL_D)


class Sort(StrEnum):
    """What rows are ordered by; all but the name put the largest first."""

    NAME = "name"
    PACKETS = "packets"
    BITS = "bits"
    FLOWS = "flows"
    SHARE = "share"
    IMBALANCE = "imbalance"
    TROUBLE = "trouble"


SORT_KEYS = {
    "N": Sort.NAME,
    "P": Sort.PACKETS,
    "B": Sort.BITS,
    "F": Sort.FLOWS,
    "S": Sort.SHARE,
    "I": Sort.IMBALANCE,
    "T": Sort.TROUBLE,
}


class Page(StrEnum):
    """What the screen shows: all services, one of them, all reasons, or what keys do."""

    SERVICES = "services"
    SERVICE = "service"
    REASONS = "reasons"
    HELP = "help"


@dataclass(frozen=True)
class Choices:
    """What the user has chosen.

    Attributes:
        interval: seconds between readings.
        filter: words that services and backends have to have.
        is_typing: whether keys go into the filter.
        service: the one that is marked, or shown alone; None for the first.
        scrolled: how many rows the page is scrolled down.
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


def press(choices: Choices, key: str, shown: Sequence[Endpoint] = ()) -> Choices:
    """Return the choices after one key; a key without a meaning changes nothing.

    Args:
        choices: those before.
        key: a character, or the name of a key (see ``keys``).
        shown: the services from top to bottom.
    """
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
    return _change(choices, key) or _move(choices, key, shown)


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
    """Return the choices after a key that means the same wherever it is pressed."""
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


def _move(choices: Choices, key: str, shown: Sequence[Endpoint]) -> Choices:
    if choices.page is Page.SERVICES:
        return _mark(choices, key, shown)
    match key:
        case "esc" | "backspace":
            return replace(choices, page=Page.SERVICES, scrolled=0)
        case "up" | "k":
            return replace(choices, scrolled=max(0, choices.scrolled - 1))
        case "down" | "j":
            return replace(choices, scrolled=choices.scrolled + 1)
        case "page up":
            return replace(choices, scrolled=max(0, choices.scrolled - _PAGE))
        case "page down":
            return replace(choices, scrolled=choices.scrolled + _PAGE)
        case "home":
            return replace(choices, scrolled=0)
        case "left" | "right" if choices.page is Page.SERVICE:
            step = 1 if key == "right" else -1
            return replace(choices, service=_beside(choices.service, shown, step), scrolled=0)
    return choices


def _mark(choices: Choices, key: str, shown: Sequence[Endpoint]) -> Choices:
    """Return the choices after a key pressed where all services are shown."""
    steps = {
        "up": -1,
        "k": -1,
        "down": 1,
        "j": 1,
        "page up": -_PAGE,
        "page down": _PAGE,
        "home": -len(shown),
        "end": len(shown),
    }
    if key == "esc":
        return replace(choices, filter="")
    if key in ("enter", "right") and shown:
        marked = choices.service if choices.service in shown else shown[0]
        return replace(choices, page=Page.SERVICE, service=marked, scrolled=0)
    if key in steps:
        return replace(choices, service=_beside(choices.service, shown, steps[key]))
    return choices


def _beside(service: Endpoint | None, shown: Sequence[Endpoint], step: int) -> Endpoint | None:
    if not shown:
        return service
    place = shown.index(service) if service in shown else 0
    return shown[min(max(0, place + step), len(shown) - 1)]
