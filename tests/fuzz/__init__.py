"""Frames by the million through the loaded program and through tests/support/packets/reference.py.

``make fuzz`` runs it; tests/xdp/test_reference.py runs a bounded part with every test run.
"""
