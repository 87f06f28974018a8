"""Links, neighbours and announcements, through netlink and packet sockets."""
