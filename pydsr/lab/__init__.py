"""A network of namespaces on this machine: a balancer, clients and real backends to play with.

The package's entry is :class:`pydsr.lab.lab.Lab`; nothing is imported here, because the workers
(``server`` and ``client``) start often and need the standard library alone.
"""
