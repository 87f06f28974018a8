"""What is served over HTTP: metrics and the status page."""
