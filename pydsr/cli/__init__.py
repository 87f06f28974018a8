"""The command line: one module for each noun.

Commands import the balancer, the daemon and the views inside their functions, as help and
completion load every command module. In CPU time, `pydsr --help` takes 0.2 s this way, and 0.6 s
with one import of aiohttp at the top of a module; answering a Tab takes 0.17 s.
"""
