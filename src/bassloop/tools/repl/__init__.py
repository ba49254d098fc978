"""The language at a prompt.

`evaluator.py` evaluates entries in a thread of its own and can be interrupted; `prompt.py` reads them from a terminal,
and `piped.py` from anything else.
"""
