"""Health checks: does each backend answer for its VIP, and if not, why?

1. :mod:`~pydsr.health.targets` lists the jobs: which check of which backend for which services.
2. :mod:`~pydsr.health.steering` makes the kernel route a marked socket to the VIP on one backend.
3. :mod:`~pydsr.health.checker` runs each job when it is due; a probe returns a ``Result``, and
   :mod:`~pydsr.health.diagnosis` says what is wrong.
4. :mod:`~pydsr.health.check_health` turns results in a row into the health by one check.
5. :mod:`~pydsr.health.service_health` turns that into the states and weights of backends.

:class:`~pydsr.health.checker.Checker` runs 1 to 4; the daemon does the fifth and changes the data
plane.
"""
