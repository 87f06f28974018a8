"""The abilities of the host, its NICs and their drivers, and obstacles to an attach."""
