"""What the host, its NICs and their drivers can do."""
