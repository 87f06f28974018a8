"""`pydsr realserver`: set a backend up for Direct Server Return, check it, and undo the setup.

It runs on the backend, which needs no other part of pydsr, and may have an older system. So this
package uses Python 3.9, its standard library, ``pydsr.model.errors`` and the ``ip`` command only;
``standalone.py`` packs it into one file.
"""
