"""Health checks: whether each backend answers for its VIP, and what keeps it from doing so."""
