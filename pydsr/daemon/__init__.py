"""The daemon: keeps a balancer as its file says, and follows what happens on the network."""
