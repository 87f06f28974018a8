"""What Prometheus is told of a balancer, and what it is asked: metrics, a dashboard, alerts."""
