"""One module for each kind of check: ask, and judge the answer.

A probe returns a result where there was an answer. What keeps an answer from coming, it raises
as OSError; running out of time ends it from outside.
"""
