"""Compare the loaded program with the reference on millions of frames.

``make fuzz`` runs it; tests/xdp/test_reference.py runs a bounded part with every test run.
"""
