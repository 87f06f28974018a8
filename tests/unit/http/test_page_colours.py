"""The status page can be read: contrast of its colours, by day and by night."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pydsr.http import page

LEAST_CONTRAST = 4.5
"""For text, by WCAG 2.2, success criterion 1.4.3."""

_STYLE = (Path(page.__file__).with_name("static") / "page.css").read_text(encoding="utf-8")
_SCHEMES = dict(
    zip(("light", "dark"), re.findall(r":root \{(.*?)\}", _STYLE, re.DOTALL), strict=True)
)
_GROUNDS = ("surface", "raised", "ground")
_ON_SOFT = {
    "good": ("good", "text"),
    "warn": ("warn", "text", "muted"),
    "bad": ("bad", "text", "muted"),
}

Colour = tuple[float, ...]


def colours(scheme: str) -> dict[str, Colour]:
    """Return red, green, blue and an optional alpha of each colour, 0 to 1."""
    found = re.findall(r"--([a-z-]+): #([0-9a-f]+);", _SCHEMES[scheme])
    return {name: tuple(byte / 255 for byte in bytes.fromhex(digits)) for name, digits in found}


def over(colour: Colour, ground: Colour) -> Colour:
    """Return a colour with an alpha, blended with its background."""
    parts, alpha = colour[:3], colour[3]
    return tuple(
        alpha * one + (1 - alpha) * other for one, other in zip(parts, ground, strict=True)
    )


def luminance(colour: Colour) -> float:
    """Return the relative luminance, as WCAG 2.2 defines it."""
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in colour]
    return sum(part * one for part, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", _SCHEMES)
def test_every_text_has_enough_contrast(scheme: str) -> None:
    by_name = colours(scheme)
    grounds = {name: by_name[name] for name in _GROUNDS}
    pairs = [(text, name) for text in ("text", "muted", "good", "warn", "bad") for name in _GROUNDS]
    for soft, texts in _ON_SOFT.items():
        mixed = f"{soft} on surface"
        grounds[mixed] = over(by_name[f"{soft}-soft"], by_name["surface"])
        pairs += [(text, mixed) for text in texts]
    faint = {
        pair for pair in pairs if contrast(by_name[pair[0]], grounds[pair[1]]) < LEAST_CONTRAST
    }
    assert set() == faint
