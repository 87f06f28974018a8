"""What the host, its NICs and their drivers can do, and what stands in the way of an attach."""
