"""Benchmarks: the cost of packets, commands and checks, each beside a peer."""
