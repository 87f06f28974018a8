"""The daemon: keeps a file in force, and follows changes of the network."""
