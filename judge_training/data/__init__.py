"""Data to train a judge on: read from its sources, filtered, balanced, kept apart from test sets, split, swapped.

`build.py` has the whole way from sources to files; every other module is one step of it and works alone.
"""
