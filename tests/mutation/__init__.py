"""Put small plausible mistakes into sources, and see which of them the tests notice.

    python -m tests.mutation pydsr/daemon/*.py --sample 60 --seed 1
    python -m tests.mutation xdp/*.h xdp/pydsr.c --sample 100 --tests tests/xdp/test_packets.py

A mutant is one mistake in one file. Each is put into a copy of the checkout, where the tests of the
file run until one fails: tests/unit/<package> and tests/netns/<package> for pydsr/<package>/,
tests/xdp for xdp/, or those that --tests names. Run it as root, unless all of them are below
tests/unit. At the end come the share that the tests noticed and a diff of each survivor. For every
survivor, add a test, unless the mutant behaves as the original does.

Comments, docstrings, annotations, text and logging are not changed. C mutants that do not compile,
that the kernel refuses to load, or that compile to the same instructions do not count.
"""
