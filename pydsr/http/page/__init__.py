"""The status page of ``pydsr run --web``."""
