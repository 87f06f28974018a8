"""`pydsr lab`: a balancer, clients and backends in network namespaces on this machine.

:class:`pydsr.lab.lab.Lab` is the entry. Nothing is imported here: the workers ``server`` and
``client`` start often, and need the standard library alone.
"""
