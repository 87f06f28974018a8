"""Weeks of a daemon's life in minutes; not part of ``make test``."""
