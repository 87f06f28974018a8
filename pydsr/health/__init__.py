"""Health checks: whether each backend answers for its VIP, and what keeps it from doing so.

What a daemon does with it::

    async with Checker(report) as checker:
        await checker.watch([(endpoint, checks, routes), ...])  # again after every change
        ...

``report`` is called with each result. On a change, :func:`~pydsr.health.judgement.enough` says of
:meth:`Checker.judgements` whether a backend is healthy, :func:`~pydsr.health.membership.choose`
who is to take flows, and :func:`~pydsr.health.membership.ramped` with which weight. Routes come
from :func:`~pydsr.health.targets.route_to`.
"""
