"""What Direct Server Return asks of a backend: set up, checked and undone on the backend itself.

Backends need none of the rest of pydsr, and may be older than it: everything here takes Python
3.9, its standard library, ``pydsr.model.errors`` and the ``ip`` command, nothing else, so that
``standalone.py`` can make one file of it.
"""
