"""Folders of the checkout."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
