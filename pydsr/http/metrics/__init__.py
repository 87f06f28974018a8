"""Metrics for Prometheus, the Grafana dashboard and the alert rules."""
