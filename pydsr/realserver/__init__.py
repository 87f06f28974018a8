"""`pydsr realserver`: sets a backend up for Direct Server Return, checks it and undoes that.

It runs on the backend, which needs none of the rest of pydsr and may be older than it. So this
package uses Python 3.9, its standard library, ``pydsr.model.errors`` and the ``ip`` command only;
``standalone.py`` makes one file of it.
"""
