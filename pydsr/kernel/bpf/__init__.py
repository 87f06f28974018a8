"""The XDP program and its pinned maps."""
