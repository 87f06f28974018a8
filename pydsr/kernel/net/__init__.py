"""Links, neighbours, announcements and queries, by netlink and raw sockets."""
