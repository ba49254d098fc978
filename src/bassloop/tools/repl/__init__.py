"""The language at a prompt.

`evaluator.py` evaluates entries in a thread of its own and can be interrupted, also if they come from a pipe;
`prompt.py` reads them from a terminal.
"""
