"""pydsr: a layer-4 load balancer for Direct Server Return."""

__version__ = "0.1.0"
